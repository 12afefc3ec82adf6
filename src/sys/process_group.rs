//! A child with everything that it starts.

use rustix::process::{Pid, Signal, kill_process_group};

/// The process group of a child that leads it. Dropped, it is killed, so that a check that is given up leaves nothing behind.
#[derive(Debug)]
pub struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    /// That of the child with this id.
    #[must_use]
    pub fn of(leader: u32) -> Self {
        Self(i32::try_from(leader).ok().and_then(Pid::from_raw))
    }

    /// Asks all of them to end.
    pub fn terminate(&self) {
        self.send(Signal::TERM);
    }

    /// Leaves it alone from now on: its leader has ended, and the id may become another's.
    pub fn release(mut self) {
        self.0 = None;
    }

    fn send(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // One that has ended needs no signal.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.send(Signal::KILL);
    }
}
