//! The admin socket: who may use it, what it says, and what a client of it cannot do.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::control_connection::ControlConnection;
use crate::support::deadline::Stopwatch;
use crate::support::local_door::{LocalDoor, Setup};
use crate::support::stub_server::{Connection, StubServer};

fn connect(door: &LocalDoor) -> UnixStream {
    let stream = UnixStream::connect(door.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

#[test]
fn the_socket_and_its_lock_are_for_the_owner_alone() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).start();
    for file in [door.socket(), door.socket().with_extension("sock.lock")] {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

#[test]
fn status_shows_every_documented_key() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).start();
    let mut session = ControlConnection::logged_in(door.address());
    session.expect("TYPE I", "200");
    session.expect("PASV", "227");
    session.expect("RETR /file", "150");
    assert_eq!(session.line(), "226 done");
    door.until("the first check", |_| door.count("s1", "checks_passed") == 1);
    let mut status = door.status();
    let of_server = "/virtual_servers/0/real_servers/0";
    for time in ["check/ago_s", "check/ms", "check_ms_mean"] {
        let value = status.pointer_mut(&format!("{of_server}/{time}")).unwrap_or_else(|| panic!("no {time}"));
        assert!(value.is_number(), "{time}: {value}");
        *value = Value::Null;
    }
    for (pointer, is_right) in [
        ("/pid", (|value| value.is_u64()) as fn(&Value) -> bool),
        ("/uptime_s", |value| value.is_u64()),
        ("/version", |value| value.as_str() == Some(env!("CARGO_PKG_VERSION"))),
    ] {
        let value = status.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}"));
        assert!(is_right(value), "{pointer}: {value}");
        *value = Value::Null;
    }
    let real_server = json!({
        "name": "s1", "address": server.address().to_string(), "weight": 1, "state": "up",
        "configured_weight": 1, "effective_weight": 1, "drain": null,
        "slow_start_percent": null, "ejected": null, "ejections": 0,
        "check": { "result": "passed", "found": "220 stub ready", "ago_s": null, "ms": null },
        "checks_passed": 1, "checks_failed": 0, "checks_busy": 0, "check_ms_mean": null,
        "since_s": null, "reason": null, "sessions": 1, "total_sessions": 1, "connect_failures": 0,
        "busy": 0, "logins": 1, "login_failures": 0, "gsi_logins": 0, "gsi_failures": 0,
        "handshake_ms_mean": null, "handshake_ms_max": null, "transfers": 1, "transfer_failures": 0,
        "relayed_transfers": 0, "relayed_bytes_in": 0, "relayed_bytes_out": 0, "data_failures": 0,
        "certificate": null,
    });
    let mut expected = json!({
        "version": null, "pid": null, "uptime_s": null, "sessions": 1, "log_lines_lost": 0, "panics": 0,
        "configuration": { "loaded_s": 0, "refused": null },
        "names": [],
        "virtual_servers": [{
            "name": "gridftp", "addresses": [door.address().to_string()],
            "lb_algo": "wlc", "data_path": "direct", "sessions": 1,
            "proxy_header_failures": 0,
            "data_paths": [{ "data_path": "direct", "reason": "configured", "transfers": 1 }],
            "relay": {
                "ports_in_use": 0, "ports_exhausted": 0, "strangers_refused": 0, "connections_refused": 0,
            },
            "real_servers": [real_server], "removed": false,
        }],
    });
    expected["virtual_servers"][0]["admittance"] = json!({
        "refused": {}, "banned": 0, "bans": 0, "uncounted": 0, "denied_commands": 0, "queue": null,
    });
    expected["virtual_servers"][0]["quorum"] =
        json!({ "quorum": 1, "hysteresis": 0, "weight": 1, "there": true, "since_s": null });
    expected["virtual_servers"][0]["sorry_server"] = Value::Null;
    // Where GSI ends at the door.
    expected["virtual_servers"][0]["gsi"] = Value::Null;
    expected["gsi_keys"] = Value::Null;
    // Of VRRP.
    expected["vrrp"] = json!([]);
    expected["ownership"] = Value::Null;
    // Of the kernel path.
    expected["virtual_servers"][0]["forwarding"] = "proxy".into();
    expected["virtual_servers"][0]["served_by"] = "door".into();
    expected["virtual_servers"][0]["why_not_kernel"] = Value::Null;
    expected["forwarding"] = Value::Null;
    assert_eq!(keys(&status), keys(&expected));
    assert_eq!(status["virtual_servers"][0]["real_servers"], expected["virtual_servers"][0]["real_servers"]);
    drop(session);
    door.until_empty();
}

/// Every path in a value, sorted.
fn keys(value: &Value) -> Vec<String> {
    fn walk(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, inner)| {
                found.push(format!("{path}/{key}"));
                walk(inner, &format!("{path}/{key}"), found);
            }),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(index, inner)| walk(inner, &format!("{path}/{index}"), found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(value, "", &mut found);
    found.sort();
    found
}

#[test]
fn questions_that_are_none_get_an_error_and_the_daemon_goes_on() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).start();
    let endless = [b'x'; 100_000];
    let questions: [&[u8]; 6] = [
        b"\n",
        b"what?\n",
        b"{\"command\":\"reboot\"}\n",
        b"{\"command\":\"status\",\"more\":1}\n",
        b"\xff\xfe\n",
        &endless,
    ];
    for question in questions {
        let mut stream = connect(&door);
        // It may hang up before it has taken all of a question that is too long.
        let _ = stream.write_all(question);
        let mut answer = String::new();
        let shown = String::from_utf8_lossy(&question[..question.len().min(40)]);
        match BufReader::new(&stream).read_line(&mut answer) {
            Ok(_) => assert!(answer.is_empty() || answer.starts_with("{\"error\":"), "{shown}: {answer}"),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{shown}");
            }
        }
    }
    door.status();
}

#[test]
fn clients_of_the_socket_that_say_nothing_hold_up_nobody() {
    let server = StubServer::start(Connection::serve);
    let door = Setup::of(&[server.address()]).start();
    let mut silent: Vec<UnixStream> = (0..4).map(|_| connect(&door)).collect();
    let half = connect(&door);
    (&half).write_all(b"{\"comm").unwrap();
    let watch = Stopwatch::start();
    door.status();
    let elapsed = watch.elapsed();
    assert!(elapsed < Duration::from_secs(2), "an answer took {elapsed:?}");
    // They are cut off in the end.
    let mut bytes = Vec::new();
    silent[0].read_to_end(&mut bytes).unwrap();
}

#[test]
fn status_of_no_daemon_says_what_to_do() {
    let server = StubServer::start(Connection::serve);
    let mut door = Setup::of(&[server.address()]).start();
    door.signal(rustix::process::Signal::TERM);
    door.wait(Duration::from_secs(10)).expect("it ends");
    let why = door.try_status().unwrap_err();
    assert!(why.contains("no daemon answers there") && why.contains("gridfront run"), "{why}");
}
