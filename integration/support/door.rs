//! The door itself: the real binary on its machine, with a configuration of the test's.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::LazyLock;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::deadline;
use super::grid::{EXTENDED_PORT, PORT, REAL_SERVERS, Site, path_text};
use super::other_servers::{PROFTPD_PORT, PYFTPDLIB_PORT};
use super::process::{Process, tail};

/// Where the striped front-end is served.
pub const STRIPED_PORT: u16 = 2831;
/// The three ordinary real servers again, with `data_path = "direct"`.
pub const DIRECT_PORT: u16 = 2861;
/// The three again, with `data_path = "relay"`.
pub const RELAYED_PORT: u16 = 2871;
/// The striped front-end again, with `data_path = "relay"`.
pub const RELAYED_STRIPED_PORT: u16 = 2881;
/// Ready in some 10 ms here.
const START: Duration = Duration::from_secs(20);
/// `status` asks over a Unix socket.
const ANSWER: Duration = Duration::from_secs(10);

/// A running `gridfront run`. Dropping it kills it; [`Door::stop`] ends it as an operator does.
#[derive(Debug)]
pub struct Door {
    process: Process,
    configuration: PathBuf,
    log: PathBuf,
}

/// A configuration in the words of the design, written for a test.
#[derive(Clone, Debug)]
pub struct Configuration {
    text: String,
    addresses: String,
}

impl Configuration {
    /// A `[global]` part for the machine `door` of the site.
    pub fn new(site: &Site) -> Self {
        let socket = site.scratch("admin.sock");
        let [v4, v6] = site.machine("door").addresses();
        Self {
            text: format!(
                "[global]\nrouter_id = \"door.grid.test\"\nadmin_socket = \"{}\"\ndrain_timeout = \"5s\"\n",
                path_text(&socket)
            ),
            addresses: format!("[\"{v4}\", \"{v6}\"]"),
        }
    }

    /// Further lines of `[global]`.
    #[must_use]
    pub fn global(mut self, settings: &str) -> Self {
        writeln!(self.text, "{settings}").expect("a string takes lines");
        self
    }

    /// A virtual server on the door's two addresses; `settings` are further lines of its table.
    #[must_use]
    pub fn virtual_server(mut self, name: &str, port: u16, settings: &str) -> Self {
        writeln!(
            self.text,
            "\n[[virtual_server]]\nname = \"{name}\"\naddresses = {}\nport = {port}\n{settings}",
            self.addresses
        )
        .expect("a string takes lines");
        self
    }

    /// The checks of the virtual server named last.
    #[must_use]
    pub fn check(mut self, settings: &str) -> Self {
        writeln!(self.text, "\n[virtual_server.check]\n{settings}").expect("a string takes lines");
        self
    }

    /// A real server of the virtual server named last.
    #[must_use]
    pub fn real_server(mut self, name: &str, address: &str, port: u16, settings: &str) -> Self {
        writeln!(
            self.text,
            "\n[[virtual_server.real_server]]\nname = \"{name}\"\naddress = \"{address}\"\nport = {port}\n{settings}"
        )
        .expect("a string takes lines");
        self
    }

    /// The three ordinary real servers of the site.
    #[must_use]
    pub fn three(self, site: &Site, port: u16) -> Self {
        REAL_SERVERS.iter().fold(self, |configuration, role| {
            let [v4, v6] = site.machine(role).addresses();
            let settings = format!("data_addresses = [\"{v4}\", \"{v6}\"]");
            configuration.real_server(role, &v4.to_string(), port, &settings)
        })
    }

    /// ProFTPD and pyftpdlib on the three machines, as an operator who has read their manuals configures them.
    #[must_use]
    pub fn other_servers(self, site: &Site) -> Self {
        [("proftpd", PROFTPD_PORT), ("pyftpdlib", PYFTPDLIB_PORT)].into_iter().fold(
            self,
            |all, (name, port)| {
                REAL_SERVERS.iter().fold(all.virtual_server(name, port, ""), |configuration, role| {
                    let address = site.machine(role).v4().to_string();
                    configuration.real_server(role, &address, port, "checks_data_peer = true")
                })
            },
        )
    }

