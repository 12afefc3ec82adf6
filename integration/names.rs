//! Real servers by name, with a name server of the test's own.

use std::net::{Ipv4Addr, SocketAddr};

use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use crate::support::control_connection::ControlConnection;
use crate::support::deadline::Stopwatch;
use crate::support::local_door::{LocalDoor, Setup};
use crate::support::name_server::{NameServer, Zone};
use crate::support::stub_server::{Connection, StubServer};

fn a(last: u8) -> RData {
    RData::A(A(Ipv4Addr::new(127, 0, 0, last)))
}

/// A door whose real servers are those of these tables.
fn door(name_server: SocketAddr, real_servers: &str) -> LocalDoor {
    Setup::of(&[])
        .global(&format!("threads = 2\nnameservers = [\"{name_server}\"]"))
        .virtual_server("lb_algo = \"rr\"")
        .check(&format!("delay_loop = \"1h\"\n{real_servers}"))
        .start()
}

#[test]
fn sessions_go_to_all_that_a_name_and_a_service_stand_for() {
    let first = StubServer::start(Connection::serve);
    let port = first.address().port();
    let at = |last: u8, port: u16| SocketAddr::from(([127, 0, 0, last], port));
    let others = [at(2, port), at(3, 0)].map(|address| StubServer::start_at(address, Connection::serve));
    let service =
        RData::SRV(SRV::new(1, 9, others[1].address().port(), Name::from_ascii("h.test.").unwrap()));
    let zone = Zone::from([
        (("s.test.", RecordType::A), vec![a(1), a(2)]),
        (("_gsiftp._tcp.test.", RecordType::SRV), vec![service]),
        (("h.test.", RecordType::A), vec![a(3)]),
    ]);
    let name_server = NameServer::start(zone);
    let door = door(
        name_server.address(),
        &format!(
            "[[virtual_server.real_server]]\naddress = \"s.test\"\nport = {port}\n\
             [[virtual_server.real_server]]\nsrv = \"_gsiftp._tcp.test\"\n"
        ),
    );
    for _ in 0..6 {
        drop(ControlConnection::logged_in(door.address()));
    }
    let names = [format!("s.test:127.0.0.1:{port}"), format!("s.test:127.0.0.2:{port}"), "h.test".into()];
    assert_eq!(names.each_ref().map(|name| door.count(name, "total_sessions")), [2, 2, 2], "{}", door.log());
    assert_eq!(door.real_server("h.test")["weight"], 9);

    // The name service fails: it is told, and nobody else notices.
    name_server.fail();
    door.until("a reason", |status| {
        let names = status["names"].as_array().cloned().unwrap_or_default();
        names.len() == 2
            && names.iter().all(|name| {
                name["reason"].as_str().is_some_and(|reason| reason.ends_with("the last answer is kept"))
            })
    });
    door.until_logged(&["WARN", "name not resolved", "s.test"]);
    for _ in 0..6 {
        drop(ControlConnection::logged_in(door.address()));
    }
    let text = String::from_utf8(door.command("status").output().unwrap().stdout).unwrap();
    assert!(text.contains("\ns.test: 127.0.0.1 127.0.0.2, asked again in "), "{text}");
}

#[test]
fn a_door_whose_names_nobody_knows_starts_and_says_so() {
    let name_server = NameServer::start(Zone::new());
    name_server.fail();
    let server = StubServer::start(Connection::serve);
    let watch = Stopwatch::start();
    let door = door(
        name_server.address(),
        &format!(
            "[[virtual_server.real_server]]\naddress = \"s.test\"\n\
             [[virtual_server.real_server]]\nname = \"fix\"\naddress = \"127.0.0.1\"\nport = {}\n",
            server.address().port()
        ),
    );
    assert!(watch.elapsed().as_secs() < 10, "{:?}", watch.elapsed());
    drop(ControlConnection::logged_in(door.address()));
    assert_eq!(door.count("fix", "total_sessions"), 1);
    let status = door.status();
    assert_eq!(status["names"][0]["name"], "s.test");
    let reason = status["names"][0]["reason"].as_str().unwrap_or_default();
    assert!(reason.ends_with("no server is known"), "{status}");
}

/// Records of TTL 0 are asked for again after 5 s.
#[test]
fn a_running_door_follows_its_names() {
    let first = StubServer::start(Connection::serve);
    let port = first.address().port();
    let second = StubServer::start_at(SocketAddr::from(([127, 0, 0, 2], port)), Connection::serve);
    let zone = |last: &[u8]| {
        Zone::from([(("s.test.", RecordType::A), last.iter().copied().map(a).collect::<Vec<_>>())])
    };
    let name_server = NameServer::start(zone(&[1]));
    let door = door(
        name_server.address(),
        &format!("[[virtual_server.real_server]]\naddress = \"s.test\"\nport = {port}\n"),
    );
    let mut held = ControlConnection::logged_in(door.address());
    name_server.says(zone(&[2]));
    door.until_logged(&["real servers by name changed", "127.0.0.1", "removed"]);
    drop(ControlConnection::logged_in(door.address()));
    assert_eq!(door.count("s.test", "total_sessions"), 1, "of the new one: {}", door.log());
    assert!(second.accepted() > 0);
    let said = held.command("NOOP");
    assert!(said.starts_with("421 Service closing for maintenance"), "drained as by an operator: {said}");
}

#[test]
fn a_reload_asks_for_other_names_and_keeps_what_is_known_of_the_others() {
    let servers =
        [1, 2].map(|last| StubServer::start_at(SocketAddr::from(([127, 0, 0, last], 0)), Connection::serve));
    let [one, two] = servers.each_ref().map(|server| server.address().port());
    let zone =
        Zone::from([(("s.test.", RecordType::A), vec![a(1)]), (("t.test.", RecordType::A), vec![a(2)])]);
    let name_server = NameServer::start(zone.clone());
    let table = |name: &str, port: u16| {
        format!("[[virtual_server.real_server]]\naddress = \"{name}\"\nport = {port}\n")
    };
    let door = door(name_server.address(), &table("s.test", one));
    let mut held = ControlConnection::logged_in(door.address());
    let text = std::fs::read_to_string(door.configuration()).unwrap();
    std::fs::write(door.configuration(), text + &table("t.test", two)).unwrap();
    let output = door.command("reload").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains(&format!("real_server t.test (127.0.0.2:{two}) added")),
        "{said}"
    );
    for _ in 0..2 {
        drop(ControlConnection::logged_in(door.address()));
    }
    assert_eq!((door.count("t.test", "total_sessions"), door.count("s.test", "total_sessions")), (1, 2));
    // Both are asked for from now on.
    name_server.says(Zone::from([(("t.test.", RecordType::A), vec![a(2)])]));
    door.until("a reason", |status| {
        let names = status["names"].as_array().cloned().unwrap_or_default();
        let reasons: Vec<bool> = names.iter().map(|name| name["reason"].is_string()).collect();
        reasons == [true, false]
    });
    held.expect("NOOP", "200");
}
