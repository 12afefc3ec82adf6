//! What others see of the virtual routers: where each is, and what it has counted. Written by VRRP's thread, which waits for
//! nobody.
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::balance::Durations;
use crate::config::vrrp::Family;
use crate::proto::vrrp::{Discard, Priority, Role};

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
    /// Why.
    pub cause: String,
    /// With what is tracked.
    pub priority: Priority,
    /// Who is master, as far as is known.
    pub master: Option<(IpAddr, Priority)>,
    /// What keeps it from being better, a line each.
    pub complaints: Vec<String>,
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
    /// Adverts that were taken though their addresses are not ours.
    pub other_addresses: AtomicU64,
    /// Adverts of another master while this one was.
    pub other_masters: AtomicU64,
    /// Gratuitous ARP and unsolicited neighbour advertisements.
    pub announcements: AtomicU64,
    /// Times that an address was put back which somebody else had taken away.
    pub put_back: AtomicU64,
}

/// Counts of the thread as a whole.
#[derive(Debug, Default)]
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
    /// Adverts that are for no virtual router of ours, in the order of [`Discard::WORDS`].
    pub strays: [AtomicU64; Discard::WORDS.len()],
    /// What could not be told, because nobody took it.
    pub events_lost: AtomicU64,
}

/// The states that are counted.
pub const ROLES: [Role; 4] = [Role::Master, Role::Backup, Role::Fault, Role::Initialize];

impl Record {
    pub(super) fn new(
        name: String,
        interface: String,
        virtual_router_id: u8,
        family: Family,
        addresses: Vec<IpAddr>,
        situation: Situation,
        counts: Arc<Counts>,
    ) -> Self {
        let situation = ArcSwap::from_pointee(situation);
        Self { name, interface, virtual_router_id, family, addresses, situation, counts }
    }

    /// Where it is now.
    #[must_use]
    pub fn situation(&self) -> Arc<Situation> {
        self.situation.load_full()
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

    pub(super) fn count_discard(&self, why: Discard) {
        count_word(why, &self.discarded);
    }
}

impl Shared {
    /// All virtual routers.
    #[must_use]
    pub fn records(&self) -> Arc<Vec<Arc<Record>>> {
        self.records.load_full()
    }

    pub(super) fn set_records(&self, records: Vec<Arc<Record>>) {
        self.records.store(Arc::new(records));
    }

    pub(super) fn count_stray(&self, why: Discard) {
        count_word(why, &self.strays);
    }
}

fn count_word(why: Discard, counts: &[AtomicU64]) {
    let Some(word) = why.word() else { return };
    for (known, count) in Discard::WORDS.iter().zip(counts) {
        if *known == word {
            count.fetch_add(1, Relaxed);
        }
    }
}

impl Lateness {
    pub(super) fn count(&self, late: Duration) {
        self.wakes.count(late);
        self.worst_micros.fetch_max(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }
}
