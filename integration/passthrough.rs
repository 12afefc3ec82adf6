//! What the door can tell of GSI sessions that it passes through unread.

use std::time::Duration;

use crate::support::certificates::{Authority, HostCertificates, USER};
use crate::support::client;
use crate::support::deadline;
use crate::support::door::{Configuration, Door};
use crate::support::grid::{PORT, PROGRAMS, Security, Servers, Site, VIRTUAL_NAME, path_text};
use crate::support::skip;

/// A listing takes 0.2 s here.
const LIMIT: Duration = Duration::from_secs(30);

fn sum(door: &Door, field: &str) -> f64 {
    let servers = door.real_servers().unwrap_or_else(|why| panic!("{why}\n{}", door.log_tail()));
    servers
        .iter()
        .map(|(_, _, server)| server[field].as_f64().unwrap_or_else(|| panic!("{field}: {server}")))
        .sum()
}

fn list(site: &Site, environment: &[(&str, &str)]) -> client::Finished {
    let url = format!("gsiftp://{VIRTUAL_NAME}:{PORT}{}/", path_text(&site.data_directory()));
    let words = ["globus-url-copy".to_owned(), "-list".to_owned(), url];
    client::run(site, site.machine("client"), &words, environment, LIMIT)
}

#[test]
fn status_counts_gsi_logins_failures_and_handshake_time_of_sessions_it_cannot_read() {
    let programs: Vec<&str> = PROGRAMS.iter().copied().chain(["globus-url-copy"]).collect();
    if !skip::unless_present("GSI counts", &programs) {
        return;
    }
    let site = Site::start(Security::Gsi(HostCertificates::Own), Servers::Three);
    let configuration = Configuration::new(&site).virtual_server("gridftp", PORT, "").three(&site, PORT);
    let door = Door::start(&site, &configuration).unwrap_or_else(|why| panic!("{why}"));

    for _ in 0..6 {
        let finished = list(&site, &[]);
        assert!(finished.success(), "{}\n{}", finished.output, door.log_tail());
    }
    assert_eq!((sum(&door, "gsi_logins"), sum(&door, "gsi_failures")), (6.0, 0.0));
    let servers = door.real_servers().unwrap();
    for (_, name, server) in &servers {
        assert_eq!(server["gsi_logins"].as_u64(), Some(2), "{name}: sessions in turn");
        let (mean, max) = (server["handshake_ms_mean"].as_f64(), server["handshake_ms_max"].as_f64());
        // Four round trips and RSA on both sides: neither nothing nor seconds.
        assert!(mean.is_some_and(|mean| mean > 0.5 && mean < 10_000.0), "{name}: {server}");
        assert!(max >= mean, "{name}: {server}");
    }

    // The same name, vouched for by somebody whom the servers do not know.
    let stranger = site.scratch("stranger");
    std::fs::create_dir(&stranger).unwrap();
    let authority = Authority::new(&stranger, "Unknown CA");
    let proxy = path_text(&authority.issue_user("user", USER));
    let finished = list(&site, &[("X509_USER_PROXY", proxy.as_str())]);
    assert!(!finished.success(), "a stranger got in:\n{}", finished.output);
    deadline::until("the failed login counted", LIMIT, || {
        let failures = sum(&door, "gsi_failures");
        if failures >= 1.0 { Ok(()) } else { Err(format!("{failures} failures\n{}", door.log_tail())) }
    })
    .unwrap();
    assert_eq!(sum(&door, "gsi_logins"), 6.0, "a failure is no login");
}
