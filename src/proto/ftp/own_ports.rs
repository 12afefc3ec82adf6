//! The door's own ports that sessions have told their clients.
//!
//! A client that copies between two of our servers names one session's port in another session's PORT (FXP). No real
//! server may be sent there: one that holds the virtual address would connect to itself. So the door has to know its
//! own ports when it sees them; it then connects to them itself.
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use super::bounce::Login;

/// Shared by all sessions of the door, whatever their virtual server; locked once a data set-up, never per command.
#[derive(Debug, Default)]
pub struct OwnPorts(RwLock<HashMap<SocketAddr, OwnPort>>);

/// A port of a session that lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct OwnPort {
    /// Where the door listens; what clients are told may be another address (1:1 NAT).
    pub(super) bound: SocketAddr,
    /// Whose it is.
    pub(super) client: IpAddr,
    pub(super) login: Login,
}

/// Takes its entries out again when it is dropped.
#[derive(Debug)]
pub(super) struct Enlisted {
    list: Arc<OwnPorts>,
    names: Vec<(SocketAddr, SocketAddr)>,
}

impl OwnPorts {
    pub(super) fn find(&self, named: SocketAddr) -> Option<OwnPort> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&canonical(named)).copied()
    }

    /// Enters a set-up's ports, each as the door has bound it and as clients know it.
    pub(super) fn enlist(
        list: &Arc<Self>,
        client: IpAddr,
        login: Login,
        ports: impl Iterator<Item = (SocketAddr, SocketAddr)>,
    ) -> Enlisted {
        let names: Vec<_> = ports.flat_map(|(bound, public)| [(bound, bound), (public, bound)]).collect();
        let mut table = list.0.write().unwrap_or_else(PoisonError::into_inner);
        for &(name, bound) in &names {
            table.insert(canonical(name), OwnPort { bound, client, login });
        }
        drop(table);
        Enlisted { list: Arc::clone(list), names }
    }
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        let mut table = self.list.0.write().unwrap_or_else(PoisonError::into_inner);
        for &(name, bound) in &self.names {
            // Another session may have got the same port by now.
            if table.get(&canonical(name)).is_some_and(|port| port.bound == bound) {
                table.remove(&canonical(name));
            }
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
