//! GSI that ends at the door: users log in at it, and it logs in for them.

mod credentials;
mod jglobus;
mod passthrough;
mod real_servers;
mod revocation;
mod tls_versions;

use std::time::Duration;

use crate::support::certificates::{HostCertificates, USER};
use crate::support::client;
use crate::support::door::{Configuration, Door};
use crate::support::grid::{PORT, PROGRAMS, Security, Servers, Site, VIRTUAL_NAME, path_text};
use crate::support::seeded::content;
use crate::support::skip;

/// A transfer takes half a second here.
const LIMIT: Duration = Duration::from_secs(60);

/// Settings of a virtual server that ends GSI.
pub(crate) fn termination(site: &Site) -> String {
    let authority = site.authority().expect("a site with certificates");
    let credential = authority.issue_host("door", &[VIRTUAL_NAME.to_owned()]);
    format!(
        "\n[virtual_server.gsi]\nmode = \"terminate\"\ncertificate = \"{}\"\nkey = \"{}\"\ntrust_anchors = \"{}\"",
        path_text(&credential.certificate),
        path_text(&credential.key),
        path_text(&authority.anchors())
    )
}

fn start(site: &Site) -> Door {
    let settings = termination(site);
    let configuration = Configuration::new(site).virtual_server("gridftp", PORT, &settings).three(site, PORT);
    Door::start(site, &configuration).unwrap_or_else(|why| panic!("{why}"))
}

fn copy(site: &Site, options: &[&str], from: &str, to: &str) -> client::Finished {
    let words = ["globus-url-copy"].iter().chain(options).copied().chain([from, to]);
    let words: Vec<String> = words.map(str::to_owned).collect();
    client::run(site, site.machine("client"), &words, &[], LIMIT)
}

fn is_possible(what: &str) -> bool {
    let programs: Vec<&str> = PROGRAMS.iter().copied().chain(["globus-url-copy"]).collect();
    skip::unless_present(what, &programs)
}

#[test]
fn a_user_gets_and_puts_files_and_the_door_knows_who_it_was() {
    if !is_possible("GSI that ends at the door") {
        return;
    }
    for style in [HostCertificates::Own, HostCertificates::Shared] {
        let site = Site::start(Security::Gsi(style), Servers::Three);
        let door = start(&site);
        let file = content(1, 3_000_001);
        let (here, there) = (site.client_directory().join("f"), site.data_directory().join("f"));
        std::fs::write(&here, &file).unwrap();
        let far = format!("gsiftp://{VIRTUAL_NAME}:{PORT}{}", path_text(&there));
        let near = format!("file://{}", path_text(&here));
        let put = copy(&site, &["-p", "2"], &near, &far);
        assert!(put.success(), "{}\n{}\n{}", put.output, door.log_tail(), site.logs());
        assert!(std::fs::read(&there).unwrap() == file);
        std::fs::remove_file(&here).unwrap();
        let get = copy(&site, &[], &far, &near);
        assert!(get.success(), "{}\n{}\n{}", get.output, door.log_tail(), site.logs());
        assert!(std::fs::read(&here).unwrap() == file);
        let log = door.log_tail();
        assert!(log.contains(&format!("dn=\"{USER}\"")), "{log}");
    }
}
