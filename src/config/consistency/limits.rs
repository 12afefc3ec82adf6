//! Limits that do not do what is likely meant.
use super::super::error::enumeration;
use super::{Findings, VirtualServer, VirtualServerPlaces};

/// Commands that do the same: whoever denies one of them likely means all.
const SAME: [&[&str]; 6] = [
    &["STOR", "APPE", "STOU", "ESTO", "PUT"],
    &["RETR", "ERET", "GET"],
    &["DELE", "SITE RDEL"],
    &["SITE CHMOD", "MFF"],
    &["RNFR", "SITE CPFR"],
    &["PORT", "EPRT", "SPOR"],
];

pub(super) fn networks(server: &VirtualServer, places: &VirtualServerPlaces, findings: &Findings) {
    let admittance = &server.admittance;
    for (network, at) in admittance.deny.iter().zip(&places.limits.deny) {
        if admittance.allow.contains(network) {
            findings.warning(
                *at,
                format!("`{network}` is in `allow` as well: its clients are denied"),
                "remove it from one of the two",
            );
        }
    }
    let is_exception = |network: &ipnet::IpNet| admittance.deny.iter().any(|wider| wider.contains(network));
    if let Some(first) = places.limits.allow.first()
        && admittance.allow.iter().all(is_exception)
    {
        findings.warning(
            *first,
            "`allow` holds only exceptions to `deny`, and who is in neither is refused when there is an `allow`",
            "add \"0.0.0.0/0\" and \"::/0\" to `allow` if all others may come",
        );
    }
}

pub(super) fn queue(server: &VirtualServer, places: &VirtualServerPlaces, findings: &Findings) {
    if let (Some(_), Some(at)) = (server.admittance.queue, places.limits.queue_length)
        && server.real_servers.iter().all(|real| real.max_connections.is_none())
    {
        findings.warning(
            at,
            "nobody ever waits in this queue: no real server has `max_connections`",
            "add `max_connections` to them, or remove `queue_length`",
        );
    }
}

pub(super) fn commands(server: &VirtualServer, places: &VirtualServerPlaces, findings: &Findings) {
    let (filter, Some(at)) = (&server.admittance.denied_commands, places.limits.deny_commands) else {
        return;
    };
    if filter.is_empty() {
        return;
    }
    // What ends here is read here.
    if server.gsi.is_none() && !filter.denies("AUTH") {
        findings.warning(
            at,
            "`deny_commands` holds for clear text and for TLS that ends here: after a GSI login, or TLS that the real \
             server ends, the door reads no command",
            "deny the same in the real servers (gridftp.conf: `disable_command_list`), or deny \"AUTH\" too",
        );
    }
    if server.gsi.is_some() && server.gsi_passes_for(|_| true) {
        findings.warning(
            at,
            "`deny_commands` does not hold for GSI sessions that pass through: of those the door reads no command",
            "deny the same in the real servers (gridftp.conf: `disable_command_list`)",
        );
    }
    for same in SAME {
        let (denied, left): (Vec<&str>, Vec<&str>) = same.iter().partition(|rule| filter.denies(rule));
        if let (Some(one), false) = (denied.first(), left.is_empty()) {
            findings.warning(
                at,
                format!("`{one}` is denied, and {} can do the same", enumeration(&left)),
                format!("add {}, unless the real servers do not know {}", enumeration(&left), pronoun(&left)),
            );
        }
    }
}

fn pronoun(rules: &[&str]) -> &'static str {
    if rules.len() == 1 { "it" } else { "them" }
}
