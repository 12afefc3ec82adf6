//! What decides whether real servers are to be had, besides their checks.
use crate::balance::{EjectionPolicy, Quorum};
use std::net::SocketAddr;
use std::time::Duration;

/// The keys of `[[virtual_server]]` for that.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Availability {
    /// Whether real servers are down until their checks have passed.
    pub alpha: bool,
    /// How much has to be up: `quorum` and `hysteresis`.
    pub quorum: Quorum,
    /// Who takes the sessions when nobody else does.
    pub sorry_server: Option<SocketAddr>,
    /// What clients are told where nobody takes them: one line without its code.
    pub offline_message: Option<String>,
    /// How long a real server that comes back takes to get its whole share; zero is at once.
    pub slow_start: Duration,
    /// Whether real servers are ejected whose sessions fail: `[virtual_server.ejection]`.
    pub ejection: Option<EjectionPolicy>,
}
