//! Real servers by name while the daemon runs: what the file says stays, and whenever its names stand for other servers, the
//! configuration that this means now is applied as a reload of the file would be.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::reload::Reloader;
use crate::config::{Question, Resolution};
use crate::resolver::{NameWatch, Names};

/// One name of the configuration.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct NameStatus {
    /// As it is asked for.
    pub name: String,
    /// `address` or `srv`.
    pub kind: String,
    /// The servers that it stands for.
    pub addresses: Vec<String>,
    /// Why the last answer was not taken.
    pub reason: Option<String>,
    /// Seconds until it is asked for again.
    pub next_s: u64,
}

impl NameStatus {
    pub(super) fn all(names: &Names, now: Instant) -> Vec<Self> {
        names.iter().map(|(question, resolution)| Self::of(question, resolution, now)).collect()
    }

    fn of(question: &Question, resolution: &Resolution, now: Instant) -> Self {
        let address = |endpoint: &crate::config::Endpoint| match &endpoint.service {
            None => endpoint.address.to_string(),
            Some(service) => std::net::SocketAddr::new(endpoint.address, service.port).to_string(),
        };
        Self {
            name: question.name().into(),
            kind: match question {
                Question::Host(_) => "address",
                Question::Service(_) => "srv",
            }
            .into(),
            addresses: resolution.endpoints().iter().map(address).collect(),
            reason: resolution.trouble().map(str::to_owned),
            next_s: resolution.due().saturating_duration_since(now).as_secs(),
        }
    }
}

/// How long the start and a reload wait for the names of real servers; those that come later join then.
pub(super) const FIRST_ANSWERS: Duration = Duration::from_secs(5);

/// From servers that could not be put in force (a trust anchor that cannot be read) to the next attempt.
const APPLY_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What is known of names, and who asks for them.
#[derive(Debug, Default)]
pub(super) struct Naming {
    told: watch::Sender<Names>,
    /// Is to take the place of the one that asks now.
    next: Mutex<Option<Option<NameWatch>>>,
    replaced: Notify,
}

impl Naming {
    /// What is known now.
    pub(super) fn known(&self) -> Names {
        self.told.borrow().clone()
    }

    /// From now on this one asks, or nobody does.
    pub(super) fn ask(&self, watch: Option<NameWatch>) {
        let known = watch.as_ref().map_or_else(Names::default, |watch| watch.names().clone());
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
        self.told.send_replace(known);
        self.replaced.notify_one();
    }

    async fn run(&self) {
        let mut asking: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(std::future::pending());
        loop {
            tokio::select! {
                biased;
                () = self.replaced.notified() => {
                    let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
                    asking = match next {
                        // Said twice, taken once.
                        None => continue,
                        Some(None) => Box::pin(std::future::pending()),
                        Some(Some(watch)) => Box::pin(watch.run(self.told.clone())),
                    };
                }
                // What it has still heard of names that nobody asks for any more comes to nothing.
                () = &mut asking => {}
            }
        }
    }
}

/// Asks for the names of the configuration in force, and whenever they stand for other servers has that put in force. Never
/// ends.
pub(super) async fn follow(reloader: Reloader) {
    let apply = || {
        let reloader = reloader.clone();
        async move { reloader.follow_names().await }
    };
    follow_with(reloader.names(), apply).await;
}

/// `apply` says whether what is known now is in force.
async fn follow_with<A: Future<Output = bool>>(naming: &Naming, apply: impl Fn() -> A) {
    let mut changes = naming.told.subscribe();
    let applying = async {
        // The sender is never dropped.
        while changes.changed().await.is_ok() {
            while !apply().await {
                let _ = timeout(APPLY_AGAIN_AFTER, changes.changed()).await;
            }
        }
    };
    tokio::join!(naming.run(), applying);
}

#[cfg(test)]
mod tests;
