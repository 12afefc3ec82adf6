//! Quorum: how much of a virtual server has to be up for it to take sessions.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// `quorum` and `hysteresis`, as in keepalived.conf(5): the sum of the weights of real servers that are up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quorum {
    /// Reached again at `quorum + hysteresis`.
    pub quorum: u32,
    /// Lost below `quorum - hysteresis`; less than `quorum`.
    pub hysteresis: u32,
}

impl Default for Quorum {
    fn default() -> Self {
        Self { quorum: 1, hysteresis: 0 }
    }
}

impl Quorum {
    /// With what sum of weights it is there after it was `there` before.
    fn holds(self, there: bool, weight: u64) -> bool {
        let (quorum, hysteresis) = (u64::from(self.quorum), u64::from(self.hysteresis));
        // With nobody up there is none, whatever the numbers say.
        weight >= if there { quorum.saturating_sub(hysteresis).max(1) } else { quorum + hysteresis }
    }
}

/// Whether a virtual server's quorum is there. It belongs to the virtual server's name, and outlives its configuration:
/// without the past nobody knows which of the two limits counts.
#[derive(Debug)]
pub struct QuorumState {
    /// Copy of `since.0`, so that choosing takes no lock.
    there: AtomicBool,
    since: Mutex<(bool, Option<Instant>)>,
}

impl QuorumState {
    /// There from the start, or not before it is reached.
    #[must_use]
    pub fn new(there: bool) -> Self {
        Self { there: AtomicBool::new(there), since: Mutex::new((there, None)) }
    }

    /// Whether sessions go to the real servers.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.there.load(Relaxed)
    }

    /// When that changed last; `None` while it is as it started.
    #[must_use]
    pub fn since(&self) -> Option<Instant> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Takes the weight that is up at `now`. Returns whether the quorum is there now, if that has changed: whoever
    /// hears it is the only one.
    pub(super) fn observe(&self, now: Instant, quorum: Quorum, weight: u64) -> Option<bool> {
        let there = self.is_there();
        if quorum.holds(there, weight) == there {
            return None;
        }
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have been first.
        let holds = quorum.holds(since.0, weight);
        if holds == since.0 {
            return None;
        }
        *since = (holds, Some(now));
        self.there.store(holds, Relaxed);
        Some(holds)
    }
}
