//! The interface that a virtual router is on: found, used, lost and found again.
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Claim, Means, Router};
use crate::config::vrrp::VrrpInstance;
use crate::proto::netlink::address::Lifetime;
use crate::proto::vrrp::{Condition, Role};
use crate::sys::vrrp_socket::Sender;
use crate::vrrp::holdings::{Order, Vmac};
use crate::vrrp::links::Usable;
use crate::vrrp::record::Origin;
use crate::vrrp::settings;

/// After the kernel has refused an interface or a socket: whoever refuses it now may not later.
const ATTACH_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Where it sends.
#[derive(Clone, Debug)]
pub(super) struct Attachment {
    pub(super) usable: Usable,
    /// That of the VMAC interface, or the interface's own.
    pub(super) device: u32,
    /// What neighbours are told; none where there is no Ethernet, and nobody is told.
    pub(super) mac: Option<[u8; 6]>,
    /// The interface by which adverts leave.
    pub(super) sends_by: u32,
    pub(super) sender: Rc<Sender>,
}

impl Attachment {
    fn place(&self) -> (Usable, u32) {
        (self.usable, self.device)
    }
}

/// Its VMAC interface, where it has one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum VmacState {
    /// Not asked for yet.
    Missing,
    /// On this parent.
    Ordered(u32),
    /// Made; whether the kernel has told of it since.
    There { parent: u32, index: u32, seen: bool },
    /// It is asked for again after some time.
    Refused(String, Instant),
}

impl Router {
    /// Looks at its interface anew.
    pub(in crate::vrrp) fn attach(&mut self, now: Instant, means: &mut Means<'_>) {
        for track in &self.config.tracks.interfaces {
            let condition = if means.links.up(&track.name).is_ok() { Condition::Up } else { Condition::Down };
            let item = settings::interface_item(&track.name);
            self.is_stale |= self.tracking.set(&item, condition);
        }
        let attached = self.try_attach(now, means);
        let is_same = match (&self.attachment, &attached) {
            (Ok(before), Ok(now)) => before.place() == now.place(),
            (Err(before), Err(now)) => before == now,
            _ => false,
        };
        if !is_same {
            self.is_stale = true;
            let before = std::mem::replace(&mut self.attachment, attached);
            match (&self.attachment, before) {
                (Ok(attachment), _) => {
                    self.machine.set_primary_address(attachment.usable.source);
                    if self.claim != Claim::None {
                        // The interface may have been made anew, and the addresses be gone with the one before.
                        self.claim(true, means);
                    }
                }
                // It may still be good enough to say that it gives up.
                (Err(_), Ok(before)) => self.last_attachment = Some(before),
                (Err(_), Err(_)) => {}
            }
        }
        self.look_for_own_addresses(means);
    }

    /// An owner's addresses that are there without us, and for ever, are the host's own.
    pub(super) fn look_for_own_addresses(&mut self, means: &Means<'_>) {
        let (true, Ok(attachment)) = (self.config.is_owner(), &self.attachment) else { return };
        let config = &self.config;
        self.own_addresses.retain(|own| config.addresses().any(|of| of.addr() == *own));
        for address in self.config.addresses().map(ipnet::IpNet::addr) {
            let mut holders = means.links.holders(address);
            let is_own = holders.any(|of| of.index == attachment.device && of.valid == Lifetime::Endless);
            if is_own {
                self.own_addresses.insert(address);
            }
        }
        let missing = |address: &&std::net::IpAddr| !means.links.has(attachment.device, **address);
        self.missing_address = self.own_addresses.iter().find(missing).copied();
    }

    fn try_attach(&mut self, now: Instant, means: &mut Means<'_>) -> Result<Attachment, String> {
        let config = &self.config;
        let is_own = |address| config.is_owner() && config.addresses().any(|own| own.addr() == address);
        let is_virtual = |address| means.virtual_addresses.contains(&address) && !is_own(address);
        let is_owned = |address| means.owned_addresses.contains(&address);
        let (family, asked) = (config.family(), config.source_address);
        let usable = means.links.usable(&config.interface, family, asked, is_virtual, is_owned)?;
        let (device, mac) = match &config.vmac {
            None => (usable.index, usable.mac),
            Some(vmac) => {
                let vmac = self.vmac_on(vmac.interface.clone(), usable.index);
                let mac = vmac.mac;
                (self.vmac(now, vmac, means)?, Some(mac))
            }
        };
        let opened = self.open_sockets(usable, device, means);
        let (sends_by, sender) = opened.map_err(|error| {
            self.attach_again_at = Some(now + ATTACH_AGAIN_AFTER);
            let mend = match error.kind() {
                io::ErrorKind::PermissionDenied => "it takes CAP_NET_RAW",
                _ => "it is tried again",
            };
            format!("interface {}: no socket for adverts: {error}; {mend}", self.config.interface)
        })?;
        Ok(Attachment { usable, device, mac, sends_by, sender })
    }