    /// Everything that a site of all servers has: `gridftp`, `extended` and `striped` in the defaults, and what else
    /// `data_path` may say; `gsi` are further lines of each.
    pub fn everything(site: &Site, gsi: &str) -> Self {
        let front = site.machine("front").v4().to_string();
        // In active mode the data nodes connect to the door, which has to know them.
        let [d1, d2] = ["d1", "d2"].map(|role| site.machine(role).v4());
        let nodes = format!("data_address_map = {{ \"{d1}\" = \"{d1}\", \"{d2}\" = \"{d2}\" }}");
        Self::new(site)
            .virtual_server("gridftp", PORT, gsi)
            .three(site, PORT)
            .virtual_server("extended", EXTENDED_PORT, gsi)
            .three(site, EXTENDED_PORT)
            .virtual_server("striped", STRIPED_PORT, gsi)
            .real_server("front", &front, PORT, "")
            .virtual_server("direct", DIRECT_PORT, &format!("data_path = \"direct\"{gsi}"))
            .three(site, PORT)
            .virtual_server("relayed", RELAYED_PORT, &format!("data_path = \"relay\"{gsi}"))
            .three(site, PORT)
            .virtual_server("relayed-striped", RELAYED_STRIPED_PORT, &format!("data_path = \"relay\"{gsi}"))
            .real_server("front", &front, PORT, &nodes)
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Door {
    /// Starts the door with this configuration on the site's machine `door`, and waits until it answers `status`.
    ///
    /// # Errors
    /// Its log, when it does not come up.
    pub fn start(site: &Site, configuration: &Configuration) -> Result<Self, String> {
        Self::launch(site, configuration, Process::spawn)
    }

    /// As [`Door::start`], with standard output and error going into `output`; whoever reads that, writes them to
    /// [`Door::log_file`].
    ///
    /// # Errors
    /// As [`Door::start`].
    pub fn start_with_output(
        site: &Site,
        configuration: &Configuration,
        output: File,
    ) -> Result<Self, String> {
        Self::launch(site, configuration, |command, _| Process::spawn_into(command, output))
    }

    fn launch(
        site: &Site,
        configuration: &Configuration,
        spawn: impl FnOnce(Command, &Path) -> Process,
    ) -> Result<Self, String> {
        let file = site.scratch("gridfront.toml");
        std::fs::write(&file, configuration.text())
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let mut command = site.machine("door").command(None, program());
        command.arg("run").arg("-c").arg(&file);
        let log = Self::log_file(site);
        let process = spawn(command, &log);
        let mut door = Self { process, configuration: file, log };
        let ready = deadline::until("the door's readiness", START, || {
            if let Some(status) = door.process.ended() {
                return Err(format!("it ended: {status}"));
            }
            door.status().map(drop)
        });
        match ready {
            Ok(()) => Ok(door),
            Err(why) => Err(format!("{why}\n{}\n{}", door.log(), configuration.text())),
        }
    }

    /// What `gridfront status --json` prints.
    ///
    /// # Errors
    /// What it said instead.
    pub fn status(&self) -> Result<Value, String> {
        let mut command = Command::new(program());
        command.args(["status", "--json", "-c"]).arg(&self.configuration);
        let output = self.configuration.with_extension("status");
        let _ = std::fs::remove_file(&output);
        let mut process = Process::spawn(command, &output);
        let status = process.wait(ANSWER).ok_or("`gridfront status` did not end")?;
        let text = process.output();
        if !status.success() {
            return Err(format!("`gridfront status`: {status}: {text}"));
        }
        serde_json::from_str(&text).map_err(|error| format!("`gridfront status --json`: {error}: {text}"))
    }

    /// Every real server: virtual server, name, and its object in `status`.
    ///
    /// # Errors
    /// As [`Door::status`].
    pub fn real_servers(&self) -> Result<Vec<(String, String, Value)>, String> {
        let status = self.status()?;
        let mut found = Vec::new();
        for virtual_server in status["virtual_servers"].as_array().into_iter().flatten() {
            for server in virtual_server["real_servers"].as_array().into_iter().flatten() {
                let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                found.push((word(&virtual_server["name"]), word(&server["name"]), server.clone()));
            }
        }
        Ok(found)
    }

    /// Its file, for commands that ask it.
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// The process id, for /proc and signals.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// `gridfront WORD… -c` with this door's configuration.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(words).arg("-c").arg(&self.configuration);
        command
    }

    /// Where what it logs is kept.
    pub fn log_file(site: &Site) -> PathBuf {
        site.directory().join("log/door.log")
    }

    /// Everything it logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last of it, for messages.
    pub fn log_tail(&self) -> String {
        tail(&self.log(), 40)
    }

    /// Waits until it says this behind what it had logged when that was `from` bytes long.
    ///
    /// # Errors
    /// All that it has said since, when `within` is over.
    pub fn until_logged(&self, from: usize, wanted: &str, within: Duration) -> Result<(), String> {
        deadline::until("a line of the door's", within, || {
            let log = self.log().split_off(from);
            if log.contains(wanted) { Ok(()) } else { Err(format!("{wanted:?} is not in\n{log}")) }
        })
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// SIGTERM, and how it ended; none when it still ran after `limit`.
    pub fn stop(mut self, limit: Duration) -> Option<ExitStatus> {
        self.process.signal(Signal::TERM);
        self.process.wait(limit)
    }
}

/// The binary that Cargo built for these tests, or the one that `GRIDFRONT_BINARY` names.
pub fn program() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| {
        std::env::var("GRIDFRONT_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_gridfront").to_owned())
    });
    &PROGRAM
}
