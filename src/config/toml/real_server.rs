//! `[[virtual_server.real_server]]`.
use super::check::{SERVER_CHECK, read_check};
use super::tls::{SERVER_TLS, certificate_name, read_server_tls};
use super::{KINDS, MAX_SESSIONS, located, port};
use crate::config::address;
use crate::config::consistency::RealServerPlaces;
use crate::config::error::{Findings, shown};
use crate::config::model::{Check, MAX_WEIGHT, RealServer};
use crate::config::naming::{NamedServer, Question};
use crate::config::reader::{Field, Kind, Section};
use crate::proto::proxy_protocol::Version;
use std::collections::HashSet;
use std::net::IpAddr;

pub(super) const REAL_SERVER: Kind = Kind {
    header: "[[virtual_server.real_server]]",
    keys: &[
        "name",
        "address",
        "srv",
        "port",
        "weight",
        "max_connections",
        "data_addresses",
        "data_address_map",
        "data_ports",
        "checks_data_peer",
        "send_proxy_protocol",
        "inhibit_on_failure",
        "tls",
        "gsi_name",
        "gsi_subject",
        "check",
    ],
};

/// The real servers of a virtual server, as far as they could be read.
#[derive(Default)]
pub(super) struct RealServers {
    /// Those with an address, and their places.
    pub(super) addressed: Vec<RealServer>,
    pub(super) places: Vec<RealServerPlaces>,
    /// Those with a name, and their places.
    pub(super) named: Vec<NamedServer>,
    pub(super) named_places: Vec<RealServerPlaces>,
    /// How many were written.
    pub(super) written: usize,
}

/// Where a real server is.
enum Location {
    Address(IpAddr),
    Name(Question),
}

pub(super) fn read_real_servers(
    section: &Section<'_>,
    defaults: (&Check, u16),
    ends_gsi: bool,
    findings: &Findings,
) -> RealServers {
    let Some(field) = section.field("real_server") else {
        findings.error(
            section.at,
            "`[[virtual_server]]` has no real server",
            "add a `[[virtual_server.real_server]]` with an `address`",
        );
        return RealServers::default();
    };
    let sections = field.sections(&REAL_SERVER, &KINDS);
    if field.list_is_empty() {
        field.error("`real_server` is empty", "add a `[[virtual_server.real_server]]` with an `address`");
    }
    let mut servers = RealServers { written: sections.len(), ..RealServers::default() };
    for (position, section) in sections.iter().enumerate() {
        let location = read_location(section, findings);
        let (server, places) = read_real_server(section, location.as_ref(), defaults, ends_gsi, findings);
        match location {
            Some(Location::Address(_)) => {
                servers.addressed.push(server);
                servers.places.push(places);
            }
            Some(Location::Name(question)) => {
                if servers.named.iter().any(|other| other.template.name == server.name) {
                    findings.error(
                        places.name.unwrap_or(places.header),
                        format!("there is already a real server `{}`", server.name),
                        "give each a `name` of its own",
                    );
                }
                servers.named.push(NamedServer { question, template: server, position });
                servers.named_places.push(places);
            }
            None => {}
        }
    }
    servers
}

fn read_location(section: &Section<'_>, findings: &Findings) -> Option<Location> {
    if let Some(field) = section.field("srv") {
        if let Some(address) = section.place_of("address") {
            findings.error(address, "there are `address` and `srv`", "keep the one that is meant");
        }
        for key in ["port", "weight"] {
            if let Some(at) = section.place_of(key) {
                findings.warning(
                    at,
                    format!("`{key}` is not used with `srv`"),
                    "remove it: the record has one",
                );
            }
        }
        return field.parsed(address::parse_name).map(|name| Location::Name(Question::Service(name)));
    }
    let mend = "add `address = \"…\"`, its IP address or its name";
    let field = section.required("address", mend)?;
    if address::is_host_name(field.text()?) {
        return field.parsed(address::parse_name).map(|name| Location::Name(Question::Host(name)));
    }
    field.host_address().map(Location::Address)
}

fn read_real_server(
    section: &Section<'_>,
    location: Option<&Location>,
    (check, default_port): (&Check, u16),
    ends_gsi: bool,
    findings: &Findings,
) -> (RealServer, RealServerPlaces) {
    let name_field = section.field("name");
    let name = name_field.and_then(|field| field.name());
    let data_addresses = section.field("data_addresses");
    let checks_data_peer = section.field("checks_data_peer");
    let send_proxy_protocol = section.field("send_proxy_protocol");
    let tls = section.field("tls");
    // What does not depend on the address is read without it, too: all problems at once.
    let mut default = RealServer::new(match location {
        Some(Location::Address(address)) => *address,
        Some(Location::Name(_)) | None => IpAddr::from([0, 0, 0, 0]),
    });
    if let Some(Location::Name(question)) = location {
        question.name().clone_into(&mut default.name);
    }
    let (listed, data_address_places) =
        data_addresses.map(|field| located(&field, Field::host_address)).unwrap_or_default();
    let server = RealServer {
        name: name.unwrap_or(default.name),
        address: default.address,
        port: port(section, default_port),
        weight: section
            .field("weight")
            .and_then(|field| field.number(&(0..=MAX_WEIGHT)))
            .unwrap_or(default.weight),
        max_connections: section.field("max_connections").and_then(|field| field.number(&(1..=MAX_SESSIONS))),
        data_addresses: listed,
        data_address_map: section.field("data_address_map").map(read_address_map).unwrap_or_default(),
        data_ports: section.field("data_ports").and_then(|field| field.data_ports()),
        checks_data_peer: checks_data_peer
            .and_then(|field| field.boolean())
            .unwrap_or(default.checks_data_peer),
        send_proxy_protocol: send_proxy_protocol.and_then(read_proxy_protocol),
        inhibit_on_failure: section
            .field("inhibit_on_failure")
            .and_then(|field| field.boolean())
            .unwrap_or(default.inhibit_on_failure),
        tls: tls
            .and_then(|field| field.section(&SERVER_TLS, &KINDS))
            .map(|section| read_server_tls(&section, findings)),
        gsi_name: section.field("gsi_name").and_then(|field| field.parsed(certificate_name)),
        gsi_subject: section.field("gsi_subject").and_then(|field| field.parsed(subject)),
        check: section
            .field("check")
            .and_then(|field| field.section(&SERVER_CHECK, &KINDS))
            .map(|section| read_check(&section, check, ends_gsi, findings)),
    };
    let places = RealServerPlaces {
        header: section.at,
        name: name_field.map(|field| field.at),
        address: section.field("address").map_or(section.at, |field| field.at),
        port: section.field("port").map(|field| field.at),
        data_addresses: data_address_places,
        data_ports: section.field("data_ports").map(|field| field.at),
        checks_data_peer: checks_data_peer.map(|field| field.at),
        send_proxy_protocol: send_proxy_protocol.map(|field| field.at),
        tls: tls.map(|field| field.at),
        gsi: ["gsi_name", "gsi_subject"].into_iter().filter_map(|key| section.place_of(key)).min(),
    };
    (server, places)
}

fn subject(text: &str) -> Result<String, address::Refusal> {
    if text.starts_with('/') && text.contains('=') {
        return Ok(text.to_owned());
    }
    Err((
        format!("`{}` is no subject of a certificate", shown(text)),
        "write it as `openssl x509 -subject -nameopt compat` shows it: /DC=org/…/CN=…".into(),
    ))
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
