//! Real servers whose certificates the door does not believe: the next one serves, and what was wrong is said to whom it concerns.

use super::{copy, is_possible, start};
use crate::support::certificates::HostCertificates;
use crate::support::grid::{PORT, Security, Servers, Site, VIRTUAL_NAME, name_of, path_text};
use crate::support::seeded::content;

#[test]
fn a_server_with_another_name_or_an_expired_certificate_gets_no_user() {
    if !is_possible("real servers with bad GSI certificates") {
        return;
    }
    let mut site = Site::start(Security::Gsi(HostCertificates::Own), Servers::Three);
    let authority = site.authority().expect("a site with certificates");
    let misnamed = authority.issue_host("misnamed", &["other.grid.test".to_owned()]);
    let expired = authority.issue_expired_host("expired", &name_of("s2"));
    site.present("s1", misnamed);
    site.present("s2", expired);
    let door = start(&site);
    let file = content(6, 100_003);
    std::fs::write(site.data_directory().join("file"), &file).unwrap();
    let from = format!("gsiftp://{VIRTUAL_NAME}:{PORT}{}", path_text(&site.data_directory().join("file")));
    let here = site.client_directory().join("file");
    let to = format!("file://{}", path_text(&here));
    for _ in 0..3 {
        let finished = copy(&site, &[], &from, &to);
        assert!(finished.success(), "{}\n{}\n{}", finished.output, door.log_tail(), site.logs());
        assert!(std::fs::read(&here).unwrap() == file);
        std::fs::remove_file(&here).unwrap();
    }
    let log = door.log();
    for (server, reason) in [("s1", "other.grid.test"), ("s2", "expired")] {
        let line = log.lines().find(|line| {
            line.contains("real server passed over") && line.contains(&format!("real_server=\"{server}\""))
        });
        let line = line.unwrap_or_else(|| panic!("nothing of {server} in\n{log}"));
        assert!(line.contains(reason), "{line}");
    }
    site.kill("s3");
    let finished = copy(&site, &[], &from, &to);
    assert!(!finished.success(), "{}", finished.output);
    // Which of the two was tried last is the scheduler's choice.
    let reasons = [
        "s1: the door does not accept its certificate: the certificate is not for",
        "s2: it cannot begin with GSI: ",
    ];
    let is_told = reasons.iter().any(|reason| finished.output.contains(reason));
    assert!(finished.output.contains("530") && is_told, "{}\n{}", finished.output, door.log_tail());
}
