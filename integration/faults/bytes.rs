//! Bytes that are no FTP: passed on where servers take them, answered clearly where they do not.

use std::sync::mpsc;

use crate::support::control_connection::ControlConnection;
use crate::support::local_door::Setup;
use crate::support::stub_server::{Connection, StubServer};

/// What the server got between the client's bytes and a NOOP after them, and how they were answered: by the server with
/// 500 for each line.
fn received(sent: &[u8], lines: usize) -> (Vec<u8>, Vec<String>) {
    let (sender, receiver) = mpsc::sync_channel(16);
    let server = StubServer::start(move |connection| {
        connection.greet()?;
        let mut got = Vec::new();
        loop {
            let line = connection.raw_line()?;
            match line.as_slice() {
                b"QUIT\r\n" => return connection.say("221 bye\r\n"),
                b"NOOP the end\r\n" => {
                    let _ = sender.try_send(std::mem::take(&mut got));
                    connection.say("200 the end\r\n")?;
                }
                other => {
                    got.extend_from_slice(other);
                    if other.ends_with(b"\r\n") {
                        connection.say("500 what?\r\n")?;
                    }
                }
            }
        }
    });
    let door = Setup::of(&[server.address()]).start();
    let mut session = ControlConnection::greeted(door.address());
    session.send(sent);
    let answers = (0..lines).map(|_| session.line()).collect();
    session.expect("NOOP the end", "200 the end");
    session.expect("QUIT", "221");
    drop(session);
    door.until_empty();
    (receiver.recv().expect("what the server got"), answers)
}

#[test]
fn bytes_that_only_the_server_can_judge_reach_it_unchanged() {
    let cases: [(&[u8], usize); 3] = [
        (b"MKD caf\xe9\r\nCWD \xfa\x80\r\nMKD \xe2\x82\xac\r\n", 3),
        (b"MKD nul\0in\0it\r\n\0\0\r\n", 2),
        (b" NOOP\r\n  \r\nnoop  \r\nBOGUS\r\n\x01\x02\x7f\r\n", 5),
    ];
    for (sent, lines) in cases {
        let (got, answers) = received(sent, lines);
        assert_eq!(got, sent, "{:?}", String::from_utf8_lossy(sent));
        assert!(answers.iter().all(|answer| answer == "500 what?"), "{answers:?}");
    }
}

#[test]
fn bytes_that_servers_read_in_different_ways_are_answered_by_the_door() {
    // IAC WILL ECHO, IAC in the middle, a bare LF, a bare CR.
    let sent = b"\xff\xfb\x01NOOP\r\nMKD \xff\xfe\r\nNOOP\nNOOP\r\nNO\rOP\r\nPORTx192,0,2,7,200,1\r\n";
    let (got, answers) = received(sent, 5);
    assert_eq!(got, b"");
    assert!(answers.iter().all(|answer| answer.starts_with("501 ")), "{answers:?}");
    // IAC IP, IAC DM: signals to the telnet peer, which is the door.
    assert_eq!(received(b"\xff\xf4\xff\xf2ABOR\r\n", 1).0, b"ABOR\r\n");
}

#[test]
fn an_empty_line_reaches_the_server_which_may_hang_up_for_it() {
    assert_eq!(received(b"\r\n\r\n", 2).0, b"\r\n\r\n");
    // A Globus server closes at that, without a word.
    let server = StubServer::start(|connection| {
        connection.greet()?;
        while !connection.line()?.is_empty() {}
        Ok(())
    });
    let door = Setup::of(&[server.address()]).start();
    let mut session = ControlConnection::greeted(door.address());
    session.send(b"\r\n");
    let heard = session.rest();
    assert!(heard.starts_with("421 ") && heard.lines().count() == 1, "{heard:?}");
    drop(session);
    door.until_empty();
}

#[test]
fn a_tls_hello_is_answered_in_ftp_and_never_reaches_the_server() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).start();
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.resize(517, 0x0a);
    let mut session = ControlConnection::open(door.address());
    session.send(&hello);
    let heard = session.rest();
    assert!(heard.starts_with("220 stub ready\r\n500 This port speaks FTP, not TLS"), "{heard:?}");
    assert_eq!(heard.lines().count(), 2, "{heard:?}");
    drop(session);
    door.until_logged(&["session ended", "reason=\"TLS instead of FTP\"", "commands=0"]);
    door.until_empty();
}

