//! What `drain`, `undrain` and `weight` say, refuse and wait for.

use std::process::{Output, Stdio};
use std::time::Duration;

use crate::support::control_connection::ControlConnection;
use crate::support::deadline::Stopwatch;
use crate::support::local_door::{LocalDoor, Setup};
use crate::support::stub_server::{Connection, StubServer};

/// Runs `gridfront WORDS` against this door.
pub(super) fn order(door: &LocalDoor, words: &[&str]) -> Output {
    let mut command = door.command(words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).output().expect("gridfront runs")
}

/// As [`order`], and it must succeed: what it prints.
pub(super) fn done(door: &LocalDoor, words: &[&str]) -> String {
    let output = order(door, words);
    let (out, error) = texts(&output);
    assert!(output.status.success(), "{words:?}: {}: {out}{error}\n{}", output.status, door.log());
    out
}

pub(super) fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Two servers in good health, and a door.
fn site() -> (StubServer, StubServer, LocalDoor) {
    let (one, two) = (StubServer::start(Connection::serve), StubServer::start(Connection::serve));
    let door = Setup::of(&[one.address(), two.address()]).start();
    (one, two, door)
}

#[test]
fn a_drained_server_gets_nothing_until_it_is_undrained() {
    let (_one, _two, door) = site();
    let said = done(&door, &["drain", "s1"]);
    assert_eq!(said, "gridftp/s1: weight 1, drained 0 s ago, no deadline; 0 sessions\n");
    let mut held: Vec<_> = (0..6).map(|_| ControlConnection::greeted(door.address())).collect();
    assert_eq!((door.count("s1", "sessions"), door.count("s2", "sessions")), (0, 6));
    let drained = door.real_server("s1");
    assert_eq!(drained["state"], "drained");
    assert!(drained["drain"]["since_s"].is_u64() && drained["drain"]["deadline_s"].is_null(), "{drained}");
    let text = done(&door, &["status"]);
    assert!(text.contains("drained 0 s ago, no deadline, 0 sessions left"), "{text}");
    assert_eq!(done(&door, &["undrain", "s1"]), "gridftp/s1: weight 1, in service, up; 0 sessions\n");
    held.extend((0..6).map(|_| ControlConnection::greeted(door.address())));
    assert_eq!((door.count("s1", "sessions"), door.count("s2", "sessions")), (6, 6));
    assert!(door.real_server("s1")["drain"].is_null());
    for words in ["real server drained", "real server undrained"] {
        door.until_logged(&[words, "virtual_server=\"gridftp\"", "real_server=\"s1\""]);
    }
}

#[test]
fn weight_0_holds_what_is_there_and_another_weight_fills_it_again() {
    let (_one, _two, door) = site();
    let mut held: Vec<_> = (0..4).map(|_| ControlConnection::logged_in(door.address())).collect();
    let said = done(&door, &["weight", "gridftp/s1", "0"]);
    assert!(said.starts_with("gridftp/s1: weight 0 (1), in service, weight 0; 2 sessions: "), "{said}");
    held.extend((0..4).map(|_| ControlConnection::logged_in(door.address())));
    assert_eq!((door.count("s1", "sessions"), door.count("s2", "sessions")), (2, 6));
    for session in &mut held {
        session.expect("NOOP", "200");
    }
    let of_s1 = door.real_server("s1");
    assert_eq!((&of_s1["weight"], &of_s1["configured_weight"]), (&0.into(), &1.into()));
    let text = done(&door, &["status"]);
    assert!(text.contains(" 0 (1) "), "what is not in the file is shown: {text}");
    done(&door, &["weight", "s1", "3"]);
    held.extend((0..12).map(|_| ControlConnection::logged_in(door.address())));
    assert_eq!((door.count("s1", "sessions"), door.count("s2", "sessions")), (14, 6));
}

#[test]
fn what_cannot_be_done_ends_with_1_and_says_why() {
    let (_one, _two, door) = site();
    #[rustfmt::skip]
    let table: &[(&[&str], i32, &str)] = &[
        (&["drain", "s9"],                       1, "no real server is called \"s9\""),
        (&["undrain", "gridftpd/s1"],            1, "did you mean \"gridftp/s1\"?"),
        (&["weight", "s3", "1"],                 1, "no real server is called \"s3\""),
        (&["weight", "s1", "65536"],             2, "65536"),
        (&["drain", "s1", "--deadline", "10"],   2, "has no unit"),
        (&["drain", "s1", "--timeout", "10s"],   2, "--wait"),
    ];
    for (words, code, expected) in table {
        let output = order(&door, words);
        let (out, error) = texts(&output);
        assert_eq!(output.status.code(), Some(*code), "{words:?}: {out}{error}");
        assert!(error.contains(expected) && out.is_empty(), "{words:?}: {out}{error}");
    }
}

#[test]
fn a_wait_ends_when_the_server_is_empty_or_time_is_over() {
    let (_one, _two, door) = site();
    let watch = Stopwatch::start();
    done(&door, &["drain", "s1", "--wait"]);
    done(&door, &["undrain", "s1", "--wait"]);
    assert!(watch.elapsed() < Duration::from_secs(5), "there was nothing to wait for");

    let mut held: Vec<_> = (0..2).map(|_| ControlConnection::logged_in(door.address())).collect();
    for session in &mut held {
        session.expect("PASV", "227");
    }
    let output = order(&door, &["drain", "s1", "--wait", "--timeout", "300ms"]);
    let (out, error) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}{error}");
    assert!(error.contains("--timeout"), "{error}");
    assert!(out.contains("1 sessions: 0 idle, 1 with a command, a transfer"), "{out}");
    assert_eq!(door.real_server("s1")["state"], "drained", "nothing is taken back");

    let output = order(&door, &["drain", "s1", "--wait", "--deadline", "300ms"]);
    let (out, error) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}{error}");
    assert!(error.contains("the deadline has ended 1"), "{error}");
    assert_eq!(door.count("s1", "sessions"), 0);

    // At once, for a server that is to go now.
    drop(held);
    door.until_empty();
    done(&door, &["undrain", "s1"]);
    let mut held: Vec<_> = (0..2).map(|_| ControlConnection::logged_in(door.address())).collect();
    let output = order(&door, &["drain", "s1", "--wait", "--deadline", "0s"]);
    assert!(texts(&output).1.contains("the deadline has ended 1"), "{output:?}");
    let told = held.iter_mut().filter_map(|session| session.line_within(Duration::from_millis(200))).count();
    assert_eq!(told, 1, "{}", door.log());

    let waits = std::thread::scope(|scope| {
        let waits = scope.spawn(|| order(&door, &["drain", "s2", "--wait"]));
        door.until("a drain of s2", |_| door.real_server("s2")["state"] == "drained");
        done(&door, &["undrain", "s2"]);
        waits.join().unwrap()
    });
    assert_eq!(waits.status.code(), Some(1));
    assert!(texts(&waits).1.contains("in service again"), "{waits:?}");
}
