//! What the tests of VRRP stand on, as far as their pairs need it.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the tests' own, of which this uses a part"
)]

#[path = "../../integration/support/deadline.rs"]
pub mod deadline;
#[path = "../../integration/support/keepalived.rs"]
pub mod keepalived;
#[path = "../../integration/support/netns.rs"]
pub mod netns;
#[path = "../../integration/support/ownership.rs"]
pub mod ownership;
#[path = "../../integration/support/process.rs"]
pub mod process;
#[path = "../../integration/support/skip.rs"]
pub mod skip;

/// The door that is measured.
pub mod door {
    pub fn program() -> &'static str {
        env!("CARGO_BIN_EXE_gridfront")
    }
}
