//! Whose ports of the virtual address are whose.
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::super::error::Findings;
use super::super::model::{RealServer, VirtualServer};
use super::{Doors, RealServerPlaces, VirtualServerPlaces};
use crate::proto::ftp::DataPath;

/// Relay ports from which on their number is not worth a word. A port is taken from the address's announcement until the
/// client has connected, so that a hundred are some thousand transfers a second; of MODE E, as long as its set-up lives.
const ENOUGH_RELAY_PORTS: u32 = 100;

/// A port that is the door's and a real server's.
pub(super) fn overlap(
    server: &VirtualServer,
    real_server: &RealServer,
    places: &RealServerPlaces,
    findings: &Findings,
) {
    let relay = &server.relay_ports;
    let (Some(data), Some(at)) = (&real_server.data_ports, places.data_ports) else {
        return;
    };
    if relay.start() <= data.end() && data.start() <= relay.end() {
        findings.error(
            at,
            format!("`data_ports` {} overlap `relay_ports` {}", shown(data), shown(relay)),
            "a port of the virtual address is the door's or a server's: choose ranges apart",
        );
    }
}

/// `http` at an address and port of a virtual server.
pub(in super::super) fn http(http: SocketAddr, at: usize, servers: &[VirtualServer], findings: &Findings) {
    let meets = |address: &IpAddr| {
        let any = address.is_unspecified() || http.ip().is_unspecified();
        *address == http.ip() || (any && address.is_ipv4() == http.is_ipv4())
    };
    for server in servers.iter().filter(|server| server.addresses.iter().any(meets)) {
        let implicit = server.tls.as_ref().and_then(|tls| tls.implicit_port);
        let taken = if [Some(server.port), implicit].contains(&Some(http.port())) {
            format!("where virtual server `{}` listens", server.name)
        } else if server.relay_ports.contains(&http.port()) {
            format!("a port of virtual server `{}`'s `relay_ports`", server.name)
        } else {
            continue;
        };
        findings.error(at, format!("`http` is {http}, {taken}"), "choose another port");
        return;
    }
}

/// What the door's own range must not hold, and how wide it should be.
pub(super) fn relay_ports(
    server: &VirtualServer,
    places: &VirtualServerPlaces,
    doors: &Doors<'_>,
    findings: &Findings,
) {
    let relay = &server.relay_ports;
    let at = places.relay_ports.unwrap_or(places.header);
    let held = |what: String| {
        let what = format!("`relay_ports` {} contain {what}", shown(relay));
        findings.error(at, what, "choose a range without it");
    };
    let implicit = server.tls.as_ref().and_then(|tls| tls.implicit_port);
    if relay.contains(&server.port) {
        held(format!("the control port {}", server.port));
    } else if let Some(port) = implicit.filter(|port| relay.contains(port)) {
        held(format!("the `implicit_port` {port}"));
    } else if let Some((door, owner)) = doors
        .iter()
        .filter(|(door, owner)| **owner != server.name && relay.contains(&door.port()))
        .filter(|(door, _)| {
            let shares = |ip: &IpAddr| {
                ip.is_ipv4() == door.is_ipv4()
                    && (*ip == door.ip() || ip.is_unspecified() || door.ip().is_unspecified())
            };
            server.addresses.iter().any(shares)
        })
        .min_by_key(|(door, _)| **door)
    {
        held(format!("the port of {door}, an address of virtual server `{owner}`"));
    }
    let count = u32::from(relay.end() - relay.start()) + 1;
    if server.data_path != DataPath::Direct && count < ENOUGH_RELAY_PORTS.min(server.max_sessions) {
        findings.warning(
            at,
            format!(
                "`relay_ports` {} are {count}: when all are taken, transfers are refused with 425",
                shown(relay)
            ),
            format!("give at least {ENOUGH_RELAY_PORTS}"),
        );
    }
}

fn shown(ports: &RangeInclusive<u16>) -> String {
    format!("{}-{}", ports.start(), ports.end())
}
