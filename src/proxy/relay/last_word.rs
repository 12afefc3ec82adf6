//! A real server that has yet to say what it makes of an upload that was cut.
use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::super::control_stream::ControlStream;
use crate::balance::Placement;

/// How long a server may take to meet the reset of its data connection; it stores the bytes before it first.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(2);

/// See the module's text. Nobody hears the word; dropped, the connection closes.
pub(super) struct LastWord {
    server: ControlStream,
    timer: Pin<Box<Sleep>>,
    /// The session still weighs on the server.
    _placement: Option<Placement>,
}

impl LastWord {
    pub(super) fn new(server: ControlStream, placement: Option<Placement>) -> Self {
        Self { server, timer: Box::pin(sleep(LAST_WORD_WITHIN)), _placement: placement }
    }

    /// Ready with the first line that is no mark of progress, with the server's end, or when its time is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut bytes = [0; 512];
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.server).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if matches!(buffer.filled().first(), Some(b'1' | b' ')) => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.timer.as_mut().poll(cx),
            }
        }
    }
}

impl fmt::Debug for LastWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastWord").finish_non_exhaustive()
    }
}
