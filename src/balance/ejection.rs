//! Ejection: a server whose checks pass and whose sessions fail gets none for a while.
//!
//! Whose fault a failure is, no reply says for sure: a Globus server answers 500 to a file that is not there and to a
//! file system that is gone. So failures count by what happens at the same time elsewhere. A server is ejected for
//! logins, or for transfers, when
//!
//! - so many have failed in a row, of each session one, and none has worked there since the first of them;
//! - as many have worked at the other servers, and of all that were tried there at most a fifth has failed: what fails
//!   everywhere is no single server's fault, be it a disk that all share or somebody who guesses passwords;
//! - it was for more than one client: what one client asks for again and again may fail by its own fault, and where there
//!   are few servers chance, or `sh`, brings it to the same one that often.
//!
//! A server that fails is through with its sessions at once, and least connections would send it every new one, so that
//! nothing would be known of the others. From the second failure in a row on it is held to its share
//! ([`Row::draws_sessions`]).
//!
//! It is Envoy's outlier detection with the evidence that a session protocol has. The time is doubled with each
//! ejection of the same server, up to `max_time`, and begins anew once it has done without for as long as that.

use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Longest threshold of failures in a row: so many clients are to notice nothing of it.
pub const MAX_FAILURES: u32 = 1000;

/// Failures that are older than this belong to no row any more: on a quiet site they may be yesterday's.
const ROW_WITHIN: Duration = Duration::from_secs(10 * 60);

/// Of so many at the other servers, one may fail.
const FAILED_ELSEWHERE: u32 = 5;

/// What the configuration says: `[virtual_server.ejection]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EjectionPolicy {
    /// Failed logins in a row, at most [`MAX_FAILURES`]; 0 does not look at them.
    pub failed_logins: u32,
    /// The same of transfers.
    pub failed_transfers: u32,
    /// How long, the first time.
    pub time: Duration,
    /// How long at most.
    pub max_time: Duration,
    /// Of the servers in service, how many percent may be ejected at once; one may always, and the last never.
    pub max_ejected: u32,
}

impl Default for EjectionPolicy {
    fn default() -> Self {
        Self {
            failed_logins: 5,
            failed_transfers: 5,
            time: Duration::from_secs(30),
            max_time: Duration::from_secs(600),
            max_ejected: 50,
        }
    }
}

/// What a session does with a server, and may be the server's fault when it fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Deed {
    /// In clear text or by GSI.
    Login,
    /// A listing is one, too.
    Transfer,
}

impl Deed {
    fn words(self) -> &'static str {
        match self {
            Self::Login => "logins",
            Self::Transfer => "transfers",
        }
    }
}

/// An ejection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ejected {
    /// Why, in one line.
    pub reason: String,
    /// How long.
    pub time: Duration,
    /// When it ends.
    pub until: Instant,
}

/// What is known of one server's failures.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    logins: Row,
    transfers: Row,
    ejected: Option<Ejected>,
    /// When the last ejection ended, and how long it was.
    last: Option<(Instant, Duration)>,
}

/// Failures in a row.
#[derive(Debug, Default)]
struct Row {
    failures: u32,
    /// Who was the first.
    client: Option<IpAddr>,
    several_clients: bool,
    last: Option<Instant>,
    /// Since the first of them.
    worked_elsewhere: u32,
    failed_elsewhere: u32,
}

impl Row {
    fn is_empty(&self) -> bool {
        self.failures == 0
    }

    /// Whether the server may be one that draws all sessions, because none lasts.
    fn draws_sessions(&self) -> bool {
        self.failures >= 2
    }

    fn add(&mut self, now: Instant, client: IpAddr) {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) > ROW_WITHIN) {
            *self = Self::default();
        }
        self.last = Some(now);
        self.failures = self.failures.saturating_add(1);
        self.several_clients |= *self.client.get_or_insert(client) != client;
    }

    fn is_the_servers_fault(&self, threshold: u32) -> bool {
        let elsewhere = self.worked_elsewhere.saturating_add(self.failed_elsewhere);
        threshold > 0
            && self.failures >= threshold
            && self.worked_elsewhere >= threshold
            && self.failed_elsewhere <= elsewhere / FAILED_ELSEWHERE
            && self.several_clients
    }
}

impl Conduct {
    fn row(&mut self, deed: Deed) -> &mut Row {
        match deed {
            Deed::Login => &mut self.logins,
            Deed::Transfer => &mut self.transfers,
        }
    }

    pub(super) fn is_suspect(&self) -> bool {
        !self.logins.is_empty() || !self.transfers.is_empty()
    }

    /// Whether it is to be held to its share of new sessions.
    pub(super) fn draws_sessions(&self) -> bool {
        self.logins.draws_sessions() || self.transfers.draws_sessions()
    }

    pub(super) fn ejected(&self) -> Option<&Ejected> {
        self.ejected.as_ref()
    }

    pub(super) fn worked(&mut self, deed: Deed) {
        *self.row(deed) = Row::default();
    }

    pub(super) fn worked_elsewhere(&mut self, deed: Deed) {
        let row = self.row(deed);
        if !row.is_empty() {
            row.worked_elsewhere = row.worked_elsewhere.saturating_add(1);
        }
    }

    pub(super) fn failed_elsewhere(&mut self, deed: Deed) {
        let row = self.row(deed);
        if !row.is_empty() {
            row.failed_elsewhere = row.failed_elsewhere.saturating_add(1);
        }
    }

    /// The reason to eject it, if there is one.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        policy: &EjectionPolicy,
        deed: Deed,
        client: IpAddr,
        how: &str,
    ) -> Option<String> {
        let threshold = match deed {
            Deed::Login => policy.failed_logins,
            Deed::Transfer => policy.failed_transfers,
        };
        let row = self.row(deed);
        row.add(now, client);
        row.is_the_servers_fault(threshold).then(|| {
            format!(
                "{} {} failed in a row, the last with {how}, while {} worked at other servers",
                row.failures,
                deed.words(),
                row.worked_elsewhere
            )
        })
    }

    pub(super) fn eject(&mut self, now: Instant, policy: &EjectionPolicy, reason: String) -> Ejected {
        let again = self.last.filter(|(ended, _)| now.saturating_duration_since(*ended) < policy.max_time);
        let time = again.map_or(policy.time, |(_, time)| time.saturating_mul(2)).min(policy.max_time);
        let ejected = Ejected { reason, time, until: now + time };
        self.ejected = Some(ejected.clone());
        // What it did before does not count a second time.
        (self.logins, self.transfers) = (Row::default(), Row::default());
        ejected
    }

    pub(super) fn end_ejection(&mut self, now: Instant) -> bool {
        let Some(over) = self.ejected.take_if(|ejected| ejected.until <= now) else { return false };
        self.last = Some((over.until, over.time));
        (self.logins, self.transfers) = (Row::default(), Row::default());
        true
    }
}

#[cfg(test)]
mod tests;
