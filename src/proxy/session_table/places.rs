//! Which sessions came to which virtual address: those of one that moves to another host end here, and other hosts are told of
//! them, so that they can end them when this host cannot.
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Instant;

use dashmap::DashMap;

use crate::proto::session_sync::Connection;

/// New connections that wait to be told of. Whoever is not among them is told of with all others, some seconds later.
const MAX_NEW: usize = 4096;

/// Addresses that may move, each with a number that sessions keep in its place.
#[derive(Debug)]
pub(super) struct Places {
    /// Whether there are any: looking up where a connection came to costs a call of the kernel.
    any: AtomicBool,
    /// Only ever longer, by as many as configurations name.
    addresses: RwLock<Vec<IpAddr>>,
    /// Of sessions at these addresses, by their ids, with when they came: an address may go and come back before anybody hears
    /// that it has gone.
    connections: DashMap<u64, (Connection, Instant)>,
    /// Those that have come since somebody took them.
    new: Mutex<Vec<Connection>>,
}

/// The number of an address that does not move.
pub(super) const NOWHERE: u32 = 0;

impl Default for Places {
    fn default() -> Self {
        Self {
            any: AtomicBool::new(false),
            addresses: RwLock::default(),
            connections: DashMap::with_shard_amount(16),
            new: Mutex::default(),
        }
    }
}

impl Places {
    /// Whether any of them was not there before.
    pub(super) fn add(&self, addresses: impl IntoIterator<Item = IpAddr>) -> bool {
        let mut known = self.addresses.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.len();
        for address in addresses {
            if !known.contains(&address) {
                known.push(address);
            }
        }
        self.any.store(!known.is_empty(), Relaxed);
        known.len() > before
    }

    pub(super) fn any(&self) -> bool {
        self.any.load(Relaxed)
    }

    /// [`NOWHERE`] for one that was not added.
    pub(super) fn number(&self, address: IpAddr) -> u32 {
        let known = self.addresses.read().unwrap_or_else(PoisonError::into_inner);
        let position = known.iter().position(|known| *known == address.to_canonical());
        position.and_then(|position| u32::try_from(position + 1).ok()).unwrap_or(NOWHERE)
    }

    pub(super) fn enter(&self, session: u64, connection: Connection, now: Instant) {
        self.connections.insert(session, (connection, now));
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        if new.len() < MAX_NEW {
            new.push(connection);
        }
    }

    pub(super) fn leave(&self, session: u64) {
        self.connections.remove(&session);
    }

    pub(super) fn connections(&self) -> Vec<Connection> {
        self.connections.iter().map(|entry| entry.0).collect()
    }

    /// The ids of those that came to one of these addresses until then.
    pub(super) fn sessions_until(&self, addresses: &[IpAddr], until: Instant) -> Vec<u64> {
        let came = |connection: &Connection, since: Instant| {
            since <= until && addresses.contains(&connection.reached.ip().to_canonical())
        };
        self.connections.iter().filter(|entry| came(&entry.0, entry.1)).map(|entry| *entry.key()).collect()
    }

    pub(super) fn take_new(&self) -> Vec<Connection> {
        std::mem::take(&mut *self.new.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
