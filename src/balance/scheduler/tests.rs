use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 200));

fn addresses(servers: usize) -> Vec<SocketAddr> {
    (0..servers).map(|index| SocketAddr::from(([10, 0, 0, u8::try_from(index).unwrap()], 2811))).collect()
}

/// A site in a table: weight and sessions held of each server, `None` where it is not fit.
type Site = [Option<(u32, u32)>];

fn choose(scheduler: &mut Scheduler, site: &Site) -> Option<usize> {
    let load = |index: usize| site[index].map(|(weight, active)| Load { weight, active });
    scheduler.choose(CLIENT, Try::First, load, |_| None)
}

/// Places `sessions` that stay; returns who got them.
fn fill(scheduler: &mut Scheduler, site: &mut Site, sessions: u32) -> Vec<usize> {
    (0..sessions)
        .map(|_| {
            let chosen = choose(scheduler, site).unwrap();
            site[chosen].as_mut().unwrap().1 += 1;
            chosen
        })
        .collect()
}

fn held(site: &Site) -> Vec<u32> {
    site.iter().map(|server| server.map_or(0, |(_, active)| active)).collect()
}

const ALL: [LbAlgo; 5] = [LbAlgo::Wlc, LbAlgo::Lc, LbAlgo::Wrr, LbAlgo::Rr, LbAlgo::Sh];

#[test]
fn words_of_keepalived_go_both_ways() {
    for algo in ALL {
        assert_eq!(algo.to_string().parse::<LbAlgo>().unwrap(), algo);
    }
    assert_eq!(LbAlgo::default(), LbAlgo::Wlc);
    let refused = "WLC".parse::<LbAlgo>().unwrap_err();
    assert_eq!(refused.to_string(), "`WLC` is not one of wlc, lc, wrr, rr, sh");
}

#[test]
fn the_first_choice_follows_the_table() {
    use LbAlgo::{Lc, Rr, Wlc, Wrr};
    const MAX: u32 = u32::MAX;
    #[rustfmt::skip]
    let table: &[(&str, LbAlgo, &Site, Option<usize>)] = &[
        ("nobody is fit",                         Wlc, &[None, None],                             None),
        ("there is nobody",                       Wlc, &[],                                       None),
        ("one is fit",                            Wlc, &[None, Some((1, 900)), None],             Some(1)),
        ("the least loaded",                      Wlc, &[Some((1, 3)), Some((1, 2)), Some((1, 4))], Some(1)),
        ("least by weight: 3/2 before 2/1",       Wlc, &[Some((1, 2)), Some((2, 3))],             Some(1)),
        ("least by weight: 1/1 before 3/2",       Wlc, &[Some((1, 1)), Some((2, 3))],             Some(0)),
        ("ties go to the higher weight",          Wlc, &[Some((1, 1)), Some((3, 3)), Some((2, 2))], Some(1)),
        ("empty ones tie, too",                   Wlc, &[Some((1, 0)), Some((2, 0))],             Some(1)),
        ("no product overflows",                  Wlc, &[Some((MAX, MAX)), Some((MAX, MAX - 1))], Some(1)),
        ("thirds are exact",                      Wlc, &[Some((3, 1_000_000_000)), Some((6, 1_999_999_999))], Some(1)),
        ("lc does not look at weights",           Lc,  &[Some((9, 2)), Some((1, 1))],             Some(1)),
        ("lc ties go to the first, too",          Lc,  &[Some((1, 1)), Some((9, 1))],             Some(0)),
        ("rr does not look at the load",          Rr,  &[Some((1, 900)), Some((1, 0))],           Some(0)),
        ("rr passes over who is not fit",         Rr,  &[None, None, Some((1, 0))],               Some(2)),
        ("wrr begins with the highest weight",    Wrr, &[Some((1, 0)), Some((5, 900))],           Some(1)),
        ("wrr passes over who is not fit",        Wrr, &[Some((1, 0)), None],                     Some(0)),
    ];
    for &(name, algo, site, expected) in table {
        let mut scheduler = Scheduler::new(algo, &addresses(site.len()));
        assert_eq!(choose(&mut scheduler, site), expected, "{name}");
    }
}

#[test]
fn sequences_follow_the_table() {
    use LbAlgo::{Lc, Rr, Wlc, Wrr};
    #[rustfmt::skip]
    let table: &[(&str, LbAlgo, &[u32], &[usize])] = &[
        ("equal servers take turns",            Wlc, &[1, 1, 1], &[0, 1, 2, 0, 1, 2]),
        ("2:1:1 from the first four on",        Wlc, &[2, 1, 1], &[0, 1, 2, 0, 0, 1, 2, 0]),
        ("lc does not look at weights",         Lc,  &[2, 1, 1], &[0, 1, 2, 0, 1, 2]),
        ("rr goes round",                       Rr,  &[5, 1, 1], &[0, 1, 2, 0, 1, 2]),
        ("wrr interleaves, as nginx has it",    Wrr, &[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0, 0, 0, 1]),
        ("wrr of equals goes round",            Wrr, &[7, 7, 7], &[0, 1, 2, 0, 1, 2]),
    ];
    for &(name, algo, weights, expected) in table {
        let mut site: Vec<_> = weights.iter().map(|weight| Some((*weight, 0))).collect();
        let mut scheduler = Scheduler::new(algo, &addresses(site.len()));
        assert_eq!(
            fill(&mut scheduler, &mut site, u32::try_from(expected.len()).unwrap()),
            expected,
            "{name}"
        );
    }
}

