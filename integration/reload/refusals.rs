//! What cannot be put in force as a whole is not put in force at all.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use super::{reload, reloaded, write};
use crate::support::certificates::Authority;
use crate::support::control_connection::ControlConnection;
use crate::support::deadline;
use crate::support::local_door::{LocalDoor, Setup, run_command, unused_address};
use crate::support::process::Process;
use crate::support::stub_server::{Connection, StubServer};

/// The door is as it was before the reload that it has refused for this reason, and says so.
fn assert_refused(door: &LocalDoor, arguments: &[&str], reason: &str) {
    let (code, text) = reload(door, arguments);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(reason), "{reason:?} is not in {text:?}");
    let server = door.real_server("s1");
    assert_eq!(server["weight"], 1, "the old configuration is in force");
    ControlConnection::logged_in(door.address()).expect("QUIT", "221");
}

#[test]
fn a_bad_file_is_refused_with_every_place_and_the_old_one_stays() {
    let server = StubServer::start(Connection::serve);
    let setup = Setup::of(&[server.address()]);
    let door = setup.start();
    let mut held = ControlConnection::logged_in(door.address());
    let mut good = setup.clone();
    good.real_servers[0].2 = "weight = 9".into();
    let text = good.text(door.directory(), door.address());
    let file = door.configuration().display().to_string();

    let bad = text.replace("weight = 9", "weight = 9\nmax_conections = 3\nport_ = 1");
    std::fs::write(door.configuration(), &bad).unwrap();
    let line = bad.lines().position(|line| line == "max_conections = 3").unwrap() + 1;
    for arguments in [&["--dry-run"][..], &[]] {
        assert_refused(&door, arguments, &format!("{file}:{line}:1: "));
        assert_refused(&door, arguments, &format!("{file}:{}:1: ", line + 1));
    }
    let refused = &door.status()["configuration"]["refused"];
    assert_eq!(refused["problems"].as_array().unwrap().len(), 3, "with the warning: {refused}");
    let log = door.until_logged(&["configuration refused"]);
    assert!(log.contains(&format!("{file}:{line}:1: ")), "{log}");
    let shown = door.command("status").output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("was refused, and the configuration before it stays in force:"), "{shown}");

    // Not even TOML, and no file.
    std::fs::write(door.configuration(), bad.replace("[[virtual_server]]", "[[virtual_server")).unwrap();
    assert_refused(&door, &[], &format!("{file}:"));
    std::fs::remove_file(door.configuration()).unwrap();
    assert_refused_by_socket(&door, "cannot be read");

    write(&door, &good);
    door.signal(Signal::HUP);
    door.until("the good one is in force", |status| status["configuration"]["refused"].is_null());
    assert_eq!(door.count("s1", "weight"), 9);
    held.expect("NOOP", "200");
}

fn assert_refused_by_socket(door: &LocalDoor, reason: &str) {
    let socket = door.socket();
    let (code, text) = reload(door, &["--admin", socket.to_str().unwrap()]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(reason), "{text}");
    assert!(door_answers(door));
}

fn door_answers(door: &LocalDoor) -> bool {
    ControlConnection::logged_in(door.address()).command("QUIT").starts_with("221")
}

