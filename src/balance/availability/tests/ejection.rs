use super::*;

fn policy(max_ejected: u32) -> EjectionPolicy {
    EjectionPolicy { failed_transfers: 3, failed_logins: 3, max_ejected, ..EjectionPolicy::default() }
}

fn ejecting(max_ejected: u32) -> Availability {
    Availability { ejection: Some(policy(max_ejected)), ..Availability::default() }
}

fn client(number: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, number])
}

/// Transfers of three clients fail on a server, while those of others work on all others.
fn break_down(site: &VirtualServer, index: usize, now: Instant) -> Option<Ejected> {
    let servers = site.real_servers();
    let mut ejected = None;
    for number in 1..=3 {
        let told = site.handle_failure(now, &servers[index], client(number), Deed::Transfer, "reply 500");
        assert!(ejected.is_none() || told.is_none(), "told once");
        ejected = ejected.or(told);
        for (other, server) in servers.iter().enumerate() {
            if other != index {
                site.handle_success(server, Deed::Transfer);
                site.handle_success(server, Deed::Transfer);
            }
        }
    }
    ejected
}

fn ejected(site: &VirtualServer) -> Vec<bool> {
    site.real_servers().iter().map(|server| server.ejection().is_some()).collect()
}

#[test]
fn a_server_whose_transfers_fail_gets_no_sessions_for_a_while_whatever_its_checks_say() {
    let now = start();
    let site = site(LbAlgo::Wlc, &[1, 1, 1], ejecting(50));
    let told = break_down(&site, 1, now).expect("it is ejected");
    assert_eq!(
        told.reason,
        "3 transfers failed in a row, the last with reply 500, while 8 worked at other servers"
    );
    assert_eq!(site.real_servers()[1].ejection().as_ref(), Some(&told));
    let mut sessions: Vec<_> = (0..10).map(|_| place(&site, now)).collect();
    assert_eq!(held(&site), [5, 0, 5]);
    for check in 0..29 {
        let now = now + seconds(check);
        pass(&site, 1, now);
        sessions.push(place(&site, now));
    }
    assert_eq!(held(&site)[1], 0, "a check that passes says nothing about transfers");
    let changes = site.observe(told.until);
    assert!(
        matches!(&changes[..], [AvailabilityChange::Returned(server)] if server.name() == "s2"),
        "{changes:?}"
    );
    assert_eq!(place(&site, told.until).index(), 1);
    assert_eq!(break_down(&site, 1, told.until).expect("again").time, 2 * told.time);
}

#[test]
fn after_an_ejection_a_server_starts_slowly() {
    let now = start();
    let site = site(LbAlgo::Wlc, &[1, 1], Availability { slow_start: seconds(60), ..ejecting(50) });
    let told = break_down(&site, 0, now).unwrap();
    let mut sessions: Vec<_> = (0..40).map(|_| place(&site, now)).collect();
    sessions.extend((0..20).map(|_| place(&site, told.until)));
    assert_eq!(held(&site), [0, 60]);
    assert_eq!(site.slow_start_percent(told.until + seconds(30), &site.real_servers()[0]), Some(50));
}

#[test]
fn no_more_than_the_bound_are_ejected_and_never_the_last() {
    #[rustfmt::skip]
    let table: &[(usize, u32, usize)] = &[
        // Servers, percent, and how many are ejected when one after the other breaks down.
        (1, 100, 0), (2, 100, 1), (3, 100, 2), (16, 100, 15),
        (2, 50, 1), (3, 50, 1), (4, 50, 2), (5, 50, 2), (16, 50, 8),
        (2, 1, 1), (3, 10, 1), (16, 10, 1), (16, 25, 4), (3, 67, 2),
    ];
    for &(servers, max_ejected, expected) in table {
        let now = start();
        let site = site(LbAlgo::Wlc, &vec![1; servers], ejecting(max_ejected));
        for index in 0..servers {
            let _ = break_down(&site, index, now);
        }
        let ejected = ejected(&site).into_iter().filter(|ejected| *ejected).count();
        assert_eq!(ejected, expected, "{servers} servers, {max_ejected} %");
        let _somebody = place(&site, now);
    }
}

