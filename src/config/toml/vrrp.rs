//! `[[vrrp_instance]]` with its `authentication`, and the tables beside it.
mod advert;
mod tracking;

pub(super) use self::tracking::{SYNC_GROUP, TRACK_FILE, VRRP_SCRIPT};

use self::advert::{read_advert_interval, read_authentication};
use self::tracking::{Definitions, read_notify, read_script, read_sync_group, read_track_file, read_tracks};
use super::{KINDS, duration, located};
use crate::config::address::{self, Refusal};
use crate::config::consistency::{VrrpInstancePlaces, VrrpPlaces};
use crate::config::error::{Findings, shown};
use crate::config::model::vrrp::{Garp, InitialState, Tracks, Vmac, Vrrp, VrrpInstance};
use crate::config::reader::{Kind, Section};
use crate::proto::vrrp::{ChecksumForm, Version};
use std::num::NonZeroU8;
use std::time::Duration;

pub(super) const VRRP_INSTANCE: Kind = Kind {
    header: "[[vrrp_instance]]",
    keys: &[
        "name",
        "interface",
        "state",
        "virtual_router_id",
        "priority",
        "advert_interval",
        "version",
        "virtual_addresses",
        "virtual_addresses_excluded",
        "source_address",
        "unicast_peers",
        "unicast_ttl_check",
        "checksum",
        "use_vmac",
        "vmac_interface",
        "vmac_xmit_base",
        "preempt",
        "preempt_delay",
        "garp_master_delay",
        "garp_master_repeat",
        "garp_master_refresh",
        "garp_master_refresh_repeat",
        "garp_lower_prio_delay",
        "garp_lower_prio_repeat",
        "track_interfaces",
        "track_scripts",
        "track_files",
        "track_virtual_servers",
        "notify_master",
        "notify_backup",
        "notify_fault",
        "notify_stop",
        "notify",
        "authentication",
    ],
};

pub(super) const AUTHENTICATION: Kind =
    Kind { header: "[vrrp_instance.authentication]", keys: &["type", "password"] };

/// Longest name of an interface, in bytes: `IFNAMSIZ` of Linux less its final NUL.
const MAX_INTERFACE_NAME: usize = 15;

/// Most addresses of an instance, excluded ones with them: each is put on the interface again every second.
const MAX_ADDRESSES: usize = 1024;

/// Most `unicast_peers`: each gets every advert, and there are no more priorities for them.
const MAX_UNICAST_PEERS: usize = 254;

/// Longest `preempt_delay`, as in keepalived: beyond it `preempt = false` is meant.
const LONGEST_PREEMPT_DELAY: Duration = Duration::from_secs(1000);

/// Most packets for one address in a burst: a neighbour that has missed so many is not there.
const MAX_GARP_REPEAT: u32 = 100;

/// All that belongs to VRRP, from the top of the file.
pub(super) fn read_vrrp(top: &Section<'_>, findings: &Findings) -> (Vrrp, VrrpPlaces) {
    let sections = |key, kind| top.field(key).map_or_else(Vec::new, |field| field.sections(kind, &KINDS));
    let (scripts, script_places): (Vec<_>, _) =
        sections("vrrp_script", &VRRP_SCRIPT).iter().map(read_script).unzip();
    let (track_files, file_places): (Vec<_>, _) =
        sections("track_file", &TRACK_FILE).iter().map(read_track_file).unzip();
    let definitions = Definitions { scripts: &scripts, files: &track_files };
    let (instances, instance_places): (Vec<_>, _) = sections("vrrp_instance", &VRRP_INSTANCE)
        .iter()
        .map(|section| read_instance(section, &definitions, findings))
        .unzip();
    let (sync_groups, group_places): (Vec<_>, _) =
        sections("vrrp_sync_group", &SYNC_GROUP).iter().map(read_sync_group).unzip();
    let places = VrrpPlaces {
        instances: instance_places,
        sync_groups: group_places,
        scripts: script_places,
        track_files: file_places,
    };
    (Vrrp { instances, sync_groups, scripts, track_files }, places)
}

