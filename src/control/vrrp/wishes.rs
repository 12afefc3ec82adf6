//! What operators want of virtual routers: one thing at a time for each, and for all of a sync group, for what is under way at the
//! addresses of one member keeps the others, too.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::task::AbortHandle;

use super::failover::{Pending, PendingStatus, until_quiet};
use super::{Ownership, VrrpStatus, take_leave};
use crate::config::did_you_mean;
use crate::proto::vrrp::Role;
use crate::proxy::{SessionTable, now};
use crate::vrrp::Vrrp;
use crate::vrrp::record::Record;

const NO_INSTANCES: &str =
    "the configuration has no [[vrrp_instance]]: the addresses are somebody else's matter";

/// Those that are not fulfilled yet.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    waiting: BTreeMap<u64, Wish>,
    last: u64,
}

/// That these instances step down.
#[derive(Debug)]
struct Wish {
    asked: Vec<String>,
    /// With all that move with them, as the configuration has it now.
    members: Vec<String>,
    pending: Pending,
    task: AbortHandle,
}

impl Wishes {
    fn of(&self, instance: &str) -> Option<u64> {
        let mut waiting = self.waiting.iter();
        waiting.find(|(_, wish)| wish.members.iter().any(|member| member == instance)).map(|(id, _)| *id)
    }

    pub(super) fn status_of(&self, instance: &str, now: Instant) -> Option<PendingStatus> {
        self.waiting.get(&self.of(instance)?).map(|wish| wish.pending.status(now))
    }

    /// Others move together from now on.
    pub(super) fn regroup(&mut self, groups: &[Vec<String>]) {
        for wish in self.waiting.values_mut() {
            wish.members = units_of(&wish.asked, groups).concat();
        }
    }

    fn members(&self, id: u64) -> Vec<String> {
        self.waiting.get(&id).map(|wish| wish.members.clone()).unwrap_or_default()
    }

    /// What was wanted of these instances before is not any more. The names of all that were to move.
    fn take_back<'n>(&mut self, instances: impl IntoIterator<Item = &'n String>) -> Vec<String> {
        let mut taken = Vec::new();
        for instance in instances {
            // Of several, where a reload has brought them together.
            while let Some(wish) = self.of(instance).and_then(|id| self.waiting.remove(&id)) {
                wish.task.abort();
                taken.extend(wish.members);
            }
        }
        taken
    }

    fn instances(&self) -> Vec<String> {
        self.waiting.values().flat_map(|wish| wish.members.clone()).collect()
    }
}

impl Ownership {
    /// Returns when nothing is under way at the addresses that are here, or at the deadline; then they are here no more, and
    /// do not come back.
    pub(in crate::control) async fn hand_over(&self, sessions: &SessionTable, deadline: Instant) {
        let Some(vrrp) = self.vrrp() else { return };
        let addresses = || addresses_of(&masters(&vrrp));
        if !addresses().is_empty() {
            tracing::info!(
                "virtual addresses are here: they go when nothing is under way at them, or at the deadline"
            );
            until_quiet(sessions, addresses, deadline).await;
            take_leave(sessions, &addresses()).await;
        }
        self.stop().await;
    }

    /// Lets another host be master of one instance, or of all that are master here. It happens when nothing is under way, at
    /// the deadline at the latest; this returns before, with those concerned.
    pub(in crate::control) fn fail_over(
        &self,
        instance: Option<&str>,
        deadline: Instant,
        sessions: &Arc<SessionTable>,
    ) -> Result<Vec<VrrpStatus>, String> {
        let Some(vrrp) = self.vrrp() else { return Err(NO_INSTANCES.into()) };
        let concerned = self.concerned(&vrrp, instance)?;
        let begun = self.begin(&vrrp, &concerned, deadline, sessions);
        Ok(self.statuses_named(&vrrp, &begun))
    }

