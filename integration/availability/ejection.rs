//! Servers whose checks pass and whose sessions fail.

use std::net::IpAddr;

use serde_json::Value;

use crate::support::control_connection::ControlConnection;
use crate::support::deadline;
use crate::support::local_door::{LocalDoor, Setup};
use crate::support::stub_server::{Connection, StubServer};

const CHECKS: &str = "delay_loop = \"100ms\"\nretry = 0";
const EJECTION: &str = "\n[virtual_server.ejection]\nfailed_logins = 3\nfailed_transfers = 3\ntime = \"1s\"\nmax_time = \"3s\"\n";

/// In good health but for one verb.
fn that_answers(verb: &'static str, reply: &'static str) -> StubServer {
    StubServer::start(move |connection: &mut Connection| {
        connection.greet()?;
        loop {
            let line = connection.line()?;
            if line.starts_with(verb.as_bytes()) {
                connection.say(reply)?;
            } else if !connection.answer(&line)? {
                return Ok(());
            }
        }
    })
}

fn door(servers: &[&StubServer]) -> LocalDoor {
    let addresses: Vec<_> = servers.iter().map(|server| server.address()).collect();
    Setup::of(&addresses).check(&format!("{CHECKS}{EJECTION}")).start()
}

/// The session with this number, of one of two clients; whether it got its file. Two in a row are the same client's, so
/// that no server that is every second one's has but one client.
fn fetch(door: &LocalDoor, number: u8) -> bool {
    let client = IpAddr::from([127, 0, 0, 1 + number / 2 % 2]);
    let mut session = ControlConnection::open_from(client, door.address());
    assert!(session.line().starts_with("220 "));
    session.expect("USER anonymous", "331");
    if !session.command("PASS x@y").starts_with("230") {
        return false;
    }
    session.expect("PASV", "227");
    let mut reply = session.command("RETR /file");
    while reply.starts_with('1') {
        reply = session.line();
    }
    session.expect("QUIT", "221");
    reply.starts_with("226")
}

fn state(door: &LocalDoor, name: &str) -> Value {
    door.real_server(name)["state"].clone()
}

/// Sessions come until the server is ejected; how many have failed.
fn until_ejected(door: &LocalDoor, name: &str) -> usize {
    let (mut failed, mut number) = (0, 0_u8);
    deadline::until(&format!("{name} ejected"), std::time::Duration::from_secs(20), || {
        failed += usize::from(!fetch(door, number));
        number = number.wrapping_add(1);
        let state = state(door, name);
        if state == "ejected" { Ok(()) } else { Err(format!("it is {state}, {failed} have failed")) }
    })
    .unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
    failed
}

#[test]
fn a_server_whose_transfers_fail_is_ejected_comes_back_and_is_ejected_for_longer() {
    let (broken, sound) =
        (that_answers("RETR", "150 opening\r\n451 disk gone\r\n"), StubServer::start(Connection::serve));
    let door = door(&[&broken, &sound]);
    let failed = until_ejected(&door, "s1");
    assert!(failed <= 4, "{failed} sessions have failed before it was");
    let ejected = door.real_server("s1");
    let reason = ejected["ejected"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains(" transfers failed in a row, the last with reply 451"), "{ejected}");
    let text = String::from_utf8(door.command("status").output().unwrap().stdout).unwrap();
    assert!(text.contains("ejected for ") && text.contains(" transfers failed in a row"), "{text}");
    let before = door.count("s1", "total_sessions");
    // Its checks pass all the while.
    let checks = broken.accepted();
    deadline::until("two checks", std::time::Duration::from_secs(10), || {
        if broken.accepted() >= checks + 2 { Ok(()) } else { Err(format!("{checks}")) }
    })
    .unwrap();
    if state(&door, "s1") == "ejected" {
        assert!((0..5).all(|number| fetch(&door, number)), "{}", door.log());
        assert!(door.count("s1", "total_sessions") == before || state(&door, "s1") == "up");
    }
    door.until_logged(&["real server back from its ejection", "s1"]);
    until_ejected(&door, "s1");
    for duration in ["duration_ms=1000", "duration_ms=2000"] {
        door.until_logged(&["real server ejected", "s1", duration]);
    }
    assert_eq!(door.count("s1", "ejections"), 2);
    assert_eq!(state(&door, "s2"), "up");
}

#[test]
fn a_server_that_refuses_every_login_or_dies_in_it_is_ejected_and_the_last_one_never() {
    for answer in ["530 no such user here\r\n", "DIE"] {
        let broken = StubServer::start(move |connection: &mut Connection| {
            connection.greet()?;
            loop {
                let line = connection.line()?;
                if line.starts_with(b"PASS") && answer == "DIE" {
                    return Ok(());
                } else if line.starts_with(b"PASS") {
                    connection.say(answer)?;
                } else if !connection.answer(&line)? {
                    return Ok(());
                }
            }
        });
        let sound = StubServer::start(Connection::serve);
        let door = door(&[&broken, &sound]);
        until_ejected(&door, "s1");
        let reason = door.real_server("s1")["ejected"]["reason"].clone();
        assert!(reason.as_str().is_some_and(|reason| reason.contains("logins failed in a row")), "{reason}");
    }
    let alone = that_answers("PASS", "530 no\r\n");
    let door = door(&[&alone]);
    assert!((0..12).all(|number| !fetch(&door, number)));
    assert_eq!(state(&door, "s1"), "up");
}

#[test]
fn what_is_the_clients_fault_and_what_is_only_busy_ejects_nobody() {
    #[rustfmt::skip]
    let table = [
        ("RETR", "550 no such file\r\n"),
        ("RETR", "552 your quota\r\n"),
        ("PASS", "421 too many users\r\n"),
        ("RETR", "421 going down\r\n"),
    ];
    for (verb, reply) in table {
        let (odd, sound) = (that_answers(verb, reply), StubServer::start(Connection::serve));
        let door = door(&[&odd, &sound]);
        for _ in 0..16 {
            let mut session = ControlConnection::greeted(door.address());
            session.expect("USER anonymous", "331");
            if session.command("PASS x@y").starts_with("230") {
                session.expect("PASV", "227");
                session.command("RETR /file");
            }
        }
        door.until_empty();
        assert!(door.count("s1", "total_sessions") >= 5, "{verb} {reply}");
        assert_eq!(door.count("s1", "ejections"), 0, "{verb} {reply}");
    }
}
