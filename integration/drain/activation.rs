//! Listening sockets that the service manager has opened.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::control_connection::ControlConnection;
use crate::support::deadline;
use crate::support::door::program;
use crate::support::local_door::{Setup, unused_address};
use crate::support::other_servers::{PYTHON, script};
use crate::support::process::Process;
use crate::support::skip;
use crate::support::stub_server::{Connection, StubServer};

/// For whatever is awaited; many times what it takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A door that was started with sockets, by whoever opens them.
struct Activated {
    process: Process,
    directory: TempDir,
    file: PathBuf,
}

impl Activated {
    /// `words` come before the words that start the door.
    fn start(setup: &Setup, address: SocketAddr, program_before: &str, words: &[String]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("gridfront.toml");
        std::fs::write(&file, setup.text(directory.path(), address)).unwrap();
        let mut command = Command::new(program_before);
        command.args(words).arg(program()).arg("run").arg("-c").arg(&file);
        let process = Process::spawn(command, &directory.path().join("log"));
        Self { process, directory, file }
    }

    /// By our own service manager, which starts it again each time that it ends.
    fn restarting(setup: &Setup, address: SocketAddr, places: &[String]) -> Self {
        let words = [vec![script("service_manager.py")], places.to_vec(), vec!["--".to_owned()]].concat();
        Self::start(setup, address, PYTHON, &words)
    }

    fn status(&self) -> Result<Value, String> {
        let mut command = Command::new(program());
        let output = command.args(["status", "--json", "-c"]).arg(&self.file).stdin(Stdio::null()).output();
        let output = output.map_err(|error| error.to_string())?;
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
    }

    /// The process that answers, once one does that is not `other`.
    fn until_up(&self, other: u64) -> u64 {
        deadline::until("a door", PATIENCE, || {
            let pid = self.status()?["pid"].as_u64().ok_or("no pid")?;
            if pid == other { Err("the same".into()) } else { Ok(pid) }
        })
        .unwrap_or_else(|why| panic!("{why}\n{}", self.process.output()))
    }
}

fn terminate(pid: u64) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
}

/// Listening sockets on this address, whoever holds them.
fn listeners(address: SocketAddr) -> usize {
    let SocketAddr::V4(address) = address else { panic!("IPv4") };
    let place = format!("{:08X}:{:04X}", u32::from_le_bytes(address.ip().octets()), address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table
        .lines()
        .filter(|line| line.split_whitespace().nth(1) == Some(&place) && line.contains(" 0A "))
        .count()
}

fn serve_all(address: SocketAddr, count: usize) {
    let mut sessions: Vec<_> = (0..count).map(|_| ControlConnection::greeted(address)).collect();
    for session in &mut sessions {
        session.expect("NOOP", "200");
    }
}

#[test]
fn one_socket_is_shared_by_all_threads_and_no_client_is_lost() {
    if !skip::unless_present("sockets from a service manager", &[PYTHON]) {
        return;
    }
    let server = StubServer::start(Connection::serve);
    let address = unused_address();
    let setup = Setup::of(&[server.address()]).global("threads = 3");
    let door = Activated::restarting(&setup, address, &[format!("{address}=gridfront.socket")]);
    door.until_up(0);
    assert_eq!(listeners(address), 1, "no other listens there");
    // Bursts meet threads that all wake for one client.
    for _ in 0..10 {
        serve_all(address, 60);
    }
}

#[test]
fn as_many_sockets_as_there_are_are_all_served() {
    if !skip::unless_present("sockets with ReusePort=yes", &[PYTHON]) {
        return;
    }
    let server = StubServer::start(Connection::serve);
    for sockets in [2, 3, 5] {
        let address = unused_address();
        let setup = Setup::of(&[server.address()]).global("threads = 3");
        let mut places = vec![address.to_string(); sockets];
        places.insert(0, "--reuse-port".into());
        let door = Activated::restarting(&setup, address, &places);
        door.until_up(0);
        assert_eq!(listeners(address), sockets);
        // The kernel spreads them over all sockets; one that nobody serves would keep its clients waiting.
        serve_all(address, 60);
    }
}

#[test]
fn clients_wait_while_the_daemon_is_started_anew_and_none_is_refused() {
    if !skip::unless_present("a restart with sockets from a service manager", &[PYTHON]) {
        return;
    }
    let server = StubServer::start(Connection::serve);
    let address = unused_address();
    let setup = Setup::of(&[server.address()]).global("threads = 2\ndrain_timeout = \"1s\"");
    let door = Activated::restarting(&setup, address, &[address.to_string()]);
    let mut pid = door.until_up(0);
    for _ in 0..2 {
        // It keeps the daemon for its second.
        let mut held = ControlConnection::logged_in(address);
        held.expect("PASV", "227");
        let mut told = ControlConnection::logged_in(address);
        terminate(pid);
        // Then it accepts nobody any more.
        deadline::until("a drain", PATIENCE, || match told.command("NOOP") {
            reply if reply.starts_with("421 ") => Ok(()),
            reply => Err(reply),
        })
        .unwrap();
        let mut waiting: Vec<_> = (0..20).map(|_| ControlConnection::open(address)).collect();
        for session in &mut waiting {
            let greeting = session.line();
            assert!(greeting.starts_with("220 "), "{greeting}\n{}", door.process.output());
        }
        pid = door.until_up(pid);
    }
}

#[test]
fn a_socket_that_is_not_configured_stops_the_start_and_says_so() {
    if !skip::unless_present("a socket that nobody knows", &[PYTHON]) {
        return;
    }
    let server = StubServer::start(Connection::serve);
    let (address, other) = (unused_address(), unused_address());
    let setup = Setup::of(&[server.address()]);
    let places = [address.to_string(), format!("{other}=old.socket")];
    let mut door = Activated::restarting(&setup, address, &places);
    let ended = door.process.wait(PATIENCE).expect("it ends");
    assert_eq!(ended.code(), Some(1), "{}", door.process.output());
    let expected =
        format!("socket \"old.socket\" from the service manager: no virtual server listens on {other}");
    assert!(door.process.output().contains(&expected), "{}", door.process.output());
    assert!(!Path::new(&door.directory.path().join("admin.sock")).exists(), "nothing is left behind");
}

#[test]
fn it_is_started_by_the_first_client_that_comes() {
    const LAUNCHER: &str = "systemd-socket-activate";
    if !skip::unless_present("systemd-socket-activate", &[LAUNCHER]) {
        return;
    }
    let server = StubServer::start(Connection::serve);
    let address = unused_address();
    let words = ["-l".to_owned(), address.to_string(), "--fdname=door".to_owned()];
    let door = Activated::start(&Setup::of(&[server.address()]), address, LAUNCHER, &words);
    deadline::until("a listener", PATIENCE, || {
        if listeners(address) == 1 { Ok(()) } else { Err(door.process.output()) }
    })
    .unwrap();
    assert!(door.status().is_err(), "it has not been started");
    let mut session = ControlConnection::logged_in(address);
    session.expect("NOOP", "200");
    assert_eq!(listeners(address), 1);
    assert_eq!(door.until_up(0), u64::from(door.process.id()), "it is the same process");
}