/// Bytes without any sense, from a generator that needs no seed.
fn noise() -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(300_000).collect()
}

#[test]
fn a_server_that_talks_nonsense_harms_only_its_own_sessions() {
    let server = StubServer::start(|connection| {
        connection.greet()?;
        connection.line()?;
        connection.send(&noise()[connection.number * 7..])
    });
    let good = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address(), good.address()]).virtual_server("lb_algo = \"rr\"").start();
    for _ in 0..12 {
        let mut session = ControlConnection::greeted(door.address());
        session.send(b"USER anonymous\r\nPASS x@y\r\nPASV\r\nEPSV\r\nSPAS\r\nRETR /file\r\nQUIT\r\n");
        while let Ok(line) = session.try_line() {
            // An empty line may be part of the nonsense, but what follows it is of no interest.
            if line.is_empty() {
                break;
            }
        }
    }
    door.until_empty();
    assert_eq!(door.count("s1", "total_sessions"), 6);
}

#[test]
fn a_stranger_to_ftp_gets_the_servers_answers_or_a_clear_end() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).start();
    let mut http = ControlConnection::open(door.address());
    http.send(b"GET / HTTP/1.1\r\nHost: grid.test\r\n");
    http.finish();
    let heard = http.rest();
    assert!(heard.starts_with("220 ") && heard.lines().skip(1).all(|line| line.starts_with('5')), "{heard}");

    let noise = noise();
    for skip in 0..8 {
        let mut session = ControlConnection::open(door.address());
        // The door may hang up in the middle of it.
        let _ = std::io::Write::write_all(&mut session.stream(), &noise[skip * 7..]);
        session.finish();
        while let Ok(line) = session.try_line() {
            if line.is_empty() {
                break;
            }
        }
    }
    drop(http);
    let mut after = ControlConnection::logged_in(door.address());
    after.expect("QUIT", "221");
    drop(after);
    door.until_empty();
}

#[test]
fn replies_that_no_rfc_knows_pass_and_do_not_shift_those_after_them() {
    let server = StubServer::start(|connection| {
        connection.greet()?;
        loop {
            let line = connection.line()?;
            match line.as_slice() {
                b"TYPE E" => connection.say("501 'TYPE E\r\n' unrecognized type.\r\n")?,
                b"ODD" => {
                    connection.say("250-first\r\n nothing\r\n999 not this\r\n25 nor this\r\n250 last\r\n")?;
                }
                b"LATIN" => connection.send(b"250 caf\xe9\0\xff\x07\r\n")?,
                other => {
                    if !connection.answer(other)? {
                        return Ok(());
                    }
                }
            }
        }
    });
    let door = Setup::of(&[server.address()]).start();
    let mut session = ControlConnection::logged_in(door.address());
    session.send(b"TYPE E\r\nODD\r\nLATIN\r\nTYPE I\r\nPASV\r\n");
    let lines: Vec<String> = (0..10).map(|_| session.line()).collect();
    assert_eq!(lines[..2], ["501 'TYPE E", "' unrecognized type."]);
    assert_eq!(lines[2..7], ["250-first", " nothing", "999 not this", "25 nor this", "250 last"]);
    assert_eq!(lines[7], "250 caf\u{fffd}\0\u{fffd}\x07");
    assert_eq!(lines[8], "200 type set");
    assert!(lines[9].starts_with("227 "), "{lines:?}");
    session.expect("QUIT", "221");
    drop(session);
    door.until_empty();
}

#[test]
fn what_follows_a_235_in_the_same_segment_passes_unread() {
    let server = StubServer::start(|connection| {
        connection.greet()?;
        let line = connection.line()?;
        connection.answer(&line)?;
        connection.line()?;
        connection.say("235 secured\r\n227 sealed (10,0,0,1,200,1)\r\n")?;
        connection.until_closed()
    });
    let door = Setup::of(&[server.address()]).start();
    let mut session = ControlConnection::greeted(door.address());
    session.expect("AUTH GSSAPI", "334");
    session.expect("ADAT YQ==", "235");
    assert_eq!(session.line(), "227 sealed (10,0,0,1,200,1)");
    drop(session);
    door.until_empty();
}
