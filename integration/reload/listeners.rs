//! Addresses that come and go.

use std::net::{SocketAddr, TcpStream};

use super::reload;
use crate::support::control_connection::ControlConnection;
use crate::support::local_door::{LocalDoor, Setup, unused_address};
use crate::support::stub_server::{Connection, StubServer};

/// A virtual server on one more port, before one real server.
fn another(name: &str, at: SocketAddr, server: SocketAddr) -> String {
    format!(
        "\n[[virtual_server]]\nname = \"{name}\"\naddresses = [\"{}\"]\nport = {}\ndata_path = \"direct\"\n\
         [virtual_server.check]\ndelay_loop = \"1h\"\nretry = 1000\ndelay_before_retry = \"1h\"\n\
         [[virtual_server.real_server]]\nname = \"{name}-1\"\naddress = \"{}\"\nport = {}\n",
        at.ip(),
        at.port(),
        server.ip(),
        server.port(),
    )
}

fn put(door: &LocalDoor, text: &str) -> String {
    std::fs::write(door.configuration(), text).unwrap();
    let (code, text) = reload(door, &[]);
    assert_eq!(code, 0, "{text}");
    text
}

#[test]
fn a_virtual_server_is_added_and_removed_and_its_last_session_goes_on() {
    let servers = [(); 2].map(|()| StubServer::start(Connection::serve));
    let setup = Setup::of(&[servers[0].address()]);
    let door = setup.start();
    let base = setup.text(door.directory(), door.address());
    let mut first = ControlConnection::logged_in(door.address());
    let at = unused_address();
    let text = put(&door, &(base.clone() + &another("archive", at, servers[1].address())));
    assert!(text.ends_with("reloaded\n  virtual_server archive added\n"), "{text}");
    let mut second = ControlConnection::logged_in(at);
    second.expect("RETR /file", "150");
    assert_eq!(second.line(), "226 done");

    let text = put(&door, &base);
    let changes: Vec<&str> = text.lines().filter(|line| line.starts_with("  ")).collect();
    let drained = "  virtual_server archive: real_server archive-1: 1 sessions are drained";
    assert_eq!(changes, ["  virtual_server archive removed", drained]);
    let refused = || TcpStream::connect(at).is_err();
    door.until("nobody listens any more", |_| refused());
    let status = door.status();
    let gone = &status["virtual_servers"][1];
    assert_eq!(
        (&gone["name"], &gone["removed"], &gone["sessions"]),
        (&"archive".into(), &true.into(), &1.into())
    );
    assert_eq!(gone["real_servers"][0]["state"], "removed", "{gone}");
    drop(second);
    door.until("it is forgotten", |status| status["virtual_servers"].as_array().unwrap().len() == 1);
    first.expect("NOOP", "200");
}

#[test]
fn an_address_passes_from_one_virtual_server_to_another_without_a_closed_door() {
    let servers = [(); 2].map(|()| StubServer::start(|connection: &mut Connection| connection.serve()));
    let setup = Setup::of(&[servers[0].address()]);
    let door = setup.start();
    let base = setup.text(door.directory(), door.address());
    let at = unused_address();
    put(&door, &(base.clone() + &another("archive", at, servers[0].address())));
    let mut old = ControlConnection::logged_in(at);
    // The same place, another name, another server.
    put(&door, &(base + &another("tape", at, servers[1].address())));
    let _new = ControlConnection::logged_in(at);
    let status = door.status();
    let sessions = |index: usize| {
        let server = &status["virtual_servers"][index];
        (server["name"].as_str().unwrap().to_owned(), server["sessions"].as_u64().unwrap())
    };
    assert_eq!((sessions(1), sessions(2)), (("tape".into(), 1), ("archive".into(), 1)));
    old.expect("NOOP", "200");
}

#[test]
fn an_address_more_or_less_is_no_other_virtual_server() {
    let server = StubServer::start(Connection::serve);
    let setup = Setup::of(&[server.address()]);
    let door = setup.start();
    let base = setup.text(door.directory(), door.address());
    let one = format!("addresses = [\"{}\"]", door.address().ip());
    // The next loopback address is this test process's as well: nobody else has its port there.
    let more = SocketAddr::from(([127, 250, 3, 7], door.address().port()));
    let two = format!("addresses = [\"{}\", \"{}\"]", door.address().ip(), more.ip());
    let mut held = ControlConnection::logged_in(door.address());
    put(&door, &base.replacen(&one, &two, 1));
    let mut second = ControlConnection::logged_in(more);
    put(&door, &base);
    door.until("nobody listens there any more", |_| TcpStream::connect(more).is_err());
    second.expect("NOOP", "200");
    held.expect("NOOP", "200");
    assert_eq!(door.count("s1", "sessions"), 2);
    ControlConnection::logged_in(door.address());
}
