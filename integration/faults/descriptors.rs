//! Out of file descriptors: the door pauses, says so once, burns nothing, and goes on when sessions end.
//! Out of local ports towards a server: the next one serves, and the server is not blamed.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::support::control_connection::ControlConnection;
use crate::support::deadline;
use crate::support::local_door::{LocalDoor, Setup};
use crate::support::netns::Lab;
use crate::support::skip;
use crate::support::stub_server::{Connection, StubServer};

/// The numbers of the door's open descriptors, once it has closed those of its admin connections.
fn open_descriptors(door: &LocalDoor) -> BTreeSet<u64> {
    let list = || -> BTreeSet<u64> {
        let listed = std::fs::read_dir(format!("/proc/{}/fd", door.id())).expect("the door runs");
        listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
    };
    let mut before = list();
    deadline::until("quiet descriptors", Duration::from_secs(10), || {
        let now = list();
        let quiet = now == before;
        before = now;
        if quiet { Ok(before.clone()) } else { Err(format!("{before:?}")) }
    })
    .unwrap()
}

/// Lets the door have `more` descriptors on top of those that it has now. The limit is of numbers, not of a count.
fn allow(door: &LocalDoor, more: usize) {
    let pid = Pid::from_raw(i32::try_from(door.id()).expect("a process id")).expect("a process id");
    let open = open_descriptors(door);
    let limit = (0..).filter(|number| !open.contains(number)).nth(more).expect("a number");
    let before = rustix::process::getrlimit(Resource::Nofile);
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(limit), maximum: before.maximum })
        .expect("our own child's limit");
}

#[test]
fn without_descriptors_clients_wait_the_processor_rests_and_the_log_says_it_once() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).global("threads = 1\ndrain_timeout = \"5s\"").start();
    let mut held: Vec<ControlConnection> =
        (0..4).map(|_| ControlConnection::logged_in(door.address())).collect();
    allow(&door, 0);
    let mut waiting: Vec<ControlConnection> =
        (0..20).map(|_| ControlConnection::open(door.address())).collect();
    door.until_logged(&["ERROR", "cannot accept connections; they wait", "LimitNOFILE"]);
    let before = door.processor_time();
    assert_eq!(waiting[0].line_within(Duration::from_secs(1)), None, "it waits");
    let used = door.processor_time() - before;
    assert!(used < Duration::from_millis(100), "{used:?} of a second for nothing");
    held[0].expect("NOOP", "200");
    let said = door.log().matches("cannot accept connections").count();
    assert_eq!(said, 1, "{}", door.log());

    // A session needs two; four ends give room to four, and those to the others.
    for session in &mut held {
        session.expect("QUIT", "221");
    }
    drop(held);
    for session in &mut waiting {
        let greeting = session.line();
        if greeting.starts_with("220 ") {
            session.expect("QUIT", "221");
        } else {
            assert!(
                greeting.starts_with("421 Service not available: the front door is out of"),
                "{greeting:?}"
            );
        }
        assert_eq!(session.rest(), "");
    }
    drop(waiting);
    door.until_empty();
    drop(ControlConnection::logged_in(door.address()));
    door.until_empty();
    assert_eq!(door.real_server("s1")["connect_failures"], 0);
}

#[test]
fn a_descriptor_short_for_the_server_is_a_421_that_blames_nobody_else() {
    let server = StubServer::start(Connection::serve);
    let good = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address(), good.address()])
        .check("delay_loop = \"1h\"\nretry = 0\ndelay_before_retry = \"1h\"")
        .start();
    let mut held = ControlConnection::logged_in(door.address());
    deadline::until("both checked", Duration::from_secs(10), || {
        let asked = server.accepted() + good.accepted();
        if asked >= 3 && server.open() + good.open() == 1 {
            Ok(())
        } else {
            Err(format!("{asked} connections"))
        }
    })
    .unwrap();
    allow(&door, 1);
    for _ in 0..5 {
        let mut session = ControlConnection::open(door.address());
        let heard = session.rest();
        assert!(
            heard.starts_with("421 Service not available: the front door is out of resources"),
            "{heard:?}"
        );
    }
    held.expect("NOOP", "200");
    allow(&door, 100);
    for name in ["s1", "s2"] {
        let status = door.real_server(name);
        assert_eq!((&status["state"], &status["connect_failures"]), (&"up".into(), &0.into()), "{status}");
    }
    door.until_logged(&["session refused", "cannot open a connection to a real server", "LimitNOFILE"]);
    drop(held);
    door.until_empty();
}

#[test]
fn without_local_ports_towards_a_server_the_next_one_serves_and_nobody_is_down() {
    if !skip::unless_present("local ports", &["ip"]) {
        return;
    }
    const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
    let lab = Lab::new(&[("door", 1)]);
    lab.machine("door").enter(|| {
        let (s1, s2) = (StubServer::start(Connection::serve), StubServer::start(Connection::serve));
        let door = Setup::of(&[s1.address(), s2.address()])
            .virtual_server("lb_algo = \"rr\"")
            .check("delay_loop = \"300ms\"\nretry = 0\nconnect_timeout = \"1s\"")
            .start();
        // Eight for each destination; those towards s1 are taken by connections that pass the door by.
        if std::fs::write(RANGE, "40000 40007").is_err() {
            return skip::skipped("local ports", "/proc/sys cannot be written");
        }
        let mut taken = Vec::new();
        deadline::until("a check without a port", Duration::from_secs(10), || {
            taken.extend(std::iter::from_fn(|| TcpStream::connect(s1.address()).ok()));
            let log = door.log();
            let warned = log.lines().any(|line| {
                ["check could not run", "s1", "net.ipv4.ip_local_port_range"]
                    .iter()
                    .all(|word| line.contains(word))
            });
            if warned { Ok(()) } else { Err(log) }
        })
        .unwrap();
        for _ in 0..3 {
            drop(ControlConnection::logged_in(door.address()));
            door.until_empty();
        }
        door.until_logged(&["real server passed over", "s1", "no local port towards it"]);
        let status = door.real_server("s1");
        assert_eq!((&status["state"], &status["connect_failures"]), (&"up".into(), &0.into()), "{status}");

        // Nor towards the other.
        taken.extend(std::iter::from_fn(|| TcpStream::connect(s2.address()).ok()));
        let heard = ControlConnection::open(door.address()).rest();
        assert!(heard.starts_with("421 Service not available: the front door is out of"), "{heard:?}");
        assert_eq!(door.real_server("s2")["state"], "up");
        drop(taken);
        door.until_empty();
    });
}
