//! Sync groups at work, and what keeps routers from office: with the group, or alone.
use std::time::Instant;

use super::Engine;
use crate::proto::vrrp::{Action, Cause, Order, Priority, Role, SyncGroup};
use crate::vrrp::Event;
use crate::vrrp::router::Router;

/// Routers that move together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    /// Names of instances, in the order that the machine knows them by.
    pub(super) members: Vec<String>,
    pub(super) machine: SyncGroup,
    /// What all members have come to last, and was told.
    role: Role,
}

impl Group {
    /// In the place of one of the same name, if there was one.
    pub(super) fn new(name: String, members: Vec<String>, before: Option<&Self>) -> Self {
        let machine = SyncGroup::new(members.len());
        Self { name, members, machine, role: before.map_or(Role::Initialize, |before| before.role) }
    }
}

impl Engine {
    /// Asks of every router whether it may be in office, and with which priority.
    pub(super) fn judge(&mut self, now: Instant) {
        for router in self.routers.iter_mut().filter(|router| !router.is_in_the_making()) {
            router.set_fault(router.fault(now));
        }
        // All faults first: a group does not recover between two of them.
        for at in 0..self.routers.len() {
            self.judge_fault(now, at);
        }
        for at in 0..self.routers.len() {
            self.judge_fitness(now, at);
        }
    }

    fn judge_fault(&mut self, now: Instant, at: usize) {
        let Some(fault) = self.routers.get(at).and_then(Router::own_fault).cloned() else { return };
        match self.place_in_group(at) {
            Some((group, member)) => {
                let told = self.groups.get_mut(group).map(|of| of.machine.handle_fault(member));
                self.carry_out(now, group, &told.unwrap_or_default());
            }
            None => {
                if let Some(router) = self.routers.get_mut(at) {
                    router.machine.fault(Cause::Fault(fault));
                }
            }
        }
    }

    fn judge_fitness(&mut self, now: Instant, at: usize) {
        let place = self.place_in_group(at);
        let priority = self.priority_of(at, place.and_then(|(group, _)| self.groups.get(group)));
        let Some(router) = self.routers.get_mut(at).filter(|router| !router.is_in_the_making()) else {
            return;
        };
        if let Some(priority) = priority {
            router.set_priority(now, priority);
        }
        if !router.is_ready() {
            return;
        }
        let before = router.machine.state().role();
        match place {
            None => router.machine.recover(now),
            Some((group, member)) => {
                let told = self.groups.get_mut(group).map(|of| of.machine.handle_recovery(member));
                self.carry_out(now, group, &told.unwrap_or_default());
            }
        }
        let Some(router) = self.routers.get_mut(at) else { return };
        // One whose group is in fault starts, too, and is told so by its group.
        router.machine.start(now);
        if before != Role::Backup && router.machine.state().role() == Role::Backup {
            router.set_out();
        }
    }

    /// With what it tracks, or what its group does.
    fn priority_of(&self, at: usize, group: Option<&Group>) -> Option<Priority> {
        let standing = |router: &Router| router.tracking.standing().priority;
        match group {
            None => self.routers.get(at).map(standing),
            Some(group) => {
                let is_member = |router: &&Router| group.members.contains(&router.config.name);
                SyncGroup::priority(self.routers.iter().filter(is_member).map(standing))
            }
        }
    }

    /// A router has changed: so may others.
    pub(super) fn tell_group(&mut self, now: Instant, at: usize, action: &Action) {
        let Action::Transition { to, .. } = action else { return };
        let Some((group, member)) = self.place_in_group(at) else { return };
        let Some(of) = self.groups.get_mut(group) else { return };
        let told = of.machine.handle_transition(member, *to);
        self.carry_out(now, group, &told);
        self.announce_group(group);
    }

    pub(super) fn carry_out(&mut self, now: Instant, group: usize, told: &[(usize, Order)]) {
        for &(member, order) in told {
            let Some(name) = self.groups.get(group).and_then(|group| group.members.get(member)) else {
                continue;
            };
            let Some(router) = self.routers.iter_mut().find(|router| router.config.name == *name) else {
                continue;
            };
            match order {
                Order::Master => router.machine.force_master(now),
                Order::Backup => router.machine.force_backup(now),
                Order::Fault => {
                    let cause = router.own_fault().cloned().map_or(Cause::SyncGroup, Cause::Fault);
                    router.machine.fault(cause);
                }
                Order::Recover => router.machine.recover(now),
            }
        }
    }

    /// Tells of the group once all members have come to the same.
    fn announce_group(&mut self, group: usize) {
        let Some(of) = self.groups.get_mut(group) else { return };
        let mut roles = self
            .routers
            .iter()
            .filter(|router| of.members.contains(&router.config.name))
            .map(|router| router.machine.state().role());
        if let Some(role) = roles.next()
            && role != of.role
            && roles.all(|other| other == role)
        {
            of.role = role;
            (self.tell)(Event::Group { name: of.name.clone(), to: role });
        }
    }

    fn place_in_group(&self, at: usize) -> Option<(usize, usize)> {
        let name = &self.routers.get(at)?.config.name;
        self.groups.iter().enumerate().find_map(|(group, of)| {
            let member = of.members.iter().position(|member| member == name)?;
            Some((group, member))
        })
    }
}
