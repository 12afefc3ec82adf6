use super::*;

const SLOW_START: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "tests need some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

fn candidate(weight: u32, warmth: Option<Warmth>) -> Option<Candidate> {
    Some(Candidate { load: Load { weight, active: 0 }, warmth })
}

#[test]
fn warmth_grows_with_time_and_is_never_nothing() {
    let table = [
        (0, 1),
        (1, 1),
        (59, 1),
        (60, 1),
        (600, 10),
        (6_000, 102),
        (30_000, 512),
        (60_000, 1024),
        (120_000, 2048),
        (960_000, 16_384),
        (1_000_000_000, 16_384),
    ];
    let since = start();
    for (millis, expected) in table {
        let now = since + Duration::from_millis(millis);
        assert_eq!(warmth(since, now, SLOW_START), expected, "after {millis} ms");
    }
    assert_eq!(warmth(since + SLOW_START, since, SLOW_START), 1, "a clock that was read a moment earlier");
}

/// Places `sessions` where a cold server is chosen whenever it may be; how many it gets.
fn paced(pacing: &mut Pacing, site: &[Option<Candidate>], sessions: u32) -> u32 {
    let cold = site.iter().position(|known| known.is_some_and(|known| known.warmth.is_some())).unwrap();
    let mut got = 0;
    for _ in 0..sessions {
        pacing.earn(site, |load| load.weight);
        let mut left = site.to_vec();
        pacing.hold_back(&mut left);
        if left[cold].is_some() {
            pacing.pay(cold);
            got += 1;
        }
    }
    got
}

#[test]
fn a_cold_server_gets_its_share_of_a_thousand_sessions() {
    let rows = [
        (1, 1, 0),
        (1, 103, 47),
        (1, 512, 200),
        (1, 1024, 333),
        (1, 2048, 500),
        (1, 16_384, 888),
        (4, 256, 333),
        (4, 1024, 666),
    ];
    for (weight, warmth, expected) in rows {
        let site = [candidate(1, None), candidate(1, None), candidate(weight, Some(warmth))];
        let got = paced(&mut Pacing::new(3), &site, 1000);
        assert!(got.abs_diff(expected) <= 1, "weight {weight}, warmth {warmth}: {got}, not {expected}");
    }
}

#[test]
fn a_quiet_time_is_no_reserve_for_a_burst() {
    let mut pacing = Pacing::new(2);
    let site = [candidate(1, None), candidate(1, Some(WARM))];
    // It was full, or not wanted: it earned and was not chosen.
    for _ in 0..1000 {
        pacing.earn(&site, |load| load.weight);
    }
    assert!(paced(&mut pacing, &site, 10) <= 5 + 1);
}

#[test]
fn where_all_are_cold_somebody_is_always_left() {
    let mut pacing = Pacing::new(3);
    let site = [candidate(1, Some(1)), None, candidate(1, Some(3))];
    let mut got = [0_u32; 3];
    for _ in 0..400 {
        pacing.earn(&site, |load| load.weight);
        let mut left = site.to_vec();
        pacing.hold_back(&mut left);
        let chosen = left.iter().position(Option::is_some).expect("somebody is left");
        pacing.pay(chosen);
        got[chosen] += 1;
    }
    assert!(got[0].abs_diff(100) <= 1 && got[2].abs_diff(300) <= 1, "1 to 3, as they are warm: {got:?}");
}

#[test]
fn who_has_been_cold_before_begins_at_nothing() {
    let mut pacing = Pacing::new(2);
    let cold = [candidate(1, None), candidate(1, Some(WARM))];
    pacing.earn(&cold, |load| load.weight);
    pacing.earn(&[candidate(1, None), candidate(1, None)], |load| load.weight);
    assert_eq!(pacing.credits, [0, 0]);
}
