//! The front door: control connections between clients and real servers.
//!
//! ```text
//!   listener ─▶ admittance ─▶ arrival (PROXY protocol) ─▶ queueing, approach (choose, connect, greeting; next server if in vain)
//!                                   session machine ◀── control_channel ◀──┘
//! ```
//!
//! One current-thread runtime a processor, each with its own `SO_REUSEPORT` listener on every address; a session
//! lives on the thread that accepted it, as one task. An idle session owns no buffer and no timer: reading goes
//! through one buffer per thread, and one sweep over the session table finds the sessions whose time is over.
mod admittance;
mod approach;
mod arrival;
mod availability;
mod backlog;
mod control_channel;
mod control_stream;
mod endpoint;
mod endpoints;
mod front_door;
mod generation;
mod gsi;
mod journal;
mod listener;
mod plain;
mod queueing;
mod refusal_lines;
mod relay;
mod served_session;
mod service;
mod session_table;
mod tally;
mod transfer_log;

pub(crate) use front_door::Phase;
pub use front_door::{Alteration, BindError, FrontDoor};
pub(crate) use generation::Removed;
pub use generation::{Generation, Kernel, Successor};
pub(crate) use gsi::KeyPool;
pub(crate) use service::ServedBy;
pub use service::Service;
pub(crate) use session_table::IdentifiedSession;
pub use session_table::{Held, SessionTable};
pub(crate) use transfer_log::TransferLog;

/// Bytes of one session's task while it waits for its peers, without what it points to.
#[must_use]
pub fn session_size() -> usize {
    size_of::<served_session::ServedSession>()
}

/// The time, from the one clock that sessions and whoever shows them use.
pub(crate) fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