fn read_instance(
    section: &Section<'_>,
    definitions: &Definitions<'_>,
    findings: &Findings,
) -> (VrrpInstance, VrrpInstancePlaces) {
    let found_before = findings.count();
    let at = |key| section.field(key).map(|field| field.at);
    let number = |key, lowest: u8| {
        section.field(key).and_then(|field| field.number(&(lowest..=u8::MAX))).and_then(NonZeroU8::new)
    };
    let boolean = |key, default| section.field(key).and_then(|field| field.boolean()).unwrap_or(default);
    let name = section.required("name", "add `name = \"…\"`, what logs and commands call it");
    let interface = section.required("interface", "add `interface = \"…\"`, where the adverts go");
    let id_mend = "add `virtual_router_id = 51`, a number that no other virtual router of the network has";
    section.required("virtual_router_id", id_mend);
    let default = VrrpInstance::new(
        name.and_then(|field| field.name()).unwrap_or_default(),
        interface.and_then(|field| field.parsed(interface_name)).unwrap_or_default(),
        number("virtual_router_id", 1).unwrap_or(NonZeroU8::MIN),
    );
    let version = section.field("version").and_then(|field| field.number(&(2..=3)));
    let networks = |key| {
        let field = section.field(key);
        field.map(|field| located(&field, |item| item.parsed(address::parse_virtual))).unwrap_or_default()
    };
    section.required(
        "virtual_addresses",
        "add `virtual_addresses = [\"…\"]`, addresses with their prefix lengths, such as \"192.0.2.10/24\"",
    );
    let ((virtual_addresses, mut address_places), (virtual_addresses_excluded, excluded_places)) =
        (networks("virtual_addresses"), networks("virtual_addresses_excluded"));
    address_places.extend(excluded_places);
    if let Some(field) = section.field("virtual_addresses") {
        if field.list_is_empty() {
            field.error("`virtual_addresses` is empty", "write the addresses that go with the master");
        } else if address_places.len() > MAX_ADDRESSES {
            let count = address_places.len();
            field.error(format!("there are {count} addresses"), format!("write {MAX_ADDRESSES} at most"));
        }
    }
    let (unicast_peers, peer_places) = section
        .field("unicast_peers")
        .map(|field| located(&field, |item| item.parsed(address::parse_on_link)))
        .unwrap_or_default();
    if let Some(field) = section.field("unicast_peers") {
        if field.list_is_empty() {
            field.error(
                "`unicast_peers` is empty",
                "write the addresses of the other routers, or remove it: adverts go to the multicast group then",
            );
        } else if peer_places.len() > MAX_UNICAST_PEERS {
            let count = peer_places.len();
            field.error(format!("there are {count} peers"), format!("write {MAX_UNICAST_PEERS} at most"));
        }
    }
    let tracked = |key, default: &dyn Fn(&str) -> i16| read_tracks(section, key, default);
    let (interfaces, interface_places) = tracked("track_interfaces", &|_| 0);
    let (scripts, script_places) = tracked("track_scripts", &|name| definitions.weight_of_script(name));
    let (files, file_places) = tracked("track_files", &|name| definitions.weight_of_file(name));
    let (virtual_servers, server_places) = tracked("track_virtual_servers", &|_| 0);
    let instance = VrrpInstance {
        state: section
            .field("state")
            .and_then(|field| field.word::<String>(&["MASTER", "BACKUP"], &[]))
            .map_or(default.state, |word| match word.as_str() {
                "MASTER" => InitialState::Master,
                _ => InitialState::Backup,
            }),
        priority: number("priority", 1).unwrap_or(default.priority),
        advert_interval: read_advert_interval(section).unwrap_or(default.advert_interval),
        version: if version == Some(2_u8) { Version::V2 } else { Version::V3 },
        virtual_addresses,
        virtual_addresses_excluded,
        source_address: section
            .field("source_address")
            .and_then(|field| field.parsed(address::parse_on_link)),
        unicast_peers,
        unicast_ttl_check: boolean("unicast_ttl_check", default.unicast_ttl_check),
        checksum: section
            .field("checksum")
            .and_then(|field| field.word::<String>(&["pseudo-header", "rfc9568"], &[]))
            .map_or(default.checksum, |word| match word.as_str() {
                "rfc9568" => ChecksumForm::Rfc9568,
                _ => ChecksumForm::PseudoHeader,
            }),
        authentication: section
            .field("authentication")
            .and_then(|field| field.section(&AUTHENTICATION, &KINDS))
            .and_then(|section| read_authentication(&section)),
        vmac: None,
        preempt: boolean("preempt", default.preempt),
        preempt_delay: read_preempt_delay(section).unwrap_or(default.preempt_delay),
        garp: read_garp(section),
        tracks: Tracks { interfaces, scripts, files, virtual_servers },
        notify: read_notify(section),
        ..default
    };
    let vmac = boolean("use_vmac", false).then(|| Vmac {
        interface: section
            .field("vmac_interface")
            .and_then(|field| field.parsed(interface_name))
            .unwrap_or_else(|| Vmac::default_interface(&instance)),
        xmit_base: boolean("vmac_xmit_base", false),
    });
    let places = VrrpInstancePlaces {
        header: section.at,
        name: at("name"),
        virtual_router_id: at("virtual_router_id"),
        advert_interval: at("advert_interval"),
        version: at("version"),
        addresses: address_places,
        source_address: at("source_address"),
        unicast_peers: peer_places,
        unicast_ttl_check: section.place_of("unicast_ttl_check"),
        checksum: section.place_of("checksum"),
        authentication: section.place_of("authentication"),
        use_vmac: at("use_vmac"),
        vmac_interface: at("vmac_interface"),
        vmac_keys: ["vmac_interface", "vmac_xmit_base"].iter().filter_map(|key| section.place_of(key)).min(),
        preempt: at("preempt"),
        preempt_delay: section.place_of("preempt_delay"),
        track_interfaces: interface_places,
        track_scripts: script_places,
        track_files: file_places,
        track_virtual_servers: server_places,
        is_sound: findings.count() == found_before,
    };
    (VrrpInstance { vmac, ..instance }, places)
}