    /// What was asked of one instance and has not happened yet, or all of that, is wanted no more.
    pub(in crate::control) fn cancel_failover(
        &self,
        instance: Option<&str>,
    ) -> Result<Vec<VrrpStatus>, String> {
        let Some(vrrp) = self.vrrp() else { return Err(NO_INSTANCES.into()) };
        if self.0.maintenance.load(Relaxed) {
            return Err(
                "maintenance is on, for which addresses go; end it with `gridfront maintenance off`".into()
            );
        }
        let named = match instance {
            Some(name) => vec![self.known(&vrrp, name)?.name.clone()],
            None => self.wishes().instances(),
        };
        let taken = self.wishes().take_back(&named);
        if taken.is_empty() {
            return Err("no failover waits; nothing to take back".into());
        }
        tracing::warn!(instances = taken.join(" "), "failover: taken back");
        Ok(self.statuses_named(&vrrp, &taken))
    }

    /// Keeps this host from being master, or not any more. As master it gives up as in [`Self::fail_over`].
    pub(in crate::control) fn set_maintenance(
        &self,
        on: bool,
        deadline: Instant,
        sessions: &Arc<SessionTable>,
    ) -> Result<Vec<VrrpStatus>, String> {
        let Some(vrrp) = self.vrrp() else { return Err(NO_INSTANCES.into()) };
        self.0.maintenance.store(on, Relaxed);
        tracing::warn!(on, "maintenance");
        let waiting = self.wishes().instances();
        self.wishes().take_back(&waiting);
        if on {
            self.begin(&vrrp, &masters(&vrrp), deadline, sessions);
        }
        vrrp.set_maintenance(on, self.wishes().instances());
        Ok(self.statuses_of(&vrrp.shared().records()))
    }

