//! The rules row by row, then any inputs at all.

mod properties;

use super::*;
use crate::proto::vrrp::{Password, VirtualRouterId};

const OURS: [u8; 4] = [192, 0, 2, 11];
const HIGHER: [u8; 4] = [192, 0, 2, 12];
const LOWER: [u8; 4] = [192, 0, 2, 2];
const SECOND: Duration = Duration::from_secs(1);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[allow(clippy::disallowed_methods)] // a starting point in time; nothing waits
fn some_time() -> Instant {
    Instant::now()
}

fn prio(priority: u8) -> Priority {
    Priority(priority)
}

pub(super) fn config(version: Version, priority: u8) -> InstanceConfig {
    InstanceConfig {
        version,
        virtual_router_id: VirtualRouterId::new(51).unwrap(),
        priority: prio(priority),
        interval: SECOND,
        addresses: vec![[192, 0, 2, 10].into()],
        primary_address: OURS.into(),
        preempt: true,
        preempt_delay: Duration::ZERO,
        password: None,
        checks_addresses: true,
    }
}

/// What another router with the same configuration would say.
fn said(instance: &Instance, priority: u8) -> Advertisement {
    instance.advertisement(prio(priority))
}

fn actions(instance: &mut Instance) -> Vec<Action> {
    std::iter::from_fn(|| instance.poll_action()).collect()
}

fn advertise(priority: u8) -> Action {
    Action::Advertise { priority: prio(priority) }
}

fn changed(from: Role, to: Role, cause: Cause) -> Action {
    Action::Transition { from, to, cause }
}

/// All that becoming master entails.
fn taking_over(priority: u8, from: Role, cause: Cause) -> Vec<Action> {
    vec![
        advertise(priority),
        Action::ClaimAddresses,
        Action::AnnounceAddresses,
        changed(from, Role::Master, cause),
    ]
}

/// A backup without a master, and the time of its start.
fn backup(config: InstanceConfig) -> (Instance, Instant) {
    let (mut instance, now) = (Instance::new(config), some_time());
    instance.start(now);
    assert_eq!(instance.state().role(), Role::Backup);
    actions(&mut instance);
    (instance, now)
}

/// A master, and the time when it became one.
fn master(config: InstanceConfig) -> (Instance, Instant) {
    let (mut instance, _) = backup(config);
    let now = instance.poll_timeout().unwrap();
    instance.handle_timeout(now);
    assert_eq!(instance.state().role(), Role::Master);
    actions(&mut instance);
    (instance, now)
}

fn hears(instance: &mut Instance, now: Instant, from: [u8; 4], priority: u8) -> Result<(), Discard> {
    let advertisement = said(instance, priority);
    instance.handle_advertisement(now, from.into(), &advertisement)
}

#[test]
fn a_router_watches_for_three_intervals_and_its_skew_before_it_is_master() {
    // RFC 9568 section 6.1: the skew is a part of the interval. RFC 3768: a part of a second.
    let rows = [
        (Version::V3, 100, 1_000_000, 3_609_375),
        (Version::V3, 254, 1_000_000, 3_007_812),
        (Version::V3, 1, 1_000_000, 3_996_093),
        (Version::V3, 110, 100_000, 357_031),
        (Version::V3, 100, 10_000, 36_093),
        (Version::V2, 110, 1_000_000, 3_570_312),
        (Version::V2, 100, 5_000_000, 15_609_375),
    ];
    for (version, priority, interval, expected) in rows {
        let interval = Duration::from_micros(interval);
        let (mut instance, start) = backup(InstanceConfig { interval, ..config(version, priority) });
        let down = instance.poll_timeout().unwrap();
        assert_eq!((down - start).as_micros(), expected, "{version:?} {priority} {interval:?}");
        instance.handle_timeout(down - Duration::from_micros(1));
        assert_eq!(actions(&mut instance), []);
        instance.handle_timeout(down);
        let expected = taking_over(priority, Role::Backup, Cause::NoMaster);
        assert_eq!(actions(&mut instance), expected);
        assert_eq!(instance.state(), State::Master { advertise_at: down + interval });
        assert_eq!(instance.master(), Some((OURS.into(), prio(priority))));
    }
}

