//! Pipes of a thread that no flow uses at the moment. A flow has one only while bytes are under way in it.
use std::cell::{Cell, RefCell};
use std::io;
use std::time::Duration;

use tokio::time::Instant;

use super::super::journal;
use crate::sys::pipe::Pipe;

/// Pipes that a thread keeps. Flows that need not wait use one in turn, so that this many are for those that do. An
/// unused one costs two descriptors and some 10 KiB of the kernel's memory, and counts in full against
/// `pipe-user-pages-soft` of an unprivileged user, who has 64 of them.
const MAX_IDLE_PIPES: usize = 8;

/// How often a thread says that it has no pipe: at the limit one is had at one moment, and none at the next.
const SAID_EVERY: Duration = Duration::from_secs(60);

thread_local! {
    static IDLE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
    static SAID: Cell<Option<Instant>> = const { Cell::new(None) };
    #[cfg(test)]
    pub(super) static SHORT: Cell<bool> = const { Cell::new(false) };
}

/// An empty pipe, unless descriptors or memory are short.
pub(super) fn take() -> Option<Pipe> {
    IDLE.with_borrow_mut(Vec::pop).or_else(|| new().map_err(|error| say(&error)).ok())
}

/// Takes back a pipe that is empty; one with bytes inside is to be dropped, or they would reach somebody else's peer.
pub(super) fn give_back(pipe: Pipe) {
    IDLE.with_borrow_mut(|idle| {
        if idle.len() < MAX_IDLE_PIPES {
            idle.push(pipe);
        }
    });
}

fn new() -> io::Result<Pipe> {
    #[cfg(test)]
    if SHORT.get() {
        return Err(rustix::io::Errno::MFILE.into());
    }
    Pipe::new()
}

fn say(error: &io::Error) {
    let now = Instant::now();
    if SAID.get().is_none_or(|said| now >= said + SAID_EVERY) {
        SAID.set(Some(now));
        journal::no_pipe(error);
    }
}

#[cfg(test)]
pub(super) fn idle() -> usize {
    IDLE.with_borrow(Vec::len)
}
