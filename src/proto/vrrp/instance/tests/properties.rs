//! Any inputs in any order: what holds whatever happens.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Input {
    Start,
    Hear {
        source: u8,
        priority: u8,
        interval: u64,
    },
    /// Up to the timer, and beyond it by so many milliseconds.
    Timeout(u64),
    Wait(u64),
    SetPriority(u8),
    SetPrimaryAddress(u8),
    Fault,
    Recover,
    StepDown,
    ForceMaster,
    ForceBackup,
    Reconfigure {
        priority: u8,
        interval: u64,
        preempt: bool,
        preempt_delay: u64,
        address: u8,
    },
    Shutdown,
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        2 => Just(Input::Start),
        8 => (10..13_u8, any::<u8>(), 10..2000_u64)
            .prop_map(|(source, priority, interval)| Input::Hear { source, priority, interval }),
        8 => (0..500_u64).prop_map(Input::Timeout),
        3 => (0..5000_u64).prop_map(Input::Wait),
        2 => any::<u8>().prop_map(Input::SetPriority),
        1 => (10..13_u8).prop_map(Input::SetPrimaryAddress),
        1 => Just(Input::Fault),
        2 => Just(Input::Recover),
        1 => Just(Input::StepDown),
        1 => Just(Input::ForceMaster),
        1 => Just(Input::ForceBackup),
        1 => (1..=255_u8, 1..2000_u64, any::<bool>(), 0..5000_u64, 1..4_u8).prop_map(
            |(priority, interval, preempt, preempt_delay, address)| {
                Input::Reconfigure { priority, interval, preempt, preempt_delay, address }
            }
        ),
        1 => Just(Input::Shutdown),
    ]
}

/// What the driver and the link have seen.
struct Witness {
    holds_addresses: bool,
    role: Role,
}

impl Witness {
    fn see(&mut self, instance: &mut Instance, before: Role) -> Result<(), TestCaseError> {
        let mut leaves = false;
        while let Some(action) = instance.poll_action() {
            match action {
                Action::ClaimAddresses => {
                    prop_assert!(!self.holds_addresses, "claimed twice");
                    self.holds_addresses = true;
                }
                Action::ReleaseAddresses => {
                    prop_assert!(self.holds_addresses, "released what it has not");
                    self.holds_addresses = false;
                }
                Action::Advertise { priority: Priority::RELEASE } => {
                    prop_assert!(before == Role::Master, "gave up what it has not");
                    leaves = true;
                }
                Action::Advertise { priority } => {
                    prop_assert_eq!(priority, instance.priority());
                    prop_assert_eq!(instance.state().role(), Role::Master);
                }
                Action::AnnounceAddresses | Action::ReannounceAddresses | Action::ChangeAddresses => {
                    prop_assert!(self.holds_addresses);
                }
                Action::Transition { from, to, .. } => {
                    prop_assert!(from == self.role && from != to, "{:?} {from:?} {to:?}", self.role);
                    self.role = to;
                }
            }
        }
        prop_assert_eq!(self.role, instance.state().role());
        prop_assert_eq!(self.holds_addresses, self.role == Role::Master);
        prop_assert!(!leaves || self.role != Role::Master);
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_happens_addresses_and_advertisements_are_the_masters_alone(
        is_v2 in any::<bool>(),
        inputs in proptest::collection::vec(input(), 0..80),
    ) {
        let version = if is_v2 { Version::V2 } else { Version::V3 };
        let mut instance = Instance::new(config(version, 100));
        let mut witness = Witness { holds_addresses: false, role: Role::Initialize };
        let mut now = some_time();
        for input in inputs {
            let before = instance.state().role();
            match input {
                Input::Start => instance.start(now),
                Input::Hear { source, priority, interval } => {
                    let mut advertisement = said(&instance, priority);
                    if version == Version::V3 {
                        advertisement.interval = millis(interval);
                    }
                    let _ = instance.handle_advertisement(now, [192, 0, 2, source].into(), &advertisement);
                }
                Input::Timeout(late) => {
                    now = instance.poll_timeout().unwrap_or(now).max(now) + millis(late);
                    instance.handle_timeout(now);
                    // No timer stands still, or the driver would go in circles.
                    prop_assert!(instance.poll_timeout().is_none_or(|next| next > now));
                }
                Input::Wait(time) => now += millis(time),
                Input::SetPriority(priority) => instance.set_priority(now, prio(priority)),
                Input::SetPrimaryAddress(host) => instance.set_primary_address([192, 0, 2, host].into()),
                Input::Fault => instance.fault(Cause::Fault("it is so".into())),
                Input::Recover => instance.recover(now),
                Input::StepDown => prop_assert_eq!(instance.step_down(now), before == Role::Master),
                Input::ForceMaster => instance.force_master(now),
                Input::ForceBackup => instance.force_backup(now),
                Input::Reconfigure { priority, interval, preempt, preempt_delay, address } => {
                    let new = InstanceConfig {
                        interval: millis(interval),
                        preempt,
                        preempt_delay: millis(preempt_delay),
                        addresses: vec![[192, 0, 2, 100 + address].into()],
                        ..config(version, priority)
                    };
                    instance.reconfigure(now, new);
                }
                Input::Shutdown => instance.shutdown(),
            }
            witness.see(&mut instance, before)?;
            let runs = matches!(instance.state().role(), Role::Backup | Role::Master);
            prop_assert_eq!(instance.poll_timeout().is_some(), runs);
        }
    }
}
