//! Real servers come, go and change while sessions and a transfer go on.

use std::io::Read as _;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use super::{reload, reloaded, write};
use crate::support::control_connection::ControlConnection;
use crate::support::data_client::DataClient;
use crate::support::file_server::FileServer;
use crate::support::local_door::{LocalDoor, Setup};
use crate::support::stub_server::{Connection, StubServer};

/// More than the door, the kernel and the client hold between them.
const FILE: (&str, usize) = ("/60000000.7", 60_000_000);

/// Longer than a client that is in the midst of something pauses.
const PAUSE: Duration = Duration::from_millis(2300);

fn order(door: &LocalDoor, words: &[&str]) {
    let mut command = door.command(words[0]);
    let output = command.args(&words[1..]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn sessions_and_a_transfer_live_over_servers_that_come_go_and_change() {
    let files = FileServer::start();
    let others = [(); 2].map(|()| StubServer::start(Connection::serve));
    let keys = "lb_algo = \"rr\"\ndata_path = \"relay\"\nrelay_ports = \"18000-18999\"";
    let before = Setup::of(&[files.address(), others[0].address()]).virtual_server(keys);
    let door = before.start();
    let mut transfer = DataClient::logged_in(door.address());
    let mut data = transfer.begin(&format!("RETR {}", FILE.0));
    let mut leaving = ControlConnection::logged_in(door.address());
    let mut staying = ControlConnection::logged_in(door.address());
    door.until("three sessions", |_| (door.count("s1", "sessions"), door.count("s2", "sessions")) == (2, 1));

    // s2 goes, s3 comes, s1 and the virtual server change.
    let mut after = Setup::of(&[files.address()]).virtual_server(
        "lb_algo = \"wlc\"\ndata_path = \"relay\"\nrelay_ports = \"17000-17999\"\nmax_sessions = 5",
    );
    after.real_servers[0].2 = "weight = 3\nmax_connections = 2".into();
    after.real_servers.push(("s3".into(), others[1].address(), String::new()));
    write(&door, &after);
    let expected = [
        "virtual_server gridftp: lb_algo rr → wlc".to_owned(),
        "virtual_server gridftp: relay_ports 18000-18999 → 17000-17999".into(),
        "virtual_server gridftp: max_sessions 10000 → 5".into(),
        "virtual_server gridftp: real_server s1: weight 1 → 3".into(),
        "virtual_server gridftp: real_server s1: max_connections none → 2".into(),
        format!("virtual_server gridftp: real_server s3 ({}) added", others[1].address()),
        format!("virtual_server gridftp: real_server s2 ({}) removed", others[0].address()),
        "virtual_server gridftp: real_server s2: 1 sessions are drained".into(),
    ];
    let shown = expected.iter().map(|change| format!("  {change}\n")).collect::<String>();
    let (code, text) = reload(&door, &["--dry-run"]);
    let file = door.configuration().display().to_string();
    assert_eq!((code, text), (0, format!("{file}: fine; this would change\n{shown}")));
    assert_eq!((door.count("s1", "weight"), door.count("s2", "sessions")), (1, 1), "nothing has");

    let (code, text) = reload(&door, &[]);
    assert_eq!((code, text), (0, format!("{file}: reloaded\n{shown}")));
    door.until_logged(&["configuration reloaded", "gridfront reload", "max_sessions 10000 → 5"]);
    let s1 = door.real_server("s1");
    assert_eq!((&s1["weight"], &s1["sessions"], &s1["total_sessions"]), (&3.into(), &2.into(), &2.into()));
    let s2 = door.real_server("s2");
    assert_eq!((&s2["state"], &s2["sessions"]), (&"removed".into(), &1.into()), "{s2}");

    // s1 is full, so the next one comes to the new server.
    let mut new = ControlConnection::logged_in(door.address());
    assert_eq!(door.count("s3", "sessions"), 1);
    new.expect("NOOP", "200");
    staying.expect("NOOP", "200");
    // The session of the server that has gone is told, as in a drain, and the server with it is forgotten.
    let told = "421 Service closing for maintenance: please connect again.\r\n";
    assert_eq!(leaving.line_within(PAUSE), None);
    leaving.send(b"NOOP\r\n");
    assert_eq!(leaving.rest(), told);
    drop(leaving);
    door.until("s2 is forgotten", |status| {
        status["virtual_servers"][0]["real_servers"].as_array().unwrap().len() == 2
    });

    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), FILE.1, "the transfer did not notice");
    drop(data);
    assert_eq!(transfer.last_reply().unwrap(), 226);
    // An old session with ports of the new range.
    assert_eq!(transfer.get("/50000.1").len(), 50_000);
    assert!((17_000..18_000).contains(&transfer.passive().port()));
    drop((transfer, staying, new));
    door.until_empty();
    assert_eq!(door.count("s1", "transfers"), 2);
}

