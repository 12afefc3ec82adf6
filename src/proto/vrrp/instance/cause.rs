//! Why an instance has changed its state, in words.

use std::fmt;
use std::net::IpAddr;

use crate::proto::vrrp::Priority;

/// Why an instance has changed its state. `Display` has a few words, for status and log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cause {
    /// It was started.
    Started,
    /// The virtual addresses are the router's own.
    AddressOwner,
    /// Since the start nobody was heard.
    NoMaster,
    /// The master has been silent for too long.
    MasterDown {
        /// Who that was.
        master: IpAddr,
    },
    /// The master has given up, with priority 0.
    MasterReleased {
        /// Who that was.
        master: IpAddr,
    },
    /// The master is alive and has a lower priority.
    Preempting {
        /// Who that is.
        master: IpAddr,
        /// Its priority.
        priority: Priority,
    },
    /// Another master has a higher priority.
    HigherPriority {
        /// Who that is.
        master: IpAddr,
        /// Its priority.
        priority: Priority,
    },
    /// Another master has the same priority and a higher address.
    HigherAddress {
        /// Who that is.
        master: IpAddr,
    },
    /// The router had stepped down, and nobody has taken over.
    NobodyTookOver,
    /// Something that the instance needs is not there: what, in words.
    Fault(String),
    /// All that it needs is there again.
    Recovered,
    /// An operator has said so.
    Operator,
    /// Another instance of the sync group has changed.
    SyncGroup,
    /// It was shut down.
    ShutDown,
}

impl Cause {
    /// One word, for a metric.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::AddressOwner => "address_owner",
            Self::NoMaster => "no_master",
            Self::MasterDown { .. } => "master_down",
            Self::MasterReleased { .. } => "master_released",
            Self::Preempting { .. } => "preempting",
            Self::HigherPriority { .. } => "higher_priority",
            Self::HigherAddress { .. } => "higher_address",
            Self::NobodyTookOver => "nobody_took_over",
            Self::Fault(_) => "fault",
            Self::Recovered => "recovered",
            Self::Operator => "operator",
            Self::SyncGroup => "sync_group",
            Self::ShutDown => "shut_down",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::AddressOwner => f.write_str("owner of the addresses"),
            Self::NoMaster => f.write_str("no master heard"),
            Self::MasterDown { master } => write!(f, "master {master} down"),
            Self::MasterReleased { master } => write!(f, "priority 0 from master {master}"),
            Self::Preempting { master, priority } => {
                write!(f, "preempting master {master} with priority {priority}")
            }
            Self::HigherPriority { master, priority } => {
                write!(f, "higher priority {priority} advertised by {master}")
            }
            Self::HigherAddress { master } => write!(f, "same priority and higher address: {master}"),
            Self::NobodyTookOver => f.write_str("nobody took over"),
            Self::Fault(what) => write!(f, "fault: {what}"),
            Self::Recovered => f.write_str("fault over"),
            Self::Operator => f.write_str("operator"),
            Self::SyncGroup => f.write_str("sync group"),
            Self::ShutDown => f.write_str("shut down"),
        }
    }
}
