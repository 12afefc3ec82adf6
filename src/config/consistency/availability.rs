//! What real servers can make up for each other, and what never could be.
use std::net::SocketAddr;

use super::super::error::Findings;
use super::super::model::VirtualServer;
use super::{AvailabilityPlaces, Doors, VirtualServerPlaces};

/// Quorum, sorry server and ejection against what there is.
pub(super) fn examine(
    server: &VirtualServer,
    places: &VirtualServerPlaces,
    doors: &Doors<'_>,
    findings: &Findings,
) {
    let at = &places.availability;
    let all_read = server.real_servers.len() == places.real_servers_written;
    quorum(server, at, places.header, all_read, findings);
    sorry_server(server, at, doors, findings);
    if let Some(at) = at.ejection
        && places.real_servers_written == 1
        && server.named_servers.is_empty()
    {
        findings.warning(
            at,
            format!("`{}` has one real server: it is never ejected, for it is the last", server.name),
            "add a second `[[virtual_server.real_server]]`, or remove the table",
        );
    }
}

fn quorum(
    server: &VirtualServer,
    places: &AvailabilityPlaces,
    header: usize,
    all_read: bool,
    findings: &Findings,
) {
    let quorum = server.availability.quorum;
    if quorum.hysteresis >= quorum.quorum {
        let mend = if quorum.quorum > 1 {
            format!("write {} at most", quorum.quorum - 1)
        } else {
            "remove it, or raise `quorum`".into()
        };
        findings.error(
            places.hysteresis.unwrap_or(header),
            format!(
                "`hysteresis` is {}, and `quorum` {}: it could not be lost",
                quorum.hysteresis, quorum.quorum
            ),
            mend,
        );
        return;
    }
    let weight: u64 = server.real_servers.iter().map(|real| u64::from(real.weight)).sum();
    let needed = u64::from(quorum.quorum) + u64::from(quorum.hysteresis);
    if all_read && weight > 0 && needed > weight {
        findings.warning(
            places.quorum.or(places.hysteresis).unwrap_or(header),
            format!(
                "once lost, the quorum is there again at a weight of {needed}, and all real servers of `{}` together have {weight}",
                server.name
            ),
            "lower `quorum` or `hysteresis`",
        );
    }
}

fn sorry_server(server: &VirtualServer, places: &AvailabilityPlaces, doors: &Doors<'_>, findings: &Findings) {
    let (Some(sorry), Some(at)) = (server.availability.sorry_server, places.sorry_server) else { return };
    if let Some(owner) = doors.get(&sorry) {
        findings.error(
            at,
            format!("{sorry} is virtual server `{owner}` itself: its sessions would come back to the door"),
            "write the address of another server",
        );
    }
    let same = |real: &&crate::config::RealServer| SocketAddr::new(real.address, real.port) == sorry;
    if let Some(real) = server.real_servers.iter().find(same) {
        findings.warning(
            at,
            format!("{sorry} is real server `{}`: when it is asked as the last, it is down", real.name),
            "write the address of a server that is none of them",
        );
    }
}
