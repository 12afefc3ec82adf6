//! Sync groups at work, and what keeps routers from office: with the group, or alone.
use std::time::Instant;

use super::Engine;
use crate::proto::vrrp::{Action, Cause, Order, Role, SyncGroup};
use crate::vrrp::Event;

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
    pub(super) fn new(name: String, members: Vec<String>) -> Self {
        let machine = SyncGroup::new(members.len());
        Self { name, members, machine, role: Role::Initialize }
    }
}

impl Engine {
    /// Asks of every router whether it may be in office, and with which priority.
    pub(super) fn judge(&mut self, now: Instant) {
        for at in 0..self.routers.len() {
            let Some(router) = self.routers.get_mut(at).filter(|router| !router.is_in_the_making()) else {
                continue;
            };
            let (fault, standing) = (router.fault(now), router.tracking.standing());
            let changed = router.set_fault(fault.clone());
            match self.place_in_group(at) {
                None => self.judge_alone(now, at, fault),
                Some((group, member)) if changed => {
                    let Some(of) = self.groups.get_mut(group) else { continue };
                    let told = match fault {
                        Some(_) => of.machine.handle_fault(member),
                        None => of.machine.handle_recovery(member),
                    };
                    self.carry_out(now, group, &told);
                }
                Some(_) => {}
            }
            let priority = match self.place_in_group(at).and_then(|(group, _)| self.groups.get(group)) {
                None => Some(standing.priority),
                Some(group) => SyncGroup::priority(
                    self.routers
                        .iter()
                        .filter(|router| group.members.contains(&router.config.name))
                        .map(|router| router.tracking.standing().priority),
                ),
            };
            if let (Some(router), Some(priority)) = (self.routers.get_mut(at), priority) {
                router.set_priority(now, priority);
                if router.is_ready() {
                    router.machine.start(now);
                }
            }
        }
    }

    fn judge_alone(&mut self, now: Instant, at: usize, fault: Option<String>) {
        let Some(router) = self.routers.get_mut(at) else { return };
        match fault {
            Some(why) => router.machine.fault(Cause::Fault(why)),
            None => router.machine.recover(now),
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
