//! Who owns the virtual addresses, in keepalived's words: `[[vrrp_instance]]` and the tables that it names.
mod tracking;

pub use self::tracking::{Command, Notify, Track, TrackFile, Tracks, VrrpScript, VrrpSyncGroup};

use crate::proto::vrrp::{ChecksumForm, Family, Password, Version};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;

/// All of it; empty where somebody else owns the addresses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vrrp {
    /// In file order; none has the interface, virtual router and family of another.
    pub instances: Vec<VrrpInstance>,
    /// In file order; no instance is in two of them.
    pub sync_groups: Vec<VrrpSyncGroup>,
    /// In file order.
    pub scripts: Vec<VrrpScript>,
    /// In file order.
    pub track_files: Vec<TrackFile>,
}

/// One virtual router on one interface, and the addresses that go with it.
#[derive(Clone, Debug, PartialEq)]
pub struct VrrpInstance {
    /// Unique in the file.
    pub name: String,
    /// Where adverts are sent and heard.
    pub interface: String,
    /// What to try first.
    pub state: InitialState,
    /// The number that it has on the wire; unique for its interface and family.
    pub virtual_router_id: NonZeroU8,
    /// 255 owns the addresses: nothing lowers it and nobody preempts it.
    pub priority: NonZeroU8,
    /// From one advert to the next: with version 2 whole seconds, with version 3 whole hundredths.
    pub advert_interval: Duration,
    /// Of the protocol; 3 with IPv6.
    pub version: Version,
    /// The addresses with their networks, never empty. Those of the first one's family are advertised.
    pub virtual_addresses: Vec<IpNet>,
    /// Further ones, of either family, that are not.
    pub virtual_addresses_excluded: Vec<IpNet>,
    /// Where adverts come from, of the family; the interface's own address when not set.
    pub source_address: Option<IpAddr>,
    /// Who gets the adverts, of the family and without duplicates; the family's multicast group when empty.
    pub unicast_peers: Vec<IpAddr>,
    /// Whether adverts of unicast peers need TTL or hop limit 255, as those of the group always do.
    pub unicast_ttl_check: bool,
    /// What the checksum of version 3 over IPv4 is made of; either is accepted.
    pub checksum: ChecksumForm,
    /// Of version 2 alone.
    pub authentication: Option<Password>,
    /// An interface of its own with the virtual MAC address, which has the addresses.
    pub vmac: Option<Vmac>,
    /// Whether it takes the place of a master of lower priority; always with priority 255.
    pub preempt: bool,
    /// How long it lets such a master be.
    pub preempt_delay: Duration,
    /// How neighbours are told.
    pub garp: Garp,
    /// What its priority depends on, and whether it may be master at all.
    pub tracks: Tracks,
    /// Who is told.
    pub notify: Notify,
}

/// `state`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum InitialState {
    /// `MASTER`.
    Master,
    /// `BACKUP`.
    #[default]
    Backup,
}

/// `use_vmac`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Vmac {
    /// What its interface is called; unique.
    pub interface: String,
    /// Whether adverts go by the interface below it and with that one's MAC address.
    pub xmit_base: bool,
}

/// Gratuitous ARP, and with IPv6 unsolicited neighbour advertisements.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Garp {
    /// From the first burst of a new master to the second; none when zero.
    pub master_delay: Duration,
    /// Packets for each address in these, at least 1.
    pub master_repeat: u32,
    /// How often a master repeats them; never when zero.
    pub master_refresh: Duration,
    /// Packets for each address then, at least 1.
    pub master_refresh_repeat: u32,
    /// After a master has heard one of lower priority, which may have sent its own; none when zero.
    pub lower_prio_delay: Duration,
    /// Packets for each address then; 0 sends none.
    pub lower_prio_repeat: u32,
}

impl Vmac {
    /// As keepalived calls it where nothing is said. The families have interfaces of their own, for their MAC addresses are
    /// not the same (RFC 9568 section 7.3).
    pub(in super::super) fn default_interface(instance: &VrrpInstance) -> String {
        let family = match instance.family() {
            Family::Ipv4 => "",
            Family::Ipv6 => "6",
        };
        format!("vrrp{family}.{}", instance.virtual_router_id)
    }
}

impl Default for Garp {
    fn default() -> Self {
        Self {
            master_delay: Duration::from_secs(5),
            master_repeat: 5,
            master_refresh: Duration::ZERO,
            master_refresh_repeat: 1,
            lower_prio_delay: Duration::from_secs(5),
            lower_prio_repeat: 5,
        }
    }
}

impl VrrpInstance {
    /// The priority of whoever owns the addresses.
    pub const OWNER: NonZeroU8 = NonZeroU8::MAX;

    /// Of a router that says nothing (RFC 9568 section 5.2.4).
    const PRIORITY: NonZeroU8 = NonZeroU8::new(100).unwrap();

