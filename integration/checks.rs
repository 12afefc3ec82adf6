//! Checks of every kind against real servers: they pass while all is well, and each finds its own fault. How long that takes
//! until no new session goes to the server is written to `target/integration/checks.txt`.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::gsi::termination;
use crate::support::certificates::{Authority, HostCertificates, set_mode};
use crate::support::control_connection::ControlConnection;
use crate::support::deadline::Stopwatch;
use crate::support::door::{Configuration, Door, program};
use crate::support::grid::{PORT, PROGRAMS, Security, Servers, Site, VIRTUAL_NAME, name_of, path_text};
use crate::support::gsi_client::Line;
use crate::support::http_client;
use crate::support::local_door::{Setup, unused_address};
use crate::support::local_server::LocalServer;
use crate::support::other_servers::{self, OtherServers, PROFTPD_PORT, PYFTPDLIB_PORT};
use crate::support::stub_server::{Connection, StubServer};
use crate::support::{deadline, skip};

/// As an operator who wants it soon: two failures in a row.
const QUICK: &str = "delay_loop = \"500ms\"\nconnect_timeout = \"1s\"\nmax_time = \"2s\"\nretry = 1\ndelay_before_retry = \"200ms\"";
/// For a check to notice; many times what it takes.
const NOTICE: Duration = Duration::from_secs(30);
const SAMPLE: usize = 1 << 20;

/// A program for `type = "script"`.
fn write_script(path: &Path, lines: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{lines}\n")).expect("our own file");
    set_mode(path, 0o755);
}

/// What is seen of a fault.
struct Row {
    server: &'static str,
    kind: &'static str,
    fault: &'static str,
    took: Duration,
    reason: String,
}

fn table(rows: &[Row]) -> String {
    let mut text =
        format!("{:<10} {:<9} {:<44} {:>7}  what status says\n", "server", "check", "fault", "seconds");
    for Row { server, kind, fault, took, reason } in rows {
        writeln!(text, "{server:<10} {kind:<9} {fault:<44} {:>7.1}  {reason}", took.as_secs_f32())
            .expect("a string takes lines");
    }
    text.push_str("Seconds from the fault until no new session goes there: delay_loop 500 ms, retry 1 after 200 ms, max_time 2 s.\n");
    text
}

/// The door before `site`, one virtual server of three for each kind of check.
fn every_kind(site: &Site, script: &Path, port_of_servers: u16, settings: &str) -> Configuration {
    let script = path_text(script);
    let checks = [
        ("tcp", String::new()),
        ("ftp", String::new()),
        ("login", String::new()),
        ("transfer", format!("file = \"sample\"\nsize = {SAMPLE}")),
        ("script", format!("script = [\"{script}\"]")),
    ];
    checks.iter().zip(PORT..).fold(Configuration::new(site), |configuration, ((kind, keys), port)| {
        let with_check = configuration
            .virtual_server(kind, port, "lb_algo = \"rr\"\nrelay_ports = \"52000-52400\"")
            .check(&format!("type = \"{kind}\"\n{keys}\n{QUICK}"));
        ["s1", "s2"].iter().fold(with_check, |all, role| {
            all.real_server(role, &site.machine(role).v4().to_string(), port_of_servers, settings)
        })
    })
}

fn server(door: &Door, kind: &str, name: &str) -> serde_json::Value {
    let servers = door.real_servers().unwrap_or_else(|why| panic!("{why}\n{}", door.log_tail()));
    servers.into_iter().find(|(of, other, _)| of == kind && other == name).expect("a configured server").2
}

fn until(door: &Door, what: &str, kind: &str, name: &str, probe: impl Fn(&serde_json::Value) -> bool) {
    deadline::until(&format!("{kind} {name}: {what}"), NOTICE, || {
        let server = server(door, kind, name);
        if probe(&server) { Ok(()) } else { Err(server.to_string()) }
    })
    .unwrap_or_else(|why| panic!("{why}\n{}", door.log_tail()));
}

