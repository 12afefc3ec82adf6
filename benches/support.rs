//! What the benches have in common: the systems under test, stub servers and clients of the control channel, interleaved
//! rounds, CPU time and system calls of a process, cores, and their part of `benches/RESULTS.md`.
#![allow(dead_code, reason = "each bench is a program of its own and uses what it needs")]

#[path = "support/balancer.rs"]
pub(crate) mod balancer;
#[path = "support/child.rs"]
pub(crate) mod child;
#[path = "support/client.rs"]
pub(crate) mod client;
#[path = "support/cores.rs"]
pub(crate) mod cores;
#[path = "support/fleet.rs"]
pub(crate) mod fleet;
#[path = "support/interrupt.rs"]
pub(crate) mod interrupt;
#[path = "support/mod_proxy.rs"]
pub(crate) mod mod_proxy;
#[path = "support/real_server.rs"]
pub(crate) mod real_server;
#[path = "support/report.rs"]
pub(crate) mod report;
#[path = "support/rounds.rs"]
pub(crate) mod rounds;
#[path = "support/usage.rs"]
pub(crate) mod usage;

use std::process::ExitCode;

/// Runs the bench `name`, if cargo bench has started it.
pub(crate) fn start(name: &str, is_bench: bool, run: impl FnOnce() -> Outcome<()>) -> ExitCode {
    if !is_bench {
        // `cargo test --all-targets` runs benches too.
        eprintln!("{name}: nothing to do without --bench; run `cargo bench --bench {name}`");
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Errors end the bench with one line; nobody matches on them.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