#[test]
fn an_owner_is_master_at_once_and_whatever_it_tracks() {
    for version in [Version::V2, Version::V3] {
        let (mut instance, now) = (Instance::new(config(version, 255)), some_time());
        instance.start(now);
        assert_eq!(actions(&mut instance), taking_over(255, Role::Initialize, Cause::AddressOwner));
        instance.set_priority(now, prio(1));
        assert_eq!((instance.priority(), actions(&mut instance)), (Priority::OWNER, vec![]));
        instance.fault(Cause::Fault("eth0 is down".into()));
        instance.recover(now);
        assert_eq!(instance.state().role(), Role::Master);
    }
}

/// What a backup with priority 100 does with an advertisement a second after its start: when it would be master, in
/// microseconds from its start.
#[test]
fn the_rules_of_a_backup_hold_row_by_row() {
    const TIMER_GOES_ON: u128 = 3_609_375;
    const TIMER_IS_RESET: u128 = 4_609_375;
    const TIMER_IS_SKEW: u128 = 1_609_375;
    let rows = [
        // preempt, priority heard, expected
        (true, 101, TIMER_IS_RESET),
        (true, 100, TIMER_IS_RESET),
        (true, 99, TIMER_GOES_ON),
        (true, 255, TIMER_IS_RESET),
        (true, 0, TIMER_IS_SKEW),
        (false, 101, TIMER_IS_RESET),
        (false, 100, TIMER_IS_RESET),
        (false, 1, TIMER_IS_RESET),
        (false, 0, TIMER_IS_SKEW),
    ];
    for version in [Version::V2, Version::V3] {
        for source in [HIGHER, LOWER] {
            for (preempt, priority, expected) in rows {
                let (mut instance, start) = backup(InstanceConfig { preempt, ..config(version, 100) });
                hears(&mut instance, start + SECOND, source, priority).unwrap();
                let down = instance.poll_timeout().unwrap() - start;
                assert_eq!(down.as_micros(), expected, "{version:?} {preempt} {priority}");
                assert_eq!(actions(&mut instance), []);
                let known = (priority != 0).then_some((source.into(), prio(priority)));
                assert_eq!(instance.master(), known);
            }
        }
    }
}

/// What a master with priority 100 does with an advertisement half a second after it has sent its own.
#[test]
fn the_rules_of_a_master_hold_row_by_row() {
    enum Then {
        AnswersAndStartsItsTimerAnew,
        GivesWay(Cause),
        Stays,
    }
    use Then::{AnswersAndStartsItsTimerAnew, GivesWay, Stays};
    let outranked =
        |source: [u8; 4], priority| Cause::HigherPriority { master: source.into(), priority: prio(priority) };
    for version in [Version::V2, Version::V3] {
        let rows = [
            (LOWER, 0, AnswersAndStartsItsTimerAnew),
            (HIGHER, 0, AnswersAndStartsItsTimerAnew),
            (LOWER, 101, GivesWay(outranked(LOWER, 101))),
            (HIGHER, 255, GivesWay(outranked(HIGHER, 255))),
            (HIGHER, 100, GivesWay(Cause::HigherAddress { master: HIGHER.into() })),
            (LOWER, 100, Stays),
            (HIGHER, 99, Stays),
            (LOWER, 1, Stays),
        ];
        for (source, priority, then) in rows {
            let (mut instance, start) = master(config(version, 100));
            let now = start + millis(500);
            hears(&mut instance, now, source, priority).unwrap();
            let (done, timer) = (actions(&mut instance), instance.poll_timeout().unwrap());
            let place = format!("{version:?} {source:?} {priority}");
            match then {
                AnswersAndStartsItsTimerAnew => {
                    assert_eq!((done, timer), (vec![advertise(100)], now + SECOND), "{place}");
                }
                GivesWay(cause) => {
                    let expected = vec![Action::ReleaseAddresses, changed(Role::Master, Role::Backup, cause)];
                    assert_eq!((done, timer - now), (expected, Duration::from_micros(3_609_375)), "{place}");
                }
                // RFC 9568 section 6.4.3 has an answer, RFC 3768 section 6.4.3 none.
                Stays => {
                    let answer = (version == Version::V3).then_some(advertise(100));
                    let expected: Vec<_> = answer.into_iter().chain([Action::ReannounceAddresses]).collect();
                    assert_eq!((done, timer), (expected, start + SECOND), "{place}");
                }
            }
        }
    }
}

