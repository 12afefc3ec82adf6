//! What an operator says of real servers while the daemon runs: `drain`, `undrain`, `weight`.
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::status::{RealServerStatus, ServerState};
use crate::balance::RealServer;
use crate::config::did_you_mean;
use crate::proxy::{Held, Removed, Service, SessionTable};

/// Longest deadline; a larger number is a slip, as in the configuration.
pub(super) const LONGEST_DEADLINE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Largest weight, that of the configuration.
const MAX_WEIGHT: u32 = 65_535;

/// What is to become of a real server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    /// No new sessions; those that are there leave, at the latest after this time.
    Drain(Option<Duration>),
    /// Back into service.
    Undrain,
    /// Another share of the sessions to come.
    Weight(u32),
    /// Nothing: to be looked at.
    Look,
}

/// A real server after an order, and what it holds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SteeredServer {
    /// The virtual server in which it stands.
    pub virtual_server: String,
    /// As `status` shows it.
    pub real_server: RealServerStatus,
    /// Sessions that nothing would be lost by ending.
    pub idle: usize,
    /// Sessions with a command, a transfer, or an address for one.
    pub busy: usize,
    /// Sessions that cannot be read, after a GSI login; they may be transferring.
    pub unread: usize,
    /// Real servers of the virtual server that may get sessions, this one included if it may.
    pub in_service: usize,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub(super) enum SteeringError {
    #[error("no real server is called {name:?}{meant}; `gridfront status` lists them")]
    Unknown { name: String, meant: String },
    #[error(
        "{name:?} stands in several virtual servers, each with a weight of its own; say which: {choices}"
    )]
    Ambiguous { name: String, choices: String },
    #[error("weight {0} is too large; write 0 to {MAX_WEIGHT}")]
    Weight(u32),
    #[error("the deadline is too long; write at most 168h")]
    Deadline,
}

/// Does it to every server of that name; `VIRTUAL/NAME` is the one in that virtual server. Servers that a reload has removed
/// are among them while `status` shows them: their sessions may need a deadline.
pub(super) fn obey(
    name: &str,
    order: Order,
    services: &[Arc<Service>],
    removed: &Removed,
    sessions: &SessionTable,
    now: Instant,
) -> Result<Vec<SteeredServer>, SteeringError> {
    let mut found = find(name, services, removed)?;
    if matches!(order, Order::Weight(_)) && found.iter().any(|found| !found.server.is_removed()) {
        // One that is removed has no share.
        found.retain(|found| !found.server.is_removed());
    }
    match order {
        Order::Weight(weight) if weight > MAX_WEIGHT => return Err(SteeringError::Weight(weight)),
        Order::Drain(Some(within)) if within > LONGEST_DEADLINE => return Err(SteeringError::Deadline),
        // A host that is to be mended is drained wherever it stands. A weight says something beside others only.
        Order::Weight(_) if found.len() > 1 => {
            let choices: Vec<String> =
                found.iter().map(|found| format!("{}/{name}", found.virtual_server)).collect();
            return Err(SteeringError::Ambiguous { name: name.into(), choices: choices.join(", ") });
        }
        _ => {}
    }
    let steer = |Found { virtual_server, server }: Found<'_>| {
        let held = apply(order, virtual_server, server, sessions, now);
        let service = services.iter().find(|service| name_of(service) == virtual_server);
        SteeredServer {
            virtual_server: virtual_server.into(),
            real_server: RealServerStatus::of(server, now),
            idle: held.idle,
            busy: held.busy,
            unread: held.unread,
            in_service: service.map_or(0, |service| in_service(service)),
        }
    };
    Ok(found.into_iter().map(steer).collect())
}

fn apply(
    order: Order,
    virtual_server: &str,
    server: &Arc<RealServer>,
    sessions: &SessionTable,
    now: Instant,
) -> Held {
    let real_server = server.name();
    match order {
        Order::Drain(within) => {
            server.handle_drain(now, within.map(|within| now + within));
            let held = sessions.handle_drain_change(server);
            let sessions = server.active();
            tracing::info!(
                virtual_server,
                real_server,
                sessions,
                deadline = within.map(tracing::field::debug),
                "real server drained"
            );
            held
        }
        Order::Undrain => {
            let was_drained = server.handle_undrain();
            let held = sessions.handle_drain_change(server);
            if was_drained {
                tracing::info!(virtual_server, real_server, "real server undrained");
            }
            held
        }
        Order::Weight(weight) => {
            let before = server.weight();
            server.set_weight(weight);
            tracing::info!(virtual_server, real_server, weight, before, "weight changed");
            sessions.held_by(server)
        }
        Order::Look => sessions.held_by(server),
    }
}

/// A server that is meant.
struct Found<'s> {
    virtual_server: &'s str,
    server: &'s Arc<RealServer>,
}

fn find<'s>(
    name: &str,
    services: &'s [Arc<Service>],
    removed: &'s Removed,
) -> Result<Vec<Found<'s>>, SteeringError> {
    // No name of the configuration has a slash.
    let (of_virtual, of_real) = match name.split_once('/') {
        Some((of_virtual, of_real)) => (Some(of_virtual), of_real),
        None => (None, name),
    };
    let all = || {
        let present = services.iter().flat_map(|service| {
            let servers = service.virtual_server.real_servers().iter();
            servers.map(move |server| Found { virtual_server: name_of(service), server })
        });
        let removed = removed.all_servers();
        present.chain(removed.map(|(virtual_server, server)| Found { virtual_server, server }))
    };
    let found: Vec<_> = all()
        .filter(|found| {
            found.server.name() == of_real && of_virtual.is_none_or(|wanted| found.virtual_server == wanted)
        })
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let known: Vec<String> = all()
        .map(|Found { virtual_server, server }| match of_virtual {
            Some(_) => format!("{virtual_server}/{}", server.name()),
            None => server.name().to_owned(),
        })
        .collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let meant = did_you_mean(name, &known).map(|meant| format!("; did you mean {meant:?}?"));
    Err(SteeringError::Unknown { name: name.into(), meant: meant.unwrap_or_default() })
}

fn in_service(service: &Service) -> usize {
    let servers = service.virtual_server.real_servers().iter();
    servers.filter(|server| server.is_up() && !server.is_drained() && server.effective_weight() > 0).count()
}

fn name_of(service: &Service) -> &str {
    service.virtual_server.name()
}

/// Why it gets no sessions, or that it does.
fn standing(server: &RealServerStatus) -> String {
    match server.state {
        ServerState::Drained => "weight 0".into(),
        state => format!("{state:?}").to_lowercase(),
    }
}

/// For people.
impl fmt::Display for SteeredServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = &self.real_server;
        let (place, name) = (&self.virtual_server, &server.name);
        write!(f, "{place}/{name}: ")?;
        let is_removed = server.state == ServerState::Removed;
        if is_removed {
            write!(f, "removed from the configuration, ")?;
        }
        write!(f, "weight {}, ", server.shown_weight())?;
        match &server.drain {
            Some(drain) => write!(f, "{drain}")?,
            None => write!(f, "in service, {}", standing(server))?,
        }
        write!(f, "; {} sessions", server.sessions)?;
        if self.idle + self.busy + self.unread > 0 {
            let (idle, busy, unread) = (self.idle, self.busy, self.unread);
            write!(f, ": {idle} idle, {busy} with a command, a transfer or an address for one")?;
            write!(f, ", {unread} that cannot be read (GSI) and may be transferring")?;
        }
        if self.in_service == 0 && !is_removed {
            write!(f, "\n  no real server of {place} is in service: new clients get 421")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