    /// Adverts are heard at the interface below a VMAC, also those that come from its MAC address: a macvlan that has no address
    /// yet would drop them where the reverse path is looked at, and a membership there would be told with that MAC address.
    fn open_sockets(
        &self,
        usable: Usable,
        device: u32,
        means: &mut Means<'_>,
    ) -> io::Result<(u32, Rc<Sender>)> {
        means.wire.listen((usable.index, self.config.family()))?;
        means.wire.packets()?;
        let by_base = self.config.vmac.as_ref().is_some_and(|vmac| vmac.xmit_base);
        let sends_by = if by_base { usable.index } else { device };
        Ok((sends_by, means.wire.sender(sends_by, usable.source)?))
    }

    /// The index of its VMAC interface, which is asked for where it is not there.
    fn vmac(&mut self, now: Instant, vmac: Vmac, means: &Means<'_>) -> Result<u32, String> {
        let awaited = format!("interface {} is being made", vmac.name);
        match &mut self.vmac {
            VmacState::There { parent, index, seen } if *parent == vmac.parent => {
                let link = means.links.up(&vmac.name);
                if link.as_ref().is_ok_and(|link| link.index == *index) {
                    *seen = true;
                    return Ok(*index);
                } else if means.links.is_there(&vmac.name) {
                    return link.and(Err(awaited));
                } else if !*seen {
                    // Its making is heard of later than that it was made.
                    return Err(awaited);
                }
            }
            VmacState::Ordered(parent) if *parent == vmac.parent => return Err(awaited),
            VmacState::Refused(why, until) if now < *until => return Err(why.clone()),
            _ => {}
        }
        self.vmac = VmacState::Ordered(vmac.parent);
        (means.order)(Order::MakeVmac { router: self.id, vmac });
        Err(awaited)
    }

    /// Whether it cannot have begun yet, which is no fault: what it needs is being made.
    pub(in crate::vrrp) fn is_in_the_making(&self) -> bool {
        let is_made = matches!(self.vmac, VmacState::Ordered(_) | VmacState::There { seen: false, .. });
        self.machine.state().role() == Role::Initialize && is_made
    }

    /// What was said of its VMAC interface.
    pub(in crate::vrrp) fn handle_vmac(&mut self, now: Instant, outcome: Result<u32, String>) {
        self.vmac = match (outcome, &self.vmac) {
            (Ok(index), VmacState::Ordered(parent)) => {
                VmacState::There { parent: *parent, index, seen: false }
            }
            (Ok(_), _) => VmacState::Missing,
            (Err(why), _) => VmacState::Refused(why, now + ATTACH_AGAIN_AFTER),
        };
    }

    /// The VMAC interface that was made for it.
    pub(in crate::vrrp) fn made_vmac(&self) -> Option<Vmac> {
        let (Some(vmac), VmacState::There { parent, .. } | VmacState::Ordered(parent)) =
            (&self.config.vmac, &self.vmac)
        else {
            return None;
        };
        Some(self.vmac_on(vmac.interface.clone(), *parent))
    }

    fn vmac_on(&self, name: String, parent: u32) -> Vmac {
        let VrrpInstance { interface, .. } = &self.config;
        let mac = settings::virtual_mac(&self.config);
        Vmac { name, mac, parent, parent_name: interface.clone() }
    }

    /// When to ask the kernel again for what it has refused.
    pub(super) fn asks_again_at(&self) -> Option<Instant> {
        let vmac = match &self.vmac {
            VmacState::Refused(_, until) => Some(*until),
            _ => None,
        };
        [vmac, self.attach_again_at].into_iter().flatten().min()
    }

    /// Whether it is time for that.
    pub(super) fn asks_again(&mut self, now: Instant) -> bool {
        let vmac = matches!(&self.vmac, VmacState::Refused(_, until) if *until <= now);
        if vmac {
            self.vmac = VmacState::Missing;
        }
        self.attach_again_at.take_if(|at| *at <= now).is_some() || vmac
    }

    /// Where it sends from, of the interface below a VMAC.
    pub(super) fn origin(&self) -> Option<Origin> {
        let Usable { index, source, .. } = self.attachment.as_ref().ok()?.usable;
        Some(Origin { index, address: source })
    }

    /// The interface that it hears on.
    pub(in crate::vrrp) fn place(&self) -> Option<crate::vrrp::wire::Place> {
        let attachment = self.attachment.as_ref().ok()?;
        Some((attachment.usable.index, self.config.family()))
    }
}
