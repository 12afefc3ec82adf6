//! `[[virtual_server]]` with its `gsi`, `tls` and `check` tables.
use super::availability::read_availability;
use super::check::read_check;
use super::forwarding::read_direct_routing;
use super::gsi::{GSI, read_gsi};
use super::limits::read_limits;
use super::real_server::read_real_servers;
use super::tls::{DOOR_TLS, read_door_tls};
use super::{KINDS, MAX_SESSIONS, SHORTEST, duration, located, located_in, port};
use crate::config::address;
use crate::config::consistency::{AvailabilityPlaces, VirtualServerPlaces};
use crate::config::error::Findings;
use crate::config::model::{CheckKind, FTP_PORTS, VirtualServer};
use crate::config::reader::{Field, Kind, Section};

pub(super) const VIRTUAL_SERVER: Kind = Kind {
    header: "[[virtual_server]]",
    keys: &[
        "name",
        "addresses",
        "port",
        "forwarding",
        "ports",
        "persistence_timeout",
        "persistence_granularity",
        "persistence_granularity_ipv6",
        "fallback",
        "lb_algo",
        "data_path",
        "relay_ports",
        "announce_address",
        "proxy_protocol_from",
        "foreign_data_addresses",
        "trusted_networks",
        "allow",
        "deny",
        "max_sessions",
        "max_sessions_per_client",
        "session_rate_per_client",
        "session_burst_per_client",
        "ipv6_prefix",
        "queue_length",
        "queue_timeout",
        "deny_commands",
        "login_timeout",
        "idle_timeout",
        "greeting_timeout",
        "connect_timeout",
        "alpha",
        "quorum",
        "hysteresis",
        "sorry_server",
        "offline_message",
        "slow_start",
        "gsi",
        "tls",
        "ban",
        "check",
        "ejection",
        "real_server",
    ],
};

pub(super) const CHECK: Kind = Kind {
    header: "[virtual_server.check]",
    keys: &[
        "type",
        "user",
        "password",
        "file",
        "size",
        "checksum",
        "script",
        "misc_dynamic",
        "credential",
        "virtual_name",
        "delay_loop",
        "connect_timeout",
        "max_time",
        "retry",
        "delay_before_retry",
        "rise",
    ],
};

/// Of a virtual server without one; enough for a file that has only one.
const DEFAULT_NAME: &str = "gridftp";

pub(super) fn read_virtual_server(
    section: &Section<'_>,
    findings: &Findings,
) -> (VirtualServer, VirtualServerPlaces) {
    let name = section.field("name");
    let default =
        VirtualServer::new(name.and_then(|field| field.name()).unwrap_or_else(|| DEFAULT_NAME.to_owned()));
    let (addresses, address_places) = section
        .required("addresses", "add `addresses = [\"…\"]`, the addresses that clients connect to")
        .map(|field| located(&field, |item| item.parsed(address::parse)))
        .unwrap_or_default();
    if let Some(field) = section.field("addresses")
        && field.list_is_empty()
    {
        field.error("`addresses` is empty", "write the addresses that clients connect to");
    }
    let direct_routing = read_direct_routing(section, findings);
    let port = port(section, default.port);
    // Direct Routing changes no port.
    let real_port = if direct_routing.is_some() { port } else { default.port };
    let gsi = section.field("gsi").and_then(|field| field.section(&GSI, &KINDS));
    let termination = gsi.as_ref().and_then(|gsi| read_gsi(gsi, findings));
    let ends_gsi = termination.is_some();
    let mut default_check = default.check;
    if direct_routing.is_some() && !FTP_PORTS.contains(&port) {
        default_check.kind = CheckKind::Tcp;
    }
    let check = section.field("check").and_then(|field| field.section(&CHECK, &KINDS)).map_or_else(
        || default_check.clone(),
        |check| read_check(&check, &default_check, ends_gsi, findings),
    );
    let real_servers = read_real_servers(section, (&check, real_port), ends_gsi, findings);
    let (tls, tls_places) = section
        .field("tls")
        .and_then(|field| field.section(&DOOR_TLS, &KINDS))
        .map(|section| read_door_tls(&section))
        .map_or((None, None), |(tls, places)| (tls, Some(places)));
    let (announce_address, announce_places) = section
        .field("announce_address")
        .map(|field| located_in(&field.one_or_more("an address or a list of them"), Field::host_address))
        .unwrap_or_default();
    let (proxy_protocol_from, proxy_places) = section
        .field("proxy_protocol_from")
        .map(|field| located(&field, |item| item.parsed(address::parse_network)))
        .unwrap_or_default();
    let (admittance, limit_places) = read_limits(section, findings);
    let places = VirtualServerPlaces {
        limits: limit_places,
        header: section.at,
        name: name.map(|field| field.at),
        addresses: address_places,
        data_path: section.field("data_path").map(|field| field.at),
        ports: section.place_of("ports"),
        relay_ports: section.place_of("relay_ports"),
        announce_address: announce_places,
        proxy_protocol_from: proxy_places,
        tls: tls_places,
        gsi: gsi.as_ref().map(|gsi| gsi.at),
        availability: AvailabilityPlaces {
            quorum: section.field("quorum").map(|field| field.at),
            hysteresis: section.field("hysteresis").map(|field| field.at),
            sorry_server: section.field("sorry_server").map(|field| field.at),
            ejection: section.place_of("ejection"),
        },
        real_servers: real_servers.places,
        named_servers: real_servers.named_places,
        real_servers_written: real_servers.written,
    };
    let virtual_server = VirtualServer {
        addresses,
        port,
        direct_routing,
        lb_algo: section
            .field("lb_algo")
            .and_then(|field| field.word(&["wlc", "lc", "wrr", "rr", "sh"], &[]))
            .unwrap_or(default.lb_algo),
        data_path: section
            .field("data_path")
            .and_then(|field| field.word(&["auto", "direct", "kernel", "relay"], &[]))
            .unwrap_or(default.data_path),
        relay_ports: section
            .field("relay_ports")
            .and_then(|field| field.data_ports())
            .unwrap_or(default.relay_ports),
        announce_address,
        proxy_protocol_from,
        tls,
        gsi: termination,
        foreign_data_addresses: section
            .field("foreign_data_addresses")
            .and_then(|field| field.word(&["deny", "third-party", "allow"], &[]))
            .unwrap_or(default.foreign_data_addresses),
        trusted_networks: section
            .field("trusted_networks")
            .map(|field| located(&field, |item| item.parsed(address::parse_network)).0)
            .unwrap_or_default(),
        max_sessions: section
            .field("max_sessions")
            .and_then(|field| field.number(&(1..=MAX_SESSIONS)))
            .unwrap_or(default.max_sessions),
        admittance,
        login_timeout: duration(section, "login_timeout", SHORTEST, default.login_timeout),
        idle_timeout: duration(section, "idle_timeout", SHORTEST, default.idle_timeout),
        greeting_timeout: duration(section, "greeting_timeout", SHORTEST, default.greeting_timeout),
        connect_timeout: duration(section, "connect_timeout", SHORTEST, default.connect_timeout),
        check,
        availability: read_availability(section),
        real_servers: real_servers.addressed,
        named_servers: real_servers.named,
        name: default.name,
    };
    (virtual_server, places)
}