    pub(super) fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.0.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn groups(&self) -> Vec<Vec<String>> {
        self.0.groups.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn statuses_named(&self, vrrp: &Vrrp, names: &[String]) -> Vec<VrrpStatus> {
        self.statuses_of(&named(vrrp, names))
    }

    fn known(&self, vrrp: &Vrrp, name: &str) -> Result<Arc<Record>, String> {
        let records = vrrp.shared().records();
        records.iter().find(|record| record.name == name).cloned().ok_or_else(|| {
            let known: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
            let meant = did_you_mean(name, &known).map(|meant| format!("; did you mean {meant:?}?"));
            format!("no VRRP instance is called {name:?}{}", meant.unwrap_or_default())
        })
    }

    fn concerned(&self, vrrp: &Vrrp, instance: Option<&str>) -> Result<Vec<Arc<Record>>, String> {
        let Some(name) = instance else {
            let masters = masters(vrrp);
            return if masters.is_empty() {
                Err("no instance is master here; nothing to do".into())
            } else {
                Ok(masters)
            };
        };
        let record = self.known(vrrp, name)?;
        match record.situation().role {
            Role::Master => Ok(vec![record]),
            role => Err(format!("{name} is {} here; ask where it is MASTER", role.word())),
        }
    }

    /// A wish for each with all that move with it; another for the same instances takes its place. The names of all that are to
    /// move.
    fn begin(
        &self,
        vrrp: &Arc<Vrrp>,
        concerned: &[Arc<Record>],
        deadline: Instant,
        sessions: &Arc<SessionTable>,
    ) -> Vec<String> {
        let names: Vec<String> = concerned.iter().map(|record| record.name.clone()).collect();
        let units = units_of(&names, &self.groups());
        let mut wishes = self.wishes();
        for members in &units {
            wishes.take_back(members);
            wishes.last += 1;
            let id = wishes.last;
            let fulfilled = self.clone().fulfil(id, Arc::clone(vrrp), deadline, Arc::clone(sessions));
            let task = tokio::spawn(fulfilled).abort_handle();
            let asked = names.iter().filter(|name| members.contains(name)).cloned().collect();
            let pending = Pending { since: now(), deadline };
            wishes.waiting.insert(id, Wish { asked, members: members.clone(), pending, task });
        }
        units.concat()
    }

    /// Which of the two is wanted is asked at the end: maintenance may have come on top of a failover.
    async fn fulfil(self, id: u64, vrrp: Arc<Vrrp>, deadline: Instant, sessions: Arc<SessionTable>) {
        // Looked for each time: a reload may have given them other addresses, or others to move with, and whoever has lost his
        // office meanwhile has nothing left to give up.
        let members = || self.wishes().members(id);
        let held = || {
            let mut held = named(&vrrp, &members());
            held.retain(|member| member.is_master());
            addresses_of(&held)
        };
        let left = until_quiet(&sessions, held, deadline).await;
        let (members, addresses) = (members(), held());
        let instances = members.join(" ");
        if addresses.is_empty() {
            tracing::info!(instances, "failover: not master any more");
        } else {
            tracing::warn!(instances, busy = left.busy, unread = left.unread, "failover: stepping down");
            take_leave(&sessions, &addresses).await;
        }
        if self.0.maintenance.load(Relaxed) {
            let mut wishes = self.wishes();
            wishes.waiting.remove(&id);
            vrrp.set_maintenance(true, wishes.instances());
        } else {
            for instance in members.iter().filter(|_| !addresses.is_empty()) {
                vrrp.step_down(instance).await;
            }
            self.wishes().waiting.remove(&id);
        }
    }
}

fn masters(vrrp: &Vrrp) -> Vec<Arc<Record>> {
    let records = vrrp.shared().records();
    records.iter().filter(|record| record.is_master()).cloned().collect()
}

fn named(vrrp: &Vrrp, names: &[String]) -> Vec<Arc<Record>> {
    let records = vrrp.shared().records();
    records.iter().filter(|record| names.contains(&record.name)).cloned().collect()
}

fn addresses_of(records: &[Arc<Record>]) -> Vec<IpAddr> {
    records.iter().flat_map(|record| record.addresses.clone()).collect()
}

/// Each with all that move with it, once.
fn units_of(names: &[String], groups: &[Vec<String>]) -> Vec<Vec<String>> {
    let mut units: Vec<Vec<String>> = Vec::new();
    for name in names {
        let group = groups.iter().find(|group| group.contains(name));
        let unit = group.cloned().unwrap_or_else(|| vec![name.clone()]);
        if !units.contains(&unit) {
            units.push(unit);
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_in_a_group_moves_with_all_of_it_and_once() {
        let names = |words: &str| words.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let groups = [names("a b"), names("c d e")];
        for (asked, expected) in
            [("a", "a b"), ("a b", "a b"), ("f", "f"), ("e f b", "c d e, f, a b"), ("", "")]
        {
            let units = units_of(&names(asked), &groups);
            let said = units.iter().map(|unit| unit.join(" ")).collect::<Vec<_>>().join(", ");
            assert_eq!(said, expected, "{asked}");
        }
    }

    #[tokio::test]
    async fn one_wish_for_each_instance_and_all_that_move_with_it() {
        let mut wishes = Wishes::default();
        let wish = |wishes: &mut Wishes, members: &[&str]| {
            let members: Vec<String> = members.iter().map(ToString::to_string).collect();
            let taken = wishes.take_back(&members);
            wishes.last += 1;
            let task = tokio::spawn(std::future::pending::<()>());
            let pending = Pending { since: now(), deadline: now() };
            let wish = Wish { asked: members.clone(), members, pending, task: task.abort_handle() };
            wishes.waiting.insert(wishes.last, wish);
            (taken, task)
        };
        let (_, first) = wish(&mut wishes, &["a", "b"]);
        let (taken, other) = wish(&mut wishes, &["c"]);
        assert!(taken.is_empty() && wishes.status_of("b", now()).is_some());
        let (taken, _) = wish(&mut wishes, &["b"]);
        assert_eq!(taken, ["a", "b"]);
        assert!(first.await.unwrap_err().is_cancelled(), "the group waits for it no more");
        assert_eq!(wishes.instances(), ["c", "b"]);
        assert!(!other.is_finished() && wishes.status_of("a", now()).is_none());
        wishes.regroup(&[["b".into(), "d".into()].to_vec()]);
        assert_eq!(wishes.instances(), ["c", "b", "d"], "a reload has given it another");
        wishes.regroup(&[["b".into(), "c".into()].to_vec()]);
        assert_eq!(wishes.take_back(&["b".into()]), ["b", "c", "b", "c"], "both, which move together now");
        assert!(other.await.unwrap_err().is_cancelled() && wishes.instances().is_empty());
    }
}
