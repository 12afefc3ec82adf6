//! What a configuration means for the machines of [`proto::vrrp`](crate::proto::vrrp).
use std::net::IpAddr;

use crate::config::vrrp::{self as config, Garp, Tracks, VrrpInstance};
use crate::proto::vrrp::{
    self, AnnouncingPolicy, Condition, InstanceConfig, Priority, Reception, TrackedItem, Tracking,
    VirtualRouterId,
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

/// `priority` and the address are those of this moment.
pub(super) fn instance(config: &VrrpInstance, priority: Priority, primary_address: IpAddr) -> InstanceConfig {
    InstanceConfig {
        version: config.version,
        virtual_router_id: id(config),
        priority,
        interval: config.advert_interval,
        addresses: config.advertised().map(ipnet::IpNet::addr).collect(),
        primary_address,
        preempt: config.preempt,
        preempt_delay: config.preempt_delay,
        password: config.authentication,
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
    if config.is_unicast() { config.unicast_peers.clone() } else { vec![config.family().group()] }
}

/// The MAC address that the virtual router has where it has one of its own.
pub(super) fn virtual_mac(config: &VrrpInstance) -> [u8; 6] {
    vrrp::virtual_mac(config.family(), id(config))
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
