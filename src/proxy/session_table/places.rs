//! Which sessions came to which virtual address: those of one that moves to another host end here.
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock};

/// Addresses that may move, each with a number that sessions keep in its place.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Whether there are any: looking up where a connection came to costs a call of the kernel.
    any: AtomicBool,
    /// Only ever longer, by as many as configurations name.
    addresses: RwLock<Vec<IpAddr>>,
}

/// The number of an address that does not move.
pub(super) const NOWHERE: u32 = 0;

impl Places {
    pub(super) fn add(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        let mut known = self.addresses.write().unwrap_or_else(PoisonError::into_inner);
        for address in addresses {
            if !known.contains(&address) {
                known.push(address);
            }
        }
        self.any.store(!known.is_empty(), Relaxed);
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
}
