//! Two balancers before real servers, and what clients notice when one is lost or steps down.

mod clients;
mod groups;
mod guardian;
mod random;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::deadline;
use crate::support::door::program;
use crate::support::netns::Machine;
use crate::support::process::{Process, tail};

/// On no machine of its own.
const VIRTUAL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
/// For whatever is awaited; many times what it takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of adverts, where the time that a takeover takes does not matter.
const INTERVAL: Duration = Duration::from_millis(100);

/// A balancer: its configuration, and the daemon while it runs.
struct Balancer {
    machine: Machine,
    directory: TempDir,
    process: Option<Process>,
    starts: u32,
}

impl Balancer {
    /// `more` is the rest of its configuration.
    fn new(machine: &Machine, priority: u8, interval: Duration, keys: &str, more: &str) -> Self {
        let directory = TempDir::with_prefix("gridfront-balancer-").expect("a directory");
        let mut text = format!(
            "[global]\nrouter_id = \"{}\"\nadmin_socket = \"{}\"\ndrain_timeout = \"60s\"\n",
            machine.role(),
            directory.path().join("admin.sock").display()
        );
        write!(
            text,
            "\n[[vrrp_instance]]\nname = \"VI\"\ninterface = \"eth0\"\nvirtual_router_id = 77\npriority = {priority}\n\
             advert_interval = \"{}ms\"\nvirtual_addresses = [\"{VIRTUAL}/24\"]\n{keys}\n{more}",
            interval.as_millis()
        )
        .expect("a string takes text");
        std::fs::write(directory.path().join("gridfront.toml"), text).expect("a file of ours");
        Self { machine: machine.clone(), directory, process: None, starts: 0 }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("gridfront.toml")
    }

    fn start(&mut self) {
        self.starts += 1;
        let mut command = self.machine.command(None, program());
        command.arg("run").arg("-c").arg(self.file());
        self.process =
            Some(Process::spawn(command, &self.directory.path().join(format!("log-{}", self.starts))));
        let ready = deadline::until("a balancer's readiness", PATIENCE, || self.state().map(drop));
        ready.unwrap_or_else(|why| panic!("{why}\n{}", self.log()));
    }

    /// `gridfront WORDS` of this daemon: what it prints.
    fn order(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(program());
        command.args(words).arg("-c").arg(self.file());
        let output = command.output().map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(format!("{words:?}: {}: {}{}", output.status, text(&output.stdout), text(&output.stderr)))
    }

    fn status(&self) -> Result<Value, String> {
        let text = self.order(&["status", "--json"])?;
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// Its state, in keepalived's word.
    fn state(&self) -> Result<String, String> {
        let status = self.status()?;
        Ok(status["vrrp"][0]["state"].as_str().unwrap_or_default().to_owned())
    }

    fn until_state(&self, wanted: &str) {
        let reached = deadline::until(&format!("{} is {wanted}", self.machine.role()), PATIENCE, || {
            let state = self.state()?;
            if state == wanted { Ok(()) } else { Err(state) }
        });
        reached.unwrap_or_else(|why| panic!("{why}\n{}", self.log()));
    }

    fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// The process that guards its addresses.
    fn guardian(&self) -> Option<u32> {
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

    fn log(&self) -> String {
        let log = std::fs::read(self.directory.path().join(format!("log-{}", self.starts)));
        tail(&String::from_utf8_lossy(&log.unwrap_or_default()), 60)
    }
}

fn virtual_address() -> IpAddr {
    VIRTUAL.into()
}
