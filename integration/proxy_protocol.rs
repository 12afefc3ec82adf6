//! Load balancers in front of the door that say who the client is, servers behind it that want to know, and forgers.

mod data;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::support::control_connection::ControlConnection;
use crate::support::deadline;
use crate::support::local_door::{LocalDoor, Setup, unused_address};
use crate::support::process::Process;
use crate::support::skip;
use crate::support::stub_server::{Connection, StubServer};

/// Where clients are.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 3, 3, 3));
/// Where the load balancer in front is, as the door sees it.
const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 4, 4, 4));
const PATIENCE: Duration = Duration::from_secs(10);

/// haproxy between the address it listens on and a server, one `listen` section.
struct Haproxy {
    address: SocketAddr,
    process: Process,
    _directory: tempfile::TempDir,
}

impl Haproxy {
    /// `bind` and `server` are further words of these lines; it connects to the server from [`BALANCER`].
    fn start(bind: &str, to: SocketAddr, server: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let address = unused_address();
        let file = directory.path().join("haproxy.cfg");
        let text = format!(
            "global\n  log stdout format raw local0\n\
             defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             listen ftp\n  bind {address} {bind}\n  log global\n  option logasap\n\
             \x20 log-format \"from %ci:%cp reached %fi:%fp\"\n  source {BALANCER}\n  server one {to} {server}\n"
        );
        std::fs::write(&file, text).expect("a configuration");
        let mut command = Command::new(skip::find("haproxy").expect("it was looked for"));
        command.arg("-db").arg("-f").arg(&file);
        let process = Process::spawn(command, &directory.path().join("log"));
        let haproxy = Self { address, process, _directory: directory };
        deadline::until("haproxy's readiness", PATIENCE, || {
            TcpStream::connect(address)
                .map(drop)
                .map_err(|error| format!("{error}\n{}", haproxy.process.output()))
        })
        .unwrap_or_else(|why| panic!("{why}"));
        haproxy
    }

    fn until_logged(&self, words: &str) {
        deadline::until(words, PATIENCE, || {
            let log = self.process.output();
            if log.contains(words) { Ok(()) } else { Err(log) }
        })
        .unwrap_or_else(|why| panic!("{why}"));
    }
}

/// A door that believes [`BALANCER`].
fn behind_the_balancer(server: &StubServer) -> LocalDoor {
    Setup::of(&[server.address()])
        .virtual_server(&format!("data_path = \"direct\"\nproxy_protocol_from = [\"{BALANCER}\"]"))
        .start()
}

fn failures(door: &LocalDoor) -> u64 {
    door.status()["virtual_servers"][0]["proxy_header_failures"].as_u64().expect("a count")
}

fn header(source: IpAddr, door: &LocalDoor) -> String {
    format!("PROXY TCP4 {source} {} 40000 {}\r\n", door.address().ip(), door.address().port())
}

#[test]
fn the_client_that_haproxy_names_is_the_sessions_client_everywhere() {
    if !skip::unless_present("haproxy with send-proxy", &["haproxy"]) {
        return;
    }
    for version in ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn"] {
        let (server, heard) = StubServer::that_keeps_what_it_hears();
        let door = behind_the_balancer(&server);
        let haproxy = Haproxy::start("", door.address(), version);
        let mut session = ControlConnection::open_from(CLIENT, haproxy.address);
        assert!(session.line().starts_with("220 "), "{version}");
        session.expect("USER anonymous", "331");
        session.expect("PASS x@y", "230");
        // Its own address may be named, and the load balancer's is somebody else's.
        session.expect("PORT 127,3,3,3,200,1", "500 not known");
        session.expect("PORT 127,4,4,4,200,1", "504");
        session.expect("QUIT", "221");
        let named: Vec<String> =
            heard.lock().unwrap().iter().filter(|line| line.starts_with("PORT")).cloned().collect();
        assert_eq!(named, ["PORT 127,3,3,3,200,1"], "{version}");
        let line = door.until_logged(&["session ended", &format!("client={CLIENT}:")]);
        assert!(line.contains(&format!("proxy={BALANCER}:")), "{version}: {line}");
        assert_eq!(failures(&door), 0, "{version}: {}", door.log());
        door.until_empty();
    }
}

