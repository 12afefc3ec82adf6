//! How one configuration becomes the next: what goes on goes on as it is.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use ipnet::IpNet;

use super::{Engine, Group};
use crate::config::vrrp::VrrpInstance;
use crate::proto::vrrp::Condition;
use crate::vrrp::holdings::{Order, RouterId};
use crate::vrrp::router::Router;
use crate::vrrp::{Event, Plan, settings};

impl Engine {
    pub(super) fn configure(&mut self, now: Instant, plan: Plan) {
        let Plan { instances, groups, records } = plan;
        self.dismiss(now, &instances);
        let addresses = |of: &dyn Fn(&&VrrpInstance) -> bool| {
            instances.iter().filter(of).flat_map(VrrpInstance::addresses).map(IpNet::addr).collect()
        };
        self.virtual_addresses = addresses(&|_| true);
        self.owned_addresses = addresses(&|instance| instance.is_owner());
        let mut before: BTreeMap<String, Router> =
            self.routers.drain(..).map(|router| (router.config.name.clone(), router)).collect();
        let mut new = BTreeSet::new();
        let mut reconfigured = Vec::new();
        for (config, record) in instances.into_iter().zip(records) {
            let known = |item: &str| self.conditions.get(item).copied().unwrap_or(Condition::Unknown);
            let tracking = settings::tracking(&config, known);
            match before.remove(&config.name) {
                Some(router) => {
                    reconfigured.push((self.routers.len(), config, record, tracking));
                    self.routers.push(router);
                }
                None => {
                    self.last_id += 1;
                    new.insert(self.last_id);
                    let mut router = Router::new(now, self.last_id, config, record, tracking);
                    router.maintenance = self.maintenance;
                    self.routers.push(router);
                }
            }
        }
        for (at, config, record, tracking) in reconfigured {
            self.with(at, |router, means| router.reconfigure(now, config, record, tracking, means));
        }
        self.regroup(now, groups);
        // Otherwise it follows when the interfaces are known.
        if self.is_surveyed {
            self.remove_stale(|id| new.contains(&id));
        }
    }

    /// Lets go those that are in the next configuration no more, or as others; their groups hear of it.
    fn dismiss(&mut self, now: Instant, next: &[VrrpInstance]) {
        let stays = |router: &Router| {
            next.iter()
                .any(|config| config.name == router.config.name && is_same_router(&router.config, config))
        };
        for router in self.routers.iter_mut().filter(|router| !stays(router)) {
            router.machine.shutdown();
        }
        while self.perform(now) {}
        let (staying, leaving) = std::mem::take(&mut self.routers).into_iter().partition(stays);
        self.routers = staying;
        let leaving: Vec<Router> = leaving;
        for mut router in leaving {
            // Nobody asks it any more when its addresses are gone.
            router.say_farewell();
            if let Some(vmac) = router.made_vmac() {
                self.holdings.order(Order::DropVmac { vmac });
            }
        }
    }

    /// Groups know nothing of what was; each hears how its members are.
    fn regroup(&mut self, now: Instant, groups: Vec<(String, Vec<String>)>) {
        let before = std::mem::take(&mut self.groups);
        let group = |(name, members): (String, Vec<String>)| {
            let same = before.iter().find(|group| group.name == name);
            Group::new(name, members, same)
        };
        self.groups = groups.into_iter().map(group).collect();
        for group in 0..self.groups.len() {
            for member in 0..self.groups.get(group).map_or(0, |group| group.members.len()) {
                let Some(of) = self.groups.get_mut(group) else { continue };
                let name = of.members.get(member);
                let router = self.routers.iter().find(|router| Some(&router.config.name) == name);
                let told =
                    router.map(|router| of.machine.handle_transition(member, router.machine.state().role()));
                self.carry_out(now, group, &told.unwrap_or_default());
            }
        }
    }

    /// Addresses on the interfaces of these routers that nobody of ours holds yet: who was killed has left them. Those of an
    /// owner are its own.
    pub(super) fn remove_stale(&mut self, is_new: impl Fn(RouterId) -> bool) {
        let mut stale = Vec::new();
        for router in self.routers.iter().filter(|router| is_new(router.id) && !router.config.is_owner()) {
            let names =
                [Some(&router.config.interface), router.config.vmac.as_ref().map(|vmac| &vmac.interface)];
            let found = router.config.addresses().flat_map(|network| self.links.holders(network.addr()));
            for held in found {
                let is_here = names.iter().flatten().any(|name| self.links.is_called(held.index, name));
                match IpNet::new(held.address, held.prefix) {
                    Ok(address) if is_here => stale.push((held.index, address)),
                    _ => (self.tell)(Event::Problem {
                        instance: router.config.name.clone(),
                        what: format!(
                            "{} is on another interface of this host, too, and stays there",
                            held.address
                        ),
                    }),
                }
            }
        }
        if !stale.is_empty() {
            let addresses: Vec<String> = stale.iter().map(|(_, address)| address.to_string()).collect();
            (self.tell)(Event::Stale(addresses));
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
