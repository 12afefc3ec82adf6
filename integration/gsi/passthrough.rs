//! Clients that cannot delegate, let through by their network, beside others of the same door whose GSI ends there.

use std::net::SocketAddr;
use std::path::Path;

use super::credentials::{Tools, UNAUTHENTICATED};
use super::{LIMIT, is_possible, termination};
use crate::support::certificates::HostCertificates;
use crate::support::client::{self, Finished};
use crate::support::door::{Configuration, Door};
use crate::support::grid::{PORT, Security, Servers, Site, VIRTUAL_NAME, name_of, path_text};
use crate::support::http_client;
use crate::support::seeded::content;

/// The exact words of the door when a path length ends at it.
const REMEDY: &str = "the path length of the user's proxy ends at the door, which can delegate no credential to the real \
                      server; have proxies made with a path length of 2 or more, or without one (voms-proxy-fake makes 1 \
                      where it is told none), use data connections without authentication (DCAU N), or write the \
                      client's network into `passthrough_networks`";
/// Whose client machine is not among the networks that pass.
const OTHER: &str = "d1";
const HTTP_PORT: u16 = 9281;

/// Gets the file through the door, from one of the machines.
fn get(site: &Site, role: &str, credential: &Path, options: &[&str]) -> Finished {
    let copy = site.scratch("copy");
    let file = path_text(&site.data_directory().join("file"));
    let words = ["globus-url-copy"].iter().chain(options).map(|&word| word.to_owned());
    let ends = [format!("gsiftp://{VIRTUAL_NAME}:{PORT}{file}"), format!("file://{}", path_text(&copy))];
    let words: Vec<String> = words.chain(ends).collect();
    let environment = [("X509_USER_PROXY", &*path_text(credential)), ("GLOBUS_HOSTNAME", &*name_of(role))];
    let finished = client::run(site, site.machine(role), &words, &environment, LIMIT);
    if finished.success() {
        assert!(std::fs::read(&copy).unwrap() == std::fs::read(&file).unwrap(), "another file");
    }
    finished
}

#[test]
fn a_client_whose_proxy_ends_at_the_door_is_served_once_its_network_passes() {
    if !is_possible("GSI that passes through for a network") {
        return;
    }
    let site = Site::start(Security::Gsi(HostCertificates::Own), Servers::Three);
    std::fs::write(site.data_directory().join("file"), content(6, 100_003)).unwrap();
    let tools = Tools::new(&site);
    let [one, none, endless] =
        [tools.proxy(&["-rfc", "-path-length", "1"]), tools.last_of_its_chain(), tools.proxy(&["-rfc"])];
    let http = SocketAddr::from((site.machine("door").v4(), HTTP_PORT));
    let text = Configuration::new(&site)
        .global(&format!("http = \"{http}\""))
        .virtual_server("gridftp", PORT, &termination(&site))
        .three(&site, PORT);
    let door = Door::start(&site, &text).unwrap_or_else(|why| panic!("{why}"));

    let refused = get(&site, "client", &one, &[]);
    assert!(!refused.success(), "{}", refused.output);
    door.until_logged(0, UNAUTHENTICATED, LIMIT).unwrap_or_else(|why| panic!("{why}"));
    assert!(door.log().contains(REMEDY), "{}", door.log_tail());
    let refused = get(&site, "client", &none, &["-nodcau"]);
    assert!(!refused.success() && refused.output.contains("passthrough_networks"), "{}", refused.output);

    // The same door, told about the client's network.
    let [v4, v6] = site.machine("client").addresses();
    let text = std::fs::read_to_string(door.configuration()).unwrap();
    let mode = "mode = \"terminate\"\n";
    assert!(text.contains(mode), "{text}");
    let text = text.replace(mode, &format!("{mode}passthrough_networks = [\"{v4}\", \"{v6}\"]\n"));
    std::fs::write(door.configuration(), text).unwrap();
    let reload = door.command(&["reload"]).output().unwrap();
    assert!(reload.status.success(), "{}", String::from_utf8_lossy(&reload.stderr));
    let from = door.log().len();
    let (passed, ended) = std::thread::scope(|scope| {
        let other = scope.spawn(|| get(&site, OTHER, &endless, &[]));
        (get(&site, "client", &one, &[]), other.join().unwrap())
    });
    assert!(passed.success(), "{}\n{}\n{}", passed.output, door.log_tail(), site.logs());
    assert!(ended.success(), "{}\n{}\n{}", ended.output, door.log_tail(), site.logs());
    // As far as it comes directly: its own path length leaves no room for authenticated data.
    let passed = get(&site, "client", &none, &["-nodcau"]);
    assert!(passed.success(), "{}\n{}\n{}", passed.output, door.log_tail(), site.logs());
    let other = site.machine(OTHER).v4();
    for client in [v4.to_string(), other.to_string()] {
        let wanted = format!("INFO session ended client={client}:");
        door.until_logged(from, &wanted, LIMIT).unwrap_or_else(|why| panic!("{why}"));
    }
    let log = door.log().split_off(from);
    let of = |client: &str| {
        let client = format!(" client={client}:");
        log.lines().filter(move |line| line.contains(&client)).collect::<Vec<_>>()
    };
    let passes = |line: &&str| line.contains("gsi=\"passthrough\"") && !line.contains("dn=");
    let ended = |line: &&&str| line.contains("session ended");
    assert!(of(&v4.to_string()).iter().filter(ended).all(passes), "{log}");
    let is_read = |line: &&str| line.contains("INFO transfer") && line.contains("dn=");
    assert!(of(&other.to_string()).iter().any(is_read), "{log}");
    // A client of the other network that cannot delegate is told so as before.
    let refused = get(&site, OTHER, &one, &[]);
    assert!(!refused.success(), "{}", refused.output);
    let page = site.machine("client").enter(|| http_client::get(http, "/metrics").body);
    for counted in [
        "gridfront_gsi_path_length_ends_total{virtual_server=\"gridftp\",consequence=\"no data authentication\"} 2\n",
        "gridfront_gsi_path_length_ends_total{virtual_server=\"gridftp\",consequence=\"no login\"} 1\n",
        "gridfront_gsi_passed_through_total{virtual_server=\"gridftp\"} 2\n",
    ] {
        assert!(page.contains(counted), "{counted}{page}");
    }
}
