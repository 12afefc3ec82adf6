//! The transfer log beside that of a real Globus server, over its rotation, and without a disk.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::certificates::set_mode;
use crate::support::control_connection::ControlConnection;
use crate::support::deadline;
use crate::support::http_client::{get, start_with_http};
use crate::support::local_door::{Setup, unused_address};
use crate::support::process::Process;
use crate::support::seeded::content;
use crate::support::skip;
use crate::support::stub_server::{Connection, StubServer};

const LIMIT: Duration = Duration::from_secs(20);

fn setup(servers: &[SocketAddr], log: &Path) -> Setup {
    let setup = Setup::of(servers);
    let keys = format!("{}\nrouter_id = \"lb1\"\ntransfer_log = \"{}\"", setup.global, log.display());
    setup.global(&keys)
}

fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn until_lines(file: &Path, count: usize) -> Vec<String> {
    deadline::until(&format!("{count} lines in {}", file.display()), LIMIT, || {
        let lines = lines(file);
        if lines.len() >= count { Ok(lines) } else { Err(format!("{lines:?}")) }
    })
    .unwrap()
}

/// Names and values, in order. None of these has a blank inside.
fn fields(line: &str) -> Vec<(&str, &str)> {
    line.split(' ')
        .map(|field| field.split_once('=').unwrap_or_else(|| panic!("{field:?} in {line}")))
        .collect()
}

fn retrieve(session: &mut ControlConnection, path: &str) {
    session.expect(&format!("RETR {path}"), "150");
    assert_eq!(session.line(), "226 done");
}

#[test]
fn a_line_tells_of_a_transfer_what_the_globus_server_behind_the_door_tells() {
    if !skip::unless_present(
        "the transfer log of a Globus server",
        &["globus-gridftp-server", "curl", "globus-url-copy"],
    ) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    set_mode(directory.path(), 0o755);
    let data = directory.path().join("data");
    std::fs::create_dir(&data).unwrap();
    set_mode(&data, 0o777);
    std::fs::write(data.join("down"), content(1, 200_000)).unwrap();
    std::fs::write(directory.path().join("up"), content(2, 100_000)).unwrap();
    let (theirs, ours) = (directory.path().join("globus.log"), directory.path().join("transfer.log"));
    std::fs::write(&theirs, "").unwrap();
    set_mode(&theirs, 0o666);
    let address = unused_address();
    let mut command = Command::new("globus-gridftp-server");
    command.args(["-aa", "-anonymous-user", "nobody", "-control-interface", "127.0.0.1", "-p"]);
    command.arg(address.port().to_string()).args(["-data-interface", "127.0.0.1", "-home-dir"]).arg(&data);
    command.arg("-Z").arg(&theirs);
    let _server = Process::spawn(command, &directory.path().join("out"));
    let address = SocketAddr::from(([127, 0, 0, 1], address.port()));
    deadline::until("a Globus server", LIMIT, || {
        std::net::TcpStream::connect(address)
            .map(|stream| drop(ControlConnection::over(stream)))
            .map_err(|error| error.to_string())
    })
    .unwrap();
    let keys = "data_path = \"auto\"\nrelay_ports = \"40700-40799\"";
    let door = setup(&[address], &ours).virtual_server(keys).start();
    let url = format!("ftp://{}/{}", door.address(), data.display());
    let here = directory.path().display();
    let runs: [(&str, Vec<String>); 4] = [
        (
            "curl",
            vec![
                "-sS".into(),
                "--ftp-method".into(),
                "nocwd".into(),
                "-o".into(),
                "c1".into(),
                format!("{url}/down"),
            ],
        ),
        (
            "curl",
            vec![
                "-sS".into(),
                "--ftp-method".into(),
                "nocwd".into(),
                "-T".into(),
                "up".into(),
                format!("{url}/c2"),
            ],
        ),
        ("globus-url-copy", vec![format!("{url}/down"), format!("file://{here}/g1")]),
        ("globus-url-copy", vec!["-p".into(), "2".into(), format!("file://{here}/up"), format!("{url}/g2")]),
    ];
    for (number, (client, words)) in runs.into_iter().enumerate() {
        let mut command = Command::new(client);
        command.args(&words).current_dir(directory.path()).env_remove("ftp_proxy").env_remove("all_proxy");
        let mut process = Process::spawn(command, &directory.path().join("client"));
        assert!(
            process.wait(LIMIT).is_some_and(|status| status.success()),
            "{words:?}: {}\n{}",
            process.output(),
            door.log()
        );
        // In step, so that both logs have the same order.
        until_lines(&theirs, number + 1);
        until_lines(&ours, number + 1);
    }
    let (of_server, of_door) = (lines(&theirs), lines(&ours));
    assert_eq!((of_server.len(), of_door.len()), (4, 4), "{of_server:?}\n{of_door:?}");
    let mut paths = Vec::new();
    for (their_line, our_line) in of_server.iter().zip(&of_door) {
        let (theirs, ours) = (fields(their_line), fields(our_line));
        let names =
            |fields: &[(&str, &str)]| fields.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
        // Behind TASKID each has its own.
        assert_eq!(names(&theirs)[..17], names(&ours)[..17], "{their_line}\n{our_line}");
        assert_eq!(names(&ours)[16..], ["TASKID", "data_path"]);
        let value = |name: &str| ours.iter().find(|field| field.0 == name).map(|field| field.1);
        for ((name, their_value), (_, our_value)) in theirs.iter().zip(&ours).take(17) {
            match *name {
                "DATE" | "START" => {
                    let form = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "9");
                    assert_eq!(form(their_value), form(our_value));
                    // The same moment, to the second or the next.
                    let second = |text: &str| text[..14].parse::<i64>().unwrap();
                    assert!(
                        (second(their_value) - second(our_value)).abs() <= 1
                            || their_value[..10] != our_value[..10],
                        "{their_line}\n{our_line}"
                    );
                }
                "HOST" => assert_eq!(*our_value, "lb1"),
                "PROG" => assert_eq!(*our_value, "gridfront"),
                "BUFFER" | "BLOCK" => assert_eq!(*our_value, "0"),
                "STREAMS" => assert_eq!(*our_value, "1"),
                "DEST" => assert!(our_value.starts_with("[127.") && our_value.ends_with(']'), "{our_line}"),
                "NBYTES" if value("data_path") == Some("direct") => assert_eq!(*our_value, "0"),
                _ => assert_eq!(their_value, our_value, "{name}:\n{their_line}\n{our_line}"),
            }
        }
        paths.push(value("data_path").unwrap());
    }
    assert_eq!(paths, ["relay", "relay", "direct", "direct"]);
}

