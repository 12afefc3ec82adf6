//! The daemon as it is seen by whoever asks: `status`, metrics, health.
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use super::admin::{Answer, Question};
use super::logging::LogLoss;
use super::names::NameStatus;
use super::status::Status;
use super::steering::{Order, obey};
use super::{bans, metrics};
use crate::proxy::{Phase, Service, SessionTable, now};
use crate::resolver::Names;
use crate::sys::liveness::Liveness;
use crate::sys::process::Usage;

/// See the module's text. Clones see the same daemon.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) services: Vec<Arc<Service>>,
    pub(super) sessions: Arc<SessionTable>,
    pub(super) loss: LogLoss,
    pub(super) started: Instant,
    pub(super) start_date: SystemTime,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) liveness: Arc<Liveness>,
    pub(super) names: watch::Sender<Names>,
}

impl Observed {
    /// To whoever asks on the admin socket.
    pub(super) fn answer(&self, question: Question) -> Answer {
        let (server, order) = match question {
            Question::Status {} => return Answer::Status(self.status()),
            Question::Bans {} => return Answer::Bans(bans::list(&self.services, now())),
            Question::Unban { client } => {
                return Answer::Unbanned(bans::unban(&self.services, client, now()));
            }
            Question::Drain { server, deadline_ms } => {
                (server, Order::Drain(deadline_ms.map(Duration::from_millis)))
            }
            Question::Undrain { server } => (server, Order::Undrain),
            Question::Weight { server, weight } => (server, Order::Weight(weight)),
            Question::Server { server } => (server, Order::Look),
        };
        match obey(&server, order, &self.services, &self.sessions, now()) {
            Ok(servers) => Answer::Servers(servers),
            Err(error) => Answer::Error(error.to_string()),
        }
    }

    pub(super) fn status(&self) -> Status {
        let now = now();
        let uptime = now.saturating_duration_since(self.started).as_secs();
        let names = NameStatus::all(&self.names.borrow(), now);
        Status { names, ..Status::of(&self.services, self.sessions.len(), self.loss.lines(), uptime, now) }
    }

    /// Everything for a page of metrics.
    pub(super) fn measured(&self, usage: Usage) -> metrics::Observed<'_> {
        metrics::Observed {
            services: &self.services,
            usage,
            started: self.start_date,
            draining: self.is_draining(),
            control_connections: self.sessions.len(),
            log_lines_lost: self.loss.lines(),
            transfer_log_lines_lost: self
                .services
                .first()
                .map_or(0, |service| service.lasting.transfer_log.lost()),
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        *self.phase.borrow() != Phase::Open
    }
}
