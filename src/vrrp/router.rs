//! One virtual router at work: its machine, what it tracks, the interface that it is on, and what its actions come to.
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use ipnet::IpNet;

use super::Event;
use super::guardian::LastWords;
use super::holdings::{Order, RouterId, Vmac};
use super::links::{Links, Usable};
use super::record::{Discarded, Record, Situation};
use super::settings;
use super::wire::Wire;
use crate::config::vrrp::VrrpInstance;
use crate::proto::vrrp::{
    Action, Advertisement, Announcing, Condition, Instance, Priority, Reception, Role, Tracking,
};
use crate::proto::{arp, ndp};
use crate::sys::vrrp_socket::{Received, Sender};

/// Shortest lifetime of a virtual address: it is renewed every second, and one renewal may come late.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(3);

/// After an address could not be added: whoever refuses it now may not later.
const CLAIM_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Adverts of another master, one after the other, of which it has heard of this one.
const RIVAL_YIELDS_WITHIN: u32 = 3;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Router {
    pub(super) id: RouterId,
    pub(super) config: VrrpInstance,
    pub(super) machine: Instance,
    pub(super) record: Arc<Record>,
    pub(super) tracking: Tracking,
    reception: Reception,
    announcing: Announcing,
    attachment: Result<Attachment, String>,
    claim: Claim,
    vmac: VmacState,
    /// An operator keeps it from being master.
    pub(super) maintenance: bool,
    /// Why it may not be in office, as was found last.
    own_fault: Option<String>,
    /// Whether what others see is not the case any more.
    is_stale: bool,
    /// Since when it is what it is, by either clock, and why.
    last_change: (Instant, SystemTime, String),
    /// As master: another one, and how many adverts of it were heard.
    rival: Option<(IpAddr, Priority, u32)>,
    /// What the kernel refused, and until when that is a fault.
    refused: Option<(String, Instant)>,
}

/// Where it sends.
#[derive(Clone, Debug)]
struct Attachment {
    usable: Usable,
    /// That of the VMAC interface, or the interface's own.
    device: u32,
    /// Where adverts come in.
    heard_at: u32,
    /// What neighbours are told; none where there is no Ethernet, and nobody is told.
    mac: Option<[u8; 6]>,
    sender: Rc<Sender>,
}

