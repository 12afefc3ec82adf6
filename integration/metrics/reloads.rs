//! What is told of reloads and certificates.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use super::scrape::Scrape;
use super::{EXPIRES, NOTICE, with_certificate};
use crate::support::deadline;
use crate::support::http_client::start_with_http;
use crate::support::local_door::Setup;
use crate::support::stub_server::{Connection, StubServer};

/// Whether the last one was successful, when the last success was, and the counts of both.
fn told(page: &Scrape) -> (f64, f64, [f64; 2]) {
    let counts = ["success", "failure"]
        .map(|outcome| page.value("gridfront_config_reloads_total", &[("outcome", outcome)]));
    let last = page.value("gridfront_config_last_reload_success_timestamp_seconds", &[]);
    (page.value("gridfront_config_last_reload_successful", &[]), last, counts)
}

#[allow(clippy::disallowed_methods)] // what the door is compared with
fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

#[test]
fn what_comes_of_reloads_is_told_and_until_when_the_certificate_holds() {
    let server = StubServer::start(Connection::serve);
    let before = seconds_since_1970();
    let (door, http) = start_with_http(with_certificate(Setup::of(&[server.address()])));
    let page = Scrape::of(http);
    let (successful, started, counts) = told(&page);
    assert_eq!((successful, counts), (1.0, [0.0, 0.0]));
    assert!((before..=seconds_since_1970()).contains(&started), "{started}");
    let certificate = [("virtual_server", "gridftp")];
    let expires = page.value("gridfront_certificate_not_after_timestamp_seconds", &certificate);
    assert_eq!(expires.to_bits(), EXPIRES.to_bits());

    let good = std::fs::read_to_string(door.configuration()).unwrap();
    assert!(door.command("reload").arg("--dry-run").output().unwrap().status.success());
    assert_eq!(told(&Scrape::of(http)), (1.0, started, [0.0, 0.0]), "a dry run is none");
    let reload = |text: &str, successful: f64| {
        std::fs::write(door.configuration(), text).unwrap();
        door.signal(Signal::HUP);
        deadline::until("the reload", NOTICE, || match told(&Scrape::of(http)) {
            (now, last, counts) if now.to_bits() == successful.to_bits() => Ok((last, counts)),
            told => Err(format!("{told:?}")),
        })
        .unwrap()
    };
    assert_eq!(reload("rubbish", 0.0), (started, [0.0, 1.0]));
    let mended = seconds_since_1970();
    let (last, counts) = reload(&good, 1.0);
    assert_eq!(counts, [1.0, 1.0]);
    assert!((mended..=seconds_since_1970()).contains(&last), "{last}");
}
