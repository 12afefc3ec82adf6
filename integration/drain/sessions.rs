//! What becomes of each kind of session at a server that is being drained.

use std::time::Duration;

use super::orders::done;
use crate::support::control_connection::ControlConnection;
use crate::support::data_client::DataClient;
use crate::support::deadline::{self, Stopwatch};
use crate::support::file_server::FileServer;
use crate::support::local_door::{LocalDoor, Setup};
use crate::support::stub_server::{Connection, StubServer};

const MAINTENANCE: &str = "421 Service closing for maintenance: please connect again.\r\n";

/// Longer than a client that is in the midst of something pauses.
const PAUSE: Duration = Duration::from_millis(2300);
/// For whatever is awaited; many times what it takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the session has been silent for so long.
fn pause(session: &mut ControlConnection) {
    assert_eq!(session.line_within(PAUSE), None, "nothing is said unasked");
}

/// A server whose every connection goes on, and another that is never drained.
fn site() -> (StubServer, StubServer, LocalDoor) {
    let (one, two) = (StubServer::start(Connection::serve), StubServer::start(Connection::serve));
    let door = Setup::of(&[one.address(), two.address()]).virtual_server("lb_algo = \"rr\"").start();
    (one, two, door)
}

/// A session of s1, logged in; of s2 as many.
fn on_s1(door: &LocalDoor) -> (ControlConnection, ControlConnection) {
    let (one, two) =
        (ControlConnection::logged_in(door.address()), ControlConnection::logged_in(door.address()));
    (one, two)
}

#[test]
fn an_idle_session_is_told_at_its_next_command_and_those_of_others_are_not() {
    let (_one, _two, door) = site();
    let (mut ours, mut others) = on_s1(&door);
    done(&door, &["drain", "s1"]);
    pause(&mut ours);
    ours.send(b"NOOP\r\n");
    assert_eq!(ours.rest(), MAINTENANCE);
    others.expect("NOOP", "200");
    door.until("s1 is empty", |_| door.count("s1", "sessions") == 0);
    door.until_logged(&["session ended", "real_server=\"s1\"", "reason=\"drained\""]);
    // It is one session of one server.
    assert_eq!(door.count("s2", "sessions"), 1);
}

#[test]
fn an_idle_session_is_told_unasked_after_its_time() {
    let (one, two) = (StubServer::start(Connection::serve), StubServer::start(Connection::serve));
    // A minute; `idle_timeout`, if that is shorter.
    let door = Setup::of(&[one.address(), two.address()])
        .virtual_server("lb_algo = \"rr\"\nidle_timeout = \"3s\"")
        .start();
    let (mut ours, _others) = on_s1(&door);
    done(&door, &["drain", "s1"]);
    let watch = Stopwatch::start();
    assert_eq!(ours.rest(), MAINTENANCE);
    assert!(watch.elapsed() > Duration::from_secs(2), "after {:?}", watch.elapsed());
}

#[test]
fn a_client_in_the_midst_of_it_sees_nothing_and_may_say_quit() {
    let server = FileServer::start();
    let other = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address(), other.address()])
        .virtual_server("lb_algo = \"rr\"\ndata_path = \"relay\"\nrelay_ports = \"18000-18999\"")
        .start();
    let control = ControlConnection::greeted(door.address());
    done(&door, &["drain", "s1"]);
    // Step by step, without a pause.
    let mut client = DataClient::over(control);
    assert_eq!(client.get("/50000.1").len(), 50_000);
    assert_eq!(client.get("/50000.2").len(), 50_000);
    client.control.expect("QUIT", "221");
    drop(client);
    door.until_empty();
}

#[test]
fn a_transfer_and_an_open_port_hold_the_session_and_end_it_when_they_are_done() {
    let server = FileServer::start();
    let other = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address(), other.address()])
        .virtual_server("lb_algo = \"rr\"\ndata_path = \"relay\"\nrelay_ports = \"18000-18999\"")
        .start();
    let mut transfer = DataClient::logged_in(door.address());
    let _on_s2 = ControlConnection::logged_in(door.address());
    let mut open = DataClient::logged_in(door.address());
    let mut data = transfer.begin("RETR /300000.3?stop=100000");
    let port = open.passive();
    let said = done(&door, &["drain", "s1", "--deadline", "1h"]);
    assert!(said.contains("deadline in 3600 s; 2 sessions: 0 idle, 2 with a command, a transfer"), "{said}");
    // Both are silent for longer than a pause, and go on.
    pause(&mut open.control);
    let mut late = std::net::TcpStream::connect(port).unwrap();
    open.control.expect("RETR /1000.4", "150");
    assert_eq!(std::io::copy(&mut late, &mut std::io::sink()).unwrap(), 1000);
    assert_eq!(open.last_reply().unwrap(), 226);
    server.resume();
    assert_eq!(std::io::copy(&mut data, &mut std::io::sink()).unwrap(), 300_000);
    assert_eq!(transfer.last_reply().unwrap(), 226);
    for mut session in [transfer.control, open.control] {
        pause(&mut session);
        session.send(b"NOOP\r\n");
        assert_eq!(session.rest(), MAINTENANCE);
    }
    door.until("s1 is empty", |_| door.count("s1", "sessions") == 0);
}

