//! The door on loopback, for tests that need no real servers: a configuration of a few lines, and what it tells.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::deadline;
use super::door::program;
use super::process::{Process, tail};

/// Ready in some 10 ms here.
const START: Duration = Duration::from_secs(20);
/// For whatever the door is to come to; many times what it takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a door is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Keys of `[global]`.
    pub global: String,
    /// Keys of the virtual server.
    pub virtual_server: String,
    /// Keys of its checks.
    pub check: String,
    /// Name, address and further keys.
    pub real_servers: Vec<(String, SocketAddr, String)>,
}

/// A running door. Dropping it kills it.
#[derive(Debug)]
pub struct LocalDoor {
    process: Process,
    address: SocketAddr,
    directory: TempDir,
}

impl Setup {
    /// Real servers s1, s2, … at these addresses. They stay up whatever their checks find, so that sessions meet
    /// their faults, unless the test sets `check` otherwise.
    pub fn of(real_servers: &[SocketAddr]) -> Self {
        let named = real_servers.iter().enumerate();
        Self {
            global: "threads = 2\ndrain_timeout = \"5s\"".into(),
            virtual_server: String::new(),
            check: "delay_loop = \"1h\"\nretry = 1000\ndelay_before_retry = \"1h\"".into(),
            real_servers: named
                .map(|(index, address)| (format!("s{}", index + 1), *address, String::new()))
                .collect(),
        }
    }

    #[must_use]
    pub fn global(mut self, keys: &str) -> Self {
        self.global = keys.into();
        self
    }

    #[must_use]
    pub fn virtual_server(mut self, keys: &str) -> Self {
        self.virtual_server = keys.into();
        self
    }

    #[must_use]
    pub fn check(mut self, keys: &str) -> Self {
        self.check = keys.into();
        self
    }

    /// The configuration for a door at `address` with its socket in `directory`.
    pub fn text(&self, directory: &Path, address: SocketAddr) -> String {
        let Self { global, virtual_server, check, real_servers } = self;
        // Their data connections are not what most scripts have, and the door would want to make them.
        let path = if virtual_server.contains("data_path") { "" } else { "data_path = \"direct\"\n" };
        let mut text = format!(
            "[global]\nadmin_socket = \"{}\"\n{global}\n\n\
             [[virtual_server]]\nname = \"gridftp\"\naddresses = [\"{}\"]\nport = {}\n{path}{virtual_server}\n\n\
             [virtual_server.check]\n{check}\n",
            socket_of(directory).display(),
            address.ip(),
            address.port(),
        );
        for (name, address, keys) in real_servers {
            text.push_str(&format!(
                "\n[[virtual_server.real_server]]\nname = \"{name}\"\naddress = \"{}\"\nport = {}\n{keys}\n",
                address.ip(),
                address.port(),
            ));
        }
        text
    }

    /// Starts a door with this and waits until it answers `status`.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(&self) -> LocalDoor {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let log = directory.path().join("log");
        self.launch(directory, |command| Process::spawn(command, &log))
    }

    /// As [`Setup::start`], with standard output and error of the door going where the test says.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_with_output(&self, output: File) -> LocalDoor {
        let directory = tempfile::tempdir().expect("a temporary directory");
        self.launch(directory, |command| Process::spawn_into(command, output))
    }

    fn launch(&self, directory: TempDir, spawn: impl FnOnce(Command) -> Process) -> LocalDoor {
        let address = unused_address();
        let file = directory.path().join("gridfront.toml");
        std::fs::write(&file, self.text(directory.path(), address)).expect("a configuration file");
        let process = spawn(run_command(&file));
        let mut door = LocalDoor { process, address, directory };
        let ready = deadline::until("the door's readiness", START, || {
            if let Some(status) = door.process.ended() {
                return Err(format!("it ended: {status}"));
            }
            door.try_status().map(drop)
        });
        ready.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
        door
    }
}

impl LocalDoor {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn socket(&self) -> PathBuf {
        socket_of(self.directory.path())
    }

