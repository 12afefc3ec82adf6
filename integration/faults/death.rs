//! Real servers that die under a session, and clients that vanish from one.

use std::time::Duration;

use crate::support::control_connection::ControlConnection;
use crate::support::deadline;
use crate::support::local_door::{LocalDoor, Setup};
use crate::support::stub_server::{Connection, StubServer};

const LOST: &str = "421 Service not available: the server closed the control connection.\r\n";

/// Runs `death` on the server when the client says `command`, and returns what the client hears after it.
fn heard_after(command: &str, log_in: bool, death: fn(&mut Connection) -> std::io::Result<()>) -> String {
    let server = StubServer::start(move |connection| {
        connection.greet()?;
        loop {
            let line = connection.line()?;
            if line.starts_with(b"DIE") || line.starts_with(b"RETR") {
                return death(connection);
            }
            if !connection.answer(&line)? {
                return Ok(());
            }
        }
    });
    let door = Setup::of(&[server.address()]).start();
    let mut witness = ControlConnection::logged_in(door.address());
    let mut session = if log_in {
        ControlConnection::logged_in(door.address())
    } else {
        ControlConnection::greeted(door.address())
    };
    session.send(format!("{command}\r\n").as_bytes());
    let heard = session.rest();
    witness.expect("NOOP", "200");
    witness.expect("QUIT", "221");
    drop((session, witness));
    door.until_logged(&["WARN", "session ended", "real_server=\"s1\"", "reason=\"real server closed\""]);
    door.until_empty();
    heard
}

#[test]
fn a_server_that_dies_instead_of_replying_is_a_421() {
    assert_eq!(heard_after("DIE", true, |_| Ok(())), LOST);
    assert_eq!(heard_after("DIE", false, |_| Ok(())), LOST, "before login");
}

#[test]
fn a_server_whose_connection_breaks_is_a_421() {
    let heard = heard_after("DIE", true, |connection| {
        connection.reset();
        Ok(())
    });
    assert_eq!(heard, LOST);
}

#[test]
fn a_server_that_dies_in_a_line_leaves_no_half_line_to_the_client() {
    let heard = heard_after("DIE", true, |connection| connection.say("226 half a re"));
    assert_eq!(heard, LOST);
}

#[test]
fn a_server_that_dies_in_a_line_that_passes_in_pieces_ends_the_line_first() {
    let heard = heard_after("DIE", true, |connection| {
        connection.say("250 ")?;
        connection.send(&[b'x'; 100_000])
    });
    let (long, last) = heard.split_once("\r\n").expect("two lines");
    assert!(long.starts_with("250 xxx") && long.len() <= 100_004, "{} bytes", long.len());
    assert_eq!(last, LOST);
}

#[test]
fn a_server_that_dies_inside_a_reply_of_many_lines_is_a_421_after_what_it_said() {
    let heard = heard_after("DIE", true, |connection| connection.say("250-one\r\n two\r\n thr"));
    assert_eq!(heard, format!("250-one\r\n two\r\n{LOST}"));
}

#[test]
fn a_server_that_dies_in_a_transfer_is_a_421_and_counts_as_a_failed_transfer() {
    let server = StubServer::start(|connection| {
        connection.greet()?;
        loop {
            let line = connection.line()?;
            if line.starts_with(b"RETR") {
                return connection.say("150 opening\r\n");
            }
            if !connection.answer(&line)? {
                return Ok(());
            }
        }
    });
    let door = Setup::of(&[server.address()]).start();
    let mut session = ControlConnection::logged_in(door.address());
    session.expect("TYPE I", "200");
    session.expect("PASV", "227");
    session.send(b"RETR /file\r\n");
    assert_eq!(session.rest(), format!("150 opening\r\n{LOST}"));
    drop(session);
    door.until_empty();
    assert_eq!(
        (door.count("s1", "transfers"), door.count("s1", "transfer_failures")),
        (0, 1),
        "{}",
        door.status()
    );
    door.until_logged(&["transfer", "real_server=\"s1\"", "command=\"RETR\"", "path=\"/file\""]);
}