#[test]
fn sh_goes_by_the_client_and_not_by_the_load_balancer() {
    let servers: Vec<StubServer> = (0..4).map(|_| StubServer::start(Connection::serve)).collect();
    let addresses: Vec<SocketAddr> = servers.iter().map(StubServer::address).collect();
    let door = Setup::of(&addresses)
        .virtual_server(&format!("lb_algo = \"sh\"\nproxy_protocol_from = [\"{BALANCER}\"]"))
        .start();
    let serving = |client: u8| {
        let mut session = ControlConnection::open_from(BALANCER, door.address());
        session.send(header(Ipv4Addr::new(192, 0, 2, client).into(), &door).as_bytes());
        assert!(session.line().starts_with("220 "));
        session.expect("QUIT", "221");
        let line = door.until_logged(&["session ended", &format!("client=192.0.2.{client}:")]);
        line.split("real_server=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned()
    };
    let used: std::collections::BTreeSet<String> = (1..=16).map(serving).collect();
    assert!(used.len() > 1, "sixteen clients, one server: {used:?}");
}

#[test]
fn a_header_from_an_address_that_may_not_send_one_is_refused_and_told() {
    let (server, heard) = StubServer::that_keeps_what_it_hears();
    let door = behind_the_balancer(&server);
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\x04\x04\x04\x7f\0\0\x01\x9c\x40\x0a\xfb";
    let v1 = header(BALANCER, &door);
    for (number, forged) in [v1.as_bytes(), v2].into_iter().enumerate() {
        let mut session = ControlConnection::open_from(CLIENT, door.address());
        session.send(forged);
        session.send(b"USER anonymous\r\n");
        assert!(session.line().starts_with("220 "));
        let said = session.rest();
        assert!(said.starts_with("500 This address may not send a PROXY protocol header"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        door.until("it counted", |status| {
            status["virtual_servers"][0]["proxy_header_failures"] == number + 1
        });
    }
    let line =
        door.until_logged(&["WARN", "session ended", &format!("client={CLIENT}:"), "proxy_protocol_from"]);
    assert!(!line.contains("proxy=1"), "{line}");
    door.until_empty();
    let heard = heard.lock().unwrap().clone();
    assert!(heard.iter().all(|line| line.starts_with("QUIT")), "{heard:?}");
}

#[test]
fn what_is_no_header_closes_the_connection_and_nothing_else() {
    let (server, heard) = StubServer::that_keeps_what_it_hears();
    let door = behind_the_balancer(&server);
    let of_v2 = |rest: &[u8]| [&b"\r\n\r\n\0\r\nQUIT\n"[..], rest].concat();
    let table: &[(&str, Vec<u8>, bool, &str)] = &[
        ("an FTP client", b"USER anonymous\r\n".to_vec(), false, "there is no PROXY protocol header"),
        ("a broken one", b"PROXY TCP4 nowhere\r\n".to_vec(), false, "header is broken"),
        ("too long", [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat(), false, "longer than 107 bytes"),
        ("too long in version 2", of_v2(b"\x21\x11\xff\xff"), false, "longer than 4096 bytes"),
        ("no such version", of_v2(b"\x31\x11\0\0"), false, "header is broken"),
        ("cut off", b"PROXY TCP4 127.3.3.3".to_vec(), true, "lost inside its PROXY protocol header"),
        ("cut off in version 2", of_v2(b"\x21\x11\0\x0c\x7f"), true, "lost inside its PROXY protocol header"),
    ];
    for (number, (name, bytes, ends, reason)) in table.iter().enumerate() {
        let mut session = ControlConnection::open_from(BALANCER, door.address());
        session.send(bytes);
        if *ends {
            session.finish();
        }
        // Nothing is said: whoever does not send the header is not the client.
        assert!(matches!(session.try_line().as_deref(), Ok("") | Err(_)), "{name}");
        door.until_logged(&["WARN", "session refused", &format!("client={BALANCER}:"), reason]);
        assert_eq!(failures(&door), number as u64 + 1, "{name}");
    }
    // A health check that only connects means no session and is no failure.
    drop(ControlConnection::open_from(BALANCER, door.address()));
    door.until_empty();
    assert_eq!(failures(&door), table.len() as u64);
    assert_eq!(*heard.lock().unwrap(), ["QUIT"], "the one check at the start");
}

#[test]
fn a_slow_header_is_waited_for_and_no_header_is_not_waited_for_long() {
    let (server, _) = StubServer::that_keeps_what_it_hears();
    let door = behind_the_balancer(&server);
    // More than there are threads: each has its listener, and none may wait for them.
    let mut silent: Vec<ControlConnection> =
        (0..8).map(|_| ControlConnection::open_from(BALANCER, door.address())).collect();
    let mut slow = ControlConnection::open_from(BALANCER, door.address());
    for byte in header(CLIENT, &door).as_bytes() {
        slow.send(&[*byte]);
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert!(slow.line().starts_with("220 "));
    for _ in 0..8 {
        drop(ControlConnection::greeted(door.address()));
    }
    for connection in &mut silent {
        assert!(matches!(connection.try_line().as_deref(), Ok("") | Err(_)), "it is closed");
    }
    door.until_logged(&["session refused", "no PROXY protocol header within 5s"]);
    door.until("all counted", |status| status["virtual_servers"][0]["proxy_header_failures"] == 8);
    slow.expect("QUIT", "221");
    door.until_empty();
}

#[test]
fn what_follows_the_header_in_its_segment_is_the_sessions() {
    let (server, _) = StubServer::that_keeps_what_it_hears();
    let door = behind_the_balancer(&server);
    let mut session = ControlConnection::open_from(BALANCER, door.address());
    session.send(format!("{}USER anonymous\r\nNOOP 1\r\n", header(CLIENT, &door)).as_bytes());
    let said: Vec<String> = (0..3).map(|_| session.line()).collect();
    assert_eq!(said, ["220 stub ready", "331 password please", "200 noop 1"]);
    session.expect("QUIT", "221");
    door.until_empty();
}

#[test]
fn a_real_server_is_told_who_the_client_is() {
    if !skip::unless_present("haproxy with accept-proxy", &["haproxy"]) {
        return;
    }
    for version in ["v1", "v2"] {
        let (server, _) = StubServer::that_keeps_what_it_hears();
        let haproxy = Haproxy::start("accept-proxy", server.address(), "");
        let mut setup = Setup::of(&[haproxy.address])
            .check("delay_loop = \"200ms\"\nretry = 0\ndelay_before_retry = \"200ms\"");
        setup.real_servers[0].2 = format!("send_proxy_protocol = \"{version}\"");
        let door = setup.start();
        let mut session = ControlConnection::open_from(CLIENT, door.address());
        assert!(session.line().starts_with("220 "), "{version}: {}", door.log());
        let client = session.stream().local_addr().unwrap();
        session.expect("USER anonymous", "331");
        session.expect("QUIT", "221");
        haproxy.until_logged(&format!("from {client} reached {}", door.address()));
        // The checks are the door's own connections.
        haproxy.until_logged("from 127.0.0.1:");
        assert_eq!(door.real_server("s1")["state"], "up", "{version}");
        assert_eq!(door.count("s1", "connect_failures"), 0, "{version}");
        door.until_empty();
    }
}

#[test]
fn what_one_load_balancer_says_is_handed_on_to_the_next() {
    if !skip::unless_present("haproxy on both sides", &["haproxy"]) {
        return;
    }
    let (server, _) = StubServer::that_keeps_what_it_hears();
    let behind = Haproxy::start("accept-proxy", server.address(), "");
    let mut setup =
        Setup::of(&[behind.address]).virtual_server(&format!("proxy_protocol_from = [\"{BALANCER}\"]"));
    setup.real_servers[0].2 = "send_proxy_protocol = \"v2\"".into();
    let door = setup.start();
    let in_front = Haproxy::start("", door.address(), "send-proxy");
    let mut session = ControlConnection::open_from(CLIENT, in_front.address);
    assert!(session.line().starts_with("220 "), "{}", door.log());
    let client = session.stream().local_addr().unwrap();
    session.expect("QUIT", "221");
    behind.until_logged(&format!("from {client} reached {}", in_front.address));
    // An address of the other family, and one that the door itself could not have.
    let mut of_v6 = ControlConnection::open_from(BALANCER, door.address());
    of_v6.send(b"PROXY TCP6 2001:db8::7 2001:db8::10 40000 2811\r\n");
    assert!(of_v6.line().starts_with("220 "), "{}", door.log());
    of_v6.expect("QUIT", "221");
    behind.until_logged("from 2001:db8::7:40000 reached 2001:db8::10:2811");
    door.until_empty();
}

/// What the server would take for a client's first command must never be sent to one that does not expect it.
#[test]
fn a_server_that_expects_no_header_is_passed_over_with_a_reason() {
    let surprised = StubServer::start(|connection| {
        let line = connection.raw_line()?;
        assert!(line.starts_with(b"PROXY "), "{line:?}");
        connection.say("500 what?\r\n")
    });
    let good = StubServer::start(Connection::serve);
    let mut setup = Setup::of(&[surprised.address(), good.address()]).virtual_server("lb_algo = \"rr\"");
    setup.real_servers[0].2 = "send_proxy_protocol = \"v1\"".into();
    let door = setup.start();
    for _ in 0..2 {
        drop(ControlConnection::greeted(door.address()));
    }
    door.until_logged(&["real server passed over", "s1", "it greets with 500 what?"]);
    door.until_empty();
}
