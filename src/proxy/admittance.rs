//! Who is let in: the rules of a virtual server, what is known of its clients, and what those are told that are not.
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use ipnet::IpNet;

use super::generation::Site;
use super::refusal_lines::RefusalLines;
use super::tally::Refusal;
use crate::balance::{
    Admission, ClientLimits, ClientRefusal, ClientSession, Clients, LoginVerdict, NetworkRules, Queue,
    Refused, SiteAdmission, SiteFull, SiteSessions, VirtualServer,
};
use crate::config::{self, QueueLimits};

/// The rules, which a new configuration replaces, and what outlives it.
#[derive(Debug)]
pub(crate) struct Admittance {
    networks: NetworkRules,
    client_limits: ClientLimits,
    /// Of all virtual servers together.
    max_site_sessions: Option<u32>,
    site: Arc<SiteSessions>,
    pub(super) queue_limits: Option<QueueLimits>,
    pub(crate) known: Arc<Known>,
    /// Which of the configurations of this name it belongs to.
    number: u64,
}

/// What belongs to the virtual server's name and outlives a configuration.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) clients: Arc<Clients>,
    pub(crate) queue: Arc<Queue>,
    refusal_lines: RefusalLines,
    /// Commands that were answered in the servers' place because they are disabled.
    pub(crate) denied_commands: AtomicU64,
    /// How many configurations of this name were made, and the number of the one in force.
    made: AtomicU64,
    in_force: AtomicU64,
}

/// A session's places, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Places {
    _site: SiteAdmission,
    _admission: Admission,
}

/// Why a client is not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum EntryRefusal {
    /// By its address.
    #[error("its address is denied; see `allow` and `deny`")]
    Denied,
    #[error(transparent)]
    Client(#[from] ClientRefusal),
    #[error(transparent)]
    SiteFull(#[from] SiteFull),
    #[error(transparent)]
    Full(#[from] Refused),
}

impl Known {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            clients: Arc::new(Clients::new(now)),
            queue: Arc::default(),
            refusal_lines: RefusalLines::default(),
            denied_commands: AtomicU64::new(0),
            made: AtomicU64::new(0),
            in_force: AtomicU64::new(0),
        }
    }
}

impl Admittance {
    /// The real servers of the whole site are never banned: they are where third-party transfers come from.
    pub(super) fn new(config: &config::VirtualServer, site: &Site, known: Arc<Known>) -> Self {
        let rules = &config.admittance;
        let servers = site.servers.iter().map(|&address| IpNet::from(address));
        let never_banned = config.trusted_networks.iter().copied().chain(servers).collect();
        Self {
            networks: NetworkRules::new(&rules.allow, &rules.deny),
            client_limits: ClientLimits { never_banned, ..rules.client_limits.clone() },
            max_site_sessions: site.max_sessions,
            site: Arc::clone(&site.sessions),
            queue_limits: rules.queue,
            number: known.made.fetch_add(1, Relaxed) + 1,
            known,
        }
    }

    /// These rules hold from now on. Whoever waits looks anew: there may be other servers, or more room on them.
    pub(super) fn come_into_force(&self, virtual_server: &VirtualServer) {
        self.known.in_force.store(self.number, Relaxed);
        if self.has_queue() {
            for server in virtual_server.real_servers() {
                server.serve_queue(&self.known.queue);
            }
        }
        self.known.queue.wake_all();
    }

    /// Whether another configuration is in force.
    pub(super) fn is_superseded(&self) -> bool {
        self.known.in_force.load(Relaxed) != self.number
    }

    /// Whether a load balancer with this address may bring clients. It is no client, so no `allow` need have it.
    pub(super) fn admit_proxy(&self, address: IpAddr) -> Result<(), EntryRefusal> {
        if self.networks.denies(address) { Err(EntryRefusal::Denied) } else { Ok(()) }
    }

    /// Judges a client and counts it.
    pub(super) fn admit_client(
        &self,
        address: IpAddr,
        now: Instant,
    ) -> Result<Option<ClientSession>, EntryRefusal> {
        if !self.networks.is_empty() && !self.networks.admits(address) {
            return Err(EntryRefusal::Denied);
        }
        Ok(self.known.clients.admit(&self.client_limits, address, now)?)
    }

    /// Takes a place among all sessions.
    pub(super) fn take_places(&self, virtual_server: &Arc<VirtualServer>) -> Result<Places, EntryRefusal> {
        // Counted without a limit, too: a reload may set one.
        let site = self.site.admit(self.max_site_sessions.unwrap_or(u32::MAX))?;
        Ok(Places { _site: site, _admission: virtual_server.admit()? })
    }

    pub(super) fn handle_failed_login(&self, address: IpAddr, now: Instant) -> LoginVerdict {
        self.known.clients.handle_failed_login(&self.client_limits, address, now)
    }

    pub(super) fn handle_login(&self, address: IpAddr) {
        self.known.clients.handle_login(&self.client_limits, address);
    }

    /// Whether it is to be logged that somebody is not let in, and then, how often it was not since the last time.
    pub(super) fn handle_refusal(
        &self,
        refusal: &dyn RefusalReason,
        address: IpAddr,
        now: Instant,
    ) -> Option<u32> {
        self.known.refusal_lines.handle(
            refusal.kind(),
            refusal.detail(),
            self.client_limits.client(address),
            now,
        )
    }

    /// Whether sessions wait while all servers are full.
    pub(crate) fn has_queue(&self) -> bool {
        self.queue_limits.is_some()
    }

    /// Whether there may be bans.
    pub(crate) fn bans(&self) -> bool {
        self.client_limits.ban.is_some()
    }
}

impl EntryRefusal {
    /// What the client is told. Who is banned learns neither that nor for how long.
    pub(super) fn reply(&self) -> &'static str {
        match self {
            Self::Denied => "421 Service not available for this address.\r\n",
            Self::Client(ClientRefusal::Banned { .. }) => {
                "421 Service not available: please try again later.\r\n"
            }
            Self::Client(ClientRefusal::TooManySessions { .. }) => {
                "421 Too many sessions from this address; close one, or try again later.\r\n"
            }
            Self::Client(ClientRefusal::TooFast) => {
                "421 Sessions from this address come too fast; please try again in a moment.\r\n"
            }
            Self::SiteFull(_) | Self::Full(_) => {
                "421 Service busy: too many sessions; please try again later.\r\n"
            }
        }
    }

    pub(super) fn kind(&self) -> Refusal {
        match self {
            Self::Denied => Refusal::Denied,
            Self::Client(ClientRefusal::Banned { .. }) => Refusal::Banned,
            Self::Client(ClientRefusal::TooManySessions { .. }) => Refusal::ClientSessions,
            Self::Client(ClientRefusal::TooFast) => Refusal::SessionRate,
            Self::SiteFull(_) | Self::Full(_) => Refusal::MaxSessions,
        }
    }
}

/// What is refused, for the journal.
pub(super) trait RefusalReason: fmt::Display {
    fn kind(&self) -> Refusal;

    /// Tells apart what is of one kind and yet worth a line of its own in the log.
    fn detail(&self) -> u8 {
        0
    }
}

impl RefusalReason for EntryRefusal {
    fn kind(&self) -> Refusal {
        Self::kind(self)
    }
}
