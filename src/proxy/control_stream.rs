//! One end of a control connection: in the clear, in a TLS handshake, or under TLS.
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{Accept, TlsStream};

use crate::tls::{Acceptor, SessionConnector};

/// See the module's text. What TLS needs is on the heap, for most sessions have none.
pub(super) enum ControlStream {
    Plain(TcpStream),
    /// The door is the server. Nothing can be said meanwhile, and what is read is thrown away.
    Handshake(Box<Accept<Preceded>>),
    Tls(Box<TlsStream<Preceded>>),
    /// Between two of the others; nobody sees it.
    Nowhere,
}

/// A connection of which something was read already.
#[derive(Debug)]
pub(super) struct Preceded {
    before: Vec<u8>,
    stream: TcpStream,
}

impl ControlStream {
    /// Begins TLS with the client; `before` is what it has said of it already.
    pub(super) fn start_tls(&mut self, acceptor: &Acceptor, before: Vec<u8>) {
        match std::mem::replace(self, Self::Nowhere) {
            Self::Plain(stream) => {
                *self = Self::Handshake(Box::new(acceptor.accept(Preceded { before, stream })));
            }
            other => *self = other,
        }
    }

    /// TLS with a real server, from the first byte to the end of the handshake.
    pub(super) async fn connect_tls(&mut self, connector: &SessionConnector) -> io::Result<()> {
        if let Self::Plain(stream) = std::mem::replace(self, Self::Nowhere) {
            let stream = connector.connect(Preceded { before: Vec::new(), stream }).await?;
            *self = Self::Tls(Box::new(stream.into()));
        }
        Ok(())
    }

    pub(super) fn is_in_handshake(&self) -> bool {
        matches!(self, Self::Handshake(_))
    }

    /// Brings the handshake forward; at its end the stream is under TLS.
    pub(super) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self::Handshake(accept) = self else { return Poll::Ready(Ok(())) };
        match Pin::new(&mut **accept).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(stream)) => {
                *self = Self::Tls(Box::new(stream.into()));
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                *self = Self::Nowhere;
                Poll::Ready(Err(error))
            }
        }
    }

    /// The connection below; `None` when it is gone.
    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Handshake(accept) => accept.get_ref().map(|preceded| &preceded.stream),
            Self::Tls(stream) => Some(&stream.get_ref().0.stream),
            Self::Nowhere => None,
        }
    }

    /// The version of TLS, in the words of its RFC.
    pub(super) fn tls_version(&self) -> Option<&'static str> {
        let Self::Tls(stream) = self else { return None };
        match stream.get_ref().1.protocol_version()? {
            rustls::ProtocolVersion::TLSv1_3 => Some("1.3"),
            _ => Some("1.2"),
        }
    }

    /// Tells a peer under TLS that the end of the stream is meant (`close_notify`), without waiting for anything.
    pub(super) fn part(&mut self, cx: &mut Context<'_>) {
        if let Self::Tls(stream) = self {
            // A peer that takes nothing now is not waited for.
            let _ = Pin::new(&mut **stream).poll_shutdown(cx);
        }
    }
}

impl AsyncRead for ControlStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => match Pin::new(&mut **stream).poll_read(cx, buffer) {
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
            Self::Nowhere => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for ControlStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
            // Whoever brings the handshake forward will see its end.
            Self::Handshake(_) => Poll::Pending,
            Self::Nowhere => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
            Self::Plain(_) | Self::Handshake(_) | Self::Nowhere => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
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
