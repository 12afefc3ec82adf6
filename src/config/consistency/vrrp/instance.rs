//! One instance: what its keys make of each other.
use super::super::super::duration;
use super::super::super::error::Findings;
use super::super::super::model::vrrp::VrrpInstance;
use super::VrrpInstancePlaces;
use crate::proto::vrrp::{ChecksumForm, Family, MAX_ADDRESSES, Version};
use std::net::IpAddr;
use std::time::Duration;

/// Longest advert intervals: the field counts seconds in 8 bits (RFC 3768 section 5.3.7), or hundredths of a second in 12
/// (RFC 9568 section 5.2.7).
const LONGEST_ADVERT_INTERVAL_V2: Duration = Duration::from_secs(255);
const LONGEST_ADVERT_INTERVAL_V3: Duration = Duration::from_millis(40_950);

/// Most addresses of IPv6 in an advert: so many fit into a packet of 1500 bytes, and fragments are nobody's advert.
const MAX_ADVERTISED_IPV6: usize = 90;

/// Below it a thread that comes late by what a busy host makes of it costs the mastership.
const HASTY: Duration = Duration::from_millis(100);

pub(super) fn examine(instance: &VrrpInstance, places: &VrrpInstancePlaces, findings: &Findings) {
    version(instance, places, findings);
    advert_interval(instance, places, findings);
    advertised(instance, places, findings);
    source(instance, places, findings);
    peers(instance, places, findings);
    vmac(instance, places, findings);
    preemption(instance, places, findings);
}

fn version(instance: &VrrpInstance, places: &VrrpInstancePlaces, findings: &Findings) {
    let (family, version) = (instance.family(), instance.version);
    if version == Version::V2 && family == Family::Ipv6 {
        findings.error(
            places.version.unwrap_or(places.header),
            "version 2 has no IPv6, and the first of `virtual_addresses` is of it",
            "write `version = 3`, or an IPv4 address first",
        );
        return;
    }
    if let (Version::V3, Some(at)) = (version, places.authentication) {
        let mend = match family {
            Family::Ipv4 => "remove the table, or write `version = 2`",
            Family::Ipv6 => "remove the table; version 2, which has it, has no IPv6",
        };
        findings.error(at, "version 3 has no authentication", mend);
    }
    if let Some(at) = places.checksum
        && (version == Version::V2 || family == Family::Ipv6 && instance.checksum == ChecksumForm::Rfc9568)
    {
        let (what, only) = match version {
            Version::V2 => ("with version 2", "it has one form of it"),
            Version::V3 => ("with IPv6", "its checksum has the pseudo-header always"),
        };
        findings.warning(at, format!("`checksum` is not used {what}: {only}"), "remove it");
    }
}

fn advert_interval(instance: &VrrpInstance, places: &VrrpInstancePlaces, findings: &Findings) {
    let Some(at) = places.advert_interval else { return };
    let interval = instance.advert_interval;
    let (number, counts, step, longest) = match instance.version {
        Version::V2 => (2, "whole seconds", Duration::from_secs(1), LONGEST_ADVERT_INTERVAL_V2),
        Version::V3 => (3, "hundredths of a second", Duration::from_millis(10), LONGEST_ADVERT_INTERVAL_V3),
    };
    let is_whole = interval.as_millis().is_multiple_of(step.as_millis());
    if !is_whole || interval < step || interval > longest {
        let (step, longest) = (duration::shown(step), duration::shown(longest));
        findings.error(
            at,
            format!(
                "`advert_interval` is \"{}\", and adverts of version {number} have {counts}",
                duration::shown(interval)
            ),
            format!("write a multiple of \"{step}\", \"{longest}\" at most"),
        );
    } else if interval < HASTY {
        findings.warning(
            at,
            format!(
                "adverts every {} must never be late, or another router takes over",
                duration::shown(interval)
            ),
            "let the daemon have a real-time priority (CAP_SYS_NICE, `LimitRTPRIO=` in the unit)",
        );
    }
}

