//! `[forwarding]`, and the keys of a `[[virtual_server]]` whose connections the kernel balances.
use std::ops::RangeInclusive;
use std::time::Duration;

use super::vrrp::interface_name;
use super::{duration, located};
use crate::config::error::{Findings, shown};
use crate::config::model::vrrp::Vrrp;
use crate::config::model::{DirectRouting, Forwarding, LvsSync, Persistence};
use crate::config::reader::{Field, Kind, Section};

pub(super) const FORWARDING: Kind = Kind {
    header: "[forwarding]",
    keys: &["engine", "interfaces", "lvs_sync_daemon", "lvs_sync_interface", "lvs_sync_id"],
};

/// Keys that mean something only with `forwarding = "dr"`.
const KEYS_OF_DR: [&str; 5] =
    ["ports", "persistence_timeout", "persistence_granularity", "persistence_granularity_ipv6", "fallback"];

/// Keys that mean nothing to a kernel, unless the door serves in its place.
const KEYS_OF_PROXY: [&str; 7] =
    ["data_path", "relay_ports", "announce_address", "proxy_protocol_from", "deny_commands", "tls", "gsi"];

/// Shortest `persistence_timeout`: the kernel counts seconds.
const SHORTEST_PERSISTENCE: Duration = Duration::from_secs(1);

/// Most ranges in `ports`: beyond it one range is meant.
const MAX_PORT_RANGES: usize = 64;

pub(super) fn read_forwarding(section: &Section<'_>, vrrp: &Vrrp, findings: &Findings) -> Forwarding {
    let sync = section.field("lvs_sync_daemon").and_then(|field| {
        let instance = field.name()?;
        if vrrp.instances.iter().any(|known| known.name == instance) {
            return Some(LvsSync {
                instance,
                interface: section.field("lvs_sync_interface").and_then(|field| field.parsed(interface_name)),
                id: section.field("lvs_sync_id").and_then(|field| field.number(&(0..=u8::MAX))),
            });
        }
        field.error(
            format!("there is no `[[vrrp_instance]]` named `{instance}`"),
            "write the name of the instance whose master tells the others of its connections",
        );
        None
    });
    for key in ["lvs_sync_interface", "lvs_sync_id"] {
        if let Some(at) = section.place_of(key)
            && section.place_of("lvs_sync_daemon").is_none()
        {
            findings.error(at, format!("`{key}` without `lvs_sync_daemon`"), "add it, or remove this");
        }
    }
    Forwarding {
        engine: section
            .field("engine")
            .and_then(|field| field.word(&["auto", "ipvs"], &["ebpf"]))
            .unwrap_or_default(),
        interfaces: section
            .field("interfaces")
            .map(|field| located(&field, |item| item.parsed(interface_name)).0)
            .unwrap_or_default(),
        sync,
    }
}

/// What of a virtual server concerns the kernel; nothing where the door serves it.
pub(super) fn read_direct_routing(section: &Section<'_>, findings: &Findings) -> Option<DirectRouting> {
    let word = section.field("forwarding").and_then(|field| field.word::<String>(&["proxy", "dr"], &[]));
    let written = |keys: &[&'static str]| {
        let places = keys.iter().filter_map(|key| Some((section.place_of(key)?, *key)));
        places.min()
    };
    if word.as_deref() != Some("dr") {
        if let Some((at, key)) = written(&KEYS_OF_DR) {
            findings.warning(
                at,
                format!("`{key}` is not used with `forwarding = \"proxy\"`"),
                "remove it, or write `forwarding = \"dr\"`",
            );
        }
        return None;
    }
    let fallback = section.field("fallback").and_then(|field| field.word::<String>(&["none", "proxy"], &[]));
    let fallback = fallback.as_deref() == Some("proxy");
    if !fallback && let Some((at, key)) = written(&KEYS_OF_PROXY) {
        findings.warning(
            at,
            format!("`{key}` is not used with `forwarding = \"dr\"`: the kernel does not read what passes"),
            "remove it, or write `fallback = \"proxy\"` for hosts without a kernel that forwards",
        );
    }
    let timeout = section.place_of("persistence_timeout");
    let granularity = |key, longest: u8| {
        section.field(key).and_then(|field| field.number(&(1..=longest))).unwrap_or(longest)
    };
    let persistence = Persistence {
        timeout: whole_seconds(section, findings),
        prefix: granularity("persistence_granularity", 32),
        prefix_ipv6: granularity("persistence_granularity_ipv6", 128),
    };
    if timeout.is_none()
        && let Some((at, key)) = written(&["persistence_granularity", "persistence_granularity_ipv6"])
    {
        findings.warning(
            at,
            format!("`{key}` without `persistence_timeout`: no client stays on its server"),
            "add `persistence_timeout`, or remove this",
        );
    }
    let ports: Vec<_> = section.field("ports").map(|field| located(&field, port_range).0).unwrap_or_default();
    if let Some(at) = section.place_of("ports").filter(|_| ports.len() > MAX_PORT_RANGES) {
        findings.error(
            at,
            format!("`ports` has {} items", ports.len()),
            format!("write at most {MAX_PORT_RANGES}: a range such as \"50000-50999\" is one"),
        );
    }
    Some(DirectRouting { ports, persistence: timeout.map(|_| persistence), fallback })
}

fn whole_seconds(section: &Section<'_>, findings: &Findings) -> Duration {
    let timeout = duration(section, "persistence_timeout", SHORTEST_PERSISTENCE, Persistence::TIMEOUT);
    if timeout.subsec_nanos() != 0
        && let Some(at) = section.place_of("persistence_timeout")
    {
        findings.error(
            at,
            "`persistence_timeout` is no whole number of seconds",
            "write for example \"360s\"",
        );
    }
    timeout
}

/// `80`, or `"50000-50999"`.
fn port_range(field: &Field<'_>) -> Option<RangeInclusive<u16>> {
    if field.is_number() {
        return field.number(&(1..=u16::MAX)).map(|port| port..=port);
    }
    let text = field.text()?;
    let number = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    let ends = text.split_once('-').and_then(|(low, high)| Some((number(low)?, number(high)?)));
    match ends {
        Some((low, high)) if low <= high => Some(low..=high),
        _ => {
            field.error(
                format!("`{}` in `ports` is no port and no range", shown(text)),
                "write a number such as 80, or a range such as \"50000-50999\"",
            );
            None
        }
    }
}
