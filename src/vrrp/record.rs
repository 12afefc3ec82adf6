//! What others see of the virtual routers: where each is, and what it has counted. Written by VRRP's thread, which waits for
//! nobody.
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::balance::Durations;
use crate::config::vrrp::VrrpInstance;
use crate::proto::vrrp::{Discard, Family, Priority, Role};

/// One virtual router.
#[derive(Debug)]
pub struct Record {
    /// Of the instance.
    pub name: String,
    /// Of the interface.
    pub interface: String,
    /// On the wire.
    pub virtual_router_id: u8,
    /// Of its adverts.
    pub family: Family,
    /// All of them.
    pub addresses: Vec<IpAddr>,
    /// From one advert to the next.
    pub advert_interval: Duration,
    situation: ArcSwap<Situation>,
    /// Its counts, which survive a reload.
    pub counts: Arc<Counts>,
}

/// Where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Situation {
    /// Its state.
    pub role: Role,
    /// Since when.
    pub since: Instant,
    /// The same by the time of day.
    pub date: SystemTime,
    /// Why.
    pub cause: String,
    /// With what is tracked.
    pub priority: Priority,
    /// Where it sends from, while it can.
    pub origin: Option<Origin>,
    /// Who is master, as far as is known.
    pub master: Option<(IpAddr, Priority)>,
    /// What keeps it from being better, a line each.
    pub complaints: Vec<String>,
}

/// An interface with the address that a virtual router has there for itself.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Origin {
    /// Of the interface; another one when it was made anew.
    pub index: u32,
    /// `source_address`, or the interface's own.
    pub address: IpAddr,
}

/// What it has counted since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Transitions to each [`Role`], in the order of [`ROLES`].
    pub transitions: [AtomicU64; ROLES.len()],
    /// Adverts with a priority.
    pub sent: AtomicU64,
    /// Adverts that gave up.
    pub released: AtomicU64,
    /// That could not be sent.
    pub not_sent: AtomicU64,
    /// Adverts that were taken.
    pub received: AtomicU64,
    /// Those that were not, in the order of [`Discard::WORDS`].
    pub discarded: [AtomicU64; Discard::WORDS.len()],
    /// The last of these.
    pub last_discard: ArcSwapOption<Discarded>,
    /// Adverts that were taken though their addresses are not ours.
    pub other_addresses: AtomicU64,
    /// Adverts of another master while this one was.
    pub other_masters: AtomicU64,
    /// Gratuitous ARP and unsolicited neighbour advertisements.
    pub announcements: AtomicU64,
    /// Times that an address was put back which somebody else had taken away.
    pub put_back: AtomicU64,
}

/// An advert that was not taken.
#[derive(Clone, Copy, Debug)]
pub struct Discarded {
    /// When.
    pub at: Instant,
    /// Whose.
    pub source: IpAddr,
    /// Why.
    pub why: Discard,
}

/// Counts of the thread as a whole.
#[derive(Debug)]
pub struct Lateness {
    /// How late it woke, each time that a timer was due.
    pub wakes: Durations,
    /// The longest, in microseconds.
    pub worst_micros: AtomicU64,
}

/// What all virtual routers have in common.
#[derive(Debug, Default)]
pub struct Shared {
    /// In the order of the configuration.
    records: ArcSwap<Vec<Arc<Record>>>,
    /// How late the thread was.
    pub lateness: Lateness,
    /// Adverts that are for no virtual router of ours, in the order of [`STRAYS`].
    pub strays: [AtomicU64; STRAYS.len()],
    /// What could not be told, because nobody took it.
    pub events_lost: AtomicU64,
    /// Whether somebody would take the addresses away at once if the daemon were killed.
    pub has_guardian: AtomicBool,
    /// What was refused to the thread that keeps the time, and so may be late; empty where it has all that it wants.
    pub(super) refused: OnceLock<Vec<String>>,
    /// Capabilities that are missing, each with what for.
    pub missing: Vec<&'static str>,
}

/// Of [`Discard::WORDS`], what an advert is that is for no virtual router.
pub const STRAYS: [&str; 2] = ["truncated", "virtual_router_id"];

/// The states that are counted.
pub const ROLES: [Role; 4] = [Role::Master, Role::Backup, Role::Fault, Role::Initialize];

impl Record {
    pub(crate) fn new(instance: &VrrpInstance, situation: Situation, counts: Arc<Counts>) -> Self {
        Self {
            name: instance.name.clone(),
            interface: instance.interface.clone(),
            virtual_router_id: instance.virtual_router_id.get(),
            family: instance.family(),
            addresses: instance.addresses().map(ipnet::IpNet::addr).collect(),
            advert_interval: instance.advert_interval,
            situation: ArcSwap::from_pointee(situation),
            counts,
        }
    }

    /// Where it is now.
    #[must_use]
    pub fn situation(&self) -> Arc<Situation> {
        self.situation.load_full()
    }

    /// Whether its addresses are here now.
    #[must_use]
    pub fn is_master(&self) -> bool {
        self.situation.load().role == Role::Master
    }

    pub(super) fn set_situation(&self, situation: Situation) {
        self.situation.store(Arc::new(situation));
    }
}

impl Counts {
    /// How often it has come to a state.
    #[must_use]
    pub fn transitions_to(&self, role: Role) -> u64 {
        let counts = ROLES.iter().zip(&self.transitions);
        counts.filter(|(known, _)| **known == role).map(|(_, count)| count.load(Relaxed)).sum()
    }

    pub(super) fn count_transition(&self, to: Role) {
        for (role, count) in ROLES.iter().zip(&self.transitions) {
            if *role == to {
                count.fetch_add(1, Relaxed);
            }
        }
    }

    pub(super) fn count_discard(&self, discarded: Discarded) {
        // One that is no fault is not counted, and not shown.
        if discarded.why.word().is_some() {
            count_word(discarded.why, &Discard::WORDS, &self.discarded);
            self.last_discard.store(Some(Arc::new(discarded)));
        }
    }
}

impl Shared {
    pub(super) fn new(missing: Vec<&'static str>) -> Self {
        Self { missing, ..Self::default() }
    }

    /// All virtual routers.
    #[must_use]
    pub fn records(&self) -> Arc<Vec<Arc<Record>>> {
        self.records.load_full()
    }

    /// What was refused to the thread that keeps the time; `None` until it has asked.
    #[must_use]
    pub fn refused(&self) -> Option<&[String]> {
        self.refused.get().map(Vec::as_slice)
    }

    pub(super) fn set_records(&self, records: Vec<Arc<Record>>) {
        self.records.store(Arc::new(records));
    }

    pub(super) fn count_stray(&self, why: Discard) {
        count_word(why, &STRAYS, &self.strays);
    }
}

fn count_word(why: Discard, words: &[&str], counts: &[AtomicU64]) {
    let Some(word) = why.word() else { return };
    for (known, count) in words.iter().zip(counts) {
        if *known == word {
            count.fetch_add(1, Relaxed);
        }
    }
}

impl Default for Lateness {
    fn default() -> Self {
        Self { wakes: Durations::new(Durations::OF_WAKES), worst_micros: AtomicU64::new(0) }
    }
}

impl Lateness {
    pub(super) fn count(&self, late: Duration) {
        self.wakes.count(late);
        self.worst_micros.fetch_max(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }
}
