//! Which sync daemons are to run.
use super::register::OwnedSync;
use crate::proto::netlink::ipvs::{Daemon, DaemonRole};

/// What is to be done, in this order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Steps {
    /// Ours, which is not wanted any more.
    pub(super) stop: Option<DaemonRole>,
    /// Which is wanted, and does not run.
    pub(super) start: Option<Daemon>,
    /// Why it is not started: somebody else's has that role.
    pub(super) in_its_place: Option<Daemon>,
}

/// From those that run, that of them which is ours, and the one that is wanted.
pub(super) fn steps(running: &[Daemon], ours: Option<&OwnedSync>, wanted: Option<&OwnedSync>) -> Steps {
    let is_ours = |daemon: &Daemon| ours.is_some_and(|ours| ours.daemon() == *daemon);
    let wanted = wanted.map(OwnedSync::daemon);
    let stop = running.iter().find(|daemon| is_ours(daemon) && wanted.as_ref() != Some(daemon));
    let mut steps = Steps { stop: stop.map(|daemon| daemon.role), ..Steps::default() };
    let Some(wanted) = wanted else { return steps };
    match running.iter().find(|daemon| daemon.role == wanted.role) {
        Some(other) if !is_ours(other) => steps.in_its_place = Some(other.clone()),
        Some(daemon) if *daemon == wanted => {}
        Some(_) | None => steps.start = Some(wanted),
    }
    steps
}

impl OwnedSync {
    /// As the kernel has it.
    pub(super) fn daemon(&self) -> Daemon {
        Daemon {
            role: if self.is_master { DaemonRole::Master } else { DaemonRole::Backup },
            interface: self.interface.clone(),
            sync_id: self.id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sync(is_master: bool, interface: &str) -> OwnedSync {
        OwnedSync { is_master, interface: interface.into(), id: 1 }
    }

    #[test]
    fn ours_is_stopped_and_that_of_others_is_left_alone() {
        let (master, backup, moved) = (sync(true, "eth1"), sync(false, "eth1"), sync(true, "eth2"));
        let start = |sync: &OwnedSync| Steps { start: Some(sync.daemon()), ..Steps::default() };
        let stop = || Steps { stop: Some(DaemonRole::Master), ..Steps::default() };
        let taken = |other: &OwnedSync| Steps { in_its_place: Some(other.daemon()), ..Steps::default() };
        #[rustfmt::skip]
        let table: [(&str, &[&OwnedSync], _, _, _); 10] = [
            ("nothing",                       &[],                 None,          None,          Steps::default()),
            ("a first one",                   &[],                 None,          Some(&master), start(&master)),
            ("it runs",                       &[&master],          Some(&master), Some(&master), Steps::default()),
            ("others have stopped it",        &[],                 Some(&master), Some(&master), start(&master)),
            ("the other role",                &[&master],          Some(&master), Some(&backup), Steps { start: Some(backup.daemon()), ..stop() }),
            ("another interface",             &[&master],          Some(&master), Some(&moved),  Steps { start: Some(moved.daemon()), ..stop() }),
            ("not any more, others have one", &[&master, &backup], Some(&master), None,          stop()),
            ("others have another role",      &[&backup],          None,          Some(&master), start(&master)),
            ("others have that role",         &[&master],          None,          Some(&master), taken(&master)),
            ("others have the other role",    &[&master, &backup], Some(&master), Some(&backup), Steps { in_its_place: Some(backup.daemon()), ..stop() }),
        ];
        for (name, running, ours, wanted, expected) in table {
            let running: Vec<Daemon> = running.iter().map(|sync| sync.daemon()).collect();
            assert_eq!(steps(&running, ours, wanted), expected, "{name}");
        }
    }
}
