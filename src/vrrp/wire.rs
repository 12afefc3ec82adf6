//! The sockets of VRRP's thread. Those of one interface are shared by all virtual routers on it.
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::rc::{Rc, Weak};

use crate::proto::vrrp::{Family, GROUP_V4};
use crate::sys::packet_socket::PacketSocket;
use crate::sys::vrrp_socket::{Received, Receiver, Sender};

/// Most that is read of one packet: an advert with 255 addresses of IPv6 has 4 KiB.
const MAX_PACKET: usize = 8 * 1024;

/// Adverts that are read from one socket before others and the clock have their turn: all that an interface with 250 virtual
/// routers gets in four intervals. What is left is read at the next turn, before a timer is believed.
const MAX_AT_ONCE: usize = 1024;

/// The index of an interface, and a family.
pub(super) type Place = (u32, Family);

/// See the module's text.
#[derive(Debug)]
pub(super) struct Wire {
    receivers: BTreeMap<Place, Receiver>,
    /// Of IPv4, for what the kernel drops: adverts from an address that this host has.
    martians: BTreeMap<Place, Receiver>,
    senders: BTreeMap<(u32, IpAddr), Weak<Sender>>,
    packets: Option<PacketSocket>,
    buffer: Vec<u8>,
}

impl Wire {
    pub(super) fn new() -> Self {
        Self {
            receivers: BTreeMap::new(),
            martians: BTreeMap::new(),
            senders: BTreeMap::new(),
            packets: None,
            buffer: vec![0; MAX_PACKET],
        }
    }

    /// Hears adverts there from now on.
    pub(super) fn listen(&mut self, place: Place) -> io::Result<()> {
        if let ((index, Family::Ipv4), Entry::Vacant(vacant)) = (place, self.martians.entry(place)) {
            vacant.insert(Receiver::all_of_v4(index)?);
        }
        if let Entry::Vacant(vacant) = self.receivers.entry(place) {
            vacant.insert(match place {
                (index, Family::Ipv4) => Receiver::v4(index)?,
                (index, Family::Ipv6) => Receiver::v6(index)?,
            });
        }
        Ok(())
    }

    /// Hears nothing where nobody wants to.
    pub(super) fn keep(&mut self, is_wanted: impl Fn(Place) -> bool) {
        self.receivers.retain(|place, _| is_wanted(*place));
        self.martians.retain(|place, _| is_wanted(*place));
        self.senders.retain(|_, sender| sender.strong_count() > 0);
    }

    pub(super) fn sender(&mut self, index: u32, source: IpAddr) -> io::Result<Rc<Sender>> {
        if let Some(sender) = self.senders.get(&(index, source)).and_then(Weak::upgrade) {
            return Ok(sender);
        }
        let sender = Rc::new(Sender::open(index, source)?);
        self.senders.insert((index, source), Rc::downgrade(&sender));
        Ok(sender)
    }

    pub(super) fn packets(&mut self) -> io::Result<&PacketSocket> {
        match &mut self.packets {
            Some(packets) => Ok(packets),
            none => Ok(none.insert(PacketSocket::open()?)),
        }
    }

    /// What is to be polled, in an order that stays until [`Self::listen`] or [`Self::keep`].
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        use std::os::fd::AsFd as _;
        self.receivers.values().chain(self.martians.values()).map(|receiver| receiver.as_fd())
    }

    /// Everything that has come, each once: what comes from an address that this host has is taken where it is heard whether or not
    /// the kernel drops it (`accept_local` of ip-sysctl). Whether there may be more.
    pub(super) fn receive(
        &mut self,
        is_held: impl Fn(IpAddr) -> bool,
        mut take: impl FnMut(Place, &Received, &[u8]),
    ) -> bool {
        let Self { receivers, martians, buffer, .. } = self;
        let mut more = false;
        for (place, receiver) in receivers {
            more |= read(receiver, buffer, |received, payload| {
                if received.source.is_ipv6() || !is_held(received.source) {
                    take(*place, received, payload);
                }
            });
        }
        for (place, receiver) in martians {
            more |= read(receiver, buffer, |received, payload| {
                let is_for_us = received.destination == GROUP_V4 || is_held(received.destination);
                if is_held(received.source) && is_for_us {
                    take(*place, received, payload);
                }
            });
        }
        more
    }
}

fn read(receiver: &mut Receiver, buffer: &mut [u8], mut take: impl FnMut(&Received, &[u8])) -> bool {
    let mut count = 0;
    // An interface that has gone says so by an event as well.
    while let Ok(Some(received)) = receiver.receive(buffer) {
        take(&received, buffer.get(received.payload.clone()).unwrap_or_default());
        count += 1;
        if count == MAX_AT_ONCE {
            return true;
        }
    }
    false
}
