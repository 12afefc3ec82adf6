//! One server of the site, as the balancer knows it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::check_report::{CheckReport, LastCheck, NO_SCRIPT_WEIGHT, ScriptWeight};
use super::ejection::Ejected;
use super::health::{CheckOutcome, Health, HealthChange, HealthSnapshot};
use super::observation::{Capabilities, Observed, ServerCertificate};
use super::queue::Queue;
use super::scheduler::Load;
use super::standing::Standing;
use super::stats::Stats;
use super::steering::{Drain, Steering};

/// What the configuration says about a real server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RealServerSpec {
    /// Its name in the configuration, the log and `status`.
    pub name: String,
    /// Where its control channel listens.
    pub address: SocketAddr,
    /// Its share of the sessions; 0 gives it none.
    pub weight: u32,
    /// Sessions it holds at most; `None` is no limit.
    pub max_connections: Option<u32>,
    /// Failures in a row until it is down; 0 counts as 1.
    pub fall: u32,
    /// Checks passed in a row until it is up again; 0 counts as 1.
    pub rise: u32,
}

/// A real server: its settings, the sessions it holds now, its health and its counters.
///
/// It belongs to its identity, not to a configuration: counts and health live on when a new [`VirtualServer`]
/// is built around the same `Arc`, and [`RealServer::reconfigure`] takes the settings of the new one.
///
/// [`VirtualServer`]: super::VirtualServer
#[derive(Debug)]
pub struct RealServer {
    name: String,
    address: SocketAddr,
    /// `u32::MAX` where there is no limit.
    max_connections: AtomicU32,
    steering: Steering,
    /// What its `script` check says in its place, or `NO_SCRIPT_WEIGHT`.
    script_weight: AtomicU32,
    active: AtomicU32,
    /// Copy of the health's state, so that choosing takes no second lock.
    up: AtomicBool,
    health: Mutex<Health>,
    last_check: Mutex<Option<LastCheck>>,
    observed: Observed,
    /// Where sessions may wait for a place on it; looked at only if there is one.
    queues: Mutex<Vec<Weak<Queue>>>,
    has_queues: AtomicBool,
    pub(super) standing: Standing,
    /// What it has done since the start.
    pub stats: Stats,
}

/// Why a real server gets no new session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unfit {
    Drained,
    Down,
    Full,
}

impl RealServer {
    /// A server that is up and holds nothing.
    #[must_use]
    pub fn new(spec: RealServerSpec) -> Self {
        Self {
            name: spec.name,
            address: spec.address,
            max_connections: AtomicU32::new(spec.max_connections.unwrap_or(u32::MAX)),
            steering: Steering::new(spec.weight),
            script_weight: AtomicU32::new(NO_SCRIPT_WEIGHT),
            active: AtomicU32::new(0),
            up: AtomicBool::new(true),
            health: Mutex::new(Health::new(spec.fall, spec.rise)),
            last_check: Mutex::new(None),
            observed: Observed::default(),
            queues: Mutex::default(),
            has_queues: AtomicBool::new(false),
            standing: Standing::new(true),
            stats: Stats::default(),
        }
    }

    /// Takes the settings of another configuration that has this server, for everything that happens from now on. Its
    /// identity stays, and so do counts, health, and what an operator has chosen: a drain, and a weight until the
    /// configuration changes its own.
    pub fn reconfigure(&self, spec: &RealServerSpec) {
        // In full, so that no setting is forgotten here.
        let RealServerSpec { name, address, weight, max_connections, fall, rise } = spec;
        debug_assert_eq!((name, *address), (&self.name, self.address), "settings of another server");
        self.max_connections.store(max_connections.unwrap_or(u32::MAX), Relaxed);
        self.configure_weight(*weight);
        self.lock_health().reconfigure(*fall, *rise);
        if self.steering.handle_return() {
            self.standing.leave_service();
        }
        self.offer_places();
    }

    /// Takes it out of service because no configuration names it any more, as a drain would. Those that it holds are the
    /// caller's to tell.
    pub fn handle_removal(&self, now: Instant) {
        self.steering.handle_removal(now);
        self.offer_places();
    }

