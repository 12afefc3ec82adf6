//! A log reader that is stuck: lines are lost and counted, sessions are not.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::control_connection::ControlConnection;
use crate::support::local_door::Setup;
use crate::support::stub_server::{Connection, StubServer};

#[test]
fn a_stuck_log_reader_stops_no_session_and_no_shutdown() {
    let server = StubServer::start(Connection::serve);
    // Standard output and error are one pipe, as in `gridfront run 2>&1 | reader`.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut door = Setup::of(&[server.address()]).start_with_output(File::from(OwnedFd::from(writer)));

    // A transfer is a line; so is a session.
    let mut session = ControlConnection::logged_in(door.address());
    for _ in 0..200 {
        session.send(&b"NLST /\r\n".repeat(100));
        for _ in 0..100 {
            assert_eq!(session.line(), "150 opening");
            assert_eq!(session.line(), "226 done");
        }
    }
    for _ in 0..1000 {
        let mut another = ControlConnection::greeted(door.address());
        another.expect("QUIT", "221");
    }
    session.expect("NOOP", "200");
    drop(session);
    door.until_empty();
    let lost = door.status()["log_lines_lost"].as_u64();
    assert!(lost > Some(1000), "{lost:?} lines lost");
    assert_eq!(door.count("s1", "transfers"), 20_000);

    door.signal(Signal::TERM);
    let ended = door.wait(Duration::from_secs(5));
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    drop(reader);
}

#[test]
fn a_log_reader_that_has_gone_away_ends_nothing() {
    let server = StubServer::start(Connection::serve);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut door = Setup::of(&[server.address()]).start_with_output(File::from(OwnedFd::from(writer)));
    drop(reader);
    for _ in 0..10 {
        let mut session = ControlConnection::logged_in(door.address());
        session.expect("QUIT", "221");
    }
    door.until_empty();
    door.signal(Signal::TERM);
    let ended = door.wait(Duration::from_secs(5));
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}