impl Attachment {
    fn place(&self) -> (Usable, u32, u32) {
        (self.usable, self.device, self.heard_at)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Claim {
    None,
    /// Ordered; whether neighbours are to be told once it is done.
    Ordered {
        announce: bool,
    },
    Held,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum VmacState {
    /// Not asked for yet.
    Missing,
    /// On this parent.
    Ordered(u32),
    /// Made; whether the kernel has told of it since.
    There { parent: u32, index: u32, seen: bool },
    /// It is asked for again after some time.
    Refused(String, Instant),
}

/// What a router needs to do its work.
pub(super) struct Means<'m> {
    pub(super) links: &'m Links,
    pub(super) wire: &'m mut Wire,
    pub(super) order: &'m dyn Fn(Order),
    pub(super) tell: &'m dyn Fn(Event),
    /// Every address that virtual routers of ours may hold.
    pub(super) virtual_addresses: &'m std::collections::BTreeSet<IpAddr>,
}

impl Router {
    pub(super) fn new(
        now: Instant,
        id: RouterId,
        config: VrrpInstance,
        record: Arc<Record>,
        tracking: Tracking,
    ) -> Self {
        let priority = tracking.standing().priority;
        let machine =
            Instance::new(settings::instance(&config, priority, settings::nowhere(config.family())));
        Self {
            id,
            machine,
            record,
            tracking,
            reception: settings::reception(&config),
            announcing: Announcing::new(settings::announcing(&config.garp)),
            attachment: Err(format!("interface {} is not known yet", config.interface)),
            claim: Claim::None,
            vmac: VmacState::Missing,
            maintenance: false,
            own_fault: None,
            is_stale: true,
            last_change: (now, super::today(), "not started".into()),
            rival: None,
            refused: None,
            config,
        }
    }

    /// Why it may not be backup or master now.
    pub(super) fn fault(&self, now: Instant) -> Option<String> {
        if self.maintenance {
            return Some("maintenance".into());
        }
        if let Err(why) = &self.attachment {
            return Some(why.clone());
        }
        if let Some((why, until)) = &self.refused
            && now < *until
        {
            return Some(why.clone());
        }
        self.tracking.standing().fault.map(|item| format!("{item} is down"))
    }

    /// Keeps in mind what was found. Whether there was a fault before and is none now, or the other way round.
    pub(super) fn set_fault(&mut self, fault: Option<String>) -> bool {
        let changed = fault.is_some() != self.own_fault.is_some();
        self.is_stale |= fault != self.own_fault;
        self.own_fault = fault;
        changed
    }

    /// Something that it may track is otherwise than it was.
    pub(super) fn set_condition(&mut self, item: &str, condition: Condition) {
        self.is_stale |= self.tracking.set(item, condition);
    }

    /// With what it and its group track.
    pub(super) fn set_priority(&mut self, now: Instant, priority: Priority) {
        self.is_stale |= priority != self.machine.priority();
        self.machine.set_priority(now, priority);
    }

    /// What was found last.
    pub(super) fn own_fault(&self) -> Option<&String> {
        self.own_fault.as_ref()
    }

    /// Whether it has all that it needs to begin.
    pub(super) fn is_ready(&self) -> bool {
        self.own_fault.is_none()
    }

    /// Goes on as another configuration has it, with the same identity on the same interface.
    pub(super) fn reconfigure(
        &mut self,
        now: Instant,
        config: VrrpInstance,
        record: Arc<Record>,
        tracking: Tracking,
    ) {
        let address = self.machine.config().primary_address;
        self.machine.reconfigure(now, settings::instance(&config, tracking.standing().priority, address));
        self.reception = settings::reception(&config);
        self.announcing.set_policy(now, settings::announcing(&config.garp));
        record.set_situation(Situation::clone(&self.record.situation()));
        (self.record, self.tracking, self.config) = (record, tracking, config);
        self.is_stale = true;
    }

    /// The VMAC interface that was made for it.
    pub(super) fn made_vmac(&self) -> Option<Vmac> {
        let (Some(vmac), VmacState::There { parent, .. } | VmacState::Ordered(parent)) =
            (&self.config.vmac, &self.vmac)
        else {
            return None;
        };
        Some(self.vmac_on(vmac.interface.clone(), *parent))
    }

    fn vmac_on(&self, name: String, parent: u32) -> Vmac {
        let mac = settings::virtual_mac(&self.config);
        Vmac { name, mac, parent, parent_name: self.config.interface.clone() }
    }

    /// Looks at its interface anew.
    pub(super) fn attach(&mut self, now: Instant, means: &mut Means<'_>) {
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
        if is_same {
            return;
        }
        if let Ok(attachment) = &attached {
            self.machine.set_primary_address(attachment.usable.source);
        }
        let is_attached = attached.is_ok();
        self.attachment = attached;
        if self.claim != Claim::None && is_attached {
            // The interface may have been made anew, and the addresses be gone with the one before.
            self.claim(means);
            self.claim = Claim::Ordered { announce: true };
        }
    }

    fn try_attach(&mut self, now: Instant, means: &mut Means<'_>) -> Result<Attachment, String> {
        let (interface, is_owner) = (self.config.interface.clone(), self.config.is_owner());
        let is_virtual = |address| means.virtual_addresses.contains(&address) && !is_owner;
        let usable =
            means.links.usable(&interface, self.config.family(), self.config.source_address, is_virtual)?;
        let (device, mac) = match &self.config.vmac {
            None => (usable.index, usable.mac),
            Some(vmac) => {
                let vmac = self.vmac_on(vmac.interface.clone(), usable.index);
                let mac = vmac.mac;
                (self.vmac(now, vmac, means)?, Some(mac))
            }
        };
        let failed = |error: std::io::Error| {
            format!("interface {interface}: no socket for adverts: {error}; it takes CAP_NET_RAW")
        };
        // Multicast that comes from the MAC address of a macvlan is the macvlan's alone, and peers with use_vmac have the same
        // one; what others send comes to both.
        let is_at_vmac = self.config.vmac.is_some() && self.config.unicast_peers.is_empty();
        let heard_at = if is_at_vmac { device } else { usable.index };
        means.wire.listen((heard_at, self.config.family())).map_err(failed)?;
        means.wire.packets().map_err(failed)?;
        let by_base = self.config.vmac.as_ref().is_some_and(|vmac| vmac.xmit_base);
        let sender =
            means.wire.sender(if by_base { usable.index } else { device }, usable.source).map_err(failed)?;
        Ok(Attachment { usable, device, heard_at, mac, sender })
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
    pub(super) fn is_in_the_making(&self) -> bool {
        let is_made = matches!(self.vmac, VmacState::Ordered(_) | VmacState::There { seen: false, .. });
        self.machine.state().role() == Role::Initialize && is_made
    }

    /// What was said of its VMAC interface.
    pub(super) fn handle_vmac(&mut self, now: Instant, outcome: Result<u32, String>) {
        self.vmac = match (outcome, &self.vmac) {
            (Ok(index), VmacState::Ordered(parent)) => {
                VmacState::There { parent: *parent, index, seen: false }
            }
            (Ok(_), _) => VmacState::Missing,
            (Err(why), _) => VmacState::Refused(why, now + CLAIM_AGAIN_AFTER),
        };
    }

    /// What was said of its addresses.
    pub(super) fn handle_claimed(&mut self, now: Instant, outcome: Result<(), String>, means: &Means<'_>) {
        let Claim::Ordered { announce } = self.claim else { return };
        match outcome {
            Ok(()) => {
                self.claim = Claim::Held;
                self.refused = None;
                if announce {
                    self.announcing.start(now);
                }
            }
            Err(why) => {
                (means.tell)(Event::Problem { instance: self.config.name.clone(), what: why.clone() });
                self.refused = Some((why, now + CLAIM_AGAIN_AFTER));
            }
        }
    }

    /// An advert that came on its interface for its id.
    pub(super) fn handle_packet(
        &mut self,
        now: Instant,
        received: &Received,
        payload: &[u8],
        tell: &dyn Fn(Event),
    ) {
        let &Received { source, destination, ttl, .. } = received;
        let (role, master) = (self.machine.state().role(), self.machine.master());
        let differed = self.machine.differs_from_master();
        let taken = self.reception.check(source, destination, ttl).and_then(|()| {
            let advertisement = Advertisement::parse(payload, source, destination)?;
            self.machine.handle_advertisement(now, source, &advertisement)?;
            Ok(advertisement)
        });
        let counts = &self.record.counts;
        match taken {
            Ok(advertisement) => {
                counts.received.fetch_add(1, Relaxed);
                let is_other_master = role == Role::Master && advertisement.priority != Priority::RELEASE;
                counts.other_masters.fetch_add(is_other_master.into(), Relaxed);
                let has_other_addresses = !self.machine.config().has_addresses(&advertisement.addresses);
                counts.other_addresses.fetch_add(has_other_addresses.into(), Relaxed);
                if is_other_master {
                    self.hear_rival(source, advertisement.priority, tell);
                }
            }
            Err(why) => counts.count_discard(Discarded { at: now, source, why }),
        }
        self.is_stale |= master != self.machine.master() || differed != self.machine.differs_from_master();
    }

    /// One that goes on beside us does not hear us: both have the addresses.
    fn hear_rival(&mut self, source: IpAddr, priority: Priority, tell: &dyn Fn(Event)) {
        let before = self.rival.map_or(0, |(_, _, count)| count);
        self.rival = Some((source, priority, before.saturating_add(1)));
        self.is_stale = true;
        if before + 1 == RIVAL_YIELDS_WITHIN
            && let Some(what) = self.rivalry()
        {
            tell(Event::Problem { instance: self.config.name.clone(), what });
        }
    }

    fn rivalry(&self) -> Option<String> {
        let (source, priority, count) = self.rival.filter(|(_, _, count)| *count >= RIVAL_YIELDS_WITHIN)?;
        Some(format!(
            "{source} is master, too, with priority {priority} ({count} adverts): it does not hear this host, or is another virtual router; look for a firewall, or give one of the two another virtual_router_id"
        ))
    }

    /// Does one thing that the machine wants done.
    pub(super) fn perform(&mut self, now: Instant, action: &Action, means: &mut Means<'_>) {
        // An advert of ours says nothing new.
        self.is_stale |= !matches!(action, Action::Advertise { .. });
        match action {
            Action::Advertise { priority } => self.advertise(*priority),
            Action::ClaimAddresses | Action::ChangeAddresses => self.claim(means),
            Action::AnnounceAddresses => match &mut self.claim {
                Claim::Ordered { announce } => *announce = true,
                _ => self.announcing.start(now),
            },
            Action::ReannounceAddresses => self.announcing.lower_priority_heard(now),
            Action::ReleaseAddresses => {
                self.announcing.stop();
                self.claim = Claim::None;
                (means.order)(Order::Release { router: self.id });
            }
            Action::Transition { from, to, cause } => {
                self.record.counts.count_transition(*to);
                self.last_change = (now, super::today(), cause.to_string());
                self.rival = None;
                (means.tell)(Event::Transition {
                    instance: self.config.name.clone(),
                    from: *from,
                    to: *to,
                    cause: cause.clone(),
                    priority: self.machine.priority(),
                    addresses: self.record.addresses.clone(),
                    at: now,
                });
            }
        }
    }

    fn advertise(&mut self, priority: Priority) {
        let counts = &self.record.counts;
        let Ok(Attachment { sender, usable, .. }) = &self.attachment else { return };
        let advertisement = self.machine.advertisement(priority);
        let count = if priority == Priority::RELEASE { &counts.released } else { &counts.sent };
        for destination in settings::destinations(&self.config) {
            let bytes = advertisement.encode(settings::checksum(&self.config), usable.source, destination);
            let sent = sender.send(destination, &bytes);
            if sent.is_ok() { count } else { &counts.not_sent }.fetch_add(1, Relaxed);
        }
    }

    fn claim(&mut self, means: &Means<'_>) {
        let Ok(Attachment { device, .. }) = &self.attachment else { return };
        let shortest = SHORTEST_LIFETIME.max(self.config.advert_interval * 3).as_secs_f64().ceil();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "3 to 765 seconds")]
        let lifetime = NonZeroU32::new(shortest as u32).unwrap_or(NonZeroU32::MIN);
        let mut addresses: Vec<IpNet> = self.config.addresses().copied().collect();
        if self.config.is_owner() {
            // They were there before us, and are to be there after us.
            addresses.retain(|address| !means.links.has(*device, address.addr()));
        }
        let last_words = self.last_words();
        self.claim = Claim::Ordered { announce: false };
        (means.order)(Order::Claim { router: self.id, index: *device, addresses, lifetime, last_words });
    }

    fn last_words(&self) -> Option<LastWords> {
        let Attachment { sender, usable, device, .. } = self.attachment.as_ref().ok()?;
        let advertisement = self.machine.advertisement(Priority::RELEASE);
        let encode = |to| advertisement.encode(settings::checksum(&self.config), usable.source, to);
        let packets = settings::destinations(&self.config).into_iter().map(|to| (to, encode(to))).collect();
        let by_base = self.config.vmac.as_ref().is_some_and(|vmac| vmac.xmit_base);
        let interface = if by_base { usable.index } else { *device };
        Some(LastWords { interface, source: sender.source(), packets })
    }

    /// Somebody else has taken an address away.
    pub(super) fn handle_lost_address(&mut self, index: u32, address: IpAddr, means: &Means<'_>) {
        let is_ours = self.claim == Claim::Held
            && self.attachment.as_ref().is_ok_and(|attachment| attachment.device == index)
            && self.config.addresses().any(|ours| ours.addr() == address);
        if is_ours {
            self.record.counts.put_back.fetch_add(1, Relaxed);
            let what = format!("{address} was taken off the interface by somebody else; it is put back");
            (means.tell)(Event::Problem { instance: self.config.name.clone(), what });
            self.claim(means);
            self.claim = Claim::Ordered { announce: true };
        }
    }

    /// Tells neighbours, if it is time.
    pub(super) fn announce(&mut self, now: Instant, means: &mut Means<'_>) {
        let count = self.announcing.due(now);
        let Ok(Attachment { device, mac: Some(mac), .. }) = &self.attachment else { return };
        let Ok(packets) = means.wire.packets() else { return };
        for _ in 0..count {
            for address in self.config.addresses().map(IpNet::addr) {
                let sent = match address {
                    IpAddr::V4(address) => packets.send_arp(*device, &arp::gratuitous(*mac, address)),
                    IpAddr::V6(address) => {
                        packets.send_neighbour_advertisement(*device, &ndp::unsolicited(*mac, address, false))
                    }
                };
                let counts = &self.record.counts;
                if sent.is_ok() { &counts.announcements } else { &counts.not_sent }.fetch_add(1, Relaxed);
            }
        }
    }

    /// When it has to be looked at next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let refused = self.refused.as_ref().map(|(_, until)| *until);
        let vmac = match &self.vmac {
            VmacState::Refused(_, until) => Some(*until),
            _ => None,
        };
        [self.machine.poll_timeout(), self.announcing.poll_timeout(), refused, vmac]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether a refusal is old enough to try again.
    pub(super) fn forgive(&mut self, now: Instant) -> bool {
        let vmac = matches!(&self.vmac, VmacState::Refused(_, until) if *until <= now);
        if vmac {
            self.vmac = VmacState::Missing;
        }
        self.refused.take_if(|(_, until)| *until <= now).is_some() || vmac
    }

    /// Shows others where it is, if that is different.
    pub(super) fn publish(&mut self) {
        if std::mem::take(&mut self.is_stale) {
            self.record.set_situation(self.situation());
        }
    }

    fn situation(&self) -> Situation {
        let (since, date, ref cause) = self.last_change;
        let tracked = self.tracking.items().iter().filter_map(|item| match item.condition {
            Condition::Down => Some(format!("{} is down", item.name)),
            Condition::Value(value) if value != 0 => Some(format!("{} says {value}", item.name)),
            _ => None,
        });
        let refused = self.refused.iter().map(|(why, _)| why.clone());
        let differs = self.machine.differs_from_master().then(|| {
            "the master advertises other virtual addresses than these; compare the configurations".into()
        });
        Situation {
            role: self.machine.state().role(),
            since,
            date,
            cause: cause.clone(),
            priority: self.machine.priority(),
            master: self.machine.master(),
            complaints: tracked.chain(refused).chain(differs).chain(self.rivalry()).collect(),
        }
    }

    /// The interface that it hears on.
    pub(super) fn place(&self) -> Option<super::wire::Place> {
        let attachment = self.attachment.as_ref().ok()?;
        Some((attachment.heard_at, self.config.family()))
    }
}
