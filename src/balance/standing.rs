//! What a real server's past means for its next session: slow start and ejection.
//!
//! It belongs to the server's identity, as its health does. What its sessions do there all the time touches no more than
//! two flags; a lock is taken only where there is something to remember.

use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
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

    /// It has gone out of service, even if nobody looks before it is back. The caller has changed before what
    /// [`observe`](Self::observe) asks for.
    pub(super) fn leave_service(&self) {
        let _past = self.lock();
        self.in_service.store(false, Release);
    }

    /// Asks whether it may have sessions at `now`: where it may again, its slow start begins. True when an ejection is
    /// over with this.
    pub(super) fn observe(
        &self,
        now: Instant,
        may_have_sessions: impl Fn() -> bool,
        slow_start: Duration,
    ) -> bool {
        let is_back = self.is_ejected() && self.end_ejection(now);
        let in_service = || may_have_sessions() && !self.is_ejected();
        // Nearly always nothing has changed, and then nothing is locked.
        if self.in_service.load(Relaxed) == in_service() {
            return is_back;
        }
        // Asked again behind the lock, and told there: of two that have seen it go and come, the one that saw it go would
        // take the slow start away otherwise that the other has begun.
        let mut past = self.lock();
        let in_service = in_service();
        if self.in_service.load(Relaxed) != in_service {
            past.back_since = (in_service && !slow_start.is_zero()).then_some(now);
            self.slow.store(past.back_since.is_some(), Relaxed);
            // Last, so that nobody finds it in service and at full speed in between.
            self.in_service.store(in_service, Release);
        }
        is_back
    }

    /// How far it has come in its slow start; `None` when it is through, or there is none.
    pub(super) fn warmth(&self, now: Instant, slow_start: Duration) -> Option<Warmth> {
        if slow_start.is_zero() {
            return None;
        }
        if !self.in_service.load(Acquire) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{RecvTimeoutError, Sender, channel};

    const SLOW_START: Duration = Duration::from_secs(60);

    #[test]
    #[expect(clippy::disallowed_methods, reason = "tests need some instant to start from")]
    fn a_server_that_goes_while_somebody_looks_is_gone() {
        let now = Instant::now();
        let standing = Standing::new(false);
        let may = AtomicBool::new(true);
        let (going, goes) = channel();
        let (gone, is_gone) = channel();
        std::thread::scope(|scope| {
            let (standing, may) = (&standing, &may);
            scope.spawn(move || {
                goes.recv().unwrap();
                may.store(false, Relaxed);
                standing.leave_service();
                // Nobody listens if it has taken longer than that.
                let _ = gone.send(());
            });
            let asked = std::cell::Cell::new(0);
            let look = || {
                let may = may.load(Relaxed);
                asked.set(asked.get() + 1);
                if asked.get() == 2 {
                    going.send(()).unwrap();
                    let _ = is_gone.recv_timeout(Duration::from_millis(100));
                }
                may
            };
            assert!(!standing.observe(now, look, SLOW_START));
            drop(going);
        });
        assert_eq!(standing.warmth(now + SLOW_START, SLOW_START), Some(1), "it starts again when it is back");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "tests need some instant to start from")]
    fn whether_it_is_in_service_and_since_when_change_together() {
        let now = Instant::now();
        for goes in [true, false] {
            let standing = Standing::new(goes);
            let (changing, changed): (Sender<()>, _) = channel();
            std::thread::scope(|scope| {
                let past = standing.lock();
                let standing = &standing;
                scope.spawn(move || {
                    standing.observe(now, || !goes, SLOW_START);
                    drop(changing);
                });
                // It cannot be over, for the lock is held; what it may have done before that shows within this time.
                assert_eq!(changed.recv_timeout(Duration::from_millis(50)), Err(RecvTimeoutError::Timeout));
                let in_service = standing.in_service.load(Relaxed);
                drop(past);
                assert_eq!(in_service, goes, "others would act upon half a change");
            });
            assert_eq!(standing.warmth(now, SLOW_START), Some(1));
        }
    }
}
