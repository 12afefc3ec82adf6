//! One of several balancers: its configuration, the daemon while it runs, and what it says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::deadline;
use super::door::program;
use super::netns::Machine;
use super::process::{Process, tail};

/// For whatever is awaited; many times what it takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Dropping it kills the daemon.
#[derive(Debug)]
pub struct Balancer {
    machine: Machine,
    directory: TempDir,
    pub process: Option<Process>,
    starts: u32,
}

impl Balancer {
    /// `text` is its configuration but for `[global]`.
    ///
    /// # Panics
    /// When the disk is full.
    pub fn new(machine: &Machine, text: &str) -> Self {
        let directory = TempDir::with_prefix("gridfront-balancer-").expect("a directory");
        let balancer = Self { machine: machine.clone(), directory, process: None, starts: 0 };
        balancer.write(text);
        balancer
    }

    /// Another configuration, which nobody reads before a reload.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn write(&self, text: &str) {
        let text = format!(
            "[global]\nrouter_id = \"{}\"\nadmin_socket = \"{}\"\ndrain_timeout = \"60s\"\n{text}",
            self.machine.role(),
            self.directory().join("admin.sock").display()
        );
        std::fs::write(self.file(), text).expect("a file of ours");
    }

    /// Where it has its files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn file(&self) -> PathBuf {
        self.directory().join("gridfront.toml")
    }

    /// # Panics
    /// When it does not answer.
    pub fn start(&mut self) {
        self.starts += 1;
        let mut command = self.machine.command(None, program());
        command.arg("run").arg("-c").arg(self.file());
        self.process = Some(Process::spawn(command, &self.directory().join(format!("log-{}", self.starts))));
        let ready = deadline::until("a balancer's readiness", PATIENCE, || self.state().map(drop));
        ready.unwrap_or_else(|why| panic!("{why}\n{}", self.log()));
    }

    /// As an operator ends it. How long that took.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(&mut self) -> Duration {
        let watch = deadline::Stopwatch::start();
        let mut process = self.process.take().expect("it runs");
        signal(process.id(), Signal::TERM);
        assert!(process.wait(PATIENCE).is_some(), "it does not end\n{}", self.log());
        watch.elapsed()
    }

    /// Signals the daemon alone.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, what: Signal) {
        signal(self.id(), what);
    }

    /// `gridfront WORDS` of this daemon: what it prints.
    ///
    /// # Errors
    /// The same with its status, when that is not 0.
    pub fn order(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(program());
        command.args(words).arg("-c").arg(self.file());
        let output = command.output().map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(format!("{words:?}: {}: {}{}", output.status, text(&output.stdout), text(&output.stderr)))
    }

    /// # Errors
    /// It does not answer.
    pub fn status(&self) -> Result<Value, String> {
        let text = self.order(&["status", "--json"])?;
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// What it says of its only instance: the state, in keepalived's word.
    ///
    /// # Errors
    /// It does not answer.
    pub fn state(&self) -> Result<String, String> {
        let status = self.status()?;
        Ok(status["vrrp"][0]["state"].as_str().unwrap_or_default().to_owned())
    }

    /// # Panics
    /// When it does not come to that.
    pub fn until_state(&self, wanted: &str) {
        let reached = deadline::until(&format!("{} is {wanted}", self.machine.role()), PATIENCE, || {
            let state = self.state()?;
            if state == wanted { Ok(()) } else { Err(state) }
        });
        reached.unwrap_or_else(|why| panic!("{why}\n{}", self.log()));
    }

    /// All that it says of one of its instances.
    ///
    /// # Errors
    /// It does not answer, or has none of that name.
    pub fn instance(&self, name: &str) -> Result<Value, String> {
        let status = self.status()?;
        let all = status["vrrp"].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().find(|of| of["name"] == name).cloned().ok_or_else(|| format!("no instance {name}"))
    }

    /// Waits until an instance is in this state with this priority.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn until_instance(&self, name: &str, state: &str, priority: u8) {
        let what = format!("{name} of {} is {state} with {priority}", self.machine.role());
        let reached = deadline::until(&what, PATIENCE, || {
            let now = self.instance(name)?;
            let is = now["state"] == state && now["priority"] == priority;
            if is { Ok(()) } else { Err(now.to_string()) }
        });
        reached.unwrap_or_else(|why| panic!("{why}\n{}", self.log()));
    }

    /// # Panics
    /// When it does not run.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// The process that guards its addresses.
    pub fn guardian(&self) -> Option<u32> {
        let children = format!("/proc/{0}/task/{0}/children", self.id());
        let all = std::fs::read_dir(format!("/proc/{}/task", self.id())).ok()?;
        let of_threads =
            all.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        let children =
            std::fs::read_to_string(children).into_iter().chain(of_threads).collect::<Vec<_>>().join(" ");
        children.split_whitespace().filter_map(|id| id.parse().ok()).find(|id: &u32| {
            std::fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| line.ends_with(b"\0guardian\0"))
        })
    }

    /// The end of what it has said since its last start.
    pub fn log(&self) -> String {
        tail(&self.whole_log(), 60)
    }

    pub fn whole_log(&self) -> String {
        let log = std::fs::read(self.directory().join(format!("log-{}", self.starts)));
        String::from_utf8_lossy(&log.unwrap_or_default()).into_owned()
    }
}

/// # Panics
/// When there is no such process.
pub fn signal(id: u32, signal: Signal) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(id, signal).expect("it runs");
}
