//! The daemon as it is seen by whoever asks: `status`, metrics, health; and what is asked of it on the admin socket.
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use super::admin::{Answer, Question};
use super::in_force::InForce;
use super::logging::LogLoss;
use super::names::NameStatus;
use super::reload::{ReloadCause, Reloader};
use super::status::{GsiKeysStatus, GsiSessionsStatus, Status};
use super::steering::{LONGEST_DEADLINE, Order, obey};
use super::vrrp::VrrpStatus;
use super::{bans, metrics};
use crate::proxy::{Phase, SessionTable, now};
use crate::sys::liveness::Liveness;
use crate::sys::process::Usage;

/// See the module's text. Clones see the same daemon.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) reloader: Reloader,
    pub(super) sessions: Arc<SessionTable>,
    pub(super) loss: LogLoss,
    pub(super) started: Instant,
    pub(super) start_date: SystemTime,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) liveness: Arc<Liveness>,
}

impl Observed {
    /// To whoever asks on the admin socket.
    pub(super) async fn answer(&self, question: Question) -> Answer {
        let (server, order) = match question {
            Question::Status { sessions } => {
                let listed = sessions.then(|| GsiSessionsStatus::of(&self.sessions, now()));
                return Answer::Status(Box::new(Status { gsi_sessions: listed, ..self.status() }));
            }
            Question::Bans {} => return Answer::Bans(bans::list(self.reloader.in_force().services(), now())),
            Question::Unban { client } => {
                return Answer::Unbanned(bans::unban(self.reloader.in_force().services(), client, now()));
            }
            Question::Failover { instance, deadline_ms } => {
                let deadline = self.deadline(deadline_ms);
                let ownership = self.reloader.ownership();
                return said(ownership.fail_over(instance.as_deref(), deadline, &self.sessions));
            }
            Question::CancelFailover { instance } => {
                return said(self.reloader.ownership().cancel_failover(instance.as_deref()));
            }
            Question::Maintenance { on, deadline_ms } => {
                let deadline = self.deadline(deadline_ms);
                return said(self.reloader.ownership().set_maintenance(on, deadline, &self.sessions));
            }
            Question::Vrrp {} => return Answer::Vrrp(self.reloader.ownership().statuses()),
            Question::Reload { dry_run } => {
                return match self.reloader.reload(ReloadCause::Operator, dry_run).await {
                    Ok(reloaded) => Answer::Reloaded(reloaded),
                    Err(error) => Answer::NotReloaded(error),
                };
            }
            Question::Drain { server, deadline_ms } => {
                (server, Order::Drain(deadline_ms.map(Duration::from_millis)))
            }
            Question::Undrain { server } => (server, Order::Undrain),
            Question::Weight { server, weight } => (server, Order::Weight(weight)),
            Question::Server { server } => (server, Order::Look),
        };
        let (now, in_force) = (now(), self.reloader.in_force());
        let removed = in_force.generation.removed(now);
        match obey(&server, order, in_force.services(), &removed, &self.sessions, now) {
            Ok(servers) => Answer::Servers(servers),
            Err(error) => Answer::Error(error.to_string()),
        }
    }

    /// Of what waits for transfers; `drain_timeout` where none is asked for.
    fn deadline(&self, asked_ms: Option<u64>) -> Instant {
        now()
            + asked_ms
                .map_or_else(|| self.reloader.drain_timeout(), Duration::from_millis)
                .min(LONGEST_DEADLINE)
    }

    pub(super) fn status(&self) -> Status {
        let now = now();
        let uptime = now.saturating_duration_since(self.started).as_secs();
        let (in_force, refused) = (self.reloader.in_force(), self.reloader.refused());
        let names = NameStatus::all(&self.reloader.names().known(), now);
        let lost = self.loss.lines();
        let ownership = self.reloader.ownership();
        Status {
            names,
            vrrp: ownership.statuses(),
            ownership: ownership.status(),
            forwarding: self.reloader.forwarding().status(&in_force),
            ..Status::of(&in_force, refused.as_ref(), self.sessions.len(), lost, uptime, now)
        }
    }

    /// Everything for a page of metrics about what is in force.
    pub(super) fn measured<'f>(&self, in_force: &'f InForce, usage: Usage) -> metrics::Observed<'f> {
        let services = in_force.services();
        metrics::Observed {
            services,
            usage,
            started: self.start_date,
            draining: self.is_draining(),
            reloads: self.reloader.record(),
            control_connections: self.sessions.len(),
            vrrp: self.reloader.ownership().measured(),
            forwarding: self.reloader.forwarding().measured(in_force),
            gsi_keys: in_force.generation.keys().map(GsiKeysStatus::of).unwrap_or_default(),
            log_lines_lost: self.loss.lines(),
            transfer_log_lines_lost: services
                .first()
                .map_or(0, |service| service.lasting.transfer_log.lost()),
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        *self.phase.borrow() != Phase::Open
    }
}

fn said(outcome: Result<Vec<VrrpStatus>, String>) -> Answer {
    outcome.map_or_else(Answer::Error, Answer::Vrrp)
}