#[test]
fn equal_priorities_are_decided_by_the_address_as_a_number() {
    let address = |text: &str| -> IpAddr { text.parse().unwrap() };
    for (ours, other, gives_way) in [
        ("9.0.0.1", "10.0.0.1", true),
        ("10.0.0.1", "9.255.255.255", false),
        ("fe80::1", "fe80::1:0", true),
        ("fe80::ffff", "fe80::ab", false),
    ] {
        let primary_address = address(ours);
        let (mut instance, now) = master(InstanceConfig { primary_address, ..config(Version::V3, 100) });
        let advertisement = said(&instance, 100);
        instance.handle_advertisement(now, address(other), &advertisement).unwrap();
        let expected = if gives_way { Role::Backup } else { Role::Master };
        assert_eq!(instance.state().role(), expected, "{ours} {other}");
    }
}

#[test]
fn a_backup_goes_by_the_interval_of_its_master() {
    let (mut instance, start) = backup(config(Version::V3, 100));
    let mut advertisement = said(&instance, 200);
    advertisement.interval = millis(100);
    instance.handle_advertisement(start, HIGHER.into(), &advertisement).unwrap();
    let State::Backup { master_interval, master_down_at, .. } = instance.state() else { panic!() };
    assert_eq!(master_interval, millis(100));
    assert_eq!((master_down_at - start).as_micros(), 360_937);
    // Priority 0 leaves a skew of the master's interval, too. As master it has its own.
    advertisement.priority = Priority::RELEASE;
    instance.handle_advertisement(start, HIGHER.into(), &advertisement).unwrap();
    let down = instance.poll_timeout().unwrap();
    assert_eq!((down - start).as_micros(), 60_937);
    instance.handle_timeout(down);
    let cause = Cause::MasterReleased { master: HIGHER.into() };
    assert_eq!(actions(&mut instance), taking_over(100, Role::Backup, cause));
    assert_eq!(instance.poll_timeout(), Some(down + SECOND));
    // And one that gives way takes over the other's.
    advertisement.priority = prio(200);
    instance.handle_advertisement(down, HIGHER.into(), &advertisement).unwrap();
    assert!(
        matches!(instance.state(), State::Backup { master_interval, .. } if master_interval == millis(100))
    );
}

