//! What a configuration means for the machines of [`proto::vrrp`](crate::proto::vrrp).
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::vrrp::{self as config, Family, Garp, Tracks, VrrpInstance};
use crate::proto::vrrp;
use crate::proto::vrrp::{
    AnnouncingPolicy, ChecksumForm, Condition, InstanceConfig, Password, Priority, Reception, TrackedItem,
    Tracking, Version, VirtualRouterId,
};

/// What is tracked, by the kind and the name that status and log say.
pub(super) fn interface_item(name: &str) -> String {
    format!("interface {name}")
}

/// As above.
pub(super) fn script_item(name: &str) -> String {
    format!("script {name}")
}

/// As above.
pub(super) fn file_item(name: &str) -> String {
    format!("file {name}")
}

/// As above.
pub(super) fn virtual_server_item(name: &str) -> String {
    format!("virtual server {name}")
}

/// No address of the family yet.
pub(super) fn nowhere(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// `priority` and the address are those of this moment.
pub(super) fn instance(config: &VrrpInstance, priority: Priority, primary_address: IpAddr) -> InstanceConfig {
    InstanceConfig {
        version: version(config.version),
        virtual_router_id: id(config),
        priority,
        interval: config.advert_interval,
        addresses: config.advertised().map(ipnet::IpNet::addr).collect(),
        primary_address,
        preempt: config.preempt,
        preempt_delay: config.preempt_delay,
        password: config
            .authentication
            .as_ref()
            .and_then(|password| Password::new(trimmed(&password.bytes()))),
        // Two masters would be worse than addresses that differ for a while, such as while both are being reconfigured.
        checks_addresses: false,
    }
}

pub(super) fn id(config: &VrrpInstance) -> VirtualRouterId {
    VirtualRouterId::from(config.virtual_router_id)
}

pub(super) fn priority(config: &VrrpInstance) -> Priority {
    Priority::from(config.priority)
}

pub(super) fn checksum(config: &VrrpInstance) -> ChecksumForm {
    match config.checksum {
        config::ChecksumForm::PseudoHeader => ChecksumForm::PseudoHeader,
        config::ChecksumForm::Rfc9568 => ChecksumForm::Rfc9568,
    }
}

pub(super) fn reception(config: &VrrpInstance) -> Reception {
    Reception {
        unicast_peers: config.unicast_peers.clone(),
        checks_unicast_hop_limit: config.unicast_ttl_check,
    }
}

pub(super) fn announcing(garp: &Garp) -> AnnouncingPolicy {
    AnnouncingPolicy {
        repeat: garp.master_repeat,
        delay: garp.master_delay,
        refresh: garp.master_refresh,
        refresh_repeat: garp.master_refresh_repeat,
        lower_priority_repeat: garp.lower_prio_repeat,
        lower_priority_delay: garp.lower_prio_delay,
    }
}

/// Where adverts go.
pub(super) fn destinations(config: &VrrpInstance) -> Vec<IpAddr> {
    match (config.unicast_peers.as_slice(), config.family()) {
        ([], Family::Ipv4) => vec![vrrp::GROUP_V4.into()],
        ([], Family::Ipv6) => vec![vrrp::GROUP_V6.into()],
        (peers, _) => peers.to_vec(),
    }
}

/// The MAC address that the virtual router has where it has one of its own.
pub(super) fn virtual_mac(config: &VrrpInstance) -> [u8; 6] {
    let family = match config.family() {
        Family::Ipv4 => vrrp::Family::V4,
        Family::Ipv6 => vrrp::Family::V6,
    };
    vrrp::virtual_mac(family, id(config))
}

/// What it tracks, with what is known of these things already.
pub(super) fn tracking(config: &VrrpInstance, known: impl Fn(&str) -> Condition) -> Tracking {
    let Tracks { interfaces, scripts, files, virtual_servers } = &config.tracks;
    let items = |tracks: &[config::Track], item: fn(&str) -> String| {
        let items = tracks.iter().map(|track| (item(&track.name), track.weight));
        items.collect::<Vec<_>>()
    };
    let items = [
        items(interfaces, interface_item),
        items(scripts, script_item),
        items(files, file_item),
        items(virtual_servers, virtual_server_item),
    ];
    let items = items.into_iter().flatten();
    let items = items.map(|(name, weight)| TrackedItem {
        condition: known(&name),
        name,
        weight: weight.into(),
        reverse: false,
    });
    Tracking::new(priority(config), items.collect())
}

fn version(version: config::Version) -> Version {
    match version {
        config::Version::V2 => Version::V2,
        config::Version::V3 => Version::V3,
    }
}

/// Without the zeros behind it.
fn trimmed(password: &[u8]) -> &[u8] {
    let length = password.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    password.get(..length).unwrap_or_default()
}
