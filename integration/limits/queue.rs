//! Sessions that wait while all servers are full.

use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::{CLIENT_ENDS_WITHIN, figure};
use crate::support::control_connection::ControlConnection;
use crate::support::deadline::Stopwatch;
use crate::support::local_door::{LocalDoor, Setup};
use crate::support::local_server::LocalServer;
use crate::support::process::Process;
use crate::support::skip;
use crate::support::stub_server::{Connection, StubServer};

const BUSY: &str = "421 Service busy: all servers are full; please try again later.\r\n";
/// Long enough that nothing is taken for silence that is only slow, short enough to wait for.
const SILENCE: Duration = Duration::from_millis(300);

fn setup(servers: &[SocketAddr], places: u32, keys: &str) -> Setup {
    let mut setup = Setup::of(servers).virtual_server(keys);
    for (_, _, keys) in &mut setup.real_servers {
        *keys = format!("max_connections = {places}");
    }
    setup
}

fn until_waiting(door: &LocalDoor, number: u64) {
    door.until("sessions in the queue", |status| figure(status, "/queue/waiting") == number);
}

#[test]
fn who_waits_is_served_first_come_first_served() {
    const WAITING: u64 = 12;
    let server = StubServer::start(Connection::serve);
    let door = setup(&[server.address()], 2, "queue_length = 50\nqueue_timeout = \"60s\"").start();
    let mut held: Vec<ControlConnection> =
        (0..2).map(|_| ControlConnection::logged_in(door.address())).collect();
    let mut line = Vec::new();
    for number in 0..WAITING {
        let mut session = ControlConnection::open(door.address());
        if number % 3 == 0 {
            // What is said before the greeting is heard after it.
            session.send(b"USER anonymous\r\n");
        }
        until_waiting(&door, number + 1);
        line.push(session);
    }
    for (number, mut session) in line.into_iter().enumerate() {
        assert_eq!(session.line_within(Duration::from_millis(50)), None, "{number} has to wait");
        held.remove(0).finish();
        assert_eq!(session.line(), "220 stub ready", "{number}");
        if number % 3 == 0 {
            assert!(session.line().starts_with("331 "));
        }
        held.push(session);
    }
    let status = door.status();
    assert_eq!(figure(&status, "/queue/served"), WAITING);
    assert_eq!(figure(&status, "/queue/waiting"), 0);
    assert!(figure(&status, "/queue/longest_served_ms") >= 50);
    drop(held);
    door.until_logged(&["session ended", "queued_ms="]);
    door.until_empty();
}

#[test]
fn a_queue_is_bounded_in_length_and_in_time() {
    let server = StubServer::start(Connection::serve);
    let door = setup(&[server.address()], 1, "queue_length = 1\nqueue_timeout = \"1s\"").start();
    let held = ControlConnection::logged_in(door.address());
    let watch = Stopwatch::start();
    let mut waiting = ControlConnection::open(door.address());
    until_waiting(&door, 1);
    assert_eq!(ControlConnection::open(door.address()).rest(), BUSY, "one may wait");
    assert!(watch.elapsed() < Duration::from_secs(1));
    assert_eq!(waiting.rest(), BUSY);
    let waited = watch.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(4)).contains(&waited), "{waited:?}");
    let status = door.status();
    assert_eq!(figure(&status, "/queue/timed_out"), 1);
    assert_eq!(figure(&status, "/queue/found_full"), 1);
    assert_eq!(
        (figure(&status, "/refused/queue full"), figure(&status, "/refused/queue_timeout over")),
        (1, 1)
    );
    door.until_logged(&["session refused", "queue_length = 1"]);
    door.until_logged(&["session refused", "no server had room within queue_timeout = 1s"]);
    drop(held);
    door.until_empty();
}

#[test]
fn a_client_that_hangs_up_leaves_the_queue_at_once() {
    let server = StubServer::start(Connection::serve);
    let door = setup(&[server.address()], 1, "queue_length = 10\nqueue_timeout = \"1h\"").start();
    let mut held = ControlConnection::logged_in(door.address());
    let silent = ControlConnection::open(door.address());
    until_waiting(&door, 1);
    let mut spoke = ControlConnection::open(door.address());
    spoke.send(b"USER anonymous\r\nPASS x@y\r\n");
    until_waiting(&door, 2);
    let reset = ControlConnection::open(door.address());
    until_waiting(&door, 3);
    let mut last = ControlConnection::open(door.address());
    until_waiting(&door, 4);
    drop(silent);
    until_waiting(&door, 3);
    reset.reset();
    until_waiting(&door, 2);
    drop(spoke);
    until_waiting(&door, 1);
    assert_eq!(figure(&door.status(), "/queue/left"), 3);
    held.expect("QUIT", "221");
    assert_eq!(last.line(), "220 stub ready");
    door.until_logged(&["client left the queue"]);
    drop((held, last));
    door.until_empty();
}

