//! What the tests of the kernel path stand on, as far as a lab with a guest needs it.
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

#[path = "../../integration/support/certificates.rs"]
pub mod certificates;
#[path = "../../integration/support/deadline.rs"]
pub mod deadline;
#[path = "../../integration/support/dr_lab.rs"]
pub mod dr_lab;
#[path = "../../integration/support/grid.rs"]
pub mod grid;
#[path = "../../integration/support/guest_door.rs"]
pub mod guest_door;
#[path = "../../integration/support/interfaces.rs"]
pub mod interfaces;
#[path = "../../integration/support/ipvs.rs"]
pub mod ipvs;
#[path = "../../integration/support/name_service.rs"]
pub mod name_service;
#[path = "../../integration/support/netns.rs"]
pub mod netns;
#[path = "../../integration/support/process.rs"]
pub mod process;
#[path = "../../integration/support/server.rs"]
pub mod server;
#[path = "../../integration/support/skip.rs"]
pub mod skip;
#[path = "../../integration/support/uml.rs"]
pub mod uml;

/// The door that is measured.
pub mod door {
    pub fn program() -> &'static str {
        env!("CARGO_BIN_EXE_gridfront")
    }
}
