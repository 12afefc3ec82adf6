use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

const SLOW_START: Duration = Duration::from_secs(60);

fn slow(slow_start: Duration) -> Availability {
    Availability { slow_start, ..Availability::default() }
}

/// A hundred sessions are held by each of two servers, and a third has just come back.
fn after_an_outage(
    lb_algo: LbAlgo,
    slow_start: Duration,
    now: Instant,
) -> (Arc<VirtualServer>, Vec<Placement>) {
    let site = site(lb_algo, &[1, 1, 1], slow(slow_start));
    fail(&site, 2, now);
    let sessions = (0..200).map(|_| place(&site, now)).collect();
    assert_eq!(held(&site), [100, 100, 0]);
    pass(&site, 2, now);
    let _ = site.observe(now);
    (site, sessions)
}

#[test]
fn a_hundred_new_sessions_within_a_second_are_no_stampede() {
    for (slow_start, expected) in [(Duration::ZERO, 100..=100), (SLOW_START, 0..=1), (seconds(2), 4..=12)] {
        let now = start();
        let (site, mut sessions) = after_an_outage(LbAlgo::Wlc, slow_start, now);
        for number in 0..100 {
            sessions.push(place(&site, now + Duration::from_millis(10 * number)));
        }
        let got = held(&site)[2];
        assert!(expected.contains(&got), "slow_start {slow_start:?}: it got {got} of 100");
    }
}

#[test]
fn no_scheduler_lets_it_be_overrun() {
    for lb_algo in [LbAlgo::Wlc, LbAlgo::Lc, LbAlgo::Wrr, LbAlgo::Rr] {
        let now = start();
        let (site, mut sessions) = after_an_outage(lb_algo, SLOW_START, now);
        // Half way its weight is a half, and its share a fifth.
        for number in 0..100 {
            sessions.push(place(&site, now + SLOW_START / 2 + Duration::from_millis(number)));
        }
        let got = held(&site)[2];
        assert!((15..=21).contains(&got), "{lb_algo}: {got} of 100");
    }
}

#[test]
fn with_sh_clients_come_back_one_by_one_and_each_only_once() {
    let now = start();
    let site = site(LbAlgo::Sh, &[1, 1, 1], slow(SLOW_START));
    let clients: Vec<IpAddr> = (0..3000_u32).map(|number| IpAddr::from(Ipv4Addr::from(number))).collect();
    let look = |now| -> Vec<usize> {
        let _ = site.observe(now);
        clients.iter().map(|client| site.place(now, *client, &Tried::default()).unwrap().index()).collect()
    };
    let before = look(now);
    fail(&site, 2, now);
    let without = look(now);
    pass(&site, 2, now);
    let mut last = without;
    let mut shares = Vec::new();
    for tenth in 0..=10 {
        let placed = look(now + SLOW_START * tenth / 10);
        for (was, is) in last.iter().zip(&placed) {
            assert!(was == is || *is == 2, "nobody moves but to the one that is back");
        }
        shares.push(placed.iter().filter(|index| **index == 2).count());
        last = placed;
    }
    assert_eq!(last, before, "in the end everybody is where he was");
    assert!(shares.is_sorted() && shares[0] < 10, "{shares:?}");
    assert!((550..=650).contains(&shares[5]), "half the weight, a fifth of the clients: {shares:?}");
}

#[test]
fn what_comes_into_service_starts_slowly_whatever_kept_it_out() {
    type Change = fn(&VirtualServer, Instant);
    let table: [(&str, Change, Change); 3] = [
        ("down", |site, now| fail(site, 0, now), |site, now| pass(site, 0, now)),
        (
            "drained",
            |site, now| site.real_servers()[0].handle_drain(now, None),
            |site, _| assert!(site.real_servers()[0].handle_undrain()),
        ),
        (
            "weight 0",
            |site, _| site.real_servers()[0].set_weight(0),
            |site, _| site.real_servers()[0].set_weight(1),
        ),
    ];
    for (name, out, back) in table {
        let now = start();
        let site = site(LbAlgo::Wlc, &[1, 1], slow(SLOW_START));
        assert_eq!(site.slow_start_percent(now, &site.real_servers()[0]), None, "all start together");
        out(&site, now);
        let mut sessions: Vec<_> = (0..50).map(|_| place(&site, now)).collect();
        back(&site, now);
        sessions.extend((0..20).map(|_| place(&site, now)));
        assert_eq!(held(&site)[0], 0, "{name}");
        let later = now + SLOW_START / 2;
        assert_eq!(site.slow_start_percent(later, &site.real_servers()[0]), Some(50), "{name}");
    }
}

