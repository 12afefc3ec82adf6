//! What an instance is, and what it wants done.

use std::time::{Duration, Instant};

use super::Cause;
use crate::proto::vrrp::Priority;

/// State of RFC 9568 section 6.3, with the timers that run in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Not started, or shut down.
    Initialize,
    /// Watching the master.
    Backup {
        /// How often the master says that it advertises (`Active_Adver_Interval`); our own interval before one is heard,
        /// and in version 2.
        master_interval: Duration,
        /// When silence means that the master is dead (`Active_Down_Timer`).
        master_down_at: Instant,
        /// When `preempt_delay` is over, while it keeps a master of lower priority in office.
        preempt_at: Option<Instant>,
    },
    /// Owning the virtual addresses.
    Master {
        /// When the next advertisement is due (`Adver_Timer`).
        advertise_at: Instant,
    },
    /// What the instance needs is not there. The RFC has Initialize for it.
    Fault,
}

impl State {
    /// Without the timers.
    #[must_use]
    pub fn role(self) -> Role {
        match self {
            Self::Initialize => Role::Initialize,
            Self::Backup { .. } => Role::Backup,
            Self::Master { .. } => Role::Master,
            Self::Fault => Role::Fault,
        }
    }
}

/// A state in one word.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// Not started, or shut down.
    Initialize,
    /// Watching the master.
    Backup,
    /// Owning the virtual addresses.
    Master,
    /// Kept from being either.
    Fault,
}

impl Role {
    /// keepalived's word for it; scripts get it as an argument.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Initialize => "STOP",
            Self::Backup => "BACKUP",
            Self::Master => "MASTER",
            Self::Fault => "FAULT",
        }
    }
}

/// What the driver must do, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Send [`super::Instance::advertisement`] with this priority.
    Advertise {
        /// Ours, or [`Priority::RELEASE`].
        priority: Priority,
    },
    /// Put the virtual addresses on the interface.
    ClaimAddresses,
    /// As master: the list has changed, put there what is new and take away what is gone.
    ChangeAddresses,
    /// Tell the link where they are: start [`crate::proto::vrrp::Announcing`].
    AnnounceAddresses,
    /// Tell it again, for another has done so: [`crate::proto::vrrp::Announcing::lower_priority_heard`].
    ReannounceAddresses,
    /// Take the virtual addresses away.
    ReleaseAddresses,
    /// The state has changed; behind what that entails, so that nothing waits for a log or a script.
    Transition {
        /// Before.
        from: Role,
        /// After.
        to: Role,
        /// Why.
        cause: Cause,
    },
}
