//! All the endpoints of the door, and how they become those of another configuration.
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::runtime::Handle;

use super::endpoint::{Bound, Endpoint};
use super::front_door::BindError;
use super::listener::{Entrance, Target};
use super::service::Service;
use super::session_table::SessionTable;
use crate::sys::socket::Presence;

/// In the order of the configuration.
#[derive(Debug, Default)]
pub(super) struct Endpoints(Vec<Endpoint>);

/// Where the services of a configuration are, each with what is open there already or has to be opened.
pub(super) type Plan<N> = Vec<(Target, Place<N>)>;

#[derive(Debug)]
pub(super) enum Place<N> {
    /// The endpoint with this index.
    Open(usize),
    New(N),
}

impl Endpoints {
    /// What is to be done for these services; `open` is asked for every address where the door does not listen, and is told
    /// where it does.
    ///
    /// # Errors
    ///
    /// Those of `open`, and that no service listens where the service manager has opened a socket.
    pub(super) fn plan<N>(
        &self,
        services: &[Arc<Service>],
        mut open: impl FnMut(SocketAddr, Presence, &[SocketAddr]) -> Result<N, BindError>,
    ) -> Result<Plan<N>, BindError> {
        let ours: Vec<SocketAddr> = self.0.iter().map(Endpoint::configured).collect();
        let mut taken = vec![false; self.0.len()];
        let mut plan = Vec::new();
        for (configured, target) in services.iter().flat_map(targets) {
            let fits = |index: &usize| !taken[*index] && self.0[*index].configured() == configured;
            // Where several virtual servers are on any free port, each keeps its own.
            let own = |index: &usize| self.0[*index].is_of(target.service.virtual_server.name());
            let candidates = || (0..self.0.len()).filter(fits);
            let place = match candidates().find(own).or_else(|| candidates().next()) {
                Some(index) => {
                    taken[index] = true;
                    Place::Open(index)
                }
                None => Place::New(open(configured, target.service.presence(configured.ip()), &ours)?),
            };
            plan.push((target, place));
        }
        let mut left = self.0.iter().zip(taken).filter(|(_, taken)| !taken).map(|(endpoint, _)| endpoint);
        // Nobody would empty its queue, for the service manager holds it open.
        match left.find_map(|endpoint| Some((endpoint.passed_as()?.to_owned(), endpoint.address()))) {
            Some((name, address)) => Err(BindError::NotConfigured { name, address }),
            None => Ok(plan),
        }
    }

    /// Does it: from now on clients come to those services. An endpoint that stays loses nobody; one that no service has
    /// any more tells those in its queue to come again, and closes.
    pub(super) fn alter(&mut self, plan: Plan<Bound>, threads: &[Handle], table: &Arc<SessionTable>) {
        let mut before: Vec<Option<Endpoint>> = self.0.drain(..).map(Some).collect();
        for (target, place) in plan {
            let endpoint = match place {
                Place::New(bound) => Some(bound.open(target, threads, table)),
                Place::Open(index) => {
                    before.get_mut(index).and_then(Option::take).inspect(|open| open.turn_to(target))
                }
            };
            debug_assert!(endpoint.is_some(), "one alteration is prepared at a time");
            self.0.extend(endpoint);
        }
        before.iter().flatten().for_each(Endpoint::close);
    }

    /// Where the door really listens.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(Endpoint::address).collect()
    }

    /// Lets nobody in any more.
    pub(super) fn close(&self) {
        self.0.iter().for_each(Endpoint::close);
    }

    /// The same but at these addresses. One that is for all addresses of the host stays for their sake.
    pub(super) fn close_all_but(&self, addresses: &BTreeSet<IpAddr>) {
        let is_for = |listener: IpAddr, address: &IpAddr| {
            listener == *address || listener.is_unspecified() && listener.is_ipv4() == address.is_ipv4()
        };
        let is_other =
            |endpoint: &&Endpoint| !addresses.iter().any(|address| is_for(endpoint.address().ip(), address));
        self.0.iter().filter(is_other).for_each(Endpoint::close);
    }

    /// Whether clients are accepted everywhere, as far as they should be.
    pub(super) fn is_sound(&self) -> bool {
        self.0.iter().all(Endpoint::is_sound)
    }
}

/// Where a service listens, and how sessions begin there.
fn targets(service: &Arc<Service>) -> impl Iterator<Item = (SocketAddr, Target)> {
    let clear = service.addresses.iter().map(|&address| (address, Entrance::Clear));
    let secured = service.implicit_addresses.iter().map(|&address| (address, Entrance::ImplicitTls));
    let plain = service.plain_addresses.iter().map(|&address| (address, Entrance::Plain));
    let target = |(address, entrance)| (address, Target { service: Arc::clone(service), entrance });
    clear.chain(secured).chain(plain).map(target)
}
