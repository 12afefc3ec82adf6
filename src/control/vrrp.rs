//! VRRP as a part of the daemon: what it depends on is watched, what it does is logged and told, and who holds an address
//! that moves away ends.
mod failover;
mod notify;
mod status;
mod sync;
mod tracks;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::sleep;

pub use self::failover::PendingStatus;
pub(super) use self::notify::LAST_NOTIFICATIONS;
pub use self::status::{OwnershipStatus, VrrpStatus};

use self::failover::{Pending, take_leave, until_quiet};
use self::notify::Notifier;
use self::sync::Elsewhere;
use super::in_force::InForce;
use super::metrics::ObservedVrrp;
use crate::config::did_you_mean;
use crate::config::vrrp as config;
use crate::proto::vrrp::Role;
use crate::proxy::{SessionTable, now};
use crate::sys::liveness::Liveness;
use crate::vrrp::record::Record;
use crate::vrrp::{Event, Vrrp};

/// What mends threads and descriptors that are short, or a family of sockets that the unit denies.
pub(super) const RAISE_LIMITS: &str = "raise the limits of threads (TasksMax) and descriptors (LimitNOFILE); under systemd it takes docs/gridfront-vrrp.conf beside the unit";

/// After a guardian could not be started.
const GUARDIAN_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Trouble that lasts.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(60);

const NO_INSTANCES: &str =
    "the configuration has no [[vrrp_instance]]: the addresses are somebody else's matter";

/// All virtual routers of the daemon; nothing runs before a configuration has one. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Ownership(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    running: Mutex<Option<Running>>,
    /// Whether an operator keeps this host from being master.
    maintenance: AtomicBool,
    /// By the name of the instance.
    pending: Mutex<BTreeMap<String, (Pending, AbortHandle)>>,
    started: Notify,
}

#[derive(Debug)]
struct Running {
    vrrp: Arc<Vrrp>,
    /// Until somebody takes it.
    events: Option<mpsc::Receiver<Event>>,
}

impl Ownership {
    /// Starts what is needed for this configuration. Nothing is in force yet.
    ///
    /// # Errors
    ///
    /// As [`Vrrp::start`].
    pub(super) fn prepare(&self, config: &config::Vrrp) -> io::Result<()> {
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_none() && !config.instances.is_empty() {
            let (vrrp, events) = Vrrp::start()?;
            *running = Some(Running { vrrp: Arc::new(vrrp), events: Some(events) });
        }
        Ok(())
    }

    /// Puts it in force.
    pub(super) fn configure(&self, config: &config::Vrrp, sessions: &SessionTable) {
        if let Some(vrrp) = self.vrrp() {
            sessions.note_places(config.owned_addresses());
            vrrp.configure(config);
            self.0.started.notify_waiters();
        }
    }

    /// What runs, if anything does.
    pub(super) fn vrrp(&self) -> Option<Arc<Vrrp>> {
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map(|running| Arc::clone(&running.vrrp))
    }

    /// Whether everything that was started still runs.
    pub(super) fn is_sound(&self) -> bool {
        self.vrrp().is_none_or(|vrrp| vrrp.is_sound())
    }

    /// Does what virtual routers need beside their threads, for as long as the daemon runs. Returns when they have failed.
    pub(super) async fn look_after(
        &self,
        mut in_force: watch::Receiver<Arc<InForce>>,
        sessions: Arc<SessionTable>,
        liveness: &Liveness,
    ) {
        let vrrp = loop {
            let started = self.0.started.notified();
            if let Some(vrrp) = self.vrrp() {
                break vrrp;
            }
            started.await;
        };
        let events = {
            let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.as_mut().and_then(|running| running.events.take())
        };
        let Some(events) = events else { return };
        let first = in_force.borrow_and_update().clone();
        let elsewhere = Elsewhere::default();
        let follower = Follower::new(&first, Arc::clone(&sessions), elsewhere.clone());
        let pulse = liveness.pulse("vrrp".into());
        let turning = Arc::clone(&vrrp);
        let turn = move || {
            let vrrp = Arc::clone(&turning);
            async move { vrrp.until_it_turns().await }
        };
        tokio::select! {
            never = pulse.answer_for(turn) => match never {},
            () = follower.follow(events, in_force.clone()) => {}
            never = guard(&vrrp) => match never {},
            () = exchange(in_force.clone(), sessions, elsewhere) => {}
            () = tracks::watch(&vrrp, in_force) => {}
        }
    }
}

