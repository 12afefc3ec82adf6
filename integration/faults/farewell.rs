//! The last words of a session: they arrive whole, and waiting for them holds up nobody.

use std::io::Read as _;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::control_connection::ControlConnection;
use crate::support::deadline::Stopwatch;
use crate::support::local_door::Setup;
use crate::support::stub_server::StubServer;

#[test]
fn a_client_that_was_told_and_does_not_close_does_not_hold_up_a_shutdown() {
    let server = StubServer::start(crate::support::stub_server::Connection::serve);
    let mut door = Setup::of(&[server.address()])
        .global("drain_timeout = \"20s\"")
        .virtual_server("idle_timeout = \"1s\"")
        .start();
    let mut told = ControlConnection::logged_in(door.address());
    assert!(told.line().starts_with("421 Idle"));
    let watch = Stopwatch::start();
    door.signal(Signal::TERM);
    let ended = door.wait(Duration::from_secs(10));
    assert!(
        ended.is_some_and(|status| status.success()),
        "{ended:?} after {:?}\n{}",
        watch.elapsed(),
        door.log()
    );
    drop(told);
}

#[test]
fn a_long_goodbye_arrives_whole_although_the_client_has_sent_more() {
    const LINES: usize = 4000;
    let server = StubServer::start(|connection| {
        connection.greet()?;
        connection.line()?;
        let text: String = (0..LINES).map(|number| format!("200 reply {number} to a command\r\n")).collect();
        connection.say(&text)?;
        connection.say("421 that is all\r\n")
    });
    let door = Setup::of(&[server.address()]).start();
    let mut client = ControlConnection::greeted(door.address());
    client.send(b"NOOP\r\n");
    // More than the door will read before the server's goodbye.
    door.until("the goodbye", |_| server.open() == 0);
    client.send(&b"NOOP again\r\n".repeat(200));
    let heard = client.rest();
    assert_eq!(heard.lines().count(), LINES + 1, "{} bytes", heard.len());
    assert!(heard.ends_with("421 that is all\r\n"));
    drop(client);
    door.until_empty();
}

#[test]
fn a_server_that_stops_reading_is_named_and_its_client_told() {
    let server = StubServer::start(|connection| {
        connection.greet()?;
        for reply in ["331 password\r\n", "230 in\r\n"] {
            connection.line()?;
            connection.say(reply)?;
        }
        std::thread::park_timeout(Duration::from_secs(8));
        Ok(())
    });
    let door = Setup::of(&[server.address()]).virtual_server("idle_timeout = \"1s\"").start();
    let mut client = ControlConnection::logged_in(door.address());
    // More than the buffers on the way hold.
    let stream = client.stream().try_clone().expect("a second handle");
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a time-out");
    let line = [&[b'x'; 4000][..], b"\r\n"].concat();
    let mut writer = &stream;
    while std::io::Write::write_all(&mut writer, &line).is_ok() {}
    let heard = client.rest();
    assert_eq!(heard, "421 Service not available: the server takes no more commands.\r\n");
    let logged = door.until_logged(&["session ended", "reason=\"real server stopped reading\""]);
    assert!(logged.contains("WARN"), "{logged}");
    drop((client, stream));
    door.until_empty();
}

#[test]
fn a_client_that_has_said_all_waits_for_a_slow_reply_as_long_as_the_server_works() {
    let server = StubServer::start(|connection| {
        connection.greet()?;
        loop {
            let line = connection.line()?;
            if line.starts_with(b"RETR") {
                connection.say("150 opening\r\n")?;
                std::thread::park_timeout(Duration::from_secs(7));
                return connection.say("226 done\r\n");
            }
            connection.answer(&line)?;
        }
    });
    let door = Setup::of(&[server.address()]).start();
    let mut client = ControlConnection::logged_in(door.address());
    client.expect("PASV", "227");
    client.send(b"RETR /file\r\n");
    client.finish();
    let mut heard = String::new();
    let mut stream = client.stream();
    stream.read_to_string(&mut heard).expect("an orderly end");
    assert_eq!(heard, "150 opening\r\n226 done\r\n");
    drop(client);
    door.until_empty();
}
