//! Whoever scrapes, or pretends to, holds up no session and no other.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use super::scrape::Scrape;
use crate::support::control_connection::ControlConnection;
use crate::support::deadline::Stopwatch;
use crate::support::http_client::{get, start_with_http};
use crate::support::local_door::Setup;
use crate::support::stub_server::{Connection, StubServer};

/// The longest that a command may take beside scrapes on a machine that has other things to do, too; a door that waited for
/// a client of `http` would take 5 s and more.
const LONGEST: Duration = Duration::from_secs(3);

#[test]
fn sessions_go_on_while_the_door_is_scraped_without_a_pause() {
    let server = StubServer::start(Connection::serve);
    let (door, http) = start_with_http(Setup::of(&[server.address()]));
    let (stop, scrapes) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    Scrape::of(http);
                    scrapes.fetch_add(1, SeqCst);
                }
            });
        }
        let mut sessions: Vec<_> = (0..20).map(|_| ControlConnection::logged_in(door.address())).collect();
        let mut longest = Duration::ZERO;
        for _ in 0..50 {
            for session in &mut sessions {
                let watch = Stopwatch::start();
                session.expect("NOOP", "200");
                longest = longest.max(watch.elapsed());
            }
        }
        stop.store(true, SeqCst);
        assert!(longest < LONGEST, "{longest:?} for a command");
    });
    assert!(scrapes.load(SeqCst) > 4, "{scrapes:?} scrapes");
    door.until_empty();
    let page = Scrape::of(http);
    // No command is lost or counted twice, whatever read them meanwhile.
    assert_eq!(page.value("gridfront_commands_total", &[("class", "other")]), 1000.0);
    assert_eq!(page.value("gridfront_commands_total", &[("class", "login")]), 40.0);
}

#[test]
fn slow_clients_of_http_hold_up_neither_sessions_nor_scrapes() {
    let server = StubServer::start(Connection::serve);
    let (door, http) = start_with_http(Setup::of(&[server.address()]));
    // Some say nothing, some do not end, some do not read their answer.
    let begins: [&[u8]; 3] = [b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ", &[b'G'; 1]];
    let unread = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(40);
    let mut slow = Vec::new();
    for number in 0..40 {
        let mut stream = TcpStream::connect(http).unwrap();
        stream.write_all(begins.get(number % 4).copied().unwrap_or(&unread)).unwrap();
        slow.push(stream);
    }
    let mut session = ControlConnection::logged_in(door.address());
    for _ in 0..20 {
        let watch = Stopwatch::start();
        session.expect("NOOP", "200");
        assert_eq!(get(http, "/readyz").status, 200);
        Scrape::of(http);
        assert!(watch.elapsed() < LONGEST, "{:?}", watch.elapsed());
    }
    // 32 of them at most, whoever they are, and two for each session; the rest has been cut off.
    let descriptors = Scrape::of(http).value("process_open_fds", &[]);
    assert!(descriptors < 80.0, "{descriptors} descriptors are open");
    drop(slow);
    drop(session);
    door.until_empty();
}
