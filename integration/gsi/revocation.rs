//! A list that revokes a user's certificate, put into the trust directory of a running door.

use std::time::Duration;

use super::{copy, is_possible, start};
use crate::support::certificates::HostCertificates;
use crate::support::deadline;
use crate::support::grid::{PORT, Security, Servers, Site, VIRTUAL_NAME, path_text};
use crate::support::seeded::content;

/// Within it a revoked user has to be refused.
const EFFECT: Duration = Duration::from_secs(60);

#[test]
fn a_revoked_user_is_refused_within_a_minute_and_without_a_restart() {
    if !is_possible("a revoked GSI user") {
        return;
    }
    let site = Site::start(Security::Gsi(HostCertificates::Shared), Servers::Three);
    let mut door = start(&site);
    std::fs::write(site.data_directory().join("file"), content(5, 100_003)).unwrap();
    let from = format!("gsiftp://{VIRTUAL_NAME}:{PORT}{}", path_text(&site.data_directory().join("file")));
    let to = format!("file://{}", path_text(&site.client_directory().join("file")));
    let get = || copy(&site, &[], &from, &to);
    let before = get();
    assert!(before.success(), "{}\n{}", before.output, door.log_tail());
    let authority = site.authority().unwrap();
    authority.revoke(&authority.issued("user"));
    deadline::until("the refusal of a revoked user", EFFECT, || {
        let finished = get();
        // The servers look at the same directory, at each login.
        let is_by_door =
            door.log().lines().any(|line| line.contains("GSI login refused") && line.contains("revoked"));
        if !finished.success() && is_by_door { Ok(()) } else { Err(finished.output) }
    })
    .unwrap_or_else(|why| panic!("{why}\n{}", door.log_tail()));
    assert_eq!(door.ended(), None, "the door has ended");
    assert!(door.log().contains("trust directory read again"), "{}", door.log_tail());
}
