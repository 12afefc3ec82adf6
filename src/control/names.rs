//! Real servers by name while the daemon runs: what the file says stays, and whenever its names stand for other servers, the
//! configuration that this means now is applied as a reload of the file would be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::reload::Reloader;
use crate::config::{Model, Question, Resolution};
use crate::resolver::{NameWatch, Names, NoNameService};

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

/// How long a start, and a reload, waits for names that nothing is known of yet; what comes later joins then.
const FIRST_ANSWERS: Duration = Duration::from_secs(5);

/// What the names of `file` stand for, as far as that can be known soon; what is `known` and still holds is not asked again.
///
/// # Errors
///
/// The system's configuration of the name service cannot be used.
pub(super) async fn first_answers(file: &Model, known: Names) -> Result<Names, NoNameService> {
    if file.questions().is_empty() {
        return Ok(Names::default());
    }
    let mut watch = NameWatch::open(file, known)?;
    watch.first_answers(FIRST_ANSWERS).await;
    Ok(watch.into_names())
}

/// Asks for the names of the configuration in force when they are due, and puts in force what they come to mean. Never ends.
pub(super) async fn follow(reloader: Reloader) {
    let mut in_force = reloader.watch();
    loop {
        let configuration = Arc::clone(&in_force.borrow_and_update());
        let said = &configuration.configuration.said;
        let watch = match said.questions() {
            questions if questions.is_empty() => None,
            _ => match NameWatch::open(said, Names::clone(&reloader.names())) {
                Ok(watch) => Some(watch),
                Err(error) => {
                    tracing::error!("{error}; real servers keep the addresses that they have");
                    None
                }
            },
        };
        let asking = async {
            let Some(mut watch) = watch else { return std::future::pending().await };
            loop {
                watch.round_when_due().await;
                reloader.handle_names(watch.names().clone()).await;
            }
        };
        // What is under way when another configuration comes is asked for again with that.
        tokio::select! {
            changed = in_force.changed() => if changed.is_err() { return },
            () = asking => {}
        }
    }
}

#[cfg(test)]
mod tests;
