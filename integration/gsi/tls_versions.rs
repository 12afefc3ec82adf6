//! TLS 1.2 and 1.3, towards clients and towards real servers.

use super::{LIMIT, is_possible, termination};
use crate::support::certificates::HostCertificates;
use crate::support::client::{self, Finished};
use crate::support::door::{Configuration, Door};
use crate::support::grid::{PORT, Security, Servers, Site, VIRTUAL_NAME, name_of, path_text};
use crate::support::seeded::content;

/// The least and the highest version that a Globus program speaks.
const LIMITS: [&str; 2] = ["GLOBUS_GSSAPI_MIN_TLS_PROTOCOL", "GLOBUS_GSSAPI_MAX_TLS_PROTOCOL"];
const VERSIONS: [&str; 2] = ["TLS1_2_VERSION", "TLS1_3_VERSION"];

fn only(version: &str) -> Vec<(&'static str, String)> {
    LIMITS.iter().map(|&limit| (limit, version.to_owned())).collect()
}

#[test]
fn either_version_of_tls_serves_on_either_side() {
    if !is_possible("GSI with TLS 1.2 and 1.3") {
        return;
    }
    let mut site = Site::start(Security::Gsi(HostCertificates::Own), Servers::Three);
    let gsi = termination(&site);
    let mut configuration = Configuration::new(&site);
    // A door's port, and behind it a server of one version.
    let servers = [("s1", PORT), ("s2", PORT + 1)];
    for ((role, port), version) in servers.into_iter().zip(VERSIONS) {
        site.kill(role);
        site.restart_with(role, &only(version));
        let address = site.machine(role).v4().to_string();
        configuration = configuration.virtual_server(role, port, &gsi).real_server(role, &address, PORT, "");
    }
    let door = Door::start(&site, &configuration).unwrap_or_else(|why| panic!("{why}"));
    let file = content(4, 100_003);
    let [there, here] = [site.data_directory().join("there"), site.client_directory().join("here")];
    std::fs::write(&there, &file).unwrap();
    let get = |host: &str, port: u16, version: &str| -> Finished {
        let _ = std::fs::remove_file(&here);
        let from = format!("gsiftp://{host}:{port}{}", path_text(&there));
        let words = ["globus-url-copy", "-dcpriv", &from, &format!("file://{}", path_text(&here))];
        let limits = only(version);
        let environment: Vec<(&str, &str)> = limits.iter().map(|(name, value)| (*name, &**value)).collect();
        client::run(&site, site.machine("client"), &words.map(str::to_owned), &environment, LIMIT)
    };
    // What the programs are told holds.
    assert!(!get(&name_of("s1"), PORT, VERSIONS[1]).success(), "the versions are not kept apart");
    // The data channel is between client and server, who have to have one version in common.
    for ((role, port), version) in servers.into_iter().zip(VERSIONS) {
        let finished = get(VIRTUAL_NAME, port, version);
        assert!(
            finished.success(),
            "{version} to {role}: {}\n{}\n{}",
            finished.output,
            door.log_tail(),
            site.logs()
        );
        assert!(std::fs::read(&here).unwrap() == file);
    }
}