#[test]
fn advertisements_that_are_not_for_us_are_discarded_and_change_nothing() {
    type Change = fn(&mut Advertisement);
    let no_change: Change = |_| {};
    let other_list: Change = |said| said.addresses.push([192, 0, 2, 99].into());
    let rows: [(Version, [u8; 4], Change, Discard); 9] = [
        (
            Version::V3,
            HIGHER,
            |said| said.virtual_router_id = VirtualRouterId::new(7).unwrap(),
            Discard::VirtualRouterId(7),
        ),
        (Version::V3, HIGHER, |said| said.version = Version::V2, Discard::Version(2)),
        (Version::V2, HIGHER, |said| said.version = Version::V3, Discard::Version(3)),
        (Version::V3, OURS, no_change, Discard::Reflected),
        (Version::V2, OURS, no_change, Discard::Reflected),
        (Version::V2, HIGHER, |said| said.password = Password::new(b"x"), Discard::Authentication),
        (
            Version::V2,
            HIGHER,
            |said| said.interval = 3 * SECOND,
            Discard::Interval { expected: SECOND, found: 3 * SECOND },
        ),
        (Version::V3, HIGHER, other_list, Discard::AddressList),
        (Version::V2, HIGHER, other_list, Discard::AddressList),
    ];
    for (version, source, change, expected) in rows {
        for mut instance in [backup(config(version, 100)).0, master(config(version, 100)).0] {
            let mut advertisement = said(&instance, 200);
            change(&mut advertisement);
            let (before, now) = (instance.state(), some_time());
            let result = instance.handle_advertisement(now, source.into(), &advertisement);
            assert_eq!(result, Err(expected));
            assert_eq!((instance.state(), actions(&mut instance)), (before, vec![]), "{expected}");
            assert!(expected.word().is_some_and(|word| Discard::WORDS.contains(&word)));
        }
    }
    let mut instance = Instance::new(config(Version::V3, 100));
    assert_eq!(hears(&mut instance, some_time(), HIGHER, 200), Err(Discard::NotRunning));
    instance.fault(Cause::Fault("eth0 is down".into()));
    assert_eq!(hears(&mut instance, some_time(), HIGHER, 200), Err(Discard::NotRunning));
}

#[test]
fn passwords_of_version_2_have_to_be_the_same() {
    let password = Password::new(b"gridftp1");
    let (mut instance, now) = backup(InstanceConfig { password, ..config(Version::V2, 100) });
    let mut advertisement = said(&instance, 200);
    assert_eq!(advertisement.password, password);
    assert_eq!(instance.handle_advertisement(now, HIGHER.into(), &advertisement), Ok(()));
    for wrong in [None, Password::new(b"gridftp2")] {
        advertisement.password = wrong;
        let result = instance.handle_advertisement(now, HIGHER.into(), &advertisement);
        assert_eq!(result, Err(Discard::Authentication));
    }
}

#[test]
fn the_list_of_addresses_has_no_order_and_is_only_noted_where_it_is_not_checked() {
    let lists = InstanceConfig {
        addresses: vec![[192, 0, 2, 10].into(), [192, 0, 2, 20].into()],
        ..config(Version::V3, 100)
    };
    let (mut instance, now) = backup(lists.clone());
    let mut advertisement = said(&instance, 200);
    advertisement.addresses.reverse();
    assert_eq!(instance.handle_advertisement(now, HIGHER.into(), &advertisement), Ok(()));
    assert!(!instance.differs_from_master());

    let (mut instance, now) = backup(InstanceConfig { checks_addresses: false, ..lists });
    advertisement.addresses.pop();
    assert_eq!(instance.handle_advertisement(now, HIGHER.into(), &advertisement), Ok(()));
    assert!(instance.differs_from_master());

    // RFC 3768 section 7.1: an owner's list is right.
    let (mut instance, now) = backup(config(Version::V2, 100));
    let mut advertisement = said(&instance, 255);
    advertisement.addresses.push([192, 0, 2, 99].into());
    assert_eq!(instance.handle_advertisement(now, HIGHER.into(), &advertisement), Ok(()));
}

/// Feeds a master's advertisements, one a second, until the instance is master; how long that took.
fn preempting_takes(instance: &mut Instance, start: Instant, priority: u8, at_most: u32) -> Option<Duration> {
    for second in 0..at_most {
        let heard_at = start + second * SECOND;
        while let Some(due) = instance.poll_timeout().filter(|due| *due < heard_at) {
            instance.handle_timeout(due);
            if instance.state().role() == Role::Master {
                return Some(due - start);
            }
        }
        hears(instance, heard_at, LOWER, priority).unwrap();
    }
    None
}

