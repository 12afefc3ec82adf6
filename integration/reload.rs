//! Another configuration for a door that runs: what is done, what is listed, and what nobody notices.

mod changes;
mod listeners;
mod refusals;
mod storm;

use std::process::{Command, Output, Stdio};

use crate::support::local_door::{LocalDoor, Setup};

/// Writes the configuration of `setup` where the door looks for it.
fn write(door: &LocalDoor, setup: &Setup) {
    std::fs::write(door.configuration(), setup.text(door.directory(), door.address())).unwrap();
}

/// `gridfront reload` and what it says, exit code first.
fn reload(door: &LocalDoor, arguments: &[&str]) -> (i32, String) {
    said(door.command("reload").args(arguments))
}

fn said(command: &mut Command) -> (i32, String) {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().expect("gridfront runs");
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (status.code().expect("an exit code"), text)
}

/// Reloads the configuration of `setup`, which must work, and returns the list of changes.
fn reloaded(door: &LocalDoor, setup: &Setup) -> Vec<String> {
    write(door, setup);
    let (code, text) = reload(door, &[]);
    assert_eq!(code, 0, "{text}\n{}", door.log());
    text.lines().filter_map(|line| line.strip_prefix("  ")).map(str::to_owned).collect()
}
