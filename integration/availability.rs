//! Real servers that go, come back, or take nobody for a while: clients do not notice, and `status` says what is.

mod ejection;
mod globus;
mod last_resort;
mod slow_start;

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use serde_json::Value;

use crate::support::control_connection::ControlConnection;
use crate::support::deadline;
use crate::support::door::{Configuration, Door};
use crate::support::grid::{PORT, PROGRAMS, Security, Servers, Site, name_of, path_text};
use crate::support::process::Process;
use crate::support::skip;

/// A dead server is known within some 2 s.
const QUICK: &str =
    "delay_loop = \"500ms\"\nconnect_timeout = \"1s\"\nretry = 1\ndelay_before_retry = \"200ms\"";
/// For a check to notice, or clients to get so far; many times what it takes.
const NOTICE: Duration = Duration::from_secs(20);
/// Where the servers of these tests listen besides those of the site.
const OTHER_PORT: u16 = 2911;

fn connect(site: &Site, port: u16) -> ControlConnection {
    let address = SocketAddr::new(IpAddr::from(site.machine("door").v4()), port);
    let client = site.machine("client");
    let stream = client.enter(|| TcpStream::connect_timeout(&address, NOTICE)).expect("the door listens");
    ControlConnection::over(stream)
}

fn server(door: &Door, name: &str) -> Value {
    let servers = door.real_servers().unwrap_or_else(|why| panic!("{why}\n{}", door.log_tail()));
    servers.into_iter().find(|(_, other, _)| other == name).expect("a configured server").2
}

fn until(door: &Door, what: &str, name: &str, probe: impl Fn(&Value) -> bool) {
    deadline::until(&format!("{name}: {what}"), NOTICE, || {
        let server = server(door, name);
        if probe(&server) { Ok(()) } else { Err(server.to_string()) }
    })
    .unwrap_or_else(|why| panic!("{why}\n{}", door.log_tail()));
}

#[test]
fn clients_that_connect_all_the_time_see_nothing_of_a_server_that_is_killed_and_started_again() {
    if !skip::unless_present("a server killed under load", PROGRAMS) {
        return;
    }
    let mut site = Site::start(Security::Anonymous, Servers::Three);
    let configuration = Configuration::new(&site)
        .virtual_server("gridftp", PORT, "")
        .check(&format!("type = \"ftp\"\n{QUICK}"))
        .three(&site, PORT);
    let door = Door::start(&site, &configuration).unwrap_or_else(|why| panic!("{why}"));
    let address = SocketAddr::new(IpAddr::from(site.machine("door").v4()), PORT);
    let client = site.machine("client").clone();
    let (stop, greeted, errors) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let keep_connecting = || {
        client.enter(|| {
            while !stop.load(SeqCst) {
                let mut session = ControlConnection::open(address);
                match session.try_line() {
                    Ok(line) if line.starts_with("220 ") => {
                        greeted.fetch_add(1, SeqCst);
                    }
                    other => errors.lock().unwrap().push(format!("{other:?}")),
                }
                session.send(b"QUIT\r\n");
                // The server may die now, which is another matter.
                let _ = session.try_line();
            }
        });
    };
    let more = |count: usize| {
        let wanted = greeted.load(SeqCst) + count;
        deadline::until("more sessions", NOTICE, || {
            let so_far = greeted.load(SeqCst);
            if so_far >= wanted { Ok(()) } else { Err(format!("{so_far} of {wanted}")) }
        })
    };
    std::thread::scope(|scope| {
        let clients =
            [scope.spawn(keep_connecting), scope.spawn(keep_connecting), scope.spawn(keep_connecting)];
        let course = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            more(30).unwrap();
            site.kill("s2");
            until(&door, "down", "s2", |server| server["state"] == "down");
            let reason = server(&door, "s2")["reason"].as_str().unwrap_or_default().to_owned();
            assert!(reason.contains("connect"), "{reason}");
            let before = server(&door, "s2");
            more(30).unwrap();
            let after = server(&door, "s2");
            for counter in ["total_sessions", "connect_failures"] {
                assert_eq!(before[counter], after[counter], "a server that is down was used");
            }
            site.restart("s2");
            until(&door, "up", "s2", |server| server["state"] == "up");
            until(&door, "sessions again", "s2", |server| {
                server["total_sessions"].as_u64() > before["total_sessions"].as_u64()
            });
        }));
        stop.store(true, SeqCst);
        for client in clients {
            client.join().unwrap();
        }
        if let Err(panic) = course {
            std::panic::resume_unwind(panic);
        }
    });
    let errors = errors.into_inner().unwrap();
    assert!(errors.is_empty(), "{} of {}: {errors:?}", errors.len(), greeted.load(SeqCst));
    until(&door, "all given back", "s2", |server| server["sessions"] == 0);
}

