//! What the kernel forwards: ports that are a server's or a service's, and who can be reached without the door.
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::super::error::Findings;
use super::super::model::{MAX_FALLBACK_PORTS, RealServer, VirtualServer};
use super::{VirtualServerPlaces, family};

/// A range of a virtual server's ports that belongs to one of its real servers.
struct Slice<'s> {
    server: &'s VirtualServer,
    real_server: &'s str,
    address: IpAddr,
    ports: &'s RangeInclusive<u16>,
    at: usize,
}

pub(super) fn examine(servers: &[VirtualServer], places: &[VirtualServerPlaces], findings: &Findings) {
    for (server, places) in servers.iter().zip(places) {
        direct_routing(server, places, findings);
        fallback(server, places, findings);
    }
    ports(servers, places, findings);
    slices(servers, places, findings);
}

/// What Direct Routing cannot do, of one virtual server.
fn direct_routing(server: &VirtualServer, places: &VirtualServerPlaces, findings: &Findings) {
    if server.direct_routing.is_none() {
        return;
    }
    for (address, at) in server.addresses.iter().zip(&places.addresses) {
        if address.is_unspecified() {
            findings.error(
                *at,
                format!("`forwarding = \"dr\"` cannot be for every address of the host, as `{address}` is"),
                "write the virtual addresses",
            );
        }
    }
    let real_servers = || server.real_servers.iter().zip(&places.real_servers);
    for (real, places) in real_servers().filter(|(real, _)| ![0, server.port].contains(&real.port)) {
        findings.error(
            places.port.unwrap_or(places.header),
            format!("real server `{}` has port {}: Direct Routing changes no port", real.name, real.port),
            format!("let it listen on {}, as the virtual server does, or remove `port`", server.port),
        );
    }
    for ipv4 in [true, false] {
        let first = server.addresses.iter().position(|address| address.is_ipv4() == ipv4);
        let Some(at) = first.and_then(|index| places.addresses.get(index)) else { continue };
        let family = family(server.addresses[first.unwrap_or_default()]);
        let lacks = |real: &RealServer| real.address_of_family(!ipv4).is_none();
        let without = real_servers().filter(|(real, _)| lacks(real)).count();
        if without == 0 {
            continue;
        }
        let mend = format!("add their {family} addresses to their `data_addresses`");
        if without == server.real_servers.len() && server.named_servers.is_empty() {
            findings.error(*at, format!("no real server of `{}` has an {family} address", server.name), mend);
        } else if let Some((real, places)) = real_servers().find(|(real, _)| lacks(real)) {
            findings.warning(
                places.header,
                format!(
                    "real server `{}` has no {family} address: it gets no {family} connections",
                    real.name
                ),
                format!("add its {family} address to its `data_addresses`"),
            );
        }
    }
}

/// What the door would serve in the kernel's place.
fn fallback(server: &VirtualServer, places: &VirtualServerPlaces, findings: &Findings) {
    let Some(routing) = server.direct_routing.as_ref().filter(|routing| routing.fallback) else { return };
    let at = places.ports.unwrap_or(places.header);
    if server.port_count() > MAX_FALLBACK_PORTS {
        findings.warning(
            at,
            format!(
                "`ports` are {}: with `fallback = \"proxy\"` the door serves the first {MAX_FALLBACK_PORTS}",
                server.port_count()
            ),
            "put those that clients need first; data ports of FTP need none at layer 7",
        );
    }
    if routing.persistence.is_some() {
        findings.warning(
            at,
            format!("`{}` would have no persistence at layer 7", server.name),
            "where a client has to stay on its server there, write `lb_algo = \"sh\"`",
        );
    }
}

