//! Peers that are too slow, and the time-outs that end them; peers that are slow for a good reason, and are left alone.

use std::io::Write as _;
use std::time::Duration;

use crate::support::control_connection::ControlConnection;
use crate::support::deadline::Stopwatch;
use crate::support::local_door::Setup;
use crate::support::stub_server::{Connection, StubServer};

const MIB: u64 = 1 << 20;

#[test]
fn one_byte_at_a_time_does_not_put_off_the_login_time_out() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).virtual_server("login_timeout = \"1s\"").start();
    let mut session = ControlConnection::greeted(door.address());
    let watch = Stopwatch::start();
    let line = b"USER somebody with a name that takes for ever to say, as slow as can be".iter();
    let mut heard = None;
    for byte in line {
        session.send(&[*byte]);
        heard = session.line_within(Duration::from_millis(100));
        if heard.is_some() {
            break;
        }
    }
    assert_eq!(heard.as_deref(), Some("421 Login time-out: closing control connection."));
    let elapsed = watch.elapsed();
    assert!((0.9..3.0).contains(&elapsed.as_secs_f32()), "after {elapsed:?}");
    assert_eq!(session.rest(), "");
    drop(session);
    door.until_logged(&["session ended", "reason=\"login time-out\""]);
    door.until_empty();
}

#[test]
fn commands_without_a_login_do_not_put_off_the_login_time_out() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).virtual_server("login_timeout = \"1s\"").start();
    let mut session = ControlConnection::greeted(door.address());
    let watch = Stopwatch::start();
    loop {
        let reply = session.command("NOOP");
        if reply.starts_with("421 Login time-out") {
            break;
        }
        assert!(reply.starts_with("200 "), "{reply:?}");
        assert!(watch.elapsed() < Duration::from_secs(5), "no login time-out");
    }
    drop(session);
    door.until_empty();
}

#[test]
fn a_session_that_logs_in_anew_has_the_whole_login_time_for_it() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).virtual_server("login_timeout = \"1s\"").start();
    let mut session = ControlConnection::logged_in(door.address());
    assert_eq!(session.line_within(Duration::from_millis(1500)), None, "an idle session");
    session.expect("REIN", "220");
    assert_eq!(session.line_within(Duration::from_millis(500)), None, "half a second after REIN");
    session.expect("USER anonymous", "331");
    session.expect("PASS x@y", "230");
    session.expect("QUIT", "221");
    drop(session);
    door.until_empty();
}

#[test]
fn an_idle_session_is_ended_and_one_with_a_command_outstanding_never() {
    let server = StubServer::start(|connection| {
        connection.greet()?;
        loop {
            let line = connection.line()?;
            if line.starts_with(b"STOR") {
                connection.say("150 opening\r\n")?;
                std::thread::park_timeout(Duration::from_millis(2500));
                connection.say("226 done\r\n")?;
            } else if line == b"SLOW" {
                std::thread::park_timeout(Duration::from_millis(2500));
                connection.say("250 at last\r\n")?;
            } else if !connection.answer(&line)? {
                return Ok(());
            }
        }
    });
    let door = Setup::of(&[server.address()]).virtual_server("idle_timeout = \"800ms\"").start();
    let mut transfer = ControlConnection::logged_in(door.address());
    let mut command = ControlConnection::logged_in(door.address());
    transfer.expect("PASV", "227");
    transfer.expect("STOR /silent", "150");
    command.send(b"SLOW\r\n");
    let mut idle = ControlConnection::logged_in(door.address());
    assert_eq!(idle.rest(), "421 Idle time-out: closing control connection.\r\n");
    assert_eq!(transfer.line(), "226 done");
    assert_eq!(command.line(), "250 at last");
    assert_eq!(transfer.rest(), "421 Idle time-out: closing control connection.\r\n");
    assert_eq!(command.rest(), "421 Idle time-out: closing control connection.\r\n");
    drop((idle, transfer, command));
    door.until_empty();
}

#[test]
fn a_tunnel_has_no_idle_time_out() {
    let server = StubServer::start(Connection::serve);
    let timeouts = "idle_timeout = \"500ms\"\nlogin_timeout = \"500ms\"";
    let door = Setup::of(&[server.address()]).virtual_server(timeouts).start();
    let mut session = ControlConnection::greeted(door.address());
    session.expect("AUTH GSSAPI", "334");
    session.expect("ADAT YQ==", "235");
    assert_eq!(session.line_within(Duration::from_millis(1500)), None);
    session.expect("NOOP opaque", "200 noop opaque");
    drop(session);
    door.until_empty();
    assert_eq!(door.count("s1", "gsi_logins"), 1);
}