/// Until all of these kinds have found the fault; what each says.
fn found(
    door: &Door,
    name: &str,
    server_name: &'static str,
    fault: &'static str,
    kinds: &[&'static str],
) -> Vec<Row> {
    let watch = Stopwatch::start();
    let mut rows: Vec<Row> = Vec::new();
    deadline::until(fault, NOTICE, || {
        for kind in kinds {
            let seen = server(door, kind, name);
            if seen["state"] == "down" && !rows.iter().any(|row| row.kind == *kind) {
                let reason = seen["reason"].as_str().unwrap_or_default().to_owned();
                rows.push(Row { server: server_name, kind, fault, took: watch.elapsed(), reason });
            }
        }
        if rows.len() == kinds.len() {
            return Ok(());
        }
        let missing: Vec<_> =
            kinds.iter().filter(|kind| !rows.iter().any(|row| row.kind == **kind)).collect();
        Err(format!("{missing:?} have not found it"))
    })
    .unwrap_or_else(|why| panic!("{why}\n{}", door.log_tail()));
    rows
}

/// Its checks have passed at least once since, and it takes sessions.
fn well(door: &Door, name: &str, kinds: &[&str]) {
    for kind in kinds {
        until(door, "well", kind, name, |server| {
            server["state"] == "up" && server["check"]["result"] == "passed"
        });
    }
}

const EVERY_KIND: [&str; 5] = ["tcp", "ftp", "login", "transfer", "script"];

#[test]
fn a_check_of_every_kind_passes_and_finds_its_own_fault_in_real_servers() {
    if !skip::unless_present("checks of every kind", &[PROGRAMS, other_servers::PROGRAMS].concat()) {
        return;
    }
    let mut site = Site::start(Security::Anonymous, Servers::Three);
    let mut rows = Vec::new();
    std::fs::write(site.data_directory().join("sample"), vec![7; SAMPLE]).unwrap();
    let (sample, away) = (site.data_directory().join("sample"), site.data_directory().join("away"));
    let script = site.scratch("check");
    write_script(&script, "echo \"all is well at $GRIDFRONT_REAL_SERVER\"");

    let door =
        Door::start(&site, &every_kind(&site, &script, PORT, "")).unwrap_or_else(|why| panic!("{why}"));
    for name in ["s1", "s2"] {
        well(&door, name, &EVERY_KIND);
    }
    let seen = server(&door, "transfer", "s1");
    assert!(
        seen["check"]["found"].as_str().unwrap_or_default().contains("1048576 bytes of `sample`"),
        "{seen}"
    );
    assert!(seen["check"]["ms"].as_f64() > Some(0.0) && seen["checks_passed"].as_u64() > Some(0), "{seen}");
    let seen = server(&door, "script", "s2");
    assert_eq!(
        seen["check"]["found"],
        format!("{} ended with 0: all is well at s2", script.file_name().unwrap().display())
    );

    // A file that has gone: its own checker finds it, and the others see nothing.
    std::fs::rename(&sample, &away).unwrap();
    rows.extend(found(&door, "s1", "Globus", "the file is missing", &["transfer"]));
    well(&door, "s1", &["tcp", "ftp", "login", "script"]);
    std::fs::rename(&away, &sample).unwrap();
    well(&door, "s1", &EVERY_KIND);
    // One that has become shorter.
    std::fs::write(&sample, vec![7; SAMPLE / 2]).unwrap();
    rows.extend(found(&door, "s1", "Globus", "the file is short", &["transfer"]));
    std::fs::write(&sample, vec![7; SAMPLE]).unwrap();
    well(&door, "s1", &EVERY_KIND);
    // One that the file system does not give: opening a FIFO that nobody writes to takes for ever.
    std::fs::rename(&sample, &away).unwrap();
    mkfifo(&sample);
    rows.extend(found(&door, "s1", "Globus", "the file system hangs", &["transfer"]));
    well(&door, "s1", &["tcp", "ftp", "login", "script"]);
    std::fs::rename(&away, &sample).unwrap();
    // A script that says no, that does not end, and one that says 10.
    write_script(&script, "echo disk full; exit 1");
    rows.extend(found(&door, "s1", "any", "the script ends with 1", &["script"]));
    write_script(&script, "exit 12");
    until(&door, "a weight", "script", "s1", |server| {
        server["effective_weight"] == 10 && server["weight"] == 1
    });
    well(&door, "s1", &["script"]);
    write_script(&script, "sleep 1000");
    rows.extend(found(&door, "s1", "any", "the script does not end", &["script"]));
    write_script(&script, "exit 2");
    until(&door, "weight 0", "script", "s1", |server| server["state"] == "drained");
    write_script(&script, "exit 0");
    // The server is stopped, so that its host takes connections and nobody serves them; and it is gone.
    site.freeze("s1");
    rows.extend(found(&door, "s1", "Globus", "the server hangs (SIGSTOP)", &["ftp", "login", "transfer"]));
    site.resume("s1");
    well(&door, "s1", &["tcp", "ftp", "login", "transfer"]);
    site.kill("s1");
    let kinds = ["tcp", "ftp", "login", "transfer"];
    rows.extend(found(&door, "s1", "Globus", "the server is killed", &kinds));
    // No new session goes there.
    let before = kinds.map(|kind| server(&door, kind, "s1")["total_sessions"].clone());
    for port in PORT..PORT + 4 {
        for _ in 0..3 {
            let address = (site.machine("door").v4(), port).into();
            let mut session = site.machine("client").enter(|| ControlConnection::open(address));
            assert!(session.line().starts_with("220 "));
        }
    }
    assert_eq!(before, kinds.map(|kind| server(&door, kind, "s1")["total_sessions"].clone()));
    drop(door);

    let others = OtherServers::start(&site);
    for (name, port) in [("ProFTPD", PROFTPD_PORT), ("pyftpdlib", PYFTPDLIB_PORT)] {
        let settings = "checks_data_peer = true";
        let door = Door::start(&site, &every_kind(&site, &script, port, settings))
            .unwrap_or_else(|why| panic!("{why}"));
        for server in ["s1", "s2"] {
            well(&door, server, &EVERY_KIND);
        }
        std::fs::rename(&sample, &away).unwrap();
        rows.extend(found(&door, "s2", name, "the file is missing", &["transfer"]));
        std::fs::rename(&away, &sample).unwrap();
        assert_eq!(server(&door, "login", "s2")["checks_failed"], 0, "{}", others.logs());
    }

    drop(site);

    rows.push(refused_guests());
    rows.extend(certificates_of_servers());
    let table = table(&rows);
    println!("{table}");
    std::fs::write(skip::results().join("checks.txt"), &table).expect("target/integration takes a file");
}

/// `login` at a server that admits nobody without a certificate.
fn refused_guests() -> Row {
    let site = Site::start(Security::Gsi(HostCertificates::Shared), Servers::Three);
    let address = site.machine("s1").v4().to_string();
    let configuration = Configuration::new(&site)
        .virtual_server("login", PORT, "")
        .check(&format!("type = \"login\"\n{QUICK}"))
        .real_server("s1", &address, PORT, "");
    let door = Door::start(&site, &configuration).unwrap_or_else(|why| panic!("{why}"));
    let row = found(&door, "s1", "Globus", "guests are refused (GSI only)", &["login"]).remove(0);
    assert!(row.reason.starts_with("it refuses the login of `anonymous`: `530"), "{}", row.reason);
    row
}

/// `gsi` at servers whose certificates are no good; and at one that is well, but for what clients call it.
fn certificates_of_servers() -> Vec<Row> {
    let mut site = Site::start(Security::Gsi(HostCertificates::Own), Servers::Three);
    let authority = site.authority().expect("a site with certificates");
    let good = authority.issue_host("good", &[name_of("s1"), VIRTUAL_NAME.to_owned()]);
    let expired = authority.issue_expired_host("over", VIRTUAL_NAME);
    let nameless = authority.issue_host("nameless", &[name_of("s1")]);
    let strangers = tempfile::tempdir().unwrap();
    let stranger =
        Authority::new(strangers.path(), "Another CA").issue_host("host", &[VIRTUAL_NAME.to_owned()]);
    let robot = authority.issue_user("robot", "/O=Grid/OU=test/CN=Robot");
    let address = site.machine("s1").v4().to_string();
    let robot = path_text(&robot);
    let configuration = Configuration::new(&site)
        .global("http = \"127.0.0.1:9281\"")
        .virtual_server("gsi", PORT, &termination(&site))
        .check(&format!("type = \"gsi\"\n{QUICK}"))
        // Its own name will do for the door, where the virtual one is not there.
        .real_server("s1", &address, PORT, &format!("gsi_name = \"{}\"", name_of("s1")))
        .virtual_server("robot", PORT + 1, &termination(&site))
        .check(&format!("type = \"gsi\"\ncredential = \"{robot}\"\n{QUICK}"))
        .real_server("s1", &address, PORT, "");
    let door = Door::start(&site, &configuration).unwrap_or_else(|why| panic!("{why}"));
    well(&door, "s1", &["gsi", "robot"]);
    let seen = server(&door, "gsi", "s1");
    let certificate = &seen["certificate"];
    assert_eq!(certificate["subject"], format!("/O=Grid/OU=test/CN={}", name_of("s1")), "{seen}");
    assert_eq!(
        (&certificate["standing"], &certificate["carries_virtual_name"]),
        (&"fine".into(), &true.into())
    );

    let mut rows = Vec::new();
    site.present("s1", expired);
    let fault = "the host certificate has expired";
    rows.extend(found(&door, "s1", "Globus", fault, &["robot"]));
    assert!(rows[0].reason.contains("has expired"), "{}", rows[0].reason);
    site.present("s1", good.clone());
    well(&door, "s1", &["gsi", "robot"]);
    site.present("s1", stranger);
    rows.extend(found(&door, "s1", "Globus", "its authority is not trusted", &["robot"]));
    site.present("s1", good);
    well(&door, "s1", &["gsi", "robot"]);

    // It takes sessions, and users who go there by the virtual name would see an error.
    site.present("s1", nameless);
    until(&door, "another name", "gsi", "s1", |server| {
        server["state"] == "up" && server["certificate"]["missing_name"] == VIRTUAL_NAME
    });
    logged(&door, "certificate of the real server does not carry the virtual name");
    let text = String::from_utf8(door.command(&["status"]).output().unwrap().stdout).unwrap();
    assert!(text.contains(&format!("does not carry the virtual name {VIRTUAL_NAME}")), "{text}");
    let page = site
        .machine("door")
        .enter(|| http_client::get(SocketAddr::from(([127, 0, 0, 1], 9281)), "/metrics").body);
    let mismatch =
        "gridfront_real_server_certificate_name_mismatch{virtual_server=\"gsi\",real_server=\"s1\"} 1";
    assert!(page.contains(mismatch), "{page}");

    // FEAT and HELP before a login, as the server that was checked would answer behind it.
    let mut line = Line::new(site.machine("client").enter(|| {
        TcpStream::connect(SocketAddr::from((site.machine("door").v4(), PORT))).expect("the door listens")
    }));
    assert!(line.whole_reply().starts_with("220 "));
    line.send(b"FEAT\r\n");
    let features = line.whole_reply();
    for feature in ["211-Extensions supported\r\n AUTH GSSAPI\r\n", "\r\n PARALLEL\r\n", "\r\n SPAS\r\n"] {
        assert!(features.contains(feature), "{features}");
    }
    line.send(b"HELP\r\n");
    let help = line.whole_reply();
    assert!(help.contains("ERET") && help.ends_with("214 End\r\n"), "{help}");
    rows
}

fn logged(door: &Door, words: &str) {
    deadline::until(words, NOTICE, || {
        if door.log().contains(words) { Ok(()) } else { Err("the log does not say it".to_owned()) }
    })
    .unwrap_or_else(|why| panic!("{why}\n{}", door.log_tail()));
}

fn mkfifo(path: &Path) {
    let status = Command::new("mkfifo").args(["-m", "666"]).arg(path).status().expect("mkfifo(1) runs");
    assert!(status.success());
}

#[test]
fn a_transfer_check_goes_through_tls_as_sessions_do() {
    if !skip::unless_present("a transfer check over TLS", &["openssl", "proftpd"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "servers");
    let credential = authority.issue_host("server", &["s1.test".to_owned()]);
    for (mode, options) in [("explicit", "TLSProtocol TLSv1.3"), ("implicit", "TLSOptions UseImplicitSSL")] {
        // Its default: no data without the session of the control connection.
        let server = LocalServer::proftpd_with_tls(&credential, options);
        std::fs::write(server.file("sample"), vec![7; SAMPLE]).unwrap();
        let mut setup =
            Setup::of(&[server.address()]).check(&format!("type = \"transfer\"\nfile = \"sample\"\n{QUICK}"));
        setup.real_servers[0].2 = format!(
            "[virtual_server.real_server.tls]\nmode = \"{mode}\"\ntrust_anchors = \"{}\"\nname = \"s1.test\"",
            authority.certificate().display()
        );
        let door = setup.start();
        door.until("a passed check", |status| {
            let server = &status["virtual_servers"][0]["real_servers"][0];
            let found = server["check"]["found"].as_str().unwrap_or_default();
            server["check"]["result"] == "passed" && found.contains("1048576 bytes of `sample`")
        });
        assert_eq!(door.count("s1", "checks_failed"), 0, "{}\n{}", door.log(), server.log());
    }
}

#[test]
fn a_real_server_has_a_check_of_its_own_and_check_refuses_what_others_can_change() {
    let servers = [StubServer::start(Connection::serve), StubServer::start(Connection::serve)];
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("check");
    write_script(&script, "echo \"$GRIDFRONT_REAL_SERVER is full\"; exit 2");
    let mut setup =
        Setup::of(&servers.each_ref().map(StubServer::address)).check(&format!("type = \"login\"\n{QUICK}"));
    setup.real_servers[1].2 =
        format!("[virtual_server.real_server.check]\ntype = \"script\"\nscript = [\"{}\"]", script.display());
    let door = setup.start();
    door.until("weight 0 for one and a login at the other", |status| {
        let [first, second] = [0, 1].map(|index| &status["virtual_servers"][0]["real_servers"][index]);
        first["check"]["found"] == "230 logged in"
            && second["state"] == "drained"
            && second["check"]["found"] == "check ended with 2: s2 is full"
    });
    for _ in 0..4 {
        drop(ControlConnection::greeted(door.address()));
    }
    assert_eq!(door.count("s2", "total_sessions"), 0);
    door.until_logged(&["INFO", "weight set by its check", "real_server=\"s2\"", "weight=0"]);
    let text = String::from_utf8(door.command("status").output().unwrap().stdout).unwrap();
    assert!(text.contains("weight 0 as its check says, not 1"), "{text}");
    assert!(text.contains(" s ago: check ended with 2: s2 is full"), "{text}");

    set_mode(&script, 0o757);
    let check = door.command("check").output().unwrap();
    let said = String::from_utf8(check.stdout).unwrap();
    let line = format!(
        "{}: everybody may write to it, and so change what is run; chmod go-w it\n",
        script.display()
    );
    assert_eq!((check.status.code(), said.contains(&line)), (Some(1), true), "{said}");
    door.until("it is not run any more", |status| {
        let server = &status["virtual_servers"][0]["real_servers"][1];
        server["check"]["result"] == "not run" && server["state"] == "drained"
    });
    set_mode(&script, 0o755);
    door.until("it is run again", |status| {
        status["virtual_servers"][0]["real_servers"][1]["check"]["result"] == "passed"
    });
    drop(door);
    set_mode(&script, 0o644);
    let started = refused_start(&setup);
    assert!(started.contains("the script is not executable; chmod a+x it"), "{started}");
}

/// What `gridfront run` says when it does not start.
fn refused_start(setup: &Setup) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gridfront.toml");
    std::fs::write(&file, setup.text(directory.path(), unused_address())).unwrap();
    let output = Command::new(program()).arg("run").arg("-c").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}