/// Ports that the kernel balances are nobody else's.
fn ports(servers: &[VirtualServer], places: &[VirtualServerPlaces], findings: &Findings) {
    for (index, (server, own)) in servers.iter().zip(places).enumerate() {
        let balanced = server.direct_routing.as_ref().map_or(&[][..], |routing| &routing.ports);
        for (number, range) in balanced.iter().enumerate() {
            let at = own.ports.unwrap_or(own.header);
            let repeated =
                balanced[..number].iter().any(|other| meet(other, range)) || range.contains(&server.port);
            if repeated {
                findings.error(
                    at,
                    format!("`ports` {} are there twice, or hold `port`", shown(range)),
                    "keep one of them: `port` is one of the ports without being written there",
                );
                continue;
            }
            let taken = servers.iter().enumerate().filter(|(other, _)| *other != index).find(|(_, other)| {
                let theirs = service_ports(other);
                shares_address(server, other) && theirs.iter().any(|theirs| meet(theirs, range))
            });
            if let Some((_, other)) = taken {
                findings.error(
                    at,
                    format!("`ports` {} hold a port of virtual server `{}`", shown(range), other.name),
                    "choose ports that only one of them has",
                );
            }
        }
    }
}

/// Slices of two real servers have no port in common, and none of a service.
fn slices(servers: &[VirtualServer], places: &[VirtualServerPlaces], findings: &Findings) {
    let mut all: Vec<Slice<'_>> = Vec::new();
    for (server, places) in servers.iter().zip(places) {
        for (real, places) in server.real_servers.iter().zip(&places.real_servers) {
            let (Some(ports), Some(at)) = (&real.data_ports, places.data_ports) else { continue };
            all.push(Slice { server, real_server: &real.name, address: real.address, ports, at });
        }
    }
    for (number, slice) in all.iter().enumerate() {
        let overlap = |other: &&Slice<'_>| {
            other.address != slice.address
                && shares_address(other.server, slice.server)
                && meet(other.ports, slice.ports)
        };
        if let Some(other) = all[..number].iter().find(overlap) {
            findings.error(
                slice.at,
                format!(
                    "`data_ports` {} overlap those of real server `{}`, {}",
                    shown(slice.ports),
                    other.real_server,
                    shown(other.ports)
                ),
                "a port of the virtual address is one server's: choose ranges apart, here and in its GLOBUS_TCP_PORT_RANGE",
            );
        }
        let holds = |server: &&VirtualServer| {
            shares_address(server, slice.server)
                && service_ports(server).iter().any(|ports| meet(ports, slice.ports))
        };
        if let Some(other) = servers.iter().find(holds) {
            findings.error(
                slice.at,
                format!(
                    "`data_ports` {} of real server `{}` hold a port of virtual server `{}`",
                    shown(slice.ports),
                    slice.real_server,
                    other.name
                ),
                "choose a range without it",
            );
        }
        let unwritten = slice.server.addresses.iter().any(IpAddr::is_unspecified);
        if unwritten {
            findings.warning(
                slice.at,
                format!(
                    "`data_ports` of `{}` are not carried: which address is virtual is not written",
                    slice.real_server
                ),
                "write the virtual addresses in `addresses`",
            );
        }
    }
}

/// Control ports, of TLS too, and what the kernel balances.
fn service_ports(server: &VirtualServer) -> Vec<RangeInclusive<u16>> {
    let implicit = server.tls.as_ref().and_then(|tls| tls.implicit_port);
    let single = [Some(server.port), implicit].into_iter().flatten().filter(|port| *port != 0);
    let mut ports: Vec<_> = single.map(|port| port..=port).collect();
    ports.extend(server.direct_routing.iter().flat_map(|routing| routing.ports.clone()));
    ports
}

fn shares_address(one: &VirtualServer, other: &VirtualServer) -> bool {
    let same = |a: &IpAddr, b: &IpAddr| {
        a == b || a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified())
    };
    one.addresses.iter().any(|a| other.addresses.iter().any(|b| same(a, b)))
}

fn meet(one: &RangeInclusive<u16>, other: &RangeInclusive<u16>) -> bool {
    one.start() <= other.end() && other.start() <= one.end()
}

fn shown(ports: &RangeInclusive<u16>) -> String {
    if ports.start() == ports.end() {
        ports.start().to_string()
    } else {
        format!("{}-{}", ports.start(), ports.end())
    }
}