#[test]
fn an_address_in_use_refuses_everything_else_with_it() {
    let server = StubServer::start(Connection::serve);
    let setup = Setup::of(&[server.address()]);
    let door = setup.start();
    let taken = unused_address();
    let listener = TcpListener::bind(taken).unwrap();
    let free = unused_address();
    let mut next = setup.clone();
    next.real_servers[0].2 = "weight = 9".into();
    let text = next.text(door.directory(), door.address());
    let more = |name: &str, at: std::net::SocketAddr| {
        format!(
            "\n[[virtual_server]]\nname = \"{name}\"\naddresses = [\"{}\"]\nport = {}\n\
             [[virtual_server.real_server]]\naddress = \"127.0.0.1\"\nport = 1\n",
            at.ip(),
            at.port()
        )
    };
    std::fs::write(door.configuration(), text + &more("free", free) + &more("taken", taken)).unwrap();
    for arguments in [&["--dry-run"][..], &[]] {
        assert_refused(&door, arguments, &format!("{taken}: another program listens on this address"));
        assert!(std::net::TcpStream::connect(free).is_err(), "nobody listens at the other one either");
    }
    drop(listener);
    let (code, text) = reload(&door, &[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(door.count("s1", "weight"), 9);
    assert!(std::net::TcpStream::connect(free).is_ok());
}

#[test]
fn what_cannot_change_while_the_daemon_runs_refuses_it_or_waits() {
    let server = StubServer::start(Connection::serve);
    let setup = Setup::of(&[server.address()]);
    let door = setup.start();
    let other = door.directory().join("other.sock");
    let text = setup.text(door.directory(), door.address());
    let socket = door.socket().display().to_string();
    std::fs::write(door.configuration(), text.replace(&socket, &other.display().to_string())).unwrap();
    let (code, text) = reload(&door, &["--admin", &socket]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("cannot change while the daemon runs: restart it"), "{text}");
    assert!(!other.exists());
    let changes = reloaded(&door, &setup.clone().global("threads = 3\ndrain_timeout = \"7s\""));
    assert_eq!(
        changes,
        ["global: threads 2 → 3; takes effect at the next start", "global: drain_timeout 5s → 7s"]
    );
    door.signal(Signal::TERM);
    door.until_logged(&["draining", "drain_timeout=7s"]);
}

#[test]
fn certificates_are_read_anew_and_a_bad_one_refuses_the_reload() {
    let server = StubServer::start(Connection::serve);
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "reload");
    let credential = authority.issue_host("door", &["gridftp.test".to_owned()]);
    let keys = format!(
        "[virtual_server.tls]\ncertificate = \"{}\"\nkey = \"{}\"",
        credential.certificate.display(),
        credential.key.display()
    );
    let setup = Setup::of(&[server.address()]).virtual_server(&keys);
    let door = setup.start();
    assert_eq!(reloaded(&door, &setup), [""; 0]);
    let other = authority.issue_host("other", &["gridftp.test".to_owned()]);

    let mut next = setup.clone();
    next.real_servers[0].2 = "weight = 9".into();
    write(&door, &next);
    // The key of another certificate.
    std::fs::copy(&other.key, &credential.key).unwrap();
    assert_refused(&door, &[], "the key does not belong to the certificate");
    let expired = authority.issue_expired_host("expired", "gridftp.test");
    std::fs::copy(&expired.key, &credential.key).unwrap();
    std::fs::copy(&expired.certificate, &credential.certificate).unwrap();
    assert_refused(&door, &[], "clients refuse it");
    std::fs::copy(&other.key, &credential.key).unwrap();
    std::fs::copy(&other.certificate, &credential.certificate).unwrap();
    let (code, text) = reload(&door, &[]);
    assert_eq!(code, 0, "{text}");
    // The daemon looks by itself every other second, and may have been quicker.
    assert!(
        text.contains("tls: another certificate") || door.log().contains("certificate replaced"),
        "{text}"
    );
    assert!(text.contains("real_server s1: weight 1 → 9"), "{text}");
}

#[test]
fn the_service_manager_is_told_of_every_reload() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let heard = || loop {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes).expect("a word of the daemon");
        let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if !said.starts_with("STATUS=") {
            return said;
        }
    };
    let server = StubServer::start(Connection::serve);
    let address = unused_address();
    let file = directory.path().join("gridfront.toml");
    std::fs::write(&file, Setup::of(&[server.address()]).text(directory.path(), address)).unwrap();
    let mut command = run_command(&file);
    command.env("NOTIFY_SOCKET", &path);
    let process = Process::spawn(command, &directory.path().join("log"));
    assert_eq!(heard().trim(), "READY=1");
    for (text, outcome) in [(None, "configuration reloaded"), (Some("nonsense"), "configuration refused")] {
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        process.signal(Signal::HUP);
        let said = heard();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "RELOADING=1", "{said}");
        assert!(lines[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap() > 0);
        assert_eq!(heard().trim(), "READY=1");
        deadline::until("the log", Duration::from_secs(10), || {
            if process.output().contains(outcome) { Ok(()) } else { Err(process.output()) }
        })
        .unwrap();
    }
}