    /// An instance with every default; it still needs addresses.
    #[must_use]
    pub fn new(name: String, interface: String, virtual_router_id: NonZeroU8) -> Self {
        Self {
            name,
            interface,
            state: InitialState::default(),
            virtual_router_id,
            priority: Self::PRIORITY,
            advert_interval: Duration::from_secs(1),
            version: Version::default(),
            virtual_addresses: Vec::new(),
            virtual_addresses_excluded: Vec::new(),
            source_address: None,
            unicast_peers: Vec::new(),
            unicast_ttl_check: false,
            checksum: ChecksumForm::default(),
            authentication: None,
            vmac: None,
            preempt: true,
            preempt_delay: Duration::ZERO,
            garp: Garp::default(),
            tracks: Tracks::default(),
            notify: Notify::default(),
        }
    }

    /// That of its adverts; IPv4 without addresses.
    #[must_use]
    pub fn family(&self) -> Family {
        self.virtual_addresses.first().map_or(Family::Ipv4, |first| Family::of(first.addr()))
    }

    /// The addresses in its adverts, in file order.
    pub fn advertised(&self) -> impl Iterator<Item = &IpNet> {
        let family = self.family();
        self.virtual_addresses.iter().filter(move |address| Family::of(address.addr()) == family)
    }

    /// The addresses that go with them unsaid, in file order.
    pub fn excluded(&self) -> impl Iterator<Item = &IpNet> {
        let family = self.family();
        let others =
            self.virtual_addresses.iter().filter(move |address| Family::of(address.addr()) != family);
        others.chain(&self.virtual_addresses_excluded)
    }

    /// All of its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = &IpNet> {
        self.virtual_addresses.iter().chain(&self.virtual_addresses_excluded)
    }

    /// Whether its adverts go to peers by name in place of the multicast group.
    #[must_use]
    pub fn is_unicast(&self) -> bool {
        !self.unicast_peers.is_empty()
    }

    /// Whether it owns its addresses.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        self.priority == Self::OWNER
    }
}

impl Vrrp {
    /// Every program that may be run for it.
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        let scripts = self.scripts.iter().map(|script| &script.command);
        let of_instances = self.instances.iter().map(|instance| &instance.notify);
        let of_groups = self.sync_groups.iter().map(|group| &group.notify);
        scripts.chain(of_instances.chain(of_groups).flat_map(Notify::commands))
    }

    /// Every address that may be ours at times, so that listeners bind it before it is.
    #[must_use]
    pub fn owned_addresses(&self) -> BTreeSet<IpAddr> {
        self.instances.iter().flat_map(VrrpInstance::addresses).map(IpNet::addr).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(addresses: &[&str], excluded: &[&str]) -> VrrpInstance {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        VrrpInstance {
            virtual_addresses: networks(addresses),
            virtual_addresses_excluded: networks(excluded),
            ..VrrpInstance::new("VI_1".into(), "eth0".into(), NonZeroU8::MIN)
        }
    }

    #[test]
    fn the_family_of_the_first_address_is_advertised_and_the_other_goes_along() {
        let of = |list: Vec<&IpNet>| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let (four, six) = ("192.0.2.10/24", "2001:db8::10/64");
        #[rustfmt::skip]
        let table: [(&[&str], &[&str], _, _, _); 4] = [
            (&[four], &[],                  Family::Ipv4, four, String::new()),
            (&[four, six, "192.0.2.11/32"], &["192.0.2.12/32", "2001:db8::12/128"],
                Family::Ipv4, "192.0.2.10/24 192.0.2.11/32", format!("{six} 192.0.2.12/32 2001:db8::12/128")),
            (&[six, four], &[],             Family::Ipv6, six, four.into()),
            (&[], &[],                      Family::Ipv4, "", String::new()),
        ];
        for (addresses, excluded, family, advertised, unsaid) in table {
            let instance = instance(addresses, excluded);
            assert_eq!(instance.family(), family, "{addresses:?}");
            assert_eq!(of(instance.advertised().collect()), advertised, "{addresses:?}");
            assert_eq!(of(instance.excluded().collect()), unsaid, "{addresses:?}");
        }
    }

    #[test]
    fn every_address_of_every_instance_is_owned_at_times() {
        let instances = vec![
            instance(&["192.0.2.10/24", "2001:db8::10/64"], &["192.0.2.11/32"]),
            instance(&["192.0.2.20/24"], &[]),
        ];
        let owned = Vrrp { instances, ..Vrrp::default() }.owned_addresses();
        let owned: Vec<String> = owned.iter().map(ToString::to_string).collect();
        assert_eq!(owned, ["192.0.2.10", "192.0.2.11", "192.0.2.20", "2001:db8::10"]);
    }
}