#[test]
fn at_the_deadline_all_ends_and_only_what_could_be_read_is_told() {
    let (_one, _two, door) = site();
    let (mut clear, _first) = on_s1(&door);
    let (mut secured, mut others) = on_s1(&door);
    clear.expect("PASV", "227");
    secured.expect("AUTH GSSAPI", "334");
    secured.expect("ADAT AAAA", "235");
    secured.expect("NOOP", "200");
    let said = done(&door, &["drain", "s1", "--deadline", "4s"]);
    assert!(said.contains("2 sessions: 0 idle, 1 with a command, a transfer"), "{said}");
    assert!(said.contains("1 that cannot be read (GSI)"), "{said}");
    let watch = Stopwatch::start();
    // A GSI session may be transferring: it is left alone until then.
    pause(&mut secured);
    secured.expect("NOOP", "200");
    assert_eq!(clear.rest(), MAINTENANCE);
    assert_eq!(secured.rest(), "", "what passes unread gets no word");
    let elapsed = watch.elapsed();
    assert!((3.0..8.0).contains(&elapsed.as_secs_f32()), "after {elapsed:?}");
    others.expect("NOOP", "200");
    door.until("s1 is empty", |_| door.count("s1", "sessions") == 0);
    assert_eq!(door.real_server("s1")["drain"]["ended"], 2);
    door.until_logged(&["deadline of the drain", "real_server=\"s1\"", "sessions=2"]);
    door.until_logged(&["session ended", "reason=\"deadline of the drain\""]);
}

#[test]
fn undrain_takes_the_word_back_from_those_that_are_still_there() {
    let (_one, _two, door) = site();
    let (mut idle, _others) = on_s1(&door);
    done(&door, &["drain", "s1", "--deadline", "3s"]);
    done(&door, &["undrain", "s1"]);
    pause(&mut idle);
    pause(&mut idle);
    idle.expect("NOOP", "200");
    assert_eq!(door.count("s1", "sessions"), 1);
    // And it can be said again.
    done(&door, &["drain", "s1"]);
    pause(&mut idle);
    idle.send(b"NOOP\r\n");
    assert_eq!(idle.rest(), MAINTENANCE);
}

#[test]
fn a_session_whose_server_is_drained_before_it_greets_goes_to_another() {
    let (ready, waits) = std::sync::mpsc::channel();
    let waits = std::sync::Mutex::new(waits);
    let (heard, hears) = std::sync::mpsc::channel();
    let slow = StubServer::start(move |connection| {
        // The first connection is a check, or the client's: both are greeted late.
        let _ = waits.lock().expect("one at a time").recv_timeout(PATIENCE);
        connection.greet()?;
        let _ = heard.send(String::from_utf8_lossy(&connection.line()?).into_owned());
        connection.say("221 bye\r\n")
    });
    let other = StubServer::start(Connection::serve);
    let door = Setup::of(&[slow.address(), other.address()]).virtual_server("lb_algo = \"rr\"").start();
    let mut session = ControlConnection::open(door.address());
    deadline::until("connections", PATIENCE, || {
        if slow.accepted() == 2 { Ok(()) } else { Err(format!("{}", slow.accepted())) }
    })
    .unwrap();
    done(&door, &["drain", "s1"]);
    for _ in 0..2 {
        ready.send(()).unwrap();
    }
    assert!(session.line().starts_with("220 "));
    session.expect("NOOP", "200");
    assert_eq!((door.count("s1", "total_sessions"), door.count("s2", "sessions")), (0, 1));
    assert_eq!(
        (hears.recv_timeout(PATIENCE).unwrap(), hears.recv_timeout(PATIENCE).unwrap()),
        ("QUIT".into(), "QUIT".into())
    );
}