/// What operators want.
impl Ownership {
    /// Returns when nothing is under way at the addresses that are here, or at the deadline; then they are here no more, and
    /// do not come back.
    pub(super) async fn hand_over(&self, sessions: &SessionTable, deadline: Instant) {
        let Some(vrrp) = self.vrrp() else { return };
        let masters = masters(&vrrp);
        let addresses: Vec<IpAddr> = masters.iter().flat_map(|record| record.addresses.clone()).collect();
        if !addresses.is_empty() {
            tracing::info!(
                "virtual addresses are here: they go when nothing is under way at them, or at the deadline"
            );
            until_quiet(sessions, &addresses, deadline).await;
            take_leave(sessions, &addresses).await;
        }
        self.stop().await;
    }

    /// Gives up all addresses.
    pub(super) async fn stop(&self) {
        if let Some(vrrp) = self.vrrp() {
            // It waits for threads.
            let _ = spawn_blocking(move || vrrp.stop()).await;
        }
    }

    /// Lets another host be master of one instance, or of all that are master here. It happens when nothing is under way, at
    /// the deadline at the latest; this returns before, with those concerned.
    pub(super) fn fail_over(
        &self,
        instance: Option<&str>,
        deadline: Instant,
        sessions: &Arc<SessionTable>,
    ) -> Result<Vec<VrrpStatus>, String> {
        let Some(vrrp) = self.vrrp() else { return Err(NO_INSTANCES.into()) };
        let concerned = self.concerned(&vrrp, instance)?;
        for record in &concerned {
            let (ownership, vrrp, sessions, record) =
                (self.clone(), Arc::clone(&vrrp), Arc::clone(sessions), Arc::clone(record));
            self.begin(&record.name.clone(), deadline, async move {
                let held = until_quiet(&sessions, &record.addresses, deadline).await;
                let instance = &record.name;
                tracing::warn!(instance, busy = held.busy, unread = held.unread, "failover: stepping down");
                take_leave(&sessions, &record.addresses).await;
                vrrp.step_down(instance).await;
                ownership.forget(instance);
            });
        }
        Ok(self.statuses_of(&concerned))
    }

    /// Keeps this host from being master, or not any more. As master it gives up as in [`Self::fail_over`].
    pub(super) fn set_maintenance(
        &self,
        on: bool,
        deadline: Instant,
        sessions: &Arc<SessionTable>,
    ) -> Result<Vec<VrrpStatus>, String> {
        let Some(vrrp) = self.vrrp() else { return Err(NO_INSTANCES.into()) };
        self.0.maintenance.store(on, Relaxed);
        tracing::warn!(on, "maintenance");
        let all = vrrp.shared().records();
        self.forget_all();
        let masters = masters(&vrrp);
        if on && !masters.is_empty() {
            let addresses: Vec<IpAddr> = masters.iter().flat_map(|record| record.addresses.clone()).collect();
            let (ownership, of_all, sessions) = (self.clone(), Arc::clone(&vrrp), Arc::clone(sessions));
            let name = masters.first().map(|record| record.name.clone()).unwrap_or_default();
            self.begin(&name, deadline, async move {
                until_quiet(&sessions, &addresses, deadline).await;
                take_leave(&sessions, &addresses).await;
                of_all.set_maintenance(true);
                ownership.forget_all();
            });
        } else {
            vrrp.set_maintenance(on);
        }
        Ok(self.statuses_of(&all))
    }

