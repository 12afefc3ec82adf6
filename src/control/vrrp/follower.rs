//! What happens to virtual routers is logged and told, and who holds an address that moves away ends.
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::notify::Notifier;
use super::sync::{self, Elsewhere};
use crate::config::vrrp as config;
use crate::control::in_force::InForce;
use crate::proto::vrrp::Role;
use crate::proxy::{SessionTable, now};
use crate::vrrp::{Event, Vrrp};

/// Trouble that lasts.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// When to look again for sessions at an address that has gone, after that is known: of clients that were in the queue of a
/// listener, or whose packets had come before it went.
const STRAGGLERS_AFTER: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];

/// Takes what happens.
pub(super) struct Follower {
    vrrp: Arc<Vrrp>,
    /// All of the configuration.
    addresses: BTreeSet<IpAddr>,
    /// Instances that were master and are not, as far as was heard.
    left: BTreeSet<String>,
    notifier: Notifier,
    sessions: Arc<SessionTable>,
    elsewhere: Elsewhere,
    /// What was said last, and when.
    trouble: Option<(String, Instant)>,
}

impl Follower {
    pub(super) fn new(
        vrrp: Arc<Vrrp>,
        in_force: &InForce,
        sessions: Arc<SessionTable>,
        elsewhere: Elsewhere,
    ) -> Self {
        let mut follower = Self {
            vrrp,
            addresses: BTreeSet::new(),
            left: BTreeSet::new(),
            notifier: Notifier::default(),
            sessions,
            elsewhere,
            trouble: None,
        };
        follower.take_up(&in_force.configuration.said.vrrp);
        follower
    }

    fn take_up(&mut self, vrrp: &config::Vrrp) {
        let before = std::mem::replace(&mut self.addresses, vrrp.owned_addresses());
        let gone: Vec<IpAddr> = before.difference(&self.addresses).copied().collect();
        if !gone.is_empty() {
            let sessions = self.end(&gone, now());
            if sessions > 0 {
                tracing::warn!(sessions, "sessions ended: the configuration has their address no more");
            }
        }
        self.left.retain(|instance| vrrp.instances.iter().any(|of| of.name == *instance));
        self.notifier.take_up(vrrp, now());
    }

    pub(super) async fn follow(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut in_force: watch::Receiver<Arc<InForce>>,
    ) {
        loop {
            tokio::select! {
                biased;
                Ok(()) = in_force.changed() => {
                    let next = in_force.borrow_and_update().clone();
                    self.take_up(&next.configuration.said.vrrp);
                }
                event = events.recv() => match event {
                    Some(event) => self.handle(event),
                    None => break,
                },
            }
        }
        self.notifier.finish().await;
    }

    /// Ends the sessions at addresses that have gone, and those that are still on their way, unless the address is back. How
    /// many there are now.
    fn end(&self, addresses: &[IpAddr], until: Instant) -> usize {
        let (vrrp, table, addresses) =
            (Arc::clone(&self.vrrp), Arc::clone(&self.sessions), addresses.to_vec());
        let ended = table.end_at(&addresses, until);
        tokio::spawn(async move {
            for delay in STRAGGLERS_AFTER {
                sleep(delay).await;
                // First the time, then whose it is: what comes in between is served.
                let until = now();
                let gone: Vec<IpAddr> =
                    addresses.iter().copied().filter(|address| !is_here(&vrrp, *address)).collect();
                table.end_at(&gone, until);
            }
        });
        ended
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
            Event::Transition { instance, from, to, cause, priority, addresses, at } => {
                let priority = priority.get();
                let (cause, state, before) = (cause.to_string(), to.word(), from.word());
                if to == Role::Fault {
                    tracing::error!(instance, state, before, priority, cause, "VRRP state");
                } else {
                    tracing::warn!(instance, state, before, priority, cause, "VRRP state");
                }
                if from == Role::Master {
                    self.left.insert(instance.clone());
                    let sessions = self.end(&addresses, at);
                    if sessions > 0 {
                        tracing::warn!(
                            instance,
                            sessions,
                            "sessions ended: their address is at another host now"
                        );
                    }
                }
                if to == Role::Master {
                    if self.left.remove(&instance) {
                        // Of the time in between, in which it was another's.
                        self.sessions.end_at(&addresses, at);
                    }
                    self.end_elsewhere(&instance, &addresses);
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

fn is_here(vrrp: &Vrrp, address: IpAddr) -> bool {
    let records = vrrp.shared().records();
    records.iter().any(|of| of.addresses.contains(&address) && of.is_master())
}
