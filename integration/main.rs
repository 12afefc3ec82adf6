//! Gridfront against real programs.
//!
//! `integration/run` installs them and runs everything; `cargo nextest run --test integration` runs what this machine can, as root.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test program: modules share one harness, a failure is a panic, tables go to the terminal"
)]

mod architecture;
mod availability;
mod balance;
mod chaos;
mod checks;
mod corpus;
mod data_addresses;
mod documentation;
mod drain;
mod example_certificates;
mod failover;
mod faults;
mod forwarding;
mod gsi;
mod gsi_errors;
mod gsi_machines;
mod gsi_paths;
mod gsi_users;
mod idle_memory;
mod kernel;
mod kernel_path;
mod limits;
mod log_lines;
mod matrix;
mod metrics;
mod names;
mod passthrough;
mod proxy_protocol;
mod realserver;
mod relay;
mod reload;
mod soak;
mod support;
mod tls;
mod transfer_log;
mod vrrp;
mod vrrp_load;
mod vrrp_tracking;

/// Every test pays two additions for each allocation, so that one can count them.
#[global_allocator]
static ALLOCATOR: idle_memory::Counting = idle_memory::Counting;
