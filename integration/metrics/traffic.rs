//! Real clients and a real server, and then exactly these numbers.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::scrape::Scrape;
use crate::support::control_connection::ControlConnection;
use crate::support::deadline;
use crate::support::http_client::{get, start_with_http};
use crate::support::local_door::{Setup, unused_address};
use crate::support::local_server::LocalServer;
use crate::support::other_servers::PYTHON;
use crate::support::process::Process;
use crate::support::seeded::content;
use crate::support::skip;

const PROGRAMS: &[&str] =
    &["curl", "globus-url-copy", PYTHON, "/usr/lib/python3/dist-packages/pyftpdlib/__init__.py", "promtool"];
/// A transfer takes 0.1 s here.
const LIMIT: Duration = Duration::from_secs(30);
const SIZE: usize = 300_000;

/// Name, labels, value.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

fn run(program: &str, words: &[&str], directory: &std::path::Path) -> bool {
    let mut command = Command::new(program);
    command.args(words).current_dir(directory);
    for name in ["http_proxy", "ftp_proxy", "all_proxy", "HTTP_PROXY", "FTP_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
    }
    let mut process = Process::spawn(command, &directory.join("output"));
    let status = process.wait(LIMIT).unwrap_or_else(|| panic!("{program} {words:?}: {}", process.output()));
    status.success()
}