    /// Whether no configuration names it any more.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.steering.removed_since().is_some()
    }

    /// Since when no configuration names it any more; `None` while one does.
    #[must_use]
    pub fn removed_since(&self) -> Option<Instant> {
        self.steering.removed_since()
    }

    /// Whether an operator has drained it, or given it another weight than the configuration.
    #[must_use]
    pub fn is_steered(&self) -> bool {
        self.steering.is_steered()
    }

    /// Whether an operator has drained it, as a removal would, too.
    #[must_use]
    pub fn has_ordered_drain(&self) -> bool {
        self.steering.has_ordered_drain()
    }

    /// The same, down until its checks have passed (`alpha`).
    #[must_use]
    pub fn unproven(mut self) -> Self {
        self.up = AtomicBool::new(false);
        self.lock_health().start_down();
        self.newcomer()
    }

    /// The same, to be added to others that are at work: it starts slowly.
    #[must_use]
    pub fn newcomer(mut self) -> Self {
        self.standing = Standing::new(false);
        self
    }

    /// Its name in the configuration, the log and `status`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its control channel listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sessions it holds at most; `None` is no limit.
    #[cfg(test)]
    pub(super) fn max_connections(&self) -> Option<u32> {
        Some(self.max_connections.load(Relaxed)).filter(|&max| max < u32::MAX)
    }

    /// Its share of the sessions; 0 gives it none.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.steering.weight()
    }

    /// The weight that the configuration says; the one in force may be an operator's.
    #[must_use]
    pub fn configured_weight(&self) -> u32 {
        self.steering.configured_weight()
    }

    /// An operator changes its share for the sessions placed from now on; those it holds stay.
    pub fn set_weight(&self, weight: u32) {
        self.steering.set_weight(weight);
        self.offer_places();
    }

    /// A new configuration says this weight: an operator's holds on unless the configured one has changed.
    pub fn configure_weight(&self, weight: u32) {
        self.steering.configure_weight(weight);
        self.offer_places();
    }

    /// The share that counts: what its `script` check says, unless an operator gives it none.
    #[must_use]
    pub fn effective_weight(&self) -> u32 {
        match (self.weight(), self.script_weight.load(Relaxed)) {
            (0, _) => 0,
            (weight, NO_SCRIPT_WEIGHT) => weight,
            (_, weight) => weight,
        }
    }

    /// Sessions it holds now, those still connecting included.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.active.load(Relaxed)
    }

    /// Whether checks and sessions find it working.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.load(Relaxed)
    }

    /// Whether an operator has taken it out of service.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.steering.is_drained()
    }

    /// Since when, and until when what still runs may; `None` while it is in service.
    #[must_use]
    pub fn drain(&self) -> Option<Drain> {
        self.steering.drain()
    }

    /// Takes it out of service for new sessions. Those that it holds are the caller's to tell. Said again, the last
    /// deadline counts.
    pub fn handle_drain(&self, now: Instant, deadline: Option<Instant>) {
        self.steering.handle_drain(now, deadline);
        self.offer_places();
    }

    /// The deadline of its drain has ended a session.
    pub fn count_ended_by_drain(&self) {
        self.steering.count_ended();
    }

    /// Takes it back into service; whether it was out.
    pub fn handle_undrain(&self) -> bool {
        let was_drained = self.steering.handle_undrain();
        self.offer_places();
        was_drained
    }

    /// Takes what a check found that ended at `now`, keeps it for [`last_check`](Self::last_check) and counts it; the
    /// caller logs the change.
    pub fn handle_report(&self, now: Instant, report: CheckReport) -> Option<HealthChange> {
        self.stats.count_check(&report.outcome, report.took);
        match report.weight {
            ScriptWeight::NotAsked => self.script_weight.store(NO_SCRIPT_WEIGHT, Relaxed),
            ScriptWeight::AsBefore => {}
            ScriptWeight::Now(weight) => self.script_weight.store(weight.into(), Relaxed),
        }
        self.offer_places();
        *self.lock_last_check() = Some(LastCheck::of(now, &report));
        self.observed.take(report.certificate, report.capabilities);
        self.handle_check(now, report.outcome)
    }

    /// Takes why a check could not run: the door's own trouble, which is shown and says nothing about the server.
    pub fn handle_unchecked(&self, now: Instant, reason: String) {
        *self.lock_last_check() = Some(LastCheck::not_run(now, reason));
    }

    /// What the last check found; `None` before the first.
    #[must_use]
    pub fn last_check(&self) -> Option<LastCheck> {
        self.lock_last_check().clone()
    }

    /// Its certificate for GSI, as a check has seen it last.
    #[must_use]
    pub fn certificate(&self) -> Option<ServerCertificate> {
        self.observed.certificate()
    }

    /// What it can do, as far as a check has seen.
    pub(super) fn capabilities(&self) -> Option<Arc<Capabilities>> {
        self.observed.capabilities()
    }

    /// Takes the outcome of a check that ended at `now`; the caller logs the change.
    pub fn handle_check(&self, now: Instant, outcome: CheckOutcome) -> Option<HealthChange> {
        let mut health = self.lock_health();
        let change = health.handle_check(now, outcome);
        self.keep_up(&health);
        drop(health);
        if change.is_some() {
            self.offer_places();
        }
        change
    }

    /// Takes what a session saw when it connected: a 220, or the reason why none came; the caller logs the change.
    ///
    /// Not for 421 and 422, for which there is [`handle_busy`](Self::handle_busy), nor for the door's own troubles
    /// (out of descriptors or ports): those say nothing about the server.
    pub fn handle_greeting(&self, now: Instant, greeting: Result<(), String>) -> Option<HealthChange> {
        let mut health = self.lock_health();
        let change = health.handle_greeting(now, greeting);
        self.keep_up(&health);
        drop(health);
        if change.is_some() {
            self.offer_places();
        }
        change
    }

    /// Takes the words of a server that answered a session with 421 or 422, for `status`.
    pub fn handle_busy(&self, words: String) {
        self.lock_health().handle_busy(words);
    }

    /// Why it gets no sessions though it is up, and until when; `None` when it is not ejected.
    #[must_use]
    pub fn ejection(&self) -> Option<Ejected> {
        self.standing.ejection()
    }

    /// Its health, for `status`.
    #[must_use]
    pub fn health(&self) -> HealthSnapshot {
        self.lock_health().snapshot().clone()
    }

    /// What a scheduler weighs, or why it must not.
    pub(super) fn load(&self) -> Result<Load, Unfit> {
        let load = Load { weight: self.effective_weight(), active: self.active() };
        if load.weight == 0 || self.is_drained() {
            Err(Unfit::Drained)
        } else if !self.is_up() {
            Err(Unfit::Down)
        } else if load.active >= self.max_connections.load(Relaxed) {
            Err(Unfit::Full)
        } else {
            Ok(load)
        }
    }

    /// Whether it is to be had for sessions, as far as checks and operators say.
    pub(super) fn may_have_sessions(&self) -> bool {
        matches!(self.load(), Ok(_) | Err(Unfit::Full))
    }

    /// Counts one session more, unless it is full. Checked again here because two virtual servers may share
    /// a real server, and each holds only its own lock.
    pub(super) fn hold(&self) -> bool {
        let max = self.max_connections.load(Relaxed);
        self.active.fetch_update(Relaxed, Relaxed, |active| (active < max).then(|| active + 1)).is_ok()
    }

    /// Gives back what [`hold`](Self::hold) has counted.
    pub(super) fn release(&self) {
        self.active.fetch_sub(1, Relaxed);
        self.offer_places();
    }

    /// Sessions in this queue wait for a place on it, too.
    pub fn serve_queue(&self, queue: &Arc<Queue>) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|known| known.strong_count() > 0 && !std::ptr::eq(known.as_ptr(), Arc::as_ptr(queue)));
        queues.push(Arc::downgrade(queue));
        self.has_queues.store(true, Relaxed);
    }

    /// A session may fit now that did not before, or none any more: whoever waits has to look. To be called by whatever
    /// changes that.
    pub fn offer_places(&self) {
        if !self.has_queues.load(Relaxed) {
            return;
        }
        for queue in self.queues.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(queue) = queue.upgrade() {
                queue.wake_first();
            }
        }
    }

    /// As [`lock_health`](Self::lock_health).
    fn lock_last_check(&self) -> MutexGuard<'_, Option<LastCheck>> {
        self.last_check.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// While the lock is held, so that nobody's older news comes last.
    fn keep_up(&self, health: &Health) {
        let up = health.snapshot().up;
        self.up.store(up, Relaxed);
        if !up {
            self.standing.leave_service();
        }
    }

    /// A thread that died with the lock left plain numbers, good at any moment.
    fn lock_health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
