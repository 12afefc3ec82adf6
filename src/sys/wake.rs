//! Waking a thread that sits in poll(2).
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};

/// An eventfd(2): readable from [`Self::wake`] to [`Self::clear`], however often it was woken.
#[derive(Debug)]
pub struct Wake(OwnedFd);

impl Wake {
    /// One that nobody has woken.
    ///
    /// # Errors
    ///
    /// Descriptors or memory are short.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Wakes the thread that polls, from any other; if it does not poll now, as soon as it does.
    pub fn wake(&self) {
        // The only way to fail is that it has been woken 2^64 times already.
        let _ = write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Woken no more. What it was woken for has to be looked at after this, or the next may be missed.
    pub fn clear(&self) {
        let mut count = [0; 8];
        // There is nothing to read if nobody has woken it.
        let _ = read(&self.0, &mut count);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn is_woken(wake: &Wake) -> bool {
        let mut watched = [PollFd::new(wake, PollFlags::IN)];
        poll(&mut watched, Some(&Timespec::default())).unwrap() == 1
    }

    #[test]
    fn it_is_readable_from_wake_to_clear_however_often() {
        let wake = Wake::new().unwrap();
        assert!(!is_woken(&wake));
        wake.wake();
        wake.wake();
        assert!(is_woken(&wake));
        wake.clear();
        assert!(!is_woken(&wake));
        wake.clear();
        wake.wake();
        assert!(is_woken(&wake), "clearing what was not woken is no debt");
    }

    #[test]
    fn another_thread_wakes_it() {
        let wake = Wake::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| wake.wake());
            let mut watched = [PollFd::new(&wake, PollFlags::IN)];
            let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
            assert_eq!(poll(&mut watched, Some(&limit)).unwrap(), 1);
        });
    }
}
