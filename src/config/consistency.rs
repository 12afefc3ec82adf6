//! What only the whole file shows: duplicates, loops, overlaps, and what is likely not meant.
//!
//! A port of 0 stands for one that could not be read; nothing is compared with it.
mod availability;
mod data;
mod forwarding;
mod gsi;
mod limits;
mod ports;
mod vrrp;

pub(super) use ports::http as examine_http;
pub(super) use vrrp::{
    NamedPlaces, SyncGroupPlaces, TrackPlaces, VrrpInstancePlaces, VrrpPlaces, examine as examine_vrrp,
};

use super::error::Findings;
use super::model::{RealServer, VirtualServer};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// Where the parts of a virtual server are written, in bytes.
pub(super) struct VirtualServerPlaces {
    pub(super) header: usize,
    pub(super) name: Option<usize>,
    /// One for each address.
    pub(super) addresses: Vec<usize>,
    pub(super) data_path: Option<usize>,
    pub(super) ports: Option<usize>,
    pub(super) relay_ports: Option<usize>,
    /// One for each address.
    pub(super) announce_address: Vec<usize>,
    /// One for each network.
    pub(super) proxy_protocol_from: Vec<usize>,
    pub(super) tls: Option<DoorTlsPlaces>,
    pub(super) limits: LimitPlaces,
    pub(super) gsi: Option<usize>,
    pub(super) availability: AvailabilityPlaces,
    /// One for each real server.
    pub(super) real_servers: Vec<RealServerPlaces>,
    /// One for each real server by name.
    pub(super) named_servers: Vec<RealServerPlaces>,
    /// Real servers in the file, those without a readable address included.
    pub(super) real_servers_written: usize,
}

/// Where its keys for availability are written, in bytes.
pub(super) struct AvailabilityPlaces {
    pub(super) quorum: Option<usize>,
    pub(super) hysteresis: Option<usize>,
    pub(super) sorry_server: Option<usize>,
    pub(super) ejection: Option<usize>,
}

/// Where the parts of `[virtual_server.tls]` are written, in bytes.
pub(super) struct DoorTlsPlaces {
    pub(super) header: usize,
    pub(super) implicit_port: Option<usize>,
}

/// Where the keys about clients and commands are written, in bytes.
pub(super) struct LimitPlaces {
    /// One for each network.
    pub(super) allow: Vec<usize>,
    /// One for each network.
    pub(super) deny: Vec<usize>,
    /// The first command.
    pub(super) deny_commands: Option<usize>,
    pub(super) queue_length: Option<usize>,
}

/// Where the parts of a real server are written, in bytes.
pub(super) struct RealServerPlaces {
    pub(super) header: usize,
    pub(super) name: Option<usize>,
    pub(super) address: usize,
    pub(super) port: Option<usize>,
    /// One for each data address.
    pub(super) data_addresses: Vec<usize>,
    pub(super) data_ports: Option<usize>,
    pub(super) checks_data_peer: Option<usize>,
    pub(super) send_proxy_protocol: Option<usize>,
    pub(super) tls: Option<usize>,
    /// The first of `gsi_name` and `gsi_subject`.
    pub(super) gsi: Option<usize>,
}

/// Looks at all virtual servers together, then at each alone.
pub(super) fn examine(servers: &[VirtualServer], places: &[VirtualServerPlaces], findings: &Findings) {
    let doors = listening_addresses(servers, places, findings);
    unique_names(servers, places, findings);
    forwarding::examine(servers, places, findings);
    for (server, places) in servers.iter().zip(places) {
        unique_real_servers(server, places, findings);
        for (real_server, places) in server.real_servers.iter().zip(&places.real_servers) {
            loops(real_server, places, &doors, findings);
            data::addresses(server, real_server, places, findings);
            data::constraints(server, real_server, places, findings);
            ports::overlap(server, real_server, places, findings);
        }
        for (named, places) in server.named_servers.iter().zip(&places.named_servers) {
            data::constraints(server, &named.template, places, findings);
        }
        // What only the kernel serves opens no port.
        if server.direct_routing.as_ref().is_none_or(|routing| routing.fallback) {
            ports::relay_ports(server, places, &doors, findings);
        }
        data::announced(server, places, findings);
        data::encrypted(server, places, findings);
        availability::examine(server, places, &doors, findings);
        gsi::examine(server, places, findings);
        forged_by_anybody(server, places, findings);
        limits::networks(server, places, findings);
        limits::queue(server, places, findings);
        limits::commands(server, places, findings);
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
    for (server, places) in servers.iter().zip(places) {
        let control = (server.port != 0).then_some((server.port, None));
        let implicit = server.tls.as_ref().and_then(|tls| tls.implicit_port);
        let implicit_at = places.tls.as_ref().and_then(|tls| tls.implicit_port);
        if implicit == Some(server.port) {
            findings.error(
                implicit_at.unwrap_or(places.header),
                format!(
                    "`implicit_port` is {}, as `port` is: a port speaks TLS from the start or it does not",
                    server.port
                ),
                "write another one, 990 by custom",
            );
        }
        let implicit = implicit.filter(|port| *port != server.port).map(|port| (port, implicit_at));
        for (address, at) in server.addresses.iter().zip(&places.addresses) {
            for (port, port_at) in control.into_iter().chain(implicit) {
                let door = SocketAddr::new(*address, port);
                if let Some(owner) = doors.insert(door, &server.name) {
                    findings.error(
                        port_at.unwrap_or(*at),
                        format!("{door} is already an address of virtual server `{owner}`"),
                        "keep it in one place, or use another port",
                    );
                }
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

/// A network of everybody in `proxy_protocol_from`.
fn forged_by_anybody(server: &VirtualServer, places: &VirtualServerPlaces, findings: &Findings) {
    for (network, at) in server.proxy_protocol_from.iter().zip(&places.proxy_protocol_from) {
        if network.prefix_len() == 0 {
            findings.warning(
                *at,
                format!("`{network}` lets every client say that it is another one"),
                "write the addresses of the load balancers in front of this one",
            );
        }
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
    // A name may stand for many.
    if places.real_servers_written == 1 && server.named_servers.is_empty() {
        findings.warning(
            places.header,
            format!("`{}` has one real server: nothing takes over when it is down", server.name),
            "add a second `[[virtual_server.real_server]]`",
        );
    }
}

fn serves(server: &VirtualServer, ipv4: bool) -> bool {
    server.addresses.iter().any(|address| address.is_ipv4() == ipv4)
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}
