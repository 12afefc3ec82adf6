//! What is to be done so that the kernel has what is wanted, and nothing else of ours.
//!
//! Nobody loses a connection but by a server that is down: what is not wanted any more has weight 0 first, and goes in a later
//! turn, when the kernel has shown it without connections and so already.
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use super::wanted::WantedService;
use crate::proto::netlink::ipvs::{Destination, ForwardingMethod, ListedDestination, Service, ServiceKey};

/// What the kernel has: all services, and the destinations of those that are ours.
pub(super) type Table = BTreeMap<ServiceKey, Standing>;

/// A service in the kernel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Standing {
    /// What it is.
    pub(super) service: Service,
    /// Where its connections go.
    pub(super) destinations: BTreeMap<SocketAddr, ListedDestination>,
}

/// One request to the kernel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Operation {
    AddService(Service),
    EditService(Service),
    RemoveService(ServiceKey),
    AddDestination(ServiceKey, Destination),
    EditDestination(ServiceKey, Destination),
    RemoveDestination(ServiceKey, SocketAddr),
}

/// In an order in which nothing is missing on the way: services come before their destinations, and what comes before what goes.
/// `ours` are the keys of services that are ours or, as nobody has them, will be.
pub(super) fn difference(
    table: &Table,
    wanted: &BTreeMap<ServiceKey, WantedService>,
    ours: impl Iterator<Item = ServiceKey>,
) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (key, wanted) in wanted {
        match table.get(key) {
            Some(standing) => change(standing, wanted, &mut operations),
            None => {
                operations.push(Operation::AddService(wanted.service.clone()));
                let add = |destination: &Destination| Operation::AddDestination(*key, *destination);
                operations.extend(wanted.destinations.iter().map(add));
            }
        }
    }
    for key in ours.filter(|key| !wanted.contains_key(key)) {
        if let Some(standing) = table.get(&key) {
            retire(standing, &mut operations);
        }
    }
    operations
}

/// How many services and members wait for their last connection.
pub(super) fn leaving(
    table: &Table,
    wanted: &BTreeMap<ServiceKey, WantedService>,
    ours: impl Iterator<Item = ServiceKey>,
) -> usize {
    ours.filter_map(|key| table.get(&key))
        .map(|standing| match wanted.get(&standing.service.key) {
            None => 1,
            Some(wanted) => standing.destinations.keys().filter(|address| !wanted.names(address)).count(),
        })
        .sum()
}

fn change(standing: &Standing, wanted: &WantedService, operations: &mut Vec<Operation>) {
    let key = wanted.service.key;
    if standing.service != wanted.service {
        operations.push(Operation::EditService(wanted.service.clone()));
    }
    for destination in &wanted.destinations {
        match standing.destinations.get(&destination.address) {
            None => operations.push(Operation::AddDestination(key, *destination)),
            Some(listed) if !is_same(&listed.destination, destination) => {
                operations.push(Operation::EditDestination(key, *destination));
            }
            Some(_) => {}
        }
    }
    for (address, listed) in &standing.destinations {
        if wanted.down.contains(address) {
            operations.push(Operation::RemoveDestination(key, *address));
        } else if !wanted.names(address) {
            operations.extend(farewell(key, listed));
        }
    }
}

fn retire(standing: &Standing, operations: &mut Vec<Operation>) {
    let key = standing.service.key;
    if standing.destinations.values().all(is_unused) {
        operations.push(Operation::RemoveService(key));
    } else {
        operations.extend(standing.destinations.values().filter_map(|listed| farewell(key, listed)));
    }
}

fn farewell(key: ServiceKey, listed: &ListedDestination) -> Option<Operation> {
    let destination = listed.destination;
    if is_unused(listed) {
        return Some(Operation::RemoveDestination(key, destination.address));
    }
    let quiet = Destination { weight: 0, ..destination };
    (destination.weight != 0).then_some(Operation::EditDestination(key, quiet))
}

/// Whether nobody loses anything by its end: it could not get a connection any more when its connections were counted.
fn is_unused(listed: &ListedDestination) -> bool {
    listed.destination.weight == 0 && listed.active == 0 && listed.inactive == 0
}

fn is_same(standing: &Destination, wanted: &Destination) -> bool {
    // Older kernels say so of an address that is their own, whatever they are told.
    let is_local = standing.method == ForwardingMethod::Local;
    let method = if is_local { wanted.method } else { standing.method };
    Destination { method, ..*standing } == *wanted
}

impl WantedService {
    fn names(&self, address: &SocketAddr) -> bool {
        self.down.contains(address)
            || self.destinations.iter().any(|destination| destination.address == *address)
    }
}

impl Operation {
    /// Which service it is about.
    pub(super) const fn key(&self) -> ServiceKey {
        match self {
            Self::AddService(service) | Self::EditService(service) => service.key,
            Self::RemoveService(key)
            | Self::AddDestination(key, _)
            | Self::EditDestination(key, _)
            | Self::RemoveDestination(key, _) => *key,
        }
    }

    /// Whether it takes something away, and makes or changes nothing.
    pub(super) const fn is_removal(&self) -> bool {
        matches!(self, Self::RemoveService(_) | Self::RemoveDestination(..))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddService(service) => write!(to, "service added, {}", Words(service)),
            Self::EditService(service) => write!(to, "service changed, {}", Words(service)),
            Self::RemoveService(_) => to.write_str("service removed"),
            Self::AddDestination(_, Destination { address, weight, .. }) => {
                write!(to, "{} added with weight {weight}", address.ip())
            }
            Self::EditDestination(_, Destination { address, weight, .. }) => {
                write!(to, "{} changed to weight {weight}", address.ip())
            }
            Self::RemoveDestination(_, address) => write!(to, "{} removed", address.ip()),
        }
    }
}

struct Words<'a>(&'a Service);

impl fmt::Display for Words<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0.scheduler)?;
        match &self.0.persistence {
            Some(persistence) => write!(to, ", persistent for {} s", persistence.timeout),
            None => Ok(()),
        }
    }
}
#[cfg(test)]
mod tests;
