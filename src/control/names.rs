//! Real servers by name while the daemon runs: what the file says stays, and whenever its names stand for other servers, the
//! configuration that this means now is applied as a reload of the file would be.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::config::{Model, Question, Resolution};
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

/// Watches the names of `file`, tells what is known of them, and has each configuration that differs from the one before
/// applied; `running` is the one in force. Never ends.
pub(super) async fn follow(
    file: Model,
    mut running: Model,
    watch: NameWatch,
    told: watch::Sender<Names>,
    mut apply: impl FnMut(&Model),
) {
    let mut changes = told.subscribe();
    let applying = async {
        // The sender lives as long as the watch, which never ends.
        while changes.changed().await.is_ok() {
            let (model, left_out) = changes.borrow_and_update().apply_to(&file);
            if model != running {
                for line in left_out {
                    tracing::warn!("{line}");
                }
                apply(&model);
                running = model;
            }
        }
    };
    tokio::join!(watch.run(told), applying);
}

#[cfg(test)]
mod tests;
