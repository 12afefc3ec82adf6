//! A child with everything that it starts.
#![allow(unsafe_code, reason = "tokio has no safe way to wait for a descriptor that is no socket")]
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The process group of a child that leads it. Dropped, it is killed, so that a check that is given up leaves nothing behind.
#[derive(Debug)]
pub struct ProcessGroup {
    id: Option<Pid>,
    /// A pidfd; `None` where the kernel is older than 5.3.
    leader: Option<AsyncFd<OwnedFd>>,
}

impl ProcessGroup {
    /// That of the child with this id, which nobody has waited for yet.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn of(leader: u32) -> Self {
        let id = i32::try_from(leader).ok().and_then(Pid::from_raw);
        Self { id, leader: id.and_then(watch) }
    }

    /// Returns when its leader has ended, which is still to be waited for: until then the id is nobody else's. False where
    /// that cannot be known.
    pub async fn leader_has_ended(&self) -> bool {
        match &self.leader {
            Some(leader) => leader.readable().await.is_ok(),
            None => false,
        }
    }

    /// Asks all of them to end.
    pub fn terminate(&self) {
        self.send(Signal::TERM);
    }

    /// Ends all of them.
    pub fn kill(&self) {
        self.send(Signal::KILL);
    }

    /// Leaves it alone from now on: its leader was waited for, and the id may become another's.
    pub fn release(mut self) {
        self.id = None;
    }

    fn send(&self, signal: Signal) {
        if let Some(group) = self.id {
            // One that has ended needs no signal.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A descriptor that becomes readable when the process has ended.
fn watch(process: Pid) -> Option<AsyncFd<OwnedFd>> {
    let descriptor = pidfd_open(process, PidfdFlags::NONBLOCK).ok()?;
    // SAFETY: it is open, and the AsyncFd owns it alone: nobody closes it or puts another in its place before that is gone.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.ok()
}
