//! Where the bytes of files travel, and who can reach whom for that.
use std::net::IpAddr;

use super::super::error::Findings;
use super::super::model::{RealServer, VirtualServer};
use super::{RealServerPlaces, VirtualServerPlaces, family, serves};
use crate::proto::ftp::DataPath;

/// Whether some clients exchange data with the server without the door.
fn is_direct_to_some(server: &VirtualServer, real_server: &RealServer) -> bool {
    server.direct_routing.is_none()
        && server.data_path != DataPath::Relay
        && !real_server.checks_data_peer
        && real_server.tls.is_none()
}

/// Data addresses: one for each family, and of use to somebody.
pub(super) fn addresses(
    server: &VirtualServer,
    real_server: &RealServer,
    places: &RealServerPlaces,
    findings: &Findings,
) {
    let addresses = &real_server.data_addresses;
    for (index, (address, at)) in addresses.iter().zip(&places.data_addresses).enumerate() {
        let family = family(*address);
        if addresses[..index].iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
            findings.error(
                *at,
                format!("`data_addresses` has a second {family} address, `{address}`"),
                "keep one of each family",
            );
        } else if !serves(server, address.is_ipv4()) && !server.addresses.is_empty() {
            findings.warning(
                *at,
                format!(
                    "no client is told the data address `{address}`: `{}` has no {family} address",
                    server.name
                ),
                format!("remove it, or add an {family} address to `addresses`"),
            );
        }
    }
    let own = std::iter::once(&real_server.address).chain(addresses);
    if is_direct_to_some(server, real_server)
        && server.addresses.iter().any(IpAddr::is_ipv6)
        && own.into_iter().all(IpAddr::is_ipv4)
    {
        findings.warning(
            places.header,
            format!(
                "`{}` has an IPv6 address and real server `{}` has none: IPv6 clients with direct data are \
                 told an IPv4 data address",
                server.name, real_server.name
            ),
            "add the server's IPv6 address to its `data_addresses`",
        );
    }
}

/// `announce_address`: one for each family, and of use to somebody.
pub(super) fn announced(server: &VirtualServer, places: &VirtualServerPlaces, findings: &Findings) {
    let addresses = &server.announce_address;
    for (index, (address, at)) in addresses.iter().zip(&places.announce_address).enumerate() {
        let family = family(*address);
        if addresses[..index].iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
            findings.error(
                *at,
                format!("`announce_address` has a second {family} address, `{address}`"),
                "keep one of each family",
            );
        } else if !serves(server, address.is_ipv4()) && !server.addresses.is_empty() {
            findings.warning(
                *at,
                format!("no client is told `{address}`: `{}` has no {family} address", server.name),
                format!("remove it, or add an {family} address to `addresses`"),
            );
        }
    }
}

/// What a real server demands of its data connections, beside what is configured for them.
pub(super) fn constraints(
    server: &VirtualServer,
    real_server: &RealServer,
    places: &RealServerPlaces,
    findings: &Findings,
) {
    if server.data_path == DataPath::Direct {
        let (key, why) = if real_server.tls.is_some() {
            (places.tls, "has `tls`")
        } else {
            (places.checks_data_peer.filter(|_| real_server.checks_data_peer), "has `checks_data_peer`")
        };
        if let Some(at) = key {
            findings.warning(
                at,
                format!(
                    "real server `{}` {why}: its data crosses the door, in spite of `data_path = \"direct\"`",
                    real_server.name
                ),
                "write `data_path = \"auto\"`, and let the firewall pass `relay_ports`; or remove the key",
            );
        }
    }
    // The server takes the client for its peer then, and refuses the door's connections as a stranger's.
    if real_server.checks_data_peer
        && let Some(at) = places.send_proxy_protocol
    {
        findings.error(
            at,
            "with `send_proxy_protocol` the server knows the client's address and not the door's: with \
             `checks_data_peer` it would refuse every data connection of the door",
            "remove one of them, and with this one let the server take data from any address (proftpd \
             `AllowForeignAddress on`)",
        );
    }
}

/// Encrypted data, of which only the door has the keys.
pub(super) fn encrypted(server: &VirtualServer, places: &VirtualServerPlaces, findings: &Findings) {
    if server.data_path == DataPath::Direct
        && server.tls.is_some()
        && let Some(at) = places.data_path
    {
        findings.warning(
            at,
            "encrypted data (PROT P) crosses the door, in spite of `data_path = \"direct\"`: its TLS ends there",
            "write `data_path = \"auto\"`, and let the firewall pass `relay_ports`",
        );
    }
}