#[test]
fn a_log_that_is_rotated_goes_on_under_its_name_and_loses_nothing() {
    let server = StubServer::start(Connection::serve);
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("transfer.log");
    let (door, http) = start_with_http(setup(&[server.address()], &log));
    let mut session = ControlConnection::logged_in(door.address());
    let mut files = Vec::new();
    for round in 0..5 {
        for number in 0..20 {
            retrieve(&mut session, &format!("/{round}/{number}"));
        }
        until_lines(&log, 1);
        let rotated = directory.path().join(format!("transfer.log.{round}"));
        std::fs::rename(&log, &rotated).unwrap();
        files.push(rotated);
    }
    retrieve(&mut session, "/last");
    files.push(log.clone());
    deadline::until("the last line", LIMIT, || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        if text.contains("FILE=/last ") { Ok(()) } else { Err(text) }
    })
    .unwrap();
    let written: Vec<String> = files.iter().flat_map(|file| lines(file)).collect();
    assert_eq!(written.len(), 101);
    let paths: Vec<&str> = written.iter().map(|line| fields(line)[6].1).collect();
    let expected: Vec<String> =
        (0..100).map(|number| format!("/{}/{}", number / 20, number % 20)).chain(["/last".into()]).collect();
    assert_eq!(paths, expected);
    assert!(get(http, "/metrics").body.contains("\ngridfront_transfer_log_lines_lost_total 0\n"));
    drop(session);
    door.until_empty();
}

#[test]
fn a_full_disk_loses_counted_lines_and_stops_nobody() {
    let server = StubServer::start(Connection::serve);
    let (door, http) = start_with_http(setup(&[server.address()], Path::new("/dev/full")));
    let mut session = ControlConnection::logged_in(door.address());
    for number in 0..50 {
        retrieve(&mut session, &format!("/{number}"));
    }
    let expected = "\ngridfront_transfer_log_lines_lost_total 50\n";
    deadline::until("50 lost lines", LIMIT, || {
        let page = get(http, "/metrics").body;
        if page.contains(expected) { Ok(()) } else { Err(page) }
    })
    .unwrap();
    door.until_logged(&["cannot write the transfer log", "/dev/full"]);
    retrieve(&mut session, "/one more");
    drop(session);
    door.until_empty();
}

#[test]
fn a_file_that_cannot_be_opened_is_a_start_that_fails_and_says_so() {
    let server = StubServer::start(Connection::serve);
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing/transfer.log");
    let file = directory.path().join("gridfront.toml");
    std::fs::write(&file, setup(&[server.address()], &missing).text(directory.path(), unused_address()))
        .unwrap();
    let output = crate::support::local_door::run_command(&file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains(&format!("{}: ", missing.display())) && text.contains("`transfer_log`"), "{text}");
}

/// Lines that were still in the buffer when the door ended are written.
#[test]
fn the_last_transfers_before_the_end_are_in_the_file() {
    let server = StubServer::start(Connection::serve);
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("transfer.log");
    let mut door = setup(&[server.address()], &log).start();
    let mut session = ControlConnection::logged_in(door.address());
    for number in 0..10 {
        retrieve(&mut session, &format!("/{number}"));
    }
    session.expect("QUIT", "221");
    door.signal(rustix::process::Signal::TERM);
    assert!(door.wait(LIMIT).is_some_and(|status| status.success()));
    assert_eq!(lines(&log).len(), 10);
}
