//! From one clear connection to another through a pipe, without a copy (splice(2)). The pipe belongs to a flow only while
//! bytes are inside. Where descriptors are short bytes are copied instead: only what moves ends, and gives some back.
use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::flow::Conduit;
use super::pipe_pool;
use crate::sys::data_socket;
use crate::sys::pipe::Pipe;

/// What is copied at once where there is no pipe, in bytes: so many connections may be in need that it is less than one
/// holds under TLS.
const MAX_COPIED: usize = 16 * 1024;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Splice {
    held: Held,
}

/// Where bytes are.
#[derive(Debug, Default)]
enum Held {
    #[default]
    Nowhere,
    Pipe(Pipe),
    Memory {
        bytes: Vec<u8>,
        taken: usize,
    },
}

impl Conduit<TcpStream> for Splice {
    /// Nothing is left in the pipe when the source has to be waited for.
    fn fill(&mut self, source: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(source.poll_read_ready(cx))?;
            let pipe = match std::mem::take(&mut self.held) {
                Held::Pipe(pipe) => Some(pipe),
                Held::Nowhere | Held::Memory { .. } => pipe_pool::take(),
            };
            let result = match pipe {
                Some(pipe) => self.fill_pipe(pipe, source),
                None => self.fill_memory(source),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn drain(&mut self, sink: &mut TcpStream, held: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(sink.poll_write_ready(cx))?;
            let result = match &mut self.held {
                Held::Pipe(pipe) => sink.try_io(Interest::WRITABLE, || pipe.drain_to(sink, held)),
                Held::Memory { bytes, taken } => {
                    let result = sink.try_write(bytes.get(*taken..).unwrap_or_default());
                    *taken += result.as_ref().map_or(0, |&written| written);
                    result
                }
                Held::Nowhere => Err(io::ErrorKind::BrokenPipe.into()),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn finish(&mut self, sink: &mut TcpStream, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(data_socket::finish(sink))
    }
}

impl Splice {
    fn fill_pipe(&mut self, pipe: Pipe, source: &TcpStream) -> io::Result<usize> {
        let result = source.try_io(Interest::READABLE, || pipe.fill_from(source));
        match result {
            Ok(1..) => self.held = Held::Pipe(pipe),
            Ok(0) | Err(_) => pipe_pool::give_back(pipe),
        }
        result
    }

    fn fill_memory(&mut self, source: &TcpStream) -> io::Result<usize> {
        let mut bytes = Vec::with_capacity(MAX_COPIED);
        let filled = source.try_read_buf(&mut bytes)?;
        if filled > 0 {
            self.held = Held::Memory { bytes, taken: 0 };
        }
        Ok(filled)
    }
}
