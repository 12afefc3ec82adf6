//! The interfaces of the host and their addresses, as far as the kernel has told.
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use crate::proto::netlink::address::{Address, Lifetime};
use crate::proto::netlink::link::Link;
use crate::proto::vrrp::Family;
use crate::sys::netlink::RouteEvent;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: BTreeMap<u32, Link>,
    addresses: Vec<Address>,
}

/// An interface that can be used now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Usable {
    /// Another one when the interface was made anew.
    pub(super) index: u32,
    /// Of Ethernet.
    pub(super) mac: Option<[u8; 6]>,
    /// Where adverts come from.
    pub(super) source: IpAddr,
}

/// What has come of an event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// Some interface or address is different: whoever depends on them has to look.
    Something,
    /// An address is gone; whose it is knows the caller.
    Lost(u32, IpAddr),
    /// What was read is not all there is.
    Unknown,
    /// Nothing that matters, such as a lifetime.
    Nothing,
}

impl Links {
    /// Replaces everything.
    pub(super) fn survey(&mut self, links: Vec<Link>, addresses: Vec<Address>) {
        self.links = links.into_iter().map(|link| (link.index, link)).collect();
        self.addresses = addresses;
    }

    pub(super) fn hear(&mut self, event: RouteEvent) -> Change {
        match event {
            RouteEvent::Link(link) => match self.links.insert(link.index, link.clone()) {
                Some(before) if before == link => Change::Nothing,
                _ => Change::Something,
            },
            RouteEvent::LinkGone(index) => {
                self.addresses.retain(|address| address.index != index);
                self.links.remove(&index).map_or(Change::Nothing, |_| Change::Something)
            }
            RouteEvent::AddressAdded(address) => {
                let same = |known: &&mut Address| is_same(known, &address);
                if let Some(known) = self.addresses.iter_mut().find(same) {
                    let changes = is_good(known) != is_good(&address);
                    *known = address;
                    return if changes { Change::Something } else { Change::Nothing };
                }
                self.addresses.push(address);
                Change::Something
            }
            RouteEvent::AddressRemoved(address) => {
                let before = self.addresses.len();
                self.addresses.retain(|known| !is_same(known, &address));
                match before == self.addresses.len() {
                    true => Change::Nothing,
                    false => Change::Lost(address.index, address.address),
                }
            }
            RouteEvent::Overflow => Change::Unknown,
        }
    }

    /// Whether the interface is there, up, and has a carrier; why not.
    pub(super) fn up(&self, name: &str) -> Result<&Link, String> {
        let link = self.links.values().find(|link| link.name == name);
        match link {
            None => Err(format!("interface {name} is not there")),
            Some(link) if !link.is_up => Err(format!("interface {name} is down")),
            Some(link) if !link.is_running => Err(format!("interface {name} has no carrier")),
            Some(link) => Ok(link),
        }
    }

    /// Whether the interface with this index has this name.
    pub(super) fn is_called(&self, index: u32, name: &str) -> bool {
        self.links.get(&index).is_some_and(|link| link.name == name)
    }

    /// Whether there is one of this name, in whatever state.
    pub(super) fn is_there(&self, name: &str) -> bool {
        self.links.values().any(|link| link.name == name)
    }

    /// The same of an interface that adverts are to be sent by. Of its addresses the first that is no virtual one is their
    /// source, or else the first that the host owns, unless another is asked for.
    pub(super) fn usable(
        &self,
        name: &str,
        family: Family,
        asked: Option<IpAddr>,
        is_virtual: impl Fn(IpAddr) -> bool,
        is_owned: impl Fn(IpAddr) -> bool,
    ) -> Result<Usable, String> {
        let link = self.up(name)?;
        let own = || self.addresses.iter().filter(|address| address.index == link.index && is_good(address));
        let is_candidate = |address: IpAddr| match (asked, address) {
            (Some(asked), address) => address == asked,
            // RFC 9568 section 5.1.2.1: IPv6 adverts come from the link-local address.
            (None, IpAddr::V6(address)) => family == Family::Ipv6 && is_link_local(address),
            (None, IpAddr::V4(_)) => family == Family::Ipv4,
        };
        let first = |is_source: &dyn Fn(&Address) -> bool| {
            own().filter(|of| is_candidate(of.address)).find(|of| is_source(of)).map(|of| of.address)
        };
        let source = first(&|of| asked.is_some() || !is_virtual(of.address))
            // One with a lifetime is held as a virtual one, and may go at any time.
            .or_else(|| first(&|of| of.valid == Lifetime::Endless && is_owned(of.address)));
        match (source, asked) {
            (Some(source), _) => Ok(Usable { index: link.index, mac: link.mac, source }),
            (None, Some(asked)) => Err(format!("interface {name} does not have source_address {asked}")),
            (None, None) if family == Family::Ipv6 => {
                Err(format!("interface {name} has no link-local address"))
            }
            (None, None) => Err(format!("interface {name} has no {family} address of its own")),
        }
    }

    /// Where an address is now, and with which prefix.
    pub(super) fn holders(&self, address: IpAddr) -> impl Iterator<Item = &Address> {
        self.addresses.iter().filter(move |known| known.address == address)
    }

    /// Whether the interface with this index has the address.
    pub(super) fn has(&self, index: u32, address: IpAddr) -> bool {
        self.holders(address).any(|known| known.index == index)
    }
}

/// Whether it can be used already, and by nobody else.
fn is_good(address: &Address) -> bool {
    !address.is_tentative && !address.is_duplicate
}

fn is_same(one: &Address, other: &Address) -> bool {
    (one.index, one.address, one.prefix) == (other.index, other.address, other.prefix)
}

fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::netlink::address::Scope;

    fn link(index: u32, name: &str, is_up: bool, is_running: bool) -> Link {
        Link {
            index,
            name: name.into(),
            is_up,
            is_running,
            is_lower_up: is_running,
            operational: None,
            carrier: None,
            mac: Some([2, 0, 0, 0, 0, 1]),
            mtu: Some(1500),
            kind: None,
            parent: None,
        }
    }

    fn address(index: u32, address: &str) -> Address {
        Address {
            index,
            address: address.parse().unwrap(),
            prefix: 24,
            scope: Scope::Global,
            valid: Lifetime::Endless,
            preferred: Lifetime::Endless,
            is_tentative: false,
            is_duplicate: false,
            is_deprecated: false,
            is_without_prefix_route: false,
            label: None,
        }
    }

    #[test]
    fn an_interface_is_usable_with_an_address_of_its_own_and_says_what_is_missing() {
        let mut links = Links::default();
        let all =
            vec![link(2, "eth0", true, true), link(3, "eth1", true, false), link(4, "eth2", false, false)];
        let addresses = ["192.0.2.10", "192.0.2.1", "192.0.2.2", "2001:db8::1", "fe80::10", "fe80::1"];
        links.survey(all, addresses.iter().map(|text| address(2, text)).collect());
        let is_virtual = |address: IpAddr| ["192.0.2.10", "fe80::10"].contains(&address.to_string().as_str());
        let source = |name, family, asked: Option<&str>| {
            let asked = asked.map(|text| text.parse().unwrap());
            links.usable(name, family, asked, is_virtual, |_| false).map(|usable| usable.source.to_string())
        };
        let not = |text: &str| Err(text.to_owned());
        assert_eq!(
            source("eth0", Family::Ipv4, None),
            Ok("192.0.2.1".into()),
            "the first that is no virtual one"
        );
        assert_eq!(source("eth0", Family::Ipv6, None), Ok("fe80::1".into()));
        assert_eq!(source("eth0", Family::Ipv4, Some("192.0.2.2")), Ok("192.0.2.2".into()));
        assert_eq!(
            source("eth0", Family::Ipv4, Some("192.0.2.3")),
            not("interface eth0 does not have source_address 192.0.2.3")
        );
        assert_eq!(source("eth1", Family::Ipv4, None), not("interface eth1 has no carrier"));
        assert_eq!(source("eth2", Family::Ipv4, None), not("interface eth2 is down"));
        assert_eq!(source("eth3", Family::Ipv4, None), not("interface eth3 is not there"));
        links.hear(RouteEvent::Link(link(3, "eth1", true, true)));
        let source = |family| links.usable("eth1", family, None, is_virtual, |_| false).unwrap_err();
        assert_eq!(source(Family::Ipv4), "interface eth1 has no IPv4 address of its own");
        assert_eq!(source(Family::Ipv6), "interface eth1 has no link-local address");
    }

    #[test]
    fn an_address_that_the_host_owns_is_a_source_where_it_has_no_other() {
        let mut links = Links::default();
        let virtual_addresses = ["192.0.2.10", "192.0.2.11", "fe80::10", "fe80::11"];
        let is_virtual = |address: IpAddr| virtual_addresses.contains(&address.to_string().as_str());
        let is_owned = |address: IpAddr| address.to_string().ends_with("11");
        let held = |text: &str| Address { valid: Lifetime::Seconds(3), ..address(2, text) };
        let mut survey = |addresses: Vec<Address>| {
            links.survey(vec![link(2, "eth0", true, true)], addresses);
            [Family::Ipv4, Family::Ipv6].map(|family| {
                let usable = links.usable("eth0", family, None, is_virtual, is_owned);
                usable.map(|usable| usable.source.to_string()).ok()
            })
        };
        let some = |text: &str| Some(text.to_owned());
        let mut all = virtual_addresses.map(|text| address(2, text)).to_vec();
        assert_eq!(survey(all.clone()), [some("192.0.2.11"), some("fe80::11")]);
        all.extend(["192.0.2.1", "fe80::1"].map(|text| address(2, text)));
        assert_eq!(survey(all), [some("192.0.2.1"), some("fe80::1")], "they are the last choice");
        assert_eq!(survey(virtual_addresses.map(held).to_vec()), [None, None], "whose lifetime may end");
    }

    #[test]
    fn only_what_changes_something_is_told() {
        let mut links = Links::default();
        let ours = address(2, "192.0.2.10");
        let refreshed = Address { valid: Lifetime::Seconds(3), ..ours.clone() };
        for (event, expected) in [
            (RouteEvent::Link(link(2, "eth0", true, true)), Change::Something),
            (RouteEvent::Link(link(2, "eth0", true, true)), Change::Nothing),
            (RouteEvent::Link(link(2, "eth0", true, false)), Change::Something),
            (RouteEvent::AddressAdded(ours.clone()), Change::Something),
            (RouteEvent::AddressAdded(refreshed), Change::Nothing),
            (RouteEvent::AddressAdded(Address { is_tentative: true, ..ours.clone() }), Change::Something),
            (RouteEvent::AddressRemoved(ours.clone()), Change::Lost(2, ours.address)),
            (RouteEvent::AddressRemoved(ours.clone()), Change::Nothing),
            (RouteEvent::AddressAdded(ours.clone()), Change::Something),
            (RouteEvent::LinkGone(2), Change::Something),
            (RouteEvent::LinkGone(2), Change::Nothing),
            (RouteEvent::AddressRemoved(ours.clone()), Change::Nothing),
            (RouteEvent::Overflow, Change::Unknown),
        ] {
            assert_eq!(links.hear(event.clone()), expected, "{event:?}");
        }
        assert!(!links.has(2, ours.address));
    }
}
