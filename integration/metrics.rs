//! What Prometheus is told: that it is true, that it is documented, and that asking hurts nobody.

mod documentation;
mod load;
mod reloads;
mod scrape;
mod traffic;

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::control_connection::ControlConnection;
use crate::support::deadline;
use crate::support::http_client::{get, start_with_http, try_get};
use crate::support::local_door::Setup;
use crate::support::stub_server::{Connection, StubServer};

/// For a check to notice, or a door to begin its drain; many times what it takes.
const NOTICE: Duration = Duration::from_secs(20);

/// A certificate that is valid until this, in seconds since 1970.
const EXPIRES: f64 = 1_804_115_698.0;

/// The same with the certificate of the unit tests.
fn with_certificate(setup: Setup) -> Setup {
    let file = |name| Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tls/tests").join(name);
    let (certificate, key) = (file("a.pem"), file("a.key"));
    setup.virtual_server(&format!(
        "[virtual_server.tls]\ncertificate = \"{}\"\nkey = \"{}\"",
        certificate.display(),
        key.display()
    ))
}

/// The same with a virtual router whose interface is not there: it runs, says so, and touches nothing of the host.
/// With an engine that is wanted, whether or not this host has one.
fn with_forwarding(setup: Setup) -> Setup {
    let check = format!("{}\n[forwarding]\n", setup.check);
    setup.check(&check)
}

fn with_vrrp(setup: Setup) -> Setup {
    let check = format!(
        "{}\n[[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"absent0\"\nvirtual_router_id = 51\n\
         virtual_addresses = [\"192.0.2.10/24\"]\n",
        setup.check
    );
    setup.check(&check)
}

#[test]
fn readyz_names_what_keeps_clients_out_and_healthz_does_not_mind() {
    let server = StubServer::start(Connection::serve);
    let quick = "delay_loop = \"100ms\"\nretry = 0\nconnect_timeout = \"500ms\"";
    let (mut door, http) = start_with_http(Setup::of(&[server.address()]).check(quick));
    for page in ["/readyz", "/healthz"] {
        let answer = get(http, page);
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"), "{page}");
    }
    assert_eq!(get(http, "/").status, 404);

    let address = server.address();
    drop(server);
    let said = deadline::until("/readyz to notice", NOTICE, || {
        let answer = get(http, "/readyz");
        if answer.status == 503 { Ok(answer.body) } else { Err(answer.body) }
    });
    assert_eq!(said.unwrap(), "gridftp: no real server is up: s1 down\n");
    assert_eq!(get(http, "/healthz").status, 200, "a restart would mend nothing");

    // Up again, and a transfer that takes until after the drain has begun.
    let (finish, finished) = std::sync::mpsc::channel::<()>();
    let finished = std::sync::Mutex::new(finished);
    let _server = StubServer::start_at(address, move |connection| {
        connection.greet()?;
        loop {
            let line = connection.line()?;
            if line.starts_with(b"RETR") {
                connection.say("150 opening\r\n")?;
                let _ = finished.lock().map_err(|_| io::ErrorKind::Other)?.recv();
                connection.say("226 done\r\n")?;
            } else if !connection.answer(&line)? {
                return Ok(());
            }
        }
    });
    deadline::until("/readyz to notice", NOTICE, || {
        let answer = get(http, "/readyz");
        if answer.status == 200 { Ok(()) } else { Err(answer.body) }
    })
    .unwrap();
    let mut session = ControlConnection::logged_in(door.address());
    session.expect("RETR /file", "150");
    door.signal(Signal::TERM);
    let said = deadline::until("/readyz of a door that drains", NOTICE, || {
        let answer = try_get(http, "/readyz").map_err(|error| error.to_string())?;
        if answer.status == 503 { Ok(answer.body) } else { Err(answer.body) }
    });
    assert_eq!(said.unwrap(), "draining: no more sessions are accepted\n");
    assert!(get(http, "/metrics").body.contains("\ngridfront_draining 1\n"));
    assert_eq!(get(http, "/healthz").status, 200);
    finish.send(()).unwrap();
    assert_eq!(session.line(), "226 done");
    drop(session);
    assert!(door.wait(NOTICE).is_some_and(|status| status.success()));
    assert!(try_get(http, "/healthz").is_err());
}

#[test]
fn an_address_that_somebody_else_has_is_a_start_that_fails_and_says_so() {
    let server = StubServer::start(Connection::serve);
    let (door, http) = start_with_http(Setup::of(&[server.address()]));
    let directory = tempfile::tempdir().unwrap();
    let setup = Setup::of(&[server.address()]).global(&format!("http = \"{http}\""));
    let file = directory.path().join("gridfront.toml");
    let address = crate::support::local_door::unused_address();
    std::fs::write(&file, setup.text(directory.path(), address)).unwrap();
    let output = crate::support::local_door::run_command(&file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains(&format!("http: cannot listen on {http}: ")), "{text}");
    assert!(text.contains("name another address with `http`"), "{text}");
    drop(door);
}
