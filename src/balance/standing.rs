//! What a real server's past means for its next session: slow start and ejection.
//!
//! It belongs to the server's identity, as its health does. What its sessions do there all the time touches no more than
//! two flags; a lock is taken only where there is something to remember.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ejection::{Conduct, Deed, Ejected, EjectionPolicy};
use super::slow_start::{WARM, Warmth, warmth};

/// See the module's text.
#[derive(Debug)]
pub(super) struct Standing {
    /// What [`observe`](Self::observe) has seen last.
    in_service: AtomicBool,
    /// Copies of what is behind the lock, so that choosing takes none.
    slow: AtomicBool,
    ejected: AtomicBool,
    suspect: AtomicBool,
    draws_sessions: AtomicBool,
    past: Mutex<Past>,
}

#[derive(Debug, Default)]
struct Past {
    /// Since when it is in service, as long as that matters.
    back_since: Option<Instant>,
    conduct: Conduct,
}

impl Standing {
    /// Of a server that is in service from the start, or of one that still has to come into it.
    pub(super) fn new(in_service: bool) -> Self {
        Self {
            in_service: AtomicBool::new(in_service),
            slow: AtomicBool::new(false),
            ejected: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
            draws_sessions: AtomicBool::new(false),
            past: Mutex::default(),
        }
    }

    /// It has gone out of service, even if nobody looks before it is back.
    pub(super) fn leave_service(&self) {
        self.in_service.store(false, Relaxed);
    }

    /// Takes whether it may have sessions at `now`: where it may again, its slow start begins. True when an ejection is
    /// over with this.
    pub(super) fn observe(&self, now: Instant, may_have_sessions: bool, slow_start: Duration) -> bool {
        let is_back = self.is_ejected() && self.end_ejection(now);
        let in_service = may_have_sessions && !self.is_ejected();
        if self.in_service.swap(in_service, Relaxed) != in_service {
            let mut past = self.lock();
            past.back_since = (in_service && !slow_start.is_zero()).then_some(now);
            self.slow.store(past.back_since.is_some(), Relaxed);
        }
        is_back
    }

    /// How far it has come in its slow start; `None` when it is through, or there is none.
    pub(super) fn warmth(&self, now: Instant, slow_start: Duration) -> Option<Warmth> {
        if slow_start.is_zero() {
            return None;
        }
        if !self.in_service.load(Relaxed) {
            // It has come back since we looked.
            return Some(1);
        }
        if !self.slow.load(Relaxed) {
            return None;
        }
        self.lock().back_since.map(|since| warmth(since, now, slow_start))
    }

    /// What a scheduler makes of both: a server whose sessions fail gets its share and no more, like one that is warm and
    /// has not caught up.
    pub(super) fn pace(&self, now: Instant, slow_start: Duration) -> Option<Warmth> {
        let warmth = self.warmth(now, slow_start);
        if self.draws_sessions.load(Relaxed) {
            return Some(warmth.map_or(WARM, |warmth| warmth.min(WARM)));
        }
        warmth
    }

    /// It has caught up.
    pub(super) fn end_slow_start(&self) {
        self.lock().back_since = None;
        self.slow.store(false, Relaxed);
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.ejected.load(Relaxed)
    }

    /// Whether something has failed here since the last that worked.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Relaxed)
    }

    pub(super) fn ejection(&self) -> Option<Ejected> {
        self.lock().conduct.ejected().cloned()
    }

    /// Something has worked here.
    pub(super) fn worked(&self, deed: Deed) {
        self.with_conduct(|conduct| conduct.worked(deed));
    }

    /// Something has worked at another server.
    pub(super) fn worked_elsewhere(&self, deed: Deed) {
        self.with_conduct(|conduct| conduct.worked_elsewhere(deed));
    }

    /// Something has failed at another server.
    pub(super) fn failed_elsewhere(&self, deed: Deed) {
        self.with_conduct(|conduct| conduct.failed_elsewhere(deed));
    }

    /// Something has failed here for this client. Returns why the server is to be ejected, if it is.
    pub(super) fn failed(
        &self,
        now: Instant,
        policy: &EjectionPolicy,
        deed: Deed,
        client: IpAddr,
        how: &str,
    ) -> Option<String> {
        self.with_conduct(|conduct| conduct.failed(now, policy, deed, client, how))
    }

    pub(super) fn eject(&self, now: Instant, policy: &EjectionPolicy, reason: String) -> Ejected {
        let ejected = self.with_conduct(|conduct| conduct.eject(now, policy, reason));
        self.ejected.store(true, Relaxed);
        ejected
    }

    fn end_ejection(&self, now: Instant) -> bool {
        let is_over = self.with_conduct(|conduct| conduct.end_ejection(now));
        if is_over {
            self.ejected.store(false, Relaxed);
        }
        is_over
    }

    fn with_conduct<T>(&self, act: impl FnOnce(&mut Conduct) -> T) -> T {
        let mut past = self.lock();
        let result = act(&mut past.conduct);
        self.suspect.store(past.conduct.is_suspect(), Relaxed);
        self.draws_sessions.store(past.conduct.draws_sessions(), Relaxed);
        result
    }

    /// A thread that died with the lock left plain numbers, good at any moment.
    fn lock(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