#[test]
fn a_preempt_delay_is_added_to_what_preempting_takes_and_holds_up_nothing_else() {
    let delayed = InstanceConfig { preempt_delay: 10 * SECOND, ..config(Version::V3, 100) };
    for (config, expected) in [(config(Version::V3, 100), 3_609_375), (delayed.clone(), 13_609_375)] {
        let (mut instance, start) = backup(config);
        let took = preempting_takes(&mut instance, start, 50, 20).unwrap();
        assert_eq!(took.as_micros(), expected);
        let cause = Cause::Preempting { master: LOWER.into(), priority: prio(50) };
        assert_eq!(actions(&mut instance), taking_over(100, Role::Backup, cause));
    }
    // The master dies, or gives up, while it still has its delay.
    let (mut instance, start) = backup(delayed.clone());
    hears(&mut instance, start + SECOND, LOWER, 50).unwrap();
    let down = instance.poll_timeout().unwrap();
    assert_eq!((down - start).as_micros(), 4_609_375);
    instance.handle_timeout(down);
    let cause = Cause::MasterDown { master: LOWER.into() };
    assert_eq!(actions(&mut instance), taking_over(100, Role::Backup, cause));

    let (mut instance, start) = backup(delayed.clone());
    hears(&mut instance, start, LOWER, 50).unwrap();
    hears(&mut instance, start + SECOND, LOWER, 0).unwrap();
    assert_eq!((instance.poll_timeout().unwrap() - start).as_micros(), 1_609_375);

    // A better master in between, and the delay begins anew.
    let (mut instance, start) = backup(delayed);
    assert_eq!(preempting_takes(&mut instance, start, 50, 8), None);
    hears(&mut instance, start + 8 * SECOND, HIGHER, 150).unwrap();
    let took = preempting_takes(&mut instance, start + 8 * SECOND, 50, 20).unwrap();
    assert_eq!(took.as_micros(), 13_609_375);
}

#[test]
fn without_preempt_a_lower_master_stays_until_it_is_gone() {
    let (mut instance, start) = backup(InstanceConfig { preempt: false, ..config(Version::V3, 200) });
    assert_eq!(preempting_takes(&mut instance, start, 50, 60), None);
    let last = start + 59 * SECOND;
    let down = instance.poll_timeout().unwrap();
    assert_eq!((down - last).as_micros(), 3_218_750);
    instance.handle_timeout(down);
    let cause = Cause::MasterDown { master: LOWER.into() };
    assert_eq!(actions(&mut instance), taking_over(200, Role::Backup, cause));
}

#[test]
fn a_master_keeps_its_beat_and_makes_up_for_nothing() {
    let (mut instance, start) = master(config(Version::V3, 100));
    for (called, next) in [(1000, 2000), (2300, 3000), (3000, 4000), (9500, 10_500), (10_500, 11_500)] {
        instance.handle_timeout(start + millis(called));
        assert_eq!(actions(&mut instance), [advertise(100)]);
        assert_eq!(instance.poll_timeout(), Some(start + millis(next)), "{called}");
    }
}

#[test]
fn a_fault_gives_the_addresses_up_and_its_end_starts_anew() {
    let lost = || Cause::Fault("eth0 is down".into());
    let (mut instance, now) = master(config(Version::V3, 100));
    instance.fault(lost());
    assert_eq!(
        actions(&mut instance),
        [advertise(0), Action::ReleaseAddresses, changed(Role::Master, Role::Fault, lost())]
    );
    assert_eq!((instance.poll_timeout(), instance.master()), (None, None));
    instance.fault(lost());
    instance.start(now);
    instance.force_master(now);
    instance.force_backup(now);
    instance.handle_timeout(now + 60 * SECOND);
    assert!(!instance.step_down(now));
    assert_eq!((instance.state(), actions(&mut instance)), (State::Fault, vec![]));
    instance.recover(now);
    assert_eq!(actions(&mut instance), [changed(Role::Fault, Role::Backup, Cause::Recovered)]);
    assert_eq!((instance.poll_timeout().unwrap() - now).as_micros(), 3_609_375);
    instance.fault(lost());
    assert_eq!(actions(&mut instance), [changed(Role::Backup, Role::Fault, lost())]);
}

