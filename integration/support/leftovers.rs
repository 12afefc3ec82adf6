//! What a door must not be left with when its sessions are over: sockets, listening or not, and pipes.

use std::time::Duration;

use super::deadline;
use super::local_door::LocalDoor;

/// Pipes that two threads may keep for later.
const KEPT_PIPES: usize = 2 * 32;

/// The descriptors of a door at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Leftovers {
    pub sockets: usize,
    /// Both ends of each.
    pub pipes: usize,
}

impl Leftovers {
    /// # Panics
    /// When the door has gone.
    pub fn of(door: &LocalDoor) -> Self {
        Self::of_process(door.id())
    }

    /// # Panics
    /// When there is no such process.
    pub fn of_process(id: u32) -> Self {
        let listed = std::fs::read_dir(format!("/proc/{id}/fd")).expect("the door runs");
        let mut found = Self { sockets: 0, pipes: 0 };
        for entry in listed.flatten() {
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            let target = target.to_string_lossy();
            found.sockets += usize::from(target.starts_with("socket:"));
            found.pipes += usize::from(target.starts_with("pipe:"));
        }
        found.pipes /= 2;
        found
    }

    /// Whether there are as many sockets as `before`, and no more pipes than threads keep.
    pub fn returned_to(self, before: Self) -> bool {
        self.sockets <= before.sockets && self.pipes <= before.pipes.max(KEPT_PIPES)
    }

    /// Waits until there are as many sockets again, and no more pipes than threads keep.
    ///
    /// # Panics
    /// When something is left.
    pub fn until_again(self, door: &LocalDoor) {
        self.until_again_in(door.id());
    }

    /// As [`Leftovers::until_again`].
    ///
    /// # Panics
    /// When something is left.
    pub fn until_again_in(self, id: u32) {
        deadline::until("descriptors as before", Duration::from_secs(20), || {
            let now = Self::of_process(id);
            if now.returned_to(self) { Ok(()) } else { Err(format!("{now:?}, and {self:?} before")) }
        })
        .unwrap();
    }
}
