use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use proptest::prelude::*;

use super::super::availability::Availability;
use super::super::health::CheckOutcome;
use super::super::real_server::RealServerSpec;
use super::*;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 200));

fn real_server(number: u8, weight: u32, max_connections: Option<u32>) -> Arc<RealServer> {
    Arc::new(RealServer::new(RealServerSpec {
        name: format!("s{number}"),
        address: SocketAddr::from(([10, 0, 0, number], 2811)),
        weight,
        max_connections,
        fall: 1,
        rise: 1,
    }))
}

fn virtual_server(lb_algo: LbAlgo, weights: &[u32]) -> Arc<VirtualServer> {
    let servers = (1..).zip(weights).map(|(number, weight)| real_server(number, *weight, None)).collect();
    site_of(lb_algo, 10_000, servers)
}

fn site_of(lb_algo: LbAlgo, max_sessions: u32, servers: Vec<Arc<RealServer>>) -> Arc<VirtualServer> {
    VirtualServer::new("gridftp".into(), lb_algo, max_sessions, servers, Availability::default())
}

fn place(virtual_server: &Arc<VirtualServer>) -> Placement {
    virtual_server.place(now(), CLIENT, &Tried::default()).unwrap()
}

fn held(virtual_server: &VirtualServer) -> Vec<u32> {
    virtual_server.real_servers().iter().map(|server| server.active()).collect()
}

#[expect(clippy::disallowed_methods, reason = "tests need some instant to start from")]
fn now() -> Instant {
    Instant::now()
}

fn drain(server: &RealServer) {
    server.handle_drain(now(), None);
}

fn fail_check(server: &RealServer) {
    let _ = server.handle_check(now(), CheckOutcome::Failed("refused".into()));
    assert!(!server.is_up());
}

fn pass_check(server: &RealServer) {
    let _ = server.handle_check(now(), CheckOutcome::Passed);
    assert!(server.is_up());
}

#[test]
fn ninety_held_sessions_are_thirty_each() {
    let site = virtual_server(LbAlgo::Wlc, &[1, 1, 1]);
    let sessions: Vec<_> = (0..90).map(|_| place(&site)).collect();
    assert_eq!(held(&site), [30, 30, 30]);
    drop(sessions);
    assert_eq!(held(&site), [0, 0, 0]);
}

#[test]
fn weights_two_one_one_hold_two_one_one() {
    let site = virtual_server(LbAlgo::Wlc, &[2, 1, 1]);
    let _sessions: Vec<_> = (0..40).map(|_| place(&site)).collect();
    assert_eq!(held(&site), [20, 10, 10]);
}

#[test]
fn a_down_server_gets_nothing_new_and_fills_up_when_it_is_back() {
    let site = virtual_server(LbAlgo::Wlc, &[1, 1, 1]);
    let mut sessions: Vec<_> = (0..9).map(|_| place(&site)).collect();
    fail_check(&site.real_servers()[1]);
    sessions.extend((0..6).map(|_| place(&site)));
    assert_eq!(held(&site), [6, 3, 6]);
    pass_check(&site.real_servers()[1]);
    sessions.extend((0..3).map(|_| place(&site)));
    assert_eq!(held(&site), [6, 6, 6]);
}

#[test]
fn drain_and_weight_act_on_the_next_session() {
    let site = virtual_server(LbAlgo::Wlc, &[1, 1]);
    let mut sessions: Vec<_> = (0..4).map(|_| place(&site)).collect();
    drain(&site.real_servers()[0]);
    sessions.extend((0..4).map(|_| place(&site)));
    assert_eq!(held(&site), [2, 6]);
    assert!(site.real_servers()[0].handle_undrain());
    site.real_servers()[1].set_weight(0);
    sessions.extend((0..8).map(|_| place(&site)));
    assert_eq!(held(&site), [10, 6]);
    site.real_servers()[1].set_weight(2);
    sessions.extend((0..14).map(|_| place(&site)));
    assert_eq!(held(&site), [10, 20]);
}

#[test]
fn a_session_tries_each_server_once() {
    for lb_algo in [LbAlgo::Wlc, LbAlgo::Lc, LbAlgo::Wrr, LbAlgo::Rr, LbAlgo::Sh] {
        let site = virtual_server(lb_algo, &[1; 70]);
        let mut tried = Tried::default();
        while let Ok(placement) = site.place(now(), CLIENT, &tried) {
            assert!(!tried.contains(placement.index()), "{lb_algo}");
            tried.insert(placement.index());
        }
        assert_eq!(tried.len(), 70, "{lb_algo}");
        assert_eq!(site.place(now(), CLIENT, &tried).unwrap_err(), NoServer::AllTried, "{lb_algo}");
        assert_eq!(held(&site), [0; 70], "{lb_algo}");
    }
}

