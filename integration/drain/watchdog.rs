//! The watchdog: a sign of life as long as every thread of the door turns, and none while one does not.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::control_connection::ControlConnection;
use crate::support::deadline;
use crate::support::local_door::{Setup, run_command, unused_address};
use crate::support::other_servers::{PYTHON, script};
use crate::support::process::Process;
use crate::support::skip;
use crate::support::stub_server::{Connection, StubServer};

/// What the service manager allows between two signs.
const LIMIT: Duration = Duration::from_millis(600);
/// For whatever is awaited; many times what it takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The service manager's end of the socket.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        Self(UnixDatagram::bind(path).unwrap())
    }

    fn next(&self, limit: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(limit)).unwrap();
        let mut bytes = [0; 4096];
        let length = self.0.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).trim().to_owned())
    }

    /// Throws away what was said so far.
    fn forget(&self) {
        while self.next(Duration::from_millis(1)).is_some() {}
    }

    /// Waits until this is said.
    fn until(&self, wanted: &str) {
        deadline::until(wanted, PATIENCE, || {
            let said = self.next(PATIENCE).unwrap_or_default();
            if said == wanted { Ok(()) } else { Err(format!("{said:?}")) }
        })
        .unwrap_or_else(|why| panic!("{why}"));
    }

    /// Signs of life within this time.
    fn signs(&self, within: Duration) -> usize {
        let watch = deadline::Stopwatch::start();
        let mut signs = 0;
        while let Some(left) = within.checked_sub(watch.elapsed()).filter(|left| !left.is_zero()) {
            signs += usize::from(self.next(left).is_some_and(|said| said == "WATCHDOG=1"));
        }
        signs
    }
}

/// A thread that stands still until this is dropped.
struct Stopped(Child);

impl Stopped {
    fn named(process: u32, name: &str) -> Self {
        let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let of_name =
            |path: &Path| std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name);
        let task =
            tasks.map(|task| task.unwrap().path()).find(|path| of_name(path)).expect("a thread of the door");
        let mut child = Command::new(PYTHON)
            .arg(script("stop_thread.py"))
            .arg(task.file_name().unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "stopped\n", "this machine lets nobody stop a thread");
        Self(child)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn there_are_signs_of_life_until_one_thread_of_the_door_stands_still() {
    if !skip::unless_present("a thread that stands still", &[PYTHON]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let manager = Manager::at(&directory.path().join("notify"));
    let server = StubServer::start(Connection::serve);
    let address = unused_address();
    let file = directory.path().join("gridfront.toml");
    let setup = Setup::of(&[server.address()]).global("threads = 3");
    std::fs::write(&file, setup.text(directory.path(), address)).unwrap();
    let mut command = run_command(&file);
    command.env("NOTIFY_SOCKET", directory.path().join("notify"));
    command.env("WATCHDOG_USEC", LIMIT.as_micros().to_string());
    let process = Process::spawn(command, &directory.path().join("log"));
    manager.until("READY=1");
    manager.until("STATUS=1 of 1 real servers up; 0 sessions");
    let regular = manager.signs(4 * LIMIT);
    // One each half of the limit; each in time is what counts.
    assert!((5..=9).contains(&regular), "{regular} in {:?}\n{}", 4 * LIMIT, process.output());

    let stopped = Stopped::named(process.id(), "door-1");
    manager.forget();
    assert!(manager.signs(3 * LIMIT) <= 1, "one that was under way at most");
    deadline::until("the log", PATIENCE, || {
        let log = process.output();
        if log.contains("a part does not answer") && log.contains("silent=\"door-1\"") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .unwrap();
    // The others serve: it is the watchdog that has to notice, for clients of this thread wait.
    drop(stopped);
    manager.until("WATCHDOG=1");
    assert!(manager.signs(2 * LIMIT) >= 2);
    ControlConnection::logged_in(address).expect("QUIT", "221");
}

#[test]
fn a_watchdog_that_is_meant_for_another_process_is_not_served() {
    let directory = tempfile::tempdir().unwrap();
    let manager = Manager::at(&directory.path().join("notify"));
    let server = StubServer::start(Connection::serve);
    let file = directory.path().join("gridfront.toml");
    std::fs::write(&file, Setup::of(&[server.address()]).text(directory.path(), unused_address())).unwrap();
    let mut command = run_command(&file);
    command.env("NOTIFY_SOCKET", directory.path().join("notify"));
    command.env("WATCHDOG_USEC", "100000").env("WATCHDOG_PID", "1");
    let _process = Process::spawn(command, &directory.path().join("log"));
    manager.until("READY=1");
    assert_eq!(manager.signs(Duration::from_millis(500)), 0);
}
