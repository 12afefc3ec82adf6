//! From one clear connection to another through a pipe, without a copy (splice(2)). The pipe belongs to a flow only while
//! bytes are inside.
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::flow::Conduit;
use super::pipe_pool;
use crate::sys::data_socket;
use crate::sys::pipe::Pipe;

/// How long to wait before a pipe is asked for again when descriptors are short.
const PIPE_PAUSE: Duration = Duration::from_millis(100);

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Splice {
    pipe: Option<Pipe>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Conduit<TcpStream> for Splice {
    /// Nothing is left in the pipe when the source has to be waited for.
    fn fill(&mut self, source: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(source.poll_read_ready(cx))?;
            let pipe = match self.pipe.take() {
                Some(pipe) => pipe,
                None => ready!(self.new_pipe(cx)),
            };
            match source.try_io(Interest::READABLE, || pipe.fill_from(source)) {
                Ok(0) => {
                    pipe_pool::give_back(pipe);
                    return Poll::Ready(Ok(0));
                }
                Ok(filled) => {
                    self.pipe = Some(pipe);
                    return Poll::Ready(Ok(filled));
                }
                Err(error) => {
                    pipe_pool::give_back(pipe);
                    if error.kind() != io::ErrorKind::WouldBlock {
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
    }

    fn drain(&mut self, sink: &mut TcpStream, held: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(sink.poll_write_ready(cx))?;
            let Some(pipe) = &self.pipe else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
            match sink.try_io(Interest::WRITABLE, || pipe.drain_to(sink, held)) {
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
    /// An empty pipe, as soon as there is one.
    fn new_pipe(&mut self, cx: &mut Context<'_>) -> Poll<Pipe> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match pipe_pool::take() {
                Ok(pipe) => return Poll::Ready(pipe),
                // Descriptors come back when sessions end.
                Err(_) => self.pause = Some(Box::pin(sleep(PIPE_PAUSE))),
            }
        }
    }
}