#[test]
fn short_sessions_go_round_idle_servers() {
    for algo in [LbAlgo::Wlc, LbAlgo::Lc] {
        let site = [Some((1, 0)); 3];
        let mut scheduler = Scheduler::new(algo, &addresses(3));
        let chosen: Vec<_> = (0..6).filter_map(|_| choose(&mut scheduler, &site)).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1, 2], "{algo}");
    }
}

#[test]
fn rr_goes_on_behind_the_one_that_was_not_fit() {
    let mut scheduler = Scheduler::new(LbAlgo::Rr, &addresses(3));
    let all = [Some((1, 0)); 3];
    let without_second = [Some((1, 0)), None, Some((1, 0))];
    let sites: [&Site; 5] = [&all, &without_second, &all, &all, &all];
    assert_eq!(sites.map(|site| choose(&mut scheduler, site).unwrap()), [0, 2, 0, 1, 2]);
}

#[test]
fn wrr_forgets_old_weights_and_servers_within_two_rounds() {
    let history = [Some((65_535, 0)), Some((1, 0)), Some((1, 0))];
    #[rustfmt::skip]
    let table: &[(&str, &Site, &[u32])] = &[
        ("the heavy one has left",     &[None, Some((1, 0)), Some((1, 0))],          &[0, 50, 50]),
        ("the heavy one weighs as 1",  &[Some((1, 0)), Some((1, 0)), Some((2, 0))],  &[25, 25, 50]),
    ];
    for before in [10_000, 33_000, 40_000, 65_537] {
        for &(name, site, expected) in table {
            let mut scheduler = Scheduler::new(LbAlgo::Wrr, &addresses(3));
            fill(&mut scheduler, &mut history.clone(), before);
            let mut site = site.to_vec();
            fill(&mut scheduler, &mut site, 100);
            let held = held(&site);
            let near = held.iter().zip(expected).all(|(held, expected)| held.abs_diff(*expected) <= 2);
            assert!(near, "{name}, after {before}: {held:?}");
        }
    }
}

/// A site of one to eight servers: weight, load, and whether it is fit.
fn site() -> impl Strategy<Value = Vec<Option<(u32, u32)>>> {
    proptest::collection::vec(proptest::option::weighted(0.8, (1_u32..=100, 0_u32..50)), 1..=8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whoever_is_chosen_is_fit_and_somebody_is_while_one_is(sites in site(), rounds in 1_usize..20) {
        for algo in ALL {
            let mut scheduler = Scheduler::new(algo, &addresses(sites.len()));
            for _ in 0..rounds {
                let chosen = choose(&mut scheduler, &sites);
                prop_assert_eq!(chosen.is_some(), sites.iter().any(Option::is_some), "{}", algo);
                prop_assert!(chosen.is_none_or(|index| sites[index].is_some()), "{}", algo);
            }
        }
    }

    #[test]
    fn equal_servers_hold_the_same_to_one_under_arrivals(servers in 1_usize..12, sessions in 0_u32..400) {
        for algo in [LbAlgo::Wlc, LbAlgo::Lc, LbAlgo::Wrr, LbAlgo::Rr] {
            let mut site = vec![Some((4, 0)); servers];
            fill(&mut Scheduler::new(algo, &addresses(servers)), &mut site, sessions);
            let held = held(&site);
            prop_assert!(held.iter().max().unwrap() - held.iter().min().unwrap() <= 1, "{}: {:?}", algo, held);
        }
    }

    #[test]
    fn whole_rounds_divide_exactly_by_weight(weights in proptest::collection::vec(1_u32..=40, 1..=8), rounds in 1_u32..5) {
        for algo in [LbAlgo::Wlc, LbAlgo::Wrr] {
            let mut site: Vec<_> = weights.iter().map(|weight| Some((*weight, 0))).collect();
            let sessions = rounds * weights.iter().sum::<u32>();
            fill(&mut Scheduler::new(algo, &addresses(weights.len())), &mut site, sessions);
            let exact: Vec<_> = weights.iter().map(|weight| weight * rounds).collect();
            prop_assert_eq!(held(&site), exact, "{}", algo);
        }
    }

    #[test]
    fn wlc_goes_to_nobody_more_loaded_than_another(sites in site()) {
        let mut scheduler = Scheduler::new(LbAlgo::Wlc, &addresses(sites.len()));
        if let Some(chosen) = choose(&mut scheduler, &sites) {
            let (weight, active) = sites[chosen].unwrap();
            for (other_weight, other_active) in sites.iter().flatten() {
                prop_assert!(active * other_weight <= other_active * weight, "{sites:?}: {chosen}");
            }
        }
    }

    #[test]
    fn wrr_shares_by_weight_whatever_came_before(
        weights in proptest::collection::vec(1_u32..=100, 2..=6),
        absences in proptest::collection::vec((0_usize..6, 0_usize..6), 0..200),
    ) {
        let mut scheduler = Scheduler::new(LbAlgo::Wrr, &addresses(weights.len()));
        let all: Vec<_> = weights.iter().map(|weight| Some((*weight, 0))).collect();
        for (one, other) in absences {
            let mut fit = all.clone();
            fit.iter_mut().enumerate().for_each(|(index, server)| if index == one || index == other { *server = None });
            choose(&mut scheduler, &fit);
        }
        let mut site = all;
        fill(&mut scheduler, &mut site, 10 * weights.iter().sum::<u32>());
        for (held, weight) in held(&site).iter().zip(&weights) {
            prop_assert!(held.abs_diff(10 * weight) <= 2, "{site:?}");
        }
    }
}
