//! A control connection on which GSI protects every line, read and written in clear.
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::proto::gsi::{Channel, ChannelEnd, ChannelError, ProtectedLines};
use crate::proto::secret::{self, Secret};

/// What is read at once, in bytes. On the stack: an idle session owns no buffer.
const READ_SIZE: usize = 8 * 1024;

/// See the module's text.
#[derive(Debug)]
pub struct Protected {
    stream: TcpStream,
    lines: ProtectedLines,
    /// Read and unwrapped, not taken yet.
    plain: Secret,
    /// Wrapped, and not taken by the network yet.
    wire: Vec<u8>,
    /// Why nothing more can be read; it is told behind what came before.
    broken: Option<ChannelError>,
}

impl Protected {
    /// `before` is what was read of the channel's lines already; what is wrong with it is told to whoever reads.
    #[must_use]
    pub fn new(stream: TcpStream, channel: Channel, end: ChannelEnd, before: &[u8]) -> Self {
        let mut protected = Self {
            stream,
            lines: ProtectedLines::new(channel, end),
            plain: Secret::default(),
            wire: Vec::new(),
            broken: None,
        };
        secret::reserve(&mut protected.plain, protected.lines.most_plain(before));
        protected.broken = protected.lines.receive(before, &mut protected.plain).err();
        protected
    }

    /// What is under the protection.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        &self.stream
    }

    /// Pushes what is wrapped into the network.
    fn push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.wire.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.wire))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if written == self.wire.len() {
                self.wire = Vec::new();
            } else {
                self.wire.drain(..written);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The error that whoever reads or writes sees; what it is about is said by its source.
fn invalid(error: ChannelError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl AsyncRead for Protected {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, lines, plain, broken, .. } = self.get_mut();
        while plain.is_empty() {
            if let Some(error) = broken {
                return Poll::Ready(Err(invalid(error.clone())));
            }
            let mut bytes = [MaybeUninit::uninit(); READ_SIZE];
            let mut arrived = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut arrived))?;
            if arrived.filled().is_empty() {
                // Nobody says goodbye inside of the protection.
                return Poll::Ready(Ok(()));
            }
            secret::reserve(plain, lines.most_plain(arrived.filled()));
            *broken = lines.receive(arrived.filled(), plain).err();
        }
        let taken = plain.len().min(buffer.remaining());
        buffer.put_slice(&plain[..taken]);
        secret::take_front(plain, taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Protected {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let protected = self.get_mut();
        // One write's worth is kept at most.
        ready!(protected.push(cx))?;
        protected.lines.send(bytes, &mut protected.wire).map_err(invalid)?;
        if let Poll::Ready(result) = protected.push(cx) {
            result?;
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().push(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let protected = self.get_mut();
        ready!(protected.push(cx))?;
        Pin::new(&mut protected.stream).poll_shutdown(cx)
    }
}
