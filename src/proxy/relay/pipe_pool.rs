//! Pipes of a thread that no flow uses at the moment. A flow has one only while bytes are under way in it.
use std::cell::RefCell;
use std::io;

use crate::sys::pipe::Pipe;

/// Pipes that a thread keeps. Flows that need not wait use one in turn, so that this many are for those that do. An
/// unused one costs two descriptors and some 10 KiB of the kernel's memory, and counts in full against
/// `pipe-user-pages-soft` of an unprivileged user, who has 64 of them.
const MAX_IDLE_PIPES: usize = 8;

thread_local! {
    static IDLE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// An empty pipe.
pub(super) fn take() -> io::Result<Pipe> {
    IDLE.with_borrow_mut(Vec::pop).map_or_else(Pipe::new, Ok)
}

/// Takes back a pipe that is empty; one with bytes inside is to be dropped, or they would reach somebody else's peer.
pub(super) fn give_back(pipe: Pipe) {
    IDLE.with_borrow_mut(|idle| {
        if idle.len() < MAX_IDLE_PIPES {
            idle.push(pipe);
        }
    });
}

#[cfg(test)]
pub(super) fn idle() -> usize {
    IDLE.with_borrow(Vec::len)
}
