//! VRRP as a part of the daemon: what it depends on is watched, what it does is logged and told, and who holds an address
//! that moves away ends.
mod failover;
mod follower;
mod notify;
mod status;
mod sync;
mod tracks;
mod wishes;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep, timeout_at};

pub use self::failover::PendingStatus;
pub(super) use self::notify::LAST_NOTIFICATIONS;
pub use self::status::{OwnershipStatus, VrrpStatus};

pub(super) use self::failover::LAST_WORDS;
use self::failover::take_leave;
use self::follower::Follower;
use self::sync::Elsewhere;
use self::tracks::Tracks;
use self::wishes::Wishes;
use super::in_force::InForce;
use super::metrics::ObservedVrrp;
use crate::config::vrrp as config;
use crate::proxy::{SessionTable, now};
use crate::sys::liveness::Liveness;
use crate::vrrp::record::Record;
use crate::vrrp::{Event, Vrrp};

/// What mends threads and descriptors that are short, or a family of sockets that the unit denies.
pub(super) const RAISE_LIMITS: &str = "raise the limits of threads (TasksMax) and descriptors (LimitNOFILE); under systemd it takes docs/gridfront-vrrp.conf beside the unit";

/// How long addresses may take to go at the end: their change waits for a lock of the kernel.
pub(super) const ADDRESSES_GO_WITHIN: Duration = Duration::from_secs(2);

/// After a guardian could not be started.
const GUARDIAN_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// All virtual routers of the daemon; nothing runs before a configuration has one. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Ownership(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    running: Mutex<Option<Running>>,
    /// Whether an operator keeps this host from being master.
    maintenance: AtomicBool,
    wishes: Mutex<Wishes>,
    /// Once it was told to stop.
    stopping: Mutex<Option<Stopping>>,
    /// Names of instances that move together.
    groups: Mutex<Vec<Vec<String>>>,
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
    pub(super) fn configure(&self, config: &config::Vrrp) {
        if let Some(vrrp) = self.vrrp() {
            let groups: Vec<Vec<String>> =
                config.sync_groups.iter().map(|group| group.instances.clone()).collect();
            self.wishes().regroup(&groups);
            *self.0.groups.lock().unwrap_or_else(PoisonError::into_inner) = groups;
            vrrp.configure(config);
            self.0.started.notify_waiters();
        }
    }

    /// What runs, if anything does.
    pub(super) fn vrrp(&self) -> Option<Arc<Vrrp>> {
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map(|running| Arc::clone(&running.vrrp))
    }

    /// Whether this host has the addresses of an instance.
    pub(super) fn is_master(&self, instance: &str) -> bool {
        let of = |vrrp: Arc<Vrrp>| {
            vrrp.shared().records().iter().any(|record| record.name == instance && record.is_master())
        };
        self.vrrp().is_some_and(of)
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
        let follower = Follower::new(Arc::clone(&vrrp), &first, Arc::clone(&sessions), elsewhere.clone());
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
            () = exchange(in_force.clone(), Arc::clone(&vrrp), sessions, elsewhere) => {}
            () = Tracks::watch(&vrrp, in_force) => {}
        }
    }
}

/// The end of all virtual routers.
#[derive(Clone, Debug)]
struct Stopping {
    /// Nobody sends any more when they have ended.
    ended: watch::Receiver<()>,
    /// For everybody who waits for it, one after the other: the service manager is told of this time once.
    deadline: Instant,
}

impl Stopping {
    /// Whether they have ended in time.
    async fn wait(mut self) -> bool {
        let ended = async { while self.ended.changed().await.is_ok() {} };
        timeout_at(self.deadline.into(), ended).await.is_ok()
    }
}

impl Ownership {
    /// Gives up all addresses. Whoever asks again waits for the same.
    pub(super) async fn stop(&self) {
        let Some(vrrp) = self.vrrp() else { return };
        let stopping = {
            let mut stopping = self.0.stopping.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = || Stopping { ended: stop_aside(&vrrp), deadline: now() + ADDRESSES_GO_WITHIN };
            stopping.get_or_insert_with(begin).clone()
        };
        // Where that takes longer, the guardian goes on when the process ends.
        if !stopping.wait().await {
            tracing::error!("virtual addresses are not gone yet; their guardian is to remove them");
        }
    }
}

/// On a thread of its own: those that are there for what hangs may all be hanging.
fn stop_aside(vrrp: &Arc<Vrrp>) -> watch::Receiver<()> {
    let (sender, stopped) = watch::channel(());
    let stop = {
        let vrrp = Arc::clone(vrrp);
        move || {
            vrrp.stop();
            drop(sender);
        }
    };
    if std::thread::Builder::new().name("vrrp-stop".into()).spawn(stop).is_err() {
        vrrp.stop();
    }
    stopped
}

/// What others see.
impl Ownership {
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
        let (now, wishes) = (now(), self.wishes());
        let status = |record: &Arc<Record>| VrrpStatus::of(record, wishes.status_of(&record.name, now), now);
        records.iter().map(status).collect()
    }
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
    vrrp: Arc<Vrrp>,
    sessions: Arc<SessionTable>,
    elsewhere: Elsewhere,
) {
    loop {
        let config = in_force.borrow_and_update().configuration.said.vrrp.clone();
        tokio::select! {
            () = sync::exchange(config.clone(), Arc::clone(&vrrp), Arc::clone(&sessions), elsewhere.clone()) => {}
            other = in_force.wait_for(|in_force| in_force.configuration.said.vrrp != config) => {
                if other.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_again_for_addresses_that_hang_waits_no_longer() {
        let (_hangs, ended) = watch::channel(());
        let begun = now();
        let stopping = Stopping { ended, deadline: begun + ADDRESSES_GO_WITHIN / 4 };
        assert!(!stopping.clone().wait().await);
        let first = now();
        assert!(first >= stopping.deadline);
        assert!(!stopping.wait().await);
        assert!(now() < first + ADDRESSES_GO_WITHIN / 4, "not the same time once more");
    }
}
