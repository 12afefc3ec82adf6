//! `[[virtual_server.real_server]]`.
use super::check::{SERVER_CHECK, read_check};
use super::tls::{SERVER_TLS, read_server_tls};
use super::{KINDS, MAX_SESSIONS, located, port};
use crate::config::address;
use crate::config::consistency::RealServerPlaces;
use crate::config::error::Findings;
use crate::config::model::{Check, RealServer};
use crate::config::reader::{Field, Kind, Section};
use crate::proto::proxy_protocol::Version;
use std::collections::HashSet;
use std::net::IpAddr;

pub(super) const REAL_SERVER: Kind = Kind {
    header: "[[virtual_server.real_server]]",
    keys: &[
        "name",
        "address",
        "port",
        "weight",
        "max_connections",
        "data_addresses",
        "data_address_map",
        "data_ports",
        "checks_data_peer",
        "send_proxy_protocol",
        "tls",
        "check",
    ],
};

/// The real servers whose address could be read, their places, and how many were written.
pub(super) fn read_real_servers(
    section: &Section<'_>,
    check: &Check,
    findings: &Findings,
) -> (Vec<RealServer>, Vec<RealServerPlaces>, usize) {
    let Some(field) = section.field("real_server") else {
        findings.error(
            section.at,
            "`[[virtual_server]]` has no real server",
            "add a `[[virtual_server.real_server]]` with an `address`",
        );
        return (Vec::new(), Vec::new(), 0);
    };
    let sections = field.sections(&REAL_SERVER, &KINDS);
    if field.list_is_empty() {
        field.error("`real_server` is empty", "add a `[[virtual_server.real_server]]` with an `address`");
    }
    let (servers, places) =
        sections.iter().filter_map(|section| read_real_server(section, check, findings)).unzip();
    (servers, places, sections.len())
}

fn read_real_server(
    section: &Section<'_>,
    check: &Check,
    findings: &Findings,
) -> Option<(RealServer, RealServerPlaces)> {
    let address_field = section.required("address", "add `address = \"…\"`, its IP address");
    let address = address_field.and_then(|field| field.host_address());
    let name_field = section.field("name");
    let name = name_field.and_then(|field| field.name());
    let data_addresses = section.field("data_addresses");
    let checks_data_peer = section.field("checks_data_peer");
    let send_proxy_protocol = section.field("send_proxy_protocol");
    let tls = section.field("tls");
    // What does not depend on the address is read without it, too: all problems at once.
    let default = RealServer::new(address.unwrap_or(IpAddr::from([0, 0, 0, 0])));
    let (listed, data_address_places) =
        data_addresses.map(|field| located(&field, Field::host_address)).unwrap_or_default();
    let server = RealServer {
        name: name.unwrap_or(default.name),
        address: default.address,
        port: port(section, default.port),
        weight: section
            .field("weight")
            .and_then(|field| field.number(&(0..=u32::from(u16::MAX))))
            .unwrap_or(default.weight),
        max_connections: section.field("max_connections").and_then(|field| field.number(&(1..=MAX_SESSIONS))),
        data_addresses: listed,
        data_address_map: section.field("data_address_map").map(read_address_map).unwrap_or_default(),
        data_ports: section.field("data_ports").and_then(|field| field.data_ports()),
        checks_data_peer: checks_data_peer
            .and_then(|field| field.boolean())
            .unwrap_or(default.checks_data_peer),
        send_proxy_protocol: send_proxy_protocol.and_then(read_proxy_protocol),
        tls: tls
            .and_then(|field| field.section(&SERVER_TLS, &KINDS))
            .map(|section| read_server_tls(&section, findings)),
        check: section
            .field("check")
            .and_then(|field| field.section(&SERVER_CHECK, &KINDS))
            .map(|section| read_check(&section, check, findings)),
    };
    let places = RealServerPlaces {
        header: section.at,
        name: name_field.map(|field| field.at),
        address: address_field.map_or(section.at, |field| field.at),
        data_addresses: data_address_places,
        data_ports: section.field("data_ports").map(|field| field.at),
        checks_data_peer: checks_data_peer.map(|field| field.at),
        send_proxy_protocol: send_proxy_protocol.map(|field| field.at),
        tls: tls.map(|field| field.at),
    };
    address.map(|_| (server, places))
}

fn read_proxy_protocol(field: Field<'_>) -> Option<Version> {
    let version: String = field.word(&["v1", "v2"], &[])?;
    Some(if version == "v1" { Version::V1 } else { Version::V2 })
}

fn read_address_map(field: Field<'_>) -> Vec<(IpAddr, IpAddr)> {
    let mut map = Vec::new();
    let mut mapped = HashSet::new();
    for (key, at, value) in field.pairs() {
        let from = address::parse_host(key).map_err(|(what, mend)| field.error_at(at, what, mend)).ok();
        let to = value.host_address();
        let (Some(from), Some(to)) = (from, to) else { continue };
        if from.is_ipv4() != to.is_ipv4() {
            value.error(
                format!("`{from}` and `{to}` are of different families"),
                "map IPv4 to IPv4 and IPv6 to IPv6",
            );
        }
        if !mapped.insert(from) {
            field.error_at(at, format!("`{from}` is mapped twice"), "keep one of them");
        }
        map.push((from, to));
    }
    map
}
