//! One end of a control connection: in the clear, in a TLS handshake, or under TLS.
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{Accept, TlsStream};

use crate::tls::{Acceptor, Protected, SessionConnector};

/// See the module's text. What TLS needs is on the heap, for most sessions have none; two variants take no more room than
/// the connection alone.
pub(super) enum ControlStream {
    Plain(TcpStream),
    Secure(Box<Secure>),
}

pub(super) enum Secure {
    /// The door is the server. Nothing can be said meanwhile, and what is read is thrown away.
    Handshake(Accept<Preceded>),
    Tls {
        stream: TlsStream<Preceded>,
        /// Towards a real server, for its data connections.
        connector: Option<Arc<SessionConnector>>,
    },
    /// GSI protects each line.
    Gsi(Protected),
    /// Between two of the others, or after a handshake that failed.
    Nowhere,
}

/// The version of TLS, for the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TlsVersion {
    V12,
    V13,
}

/// A connection of which something was read already.
#[derive(Debug)]
pub(super) struct Preceded {
    before: Vec<u8>,
    stream: TcpStream,
}

impl TlsVersion {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }
}

impl ControlStream {
    /// Begins TLS with the client; `before` is what it has said of it already.
    pub(super) fn start_tls(&mut self, acceptor: &Acceptor, before: Vec<u8>) {
        match std::mem::replace(self, Self::Secure(Box::new(Secure::Nowhere))) {
            Self::Plain(stream) => {
                let handshake = Secure::Handshake(acceptor.accept(Preceded { before, stream }));
                *self = Self::Secure(Box::new(handshake));
            }
            secure @ Self::Secure(_) => *self = secure,
        }
    }

    /// TLS with a real server, from the first byte to the end of the handshake.
    pub(super) async fn connect_tls(&mut self, connector: &Arc<SessionConnector>) -> io::Result<()> {
        if let Self::Plain(stream) = std::mem::replace(self, Self::Secure(Box::new(Secure::Nowhere))) {
            let stream = connector.connect(Preceded { before: Vec::new(), stream }).await?;
            let connector = Some(Arc::clone(connector));
            *self = Self::Secure(Box::new(Secure::Tls { stream: stream.into(), connector }));
        }
        Ok(())
    }

    /// Takes a connection out on which nothing was begun yet; it comes back as [`ControlStream::from`] a protected one.
    pub(super) fn take_plain(&mut self) -> Option<TcpStream> {
        match std::mem::replace(self, Self::Secure(Box::new(Secure::Nowhere))) {
            Self::Plain(stream) => Some(stream),
            secure @ Self::Secure(_) => {
                *self = secure;
                None
            }
        }
    }

    pub(super) fn is_in_handshake(&self) -> bool {
        matches!(self, Self::Secure(secure) if matches!(**secure, Secure::Handshake(_)))
    }

    /// Brings the handshake forward; at its end the stream is under TLS.
    pub(super) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self::Secure(secure) = self else { return Poll::Ready(Ok(())) };
        let Secure::Handshake(accept) = &mut **secure else { return Poll::Ready(Ok(())) };
        let result = ready!(Pin::new(accept).poll(cx));
        **secure = Secure::Nowhere;
        **secure = Secure::Tls { stream: result?.into(), connector: None };
        Poll::Ready(Ok(()))
    }

    /// The connection below; `None` when it is gone.
    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Secure(secure) => match &**secure {
                Secure::Handshake(accept) => accept.get_ref().map(|preceded| &preceded.stream),
                Secure::Tls { stream, .. } => Some(&stream.get_ref().0.stream),
                Secure::Gsi(protected) => Some(protected.tcp()),
                Secure::Nowhere => None,
            },
        }
    }

    fn tls(&self) -> Option<(&TlsStream<Preceded>, Option<&Arc<SessionConnector>>)> {
        let Self::Secure(secure) = self else { return None };
        let Secure::Tls { stream, connector } = &**secure else { return None };
        Some((stream, connector.as_ref()))
    }

    pub(super) fn tls_version(&self) -> Option<TlsVersion> {
        let version = self.tls()?.0.get_ref().1.protocol_version()?;
        Some(if version == rustls::ProtocolVersion::TLSv1_3 { TlsVersion::V13 } else { TlsVersion::V12 })
    }

    /// What begins TLS on data connections of a real server whose control connection this is.
    pub(super) fn connector(&self) -> Option<Arc<SessionConnector>> {
        self.tls()?.1.cloned()
    }

    /// Tells a peer under TLS that the end of the stream is meant (`close_notify`), without waiting for anything.
    pub(super) fn part(&mut self, cx: &mut Context<'_>) {
        if self.tls().is_some() {
            // A peer that takes nothing now is not waited for.
            let _ = Pin::new(self).poll_shutdown(cx);
        }
    }
}

impl From<Protected> for ControlStream {
    fn from(protected: Protected) -> Self {
        Self::Secure(Box::new(Secure::Gsi(protected)))
    }
}

// Most connections are plain, and each read or write of theirs comes past here: that is to cost no call.
impl AsyncRead for ControlStream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Secure(secure) => Pin::new(&mut **secure).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ControlStream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Secure(secure) => Pin::new(&mut **secure).poll_write(cx, bytes),
        }
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Secure(secure) => Pin::new(&mut **secure).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(secure) => Pin::new(&mut **secure).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Secure {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls { stream, .. } => match Pin::new(stream).poll_read(cx, buffer) {
                // Many close without `close_notify`. A command or reply that was cut off does not count anyway.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Poll::Ready(Ok(()))
                }
                result => result,
            },
            Self::Handshake(accept) => match accept.get_mut() {
                Some(preceded) => Pin::new(&mut preceded.stream).poll_read(cx, buffer),
                None => Poll::Ready(Ok(())),
            },
            Self::Gsi(protected) => Pin::new(protected).poll_read(cx, buffer),
            Self::Nowhere => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Secure {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls { stream, .. } => Pin::new(stream).poll_write(cx, bytes),
            // Whoever brings the handshake forward will see its end.
            Self::Handshake(_) => Poll::Pending,
            Self::Gsi(protected) => Pin::new(protected).poll_write(cx, bytes),
            Self::Nowhere => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls { stream, .. } => Pin::new(stream).poll_flush(cx),
            Self::Gsi(protected) => Pin::new(protected).poll_flush(cx),
            Self::Handshake(_) | Self::Nowhere => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls { stream, .. } => Pin::new(stream).poll_shutdown(cx),
            Self::Gsi(protected) => Pin::new(protected).poll_shutdown(cx),
            Self::Handshake(accept) => match accept.get_mut() {
                Some(preceded) => Pin::new(&mut preceded.stream).poll_shutdown(cx),
                None => Poll::Ready(Ok(())),
            },
            Self::Nowhere => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Preceded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let preceded = self.get_mut();
        if preceded.before.is_empty() {
            return Pin::new(&mut preceded.stream).poll_read(cx, buffer);
        }
        let taken = preceded.before.len().min(buffer.remaining());
        buffer.put_slice(&preceded.before[..taken]);
        preceded.before.drain(..taken);
        if preceded.before.is_empty() {
            preceded.before = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Preceded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