#[test]
fn a_tcp_check_finds_a_server_gone_and_back() {
    if !skip::unless_present("tcp checks", PROGRAMS) {
        return;
    }
    let mut site = Site::start(Security::Anonymous, Servers::Three);
    let configuration = Configuration::new(&site)
        .virtual_server("gridftp", PORT, "")
        .check(&format!("type = \"tcp\"\n{QUICK}"))
        .three(&site, PORT);
    let door = Door::start(&site, &configuration).unwrap_or_else(|why| panic!("{why}"));
    site.kill("s3");
    until(&door, "down", "s3", |server| server["state"] == "down");
    assert_eq!(server(&door, "s1")["state"], "up");
    site.restart("s3");
    until(&door, "up", "s3", |server| server["state"] == "up");
}

/// One more server on a machine of the site, with lines of its own in its configuration.
fn start_another(site: &Site, role: &str, settings: &str) -> Process {
    let configuration = site.scratch("another.conf");
    let root = path_text(site.directory());
    let text = format!(
        "port {OTHER_PORT}\nlog_level ERROR,WARN\nlog_single \"{root}/log/another.log\"\nhome_dir \"{root}/data\"\n\
         allow_anonymous 1\nanonymous_user nobody\nallow_disabled_login 1\n{settings}\n"
    );
    std::fs::write(&configuration, text).unwrap();
    let mut command = site.machine(role).command(Some(&site.hosts_file()), "globus-gridftp-server");
    command.arg("-c").arg(configuration).env("GLOBUS_HOSTNAME", name_of(role));
    let process = Process::spawn(command, &site.directory().join("log/another.out"));
    let machine = site.machine(role);
    let address = SocketAddr::new(IpAddr::from(machine.v4()), OTHER_PORT);
    deadline::until("another server", NOTICE, || {
        machine.enter(|| TcpStream::connect(address)).map_err(|error| error.to_string())
    })
    .map(ControlConnection::over)
    .unwrap()
    .line();
    process
}

/// A virtual server of s1 on its usual port, and of `s4`, which is the other server on the machine of s2.
fn with_another(site: &Site) -> Door {
    let [one, other] = ["s1", "s2"].map(|role| site.machine(role).v4().to_string());
    let configuration = Configuration::new(site)
        .virtual_server("gridftp", PORT, "lb_algo = \"rr\"")
        .check(&format!("type = \"ftp\"\n{QUICK}"))
        .real_server("s1", &one, PORT, "")
        .real_server("s4", &other, OTHER_PORT, "");
    Door::start(site, &configuration).unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn a_server_disabled_by_its_admin_is_busy_not_down_and_clients_go_to_another() {
    if !skip::unless_present("a disabled server", PROGRAMS) {
        return;
    }
    let site = Site::start(Security::Anonymous, Servers::Three);
    let _disabled = start_another(&site, "s2", "connections_disabled 1\noffline_msg \"Down for cleaning.\"");
    let door = with_another(&site);
    for _ in 0..6 {
        let mut session = connect(&site, PORT);
        assert!(session.line().starts_with("220 "));
    }
    until(&door, "busy", "s4", |server| server["state"] == "busy");
    let disabled = server(&door, "s4");
    assert!(disabled["busy"].as_u64() >= Some(2), "{disabled}");
    assert_eq!((&disabled["connect_failures"], &disabled["total_sessions"]), (&0.into(), &0.into()));
    assert!(door.log().contains("Down for cleaning."), "{}", door.log_tail());
}

#[test]
fn a_server_at_its_own_limit_is_passed_over_until_it_has_room() {
    if !skip::unless_present("a server at its limit", PROGRAMS) {
        return;
    }
    let site = Site::start(Security::Anonymous, Servers::Three);
    let _limited = start_another(&site, "s2", "connections_max 1");
    let machine = site.machine("s2");
    let address = SocketAddr::new(IpAddr::from(machine.v4()), OTHER_PORT);
    // The one that it takes comes from elsewhere; another guest may be leaving still.
    let guest = deadline::until("the only place", NOTICE, || {
        let stream = machine.enter(|| TcpStream::connect(address)).map_err(|error| error.to_string())?;
        let mut guest = ControlConnection::over(stream);
        let line = guest.line();
        if line.starts_with("220 ") { Ok(guest) } else { Err(line) }
    })
    .unwrap();
    let door = with_another(&site);
    for _ in 0..6 {
        let mut session = connect(&site, PORT);
        assert!(session.line().starts_with("220 "));
    }
    until(&door, "busy", "s4", |server| server["state"] == "busy");
    assert_eq!(server(&door, "s4")["total_sessions"], 0);
    drop(guest);
    deadline::until("a session on s4", NOTICE, || {
        let mut session = connect(&site, PORT);
        assert!(session.line().starts_with("220 "));
        let server = server(&door, "s4");
        if server["total_sessions"].as_u64() >= Some(1) { Ok(()) } else { Err(server.to_string()) }
    })
    .unwrap();
}
