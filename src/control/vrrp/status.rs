//! What `gridfront status` shows of virtual routers.
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::failover::PendingStatus;
use crate::proto::vrrp::{Discard, Role};
use crate::vrrp::record::Record;

/// One VRRP instance.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct VrrpStatus {
    /// As configured.
    pub name: String,
    /// As configured.
    pub interface: String,
    /// As configured.
    pub virtual_router_id: u8,
    /// `MASTER`, `BACKUP`, `FAULT` or `STOP`.
    pub state: String,
    /// Seconds since.
    pub since_s: u64,
    /// Why.
    pub cause: String,
    /// With what is tracked.
    pub priority: u8,
    /// Who is master, if anybody is heard.
    pub master: Option<MasterStatus>,
    /// All of them.
    pub addresses: Vec<IpAddr>,
    /// What lowers its priority or keeps it from office.
    pub complaints: Vec<String>,
    /// A failover that waits for what is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<PendingStatus>,
    /// Times that it has become master.
    pub became_master: u64,
    /// Adverts.
    pub sent: u64,
    /// Adverts that were taken.
    pub received: u64,
    /// Adverts that were not, by reason; those without any are left out.
    pub discarded: Vec<DiscardedStatus>,
}

/// Whoever advertises.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MasterStatus {
    /// Its own address.
    pub address: IpAddr,
    /// As it says.
    pub priority: u8,
}

/// Adverts that were not taken.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DiscardedStatus {
    /// As in the metrics.
    pub reason: String,
    /// How many.
    pub adverts: u64,
}

impl VrrpStatus {
    pub(super) fn of(record: &Record, failover: Option<PendingStatus>, now: Instant) -> Self {
        let (situation, counts) = (record.situation(), &record.counts);
        let discarded = Discard::WORDS.iter().zip(&counts.discarded);
        let discarded =
            discarded.map(|(reason, count)| (reason, count.load(Relaxed))).filter(|(_, count)| *count > 0);
        Self {
            name: record.name.clone(),
            interface: record.interface.clone(),
            virtual_router_id: record.virtual_router_id,
            state: situation.role.word().into(),
            since_s: now.saturating_duration_since(situation.since).as_secs(),
            cause: situation.cause.clone(),
            priority: situation.priority.get(),
            master: situation
                .master
                .map(|(address, priority)| MasterStatus { address, priority: priority.get() }),
            addresses: record.addresses.clone(),
            complaints: situation.complaints.clone(),
            failover,
            became_master: counts.transitions_to(Role::Master),
            sent: counts.sent.load(Relaxed),
            received: counts.received.load(Relaxed),
            discarded: discarded
                .map(|(reason, adverts)| DiscardedStatus { reason: (*reason).to_owned(), adverts })
                .collect(),
        }
    }
}

/// For people.
impl fmt::Display for VrrpStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, interface, virtual_router_id, state, since_s, cause, priority, .. } = self;
        let addresses: Vec<String> = self.addresses.iter().map(IpAddr::to_string).collect();
        write!(
            f,
            "{name}: {state} for {since_s} s ({cause}), priority {priority}, id {virtual_router_id} on {interface}"
        )?;
        writeln!(f, ", {}", addresses.join(" "))?;
        if let Some(master) = self.master.as_ref().filter(|_| self.state != Role::Master.word()) {
            writeln!(f, "  master is {} with priority {}", master.address, master.priority)?;
        }
        for complaint in &self.complaints {
            writeln!(f, "  {complaint}")?;
        }
        if let Some(PendingStatus { since_s, deadline_s }) = &self.failover {
            writeln!(
                f,
                "  failover asked for {since_s} s ago: it waits for what is under way, {deadline_s} s at most"
            )?;
        }
        if !self.discarded.is_empty() {
            let discarded: Vec<String> =
                self.discarded.iter().map(|of| format!("{} {}", of.adverts, of.reason)).collect();
            writeln!(f, "  adverts discarded: {}", discarded.join(", "))?;
        }
        Ok(())
    }
}