#[test]
fn servers_that_are_away_are_none_that_others_can_be_spared_for() {
    let now = start();
    let site = site(LbAlgo::Wlc, &[1, 1, 1], ejecting(100));
    fail(&site, 1, now);
    site.real_servers()[2].handle_drain(now, None);
    assert_eq!(break_down(&site, 0, now), None);
    site.real_servers()[2].handle_undrain();
    assert!(break_down(&site, 0, now).is_some());
}

#[test]
fn an_ejected_server_is_better_than_none_but_not_than_one_that_is_full() {
    let now = start();
    let servers = vec![Arc::new(real_server(1, 1, None)), Arc::new(real_server(2, 1, Some(1)))];
    let site = site_of(LbAlgo::Wlc, servers, ejecting(50));
    assert!(break_down(&site, 0, now).is_some());
    let only = place(&site, now);
    assert_eq!(only.index(), 1);
    assert_eq!(site.place(now, CLIENT, &Tried::default()).unwrap_err(), NoServer::AllFull);
    let mut tried = Tried::default();
    tried.insert(1);
    assert_eq!(site.place(now, CLIENT, &tried).unwrap().index(), 0, "rather than no server at all");
    fail(&site, 1, now);
    assert!(site.observe(now).is_empty(), "the quorum is there");
    assert_eq!(place(&site, now).index(), 0);
}

#[test]
fn what_fails_everywhere_ejects_nobody() {
    let now = start();
    let site = site(LbAlgo::Wlc, &[1, 1, 1], ejecting(100));
    // Somebody guesses passwords, from many addresses, and is sent round; now and then a user logs in.
    for attempt in 0..300_u32 {
        let server = &site.real_servers()[usize::try_from(attempt % 3).unwrap()];
        let guesser = client(u8::try_from(attempt % 50).unwrap());
        assert_eq!(site.handle_failure(now, server, guesser, Deed::Login, "a refused login"), None);
        if attempt % 10 == 0 {
            site.handle_success(server, Deed::Login);
        }
    }
    // The shared file system is away.
    for attempt in 0..100 {
        for server in site.real_servers() {
            assert_eq!(site.handle_failure(now, server, client(attempt), Deed::Transfer, "reply 451"), None);
        }
    }
    assert_eq!(ejected(&site), [false; 3]);
}

#[test]
fn what_one_client_fails_with_again_and_again_ejects_no_server_of_two() {
    let now = start();
    for lb_algo in [LbAlgo::Wlc, LbAlgo::Rr, LbAlgo::Sh] {
        let site = site(lb_algo, &[1, 1], ejecting(50));
        // What it looks for is missing wherever it looks, while the others have their sessions at the second server.
        for _ in 0..20 {
            for server in site.real_servers() {
                assert_eq!(site.handle_failure(now, server, CLIENT, Deed::Transfer, "reply 500"), None);
                (0..5).for_each(|_| site.handle_success(&site.real_servers()[1], Deed::Transfer));
            }
        }
        assert_eq!(ejected(&site), [false; 2], "{lb_algo:?}");
    }
}

#[test]
fn without_its_table_nothing_is_remembered_and_strangers_are_nobodys_peers() {
    let now = start();
    let site_without = site(LbAlgo::Wlc, &[1, 1], Availability::default());
    assert_eq!(break_down(&site_without, 0, now), None);
    assert!(!site_without.real_servers()[0].standing.is_suspect());
    let site = site(LbAlgo::Wlc, &[1, 1], ejecting(50));
    let stranger = real_server(9, 1, None);
    for number in 0..9 {
        assert_eq!(site.handle_failure(now, &stranger, client(number), Deed::Login, "a refused login"), None);
        site.handle_success(&site.real_servers()[0], Deed::Login);
    }
}

