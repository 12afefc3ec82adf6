//! A second daemon, another program on the port, and addresses that are not ours: refused with a word on what to do.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::control_connection::ControlConnection;
use crate::support::door::program;
use crate::support::local_door::{Setup, run_command, unused_address};
use crate::support::process::Process;
use crate::support::stub_server::{Connection, StubServer};

/// Runs a daemon that must not start, and returns what it says.
fn refused(file: &Path) -> String {
    refused_as(run_command(file))
}

fn refused_as(command: Command) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::spawn(command, &directory.path().join("output"));
    let status = process.wait(Duration::from_secs(10)).expect("it ends by itself");
    assert_eq!(status.code(), Some(1), "{}", process.output());
    process.output()
}

#[test]
fn a_second_daemon_on_the_same_configuration_names_the_first() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).start();
    let said = refused(&door.configuration());
    let holder =
        format!("held by process {}, a daemon with the same configuration; stop it first", door.id());
    assert!(said.contains(&holder), "{said}");
    assert_eq!(said.lines().filter(|line| !line.contains(": warning: ")).count(), 1, "{said}");
    // The first one has not noticed: its socket answers, its port serves.
    drop(ControlConnection::logged_in(door.address()));
    door.until_empty();
}

#[test]
fn another_program_on_the_port_is_named_as_what_is_in_the_way() {
    let directory = tempfile::tempdir().unwrap();
    let address = unused_address();
    let _other = TcpListener::bind(address).unwrap();
    let said = refused_at(directory.path(), address);
    assert!(
        said.contains(&format!("{address}: another program listens")) && said.contains("ss -ltnp"),
        "{said}"
    );
    assert!(!directory.path().join("admin.sock").exists(), "a socket of a daemon that never was");
}

#[test]
fn another_daemon_on_the_port_is_in_the_way_too() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).start();
    let directory = tempfile::tempdir().unwrap();
    let said = refused_at(directory.path(), door.address());
    assert!(said.contains(&format!("{}: another program listens", door.address())), "{said}");
}

#[test]
fn without_descriptors_for_its_threads_it_does_not_start_and_says_what_is_short() {
    let directory = tempfile::tempdir().unwrap();
    let address = unused_address();
    let setup = Setup::of(&[unused_address()]).global("threads = 64");
    let file = directory.path().join("gridfront.toml");
    std::fs::write(&file, setup.text(directory.path(), address)).unwrap();
    // 64 listeners and what the process has anyway fit; the event queues of 64 threads do not.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 120; exec \"$0\" run -c \"$1\""]).arg(program()).arg(&file);
    let said = refused_as(command);
    assert!(said.contains("cannot start a thread") && said.contains("Too many open files"), "{said}");
    assert!(!said.contains("panic"), "{said}");
    // What is likely not meant comes first, as it happened.
    let order: Vec<&str> = said.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(order.last(), Some(&"ERROR"), "{said}");
    assert!(order.len() > 1 && order[..order.len() - 1].iter().all(|level| *level == "WARN"), "{said}");
    assert!(!directory.path().join("admin.sock").exists(), "a socket of a daemon that never was");
}

#[test]
fn an_address_that_no_interface_has_is_named() {
    let directory = tempfile::tempdir().unwrap();
    // TEST-NET-1, RFC 5737.
    let said = refused_at(directory.path(), SocketAddr::from(([192, 0, 2, 1], 20_000)));
    assert!(said.contains("192.0.2.1:20000: no interface of this host has this address"), "{said}");
}

#[test]
fn an_admin_socket_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let blocked = directory.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let file = directory.path().join("gridfront.toml");
    let setup = Setup::of(&[unused_address()]);
    std::fs::write(&file, setup.text(&blocked.join("inside"), unused_address())).unwrap();
    let said = refused(&file);
    assert!(said.contains("admin_socket") && said.contains(blocked.to_str().unwrap()), "{said}");
}

#[test]
fn a_file_where_the_admin_socket_should_be_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let precious = directory.path().join("admin.sock");
    std::fs::write(&precious, "precious").unwrap();
    let said = refused_at(directory.path(), unused_address());
    assert!(said.contains(&format!("{}: this is not a socket", precious.display())), "{said}");
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
    assert!(!directory.path().join("admin.sock.lock").exists(), "a lock for nothing");

    // Nor one that was put there while the daemon ran.
    let server = StubServer::start(Connection::serve);
    let mut door = Setup::of(&[server.address()]).start();
    std::fs::remove_file(door.socket()).unwrap();
    std::fs::write(door.socket(), "precious").unwrap();
    door.signal(rustix::process::Signal::TERM);
    door.wait(Duration::from_secs(10)).expect("it ends");
    assert_eq!(std::fs::read_to_string(door.socket()).unwrap(), "precious");
}

#[test]
fn a_daemon_killed_without_warning_leaves_nothing_in_the_way_of_the_next() {
    let server = StubServer::start(Connection::serve);
    let mut door = Setup::of(&[server.address()]).start();
    let session = ControlConnection::logged_in(door.address());
    door.signal(rustix::process::Signal::KILL);
    door.wait(Duration::from_secs(5)).expect("killed");
    assert!(door.socket().exists(), "what a killed daemon leaves behind");
    let file = door.configuration();
    let mut next = Process::spawn(run_command(&file), &door.directory().join("next"));
    door.until("the next daemon's answer", |status| status["pid"] == next.id());
    drop(ControlConnection::logged_in(door.address()));
    drop(session);
    next.signal(rustix::process::Signal::TERM);
    let ended = next.wait(Duration::from_secs(10));
    assert!(ended.is_some_and(|status| status.success()), "{ended:?} {}", next.output());
    assert!(!door.socket().exists(), "a stopped daemon removes its socket");
}

fn refused_at(directory: &Path, address: SocketAddr) -> String {
    let file = directory.join("gridfront.toml");
    std::fs::write(&file, Setup::of(&[unused_address()]).text(directory, address)).unwrap();
    refused(&file)
}

#[test]
fn check_says_fine_or_every_problem_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gridfront.toml");
    let text = Setup::of(&[unused_address()]).text(directory.path(), unused_address());
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(program());
        let output = command.arg("check").arg("-c").arg(&file).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = check(&text);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with(": fine\n"), "{said}");

    let broken = text.replace("threads = 2", "threads = 0\nthread = 2");
    let (code, said) = check(&format!("{broken}weihgt = 3\n"));
    assert_eq!(code, Some(1), "{said}");
    let place = file.display().to_string();
    let problems: Vec<&str> = said.lines().filter(|line| !line.contains(": warning: ")).collect();
    assert_eq!(problems.len(), 3, "{said}");
    for line in problems {
        let rest = line.strip_prefix(&place).unwrap_or_else(|| panic!("no file in {line}"));
        let mut parts = rest.trim_start_matches(':').splitn(3, ':');
        assert!(parts.by_ref().take(2).all(|number| number.parse::<u32>().is_ok()), "{line}");
        assert!(parts.next().is_some_and(|text| text.contains("; ")), "no mend in {line}");
    }
    assert!(said.contains("unknown key `weihgt`; did you mean `weight`?"), "{said}");

    let missing =
        Command::new(program()).args(["check", "-c", "/nonexistent/gridfront.toml"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    let usage = Command::new(program()).arg("chekc").output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
}
