//! The door's own ports that sessions have told their clients.
//!
//! A client that copies between two of our servers names one session's port in another session's PORT (FXP). No real
//! server may be sent there: one that holds the virtual address would connect to itself. So the door has to know its
//! own ports when it sees them; it then connects to them itself.
//!
//! Nor may a real server be sent to a port of the door that is not open yet: whoever has it next would get that server's
//! data for its own.
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use super::bounce::Login;

/// Shared by all sessions of the door, whatever their virtual server; locked once a session and once a data set-up, never
/// per command.
#[derive(Debug, Default)]
pub struct OwnPorts {
    table: RwLock<HashMap<SocketAddr, OwnPort>>,
    /// Every address that the door has been seen at, and those that clients know it by. None is taken out: sessions of an
    /// earlier configuration may use it still.
    addresses: RwLock<HashSet<IpAddr>>,
    /// `relay_ports` of all virtual servers.
    ranges: RwLock<Vec<RangeInclusive<u16>>>,
    owners: AtomicU64,
}

/// A port of a session that lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct OwnPort {
    /// Where somebody listens; what clients are told may be another address (1:1 NAT).
    pub(super) bound: SocketAddr,
    /// Whose it is.
    pub(super) client: IpAddr,
    pub(super) login: Login,
    pub(super) purpose: Purpose,
    /// A number in the system may be another session's before this one lets go of it.
    owner: u64,
}

/// What a port is there for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    /// The door listens there for clients.
    Relay,
    /// The door listens there for a server, which is nobody else's business.
    Server,
    /// The kernel carries clients from there to where `bound` says, which is a real server's own address: other servers are to
    /// go there.
    Kernel,
}

/// Takes its entries out again when it is dropped.
#[derive(Debug)]
pub(super) struct Enlisted {
    list: Arc<OwnPorts>,
    names: Vec<SocketAddr>,
    owner: u64,
}

impl OwnPorts {
    /// The door opens ports out of these ranges.
    #[must_use]
    pub fn new(ranges: Vec<RangeInclusive<u16>>) -> Self {
        Self { ranges: RwLock::new(ranges), ..Self::default() }
    }

    /// The door opens ports out of other ranges from now on.
    pub fn set_ranges(&self, ranges: Vec<RangeInclusive<u16>>) {
        *self.ranges.write().unwrap_or_else(PoisonError::into_inner) = ranges;
    }

    /// The door has this address, or clients know it by this one.
    pub fn add_address(&self, address: IpAddr) {
        let address = address.to_canonical();
        if !address.is_unspecified() && !self.is_address(address) {
            self.addresses.write().unwrap_or_else(PoisonError::into_inner).insert(address);
        }
    }

    /// Whether the door has this address.
    pub(super) fn is_address(&self, address: IpAddr) -> bool {
        let addresses = self.addresses.read().unwrap_or_else(PoisonError::into_inner);
        addresses.contains(&address.to_canonical())
    }

    /// Whether the door may open this port.
    pub(super) fn is_in_range(&self, port: u16) -> bool {
        let ranges = self.ranges.read().unwrap_or_else(PoisonError::into_inner);
        ranges.iter().any(|range| range.contains(&port))
    }

    pub(super) fn find(&self, named: SocketAddr) -> Option<OwnPort> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).get(&canonical(named)).copied()
    }

    /// Enters a set-up's ports, each as it is bound and as clients know it.
    pub(super) fn enlist(
        list: &Arc<Self>,
        client: IpAddr,
        login: Login,
        purpose: Purpose,
        ports: impl Iterator<Item = (SocketAddr, SocketAddr)>,
    ) -> Enlisted {
        let names: Vec<_> = match purpose {
            Purpose::Kernel => ports.map(|(bound, public)| (public, bound)).collect(),
            Purpose::Relay | Purpose::Server => {
                ports.flat_map(|(bound, public)| [(bound, bound), (public, bound)]).collect()
            }
        };
        names.iter().for_each(|(name, _)| list.add_address(name.ip()));
        let owner = list.owners.fetch_add(1, Relaxed);
        let mut table = list.table.write().unwrap_or_else(PoisonError::into_inner);
        for &(name, bound) in &names {
            table.insert(canonical(name), OwnPort { bound, client, login, purpose, owner });
        }
        drop(table);
        Enlisted { list: Arc::clone(list), names: names.into_iter().map(|(name, _)| name).collect(), owner }
    }
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        let mut table = self.list.table.write().unwrap_or_else(PoisonError::into_inner);
        for &name in &self.names {
            // Another session may have got the same port by now.
            if table.get(&canonical(name)).is_some_and(|port| port.owner == self.owner) {
                table.remove(&canonical(name));
            }
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