    /// Of all instances.
    pub(super) fn statuses(&self) -> Vec<VrrpStatus> {
        self.vrrp().map(|vrrp| self.statuses_of(&vrrp.shared().records())).unwrap_or_default()
    }

    /// Of what they have in common, where there are any.
    pub(super) fn status(&self) -> Option<OwnershipStatus> {
        let vrrp = self.vrrp()?;
        Some(OwnershipStatus::of(vrrp.shared(), self.0.maintenance.load(Relaxed)))
    }

    /// For a page of metrics.
    pub(super) fn measured(&self) -> Option<ObservedVrrp> {
        let shared = Arc::clone(self.vrrp()?.shared());
        Some(ObservedVrrp { shared, maintenance: self.0.maintenance.load(Relaxed) })
    }

    fn statuses_of(&self, records: &[Arc<Record>]) -> Vec<VrrpStatus> {
        let (now, pending) = (now(), self.lock_pending());
        let status = |record: &Arc<Record>| {
            VrrpStatus::of(record, pending.get(&record.name).map(|(pending, _)| pending.status(now)), now)
        };
        records.iter().map(status).collect()
    }

    fn concerned(&self, vrrp: &Vrrp, instance: Option<&str>) -> Result<Vec<Arc<Record>>, String> {
        let records = vrrp.shared().records();
        let Some(name) = instance else {
            let masters = masters(vrrp);
            return if masters.is_empty() {
                Err("no instance is master here; nothing to do".into())
            } else {
                Ok(masters)
            };
        };
        match records.iter().find(|record| record.name == name) {
            Some(record) if record.situation().role == Role::Master => Ok(vec![Arc::clone(record)]),
            Some(record) => {
                Err(format!("{name} is {} here; ask where it is MASTER", record.situation().role.word()))
            }
            None => {
                let known: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
                let meant = did_you_mean(name, &known).map(|meant| format!("; did you mean {meant:?}?"));
                Err(format!("no VRRP instance is called {name:?}{}", meant.unwrap_or_default()))
            }
        }
    }

    /// Another wish for the same instance takes its place.
    fn begin(&self, instance: &str, deadline: Instant, work: impl Future<Output = ()> + Send + 'static) {
        let mut pending = self.lock_pending();
        let task = tokio::spawn(work).abort_handle();
        let begun = Pending { since: now(), deadline };
        if let Some((_, before)) = pending.insert(instance.to_owned(), (begun, task)) {
            before.abort();
        }
    }

    fn forget(&self, instance: &str) {
        self.lock_pending().remove(instance);
    }

    fn forget_all(&self) {
        for (_, task) in std::mem::take(&mut *self.lock_pending()).into_values() {
            task.abort();
        }
    }

    fn lock_pending(&self) -> MutexGuard<'_, BTreeMap<String, (Pending, AbortHandle)>> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn masters(vrrp: &Vrrp) -> Vec<Arc<Record>> {
    let records = vrrp.shared().records();
    records.iter().filter(|record| record.situation().role == Role::Master).cloned().collect()
}

async fn guard(vrrp: &Vrrp) -> std::convert::Infallible {
    loop {
        if let Err(error) = vrrp.keep_guardian().await {
            tracing::error!(
                %error,
                "no guardian can be started: after a kill -9 virtual addresses stay for seconds; raise the limit of processes (TasksMax)"
            );
        }
        sleep(GUARDIAN_AGAIN_AFTER).await;
    }
}

/// Session sync, as each configuration has it.
async fn exchange(
    mut in_force: watch::Receiver<Arc<InForce>>,
    sessions: Arc<SessionTable>,
    elsewhere: Elsewhere,
) {
    loop {
        let config = in_force.borrow_and_update().configuration.said.vrrp.clone();
        tokio::select! {
            () = sync::exchange(config.clone(), Arc::clone(&sessions), elsewhere.clone()) => {}
            other = in_force.wait_for(|in_force| in_force.configuration.said.vrrp != config) => {
                if other.is_err() {
                    return;
                }
            }
        }
    }
}