#[test]
fn who_shuts_down_as_master_says_so_and_only_then() {
    let (mut instance, _) = master(config(Version::V3, 100));
    instance.shutdown();
    assert_eq!(
        actions(&mut instance),
        [advertise(0), Action::ReleaseAddresses, changed(Role::Master, Role::Initialize, Cause::ShutDown)]
    );
    instance.shutdown();
    assert_eq!((instance.poll_timeout(), actions(&mut instance)), (None, vec![]));
    let (mut instance, _) = backup(config(Version::V3, 100));
    instance.shutdown();
    assert_eq!(actions(&mut instance), [changed(Role::Backup, Role::Initialize, Cause::ShutDown)]);
}

#[test]
fn who_steps_down_does_not_come_back_while_the_next_one_lives() {
    let (mut instance, start) = master(config(Version::V3, 200));
    assert!(instance.step_down(start));
    assert_eq!(
        actions(&mut instance),
        [advertise(0), Action::ReleaseAddresses, changed(Role::Master, Role::Backup, Cause::Operator)]
    );
    assert_eq!(preempting_takes(&mut instance, start + SECOND, 50, 60), None);
    // It gives up in its turn: things are as they were before.
    let now = start + 61 * SECOND;
    hears(&mut instance, now, LOWER, 0).unwrap();
    hears(&mut instance, now + millis(100), LOWER, 50).unwrap();
    assert_eq!((instance.poll_timeout().unwrap() - now).as_micros(), 218_750);
}

#[test]
fn who_steps_down_for_nobody_is_master_again() {
    for version in [Version::V2, Version::V3] {
        let (mut instance, start) = master(config(version, 200));
        assert!(instance.step_down(start));
        actions(&mut instance);
        let again = instance.poll_timeout().unwrap();
        // Later than the slowest backup would be that has missed the priority 0.
        assert!(again - start > 4 * SECOND && again - start < 5 * SECOND);
        instance.handle_timeout(again);
        assert_eq!(actions(&mut instance), taking_over(200, Role::Backup, Cause::NobodyTookOver));
    }
}

#[test]
fn a_backup_steps_down_from_nothing() {
    let (mut instance, now) = backup(config(Version::V3, 100));
    let before = instance.state();
    assert!(!instance.step_down(now));
    assert_eq!((instance.state(), actions(&mut instance)), (before, vec![]));
}

#[test]
fn another_priority_is_told_at_once_and_never_a_reason_to_fight_a_better_master() {
    let (mut instance, start) = master(config(Version::V3, 100));
    let now = start + millis(300);
    instance.set_priority(now, prio(80));
    assert_eq!(actions(&mut instance), [advertise(80)]);
    assert_eq!(instance.poll_timeout(), Some(now + SECOND));
    instance.set_priority(now, prio(80));
    instance.set_priority(now, Priority::RELEASE);
    instance.set_priority(now, Priority::OWNER);
    assert_eq!((actions(&mut instance), instance.priority()), (vec![], prio(80)));

    // About to preempt when its own priority sinks: the master counts from when it was last heard.
    let (mut instance, start) = backup(config(Version::V3, 100));
    for second in 0..=3 {
        hears(&mut instance, start + second * SECOND, LOWER, 90).unwrap();
    }
    instance.set_priority(start + millis(3100), prio(80));
    assert_eq!((instance.poll_timeout().unwrap() - start).as_micros(), 6_687_500);
    // With a dead master it does not wait longer than it has to.
    instance.set_priority(start + millis(3200), prio(240));
    assert_eq!((instance.poll_timeout().unwrap() - start).as_micros(), 6_262_500);
}