#[test]
fn the_error_names_what_is_nearest_to_mending() {
    #[derive(Clone, Copy)]
    enum Is {
        Weightless,
        Drained,
        Down,
        Full,
        Tried,
    }
    #[rustfmt::skip]
    let table: &[(&[Is], NoServer)] = &[
        (&[],                              NoServer::AllDrained),
        (&[Is::Weightless, Is::Drained],   NoServer::AllDrained),
        (&[Is::Down, Is::Down],            NoServer::AllDown),
        (&[Is::Drained, Is::Down],         NoServer::AllDown),
        (&[Is::Full, Is::Full],            NoServer::AllFull),
        (&[Is::Full, Is::Down],            NoServer::AllFull),
        (&[Is::Tried, Is::Tried],          NoServer::AllTried),
        (&[Is::Full, Is::Tried, Is::Down], NoServer::AllTried),
    ];
    for (row, (servers, expected)) in table.iter().enumerate() {
        let mut tried = Tried::default();
        let real_servers = servers.iter().enumerate().map(|(index, is)| {
            let server = real_server(
                u8::try_from(index).unwrap(),
                u32::from(!matches!(is, Is::Weightless)),
                matches!(is, Is::Full).then_some(0),
            );
            match is {
                Is::Drained => drain(&server),
                Is::Down => fail_check(&server),
                Is::Tried => tried.insert(index),
                Is::Weightless | Is::Full => {}
            }
            server
        });
        let site = site_of(LbAlgo::Wlc, 1, real_servers.collect());
        assert_eq!(site.place(now(), CLIENT, &tried).unwrap_err(), *expected, "row {row}");
    }
}

#[test]
fn every_error_says_how_to_mend_it() {
    for error in [NoServer::AllDrained, NoServer::AllDown, NoServer::AllFull, NoServer::AllTried] {
        assert!(error.to_string().contains("; "), "{error}");
    }
    let site = site_of(LbAlgo::Wlc, 1, Vec::new());
    let _inside = site.admit().unwrap();
    let refused = site.admit().unwrap_err();
    assert!(refused.to_string().starts_with("max_sessions = 1 sessions are inside; "), "{refused}");
}

#[test]
fn admission_ends_with_its_guard() {
    let site = site_of(LbAlgo::Wlc, 2, Vec::new());
    let first = site.admit().unwrap();
    let _second = site.admit().unwrap();
    assert_eq!(site.admit().unwrap_err(), Refused { max_sessions: 2 });
    drop(first);
    assert_eq!(site.active(), 1);
    let _third = site.admit().unwrap();
    assert_eq!(site.active(), 2);
}

#[test]
fn a_panic_gives_the_counts_back() {
    let site = virtual_server(LbAlgo::Wlc, &[1]);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _admission = site.admit().unwrap();
        let _placement = place(&site);
        assert_eq!((site.active(), held(&site)), (1, vec![1]));
        std::panic::resume_unwind(Box::new("a session died"));
    }));
    assert!(panicked.is_err());
    assert_eq!((site.active(), held(&site)), (0, vec![0]));
}

#[test]
fn a_panic_inside_the_lock_does_not_stop_the_next_session() {
    let site = virtual_server(LbAlgo::Wlc, &[1]);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _guard = site.scheduler.lock();
        std::panic::resume_unwind(Box::new("died with the lock"));
    }));
    assert!(panicked.is_err() && site.scheduler.is_poisoned());
    let _placement = place(&site);
    assert_eq!(held(&site), [1]);
}

#[test]
fn guards_are_small() {
    assert_eq!(size_of::<Admission>(), 8);
    assert_eq!(size_of::<Option<Placement>>(), 16);
    assert_eq!(size_of::<Tried>(), 24);
}

/// Threads that place and drop as fast as they can; some counts are looked at from outside all the while.
fn race(sites: &[Arc<VirtualServer>], look: impl Fn() + Sync) {
    const THREADS: usize = 8;
    const SESSIONS: usize = 2_000;
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let site = &sites[number % sites.len()];
            let (start, look) = (&start, &look);
            scope.spawn(move || {
                let mut sessions = Vec::new();
                start.wait();
                for round in 0..SESSIONS {
                    let admission = site.admit();
                    if let (Ok(admission), Ok(placement)) =
                        (admission, site.place(now(), CLIENT, &Tried::default()))
                    {
                        sessions.push((admission, placement));
                    }
                    look();
                    if round % 3 == 0 {
                        sessions.pop();
                    }
                    if round % 64 == 0 {
                        sessions.clear();
                    }
                }
            });
        }
    });
}

#[test]
fn limits_hold_while_threads_race() {
    let servers = vec![real_server(1, 1, Some(3)), real_server(2, 2, Some(5)), real_server(3, 1, Some(1))];
    let site = site_of(LbAlgo::Wlc, 7, servers);
    race(std::slice::from_ref(&site), || {
        for server in site.real_servers() {
            assert!(server.active() <= server.max_connections().unwrap());
        }
        assert!(site.active() <= 7);
    });
    assert_eq!((site.active(), held(&site)), (0, vec![0, 0, 0]));
}

#[test]
fn limits_hold_where_two_virtual_servers_share_a_real_server() {
    let servers = vec![real_server(1, 1, Some(3)), real_server(2, 1, Some(2))];
    let sites = [(); 2].map(|()| site_of(LbAlgo::Wlc, 10_000, servers.clone()));
    race(&sites, || {
        for server in &servers {
            assert!(server.active() <= server.max_connections().unwrap());
        }
    });
    assert_eq!(held(&sites[0]), [0, 0]);
}

