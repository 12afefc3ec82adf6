use std::time::Duration;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Event {
    Pass,
    Fail,
    Busy,
    /// A session was told that the server is full.
    Full,
    /// A session's greeting, good or not.
    Greeted,
    Ungreeted,
}
use Event::{Busy, Fail, Full, Greeted, Pass, Ungreeted};

#[expect(clippy::disallowed_methods, reason = "tests need some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

fn feed(health: &mut Health, now: Instant, event: Event) -> Option<HealthChange> {
    match event {
        Pass => health.handle_check(now, CheckOutcome::Passed),
        Fail => health.handle_check(now, CheckOutcome::Failed("refused".into())),
        Busy => health.handle_check(now, CheckOutcome::Busy("421 full".into())),
        Full => {
            health.handle_busy("421 full".into());
            None
        }
        Greeted => health.handle_greeting(now, Ok(())),
        Ungreeted => health.handle_greeting(now, Err("closed".into())),
    }
}

#[test]
fn rise_and_fall_count_in_a_row_and_each_change_is_told_once() {
    // '.' no change, 'D' told down, 'U' told up.
    #[rustfmt::skip]
    let table: &[(&str, u32, u32, &[Event], &str)] = &[
        ("starts up",                              3, 1, &[Pass],                                     "."),
        ("falls at the third failure",             3, 1, &[Fail, Fail, Fail, Fail],                   "..D."),
        ("falls at once with fall 1",              1, 1, &[Fail],                                     "D"),
        ("0 counts as 1",                          0, 0, &[Fail, Pass],                               "DU"),
        ("a pass forgives",                        3, 1, &[Fail, Fail, Pass, Fail, Fail, Fail],       ".....D"),
        ("rises at the second pass",               1, 2, &[Fail, Pass, Pass, Pass],                   "D.U."),
        ("a failure starts the rise anew",         1, 2, &[Fail, Pass, Fail, Pass, Pass],             "D...U"),
        ("busy takes nobody down",                 1, 1, &[Busy, Busy, Busy],                         "..."),
        ("busy brings nobody up",                  1, 1, &[Fail, Busy, Busy],                         "D.."),
        ("busy forgives nothing",                  2, 1, &[Fail, Busy, Fail],                         "..D"),
        ("a full server is not down",              1, 1, &[Full, Full],                               ".."),
        ("nor is it up because of it",             1, 1, &[Fail, Full, Pass],                         "D.U"),
        ("nor is it forgiven",                     2, 1, &[Fail, Full, Fail],                         "..D"),
        ("busy does not break a rise",             1, 2, &[Fail, Pass, Busy, Pass],                   "D..U"),
        ("greetings count as checks do",           3, 1, &[Ungreeted, Ungreeted, Ungreeted],          "..D"),
        ("checks and greetings add up",            3, 1, &[Fail, Ungreeted, Fail],                    "..D"),
        ("a greeting forgives",                    3, 1, &[Fail, Fail, Greeted, Fail, Fail, Fail],    ".....D"),
        ("a greeting does not bring it up",        1, 1, &[Fail, Greeted, Greeted, Pass],             "D..U"),
        ("late bad greetings do not delay a rise", 1, 2, &[Fail, Pass, Ungreeted, Pass],              "D..U"),
        ("it may fall again",                      2, 1, &[Fail, Fail, Pass, Fail, Fail, Pass],       ".DU.DU"),
    ];
    for &(name, fall, rise, events, expected) in table {
        let mut health = Health::new(fall, rise);
        let now = start();
        let told: String = events
            .iter()
            .map(|event| match feed(&mut health, now, *event) {
                None => '.',
                Some(HealthChange::Up) => 'U',
                Some(HealthChange::Down(_)) => 'D',
            })
            .collect();
        assert_eq!(told, expected, "{name}");
        let last_change = told.chars().rfind(|change| *change != '.');
        assert_eq!(health.snapshot().up, last_change != Some('D'), "{name}");
    }
}

#[test]
fn a_snapshot_tells_when_and_why() {
    let start = start();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut health = Health::new(1, 1);
    assert_eq!(health.snapshot().since, None);

    let change = feed(&mut health, at(1), Fail);
    assert_eq!(change, Some(HealthChange::Down("refused".into())));
    assert_eq!(feed(&mut health, at(2), Fail), None);
    let down = health.snapshot().clone();
    assert_eq!((down.up, down.since), (false, Some(at(1))));
    assert_eq!(down.last_error.as_deref(), Some("refused"));

    assert_eq!(feed(&mut health, at(3), Pass), Some(HealthChange::Up));
    let up = health.snapshot().clone();
    assert_eq!((up.up, up.since, up.last_error), (true, Some(at(3)), None));
}

#[test]
fn busy_shows_until_the_next_check_or_greeting() {
    let now = start();
    for busy in [Busy, Full] {
        for after in [Pass, Fail, Greeted, Ungreeted] {
            let mut health = Health::new(3, 1);
            assert_eq!(feed(&mut health, now, busy), None);
            assert!(health.snapshot().busy, "{busy:?} {after:?}");
            assert_eq!(health.snapshot().last_error.as_deref(), Some("421 full"), "{busy:?} {after:?}");
            assert_eq!(feed(&mut health, now, after), None);
            assert!(!health.snapshot().busy, "{busy:?} {after:?}");
        }
    }
}

#[test]
fn a_reason_is_cut_between_characters() {
    let mut health = Health::new(1, 1);
    let change = health.handle_check(start(), CheckOutcome::Failed("é".repeat(1000)));
    let Some(HealthChange::Down(reason)) = change else { panic!("it is down") };
    assert_eq!(reason, "é".repeat(MAX_REASON_LEN / 2));
    let change = health.handle_check(start(), CheckOutcome::Busy(format!("x{}", "é".repeat(1000))));
    assert_eq!(change, None);
    assert_eq!(health.snapshot().last_error.as_ref().map(String::len), Some(MAX_REASON_LEN - 1));
}
