//! More clients than may be inside: those beyond the limit are told, and the others do not notice.

use crate::support::control_connection::ControlConnection;
use crate::support::local_door::Setup;
use crate::support::stub_server::{Connection, StubServer};

#[test]
fn a_client_too_many_is_told_421_and_nothing_is_counted_for_it() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).virtual_server("max_sessions = 2").start();
    let mut held =
        [ControlConnection::logged_in(door.address()), ControlConnection::logged_in(door.address())];
    for speaks_first in [false, true] {
        let mut session = ControlConnection::open(door.address());
        if speaks_first {
            session.send(b"USER anonymous\r\nPASS x@y\r\n");
        }
        assert_eq!(session.rest(), "421 Service busy: too many sessions; please try again later.\r\n");
    }
    door.until_logged(&["session refused", "max_sessions = 2", "raise max_sessions"]);
    assert_eq!(door.count("s1", "total_sessions"), 2);
    held[0].expect("QUIT", "221");
    assert_eq!(held[0].rest(), "");
    door.until("room", |status| status["sessions"] == 1);
    drop(ControlConnection::logged_in(door.address()));
    drop(held);
    door.until_empty();
}

#[test]
fn a_server_that_is_full_gets_no_more_and_full_servers_are_a_421() {
    let servers = [StubServer::start(Connection::serve), StubServer::start(Connection::serve)];
    let mut setup = Setup::of(&[servers[0].address(), servers[1].address()]);
    for (_, _, keys) in &mut setup.real_servers {
        "max_connections = 2".clone_into(keys);
    }
    let door = setup.start();
    let held: Vec<ControlConnection> = (0..4).map(|_| ControlConnection::logged_in(door.address())).collect();
    assert_eq!((door.count("s1", "sessions"), door.count("s2", "sessions")), (2, 2));
    let mut session = ControlConnection::open(door.address());
    assert_eq!(session.rest(), "421 Service busy: all servers are full; please try again later.\r\n");
    drop((held, session));
    door.until_empty();
}
