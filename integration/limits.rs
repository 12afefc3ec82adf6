//! Who may come in, how often, and what may be said: addresses, floods, guesses, disabled commands, and the queue.

mod bans;
mod clients;
mod commands;
mod queue;

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;

use crate::support::local_door::LocalDoor;
use crate::support::process::Process;

/// Where clients are that the test is about.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 5, 5, 5));
/// And one that has nothing to do with them.
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 6, 6, 6));
/// Real clients end far sooner.
const CLIENT_ENDS_WITHIN: Duration = Duration::from_secs(60);

/// A number of `admittance` in `status`; 0 where there is none.
fn figure(status: &Value, pointer: &str) -> u64 {
    let place = format!("/virtual_servers/0/admittance{pointer}");
    status.pointer(&place).and_then(Value::as_u64).unwrap_or_default()
}

/// Runs a client program to its end.
fn run(door: &LocalDoor, program: &str, words: &[&str]) -> (bool, String) {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let mut command = Command::new(program);
    command.args(words);
    // A proxy of the machine that the tests run on is not meant.
    for name in ["ftp_proxy", "all_proxy", "FTP_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
    }
    let log = door.directory().join(format!("client-{}", RUNS.fetch_add(1, Relaxed)));
    let mut process = Process::spawn(command, &log);
    let status = process.wait(CLIENT_ENDS_WITHIN);
    process.kill();
    (status.is_some_and(|status| status.success()), process.output())
}