#[test]
fn a_tunnel_to_a_server_that_stops_reading_is_held_back_not_hoarded() {
    let server = StubServer::start(|connection| {
        connection.greet()?;
        for _ in ["AUTH", "ADAT"] {
            let line = connection.line()?;
            connection.answer(&line)?;
        }
        std::thread::park_timeout(Duration::from_secs(30));
        Ok(())
    });
    let door = Setup::of(&[server.address()]).start();
    let mut client = ControlConnection::greeted(door.address());
    client.expect("AUTH GSSAPI", "334");
    client.expect("ADAT YQ==", "235");
    let before = door.resident();
    let mut stream = client.stream();
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a time-out");
    let block = [b'x'; 64 * 1024];
    let mut taken = 0;
    // More than the kernel's buffers on the way hold.
    while taken < 64 * MIB && stream.write_all(&block).is_ok() {
        taken += block.len() as u64;
    }
    let grown = door.resident().saturating_sub(before);
    assert!(grown < 4 * MIB, "{grown} bytes more after {taken} bytes");
    assert!(taken < 64 * MIB, "the door takes whatever comes");
    drop(server);
    drop(client);
    door.until_empty();
}

#[test]
fn a_client_that_never_reads_is_ended_by_time_and_costs_the_others_nothing() {
    let server = StubServer::start(|connection| {
        connection.greet()?;
        loop {
            let line = connection.line()?;
            if line == b"FLOOD" {
                let chunk = "250-flood\r\n".repeat(2000);
                loop {
                    connection.say(&chunk)?;
                }
            }
            if !connection.answer(&line)? {
                return Ok(());
            }
        }
    });
    let door = Setup::of(&[server.address()]).virtual_server("idle_timeout = \"2s\"").start();
    let before = door.resident();
    let mut deaf: Vec<ControlConnection> = (0..8)
        .map(|_| {
            let mut session = ControlConnection::logged_in(door.address());
            session.send(b"FLOOD\r\n");
            session
        })
        .collect();
    let mut witness = ControlConnection::logged_in(door.address());
    let watch = Stopwatch::start();
    while watch.elapsed() < Duration::from_secs(1) {
        let asked = Stopwatch::start();
        witness.expect("NOOP", "200");
        assert!(asked.elapsed() < Duration::from_millis(500), "a reply took {:?}", asked.elapsed());
    }
    let grown = door.resident().saturating_sub(before);
    assert!(grown < 2 * MIB, "{grown} bytes for eight clients that do not read");
    for _ in &deaf {
        door.until_logged(&["session ended", "reason=\"client stopped reading\""]);
    }
    door.until("the deaf ended", |status| status["sessions"].as_u64() <= Some(1));
    // What had reached them is theirs still.
    assert!(deaf.iter_mut().all(|session| session.take(1000) > 0));
    drop((deaf, witness));
    door.until_empty();
}

#[test]
fn a_client_that_never_reads_and_never_logs_in_is_ended_by_the_login_time_out() {
    let server = StubServer::start(|connection| {
        connection.greet()?;
        if connection.line()? != b"HELP" {
            return Ok(());
        }
        let chunk = "214-help\r\n".repeat(2000);
        loop {
            connection.say(&chunk)?;
        }
    });
    let timeouts = "login_timeout = \"1s\"\nidle_timeout = \"1h\"";
    let door = Setup::of(&[server.address()]).virtual_server(timeouts).start();
    let mut session = ControlConnection::greeted(door.address());
    session.send(b"HELP\r\n");
    let watch = Stopwatch::start();
    door.until_empty();
    assert!(watch.elapsed() < Duration::from_secs(4), "after {:?}", watch.elapsed());
    drop(session);
}

#[test]
fn a_client_that_reads_slowly_but_steadily_is_served_to_the_end() {
    const SIZE: usize = 24 << 20;
    let server = StubServer::start(|connection| {
        connection.greet()?;
        loop {
            let line = connection.line()?;
            if line == b"MUCH" {
                connection.send(&b"250-x\r\n".repeat(SIZE / 7))?;
                connection.say("250 done\r\n")?;
            } else if !connection.answer(&line)? {
                return Ok(());
            }
        }
    });
    let door = Setup::of(&[server.address()]).virtual_server("idle_timeout = \"1s\"").start();
    let mut session = ControlConnection::logged_in(door.address());
    session.send(b"MUCH\r\n");
    let watch = Stopwatch::start();
    let mut taken = 0;
    // Three times the time-out, with something taken all the time.
    let mut left = SIZE / 7 * 7 + 10;
    while left > 0 {
        let slow = watch.elapsed() < Duration::from_secs(3);
        let got = session.take(left.min(if slow { 40_000 } else { 1 << 20 }));
        assert!(got > 0, "ended after {taken} bytes and {:?}", watch.elapsed());
        taken += got;
        left -= got;
        if slow {
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
    session.expect("QUIT", "221");
    drop(session);
    door.until_empty();
}
