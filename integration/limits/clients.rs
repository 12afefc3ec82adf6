//! One client among many.

use std::time::Duration;

use super::{CLIENT, OTHER, figure};
use crate::support::control_connection::ControlConnection;
use crate::support::local_door::Setup;
use crate::support::stub_server::{Connection, StubServer};

#[test]
fn a_denied_address_is_told_421_and_all_others_are_served() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()])
        .virtual_server("allow = [\"127.0.0.0/8\"]\ndeny = [\"127.5.0.0/16\"]")
        .start();
    let mut denied = ControlConnection::open_from(CLIENT, door.address());
    assert_eq!(denied.rest(), "421 Service not available for this address.\r\n");
    let mut other = ControlConnection::open_from(OTHER, door.address());
    assert!(other.line().starts_with("220 "));
    door.until_logged(&["session refused", "client=127.5.5.5:", "see `allow` and `deny`"]);
    assert_eq!(figure(&door.status(), "/refused/address denied"), 1);
    drop(other);
    door.until_empty();
}

#[test]
fn one_client_holds_its_share_and_gets_it_back() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).virtual_server("max_sessions_per_client = 2").start();
    let from = |ip| ControlConnection::open_from(ip, door.address());
    let mut held = [from(CLIENT), from(CLIENT)];
    assert!(held.iter_mut().all(|session| session.line().starts_with("220 ")));
    assert_eq!(
        from(CLIENT).rest(),
        "421 Too many sessions from this address; close one, or try again later.\r\n"
    );
    assert!(from(OTHER).line().starts_with("220 "));
    held[0].expect("QUIT", "221");
    assert_eq!(held[0].rest(), "");
    door.until("room", |status| status["sessions"] == 1);
    assert!(from(CLIENT).line().starts_with("220 "));
    drop(held);
    door.until_empty();
}

#[test]
fn all_virtual_servers_together_have_a_limit_too() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).global("threads = 2\nmax_sessions = 1").start();
    let held = ControlConnection::greeted(door.address());
    let mut session = ControlConnection::open(door.address());
    assert_eq!(session.rest(), "421 Service busy: too many sessions; please try again later.\r\n");
    door.until_logged(&["session refused", "raise max_sessions in [global]"]);
    drop(held);
    door.until_empty();
    drop(ControlConnection::greeted(door.address()));
    door.until_empty();
}

/// The client that the load balancer names is the one that counts, and not the load balancer.
#[test]
fn behind_a_load_balancer_the_named_client_is_limited() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()])
        .virtual_server(
            "proxy_protocol_from = [\"127.5.5.5\"]\nmax_sessions_per_client = 1\nallow = [\"192.0.2.0/24\"]\n\
             deny = [\"192.0.2.128/25\"]",
        )
        .start();
    let named = |client: &str| {
        let mut session = ControlConnection::open_from(CLIENT, door.address());
        session.send(format!("PROXY TCP4 {client} 198.51.100.10 40000 2811\r\n").as_bytes());
        session
    };
    let (mut one, mut two) = (named("192.0.2.1"), named("192.0.2.2"));
    assert!(one.line().starts_with("220 ") && two.line().starts_with("220 "));
    assert!(named("192.0.2.1").rest().starts_with("421 Too many sessions"));
    assert_eq!(named("192.0.2.200").rest(), "421 Service not available for this address.\r\n");
    assert_eq!(named("203.0.113.1").rest(), "421 Service not available for this address.\r\n");
    // Its own checks are no clients, and in no list of them.
    let mut checks: Vec<_> = (0..3).map(|_| ControlConnection::open_from(CLIENT, door.address())).collect();
    for check in &mut checks {
        check.send(b"PROXY UNKNOWN\r\n");
        assert!(check.line().starts_with("220 "));
    }
    let mut stranger = ControlConnection::open_from(OTHER, door.address());
    assert_eq!(stranger.rest(), "421 Service not available for this address.\r\n");
    drop((one, two, checks));
    door.until_empty();
}

/// A thousand clients from one address, as fast as they can: they get what their rate allows, others do not notice, and the
/// log says it once.
#[test]
fn a_storm_from_one_address_is_turned_away_and_others_are_served() {
    const STORM: usize = 1000;
    const THREADS: usize = 10;
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()])
        .virtual_server("session_rate_per_client = \"1/m\"\nsession_burst_per_client = 5\nmax_sessions = 50")
        .start();
    let address = door.address();
    let storm = move || {
        let said = (0..STORM / THREADS).map(|_| {
            let mut session = ControlConnection::open_from(CLIENT, address);
            session.line()
        });
        said.filter(|line| line.starts_with("220 ")).count()
    };
    let storms: Vec<_> = (0..THREADS).map(|_| std::thread::spawn(storm)).collect();
    for number in 0..20 {
        let other = std::net::IpAddr::from([127, 7, 7, number]);
        let mut session = ControlConnection::open_from(other, address);
        let line = session.line_within(Duration::from_secs(5));
        assert!(line.as_ref().is_some_and(|line| line.starts_with("220 ")), "{line:?}");
    }
    let admitted: usize = storms.into_iter().map(|storm| storm.join().unwrap()).sum();
    // In the time that it takes one or two more may come.
    assert!((5..=7).contains(&admitted), "{admitted} of {STORM} came in");
    let refused = figure(&door.status(), "/refused/session_rate_per_client exceeded");
    assert_eq!(refused, (STORM - admitted) as u64);
    let lines = door.log().lines().filter(|line| line.contains("come faster")).count();
    assert!((1..=6).contains(&lines), "{lines} lines for {refused} refusals");
    door.until_empty();
}
