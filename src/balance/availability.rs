//! What decides whether a virtual server's real servers are to be had, besides the health of each.

use std::net::IpAddr;
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::ejection::{Deed, Ejected, EjectionPolicy};
use super::quorum::{Quorum, QuorumState};
use super::real_server::RealServer;
use super::slow_start::WARM;
use super::virtual_server::{Tried, VirtualServer};

/// What the configuration says; another one may come at any time.
#[derive(Clone, Debug, Default)]
pub struct Availability {
    /// How much has to be up.
    pub quorum: Quorum,
    /// Who takes the sessions when nobody else does.
    pub sorry_server: Option<Arc<RealServer>>,
    /// How long a server that comes back takes to get its whole share; zero is at once.
    pub slow_start: Duration,
    /// Whether servers are ejected whose sessions fail, and when.
    pub ejection: Option<EjectionPolicy>,
    /// Real servers, by their index, whose failure gives them weight 0 in place of taking them out.
    pub inhibit_on_failure: Vec<bool>,
}

/// What belongs to a virtual server's name and outlives its configuration.
#[derive(Debug)]
pub struct AvailabilityState {
    /// Whether enough is up.
    pub quorum: QuorumState,
    /// Held while a server is ejected, so that no two threads eject one each where one may be.
    ejecting: Mutex<()>,
}

/// A change to be logged, once, by whoever is told.
#[derive(Clone, Debug)]
#[must_use = "the caller logs it; nobody else will"]
pub enum AvailabilityChange {
    /// The weight that is up makes the quorum again.
    QuorumGained {
        /// That weight.
        weight: u64,
    },
    /// It does not any more.
    QuorumLost {
        /// That weight.
        weight: u64,
    },
    /// A server's ejection is over.
    Returned(Arc<RealServer>),
}

impl AvailabilityState {
    /// With servers that are taken for up the quorum is there; with those that are yet to be proven it is not.
    pub(super) fn new(servers: &[Arc<RealServer>]) -> Self {
        let there = servers.is_empty() || servers.iter().any(|server| server.is_up());
        Self { quorum: QuorumState::new(there), ejecting: Mutex::new(()) }
    }
}

impl VirtualServer {
    /// As configured.
    #[must_use]
    pub fn availability(&self) -> &Availability {
        &self.availability
    }

    /// What outlives the configuration.
    #[must_use]
    pub fn state(&self) -> &AvailabilityState {
        &self.state
    }

    /// The weight of the real servers that are up and in service: what the quorum is made of. An ejected server counts,
    /// for it is up, and takes sessions where nobody else does.
    #[must_use]
    pub fn weight_up(&self) -> u64 {
        self.real_servers()
            .iter()
            .filter(|server| server.may_have_sessions())
            .map(|server| u64::from(server.effective_weight()))
            .sum()
    }

    /// Looks at what has changed by `now`, of itself or by others: to be called before a session is placed, and every
    /// now and then. Nothing is allocated where nothing has changed.
    pub fn observe(&self, now: Instant) -> Vec<AvailabilityChange> {
        let mut changes = Vec::new();
        for server in self.real_servers() {
            if server.standing.observe(now, || server.may_have_sessions(), self.availability.slow_start) {
                server.offer_places();
                changes.push(AvailabilityChange::Returned(Arc::clone(server)));
            }
        }
        let weight = self.weight_up();
        match self.state.quorum.observe(now, self.availability.quorum, weight) {
            Some(true) => changes.push(AvailabilityChange::QuorumGained { weight }),
            Some(false) => changes.push(AvailabilityChange::QuorumLost { weight }),
            None => {}
        }
        changes
    }

    /// A session's login or transfer has worked on this server.
    pub fn handle_success(&self, server: &RealServer, deed: Deed) {
        if self.availability.ejection.is_none() || !self.has(server) {
            return;
        }
        // On a site in good health this is a look at one flag of each server.
        for each in self.real_servers().iter().filter(|each| each.standing.is_suspect()) {
            if ptr::eq(&raw const **each, server) {
                each.standing.worked(deed);
            } else {
                each.standing.worked_elsewhere(deed);
            }
        }
    }

    /// A session's login or transfer has failed on this server at `now`, with `how`, and it may be the server's fault.
    /// Of each session the first in a row is enough. Returns the ejection that comes of it.
    ///
    /// Not for 421 and 422, which say that a server is full, nor for what is plainly the client's fault.
    pub fn handle_failure(
        &self,
        now: Instant,
        server: &RealServer,
        client: IpAddr,
        deed: Deed,
        how: &str,
    ) -> Option<Ejected> {
        let policy = self.availability.ejection.as_ref()?;
        if !self.has(server) {
            return None;
        }
        let _ejecting = self.state.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        if server.standing.is_ejected() {
            return None;
        }
        for each in self.real_servers() {
            if !ptr::eq(&raw const **each, server) && each.standing.is_suspect() {
                each.standing.failed_elsewhere(deed);
            }
        }
        let reason = server.standing.failed(now, policy, deed, client.to_canonical(), how)?;
        if !self.can_spare(server, policy) {
            return None;
        }
        let ejected = server.standing.eject(now, policy, reason);
        server.stats.ejections.fetch_add(1, Relaxed);
        Some(ejected)
    }

    /// Whether this server is down and keeps its place, with weight 0.
    #[must_use]
    pub fn is_inhibited(&self, index: usize) -> bool {
        self.availability.inhibit_on_failure.get(index) == Some(&true)
            && self.real_servers().get(index).is_some_and(|server| !server.is_up())
    }

    /// How far a server has come in its slow start, in percent; `None` when it is not in one.
    #[must_use]
    pub fn slow_start_percent(&self, now: Instant, server: &RealServer) -> Option<u32> {
        let in_service = server.may_have_sessions() && !server.standing.is_ejected();
        let warmth = server.standing.warmth(now, self.availability.slow_start);
        warmth.filter(|_| in_service).map(|warmth| warmth.min(WARM) * 100 / WARM)
    }

    /// Whether all that could still have this session are ejected. One that is full counts: it has room in a moment.
    pub(super) fn only_ejected_are_left(&self, tried: &Tried) -> bool {
        let mut ejected = false;
        for (index, server) in self.real_servers().iter().enumerate() {
            if server.may_have_sessions() && !tried.contains(index) {
                if !server.standing.is_ejected() {
                    return false;
                }
                ejected = true;
            }
        }
        ejected
    }

    fn can_spare(&self, server: &RealServer, policy: &EjectionPolicy) -> bool {
        let (mut all, mut ejected, mut others) = (0_u64, 0_u64, 0_u64);
        for each in self.real_servers().iter().filter(|each| each.may_have_sessions()) {
            all += 1;
            if each.standing.is_ejected() {
                ejected += 1;
            } else if !ptr::eq(&raw const **each, server) {
                others += 1;
            }
        }
        let most = (all * u64::from(policy.max_ejected) / 100).max(1);
        others > 0 && ejected < most
    }

    /// A server that a newer configuration has left out, or the sorry server, is compared with nobody.
    fn has(&self, server: &RealServer) -> bool {
        self.real_servers().iter().any(|each| ptr::eq(&raw const **each, server))
    }
}

#[cfg(test)]
mod tests;
