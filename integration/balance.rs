//! Who gets a session: held counts, weights, and servers that die and come back. Real servers, real connections.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::deadline;
use crate::support::door::{Configuration, Door};
use crate::support::grid::{PORT, PROGRAMS, REAL_SERVERS, Security, Servers, Site};
use crate::support::skip;

/// Checks of these tests: a dead server is known within some 2 s.
const QUICK_CHECKS: &str = "type = \"ftp\"\ndelay_loop = \"1s\"\nconnect_timeout = \"1s\"\nretry = 1\ndelay_before_retry = \"200ms\"";
/// For a check to notice; many times what it takes.
const NOTICE: Duration = Duration::from_secs(20);
/// For a reply through the door, a failover to another server included.
const REPLY: Duration = Duration::from_secs(15);

/// A control connection that is only held.
struct Held {
    reader: BufReader<TcpStream>,
}

impl Held {
    /// Connects as the client machine does and reads the greeting.
    fn open(site: &Site) -> Result<Self, String> {
        let address = SocketAddr::new(IpAddr::from(site.machine("door").v4()), PORT);
        let stream = site
            .machine("client")
            .enter(|| TcpStream::connect_timeout(&address, REPLY))
            .map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(REPLY)).expect("a time-out");
        let mut held = Self { reader: BufReader::new(stream) };
        let greeting = held.reply()?;
        if greeting.starts_with("220") { Ok(held) } else { Err(format!("greeted with {greeting:?}")) }
    }

    fn reply(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).map_err(|error| error.to_string())?;
        Ok(line)
    }

    fn command(&mut self, text: &str) -> Result<String, String> {
        self.reader
            .get_mut()
            .write_all(format!("{text}\r\n").as_bytes())
            .map_err(|error| error.to_string())?;
        self.reply()
    }
}

fn hold(site: &Site, count: usize) -> Vec<Held> {
    (0..count)
        .map(|number| Held::open(site).unwrap_or_else(|why| panic!("session {number}: {why}")))
        .collect()
}

/// A number of every real server's object in `status`.
fn numbers(door: &Door, field: &str) -> BTreeMap<String, u64> {
    let servers = door.real_servers().unwrap_or_else(|why| panic!("{why}\n{}", door.log_tail()));
    servers
        .into_iter()
        .map(|(_, name, server)| {
            (name, server[field].as_u64().unwrap_or_else(|| panic!("{field}: {server}")))
        })
        .collect()
}

fn state(door: &Door, name: &str) -> String {
    let servers = door.real_servers().unwrap_or_else(|why| panic!("{why}\n{}", door.log_tail()));
    let server = servers.into_iter().find(|(_, other, _)| other == name).expect("a configured server").2;
    server["state"].as_str().unwrap_or_default().to_owned()
}

fn until_state(door: &Door, name: &str, wanted: &str) {
    deadline::until(&format!("{name} {wanted}"), NOTICE, || {
        let state = state(door, name);
        if state == wanted { Ok(()) } else { Err(format!("it is {state}")) }
    })
    .unwrap_or_else(|why| panic!("{why}\n{}", door.log_tail()));
}

fn start(configuration: &Configuration, site: &Site) -> Door {
    Door::start(site, configuration).unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn ninety_held_sessions_are_thirty_on_each_of_three_equal_servers_and_none_when_closed() {
    if !skip::unless_present("held balance", PROGRAMS) {
        return;
    }
    let site = Site::start(Security::Anonymous, Servers::Three);
    let door =
        start(&Configuration::new(&site).virtual_server("gridftp", PORT, "").three(&site, PORT), &site);
    let held = hold(&site, 90);
    for (name, sessions) in numbers(&door, "sessions") {
        assert!((29..=31).contains(&sessions), "{name} holds {sessions} of 90");
    }
    drop(held);
    deadline::until("every session given back", REPLY, || {
        let left = numbers(&door, "sessions");
        if left.values().all(|sessions| *sessions == 0) { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .unwrap();
}

#[test]
fn weights_two_one_one_hold_sessions_two_one_one() {
    if !skip::unless_present("held balance by weight", PROGRAMS) {
        return;
    }
    let site = Site::start(Security::Anonymous, Servers::Three);
    let mut configuration = Configuration::new(&site).virtual_server("gridftp", PORT, "lb_algo = \"wlc\"");
    for (role, weight) in REAL_SERVERS.into_iter().zip([2, 1, 1]) {
        let address = site.machine(role).v4().to_string();
        configuration = configuration.real_server(role, &address, PORT, &format!("weight = {weight}"));
    }
    let door = start(&configuration, &site);
    let _held = hold(&site, 80);
    let sessions: Vec<u64> = numbers(&door, "sessions").into_values().collect();
    for (held, fair) in sessions.iter().zip([40, 20, 20]) {
        assert!(held.abs_diff(fair) <= 1, "{sessions:?} of 80");
    }
}

#[test]
fn a_killed_server_costs_no_new_client_an_error_gets_nothing_while_down_and_comes_back_by_itself() {
    if !skip::unless_present("a killed real server", PROGRAMS) {
        return;
    }
    let mut site = Site::start(Security::Anonymous, Servers::Three);
    let configuration =
        Configuration::new(&site).virtual_server("gridftp", PORT, "").check(QUICK_CHECKS).three(&site, PORT);
    let door = start(&configuration, &site);

    // Sessions of the server that dies are told so; the others do not notice.
    let mut held = hold(&site, 6);
    assert_eq!(numbers(&door, "sessions")["s2"], 2);
    site.kill("s2");
    // At once, before any check: refused connections go on to another server.
    let survivors = hold(&site, 12);
    let answers: Vec<String> =
        held.iter_mut().map(|session| session.command("NOOP").unwrap_or_else(|error| error)).collect();
    let ended = answers.iter().filter(|answer| answer.starts_with("421") || answer.is_empty()).count();
    let alive = answers.iter().filter(|answer| answer.starts_with("200")).count();
    assert_eq!((ended, alive), (2, 4), "{answers:?}");
    drop(held);

    until_state(&door, "s2", "down");
    let before = numbers(&door, "total_sessions")["s2"];
    let refused = numbers(&door, "connect_failures")["s2"];
    let more = hold(&site, 12);
    assert_eq!(numbers(&door, "total_sessions")["s2"], before, "a server that is down got a session");
    assert_eq!(numbers(&door, "connect_failures")["s2"], refused, "a server that is down was tried");

    site.restart("s2");
    until_state(&door, "s2", "up");
    let last = Held::open(&site).unwrap();
    assert_eq!(
        numbers(&door, "total_sessions")["s2"],
        before + 1,
        "the server with the least sessions gets the next"
    );
    assert_eq!(numbers(&door, "sessions")["s2"], 1, "its dead sessions were given back");
    drop((survivors, more, last));
}

#[test]
fn a_frozen_server_that_accepts_and_never_greets_is_passed_over() {
    if !skip::unless_present("a frozen real server", PROGRAMS) {
        return;
    }
    let site = Site::start(Security::Anonymous, Servers::Three);
    let configuration = Configuration::new(&site)
        .virtual_server("gridftp", PORT, "greeting_timeout = \"1s\"")
        .check(QUICK_CHECKS)
        .three(&site, PORT);
    let door = start(&configuration, &site);
    site.freeze("s1");
    let held = hold(&site, 6);
    assert_eq!(numbers(&door, "sessions")["s1"], 0);
    until_state(&door, "s1", "down");
    site.resume("s1");
    until_state(&door, "s1", "up");
    drop(held);
}