#[test]
fn threads_that_race_eject_no_more_than_the_bound() {
    let now = start();
    let site = site(LbAlgo::Wlc, &[1; 8], ejecting(25));
    std::thread::scope(|scope| {
        for index in 0..8 {
            let site = &site;
            scope.spawn(move || {
                for number in 0..200 {
                    let server = &site.real_servers()[index];
                    let _ = site.handle_failure(now, server, client(number), Deed::Transfer, "reply 451");
                    site.handle_success(&site.real_servers()[(index + 1) % 8], Deed::Login);
                    site.handle_success(&site.real_servers()[(index + 1) % 8], Deed::Transfer);
                }
            });
        }
    });
    assert!(ejected(&site).into_iter().filter(|ejected| *ejected).count() <= 2);
}

/// A number below `below`, the same in every run (SplitMix64).
fn draw(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut x = *state;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)) % below
}

/// What a simulated site comes to.
#[derive(Debug, Default, Eq, PartialEq)]
struct Course {
    /// Ejections of servers that are well.
    wrong: u32,
    /// Ejections of broken ones.
    right: u32,
    /// Sessions that a broken server has failed.
    failed: u32,
}

/// Sessions of fifty clients, a few at once, each with one transfer; of a hundred so many fail by their clients' fault, and
/// on a broken server all. It ends when every broken server is ejected.
fn simulate(servers: usize, sessions: u32, failing_percent: u64, broken: &[usize]) -> Course {
    let start = start();
    let policy = EjectionPolicy { time: seconds(60), ..EjectionPolicy::default() };
    let availability = Availability { ejection: Some(policy), ..Availability::default() };
    let site = site(LbAlgo::Wlc, &vec![1; servers], availability);
    let (mut random, mut held, mut course) = (1, Vec::new(), Course::default());
    for number in 0..sessions {
        let now = start + Duration::from_millis(20 * u64::from(number));
        let placement = place(&site, now);
        let (server, index) = (Arc::clone(placement.real_server()), placement.index());
        let client = client(u8::try_from(draw(&mut random, 50)).unwrap());
        let is_broken = broken.contains(&index);
        if is_broken || draw(&mut random, 100) < failing_percent {
            course.failed += u32::from(is_broken);
            if site.handle_failure(now, &server, client, Deed::Transfer, "reply 500").is_some() {
                course.right += u32::from(is_broken);
                course.wrong += u32::from(!is_broken);
            }
        } else {
            site.handle_success(&server, Deed::Transfer);
            // What fails is over at once: least connections sends the next one there.
            held.push(placement);
        }
        if held.len() > 5 * servers {
            drop(held.swap_remove(usize::try_from(draw(&mut random, 20)).unwrap() % held.len()));
        }
        if !broken.is_empty() && broken.iter().all(|index| site.real_servers()[*index].ejection().is_some()) {
            break;
        }
    }
    course
}

#[test]
fn clients_that_fail_by_themselves_eject_nobody() {
    for failing_percent in [0, 1, 5] {
        for servers in [2, 3, 16] {
            let course = simulate(servers, 20_000, failing_percent, &[]);
            assert_eq!(course.wrong, 0, "{failing_percent} % fail by themselves, {servers} servers");
        }
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]
fn broken_servers_are_found_soon_though_they_draw_all_sessions() {
    for failing_percent in [0, 5, 10] {
        for (servers, broken) in [(2, &[1][..]), (3, &[0]), (16, &[7]), (16, &[0, 15]), (16, &[3, 4, 5])] {
            let course = simulate(servers, 5000, failing_percent, broken);
            println!(
                "{failing_percent} % fail by themselves, {broken:?} of {servers} are broken: {course:?}"
            );
            let count = u32::try_from(broken.len()).unwrap();
            assert_eq!((course.wrong, course.right), (0, count), "{servers} servers, {broken:?}: {course:?}");
            assert!(course.failed <= 12 * count, "{servers} servers, {broken:?}: {course:?}");
        }
    }
}

#[test]
fn what_is_broken_everywhere_ejects_nobody() {
    for servers in [2, 3, 16] {
        let course = simulate(servers, 5000, 100, &[]);
        assert_eq!(course.wrong, 0, "{servers} servers");
        let course = simulate(servers, 5000, 60, &[]);
        assert!(course.wrong <= 2, "{servers} servers, most of what they do fails: {course:?}");
    }
}
