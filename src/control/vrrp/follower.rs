//! What happens to virtual routers is logged and told, and who holds an address that moves away ends.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::notify::Notifier;
use super::sync::{self, Elsewhere};
use crate::config::vrrp as config;
use crate::control::in_force::InForce;
use crate::proto::vrrp::Role;
use crate::proxy::{SessionTable, now};
use crate::vrrp::Event;

/// Trouble that lasts.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Takes what happens.
pub(super) struct Follower {
    instances: BTreeMap<String, Vec<IpAddr>>,
    notifier: Notifier,
    sessions: Arc<SessionTable>,
    elsewhere: Elsewhere,
    /// What was said last, and when.
    trouble: Option<(String, Instant)>,
}

impl Follower {
    pub(super) fn new(in_force: &InForce, sessions: Arc<SessionTable>, elsewhere: Elsewhere) -> Self {
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
