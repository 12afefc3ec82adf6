//! What a peer has not taken yet.
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// Whether something went forward.
pub(super) type Progress = bool;

/// Bytes that a peer has not taken yet. Bounded by what one read can bring about, because nothing more is read for a
/// peer that has any.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    bytes: Vec<u8>,
    /// A stream under TLS has taken bytes and not passed them on.
    unflushed: bool,
    /// Writing failed for good; what is meant for the peer is dropped.
    deaf: bool,
}

impl Backlog {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, unflushed: false, deaf: false }
    }

    pub(super) fn append(&mut self, bytes: &mut Vec<u8>) {
        self.bytes.append(bytes);
    }

    /// Drops what is kept and whatever is still to come.
    pub(super) fn abandon(&mut self) {
        self.deaf = true;
        self.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.unflushed
    }

    pub(super) fn clear(&mut self) {
        self.bytes = Vec::new();
        self.unflushed = false;
    }

    /// Writes `bytes` behind what is kept already, and keeps what the peer does not take.
    pub(super) fn write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> io::Result<()> {
        if self.deaf {
            return Ok(());
        }
        if !self.bytes.is_empty() {
            self.bytes.extend_from_slice(bytes);
            return Ok(());
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, rest) {
                Poll::Ready(Ok(written)) => rest = &rest[written..],
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.bytes = rest.to_vec();
                    break;
                }
            }
        }
        self.unflushed = push(stream, cx)?;
        Ok(())
    }

    pub(super) fn flush(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> io::Result<Progress> {
        if self.deaf {
            self.clear();
        }
        let mut progress = false;
        while !self.bytes.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, &self.bytes) {
                Poll::Ready(Ok(written)) => {
                    progress = true;
                    if written == self.bytes.len() {
                        self.bytes = Vec::new();
                    } else {
                        self.bytes.drain(..written);
                    }
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        let was_unflushed = std::mem::replace(&mut self.unflushed, push(stream, cx)?);
        Ok(progress || (was_unflushed && !self.unflushed))
    }
}

/// Whether something is left in the stream that the peer has not taken.
fn push(stream: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) -> io::Result<bool> {
    match Pin::new(stream).poll_flush(cx) {
        Poll::Ready(result) => result.map(|()| false),
        Poll::Pending => Ok(true),
    }
}