#[test]
fn what_operators_and_checks_have_found_stays_and_is_named() {
    let servers = [(); 3].map(|()| StubServer::start(Connection::serve));
    let addresses = servers.each_ref().map(StubServer::address);
    let check = "delay_loop = \"100ms\"\nretry = 0\ndelay_before_retry = \"100ms\"";
    let mut setup = Setup::of(&addresses).check(check);
    let door = setup.start();
    order(&door, &["weight", "s1", "7"]);
    order(&door, &["drain", "s2"]);
    let [_s1, _s2, s3] = servers;
    drop(s3);
    door.until("s3 is down", |_| door.real_server("s3")["state"] == "down");

    setup.real_servers[2].2 = "weight = 2".into();
    assert_eq!(
        reloaded(&door, &setup),
        [
            "virtual_server gridftp: real_server s3: weight 1 → 2",
            "virtual_server gridftp: real_server s1: weight 7 stays, as an operator chose it; the file has 1",
            "virtual_server gridftp: real_server s2: stays drained until `gridfront undrain`",
        ]
    );
    let state = |name: &str| door.real_server(name)["state"].as_str().unwrap_or_default().to_owned();
    assert_eq!((door.count("s1", "weight"), state("s2"), state("s3")), (7, "drained".into(), "down".into()));
    assert!(door.real_server("s3")["reason"].as_str().unwrap().contains("refused"));

    setup.real_servers[0].2 = "weight = 4".into();
    assert_eq!(
        reloaded(&door, &setup),
        [
            "virtual_server gridftp: real_server s1: weight 1 → 4",
            "virtual_server gridftp: real_server s1: weight 7, as an operator chose it, gives way to the file's",
            "virtual_server gridftp: real_server s2: stays drained until `gridfront undrain`",
        ]
    );
    assert_eq!(door.count("s1", "weight"), 4);
    order(&door, &["undrain", "s2"]);
    assert_eq!(reloaded(&door, &setup), [""; 0]);
}

#[test]
fn a_server_that_comes_back_before_its_sessions_have_gone_is_the_same() {
    let servers = [(); 2].map(|()| StubServer::start(Connection::serve));
    let both = Setup::of(&servers.each_ref().map(StubServer::address)).virtual_server("lb_algo = \"rr\"");
    let mut second = both.clone();
    second.real_servers.remove(0);
    let door = both.start();
    let mut session = ControlConnection::logged_in(door.address());
    reloaded(&door, &second);
    assert_eq!(door.real_server("s1")["state"], "removed");
    reloaded(&door, &both);
    let s1 = door.real_server("s1");
    assert_eq!((&s1["state"], &s1["sessions"], &s1["total_sessions"]), (&"up".into(), &1.into(), &1.into()));
    assert_eq!(session.line_within(PAUSE), None);
    session.expect("NOOP", "200");
}

#[test]
fn sighup_reloads_and_limits_hold_for_everybody_from_then_on() {
    let server = StubServer::start(Connection::serve);
    let setup = Setup::of(&[server.address()]).virtual_server("max_sessions = 3");
    let door = setup.start();
    let held: Vec<_> = (0..3).map(|_| ControlConnection::logged_in(door.address())).collect();
    write(&door, &setup.clone().virtual_server("max_sessions = 4"));
    door.signal(Signal::HUP);
    door.until_logged(&["configuration reloaded", "SIGHUP", "max_sessions 3 → 4"]);
    let fourth = ControlConnection::logged_in(door.address());
    let mut fifth = ControlConnection::open(door.address());
    assert!(fifth.rest().starts_with("421 Service busy"));
    // Fewer than there are: they stay, and nobody comes in before enough have left.
    reloaded(&door, &setup.clone().virtual_server("max_sessions = 1"));
    drop(fourth);
    let mut sixth = ControlConnection::open(door.address());
    assert!(sixth.rest().starts_with("421 Service busy"));
    drop(held);
    door.until("all have left", |status| status["sessions"] == 0);
    ControlConnection::logged_in(door.address());
}

#[test]
fn whoever_waits_for_a_place_gets_one_by_the_new_configuration() {
    let servers = [(); 2].map(|()| StubServer::start(Connection::serve));
    let addresses = servers.each_ref().map(StubServer::address);
    let mut setup = Setup::of(&addresses[..1]).virtual_server("queue_length = 10\nqueue_timeout = \"60s\"");
    setup.real_servers[0].2 = "max_connections = 1".into();
    let door = setup.start();
    let held = ControlConnection::logged_in(door.address());
    // One after the other: they may come to different threads.
    let mut waiting = [1, 2].map(|number| {
        let client = ControlConnection::open(door.address());
        door.until("it waits", |status| {
            status.pointer("/virtual_servers/0/admittance/queue/waiting") == Some(&number.into())
        });
        client
    });
    assert_eq!(waiting[0].line_within(Duration::from_millis(200)), None);
    // A server more has room for one.
    let mut more = setup.clone();
    more.real_servers.push(("s2".into(), addresses[1], "max_connections = 1".into()));
    reloaded(&door, &more);
    assert_eq!(waiting[0].line(), "220 stub ready");
    assert_eq!(door.count("s2", "sessions"), 1);
    assert_eq!(waiting[1].line_within(Duration::from_millis(200)), None);
    // The first server has gone, and what stays takes two.
    let mut fewer = more.clone();
    fewer.real_servers.remove(0);
    fewer.real_servers[0].2 = "max_connections = 2".into();
    reloaded(&door, &fewer);
    assert_eq!(waiting[1].line(), "220 stub ready");
    assert_eq!(door.count("s2", "sessions"), 2);
    drop((held, waiting));
    door.until_empty();
}