#[test]
fn a_server_that_has_closed_holds_no_session_although_the_client_stays() {
    let server = StubServer::start(|connection| {
        connection.greet()?;
        connection.line().map(drop)
    });
    let door = Setup::of(&[server.address()]).start();
    let mut session = ControlConnection::greeted(door.address());
    session.send(b"NOOP\r\n");
    assert_eq!(session.rest(), LOST);
    // The client was told and has yet to close; the door waits for it, the server does not.
    assert_eq!(door.count("s1", "sessions"), 0, "{}", door.status());
    drop(session);
    door.until_empty();
}

#[test]
fn a_farewell_of_the_servers_own_is_passed_on_alone() {
    let server = StubServer::start(|connection| {
        connection.greet()?;
        connection.line()?;
        connection.say("421 Idle Timeout: closing control connection.\r\n")
    });
    let door = Setup::of(&[server.address()]).start();
    let mut session = ControlConnection::greeted(door.address());
    session.send(b"NOOP\r\n");
    assert_eq!(session.rest(), "421 Idle Timeout: closing control connection.\r\n");
    drop(session);
    door.until_empty();
}

/// A server that begins a transfer and then only waits for the door to go away.
fn transferring() -> (StubServer, LocalDoor, ControlConnection) {
    let server = StubServer::start(|connection| {
        connection.greet()?;
        loop {
            let line = connection.line()?;
            if line.starts_with(b"RETR") {
                connection.say("150 opening\r\n")?;
                return connection.until_closed();
            }
            connection.answer(&line)?;
        }
    });
    // The sweep keeps the pace of the shortest time-out.
    let door = Setup::of(&[server.address()]).virtual_server("idle_timeout = \"1s\"").start();
    // The first check has come and gone, so that what is open is the session's.
    deadline::until("the first check", Duration::from_secs(10), || {
        if server.accepted() == 1 && server.open() == 0 { Ok(()) } else { Err(format!("{server:?}")) }
    })
    .unwrap();
    let mut session = ControlConnection::logged_in(door.address());
    session.expect("PASV", "227");
    session.expect("RETR /file", "150");
    (server, door, session)
}

fn until_the_server_is_left(server: &StubServer, limit: Duration) {
    deadline::until("the server's side closed", limit, || {
        if server.open() == 0 { Ok(()) } else { Err(format!("{server:?}")) }
    })
    .unwrap();
}

#[test]
fn a_client_that_closes_in_a_transfer_closes_the_servers_side_promptly() {
    let (server, door, session) = transferring();
    drop(session);
    until_the_server_is_left(&server, Duration::from_secs(2));
    door.until_empty();
    assert_eq!(door.count("s1", "transfer_failures"), 1);
}

#[test]
fn a_client_that_breaks_off_in_a_transfer_closes_the_servers_side_promptly() {
    let (server, door, session) = transferring();
    session.reset();
    until_the_server_is_left(&server, Duration::from_secs(2));
    door.until_empty();
    assert_eq!(door.count("s1", "transfer_failures"), 1);
}

#[test]
fn a_client_that_vanishes_behind_a_command_that_waits_is_found_out() {
    let (server, door, mut session) = transferring();
    // The door answers these itself, after the transfer: until then it reads no more.
    session.send(b"EPSV\r\nSITE UPAS x\r\n");
    drop(session);
    until_the_server_is_left(&server, Duration::from_secs(8));
    door.until_empty();
}

#[test]
fn a_client_that_has_said_all_still_gets_its_replies() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).start();
    let mut session = ControlConnection::open(door.address());
    // With commands that wait for the answers to others: PASV for a login, EPSV for everything.
    session
        .send(b"USER anonymous\r\nPASS x@y\r\nPASV\r\nEPSV\r\nRETR /file\r\nEPSV\r\nNOOP last\r\nQUIT\r\n");
    session.finish();
    let heard = session.rest();
    let codes: Vec<&str> = heard.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["220", "331", "230", "227", "502", "150", "226", "502", "200", "221"], "{heard}");
    drop(session);
    door.until_empty();
}

#[test]
fn a_client_that_has_said_all_without_quit_gets_its_replies_and_nothing_else() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).start();
    let mut session = ControlConnection::open(door.address());
    session.send(b"NOOP a\r\nNOOP b\r\n");
    session.finish();
    assert_eq!(session.rest(), "220 stub ready\r\n200 noop a\r\n200 noop b\r\n");
    drop(session);
    door.until_empty();
}
