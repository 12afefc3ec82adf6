//! What `gridfront status` shows of quorum, sorry server, ejections and slow start.
use std::fmt;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{RealServerStatus, ServerState};
use crate::balance::VirtualServer;

/// How much of a virtual server is up, and how much has to be.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct QuorumStatus {
    /// As configured.
    pub quorum: u32,
    /// As configured.
    pub hysteresis: u32,
    /// The weight that is up now.
    pub weight: u64,
    /// Whether it takes sessions.
    pub there: bool,
    /// Seconds since that last changed; `None` if never.
    pub since_s: Option<u64>,
}

/// Why a real server gets no sessions though its checks pass.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct EjectionStatus {
    /// What has failed.
    pub reason: String,
    /// Seconds until it gets some again.
    pub remaining_s: u64,
}

impl QuorumStatus {
    pub(super) fn of(server: &VirtualServer, now: Instant) -> Self {
        let (quorum, state) = (server.availability().quorum, &server.state().quorum);
        Self {
            quorum: quorum.quorum,
            hysteresis: quorum.hysteresis,
            weight: server.weight_up(),
            there: state.is_there(),
            since_s: state.since().map(|since| now.saturating_duration_since(since).as_secs()),
        }
    }

    /// Whether there is anything to say: a quorum of 1 that is there is what everybody expects.
    pub(super) fn is_remarkable(&self) -> bool {
        !self.there || self.quorum > 1
    }
}

impl RealServerStatus {
    /// With what its virtual server makes of it.
    pub(super) fn in_service_of(mut self, server: &VirtualServer, index: usize, now: Instant) -> Self {
        let real = &server.real_servers()[index];
        self.slow_start_percent = server.slow_start_percent(now, real);
        self.ejected = real.ejection().map(|ejected| EjectionStatus {
            reason: ejected.reason,
            remaining_s: ejected.until.saturating_duration_since(now).as_secs(),
        });
        match self.state {
            ServerState::Down if server.is_inhibited(index) => self.state = ServerState::Inhibited,
            ServerState::Up | ServerState::Busy if self.ejected.is_some() => {
                self.state = ServerState::Ejected;
            }
            _ => {}
        }
        self
    }
}

impl fmt::Display for QuorumStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = if self.there { "there" } else { "lost" };
        write!(f, "quorum {there}: weight {} is up, {} is needed", self.weight, self.quorum)?;
        if self.hysteresis > 0 {
            write!(f, ", hysteresis {}", self.hysteresis)?;
        }
        if let Some(since) = self.since_s {
            write!(f, ", for {since} s")?;
        }
        Ok(())
    }
}

impl fmt::Display for EjectionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ejected for {} s more: {}", self.remaining_s, self.reason)
    }
}