#[test]
fn a_server_that_is_back_before_anybody_has_looked_starts_slowly_too() {
    let now = start();
    let site = site(LbAlgo::Wlc, &[1, 1], slow(SLOW_START));
    let _ = site.observe(now);
    fail(&site, 0, now);
    pass(&site, 0, now);
    assert_eq!(site.slow_start_percent(now, &site.real_servers()[0]), Some(0));
}

#[test]
fn where_all_come_back_together_all_are_served_at_once() {
    for lb_algo in [LbAlgo::Wlc, LbAlgo::Lc, LbAlgo::Wrr, LbAlgo::Rr, LbAlgo::Sh] {
        let now = start();
        let site = site(lb_algo, &[1, 1, 1], slow(SLOW_START));
        for index in 0..3 {
            fail(&site, index, now);
        }
        assert!(site.place(now, CLIENT, &Tried::default()).is_err());
        for index in 0..3 {
            pass(&site, index, now);
        }
        let _sessions: Vec<_> = (0..90).map(|_| place(&site, now)).collect();
        if lb_algo != LbAlgo::Sh {
            assert_eq!(held(&site), [30, 30, 30], "{lb_algo}");
        }
    }
}

#[test]
fn servers_that_come_back_together_are_not_taken_for_each_others_measure() {
    let now = start();
    let site = site(LbAlgo::Wlc, &[1, 1, 1, 1], slow(SLOW_START));
    fail(&site, 2, now);
    fail(&site, 3, now);
    let mut sessions: Vec<_> = (0..200).map(|_| place(&site, now)).collect();
    pass(&site, 2, now);
    pass(&site, 3, now);
    let _ = site.observe(now);
    sessions.extend((0..100).map(|_| place(&site, now + SLOW_START)));
    // Warm by then, each has a quarter of the new sessions, though both hold the same.
    assert!(held(&site)[2..].iter().all(|held| held.abs_diff(25) <= 1), "{:?}", held(&site));
}

#[test]
fn a_session_that_tries_again_earns_nothing_a_second_time() {
    let now = start();
    let (site, _sessions) = after_an_outage(LbAlgo::Wlc, SLOW_START, now);
    let _ = site.observe(now);
    let later = now + SLOW_START / 2;
    let mut tried = Tried::default();
    tried.insert(0);
    for _ in 0..100 {
        assert_eq!(site.place(later, CLIENT, &tried).unwrap().index(), 1);
    }
}

/// What a simulated site does: who got the sessions of each tenth of `slow_start`, and what was held at its end.
struct Tenth {
    new: [u32; 3],
    held: Vec<u32>,
}

/// Ten sessions come every second and last 40 s; the third server is away for the first 200 s. Without chance.
fn simulate(lb_algo: LbAlgo, slow_start: Duration, tenths: usize) -> Vec<Tenth> {
    const EVERY: Duration = Duration::from_millis(100);
    const LASTING: Duration = Duration::from_secs(40);
    let begin = start();
    let site = site(lb_algo, &[1, 1, 1], slow(slow_start));
    fail(&site, 2, begin);
    // By when they leave.
    let mut sessions: BTreeMap<(Instant, u32), Placement> = BTreeMap::new();
    let back = begin + seconds(200);
    let mut number = 0;
    let mut arrive = |now: Instant| {
        sessions = sessions.split_off(&(now, 0));
        let placement = place(&site, now);
        let index = placement.index();
        // Some last half as long, some half as long again.
        sessions.insert((now + LASTING / 2 + LASTING * (number % 11) / 10, number), placement);
        number += 1;
        index
    };
    let mut now = begin;
    while now < back {
        arrive(now);
        now += EVERY;
    }
    pass(&site, 2, now);
    (0..tenths)
        .map(|tenth| {
            let end = back + SLOW_START * u32::try_from(tenth + 1).unwrap() / 10;
            let mut new = [0; 3];
            while now < end {
                new[arrive(now)] += 1;
                now += EVERY;
            }
            Tenth { new, held: held(&site) }
        })
        .collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]
