//! VRRP: what no two instances can share, and what tables say of each other.
mod instance;
mod tracking;

use super::super::error::Findings;
use super::super::model::VirtualServer;
use super::super::model::vrrp::{Vrrp, VrrpInstance};
use crate::proto::vrrp::Family;
use std::collections::HashMap;
use std::net::IpAddr;

/// Where all of it is written.
pub(in super::super) struct VrrpPlaces {
    /// One for each.
    pub(in super::super) instances: Vec<VrrpInstancePlaces>,
    /// One for each.
    pub(in super::super) sync_groups: Vec<SyncGroupPlaces>,
    /// One for each.
    pub(in super::super) scripts: Vec<NamedPlaces>,
    /// One for each.
    pub(in super::super) track_files: Vec<NamedPlaces>,
}

/// Where the parts of an instance are written, in bytes.
pub(in super::super) struct VrrpInstancePlaces {
    pub(in super::super) header: usize,
    pub(in super::super) name: Option<usize>,
    pub(in super::super) virtual_router_id: Option<usize>,
    pub(in super::super) advert_interval: Option<usize>,
    pub(in super::super) version: Option<usize>,
    /// One for each, excluded ones last.
    pub(in super::super) addresses: Vec<usize>,
    pub(in super::super) source_address: Option<usize>,
    /// One for each.
    pub(in super::super) unicast_peers: Vec<usize>,
    pub(in super::super) unicast_ttl_check: Option<usize>,
    pub(in super::super) checksum: Option<usize>,
    pub(in super::super) authentication: Option<usize>,
    pub(in super::super) use_vmac: Option<usize>,
    pub(in super::super) vmac_interface: Option<usize>,
    /// The first key that means something only with a VMAC.
    pub(in super::super) vmac_keys: Option<usize>,
    pub(in super::super) preempt: Option<usize>,
    pub(in super::super) preempt_delay: Option<usize>,
    /// One for each.
    pub(in super::super) track_interfaces: Vec<TrackPlaces>,
    /// One for each.
    pub(in super::super) track_scripts: Vec<TrackPlaces>,
    /// One for each.
    pub(in super::super) track_files: Vec<TrackPlaces>,
    /// One for each.
    pub(in super::super) track_virtual_servers: Vec<TrackPlaces>,
    /// Whether every value could be read, so that they may be compared.
    pub(in super::super) is_sound: bool,
}

/// Where an item of a list of what is tracked is written, in bytes.
pub(in super::super) struct TrackPlaces {
    pub(in super::super) name: usize,
    pub(in super::super) weight: Option<usize>,
}

/// Where a table with a name is written, in bytes.
pub(in super::super) struct NamedPlaces {
    pub(in super::super) header: usize,
    pub(in super::super) name: Option<usize>,
}

/// Where a group is written, in bytes.
pub(in super::super) struct SyncGroupPlaces {
    pub(in super::super) named: NamedPlaces,
    /// One for each.
    pub(in super::super) instances: Vec<usize>,
}

/// Looks at all tables together.
pub(in super::super) fn examine(
    vrrp: &Vrrp,
    places: &VrrpPlaces,
    servers: &[VirtualServer],
    findings: &Findings,
) {
    names(vrrp, places, findings);
    let instances = || vrrp.instances.iter().zip(&places.instances);
    for (one, at) in instances().filter(|(_, at)| at.is_sound) {
        instance::examine(one, at, findings);
    }
    let sound: Vec<_> = instances().filter(|(_, at)| at.is_sound).collect();
    virtual_routers(&sound, findings);
    vmac_interfaces(&sound, findings);
    addresses(vrrp, places, findings);
    tracking::tracks(vrrp, places, servers, findings);
    tracking::unused(vrrp, places, findings);
    tracking::groups(vrrp, places, findings);
}

fn names(vrrp: &Vrrp, places: &VrrpPlaces, findings: &Findings) {
    let instances = vrrp.instances.iter().zip(&places.instances);
    let groups = vrrp.sync_groups.iter().zip(&places.sync_groups);
    let scripts = vrrp.scripts.iter().zip(&places.scripts);
    let files = vrrp.track_files.iter().zip(&places.track_files);
    unique("vrrp_instance", instances.map(|(it, at)| (it.name.as_str(), at.name)), findings);
    unique("vrrp_sync_group", groups.map(|(it, at)| (it.name.as_str(), at.named.name)), findings);
    unique("vrrp_script", scripts.map(|(it, at)| (it.name.as_str(), at.name)), findings);
    unique("track_file", files.map(|(it, at)| (it.name.as_str(), at.name)), findings);
}

/// An empty name is one that could not be read.
fn unique<'v>(kind: &str, names: impl Iterator<Item = (&'v str, Option<usize>)>, findings: &Findings) {
    let mut seen = HashMap::new();
    for (name, at) in names.filter(|(name, _)| !name.is_empty()) {
        if let (Some(()), Some(at)) = (seen.insert(name, ()), at) {
            findings.error(at, format!("there is already a {kind} `{name}`"), "give each a name of its own");
        }
    }
}

type Sound<'v> = (&'v VrrpInstance, &'v VrrpInstancePlaces);

/// A virtual router has a MAC address for each family and network: whoever has the same on one interface is the same.
fn virtual_routers(instances: &[Sound<'_>], findings: &Findings) {
    let mut seen: HashMap<(&str, u8, Family), &str> = HashMap::new();
    for (instance, places) in instances {
        let (interface, id, family) =
            (instance.interface.as_str(), instance.virtual_router_id.get(), instance.family());
        if let Some(other) = seen.insert((interface, id, family), &instance.name) {
            findings.error(
                places.virtual_router_id.unwrap_or(places.header),
                format!("virtual router {id} of {family} on {interface} is already `{other}`"),
                "give each a `virtual_router_id` of its own",
            );
        }
    }
}

fn vmac_interfaces(instances: &[Sound<'_>], findings: &Findings) {
    let mut seen: HashMap<&str, &str> =
        instances.iter().map(|(instance, _)| (instance.interface.as_str(), "")).collect();
    for (instance, places) in instances {
        let Some(vmac) = &instance.vmac else { continue };
        let Some(other) = seen.insert(&vmac.interface, &instance.name) else { continue };
        let whose = if other.is_empty() {
            "an `interface` of this file".into()
        } else {
            format!("that of `{other}`")
        };
        findings.error(
            places.vmac_interface.or(places.use_vmac).unwrap_or(places.header),
            format!("the VMAC's interface would be `{}`, which is already {whose}", vmac.interface),
            "write another one as `vmac_interface`",
        );
    }
}

/// Two owners of an address in one file never agree. A link-local one is another on each interface.
fn addresses(vrrp: &Vrrp, places: &VrrpPlaces, findings: &Findings) {
    let mut seen: HashMap<(IpAddr, Option<&str>), (&str, usize)> = HashMap::new();
    for (index, (instance, places)) in vrrp.instances.iter().zip(&places.instances).enumerate() {
        for (network, at) in instance.addresses().zip(&places.addresses) {
            let address = network.addr();
            let is_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
            let link = is_local.then_some(instance.interface.as_str());
            match seen.insert((address, link), (&instance.name, index)) {
                None => {}
                Some((_, same)) if same == index => {
                    findings.error(*at, format!("{address} is written twice"), "keep one of them");
                }
                Some((other, _)) => findings.error(
                    *at,
                    format!("{address} is already an address of vrrp_instance `{other}`"),
                    "keep it in one place",
                ),
            }
        }
    }
}