#[test]
fn a_server_that_has_filled_up_since_the_look_is_not_held() {
    let server = real_server(1, 1, Some(2));
    assert_eq!([server.hold(), server.hold(), server.hold()], [true, true, false]);
    server.release();
    assert_eq!([server.hold(), server.hold()], [true, false]);
    assert_eq!(server.active(), 2);
}

#[test]
fn equal_servers_hold_the_same_to_one_however_many_threads_place() {
    let site = virtual_server(LbAlgo::Wlc, &[1, 1, 1]);
    let kept = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mine: Vec<_> = (0..250).map(|_| place(&site)).collect();
                kept.lock().unwrap().extend(mine);
            });
        }
    });
    let held = held(&site);
    assert_eq!(held.iter().sum::<u32>(), 1_000);
    assert!(held.iter().all(|held| (333..=334).contains(held)), "{held:?}");
}

#[derive(Clone, Debug)]
enum Step {
    Arrive,
    Depart(proptest::sample::Index),
    Flip(proptest::sample::Index),
    Weigh(proptest::sample::Index, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Arrive),
        3 => any::<proptest::sample::Index>().prop_map(Step::Depart),
        1 => any::<proptest::sample::Index>().prop_map(Step::Flip),
        1 => (any::<proptest::sample::Index>(), 0_u32..5).prop_map(|(index, weight)| Step::Weigh(index, weight)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Departures are the clients' choice, so no bound on the spread can hold; this does.
    #[test]
    fn each_session_goes_to_a_least_loaded_server_while_sessions_come_and_go(
        servers in proptest::collection::vec((0_u32..5, proptest::option::of(0_u32..20)), 1..=6),
        steps in proptest::collection::vec(step(), 1..300),
    ) {
        let servers: Vec<_> = (1..).zip(&servers).map(|(number, (weight, max))| real_server(number, *weight, *max)).collect();
        let site = site_of(LbAlgo::Wlc, 10_000, servers);
        let servers = site.real_servers();
        let mut sessions: Vec<Placement> = Vec::new();
        for step in steps {
            match step {
                Step::Arrive => {
                    let fit = |server: &RealServer| {
                        let full = server.max_connections().is_some_and(|max| server.active() >= max);
                        server.weight() > 0 && !server.is_drained() && server.is_up() && !full
                    };
                    let fit: Vec<(u32, u32)> = servers.iter().filter(|server| fit(server)).map(|server| (server.weight(), server.active())).collect();
                    match site.place(now(), CLIENT, &Tried::default()) {
                        Ok(placement) => {
                            let chosen = placement.real_server();
                            let (weight, active) = (chosen.weight(), chosen.active() - 1);
                            prop_assert!(fit.contains(&(weight, active)), "it was fit");
                            for (other_weight, other_active) in fit {
                                prop_assert!(active * other_weight <= other_active * weight, "somebody had less");
                            }
                            sessions.push(placement);
                        }
                        Err(_) => prop_assert!(fit.is_empty()),
                    }
                }
                Step::Depart(which) if !sessions.is_empty() => drop(sessions.swap_remove(which.index(sessions.len()))),
                Step::Depart(_) => {}
                Step::Flip(which) => {
                    let server = &servers[which.index(servers.len())];
                    if server.is_up() { fail_check(server) } else { pass_check(server) }
                }
                Step::Weigh(which, weight) => servers[which.index(servers.len())].set_weight(weight),
            }
            for (index, server) in servers.iter().enumerate() {
                let counted = sessions.iter().filter(|session| session.index() == index).count();
                prop_assert_eq!(u32::try_from(counted).unwrap(), server.active(), "no count is lost");
            }
        }
    }
}

#[test]
fn a_home_takes_its_sessions_while_it_can_and_keeps_them_while_it_is_only_full() {
    let site = site_of(
        LbAlgo::Wlc,
        100,
        vec![real_server(1, 1, Some(2)), real_server(2, 1, None), real_server(3, 1, None)],
    );
    let home = &site.real_servers()[0];
    let none = Tried::default();
    let mut tried = Tried::default();
    tried.insert(0);
    let at_home = [0; 2].map(|_| site.place_at(home, &none).unwrap());
    assert_eq!(at_home.iter().map(Placement::index).collect::<Vec<_>>(), [0, 0]);
    assert_eq!(held(&site), [2, 0, 0], "counted as any other");
    assert!(site.place_at(home, &none).is_none() && site.keeps(home, &none), "full");
    drop(at_home);
    assert!(site.place_at(home, &tried).is_none() && !site.keeps(home, &tried), "tried in vain");
    drain(home);
    assert!(site.place_at(home, &none).is_none() && !site.keeps(home, &none), "drained");
    home.handle_undrain();
    fail_check(home);
    assert!(site.place_at(home, &none).is_none() && !site.keeps(home, &none), "down");
    pass_check(home);
    assert!(site.place_at(home, &none).is_some());
    let stranger = real_server(1, 1, None);
    assert!(site.place_at(&stranger, &none).is_none(), "of no configuration any more");
}
