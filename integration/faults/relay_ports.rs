//! Ports that the door opens for data: who connects, how many, when, and what happens when none is left.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::support::data_client::{DataClient, announced, data_connection, data_connection_from};
use crate::support::file_server::FileServer;
use crate::support::leftovers::Leftovers;
use crate::support::local_door::{LocalDoor, Setup};
use crate::support::seeded::{content, long};

/// An address of this machine that is neither the client's nor a server's.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9));

fn relaying(server: &FileServer, ports: &str) -> LocalDoor {
    let keys = format!("data_path = \"relay\"\nrelay_ports = \"{ports}\"");
    Setup::of(&[server.address()]).virtual_server(&keys).start()
}

fn relay(status: &Value, field: &str) -> u64 {
    let of_relay = &status["virtual_servers"][0]["relay"];
    of_relay[field].as_u64().unwrap_or_else(|| panic!("{field}: {status}"))
}

fn end_of(mut stream: TcpStream) -> Result<usize, io::ErrorKind> {
    stream.read(&mut [0; 16]).map_err(|error| error.kind())
}

#[test]
fn a_stranger_is_reset_and_the_client_served() {
    let server = FileServer::start();
    let door = relaying(&server, "40000-40019");
    for way in ["STOR", "RETR"] {
        let mut client = DataClient::logged_in(door.address());
        let address = client.passive();
        let strangers = [(); 3].map(|()| data_connection_from(STRANGER, address).expect("the port is open"));
        client.control.send(format!("{way} /50000.1\r\n").as_bytes());
        for stranger in strangers {
            assert_eq!(end_of(stranger), Err(io::ErrorKind::ConnectionReset), "{way}");
        }
        let mut data = data_connection(address).expect("the port is still open");
        let file = content(1, 50_000);
        if way == "STOR" {
            data.write_all(&file).unwrap();
            drop(data);
        } else {
            let mut bytes = Vec::new();
            data.read_to_end(&mut bytes).unwrap();
            assert!(bytes == file, "{} bytes", bytes.len());
        }
        assert_eq!(client.last_reply().ok(), Some(226), "{way}");
        let late = data_connection_from(STRANGER, address).map_err(|error| error.kind());
        assert_eq!(late.map(drop), Err(io::ErrorKind::ConnectionRefused), "{way}: the port has been used");
        client.control.expect("QUIT", "221");
    }
    assert!(server.transferred("/50000.1").bytes == content(1, 50_000));
    door.until_empty();
    assert_eq!(relay(&door.status(), "strangers_refused"), 6);
}

#[test]
fn of_several_connections_one_is_used_and_the_others_are_reset() {
    let server = FileServer::start();
    let door = relaying(&server, "40020-40039");
    let mut client = DataClient::logged_in(door.address());
    let address = client.passive();
    let mut used = data_connection(address).unwrap();
    let others = [(); 5].map(|()| data_connection(address).expect("the port is open"));
    client.control.expect("STOR /many", "150");
    for other in others {
        assert_eq!(end_of(other), Err(io::ErrorKind::ConnectionReset));
    }
    used.write_all(b"the first").unwrap();
    drop(used);
    assert_eq!(client.last_reply().ok(), Some(226));
    assert_eq!(server.transferred("/many").bytes, b"the first");
    drop(client);
    door.until_empty();
}

#[test]
fn a_port_is_closed_when_its_transfer_is_over_or_another_is_asked_for() {
    let server = FileServer::start();
    let door = relaying(&server, "40040-40059");
    let mut client = DataClient::logged_in(door.address());
    let refused = |address| {
        let late = data_connection(address).map_err(|error| error.kind());
        assert_eq!(late.map(drop), Err(io::ErrorKind::ConnectionRefused), "{address}");
    };
    let first = client.passive();
    let second = client.passive();
    refused(first);
    let mut data = data_connection(second).unwrap();
    client.control.expect("STOR /one", "150");
    data.write_all(b"one").unwrap();
    drop(data);
    assert_eq!(client.last_reply().ok(), Some(226));
    refused(second);
    assert_eq!(relay(&door.status(), "ports_in_use"), 0);
    // A stream transfer takes an address of its own.
    let reply = client.control.command("RETR /10.1");
    assert!(reply.starts_with("425 ") || reply.starts_with('5'), "{reply}");
    let third = client.passive();
    assert_eq!(relay(&door.status(), "ports_in_use"), 1);
    drop(client);
    door.until_empty();
    refused(third);
    assert_eq!(relay(&door.status(), "ports_in_use"), 0);
}

#[test]
fn a_client_that_never_connects_holds_nothing_when_it_has_gone() {
    let server = FileServer::start();
    let door = relaying(&server, "40060-40079");
    let before = Leftovers::of(&door);
    let mut client = DataClient::logged_in(door.address());
    let address = client.passive();
    client.control.expect("STOR /nobody", "150");
    if long() {
        // The door's own patience is a minute.
        client.control.stream().set_read_timeout(Some(Duration::from_secs(90))).unwrap();
        assert!(client.last_reply().is_ok_and(|code| code >= 400), "a reply in time");
        client.put("/after", b"after");
    } else {
        assert_eq!(client.control.line_within(Duration::from_millis(300)), None);
    }
    drop(client);
    assert_ne!(server.transferred("/nobody").code, 226, "nobody has sent a file");
    door.until_empty();
    before.until_again(&door);
    let late = data_connection(address).map_err(|error| error.kind());
    assert_eq!(late.map(drop), Err(io::ErrorKind::ConnectionRefused));
}

#[test]
fn without_a_free_port_clients_are_told_425_and_served_when_there_is_one() {
    let server = FileServer::start();
    let door = relaying(&server, "40080-40083");
    let mut holders: Vec<DataClient> = (0..4).map(|_| DataClient::logged_in(door.address())).collect();
    let ports: Vec<u16> = holders.iter_mut().map(|holder| holder.passive().port()).collect();
    assert!(ports.iter().all(|port| (40_080..=40_083).contains(port)), "{ports:?}");
    let mut late = DataClient::logged_in(door.address());
    for command in ["PASV", "EPSV", "PASV"] {
        let reply = late.control.command(command);
        assert!(reply.starts_with("425 "), "{command}: {reply}");
        assert!(reply.contains("relay_ports"), "{reply}: it does not say what to mend");
    }
    let status = door.status();
    assert_eq!((relay(&status, "ports_in_use"), relay(&status, "ports_exhausted")), (4, 3), "{status}");
    // One that asks again has its own port to give.
    assert!(announced(&holders[0].control.command("PASV")).is_some());
    assert!(late.control.command("PASV").starts_with("425 "));
    let mut first = holders.remove(0);
    first.control.expect("QUIT", "221");
    drop(first);
    door.until("a port given back", |status| relay(status, "ports_in_use") == 3);
    late.put("/late", b"served at last");
    assert_eq!(late.get("/1000.5"), content(5, 1000));
    drop((late, holders));
    door.until_empty();
    assert_eq!(relay(&door.status(), "ports_in_use"), 0);
    assert_eq!(server.transferred("/late").bytes, b"served at last");
}
