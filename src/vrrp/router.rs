//! One virtual router at work: its machine, what it tracks, the interface that it is on, and what its actions come to.
mod attachment;
mod office;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use self::attachment::{Attachment, VmacState};
use self::office::{Claim, Refusal};
use super::Event;
use super::holdings::{Order, RouterId};
use super::links::Links;
use super::record::{Discarded, Record, Situation};
use super::settings;
use super::wire::Wire;
use crate::config::vrrp::VrrpInstance;
use crate::proto::vrrp::{
    Action, Advertisement, Announcing, Condition, Instance, Priority, Reception, Role, Tracking,
};
use crate::sys::vrrp_socket::Received;

/// How long a router that begins waits for what it tracks to be known: a script may take its time. What is not known then counts
/// neither way.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);

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
    /// The one before it was lost.
    last_attachment: Option<Attachment>,
    /// When to try it again, where the kernel has refused sockets.
    attach_again_at: Option<Instant>,
    claim: Claim,
    /// How many claims there were.
    claims: u32,
    /// When to say priority 0 at the latest, which is to be said.
    farewell_at: Option<Instant>,
    vmac: VmacState,
    /// Of an owner: addresses that are the host's without us, and stay so.
    own_addresses: BTreeSet<IpAddr>,
    /// One of them that is not there.
    missing_address: Option<IpAddr>,
    /// Until then it waits for what it tracks to be known.
    known_by: Option<Instant>,
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
    /// What the kernel refused, and how often, one after the other.
    refused: Option<Refusal>,
    refusals: u32,
}

/// What a router needs to do its work.
pub(super) struct Means<'m> {
    pub(super) links: &'m Links,
    pub(super) wire: &'m mut Wire,
    pub(super) order: &'m dyn Fn(Order),
    pub(super) tell: &'m dyn Fn(Event),
    /// Every address that virtual routers of ours may hold.
    pub(super) virtual_addresses: &'m BTreeSet<IpAddr>,
    /// Those of them that are this host's own, by an instance that owns them.
    pub(super) owned_addresses: &'m BTreeSet<IpAddr>,
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
        let machine = Instance::new(settings::instance(&config, priority, config.family().unspecified()));
        Self {
            id,
            machine,
            record,
            tracking,
            reception: settings::reception(&config),
            announcing: Announcing::new(settings::announcing(&config.garp)),
            attachment: Err(format!("interface {} is not known yet", config.interface)),
            last_attachment: None,
            attach_again_at: None,
            claim: Claim::None,
            claims: 0,
            farewell_at: None,
            vmac: VmacState::Missing,
            own_addresses: BTreeSet::new(),
            missing_address: None,
            known_by: Some(now + KNOWN_WITHIN),
            maintenance: false,
            own_fault: None,
            is_stale: true,
            last_change: (now, super::today(), "not started".into()),
            rival: None,
            refused: None,
            refusals: 0,
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
        if let Some(refused) = self.refused.as_ref().filter(|refused| now < refused.until) {
            return Some(refused.why.clone());
        }
        if let Some(address) = self.missing_address {
            return Some(format!("{address} is not on {}, whose own it is", self.config.interface));
        }
        self.tracking.standing().fault.map(|item| format!("{item} is down"))
    }

    /// Keeps in mind what was found.
    pub(super) fn set_fault(&mut self, fault: Option<String>) {
        self.is_stale |= fault != self.own_fault;
        self.own_fault = fault;
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

    /// Whether it has all that it needs to begin, and would not change its mind at once.
    pub(super) fn is_ready(&self) -> bool {
        self.own_fault.is_none() && (self.tracking.is_known() || self.known_by.is_none())
    }

    /// It has begun, or begun again. One whom the kernel has refused its addresses leaves whoever is master in office.
    pub(super) fn set_out(&mut self) {
        if self.refusals > 0 {
            self.machine.defer();
        }
    }

    /// Goes on as another configuration has it, with the same identity on the same interface.
    pub(super) fn reconfigure(
        &mut self,
        now: Instant,
        config: VrrpInstance,
        record: Arc<Record>,
        tracking: Tracking,
        means: &Means<'_>,
    ) {
        let before = (self.config.addresses().copied().collect::<Vec<_>>(), self.last_words());
        let address = self.machine.config().primary_address;
        self.machine.reconfigure(now, settings::instance(&config, tracking.standing().priority, address));
        self.reception = settings::reception(&config);
        self.announcing.set_policy(now, settings::announcing(&config.garp));
        record.set_situation(Situation::clone(&self.record.situation()));
        (self.record, self.tracking, self.config) = (record, tracking, config);
        (self.refused, self.refusals, self.is_stale) = (None, 0, true);
        // Before they are claimed: what the host has for ever would get a lifetime.
        self.look_for_own_addresses(means);
        let after = (self.config.addresses().copied().collect::<Vec<_>>(), self.last_words());
        if self.claim != Claim::None && before != after {
            // Also those that no advert names.
            self.claim(before.0 != after.0, means);
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
            Action::Advertise { priority } => self.say(now, *priority),
            Action::ClaimAddresses => self.claim(false, means),
            // It was done when the configuration came.
            Action::ChangeAddresses => {}
            Action::AnnounceAddresses => match &mut self.claim {
                Claim::Ordered { announce, .. } => *announce = true,
                _ => self.announcing.start(now),
            },
            Action::ReannounceAddresses => self.announcing.lower_priority_heard(now),
            Action::ReleaseAddresses => self.release(means),
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

    /// When it has to be looked at next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let refused = self.refused.as_ref().map(|refused| refused.until);
        let begins = self.known_by.filter(|_| !self.tracking.is_known());
        let own = [self.machine.poll_timeout(), self.announcing.poll_timeout(), self.farewell_at];
        own.into_iter().chain([refused, self.asks_again_at(), begins]).flatten().min()
    }

    /// Does what is due besides the machine's own. Whether its circumstances have changed by that.
    pub(super) fn heed_time(&mut self, now: Instant) -> bool {
        if self.farewell_at.is_some_and(|at| at <= now) {
            self.say_farewell();
        }
        let may_begin = self.known_by.take_if(|at| *at <= now).is_some();
        let again = self.asks_again(now);
        self.refused.take_if(|refused| refused.until <= now).is_some() || again || may_begin
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
        let own = self.own_fault.iter().filter(|why| !cause.contains(why.as_str())).cloned();
        let refused = self.refused.iter().map(|refused| refused.why.clone());
        let refused = refused.filter(|why| self.own_fault.as_ref() != Some(why));
        let differs = self.machine.differs_from_master().then(|| {
            "the master advertises other virtual addresses than these; compare the configurations".into()
        });
        Situation {
            role: self.machine.state().role(),
            since,
            date,
            cause: cause.clone(),
            priority: self.machine.priority(),
            origin: self.origin(),
            master: self.machine.master(),
            complaints: own.chain(tracked).chain(refused).chain(differs).chain(self.rivalry()).collect(),
        }
    }
}
