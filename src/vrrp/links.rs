//! The interfaces of the host and their addresses, as far as the kernel has told.
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use crate::config::vrrp::Family;
use crate::proto::netlink::address::Address;
use crate::proto::netlink::link::Link;
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
                    *known = address;
                    return Change::Nothing;
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

    /// The same of an interface that adverts are to be sent by. Of its addresses the first that is no virtual one is their
    /// source, unless another is asked for.
    pub(super) fn usable(
        &self,
        name: &str,
        family: Family,
        asked: Option<IpAddr>,
        is_virtual: impl Fn(IpAddr) -> bool,
    ) -> Result<Usable, String> {
        let link = self.up(name)?;
        let mut own =
            self.addresses.iter().filter(|address| address.index == link.index).map(|of| of.address);
        let is_source = |address: &IpAddr| match (asked, address) {
            (Some(asked), address) => *address == asked,
            // RFC 9568 section 5.1.2.1: IPv6 adverts come from the link-local address.
            (None, IpAddr::V6(address)) => {
                family == Family::Ipv6 && is_link_local(*address) && !is_virtual((*address).into())
            }
            (None, IpAddr::V4(address)) => family == Family::Ipv4 && !is_virtual((*address).into()),
        };
        match (own.find(is_source), asked) {
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

fn is_same(one: &Address, other: &Address) -> bool {
    (one.index, one.address, one.prefix) == (other.index, other.address, other.prefix)
}

fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}
