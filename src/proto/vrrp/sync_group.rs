//! Sync groups: instances that are master together or not at all, as keepalived has them.
//!
//! - One becomes master: all are told to be.
//! - One loses to another router: all give up, and do not preempt whoever is master after them.
//! - One is in fault: all are, until none is any more.
//!
//! What orders bring about is known when they are given, so that no transition answers another for ever. The members of
//! a group on one router must have one priority ([`SyncGroup::priority`]): three routers, of which each preempts another one
//! for another member, take turns.

use super::{Priority, Role};

/// What to tell a member.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// [`super::Instance::force_master`].
    Master,
    /// [`super::Instance::force_backup`].
    Backup,
    /// [`super::Instance::fault`], with its own fault as the cause or [`super::Cause::SyncGroup`].
    Fault,
    /// [`super::Instance::recover`].
    Recover,
}

/// A member by its place in the group, and what to tell it.
pub type Told = (usize, Order);

#[derive(Clone, Copy, Debug)]
struct Member {
    role: Role,
    has_fault: bool,
}

/// What a group knows of its members. Orders are carried out in their order, before the next event is told.
#[derive(Debug)]
pub struct SyncGroup {
    members: Vec<Member>,
}

impl SyncGroup {
    /// So many members, of which none has been started.
    #[must_use]
    pub fn new(members: usize) -> Self {
        Self { members: vec![Member { role: Role::Initialize, has_fault: false }; members] }
    }

    /// A member lacks something that it needs. Members of a group hear of it through the group alone.
    #[must_use]
    pub fn handle_fault(&mut self, member: usize) -> Vec<Told> {
        if let Some(member) = self.members.get_mut(member) {
            member.has_fault = true;
        }
        self.order(Order::Fault, |role| role != Role::Fault)
    }

    /// A member has again all that it needs.
    #[must_use]
    pub fn handle_recovery(&mut self, member: usize) -> Vec<Told> {
        if let Some(member) = self.members.get_mut(member) {
            member.has_fault = false;
        }
        if self.has_fault() {
            return Vec::new();
        }
        self.order(Order::Recover, |role| role == Role::Fault)
    }

    /// A member's [`super::Action::Transition`], whatever has brought it about.
    #[must_use]
    pub fn handle_transition(&mut self, member: usize, to: Role) -> Vec<Told> {
        let Some(known) = self.members.get_mut(member) else { return Vec::new() };
        let from = std::mem::replace(&mut known.role, to);
        if from == to {
            return Vec::new();
        }
        match to {
            // It was started after another member had begun to be in fault.
            Role::Master | Role::Backup if self.has_fault() => {
                self.order(Order::Fault, |role| matches!(role, Role::Master | Role::Backup))
            }
            Role::Master => self.order(Order::Master, |role| role == Role::Backup),
            Role::Backup if from != Role::Master && self.is_master() => {
                self.order(Order::Master, |role| role == Role::Backup)
            }
            Role::Backup | Role::Initialize => self.order(Order::Backup, |role| role == Role::Master),
            Role::Fault => Vec::new(),
        }
    }

    /// Whether any member lacks something.
    #[must_use]
    pub fn has_fault(&self) -> bool {
        self.members.iter().any(|member| member.has_fault)
    }

    /// The one priority of all, from what each would have alone: the lowest, for the group is as good as its worst member.
    /// `None` of none.
    #[must_use]
    pub fn priority(members: impl IntoIterator<Item = Priority>) -> Option<Priority> {
        members.into_iter().min()
    }

    fn is_master(&self) -> bool {
        self.members.iter().any(|member| member.role == Role::Master)
    }

    fn order(&mut self, order: Order, concerns: impl Fn(Role) -> bool) -> Vec<Told> {
        let mut told = Vec::new();
        for (place, member) in self.members.iter_mut().enumerate() {
            if concerns(member.role) {
                told.push((place, order));
                member.role = match order {
                    Order::Master => Role::Master,
                    Order::Backup => Role::Backup,
                    Order::Fault => Role::Fault,
                    // An owner is master at once, which its transition will tell.
                    Order::Recover => Role::Initialize,
                };
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A group of three that have all been started.
    fn group() -> SyncGroup {
        let mut group = SyncGroup::new(3);
        for member in 0..3 {
            assert_eq!(group.handle_transition(member, Role::Backup), []);
        }
        group
    }

    #[test]
    fn one_becomes_master_and_takes_the_others_with_it() {
        let mut group = group();
        assert_eq!(group.handle_transition(1, Role::Master), [(0, Order::Master), (2, Order::Master)]);
        // What they have been told comes true, and is no news.
        assert_eq!(group.handle_transition(0, Role::Master), []);
        assert_eq!(group.handle_transition(2, Role::Master), []);
        assert_eq!(group.handle_transition(0, Role::Backup), [(1, Order::Backup), (2, Order::Backup)]);
    }

    #[test]
    fn one_in_fault_keeps_all_in_fault_until_the_last_has_recovered() {
        let mut group = group();
        let all = |order| [(0, order), (1, order), (2, order)];
        assert_eq!(group.handle_fault(1), all(Order::Fault));
        assert_eq!(group.handle_fault(2), []);
        assert_eq!(group.handle_recovery(1), []);
        assert!(group.has_fault());
        assert_eq!(group.handle_recovery(2), all(Order::Recover));
        assert_eq!(group.handle_recovery(2), all(Order::Recover)[..0]);
    }

    #[test]
    fn who_is_started_late_does_as_the_group_does() {
        let mut group = SyncGroup::new(2);
        assert_eq!(group.handle_transition(0, Role::Master), []);
        assert_eq!(group.handle_transition(1, Role::Backup), [(1, Order::Master)]);
        let mut group = SyncGroup::new(2);
        assert_eq!(group.handle_fault(0), [(0, Order::Fault), (1, Order::Fault)]);
        assert_eq!(group.handle_transition(1, Role::Backup), [(1, Order::Fault)]);
    }

    #[test]
    fn one_that_is_shut_down_as_master_leaves_no_half_of_a_group() {
        let mut group = group();
        assert_eq!(group.handle_transition(0, Role::Master).len(), 2);
        assert_eq!(group.handle_transition(0, Role::Initialize), [(1, Order::Backup), (2, Order::Backup)]);
    }

    #[test]
    fn a_group_is_as_good_as_its_worst_member() {
        let members = [Priority(100), Priority(80), Priority(254)];
        assert_eq!(SyncGroup::priority(members), Some(Priority(80)));
        assert_eq!(SyncGroup::priority([]), None);
    }
}
