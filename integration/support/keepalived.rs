//! keepalived on a machine of a lab, without anything that it shares with another one.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::deadline;
use super::netns::Machine;
use super::process::{Process, tail};

/// What has to be installed.
pub const PROGRAMS: &[&str] = &["keepalived", "ip", "nsenter"];

/// It reads its configuration and asks the kernel for everything, twice.
const START: Duration = Duration::from_secs(30);
/// From SIGTERM: it says goodbye a second time after one second.
const STOP: Duration = Duration::from_secs(20);

/// One that runs VRRP and nothing else: a parent and its child. Dropping it kills both.
#[derive(Debug)]
pub struct Keepalived {
    parent: Process,
    child_file: PathBuf,
    _directory: TempDir,
}

impl Keepalived {
    /// Starts it with this configuration, behind what keeps it from asking for users and mail servers; returns when its
    /// virtual routers run.
    ///
    /// # Panics
    /// When they do not.
    pub fn start(machine: &Machine, configuration: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        let whole = format!(
            "global_defs {{\n  router_id {}\n  vrrp_version 3\n  script_user root\n}}\n{configuration}",
            machine.role()
        );
        std::fs::write(at("keepalived.conf"), whole).expect("our own file");
        let mut command = machine.command(None, "keepalived");
        command.args(["--dont-fork", "--log-detail", "--log-console", "--vrrp", "--no-syslog"]);
        command.arg("--use-file").arg(at("keepalived.conf"));
        command.arg("--pid").arg(at("pid")).arg("--vrrp_pid").arg(at("vrrp.pid"));
        let parent = Process::spawn(command, &at("log"));
        let mut keepalived = Self { parent, child_file: at("vrrp.pid"), _directory: directory };
        let ready = deadline::until("keepalived's virtual routers", START, || {
            if let Some(status) = keepalived.parent.ended() {
                return Err(format!("it ended: {status}"));
            }
            let log = keepalived.log();
            // An owner begins as master.
            let is_at_work =
                ["BACKUP", "MASTER"].iter().any(|role| log.contains(&format!("Entering {role} STATE")));
            if is_at_work { Ok(()) } else { Err(tail(&log, 40)) }
        });
        ready.unwrap_or_else(|why| panic!("{why}\n{configuration}"));
        keepalived
    }

    /// What it said.
    pub fn log(&self) -> String {
        self.parent.output()
    }

    /// Asks it to end. Returns at once.
    pub fn request_end(&self) {
        // The parent stops its child itself; told twice, that one would end in haste.
        if let Some(parent) = Pid::from_raw(self.parent.id().cast_signed()) {
            let _ = kill_process(parent, Signal::TERM);
        }
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait(&mut self) {
        assert!(self.parent.wait(STOP).is_some(), "keepalived does not end:\n{}", tail(&self.log(), 20));
    }

    /// `kill -9` of both processes, the parent first, which would start another child.
    pub fn kill(&mut self) {
        let child = std::fs::read_to_string(&self.child_file).ok();
        self.parent.kill();
        if let Some(child) = child.and_then(|text| text.trim().parse().ok()).and_then(Pid::from_raw) {
            let _ = kill_process(child, Signal::KILL);
        }
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        self.kill();
    }
}
