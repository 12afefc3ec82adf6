//! One end of a data connection of which either end is TLS, and the way of its bytes through memory.
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::flow::{Conduit, DataConnection};
use crate::sys::data_socket;

/// What is on the way in one direction at most, in bytes, besides what rustls keeps of one write: two TLS records.
const MAX_HELD: usize = 32 * 1024;

/// See the module's text.
#[derive(Debug)]
pub(super) enum DataStream {
    Clear(TcpStream),
    /// The door as the server towards a client, as the client towards a real server.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Bytes that were read from one end and are written to the other.
#[derive(Debug)]
pub(super) struct Buffered {
    /// Empty as long as nothing has come this way.
    bytes: Vec<u8>,
    /// What of it the sink has taken.
    taken: usize,
    unflushed: usize,
    /// FIN without `close_notify` is no end: anybody on the way could have sent it.
    wants_close_notify: bool,
}

impl Buffered {
    pub(super) fn new(wants_close_notify: bool) -> Self {
        Self { bytes: Vec::new(), taken: 0, unflushed: 0, wants_close_notify }
    }
}

impl DataConnection for DataStream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Clear(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl Conduit<DataStream> for Buffered {
    fn fill(&mut self, source: &mut DataStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Not initialised: clearing it would cost as much as a copy.
        self.bytes.clear();
        self.bytes.reserve_exact(MAX_HELD);
        let read = match source {
            DataStream::Clear(stream) => pin!(stream.read_buf(&mut self.bytes)).poll(cx),
            DataStream::Tls(stream) => pin!(stream.read_buf(&mut self.bytes)).poll(cx),
        };
        let read = read.map_ok(drop);
        let filled = self.bytes.len();
        let read = match read {
            Poll::Ready(Err(error))
                if error.kind() == io::ErrorKind::UnexpectedEof && matches!(source, DataStream::Tls(_)) =>
            {
                if self.wants_close_notify {
                    let text = "it ended without the close_notify of TLS";
                    Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)))
                } else {
                    Poll::Ready(Ok(()))
                }
            }
            read => read,
        };
        self.taken = 0;
        if filled == 0 {
            // A connection that waits, or has ended, owns no buffer.
            self.bytes = Vec::new();
        }
        read.map_ok(|()| filled)
    }

    /// What rustls has taken counts when it has passed it on.
    fn drain(
        &mut self,
        sink: &mut DataStream,
        _held: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        while self.unflushed == 0 {
            let rest = self.bytes.get(self.taken..).unwrap_or_default();
            let written = ready!(match sink {
                DataStream::Clear(stream) => Pin::new(stream).poll_write(cx, rest),
                DataStream::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, rest),
            })?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += written;
            self.unflushed = written;
        }
        if let DataStream::Tls(stream) = sink {
            ready!(Pin::new(&mut **stream).poll_flush(cx))?;
        }
        Poll::Ready(Ok(std::mem::take(&mut self.unflushed)))
    }

    fn finish(&mut self, sink: &mut DataStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match sink {
            DataStream::Clear(stream) => Poll::Ready(data_socket::finish(stream)),
            DataStream::Tls(stream) => {
                stream.get_mut().1.send_close_notify();
                ready!(Pin::new(&mut **stream).poll_flush(cx))?;
                Poll::Ready(data_socket::finish(stream.get_ref().0))
            }
        }
    }
}
