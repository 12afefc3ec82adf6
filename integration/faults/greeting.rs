//! Real servers that do not greet as they should: the next one is tried, and the client sees one good greeting.

use std::io;
use std::time::Duration;

use crate::support::control_connection::ControlConnection;
use crate::support::local_door::{LocalDoor, Setup, unused_address};
use crate::support::stub_server::{Connection, StubServer};

/// A door with the faulty server first in turn and a good one behind it.
fn in_turn(faulty: std::net::SocketAddr, good: &StubServer) -> LocalDoor {
    Setup::of(&[faulty, good.address()])
        .virtual_server("lb_algo = \"rr\"\ngreeting_timeout = \"500ms\"\nconnect_timeout = \"500ms\"")
        .start()
}

/// Four sessions; round robin asks the faulty server for every other one.
fn all_are_served_by_the_other(door: &LocalDoor, kind: &str) {
    for _ in 0..4 {
        let mut session = ControlConnection::open(door.address());
        assert_eq!(session.line(), "220 stub ready", "{kind}");
        session.expect("USER anonymous", "331");
        session.expect("QUIT", "221");
        assert_eq!(session.rest(), "", "{kind}");
    }
    assert_eq!(door.count("s2", "total_sessions"), 4, "{kind}");
    assert_eq!(door.count("s1", "total_sessions"), 0, "{kind}");
}

fn passed_over(kind: &str, script: impl Fn(&mut Connection) -> io::Result<()> + Send + Sync + 'static) {
    let faulty = StubServer::start(script);
    let good = StubServer::start(Connection::serve);
    let door = in_turn(faulty.address(), &good);
    all_are_served_by_the_other(&door, kind);
    assert!(door.count("s1", "connect_failures") >= 2, "{kind}: {}", door.status());
    assert_eq!(door.count("s1", "busy"), 0, "{kind}");
    door.until_logged(&["WARN", "real server passed over", "real_server=\"s1\"", "reason="]);
    door.until_empty();
}

#[test]
fn a_refused_connection_goes_to_the_next_server() {
    let good = StubServer::start(Connection::serve);
    let door = in_turn(unused_address(), &good);
    all_are_served_by_the_other(&door, "refused");
    assert!(door.count("s1", "connect_failures") >= 2);
    door.until_empty();
}

#[test]
fn a_silent_server_costs_its_time_out_and_no_more() {
    passed_over("silent", Connection::until_closed);
}

#[test]
fn a_server_that_hangs_up_before_its_greeting_is_passed_over() {
    passed_over("end of stream", |_| Ok(()));
    passed_over("reset", |connection| {
        connection.reset();
        Ok(())
    });
    passed_over("end of stream in a line", |connection| connection.say("220 half a gree"));
    passed_over("end of stream between lines", |connection| connection.say("220-welcome\r\n220-to\r\n"));
}

#[test]
fn a_server_that_greets_with_an_error_or_no_ftp_at_all_is_passed_over() {
    passed_over("530", |connection| {
        connection.say("530 not you\r\n")?;
        connection.until_closed()
    });
    passed_over("garbage", |connection| {
        connection.send(b"\0\xff\x16\x03garbage\r\n\r\n")?;
        connection.until_closed()
    });
    passed_over("http", |connection| {
        connection.say("HTTP/1.1 400 Bad Request\r\n\r\n")?;
        connection.until_closed()
    });
}

#[test]
fn a_greeting_without_end_is_passed_over() {
    passed_over("endless lines", |connection| {
        loop {
            connection.say("220-and another thing\r\n")?;
        }
    });
    passed_over("an endless line", |connection| {
        loop {
            connection.say("220 and another thing")?;
        }
    });
    passed_over("one byte at a time", |connection| {
        for byte in b"220 I will be with you in a moment, please stay on the line".iter().cycle() {
            connection.send(&[*byte])?;
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(())
    });
    passed_over("preliminary for ever", |connection| {
        connection.say("120 ready in 5 minutes\r\n")?;
        connection.until_closed()
    });
}

#[test]
fn a_busy_server_is_passed_over_counted_as_busy_and_not_as_failed() {
    for code in [421, 422] {
        let busy = StubServer::start(move |connection| {
            connection.say(&format!("{code} Service busy: connection limit exceeded.\r\n"))
        });
        let good = StubServer::start(Connection::serve);
        let door = in_turn(busy.address(), &good);
        all_are_served_by_the_other(&door, "busy");
        let status = door.real_server("s1");
        assert!(status["busy"].as_u64() >= Some(2), "{code}: {status}");
        assert_eq!((&status["connect_failures"], &status["state"]), (&0.into(), &"busy".into()), "{code}");
        door.until_empty();
    }
}

#[test]
fn a_greeting_of_many_lines_reaches_the_client_byte_for_byte() {
    const GREETING: &str = "120 wait\r\n220-\x07 Welcome\r\n   to the \u{e9} grid\r\n220-\r\n220 \r\n";
    let server = StubServer::start(|connection| {
        for byte in GREETING.as_bytes() {
            connection.send(&[*byte])?;
        }
        connection.until_closed()
    });
    let door = Setup::of(&[server.address()]).start();
    let mut session = ControlConnection::open(door.address());
    let mut got = Vec::new();
    while got.len() < 6 - 1 {
        got.push(session.line());
    }
    let expected: Vec<&str> = GREETING.split_terminator("\r\n").collect();
    assert_eq!(got, expected);
    drop(session);
    door.until_empty();
}

#[test]
fn what_follows_a_greeting_in_the_same_segment_is_not_lost() {
    let server =
        StubServer::start(|connection| connection.say("220 stub ready\r\n421 on second thoughts\r\n"));
    let door = Setup::of(&[server.address()]).start();
    let mut session = ControlConnection::open(door.address());
    assert_eq!(session.rest(), "220 stub ready\r\n421 on second thoughts\r\n");
    drop(session);
    door.until_empty();
}

#[test]
fn when_no_server_takes_the_session_the_client_is_told_421_and_the_log_why() {
    let door = Setup::of(&[unused_address(), unused_address()]).start();
    for _ in 0..3 {
        let mut session = ControlConnection::open(door.address());
        // A client that speaks before it is greeted hears it all the same.
        session.send(b"USER anonymous\r\n");
        let reply = session.rest();
        assert!(reply.starts_with("421 ") && reply.ends_with("\r\n") && reply.len() < 200, "{reply:?}");
    }
    door.until_logged(&["session refused", "every real server that is fit was tried in vain"]);
    door.until_empty();
}

#[test]
fn servers_that_are_down_are_not_asked_again_by_sessions() {
    let good = StubServer::start(Connection::serve);
    let faulty = StubServer::start(|_| Ok(()));
    // Two failures of sessions in a row; the one check at the start may add one.
    let door = Setup::of(&[faulty.address(), good.address()])
        .virtual_server("lb_algo = \"rr\"")
        .check("delay_loop = \"1h\"\nretry = 1\ndelay_before_retry = \"1h\"")
        .start();
    for _ in 0..4 {
        drop(ControlConnection::greeted(door.address()));
    }
    door.until("s1 down", |status| status["virtual_servers"][0]["real_servers"][0]["state"] == "down");
    door.until_logged(&["WARN", "real server down", "s1", "closed the connection before its greeting"]);
    let asked = faulty.accepted();
    for _ in 0..4 {
        drop(ControlConnection::greeted(door.address()));
    }
    assert_eq!(faulty.accepted(), asked, "a server that is down was asked");
    door.until_empty();
}