#[test]
fn after_real_transfers_every_counter_has_its_exact_value() {
    if !skip::unless_present("exact counters", PROGRAMS) {
        return;
    }
    let server = LocalServer::pyftpdlib();
    std::fs::write(server.file("down"), content(1, SIZE)).unwrap();
    let nobody: SocketAddr = unused_address();
    let mut setup = Setup::of(&[server.address()]).virtual_server(
        "data_path = \"auto\"\nrelay_ports = \"40600-40699\"\nmax_sessions = 3\nlb_algo = \"wlc\"",
    );
    // The second server refuses every connection, and each session that is sent there goes on to the first.
    setup.real_servers.push(("s2".into(), nobody, "weight = 1".into()));
    let (door, http) = start_with_http(setup);
    let url = format!("ftp://{}/", door.address());
    let here = door.directory();
    std::fs::write(here.join("up"), content(2, SIZE)).unwrap();
    // One after the other, each with all given back before the next.
    let alone = |program: &str, words: &[&str]| {
        let done = run(program, words, here);
        door.until_empty();
        done
    };
    assert!(
        alone("globus-url-copy", &[&format!("{url}down"), &format!("file://{}/g1", here.display())]),
        "{}",
        door.log()
    );
    assert!(
        alone("globus-url-copy", &[&format!("file://{}/up", here.display()), &format!("{url}g2")]),
        "{}",
        door.log()
    );
    assert!(alone("curl", &["-sS", "-o", "c1", &format!("{url}down")]), "{}", door.log());
    assert!(alone("curl", &["-sS", "-T", "up", &format!("{url}c2")]), "{}", door.log());
    assert!(alone("curl", &["-sS", "-o", "c3", &url]), "{}", door.log());
    assert!(!alone("curl", &["-sS", "-o", "c4", &format!("{url}missing")]), "a file that is not there");
    assert!(
        !alone("curl", &["-sS", "-u", "joe:wrong", "-o", "c5", &format!("{url}down")]),
        "a wrong password"
    );
    for (file, from) in [("g1", 1), ("c1", 1)] {
        assert!(std::fs::read(here.join(file)).unwrap() == content(from, SIZE), "{file}");
    }
    for file in ["g2", "c2"] {
        assert!(std::fs::read(server.file(file)).unwrap() == content(2, SIZE), "{file}");
    }
    // Three are inside.
    let held: Vec<_> = (0..3).map(|_| ControlConnection::logged_in(door.address())).collect();
    let mut refused = ControlConnection::open(door.address());
    assert!(refused.line().starts_with("421 "));
    let page = Scrape::of(http);
    assert_eq!(page.value("gridfront_sessions", &[]), 3.0);
    assert_eq!(page.value("gridfront_control_connections", &[]), 3.0);
    assert_eq!(page.value("gridfront_max_sessions", &[]), 3.0);
    assert_eq!(page.value("gridfront_real_server_active_sessions", &[("real_server", "s1")]), 3.0);
    drop((held, refused));
    door.until_empty();

    // A session is counted as ended a moment before it is given back.
    let page = deadline::until("all sessions ended", LIMIT, || {
        let page = Scrape::of(http);
        let ended = page.sum("gridfront_sessions_ended_total", &[]);
        if ended >= 10.0 { Ok(page) } else { Err(format!("{ended} of 10")) }
    })
    .unwrap();
    // The log comes behind.
    let log = deadline::until("the log of ten sessions", LIMIT, || {
        let log = door.log();
        if log.matches("session ended").count() == 10 { Ok(log) } else { Err(log) }
    })
    .unwrap();
    let passed_over =
        log.lines().filter(|line| line.contains("passed over") && line.contains("\"s2\"")).count();
    assert!(passed_over > 0, "{log}");
    let passed_over = passed_over as f64;
    // The lines of a listing end in CR LF on the wire, and in LF where curl has put them.
    let listing = std::fs::read(here.join("c3")).unwrap();
    let listing = listing.len() + listing.iter().filter(|&&byte| byte == b'\n').count();
    let (s1, s2) = (("real_server", "s1"), ("real_server", "s2"));
    let size = SIZE as f64;
    let transfers =
        |direction, path, outcome| [s1, ("direction", direction), ("data_path", path), ("outcome", outcome)];
    let table: &[Row] = &[
        ("gridfront_real_server_up", &[s1], 1.0),
        ("gridfront_real_server_up", &[s2], 1.0),
        ("gridfront_real_server_sessions_total", &[s1], 10.0),
        ("gridfront_real_server_sessions_total", &[s2], 0.0),
        ("gridfront_real_server_connect_failures_total", &[s1], 0.0),
        ("gridfront_real_server_connect_failures_total", &[s2], passed_over),
        ("gridfront_sessions_refused_total", &[("reason", "max_sessions reached")], 1.0),
        ("gridfront_logins_total", &[s1, ("method", "password"), ("outcome", "success")], 9.0),
        ("gridfront_logins_total", &[s1, ("method", "password"), ("outcome", "failure")], 1.0),
        ("gridfront_logins_total", &[s1, ("method", "gsi"), ("outcome", "success")], 0.0),
        ("gridfront_login_duration_seconds_count", &[s1, ("method", "password")], 9.0),
        ("gridfront_login_duration_seconds_bucket", &[s1, ("method", "password"), ("le", "+Inf")], 9.0),
        ("gridfront_transfers_total", &transfers("out", "direct", "complete"), 1.0),
        ("gridfront_transfers_total", &transfers("in", "direct", "complete"), 1.0),
        ("gridfront_transfers_total", &transfers("out", "relay", "complete"), 1.0),
        ("gridfront_transfers_total", &transfers("in", "relay", "complete"), 1.0),
        ("gridfront_transfers_total", &transfers("listing", "relay", "complete"), 1.0),
        ("gridfront_relayed_bytes_total", &[s1, ("direction", "in")], size),
        ("gridfront_relayed_bytes_total", &[s1, ("direction", "out")], size + listing as f64),
        (
            "gridfront_data_path_choices_total",
            &[("data_path", "direct"), ("reason", "the client follows announced addresses")],
            2.0,
        ),
        (
            "gridfront_data_path_choices_total",
            &[("data_path", "relay"), ("reason", "the client may not follow announced addresses")],
            3.0,
        ),
        ("gridfront_relay_ports_in_use", &[], 0.0),
        ("gridfront_relay_ports_available", &[], 100.0),
        ("gridfront_relay_ports_exhausted_total", &[], 0.0),
        ("gridfront_commands_total", &[("class", "upload")], 2.0),
        ("gridfront_commands_total", &[("class", "listing")], 1.0),
        ("gridfront_sessions", &[], 0.0),
        ("gridfront_panics_total", &[], 0.0),
        ("gridfront_draining", &[], 0.0),
    ];
    for (name, labels, expected) in table {
        assert_eq!(page.value(name, labels), *expected, "{name} {labels:?}\n{}", door.log());
    }
    assert_eq!(page.sum("gridfront_sessions_refused_total", &[]), 1.0);
    assert_eq!(page.sum("gridfront_sessions_ended_total", &[]), 10.0);
    assert_eq!(page.sum("gridfront_transfers_total", &[("outcome", "complete")]), 5.0);
    assert!(page.value("process_resident_memory_bytes", &[]) > 1e6);
    assert_eq!(
        page.value("process_resident_memory_bytes", &[]).round(),
        page.value("process_resident_memory_bytes", &[])
    );

    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(get(http, "/metrics").body.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
