//! What does not go together with GSI, or is likely not meant with it.
use super::{Findings, VirtualServer, VirtualServerPlaces};
use std::net::IpAddr;

pub(super) fn examine(server: &VirtualServer, places: &VirtualServerPlaces, findings: &Findings) {
    if let Some(gsi) = places.gsi
        && server.addresses.iter().any(IpAddr::is_ipv6)
        && server.gsi_passes_for(|network| network.addr().is_ipv6())
    {
        let of_some = if server.gsi.is_some() { " that passes through" } else { "" };
        findings.warning(
            gsi,
            format!(
                "after a GSI login{of_some} the door sees no replies: IPv6 clients (EPSV) get the address that the real \
                 server itself announces"
            ),
            "start the real servers with -epsv-ip",
        );
    }
    if server.gsi.is_some() {
        ended_here(server, places, findings);
    } else {
        let real_servers = places.real_servers.iter().chain(&places.named_servers);
        if let Some(first) = real_servers.filter_map(|places| places.gsi).min() {
            findings.warning(
                first,
                "`gsi_name` and `gsi_subject` are not used: who a real server is matters to its clients alone",
                "remove them, or end GSI at the door: `mode = \"terminate\"` in `[virtual_server.gsi]`",
            );
        }
    }
}

/// The door logs in with the user's credential, which goes by GSI alone: on either side there is no room for TLS.
fn ended_here(server: &VirtualServer, places: &VirtualServerPlaces, findings: &Findings) {
    if let Some(tls) = &places.tls {
        findings.error(
            tls.header,
            format!("`{}` ends GSI (`mode = \"terminate\"`), and lets nobody in by TLS", server.name),
            "give TLS a virtual server of its own, with another address or port",
        );
    }
    let named = server.named_servers.iter().map(|named| &named.template).zip(&places.named_servers);
    for (real_server, places) in server.real_servers.iter().zip(&places.real_servers).chain(named) {
        if let (Some(_), Some(at)) = (&real_server.tls, places.tls) {
            findings.error(
                at,
                format!(
                    "`{}` ends GSI (`mode = \"terminate\"`), and logs in at real servers by GSI, never by TLS",
                    server.name
                ),
                "remove `tls` of the real server, or write `mode = \"passthrough\"`",
            );
        }
    }
}
