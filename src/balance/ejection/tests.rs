use super::*;

#[expect(clippy::disallowed_methods, reason = "tests need some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

fn client(number: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, number])
}

/// One thing after another, as a server's conduct hears of it.
#[derive(Clone, Copy, Debug)]
enum Heard {
    /// Failed here, for this client.
    Failed(u8),
    /// Worked here.
    Worked,
    /// Failed at another server.
    FailedElsewhere,
    /// Worked at another server.
    WorkedElsewhere,
    /// So many minutes go by.
    Minutes(u64),
}

fn is_ejected_by(story: &[Heard], policy: &EjectionPolicy, deed: Deed) -> bool {
    let (mut conduct, mut now) = (Conduct::default(), start());
    let mut is_ejected = false;
    for heard in story {
        match *heard {
            Heard::Failed(number) => {
                is_ejected |= conduct.failed(now, policy, deed, client(number), "reply 451").is_some();
            }
            Heard::Worked => conduct.worked(deed),
            Heard::FailedElsewhere => conduct.failed_elsewhere(deed),
            Heard::WorkedElsewhere => conduct.worked_elsewhere(deed),
            Heard::Minutes(minutes) => now += Duration::from_secs(60 * minutes),
        }
    }
    is_ejected
}

#[test]
fn a_row_of_failures_is_the_servers_fault_by_the_table() {
    use Heard::{Failed as F, FailedElsewhere as FE, Minutes, Worked as W, WorkedElsewhere as WE};
    let policy = EjectionPolicy { failed_logins: 3, failed_transfers: 3, ..EjectionPolicy::default() };
    #[rustfmt::skip]
    let table: &[(&str, &[Heard], bool)] = &[
        ("all is well elsewhere",                             &[F(1), WE, WE, F(2), WE, F(3)], true),
        ("two failures are no row of three",                  &[F(1), WE, WE, WE, F(2), WE],   false),
        ("one that works here ends the row",                  &[F(1), F(2), WE, WE, WE, W, F(3)], false),
        ("and a new one begins",                              &[F(1), W, F(1), WE, F(2), WE, WE, F(3)], true),
        ("nothing works elsewhere, for nobody is there",      &[F(1), F(2), F(3), F(4), F(5)], false),
        ("too little works elsewhere",                        &[F(1), WE, WE, F(2), F(3)],     false),
        ("what worked elsewhere before the row says nothing", &[WE, WE, WE, F(1), F(2), F(3)], false),
        ("the next failure is heard with what came since",    &[F(1), F(2), F(3), WE, WE, WE, F(4)], true),
        ("a wrong password is wrong everywhere",              &[F(1), WE, FE, F(1), WE, FE, F(1), WE, FE, F(1)], false),
        ("others may fail elsewhere now and then",            &[F(1), WE, WE, FE, F(2), WE, WE, F(3)], true),
        ("an outage of all is nobody's fault",                &[F(1), WE, FE, F(2), WE, FE, F(3), WE, F(4)], false),
        ("yesterday's failures are no row with today's",      &[F(1), F(2), WE, WE, WE, Minutes(11), F(3)], false),
        ("one client's failures may be its own affair",       &[F(1), WE, WE, F(1), WE, F(1), WE, F(1)], false),
        ("the second client's is heard with them",            &[F(1), WE, WE, F(1), WE, F(1), F(2)], true),
        ("a slow row is one",                                 &[F(1), WE, Minutes(9), F(2), WE, WE, Minutes(9), F(3)], true),
    ];
    for deed in [Deed::Login, Deed::Transfer] {
        for (name, story, expected) in table {
            assert_eq!(is_ejected_by(story, &policy, deed), *expected, "{name}, {deed:?}");
        }
    }
    let blind = EjectionPolicy { failed_logins: 0, failed_transfers: 0, ..policy };
    for deed in [Deed::Login, Deed::Transfer] {
        assert!(!is_ejected_by(table[0].1, &blind, deed), "0 does not look at {deed:?}");
    }
}

#[test]
fn logins_and_transfers_are_rows_of_their_own() {
    let policy = EjectionPolicy { failed_logins: 2, failed_transfers: 2, ..EjectionPolicy::default() };
    let (mut conduct, now) = (Conduct::default(), start());
    assert_eq!(conduct.failed(now, &policy, Deed::Transfer, client(1), "reply 500"), None);
    conduct.worked_elsewhere(Deed::Transfer);
    conduct.worked_elsewhere(Deed::Transfer);
    // The file system is gone, and logins work.
    conduct.worked(Deed::Login);
    assert_eq!(conduct.failed(now, &policy, Deed::Login, client(1), "a refused login"), None);
    let reason = conduct.failed(now, &policy, Deed::Transfer, client(2), "reply 500");
    assert_eq!(
        reason.as_deref(),
        Some("2 transfers failed in a row, the last with reply 500, while 2 worked at other servers")
    );
}

#[test]
fn the_time_is_doubled_up_to_the_longest_and_begins_anew_after_a_good_while() {
    let seconds = Duration::from_secs;
    let policy = EjectionPolicy { time: seconds(30), max_time: seconds(100), ..EjectionPolicy::default() };
    let (mut conduct, mut now) = (Conduct::default(), start());
    for (pause, expected) in [(0, 30), (10, 60), (99, 100), (99, 100), (100, 30), (1, 60)] {
        now += seconds(pause);
        let ejected = conduct.eject(now, &policy, "a reason".into());
        assert_eq!(ejected.time, seconds(expected), "{pause} s after the last");
        assert_eq!(ejected.until, now + seconds(expected));
        assert!(!conduct.end_ejection(ejected.until - Duration::from_millis(1)));
        now = ejected.until;
        assert!(conduct.end_ejection(now) && conduct.ejected().is_none());
        assert!(!conduct.end_ejection(now), "once");
    }
}

#[test]
fn a_first_time_that_is_longer_than_the_longest_is_the_longest() {
    let policy = EjectionPolicy {
        time: Duration::from_secs(90),
        max_time: Duration::from_secs(60),
        ..EjectionPolicy::default()
    };
    let ejected = Conduct::default().eject(start(), &policy, "a reason".into());
    assert_eq!(ejected.time, policy.max_time);
}

#[test]
fn a_server_is_held_to_its_share_from_the_second_failure_in_a_row_on_until_something_works() {
    let (mut conduct, now) = (Conduct::default(), start());
    for expected in [false, true, true] {
        let _ = conduct.failed(now, &EjectionPolicy::default(), Deed::Transfer, client(1), "reply 451");
        assert_eq!(conduct.draws_sessions(), expected);
    }
    conduct.worked(Deed::Login);
    assert!(conduct.draws_sessions());
    conduct.worked(Deed::Transfer);
    assert!(!conduct.draws_sessions());
}