fn read_preempt_delay(section: &Section<'_>) -> Option<Duration> {
    let field = section.field("preempt_delay")?;
    let delay = field.duration(Duration::ZERO)?;
    if delay > LONGEST_PREEMPT_DELAY {
        field.error(
            "`preempt_delay` is too long",
            format!("write at most \"{}s\", or `preempt = false`", LONGEST_PREEMPT_DELAY.as_secs()),
        );
    }
    Some(delay)
}

fn read_garp(section: &Section<'_>) -> Garp {
    let default = Garp::default();
    let delay = |key, default| duration(section, key, Duration::ZERO, default);
    let repeat = |key, lowest, default| {
        section.field(key).and_then(|field| field.number(&(lowest..=MAX_GARP_REPEAT))).unwrap_or(default)
    };
    let master_delay = delay("garp_master_delay", default.master_delay);
    let master_repeat = repeat("garp_master_repeat", 1, default.master_repeat);
    Garp {
        master_delay,
        master_repeat,
        master_refresh: delay("garp_master_refresh", default.master_refresh),
        master_refresh_repeat: repeat("garp_master_refresh_repeat", 1, default.master_refresh_repeat),
        lower_prio_delay: delay("garp_lower_prio_delay", master_delay),
        lower_prio_repeat: repeat("garp_lower_prio_repeat", 0, master_repeat),
    }
}

/// What Linux takes for the name of an interface, and a shell without quotes.
pub(super) fn interface_name(text: &str) -> Result<String, Refusal> {
    if (1..=MAX_INTERFACE_NAME).contains(&text.len())
        && ![".", ".."].contains(&text)
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:".contains(&byte))
    {
        return Ok(text.to_owned());
    }
    Err((
        format!("`{}` is not the name of an interface", shown(text)),
        format!("write one as `ip link` shows it, of {MAX_INTERFACE_NAME} characters at most"),
    ))
}