#[test]
fn a_changed_priority_does_not_make_a_preempt_delay_begin_anew() {
    let delayed = InstanceConfig { preempt_delay: 10 * SECOND, ..config(Version::V3, 100) };
    let (mut instance, start) = backup(delayed);
    assert_eq!(preempting_takes(&mut instance, start, 50, 8), None);
    instance.set_priority(start + 8 * SECOND, prio(101));
    let took = preempting_takes(&mut instance, start + 8 * SECOND, 50, 20).unwrap();
    assert_eq!((8 * SECOND + took).as_micros(), 13_609_375);
}

#[test]
fn a_new_configuration_comes_into_force_without_a_change_of_state() {
    let (mut instance, start) = master(config(Version::V3, 100));
    let now = start + millis(300);
    let mut new = config(Version::V3, 120);
    new.interval = millis(100);
    instance.reconfigure(now, new.clone());
    assert_eq!(actions(&mut instance), [advertise(120)]);
    assert_eq!(instance.poll_timeout(), Some(now + millis(100)));
    new.addresses = vec![[192, 0, 2, 20].into()];
    instance.reconfigure(now, new.clone());
    let expected = [Action::ChangeAddresses, Action::AnnounceAddresses, advertise(120)];
    assert_eq!(actions(&mut instance), expected);
    assert_eq!(said(&instance, 120).addresses, new.addresses);

    for version in [Version::V2, Version::V3] {
        let (mut instance, now) = backup(config(version, 100));
        let interval = 2 * SECOND;
        instance.reconfigure(now, InstanceConfig { interval, ..config(version, 100) });
        assert!(matches!(
            instance.state(),
            State::Backup { master_interval, .. } if master_interval == interval
        ));
        assert_eq!(actions(&mut instance), []);
        hears(&mut instance, now, HIGHER, 200).unwrap();
        instance.reconfigure(now, InstanceConfig { preempt: false, ..config(version, 100) });
        assert_eq!(instance.master(), Some((HIGHER.into(), prio(200))));
    }
}

#[test]
fn sync_groups_move_an_instance_that_is_able_to() {
    let (mut instance, now) = backup(config(Version::V3, 100));
    instance.force_backup(now);
    assert_eq!(actions(&mut instance), []);
    instance.force_master(now);
    assert_eq!(actions(&mut instance), taking_over(100, Role::Backup, Cause::SyncGroup));
    instance.force_master(now);
    assert_eq!(actions(&mut instance), []);
    instance.force_backup(now);
    assert_eq!(
        actions(&mut instance),
        [advertise(0), Action::ReleaseAddresses, changed(Role::Master, Role::Backup, Cause::SyncGroup)]
    );
    // It leaves whoever is master of the rest of the group in office.
    assert_eq!(preempting_takes(&mut instance, now, 50, 20), None);
}

#[test]
fn every_cause_has_words_of_its_own() {
    let causes = [
        Cause::Started,
        Cause::AddressOwner,
        Cause::NoMaster,
        Cause::MasterDown { master: HIGHER.into() },
        Cause::MasterReleased { master: HIGHER.into() },
        Cause::Preempting { master: HIGHER.into(), priority: prio(1) },
        Cause::HigherPriority { master: HIGHER.into(), priority: prio(1) },
        Cause::HigherAddress { master: HIGHER.into() },
        Cause::NobodyTookOver,
        Cause::Fault("eth0 is down".into()),
        Cause::Recovered,
        Cause::Operator,
        Cause::SyncGroup,
        Cause::ShutDown,
    ];
    let words: std::collections::BTreeSet<_> = causes.iter().map(Cause::word).collect();
    let sentences: std::collections::BTreeSet<_> = causes.iter().map(ToString::to_string).collect();
    assert_eq!((words.len(), sentences.len()), (causes.len(), causes.len()));
    assert!(sentences.contains("higher priority 1 advertised by 192.0.2.12"));
}
