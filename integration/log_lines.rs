//! `--log json`: every line is one JSON object, whatever clients send and whatever goes wrong.

use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::control_connection::ControlConnection;
use crate::support::deadline;
use crate::support::door::program;
use crate::support::local_door::{Setup, unused_address};
use crate::support::process::Process;
use crate::support::stub_server::{Connection, StubServer};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// # Panics
/// When a line is none.
fn objects(text: &str) -> Vec<Value> {
    let object = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for field in ["timestamp", "level", "message"] {
            assert!(value[field].is_string(), "no {field}: {line}");
        }
        value
    };
    text.lines().map(object).collect()
}

fn fields(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn every_line_of_a_json_log_is_one_object_with_the_fields_of_its_kind() {
    let server = StubServer::start(Connection::serve);
    let directory = tempfile::tempdir().unwrap();
    let (file, address) = (directory.path().join("gridfront.toml"), unused_address());
    let setup = Setup::of(&[server.address()]).virtual_server("max_sessions = 2");
    std::fs::write(&file, setup.text(directory.path(), address)).unwrap();
    let run = || {
        let mut command = Command::new(program());
        command.args(["run", "--log", "json", "-c"]).arg(&file);
        command
    };
    let mut door = Process::spawn(run(), &directory.path().join("log"));
    deadline::until("a line that it has started", LIMIT, || {
        let text = door.output();
        if text.contains("\"started\"") { Ok(()) } else { Err(text) }
    })
    .unwrap();
    // Another that finds everything taken says so in the same form, and so does one with a bad configuration.
    let second = run().output().unwrap();
    assert!(!second.status.success());
    let said = objects(&String::from_utf8(second.stderr).unwrap());
    assert_eq!(said.last().map(|line| &line["level"]), Some(&"ERROR".into()), "{said:?}");
    let bad = directory.path().join("bad.toml");
    std::fs::write(&bad, "[global]\ncolour = \"\\u001b[31m\"\n").unwrap();
    let output = Command::new(program()).args(["run", "--log", "json", "-c"]).arg(&bad).output().unwrap();
    assert!(!output.status.success());
    let said = objects(&String::from_utf8(output.stderr).unwrap());
    assert!(
        said.iter().any(|line| line["message"].as_str().is_some_and(|text| text.contains("colour"))),
        "{said:?}"
    );

    let mut session = ControlConnection::greeted(address);
    session.send(b"USER j\"o\\e\x01\x1b[2J\xff\xc3\xa9 {\"level\":\"x\"}\r\n");
    assert!(session.line().starts_with("501") || session.line().starts_with("331"));
    session.expect("USER j\"o\\e\x01 {}", "331");
    session.expect("PASS x", "230");
    for path in [&b"/plain"[..], b"/a \"b\" \\ c", b"/\x1b[31mred\x7f", b"/\xc3\x28", b"/t\tab", b"{\"a\":1}"]
    {
        session.send(&[&b"RETR "[..], path, b"\r\n"].concat());
        assert_eq!(session.line(), "150 opening");
        assert_eq!(session.line(), "226 done");
    }
    let _second = ControlConnection::greeted(address);
    let mut third = ControlConnection::open(address);
    assert!(third.line().starts_with("421 "));
    drop(session);
    let ended = deadline::until("the end of a session", LIMIT, || {
        let text = door.output();
        if text.contains("session ended") && text.ends_with('\n') { Ok(()) } else { Err(text) }
    });
    ended.unwrap();
    door.signal(Signal::TERM);
    assert!(door.wait(LIMIT).is_some_and(|status| status.success()));

    let lines = objects(&door.output());
    let of = |message: &str| lines.iter().filter(|line| line["message"] == message).collect::<Vec<_>>();
    let transfers = of("transfer");
    assert_eq!(transfers.len(), 6);
    assert!(transfers.iter().all(|line| fields(line) == fields(transfers[0])), "{transfers:?}");
    assert_eq!(transfers[0]["path"], "/plain");
    assert_eq!(transfers[1]["path"], "/a \"b\" \\ c");
    for field in [
        "client",
        "virtual_server",
        "real_server",
        "user",
        "command",
        "data_path",
        "reason",
        "reply",
        "duration_ms",
    ] {
        assert!(!transfers[0][field].is_null(), "no {field}: {}", transfers[0]);
    }
    assert!(transfers[0]["reply"].is_u64() && transfers[0]["duration_ms"].is_u64(), "numbers are numbers");
    assert_eq!(of("session refused").len(), 1);
    assert!(!of("session ended").is_empty() && of("stopped").len() == 1);
}
