//! What only the whole file shows: duplicates, loops, overlaps, and what is likely not meant.
//!
//! A port of 0 stands for one that could not be read; nothing is compared with it.
use super::error::Findings;
use super::model::{RealServer, VirtualServer};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

/// Where the parts of a virtual server are written, in bytes.
pub(super) struct VirtualServerPlaces {
    pub(super) header: usize,
    pub(super) name: Option<usize>,
    /// One for each address.
    pub(super) addresses: Vec<usize>,
    pub(super) relay_ports: Option<usize>,
    pub(super) gsi: Option<usize>,
    /// One for each real server.
    pub(super) real_servers: Vec<RealServerPlaces>,
    /// Real servers in the file, those without a readable address included.
    pub(super) real_servers_written: usize,
}

/// Where the parts of a real server are written, in bytes.
pub(super) struct RealServerPlaces {
    pub(super) header: usize,
    pub(super) name: Option<usize>,
    pub(super) address: usize,
    /// One for each data address.
    pub(super) data_addresses: Vec<usize>,
    pub(super) data_ports: Option<usize>,
}

/// Looks at all virtual servers together, then at each alone.
pub(super) fn examine(servers: &[VirtualServer], places: &[VirtualServerPlaces], findings: &Findings) {
    let doors = listening_addresses(servers, places, findings);
    unique_names(servers, places, findings);
    for (server, places) in servers.iter().zip(places) {
        unique_real_servers(server, places, findings);
        for (real_server, places) in server.real_servers.iter().zip(&places.real_servers) {
            loops(real_server, places, &doors, findings);
            data_addresses(server, real_server, places, findings);
            overlaps(server, real_server, places, findings);
        }
        relay_ports_hold_no_service(server, places, findings);
        likely_not_meant(server, places, findings);
    }
}

type Doors<'s> = HashMap<SocketAddr, &'s str>;

/// Every address and port that is listened on, with the virtual server it belongs to.
fn listening_addresses<'s>(
    servers: &'s [VirtualServer],
    places: &[VirtualServerPlaces],
    findings: &Findings,
) -> Doors<'s> {
    let mut doors = Doors::new();
    for (server, places) in servers.iter().zip(places).filter(|(server, _)| server.port != 0) {
        for (address, at) in server.addresses.iter().zip(&places.addresses) {
            let door = SocketAddr::new(*address, server.port);
            if let Some(owner) = doors.insert(door, &server.name) {
                findings.error(
                    *at,
                    format!("{door} is already an address of virtual server `{owner}`"),
                    "keep it in one place, or use another port",
                );
            }
        }
    }
    doors
}

fn unique_names(servers: &[VirtualServer], places: &[VirtualServerPlaces], findings: &Findings) {
    let mut names = HashMap::new();
    for (server, places) in servers.iter().zip(places) {
        if names.insert(server.name.as_str(), ()).is_none() {
            continue;
        }
        match places.name {
            Some(at) => findings.error(
                at,
                format!("there is already a virtual server `{}`", server.name),
                "give each a name of its own",
            ),
            None => findings.error(
                places.header,
                format!("this virtual server has no name, and `{}` is taken", server.name),
                "add a `name`",
            ),
        }
    }
}

fn unique_real_servers(server: &VirtualServer, places: &VirtualServerPlaces, findings: &Findings) {
    let mut names = HashMap::new();
    let mut addresses = HashMap::new();
    for (real_server, places) in server.real_servers.iter().zip(&places.real_servers) {
        let address = SocketAddr::new(real_server.address, real_server.port);
        if real_server.port != 0
            && let Some(other) = addresses.insert(address, real_server.name.as_str())
        {
            findings.error(
                places.address,
                format!("{address} is already real server `{other}` of `{}`", server.name),
                "keep one of them, its `weight` gives it more sessions",
            );
            continue;
        }
        if names.insert(real_server.name.as_str(), ()).is_some() {
            findings.error(
                places.name.unwrap_or(places.header),
                format!("`{}` already has a real server `{}`", server.name, real_server.name),
                "give each a `name` of its own",
            );
        }
    }
}

/// A real server that is the door itself.
fn loops(real_server: &RealServer, places: &RealServerPlaces, doors: &Doors<'_>, findings: &Findings) {
    let address = SocketAddr::new(real_server.address, real_server.port);
    if let Some(owner) = doors.get(&address) {
        findings.error(
            places.address,
            format!("{address} is virtual server `{owner}` itself: its sessions would come back to the door"),
            "write the server's own address, or another `port`",
        );
    }
}

/// Data addresses: one for each family, and of use to somebody.
fn data_addresses(
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
    if server.addresses.iter().any(IpAddr::is_ipv6) && own.into_iter().all(IpAddr::is_ipv4) {
        findings.warning(
            places.header,
            format!(
                "`{}` has an IPv6 address and real server `{}` has none: its IPv6 clients are told an IPv4 \
                 data address",
                server.name, real_server.name
            ),
            "add the server's IPv6 address to its `data_addresses`",
        );
    }
}

fn overlaps(
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

fn relay_ports_hold_no_service(server: &VirtualServer, places: &VirtualServerPlaces, findings: &Findings) {
    let relay = &server.relay_ports;
    if relay.contains(&server.port) {
        findings.error(
            places.relay_ports.unwrap_or(places.header),
            format!("`relay_ports` {} contain the control port {}", shown(relay), server.port),
            "choose a range without it",
        );
    }
}

fn likely_not_meant(server: &VirtualServer, places: &VirtualServerPlaces, findings: &Findings) {
    let all_read = server.real_servers.len() == places.real_servers_written;
    if all_read && !server.real_servers.is_empty() && server.real_servers.iter().all(|real| real.weight == 0)
    {
        findings.warning(
            places.header,
            format!("every real server of `{}` has weight 0: no session is accepted", server.name),
            "give one a weight of 1 or more",
        );
    }
    if places.real_servers_written == 1 {
        findings.warning(
            places.header,
            format!("`{}` has one real server: nothing takes over when it is down", server.name),
            "add a second `[[virtual_server.real_server]]`",
        );
    }
    if let Some(gsi) = places.gsi
        && server.addresses.iter().any(IpAddr::is_ipv6)
    {
        findings.warning(
            gsi,
            "after a GSI login the door sees no replies: IPv6 clients (EPSV) get the address that the real \
             server itself announces",
            "start the real servers with -epsv-ip",
        );
    }
    let real_servers = server.real_servers.iter().zip(&places.real_servers);
    let data_ports =
        real_servers.filter_map(|(real, places)| real.data_ports.as_ref().and(places.data_ports));
    if let Some(first) = data_ports.min() {
        findings.warning(
            first,
            "`data_ports` are checked but not used: this version has no kernel path",
            "remove them, or leave them for a later version",
        );
    }
}

fn serves(server: &VirtualServer, ipv4: bool) -> bool {
    server.addresses.iter().any(|address| address.is_ipv4() == ipv4)
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn shown(ports: &RangeInclusive<u16>) -> String {
    format!("{}-{}", ports.start(), ports.end())
}