#[test]
fn a_server_that_comes_up_takes_whoever_waits() {
    let address = crate::support::local_door::unused_address();
    let first = StubServer::start(Connection::serve);
    let mut setup = setup(&[first.address(), address], 1, "queue_length = 10\nqueue_timeout = \"60s\"");
    setup = setup.check("delay_loop = \"200ms\"\nretry = 0\ndelay_before_retry = \"0s\"");
    let door = setup.start();
    door.until("s2 down", |status| status["virtual_servers"][0]["real_servers"][1]["state"] == "down");
    let held = ControlConnection::logged_in(door.address());
    let mut waiting = ControlConnection::open(door.address());
    until_waiting(&door, 1);
    assert_eq!(waiting.line_within(SILENCE), None);
    let second = StubServer::start_at(address, Connection::serve);
    assert_eq!(waiting.line(), "220 stub ready");
    assert_eq!(door.count("s2", "sessions"), 1);
    drop((held, waiting, second));
    door.until_empty();
}

#[test]
fn a_drain_ends_it_with_421() {
    let server = StubServer::start(Connection::serve);
    let setup = setup(&[server.address()], 1, "queue_length = 10\nqueue_timeout = \"1h\"");
    let mut door = setup.global("threads = 2\ndrain_timeout = \"1s\"").start();
    let held = ControlConnection::logged_in(door.address());
    let mut waiting = ControlConnection::open(door.address());
    until_waiting(&door, 1);
    door.signal(Signal::TERM);
    assert_eq!(waiting.rest(), "421 Service closing for maintenance: please connect again.\r\n");
    drop(held);
    assert!(door.wait(Duration::from_secs(10)).is_some_and(|status| status.success()), "{}", door.log());
}

/// Far more clients than places, on both threads of the door, some of them gone before it is their turn: all that stay are
/// served, and nothing is left.
#[test]
fn many_clients_share_few_places_and_nobody_is_forgotten() {
    const CLIENTS: usize = 200;
    let servers = [StubServer::start(Connection::serve), StubServer::start(Connection::serve)];
    let addresses = servers.each_ref().map(StubServer::address);
    let door = setup(&addresses, 2, "queue_length = 500\nqueue_timeout = \"60s\"").start();
    let address = door.address();
    let client = |number: usize| {
        move || {
            if number % 10 == 9 {
                // Sometimes it is served all the same.
                let _ = ControlConnection::open(address).line_within(Duration::from_millis(20));
                return None;
            }
            let mut session = ControlConnection::open(address);
            let line = session.line_within(Duration::from_secs(50));
            if line.as_deref() != Some("220 stub ready") {
                return Some(format!("{line:?}"));
            }
            session.expect("USER anonymous", "331");
            session.expect("PASS x@y", "230");
            session.expect("QUIT", "221");
            None
        }
    };
    let clients: Vec<_> = (0..CLIENTS).map(|number| thread::spawn(client(number))).collect();
    let failures: Vec<String> = clients.into_iter().filter_map(|client| client.join().unwrap()).collect();
    assert!(failures.is_empty(), "{failures:?}\n{}", door.status());
    door.until_empty();
    let status = door.status();
    assert_eq!(figure(&status, "/queue/waiting"), 0);
    assert_eq!(figure(&status, "/queue/timed_out"), 0);
    assert!(figure(&status, "/queue/served") > 0, "{status}");
}

#[test]
fn curl_and_lftp_wait_and_are_served() {
    if !skip::unless_present(
        "curl, lftp and pyftpdlib",
        &["curl", "lftp", "/usr/lib/python3/dist-packages/pyftpdlib/__init__.py"],
    ) {
        return;
    }
    let server = LocalServer::pyftpdlib();
    std::fs::write(server.file("file"), b"whole").unwrap();
    let keys = "data_path = \"relay\"\nqueue_length = 10\nqueue_timeout = \"50s\"";
    let door = setup(&[server.address()], 1, keys).start();
    let mut held = ControlConnection::logged_in(door.address());
    let url = format!("ftp://{}/file", door.address());
    let start = |program: &str, words: &[&str]| {
        let mut command = Command::new(program);
        command.args(words);
        Process::spawn(command, &door.directory().join(program))
    };
    let mut curl = start("curl", &["-sS", &url]);
    until_waiting(&door, 1);
    let mut lftp = start("lftp", &["-c", &format!("set net:max-retries 1; cat {url}")]);
    until_waiting(&door, 2);
    held.expect("QUIT", "221");
    for client in [&mut curl, &mut lftp] {
        let status = client.wait(CLIENT_ENDS_WITHIN);
        let said = client.output();
        assert!(
            status.is_some_and(|status| status.success()) && said.contains("whole"),
            "{said}\n{}",
            door.log()
        );
    }
    assert_eq!(figure(&door.status(), "/queue/timed_out"), 0);
    door.until_empty();
}