/// Takes what happens.
struct Follower {
    instances: BTreeMap<String, Vec<IpAddr>>,
    notifier: Notifier,
    sessions: Arc<SessionTable>,
    elsewhere: Elsewhere,
    /// What was said last, and when.
    trouble: Option<(String, Instant)>,
}

impl Follower {
    fn new(in_force: &InForce, sessions: Arc<SessionTable>, elsewhere: Elsewhere) -> Self {
        let mut follower = Self {
            instances: BTreeMap::new(),
            notifier: Notifier::default(),
            sessions,
            elsewhere,
            trouble: None,
        };
        follower.take_up(in_force);
        follower
    }

    fn take_up(&mut self, in_force: &InForce) {
        let vrrp = &in_force.configuration.said.vrrp;
        let addresses =
            |instance: &config::VrrpInstance| instance.addresses().map(ipnet::IpNet::addr).collect();
        self.instances =
            vrrp.instances.iter().map(|instance| (instance.name.clone(), addresses(instance))).collect();
        self.notifier.take_up(vrrp);
    }

    async fn follow(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut in_force: watch::Receiver<Arc<InForce>>,
    ) {
        loop {
            tokio::select! {
                biased;
                Ok(()) = in_force.changed() => {
                    let next = in_force.borrow_and_update().clone();
                    self.take_up(&next);
                }
                event = events.recv() => match event {
                    Some(event) => self.handle(event),
                    None => break,
                },
            }
        }
        self.notifier.finish().await;
    }

    /// Clients of a host that is no more would wait for it.
    fn end_elsewhere(&self, instance: &str, addresses: &[IpAddr]) {
        let connections = self.elsewhere.take(addresses);
        if connections.is_empty() {
            return;
        }
        let instance = instance.to_owned();
        tokio::spawn(async move {
            match sync::end(connections).await {
                Ok(clients) => {
                    tracing::info!(
                        instance,
                        clients,
                        "clients of the master before are told that it is gone"
                    );
                }
                Err(error) => {
                    let mend = "it takes CAP_NET_RAW";
                    tracing::warn!(instance, %error, "clients of the master before cannot be told; {mend}");
                }
            }
        });
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Transition { instance, from, to, cause, priority } => {
                let priority = priority.get();
                let (cause, state, before) = (cause.to_string(), to.word(), from.word());
                if to == Role::Fault {
                    tracing::error!(instance, state, before, priority, cause, "VRRP state");
                } else {
                    tracing::warn!(instance, state, before, priority, cause, "VRRP state");
                }
                if from == Role::Master
                    && let Some(addresses) = self.instances.get(&instance)
                {
                    let sessions = self.sessions.end_at(addresses);
                    if sessions > 0 {
                        tracing::warn!(
                            instance,
                            sessions,
                            "sessions ended: their address is at another host now"
                        );
                    }
                }
                if to == Role::Master
                    && let Some(addresses) = self.instances.get(&instance)
                {
                    self.end_elsewhere(&instance, addresses);
                }
                self.notifier.tell_of_instance(&instance, to, priority);
            }
            Event::Group { name, to } => {
                tracing::warn!(sync_group = name, state = to.word(), "VRRP state");
                self.notifier.tell_of_group(&name, to);
            }
            Event::Problem { instance, what } => tracing::warn!(instance, "VRRP: {what}"),
            Event::Trouble(what) => {
                let now = now();
                let is_new = self
                    .trouble
                    .as_ref()
                    .is_none_or(|(last, at)| *last != what || now >= *at + SAID_AGAIN_AFTER);
                if is_new {
                    tracing::error!("VRRP: {what}");
                    self.trouble = Some((what, now));
                }
            }
            Event::Stale(addresses) => {
                let addresses = addresses.join(" ");
                tracing::warn!(
                    addresses,
                    "virtual addresses were there at the start and are removed until they are ours"
                );
            }
            Event::NotRealTime(why) => tracing::warn!("VRRP may be late: {why}"),
        }
    }
}
