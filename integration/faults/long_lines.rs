//! Lines and replies of any length: they pass up to the limit, and memory stays bounded beyond it.

use crate::support::control_connection::ControlConnection;
use crate::support::local_door::Setup;
use crate::support::stub_server::{Connection, StubServer};

const MIB: u64 = 1 << 20;

#[test]
fn a_command_line_over_the_limit_ends_the_session_with_a_500() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).start();
    let mut witness = ControlConnection::logged_in(door.address());
    // One whose verb passes, one whose verb the door must read, one that is no command at all.
    for start in ["CWD ", "PORT ", ""] {
        let mut session = ControlConnection::logged_in(door.address());
        session.send(start.as_bytes());
        let chunk = vec![b'x'; 64 * 1024];
        for _ in 0..16 {
            session.send(&chunk);
        }
        session.send(b"xxxx");
        assert_eq!(session.rest(), "500 Command line too long: closing control connection.\r\n", "{start:?}");
    }
    witness.expect("NOOP", "200");
    drop(witness);
    door.until_logged(&["session ended", "reason=\"command too long\""]);
    door.until_empty();
}

#[test]
fn a_command_line_just_under_the_limit_passes_whole() {
    let server = StubServer::start(|connection| {
        connection.greet()?;
        loop {
            let line = connection.line()?;
            if line.starts_with(b"CWD ") {
                let exact = line[4..].iter().all(|byte| *byte == b'x');
                connection.say(&format!("550 {} {exact}\r\n", line.len()))?;
            } else if !connection.answer(&line)? {
                return Ok(());
            }
        }
    });
    let door = Setup::of(&[server.address()]).start();
    let mut session = ControlConnection::logged_in(door.address());
    let before = door.resident();
    let length = (1 << 20) - 2;
    let mut line = b"CWD ".to_vec();
    line.resize(length, b'x');
    line.extend_from_slice(b"\r\n");
    session.send(&line);
    assert_eq!(session.line(), format!("550 {length} true"));
    session.expect("NOOP", "200");
    let grown = door.resident().saturating_sub(before);
    assert!(grown < MIB / 2, "a line that only passes took {grown} bytes");
    drop(session);
    door.until_empty();
}

#[test]
fn a_reply_line_over_the_limit_ends_the_session_with_a_421_and_blames_the_server() {
    let server = StubServer::start(|connection| {
        connection.greet()?;
        while !connection.line()?.starts_with(b"LONG") {
            connection.say("200 fine\r\n")?;
        }
        connection.say("250 ")?;
        loop {
            connection.send(&[b'x'; 16 * 1024])?;
        }
    });
    let door = Setup::of(&[server.address()]).start();
    let mut session = ControlConnection::greeted(door.address());
    session.send(b"LONG\r\n");
    let heard = session.rest();
    assert!(heard.ends_with("\r\n421 Service not available: the server's reply has no end.\r\n"));
    assert!(heard.len() as u64 <= MIB + 100, "{} bytes", heard.len());
    drop(session);
    door.until_logged(&["WARN", "real_server=\"s1\"", "reason=\"reply too long\""]);
    door.until_empty();
}

#[test]
fn a_reply_without_end_passes_in_bounded_memory_for_as_long_as_the_client_listens() {
    let server = StubServer::start(|connection| {
        connection.greet()?;
        if connection.line()? != b"LIST" {
            return Ok(());
        }
        let chunk = "250-another line of a reply that never ends\r\n".repeat(400);
        loop {
            connection.say(&chunk)?;
        }
    });
    let door = Setup::of(&[server.address()]).start();
    let before = door.resident();
    let mut session = ControlConnection::greeted(door.address());
    session.send(b"LIST\r\n");
    let (mut taken, mut most) = (0, 0);
    while taken < 64 * MIB {
        taken += session.take(64 * 1024) as u64;
        if taken % (4 * MIB) < 64 * 1024 {
            most = most.max(door.resident());
        }
    }
    assert!(most.saturating_sub(before) < 2 * MIB, "from {before} to {most} bytes");
    drop(session);
    door.until_empty();
}

#[test]
fn ten_thousand_pipelined_commands_are_answered_in_order_in_bounded_memory() {
    const COMMANDS: usize = 10_000;
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).start();
    let mut session = ControlConnection::logged_in(door.address());
    let before = door.resident();
    // With some that the door answers itself, which wait for their turn.
    let mut commands = String::new();
    for number in 0..COMMANDS {
        commands.push_str(&match number % 100 {
            50 => "EPSV\r\n".to_owned(),
            75 => "PASV\r\n".to_owned(),
            _ => format!("NOOP {number}\r\n"),
        });
    }
    std::thread::scope(|scope| {
        let mut writer = session.stream().try_clone().unwrap();
        scope.spawn(move || std::io::Write::write_all(&mut writer, commands.as_bytes()).unwrap());
        let mut most = 0;
        for number in 0..COMMANDS {
            let reply = session.line();
            match number % 100 {
                50 => assert!(reply.starts_with("502 "), "{number}: {reply}"),
                75 => assert!(reply.starts_with("227 "), "{number}: {reply}"),
                _ => assert_eq!(reply, format!("200 noop {number}")),
            }
            if number % 1000 == 0 {
                most = most.max(door.resident());
            }
        }
        assert!(most.saturating_sub(before) < 2 * MIB, "from {before} to {most} bytes");
    });
    session.expect("QUIT", "221");
    drop(session);
    door.until_empty();
    door.until_logged(&["session ended", "commands=10003"]);
}

#[test]
fn pipelined_commands_to_a_server_that_does_not_answer_are_held_back_not_hoarded() {
    let server = StubServer::start(|connection| {
        connection.greet()?;
        connection.until_closed()
    });
    let door = Setup::of(&[server.address()]).virtual_server("idle_timeout = \"1s\"").start();
    let before = door.resident();
    let mut session = ControlConnection::greeted(door.address());
    session.stream().set_write_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    let chunk = b"NOOP\r\n".repeat(4096);
    let mut sent = 0_u64;
    // Until the door, and the kernel's buffers before it, take no more.
    while let Ok(taken) = std::io::Write::write(&mut session.stream(), &chunk) {
        sent += taken as u64;
        assert!(sent < 64 * MIB, "the door reads on and on");
    }
    let grown = door.resident().saturating_sub(before);
    assert!(grown < MIB, "{grown} bytes kept for a server that does not answer");
    assert!(session.line_within(std::time::Duration::from_millis(1)).is_none());
    session.reset();
    door.until_empty();
}