fn advertised(instance: &VrrpInstance, places: &VrrpInstancePlaces, findings: &Findings) {
    let Some(at) = places.addresses.first() else { return };
    let family = instance.family();
    let most = match family {
        Family::Ipv4 => MAX_ADDRESSES,
        Family::Ipv6 => MAX_ADVERTISED_IPV6,
    };
    let count = instance.advertised().count();
    if count > most {
        findings.error(
            *at,
            format!("an advert has room for {most} {family} addresses, and these are {count}"),
            "move the others to `virtual_addresses_excluded`, on every router",
        );
    }
    let first = instance.virtual_addresses.first().map(ipnet::IpNet::addr);
    if matches!(first, Some(IpAddr::V6(v6)) if !v6.is_unicast_link_local()) {
        findings.warning(
            *at,
            "the first address of IPv6 is to be link-local (RFC 9568 section 5.2.9); some routers take no other advert",
            format!("write one first, such as \"fe80::{}/64\", on every router", instance.virtual_router_id),
        );
    }
}

fn source(instance: &VrrpInstance, places: &VrrpInstancePlaces, findings: &Findings) {
    let (Some(source), Some(at)) = (instance.source_address, places.source_address) else { return };
    let family = instance.family();
    if Family::of(source) != family {
        findings.error(
            at,
            format!("`source_address` is {source}, and the adverts are of {family}"),
            format!("write an {family} address of the interface, or remove it"),
        );
    } else if !instance.is_owner() && is_virtual(instance, source) {
        findings.error(
            at,
            format!("{source} is a virtual address, which only the master has"),
            "write an address of the interface's own, or remove it",
        );
    }
}

fn peers(instance: &VrrpInstance, places: &VrrpInstancePlaces, findings: &Findings) {
    let family = instance.family();
    let peers = &instance.unicast_peers;
    for (index, (peer, at)) in peers.iter().zip(&places.unicast_peers).enumerate() {
        if Family::of(*peer) != family {
            findings.error(
                *at,
                format!("the peer {peer} is not of {family}, as the adverts are"),
                format!("write its {family} address"),
            );
        } else if instance.source_address == Some(*peer) {
            findings.error(
                *at,
                format!("{peer} is `source_address`, which is this router itself"),
                "write the other routers alone",
            );
        } else if is_virtual(instance, *peer) {
            findings.error(
                *at,
                format!("{peer} is a virtual address, which is whoever is master"),
                "write the address that the other router has of its own",
            );
        } else if peers[..index].contains(peer) {
            findings.error(*at, format!("the peer {peer} is written twice"), "keep one of them");
        }
    }
    if let Some(at) = places.unicast_ttl_check
        && !instance.is_unicast()
    {
        findings.warning(
            at,
            "`unicast_ttl_check` is not used without `unicast_peers`: adverts of the group are always checked",
            "remove it",
        );
    }
}

fn is_virtual(instance: &VrrpInstance, address: IpAddr) -> bool {
    instance.addresses().any(|virtual_address| virtual_address.addr() == address)
}

fn vmac(instance: &VrrpInstance, places: &VrrpInstancePlaces, findings: &Findings) {
    match (&instance.vmac, places.vmac_keys) {
        (Some(vmac), _) if instance.is_unicast() && !vmac.xmit_base => findings.error(
            places.use_vmac.unwrap_or(places.header),
            "unicast adverts cannot go by the VMAC's interface, which has no address of its own",
            "add `vmac_xmit_base = true`",
        ),
        (None, Some(at)) => findings.warning(
            at,
            "`vmac_interface` and `vmac_xmit_base` are not used without a VMAC",
            "add `use_vmac = true`, or remove them",
        ),
        _ => {}
    }
}

fn preemption(instance: &VrrpInstance, places: &VrrpInstancePlaces, findings: &Findings) {
    if instance.preempt {
        return;
    }
    if instance.is_owner() {
        findings.error(
            places.preempt.unwrap_or(places.header),
            "priority 255 owns its addresses and always takes them (RFC 9568 section 6.1): `preempt = false` cannot hold",
            "remove it, or write a lower priority",
        );
    }
    if let Some(at) = places.preempt_delay {
        findings.warning(at, "`preempt_delay` is not used with `preempt = false`", "remove one of them");
    }
}