    pub fn configuration(&self) -> PathBuf {
        self.directory.path().join("gridfront.toml")
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Everything it logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// What `gridfront status --json` prints.
    ///
    /// # Errors
    /// What it said instead.
    pub fn try_status(&self) -> Result<Value, String> {
        let output = self.command("status").arg("--json").stdin(Stdio::null()).output();
        let output = output.map_err(|error| error.to_string())?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`gridfront status`: {}: {text}", output.status));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("`gridfront status --json`: {error}"))
    }

    /// # Panics
    /// When the door does not answer.
    pub fn status(&self) -> Value {
        self.try_status().unwrap_or_else(|why| panic!("{why}\n{}", tail(&self.log(), 30)))
    }

    /// `gridfront WORD -c` with this door's configuration.
    pub fn command(&self, word: &str) -> Command {
        let mut command = Command::new(program());
        command.arg(word).arg("-c").arg(self.configuration());
        command
    }

    /// The object of the real server called `name` in `status`.
    ///
    /// # Panics
    /// When there is none.
    pub fn real_server(&self, name: &str) -> Value {
        let status = self.status();
        let servers = status["virtual_servers"][0]["real_servers"].as_array().cloned().unwrap_or_default();
        servers
            .into_iter()
            .find(|server| server["name"] == name)
            .unwrap_or_else(|| panic!("no {name} in {status}"))
    }

    /// A counter of the real server called `name`.
    ///
    /// # Panics
    /// When there is none.
    pub fn count(&self, name: &str, field: &str) -> u64 {
        let server = self.real_server(name);
        server[field].as_u64().unwrap_or_else(|| panic!("{field}: {server}"))
    }

    /// Waits until `probe` holds of `status`.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn until(&self, what: &str, probe: impl Fn(&Value) -> bool) {
        deadline::until(what, PATIENCE, || {
            let status = self.try_status()?;
            if probe(&status) { Ok(()) } else { Err(status.to_string()) }
        })
        .unwrap_or_else(|why| panic!("{why}\n{}", tail(&self.log(), 30)));
    }

    /// Waits until no session is counted anywhere, and no session was ended by a bug.
    ///
    /// # Panics
    /// When one is.
    pub fn until_empty(&self) {
        self.until("every session given back", |status| {
            let of_service = &status["virtual_servers"][0];
            let servers = of_service["real_servers"].as_array().into_iter().flatten();
            status["sessions"] == 0
                && of_service["sessions"] == 0
                && servers.into_iter().all(|server| server["sessions"] == 0)
        });
        assert_eq!(self.status()["panics"], 0, "{}", self.log());
    }

    /// Waits for a line of the log that holds every one of `words`.
    ///
    /// # Panics
    /// When none comes.
    pub fn until_logged(&self, words: &[&str]) -> String {
        deadline::until("a log line", PATIENCE, || {
            let log = self.log();
            let found = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
            found.map(str::to_owned).ok_or_else(|| format!("{words:?} not in\n{log}"))
        })
        .unwrap_or_else(|why| panic!("{why}"))
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// How it ends, if it does within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.process.wait(limit)
    }

    /// Memory in use now, in bytes.
    ///
    /// # Panics
    /// When the door has gone.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the door runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
        line.split_whitespace().nth(1).and_then(|size| size.parse::<u64>().ok()).expect("a number") * 1024
    }

    /// Processor time used so far by all of its threads.
    ///
    /// # Panics
    /// When the door has gone.
    pub fn processor_time(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.id())).expect("the door runs");
        let nanos = threads.filter_map(|thread| {
            let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }
}

/// `gridfront run -c FILE`.
pub fn run_command(file: &Path) -> Command {
    let mut command = Command::new(program());
    command.arg("run").arg("-c").arg(file);
    command
}

/// An address that belongs to this test process alone, with a port that nobody uses.
///
/// # Panics
/// When every port is taken.
pub fn unused_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    // A process id has 22 bits at most; below the ports that the kernel gives to connections.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 64 | high, middle, low);
    loop {
        let port = NEXT.fetch_add(1, Relaxed);
        assert!(port < 32_000, "no port left");
        let address = SocketAddr::from((ip, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

fn socket_of(directory: &Path) -> PathBuf {
    directory.join("admin.sock")
}
