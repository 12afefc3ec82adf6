use super::*;

fn quorum(quorum: u32, hysteresis: u32) -> Availability {
    Availability { quorum: Quorum { quorum, hysteresis }, ..Availability::default() }
}

fn change(site: &VirtualServer, now: Instant) -> Option<(bool, u64)> {
    let changes = site.observe(now);
    assert!(changes.len() <= 1, "{changes:?}");
    match changes.into_iter().next()? {
        AvailabilityChange::QuorumGained { weight } => Some((true, weight)),
        AvailabilityChange::QuorumLost { weight } => Some((false, weight)),
        AvailabilityChange::Returned(server) => panic!("{server:?} was not away"),
    }
}

#[test]
fn quorum_is_lost_and_gained_by_weight_as_in_keepalived() {
    /// Which server fails (-) or passes (+), counted from 1, and what comes of it.
    type Step = (i8, Option<(bool, u64)>);
    /// What it shows, weights, quorum with hysteresis, steps.
    type Row = (&'static str, &'static [u32], (u32, u32), &'static [Step]);
    #[rustfmt::skip]
    let table: &[Row] = &[
        ("the last one counts",       &[1, 1],    (1, 0), &[(-1, None), (-2, Some((false, 0))), (2, Some((true, 1)))]),
        ("two of three",              &[1, 1, 1], (2, 0), &[(-1, None), (-2, Some((false, 1))), (2, Some((true, 2)))]),
        ("weights, not servers",      &[3, 1, 1], (3, 0), &[(-2, None), (-3, None), (-1, Some((false, 0))), (2, None), (3, None), (1, Some((true, 5)))]),
        ("hysteresis both ways",      &[1, 1, 1, 1], (2, 1), &[(-1, None), (-2, None), (-3, None), (-4, Some((false, 0))), (1, None), (2, None), (3, Some((true, 3)))]),
        ("hysteresis holds it",       &[2, 2, 2], (4, 2), &[(-1, None), (-2, None), (-3, Some((false, 0))), (1, None), (2, None), (3, Some((true, 6)))]),
        ("one in between is no step", &[1, 1, 1], (2, 1), &[(-1, None), (-2, None), (2, None), (-3, None), (1, None)]),
    ];
    for (name, weights, (needed, hysteresis), steps) in table {
        let now = start();
        let site = site(LbAlgo::Wlc, weights, quorum(*needed, *hysteresis));
        assert_eq!(change(&site, now), None, "{name}: there from the start");
        for (number, (server, expected)) in steps.iter().enumerate() {
            let index = usize::from(server.unsigned_abs()) - 1;
            if *server < 0 {
                fail(&site, index, now);
            } else {
                pass(&site, index, now);
            }
            assert_eq!(change(&site, now), *expected, "{name}, step {number}");
            assert_eq!(change(&site, now), None, "{name}, step {number}: told once");
        }
    }
}

#[test]
fn drained_servers_and_those_of_weight_0_do_not_count_and_full_and_ejected_ones_do() {
    let now = start();
    let site = site(LbAlgo::Wlc, &[1, 1, 1], quorum(2, 0));
    assert_eq!(site.weight_up(), 3);
    site.real_servers()[0].handle_drain(now, None);
    assert_eq!((site.weight_up(), change(&site, now)), (2, None));
    site.real_servers()[1].set_weight(0);
    assert_eq!((site.weight_up(), change(&site, now)), (1, Some((false, 1))));
    let full = Arc::new(real_server(9, 5, Some(0)));
    let site = site_of(LbAlgo::Wlc, vec![full], quorum(5, 0));
    assert_eq!((site.weight_up(), change(&site, now)), (5, None));
}

#[test]
fn without_its_quorum_a_site_takes_nobody_and_what_runs_stays() {
    let now = start();
    let site = site(LbAlgo::Wlc, &[1, 1, 1], quorum(2, 0));
    let _sessions: Vec<_> = (0..3).map(|_| place(&site, now)).collect();
    fail(&site, 0, now);
    fail(&site, 1, now);
    assert_eq!(change(&site, now), Some((false, 1)));
    assert_eq!(site.place(now, CLIENT, &Tried::default()).unwrap_err(), NoServer::NoQuorum);
    assert_eq!(held(&site), [1, 1, 1]);
    fail(&site, 2, now);
    assert_eq!(site.place(now, CLIENT, &Tried::default()).unwrap_err(), NoServer::AllDown);
}

#[test]
fn with_alpha_nobody_is_served_until_checks_have_passed() {
    let now = start();
    let servers = (1..=2).map(|number| Arc::new(real_server(number, 1, None).unproven())).collect();
    let site = site_of(LbAlgo::Wlc, servers, quorum(1, 0));
    assert_eq!(change(&site, now), None, "it was never there");
    assert_eq!(site.place(now, CLIENT, &Tried::default()).unwrap_err(), NoServer::AllDown);
    let reason = site.real_servers()[0].health().last_error.unwrap();
    assert!(reason.contains("alpha"), "{reason}");
    pass(&site, 1, now);
    assert_eq!(change(&site, now), Some((true, 1)));
    assert_eq!(place(&site, now).index(), 1);
    assert_eq!(site.real_servers()[1].health().last_error, None);
}

fn with_sorry_server(quorum: u32) -> Availability {
    let sorry_server = Some(Arc::new(real_server(99, 1, None)));
    Availability { sorry_server, quorum: Quorum { quorum, hysteresis: 0 }, ..Availability::default() }
}

#[test]
fn the_sorry_server_takes_whole_sessions_while_nobody_else_may() {
    let now = start();
    let site = site(LbAlgo::Wlc, &[1, 1], with_sorry_server(2));
    assert_eq!(place(&site, now).real_server().name(), "s1");
    fail(&site, 0, now);
    let sorry = place(&site, now);
    assert_eq!((sorry.real_server().name(), sorry.index()), ("s99", 2));
    assert_eq!(site.availability().sorry_server.as_ref().unwrap().active(), 1);
    pass(&site, 0, now);
    assert_eq!(
        place(&site, now).real_server().name(),
        "s2",
        "sessions of the sorry server stay, new ones do not go there"
    );
    drop(sorry);
    assert_eq!(site.availability().sorry_server.as_ref().unwrap().active(), 0);
}

#[test]
fn the_sorry_server_is_the_last_resort_of_a_session_that_has_tried_all_others_but_not_of_a_busy_site() {
    let now = start();
    let site = site(LbAlgo::Wlc, &[1, 1], with_sorry_server(1));
    let mut tried = Tried::default();
    for expected in ["s1", "s2", "s99"] {
        let placement = site.place(now, CLIENT, &tried).unwrap();
        assert_eq!(placement.real_server().name(), expected);
        tried.insert(placement.index());
    }
    assert_eq!(site.place(now, CLIENT, &tried).unwrap_err(), NoServer::AllTried);
    let full = vec![Arc::new(real_server(1, 1, Some(0)))];
    let site = site_of(LbAlgo::Wlc, full, with_sorry_server(1));
    assert_eq!(site.place(now, CLIENT, &Tried::default()).unwrap_err(), NoServer::AllFull);
}

#[test]
fn an_inhibited_server_keeps_its_clients_with_sh_and_nothing_else() {
    let now = start();
    let inhibited = || Availability { inhibit_on_failure: vec![true, false], ..Availability::default() };
    for lb_algo in [LbAlgo::Wlc, LbAlgo::Lc, LbAlgo::Wrr, LbAlgo::Rr] {
        let site = site(lb_algo, &[1, 1], inhibited());
        fail(&site, 0, now);
        assert!(site.is_inhibited(0) && !site.is_inhibited(1));
        assert_eq!((place(&site, now).index(), place(&site, now).index()), (1, 1), "{lb_algo}");
    }
    let site = site(LbAlgo::Sh, &[1, 1], inhibited());
    let clients = || (0..100_u32).map(|number| IpAddr::from(Ipv4Addr::from(number)));
    let place = |client| site.place(now, client, &Tried::default()).map(|placement| placement.index());
    let before: Vec<_> = clients().map(|client| place(client).unwrap()).collect();
    fail(&site, 0, now);
    let (mut kept, mut served) = (0, 0);
    for (client, before) in clients().zip(&before) {
        match place(client) {
            Ok(1) if *before == 1 => served += 1,
            Err(NoServer::Inhibited) if *before == 0 => kept += 1,
            other => panic!("{client}: {before} before, now {other:?}"),
        }
    }
    assert!(kept > 20 && served > 20, "{kept} {served}");
    site.real_servers()[0].handle_drain(now, None);
    assert!(clients().all(|client| place(client) == Ok(1)), "a drained server keeps nobody");
}

#[test]
fn what_is_remembered_outlives_a_configuration() {
    let now = start();
    let old = site(LbAlgo::Wlc, &[1, 1, 1], quorum(2, 0));
    fail(&old, 0, now);
    fail(&old, 1, now);
    assert_eq!(change(&old, now), Some((false, 1)));
    let availability = Availability {
        slow_start: seconds(60),
        quorum: Quorum { quorum: 2, hysteresis: 1 },
        ..Availability::default()
    };
    let new = old.succeed(LbAlgo::Wlc, 10, old.real_servers().to_vec(), availability.clone());
    pass(&new, 0, now);
    assert_eq!(change(&new, now), None, "lost before, it needs 3 now");
    pass(&new, 1, now);
    assert_eq!(change(&new, now), Some((true, 3)));
    let later = now + seconds(30);
    let newest = new.succeed(LbAlgo::Wlc, 10, new.real_servers().to_vec(), availability);
    assert_eq!(newest.slow_start_percent(later, &newest.real_servers()[0]), Some(50), "slow start goes on");
}

#[test]
fn a_server_that_a_new_configuration_adds_starts_slowly_and_a_sorry_server_keeps_its_count() {
    let now = start();
    let slow = || Availability { slow_start: seconds(60), ..with_sorry_server(1) };
    let old = site(LbAlgo::Wlc, &[1, 1], slow());
    let _sessions: Vec<_> = (0..20).map(|_| place(&old, now)).collect();
    let _sorry = old.availability().sorry_server.as_ref().unwrap().hold();
    let mut servers = old.real_servers().to_vec();
    servers.push(Arc::new(real_server(3, 1, None).newcomer()));
    let new = old.succeed(LbAlgo::Wlc, 10, servers, slow());
    let _crowd: Vec<_> = (0..20).map(|_| place(&new, now)).collect();
    assert_eq!(held(&new)[2], 0);
    assert_eq!(new.availability().sorry_server.as_ref().unwrap().active(), 1);
    let elsewhere = Availability { sorry_server: Some(Arc::new(real_server(98, 1, None))), ..slow() };
    let moved = new.succeed(LbAlgo::Wlc, 10, new.real_servers().to_vec(), elsewhere);
    assert_eq!(moved.availability().sorry_server.as_ref().unwrap().active(), 0);
}

#[test]
fn nobody_waits_for_room_that_would_be_of_no_use() {
    let now = start();
    let servers = || vec![Arc::new(real_server(1, 1, Some(1))), Arc::new(real_server(2, 1, Some(1)))];
    let full = site_of(LbAlgo::Wlc, servers(), with_sorry_server(2));
    let _sessions = [place(&full, now), place(&full, now)];
    assert!(full.may_make_room(&Tried::default()));
    // One was tried in vain, the other is full: it is waited for, and nobody is sorry.
    let mut tried = Tried::default();
    tried.insert(0);
    assert_eq!(full.place(now, CLIENT, &tried).unwrap_err(), NoServer::AllTried);
    fail(&full, 0, now);
    assert_eq!(change(&full, now), Some((false, 1)));
    assert!(!full.may_make_room(&Tried::default()), "whoever has room, nobody may go there");
    assert!(!NoServer::Inhibited.may_change() && NoServer::AllFull.may_change());
}
