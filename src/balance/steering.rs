//! What an operator says of a real server while the daemon runs: that it is drained, and another weight.
//!
//! Over a reload of the configuration a drain stays until it is taken back, and a weight until the file has another
//! weight for that server than before. Both belong to the server's identity and end with the process; a server that goes and
//! comes back keeps them.
//!
//! A server that the configuration does not name any more is drained as well, until the configuration names it again.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Out of service: no new sessions, and those that are there leave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Drain {
    /// When an operator said so first.
    pub since: Instant,
    /// When what still runs is ended; `None` for never.
    pub deadline: Option<Instant>,
    /// Sessions that the deadline has ended.
    pub ended: u32,
}

impl Drain {
    /// Whether what still runs is to end.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Steering {
    configured_weight: AtomicU32,
    weight: AtomicU32,
    /// Copy of whether there is a drain, so that choosing takes no lock.
    drained: AtomicBool,
    drains: Mutex<Drains>,
}

#[derive(Debug, Default)]
struct Drains {
    /// By an operator.
    ordered: Option<Drain>,
    /// No configuration names it since.
    removed: Option<Drain>,
}

impl Steering {
    pub(super) fn new(weight: u32) -> Self {
        Self {
            configured_weight: AtomicU32::new(weight),
            weight: AtomicU32::new(weight),
            drained: AtomicBool::new(false),
            drains: Mutex::default(),
        }
    }

    pub(super) fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    pub(super) fn configured_weight(&self) -> u32 {
        self.configured_weight.load(Relaxed)
    }

    pub(super) fn set_weight(&self, weight: u32) {
        self.weight.store(weight, Relaxed);
    }

    /// The file says so: what an operator has said holds only until that changes.
    pub(super) fn configure_weight(&self, weight: u32) {
        if self.configured_weight.swap(weight, Relaxed) != weight {
            self.set_weight(weight);
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.drained.load(Relaxed)
    }

    pub(super) fn drain(&self) -> Option<Drain> {
        let drains = self.lock();
        match (drains.ordered, drains.removed) {
            // It is out of service since the first of both.
            (Some(ordered), Some(removed)) => {
                Some(Drain { since: ordered.since.min(removed.since), ..ordered })
            }
            (ordered, removed) => ordered.or(removed),
        }
    }

    pub(super) fn removed_since(&self) -> Option<Instant> {
        // Nearly always there is no drain at all.
        if self.is_drained() { self.lock().removed.map(|removed| removed.since) } else { None }
    }

    /// Whether an operator's drain or weight is in force.
    pub(super) fn is_steered(&self) -> bool {
        self.has_ordered_drain() || self.weight() != self.configured_weight()
    }

    pub(super) fn has_ordered_drain(&self) -> bool {
        self.is_drained() && self.lock().ordered.is_some()
    }

    /// No configuration names it any more.
    pub(super) fn handle_removal(&self, now: Instant) {
        let mut drains = self.lock();
        drains.removed.get_or_insert(Drain { since: now, deadline: None, ended: 0 });
        self.drained.store(true, Relaxed);
    }

    /// The configuration names it again, after all; an operator's drain stays. Whether it had been removed.
    pub(super) fn handle_return(&self) -> bool {
        let mut drains = self.lock();
        let was_removed = drains.removed.take().is_some();
        self.drained.store(drains.ordered.is_some(), Relaxed);
        was_removed
    }

    /// Said again, the last deadline counts.
    pub(super) fn handle_drain(&self, now: Instant, deadline: Option<Instant>) {
        let mut drains = self.lock();
        let since = drains.ordered.map_or(now, |drain| drain.since);
        drains.ordered = Some(Drain { since, deadline, ended: 0 });
        self.drained.store(true, Relaxed);
    }

    /// The deadline has ended a session.
    pub(super) fn count_ended(&self) {
        if let Some(drain) = self.lock().ordered.as_mut() {
            drain.ended = drain.ended.saturating_add(1);
        }
    }

    /// Whether there was a drain to take back.
    pub(super) fn handle_undrain(&self) -> bool {
        let mut drains = self.lock();
        self.drained.store(drains.removed.is_some(), Relaxed);
        drains.ordered.take().is_some()
    }

    /// A thread that died with the lock left plain values, good at any moment.
    fn lock(&self) -> MutexGuard<'_, Drains> {
        self.drains.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_runtime_weight_holds_until_the_files_weight_changes() {
        let steering = Steering::new(2);
        #[rustfmt::skip]
        type Deed = fn(&Steering);
        let table: &[(&str, Deed, (u32, u32))] = &[
            ("as configured", |_| (), (2, 2)),
            ("an operator's", |s| s.set_weight(0), (0, 2)),
            ("a reload that changes others", |s| s.configure_weight(2), (0, 2)),
            ("a reload that changes this", |s| s.configure_weight(5), (5, 5)),
            ("an operator's again", |s| s.set_weight(7), (7, 5)),
            ("the file comes to the same", |s| s.configure_weight(7), (7, 7)),
            ("and goes on", |s| s.configure_weight(1), (1, 1)),
        ];
        for (name, step, expected) in table {
            step(&steering);
            assert_eq!((steering.weight(), steering.configured_weight()), *expected, "{name}");
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // a starting point
    fn a_server_that_has_gone_and_come_back_is_drained_as_before() {
        let start = Instant::now();
        let steering = Steering::new(1);
        steering.handle_removal(start);
        steering.handle_removal(start + Duration::from_secs(9));
        assert_eq!(steering.drain(), Some(Drain { since: start, deadline: None, ended: 0 }));
        assert!(steering.removed_since().is_some() && steering.is_drained());
        steering.handle_return();
        assert!(steering.removed_since().is_none() && !steering.is_drained());
        steering.handle_drain(start, None);
        steering.handle_removal(start);
        assert!(steering.handle_undrain() && steering.is_drained(), "nobody names it");
        steering.handle_drain(start, None);
        steering.handle_return();
        assert!(steering.removed_since().is_none() && steering.is_drained(), "an operator's drain stays");
        assert!(steering.handle_undrain() && !steering.is_drained());
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // a starting point
    fn a_drain_said_again_keeps_its_beginning_and_takes_the_last_deadline() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let steering = Steering::new(1);
        assert_eq!((steering.is_drained(), steering.handle_undrain()), (false, false));
        steering.handle_drain(at(1), Some(at(10)));
        steering.handle_drain(at(2), Some(at(5)));
        let drain = steering.drain().unwrap();
        assert_eq!(drain, Drain { since: at(1), deadline: Some(at(5)), ended: 0 });
        steering.count_ended();
        steering.count_ended();
        assert_eq!(steering.drain().unwrap().ended, 2);
        assert!(steering.is_drained() && !drain.is_over(at(4)) && drain.is_over(at(5)));
        steering.handle_drain(at(3), None);
        assert!(!steering.drain().unwrap().is_over(at(1000)));
        assert!(steering.handle_undrain() && !steering.is_drained() && steering.drain().is_none());
    }
}
