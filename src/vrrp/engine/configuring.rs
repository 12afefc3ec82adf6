//! How one configuration becomes the next: what goes on goes on as it is.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use super::{Engine, Group};
use crate::config::vrrp::VrrpInstance;
use crate::proto::vrrp::Condition;
use crate::vrrp::holdings::Order;
use crate::vrrp::router::Router;
use crate::vrrp::{Plan, settings};

impl Engine {
    pub(super) fn configure(&mut self, now: Instant, plan: Plan) {
        let Plan { instances, groups, records } = plan;
        let addresses = instances.iter().flat_map(VrrpInstance::addresses).map(ipnet::IpNet::addr).collect();
        let known = std::mem::replace(&mut self.virtual_addresses, addresses);
        let mut before: BTreeMap<String, Router> =
            self.routers.drain(..).map(|router| (router.config.name.clone(), router)).collect();
        let mut next = Vec::new();
        let mut left = Vec::new();
        for (config, record) in instances.into_iter().zip(records) {
            let conditions = &self.conditions;
            let tracking = settings::tracking(&config, |item| {
                conditions.get(item).copied().unwrap_or(Condition::Unknown)
            });
            match before.remove(&config.name) {
                Some(mut router) if is_same_router(&router.config, &config) => {
                    router.reconfigure(now, config, record, tracking);
                    next.push(router);
                }
                other => {
                    left.extend(other);
                    self.last_id += 1;
                    let mut router = Router::new(now, self.last_id, config, record, tracking);
                    router.maintenance = self.maintenance;
                    next.push(router);
                }
            }
        }
        left.extend(before.into_values());
        self.dismiss(now, left);
        self.routers = next;
        self.regroup(now, groups);
        // Otherwise it follows when the interfaces are known.
        if self.is_surveyed {
            self.remove_stale(|address| !known.contains(&address));
        }
    }

    /// These are in the configuration no more, or as others.
    fn dismiss(&mut self, now: Instant, routers: Vec<Router>) {
        self.routers = routers;
        for router in &mut self.routers {
            router.machine.shutdown();
        }
        while self.perform(now) {}
        for router in self.routers.drain(..) {
            if let Some(vmac) = router.made_vmac() {
                self.holdings.order(Order::DropVmac { vmac });
            }
        }
    }

    /// Groups know nothing of what was; each hears how its members are.
    fn regroup(&mut self, now: Instant, groups: Vec<(String, Vec<String>)>) {
        let is_same = self.groups.len() == groups.len()
            && self
                .groups
                .iter()
                .zip(&groups)
                .all(|(group, (name, members))| group.name == *name && group.members == *members);
        if is_same {
            return;
        }
        self.groups = groups.into_iter().map(|(name, members)| Group::new(name, members)).collect();
        for router in &mut self.routers {
            router.set_fault(None);
        }
        for group in 0..self.groups.len() {
            for member in 0..self.groups.get(group).map_or(0, |group| group.members.len()) {
                let Some(of) = self.groups.get_mut(group) else { continue };
                let name = of.members.get(member);
                let role = self
                    .routers
                    .iter()
                    .find(|router| Some(&router.config.name) == name)
                    .map(|router| router.machine.state().role());
                let told = role.map(|role| of.machine.handle_transition(member, role)).unwrap_or_default();
                self.carry_out(now, group, &told);
            }
        }
    }

    /// Addresses that nobody of ours holds yet, but has before: who was killed has left them. Those of an owner are its own.
    /// Others than `is_new` says were seen to before.
    pub(super) fn remove_stale(&mut self, is_new: impl Fn(IpAddr) -> bool) {
        let ours = self
            .routers
            .iter()
            .filter(|router| !router.config.is_owner())
            .flat_map(|router| router.config.addresses())
            .filter(|network| is_new(network.addr()));
        let found = ours.flat_map(|network| self.links.holders(network.addr()));
        let stale: Vec<_> = found
            .filter_map(|held| Some((held.index, ipnet::IpNet::new(held.address, held.prefix).ok()?)))
            .collect();
        if !stale.is_empty() {
            let addresses: Vec<String> = stale.iter().map(|(_, address)| address.to_string()).collect();
            (self.tell)(crate::vrrp::Event::Stale(addresses));
            self.holdings.order(Order::RemoveStale { addresses: stale });
        }
    }
}

/// Whether a virtual router can go on as another configuration has it.
fn is_same_router(before: &VrrpInstance, next: &VrrpInstance) -> bool {
    let identity = |of: &VrrpInstance| {
        (of.interface.clone(), of.virtual_router_id, of.version, of.family(), of.vmac.clone(), of.is_owner())
    };
    identity(before) == identity(next)
}
