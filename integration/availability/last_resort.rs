//! What clients get while there are too few real servers: the sorry server, the offline message, and with `alpha` patience.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::Value;

use crate::support::control_connection::ControlConnection;
use crate::support::local_door::{LocalDoor, Setup, unused_address};
use crate::support::stub_server::{Connection, StubServer};

/// Down with the first check that fails, up with the first that passes.
const CHECKS: &str = "delay_loop = \"100ms\"\nretry = 0";

fn virtual_server(status: &Value) -> &Value {
    &status["virtual_servers"][0]
}

fn greeting(door: &LocalDoor) -> String {
    ControlConnection::open(door.address()).line()
}

fn named(name: &'static str) -> impl Fn(&mut Connection) -> std::io::Result<()> + Send + Sync {
    move |connection| {
        connection.say(&format!("220 {name}\r\n"))?;
        loop {
            let line = connection.line()?;
            if !connection.answer(&line)? {
                return Ok(());
            }
        }
    }
}

#[test]
fn while_the_quorum_is_lost_the_sorry_server_takes_whole_sessions() {
    let addresses = [unused_address(), unused_address(), unused_address()];
    let start = |index: usize| StubServer::start_at(addresses[index], named("real"));
    let (first, _second, third) = (start(0), start(1), start(2));
    let sorry = StubServer::start(named("sorry"));
    let keys = format!("quorum = 2\nhysteresis = 1\nsorry_server = \"{}\"", sorry.address());
    let door = Setup::of(&addresses).virtual_server(&keys).check(CHECKS).start();
    assert_eq!(greeting(&door), "220 real");
    let there = |status: &Value| virtual_server(status)["quorum"]["there"] == true;

    // One of three is enough for a quorum of 2 with a hysteresis of 1; none is not.
    drop(first);
    drop(third);
    door.until("two down", |status| virtual_server(status)["quorum"]["weight"] == 1);
    assert!(there(&door.status()));
    let running = ControlConnection::logged_in(door.address());
    drop(_second);
    door.until("the quorum lost", |status| !there(status));
    drop(running);
    let mut session = ControlConnection::open(door.address());
    assert_eq!(session.line(), "220 sorry");
    session.expect("USER anonymous", "331");
    session.expect("PASS x@y", "230");
    session.expect("NOOP", "200");
    let of_sorry = |status: &Value| virtual_server(status)["sorry_server"].clone();
    assert_eq!(of_sorry(&door.status())["total_sessions"], 1);
    assert_eq!(of_sorry(&door.status())["sessions"], 1);
    assert_eq!(of_sorry(&door.status())["logins"], 1);

    // Two of three are too few to gain it.
    let _first = start(0);
    let _second = start(1);
    door.until("two up", |status| virtual_server(status)["quorum"]["weight"] == 2);
    assert!(!there(&door.status()));
    assert_eq!(greeting(&door), "220 sorry");
    let _third = start(2);
    door.until("the quorum gained", there);
    assert_eq!(greeting(&door), "220 real");
    // What runs there stays there.
    session.expect("NOOP", "200");
    session.expect("QUIT", "221");
    door.until_empty();
    for line in ["quorum lost", "quorum gained"] {
        door.until_logged(&[line]);
        assert_eq!(door.log().matches(line).count(), 1, "{line}:\n{}", door.log());
    }
    let text = String::from_utf8(door.command("status").output().unwrap().stdout).unwrap();
    assert!(text.contains("quorum there: weight 3 is up, 2 is needed, hysteresis 1"), "{text}");
    assert!(text.contains("sorry_server"), "{text}");
}

#[test]
fn a_session_that_no_server_has_taken_goes_to_the_sorry_server_before_any_check_has_failed() {
    let sorry = StubServer::start(named("sorry"));
    let keys = format!("sorry_server = \"{}\"", sorry.address());
    let door = Setup::of(&[unused_address(), unused_address()]).virtual_server(&keys).start();
    assert_eq!(greeting(&door), "220 sorry");
    drop(sorry);
    assert!(greeting(&door).starts_with("421 "), "and without it, as without one");
    door.until_empty();
}

#[test]
fn without_a_sorry_server_clients_are_told_what_the_operator_says() {
    let keys = "offline_message = \"Closed until noon; see https://status.example.org.\"";
    let door = Setup::of(&[unused_address()]).virtual_server(keys).check(CHECKS).start();
    door.until("down", |status| virtual_server(status)["real_servers"][0]["state"] == "down");
    let mut session = ControlConnection::open(door.address());
    assert_eq!(session.rest(), "421 Closed until noon; see https://status.example.org.\r\n");
}

#[test]
fn with_alpha_nobody_is_sent_to_a_server_before_it_is_proven() {
    let ready = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&ready);
    let server = StubServer::start(move |connection: &mut Connection| {
        if seen.load(SeqCst) { connection.serve() } else { connection.say("500 warming up\r\n") }
    });
    for (alpha, expected) in [("alpha = true", "no server is up"), ("", "no server took the session")] {
        let door = Setup::of(&[server.address()]).virtual_server(alpha).start();
        let told = greeting(&door);
        assert!(told.starts_with("421 ") && told.contains(expected), "{alpha:?}: {told}");
    }
    let door = Setup::of(&[server.address()])
        .virtual_server("alpha = true")
        .check("delay_loop = \"100ms\"\nretry = 1000\nrise = 2")
        .start();
    assert!(greeting(&door).starts_with("421 "));
    ready.store(true, SeqCst);
    door.until("up", |status| virtual_server(status)["real_servers"][0]["state"] == "up");
    drop(ControlConnection::greeted(door.address()));
    door.until_logged(&["quorum gained"]);
    assert!(!door.log().contains("quorum lost"), "it was never there:\n{}", door.log());
}