fn the_share_of_new_sessions_rises_smoothly_until_the_server_has_caught_up() {
    let share = |tenth: &Tenth| f64::from(tenth.new[2]) / f64::from(tenth.new.iter().sum::<u32>());
    let plain = simulate(LbAlgo::Wlc, Duration::ZERO, 30);
    let slow = simulate(LbAlgo::Wlc, SLOW_START, 30);
    let mut table = String::from("of slow_start   plain: new, held         slow start: new, held\n");
    for (number, (plain, slow)) in plain.iter().zip(&slow).enumerate() {
        writeln!(
            table,
            "{:>12} %   {:>5.0} %  {:<14?}  {:>10.0} %  {:?}",
            (number + 1) * 10,
            100.0 * share(plain),
            plain.held,
            100.0 * share(slow),
            slow.held
        )
        .unwrap();
    }
    println!("{table}");
    assert!(share(&plain[0]) > 0.99, "plain least connections gives it everything:\n{table}");
    let mut before = 0.0;
    for (number, tenth) in slow.iter().enumerate() {
        let share = share(tenth);
        // What half of this tenth makes of its weight, beside two whole ones.
        let warmth = (f64::from(u32::try_from(number).unwrap()) + 0.5) / 10.0;
        let most = warmth / (2.0 + warmth);
        assert!(share <= most + 0.03, "{share:.2} where {most:.2} is its share:\n{table}");
        if tenth.held[2] + 1 >= tenth.held[0] {
            // From here on it is one of three.
            assert!(number >= 10, "before it is warm:\n{table}");
            break;
        }
        assert!(share >= most - 0.03, "{share:.2} where {most:.2} is its share:\n{table}");
        assert!(share <= before + 0.06, "a step from {before:.2} to {share:.2}:\n{table}");
        before = share;
    }
    let last = &slow.last().unwrap().held;
    assert!(last.iter().all(|held| held.abs_diff(last[0]) <= 1), "it has caught up:\n{table}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever comes and goes meanwhile: within any run of sessions a server in slow start gets no more than its share
    /// of them and two, and somebody is always served.
    #[test]
    fn a_cold_server_never_gets_more_than_its_share_and_two(
        weights in proptest::collection::vec(1_u32..6, 2..6),
        weighted in any::<bool>(),
        begins in 0_u64..90_000,
        steps in proptest::collection::vec((0_u64..700, any::<Option<proptest::sample::Index>>()), 1..200),
    ) {
        let begin = start();
        let lb_algo = if weighted { LbAlgo::Wlc } else { LbAlgo::Lc };
        let site = site(lb_algo, &weights, slow(SLOW_START));
        fail(&site, 0, begin);
        let mut sessions: Vec<Placement> = (0..40 * weights.len()).map(|_| place(&site, begin)).collect();
        pass(&site, 0, begin);
        let _ = site.observe(begin);
        let mut now = begin + Duration::from_millis(begins);
        let weigh = |weight: u32| if weighted { f64::from(weight) } else { 1.0 };
        let others: f64 = weights[1..].iter().map(|weight| weigh(*weight)).sum();
        let (mut earned, mut got) = (0.0, 0.0);
        for (pause, leaves) in steps {
            now += Duration::from_millis(pause);
            if let Some(leaves) = leaves.filter(|_| !sessions.is_empty()) {
                let _gone = sessions.swap_remove(leaves.index(sessions.len()));
            }
            let warmth = now.saturating_duration_since(begin).as_secs_f64() / SLOW_START.as_secs_f64();
            let is_cold = site.slow_start_percent(now, &site.real_servers()[0]).is_some();
            let placement = place(&site, now);
            if is_cold {
                let grown = weigh(weights[0]) * warmth.max(1.0 / 1024.0);
                earned += grown / (others + grown);
                got += f64::from(u8::from(placement.index() == 0));
                // The one that finds it warm is not held back any more.
                let still_cold = site.slow_start_percent(now, &site.real_servers()[0]).is_some();
                prop_assert!(got <= earned + 2.0 || !still_cold, "{got} of {earned}");
            }
            sessions.push(placement);
        }
    }
}
