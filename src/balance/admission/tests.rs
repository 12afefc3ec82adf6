#![allow(clippy::disallowed_methods)] // a starting point
use super::*;
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn ban(failed_logins: u32, within: u64, time: u64) -> ClientLimits {
    let rule = BanRule { failed_logins, within: seconds(within), time: seconds(time) };
    ClientLimits { ban: Some(rule), ..ClientLimits::none() }
}

#[test]
fn the_most_specific_network_decides() {
    type Row = (&'static [&'static str], &'static [&'static str], &'static [(&'static str, bool)]);
    #[rustfmt::skip]
    let table: &[Row] = &[
        (&[], &[], &[("192.0.2.7", true), ("2001:db8::7", true)]),
        // One list alone means what it says.
        (&["192.0.2.0/24"], &[], &[("192.0.2.7", true), ("198.51.100.1", false), ("2001:db8::7", false)]),
        (&[], &["192.0.2.0/24"], &[("192.0.2.7", false), ("198.51.100.1", true), ("::ffff:192.0.2.7", false)]),
        // Exceptions, in either.
        (&["192.0.2.0/24"], &["192.0.2.128/25"], &[("192.0.2.7", true), ("192.0.2.200", false), ("203.0.113.1", false)]),
        (&["0.0.0.0/0", "192.0.2.7/32"], &["192.0.2.0/24"], &[("192.0.2.7", true), ("192.0.2.8", false), ("203.0.113.1", true), ("2001:db8::7", false)]),
        // In both.
        (&["192.0.2.7/32"], &["192.0.2.7/32"], &[("192.0.2.7", false)]),
        (&["2001:db8::/32"], &["2001:db8:1::/48", "0.0.0.0/0"], &[("2001:db8::7", true), ("2001:db8:1::7", false), ("192.0.2.7", false)]),
    ];
    for (allow, deny, clients) in table {
        let rules = NetworkRules::new(&networks(allow), &networks(deny));
        for (client, admitted) in *clients {
            assert_eq!(rules.admits(ip(client)), *admitted, "allow {allow:?} deny {deny:?}: {client}");
        }
    }
    let rules = NetworkRules::new(&networks(&["192.0.2.0/24"]), &networks(&["198.51.100.2/32"]));
    assert!(
        rules.denies(ip("198.51.100.2"))
            && !rules.denies(ip("198.51.100.3"))
            && !rules.denies(ip("192.0.2.1"))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_rules_say_what_a_look_at_every_network_says(
        lists in proptest::collection::vec((any::<u32>(), 0u8..=32, any::<bool>()), 0..12),
        client in any::<u32>(),
        near in any::<bool>(),
    ) {
        let network = |bits: u32, length| IpNet::new(IpAddr::from(std::net::Ipv4Addr::from(bits)), length).unwrap().trunc();
        let of = |wanted| lists.iter().filter(|entry| entry.2 == wanted).map(|entry| network(entry.0, entry.1)).collect();
        let (allow, deny): (Vec<IpNet>, Vec<IpNet>) = (of(true), of(false));
        let client = if near { lists.first().map_or(client, |entry| entry.0 ^ (client & 0xff)) } else { client };
        let client = IpAddr::from(std::net::Ipv4Addr::from(client));
        let all = allow.iter().map(|network| (network, true)).chain(deny.iter().map(|network| (network, false)));
        let best = all
            .filter(|(network, _)| network.contains(&client))
            .max_by_key(|(network, admits)| (network.prefix_len(), !admits));
        let expected = best.map_or(allow.is_empty(), |(_, admits)| admits);
        prop_assert_eq!(NetworkRules::new(&allow, &deny).admits(client), expected);
    }

    /// In any stretch of time, however long, no more come in than the rate and the burst allow.
    #[test]
    fn a_rate_is_never_exceeded(
        sessions in 1u32..50,
        per in 1u64..100_000,
        burst in 1u32..40,
        pauses in proptest::collection::vec(0u64..20_000, 1..200),
    ) {
        let rate = SessionRate { sessions, per: Duration::from_millis(per), burst };
        let start = Instant::now();
        let mut bucket = NextArrival::default();
        let (mut now, mut taken) = (start, Vec::new());
        for pause in pauses {
            now += Duration::from_micros(pause * 100);
            if bucket.arrive(rate, now) {
                taken.push(now);
            }
        }
        prop_assert_eq!(taken.first().copied().is_some(), true);
        for (first, from) in taken.iter().enumerate() {
            for (last, to) in taken.iter().enumerate().skip(first) {
                let elapsed = to.duration_since(*from).as_nanos();
                let most = elapsed * u128::from(sessions) / rate.per.as_nanos() + u128::from(burst);
                prop_assert!((last - first + 1) as u128 <= most, "{} in {elapsed} ns", last - first + 1);
            }
        }
    }

    /// Whatever is done in whatever order, a client holds what its guards say, and nothing is left when all are gone.
    #[test]
    fn counts_are_those_of_the_guards_and_return_to_zero(
        steps in proptest::collection::vec((0u8..4, 0usize..8, 0u64..3), 1..300),
    ) {
        let limits = ClientLimits { max_sessions: Some(3), ..ban(3, 5, 7) };
        let start = Instant::now();
        let clients = Arc::new(Clients::new(start));
        let mut now = start;
        let mut held: Vec<(u8, ClientSession)> = Vec::new();
        for (client, at, pause) in steps {
            now += seconds(pause);
            let address = IpAddr::from([10, 0, 0, client]);
            match at {
                0 => { clients.handle_failed_login(&limits, address, now); }
                1 if !held.is_empty() => drop(held.swap_remove(at % held.len())),
                _ => {
                    let holds = held.iter().filter(|(of, _)| *of == client).count();
                    match clients.admit(&limits, address, now) {
                        Ok(session) => { prop_assert!(holds < 3); held.push((client, session.unwrap())); }
                        Err(ClientRefusal::TooManySessions { .. }) => prop_assert_eq!(holds, 3),
                        Err(ClientRefusal::Banned { .. }) => {}
                        Err(refusal) => prop_assert!(false, "{refusal}"),
                    }
                }
            }
        }
        held.clear();
        now += seconds(60);
        let mut table = clients.lock();
        prop_assert!(table.clients.values().all(|known| known.sessions == 0));
        table.sweep(now);
        prop_assert!(table.clients.is_empty());
    }
}

#[test]
fn a_client_holds_its_share_and_no_more_also_after_a_panic() {
    let clients = Arc::new(Clients::new(Instant::now()));
    let limits = ClientLimits { max_sessions: Some(2), ..ClientLimits::none() };
    let now = Instant::now();
    let admit = |client: &str| clients.admit(&limits, ip(client), now);
    let held = (admit("2001:db8::1").unwrap(), admit("2001:db8::2:3").unwrap());
    assert_eq!(
        admit("2001:db8::4").unwrap_err(),
        ClientRefusal::TooManySessions { max: 2 },
        "one /64, one client"
    );
    let others =
        (admit("2001:db8:0:1::1").unwrap(), admit("192.0.2.7").unwrap(), admit("192.0.2.8").unwrap());
    drop(held.0);
    let session = admit("2001:db8::4").unwrap();
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _held = session;
        std::panic::panic_any("a bug");
    }));
    let again = admit("2001:db8::5").unwrap();
    assert!(again.is_some());
    drop((again, held.1, others));
}

#[test]
fn nothing_is_kept_where_nothing_is_limited() {
    let clients = Arc::new(Clients::new(Instant::now()));
    assert!(clients.admit(&ClientLimits::none(), ip("192.0.2.7"), Instant::now()).unwrap().is_none());
    assert_eq!(
        clients.handle_failed_login(&ClientLimits::none(), ip("192.0.2.7"), Instant::now()),
        LoginVerdict::MayTryAgain
    );
    assert!(clients.admit(&ban(3, 60, 60), ip("192.0.2.7"), Instant::now()).unwrap().is_none());
    assert_eq!(clients.len(), 0);
}

#[test]
fn a_rate_lets_a_burst_in_and_then_one_after_the_other() {
    let clients = Arc::new(Clients::new(Instant::now()));
    let rate = SessionRate { sessions: 10, per: seconds(1), burst: 3 };
    let limits = ClientLimits { rate: Some(rate), ..ClientLimits::none() };
    let start = Instant::now();
    let admit = |millis| clients.admit(&limits, ip("192.0.2.7"), start + Duration::from_millis(millis));
    let admitted: Vec<u64> = (0..1000).filter(|&millis| admit(millis).is_ok()).collect();
    assert_eq!(admitted[..5], [0, 1, 2, 100, 200], "a refusal costs nothing");
    assert_eq!(admitted.len(), 12);
    assert_eq!(admit(999).unwrap_err(), ClientRefusal::TooFast);
    assert!(clients.admit(&limits, ip("192.0.2.8"), start).is_ok(), "another client has its own");
}

#[test]
fn failed_logins_lead_to_a_ban_and_time_or_a_success_forgets_them() {
    let start = Instant::now();
    let clients = Arc::new(Clients::new(start));
    let limits = ban(3, 60, 600);
    let client = ip("192.0.2.7");
    let fail = |second| clients.handle_failed_login(&limits, client, start + seconds(second));
    let admits = |second| clients.admit(&limits, client, start + seconds(second)).is_ok();
    assert_eq!([fail(0), fail(59)], [LoginVerdict::MayTryAgain; 2]);
    assert_eq!(fail(100), LoginVerdict::MayTryAgain, "the first is forgotten");
    clients.handle_login(&limits, client);
    assert_eq!([fail(101), fail(102)], [LoginVerdict::MayTryAgain; 2], "a success forgets them");
    assert!(matches!(fail(103), LoginVerdict::Banned { .. }));
    assert_eq!(fail(104), LoginVerdict::IsBanned, "by a session that was inside");
    assert!(!admits(104) && !admits(702) && admits(703));
    assert!(clients.admit(&limits, ip("192.0.2.8"), start + seconds(200)).is_ok());
    let ban = Ban { client: "192.0.2.7/32".parse().unwrap(), left: seconds(1) };
    assert_eq!((clients.bans(start + seconds(702)), clients.banned(start + seconds(702))), (vec![ban], 1));
    assert_eq!((clients.bans(start + seconds(703)), clients.bans_so_far()), (vec![], 1));
    assert_eq!(fail(703), LoginVerdict::MayTryAgain, "a ban begins from nothing");
}

#[test]
fn a_ban_can_be_ended_and_does_not_concern_the_sites_own_hosts() {
    let start = Instant::now();
    let clients = Arc::new(Clients::new(start));
    let limits = ClientLimits { never_banned: networks(&["198.51.100.0/24"]), ..ban(1, 60, 600) };
    let now = start + seconds(1);
    assert_eq!(
        clients.handle_failed_login(&limits, ip("::ffff:198.51.100.9"), now),
        LoginVerdict::MayTryAgain
    );
    assert_eq!(clients.len(), 0);
    clients.handle_failed_login(&limits, ip("2001:db8::7"), now);
    assert!(clients.admit(&limits, ip("2001:db8::9"), now).is_err());
    assert!(!clients.unban(ip("2001:db8:0:1::"), now));
    assert!(clients.unban(ip("2001:db8::1"), now));
    assert!(!clients.unban(ip("2001:db8::1"), now));
    assert!(clients.admit(&limits, ip("2001:db8::9"), now).is_ok());
}

#[test]
fn a_full_table_forgets_what_weighs_least_and_locks_nobody_out() {
    let start = Instant::now();
    let clients = Arc::new(Clients::new(start));
    let limits = ClientLimits { max_sessions: Some(1), ..ban(2, 600, 600) };
    let address = |number: usize| IpAddr::from(std::net::Ipv4Addr::from(u32::try_from(number).unwrap()));
    // One who is banned, one who holds a session, and then strangers with a failed login each.
    for _ in 0..2 {
        clients.handle_failed_login(&limits, ip("192.0.2.1"), start);
    }
    let held = clients.admit(&limits, ip("192.0.2.2"), start).unwrap();
    for number in 0..MAX_CLIENTS + 10 {
        clients.handle_failed_login(&limits, address(number), start + seconds(2));
        assert!(clients.len() <= MAX_CLIENTS);
    }
    let now = start + seconds(3);
    assert!(clients.admit(&limits, ip("192.0.2.1"), now).is_err(), "still banned");
    assert!(clients.admit(&limits, ip("192.0.2.2"), now).is_err(), "still counted");
    assert_eq!(clients.uncounted(), 0);
    // As many sessions as clients are kept in mind: more come in, uncounted.
    let mut all: Vec<_> =
        (0..MAX_CLIENTS).map(|number| clients.admit(&limits, address(number), now).unwrap()).collect();
    all.push(held);
    assert!(clients.admit(&limits, ip("198.51.100.1"), now).unwrap().is_none());
    assert!(clients.uncounted() > 0);
    drop(all);
    let later = now + seconds(1000);
    assert!(clients.admit(&limits, ip("198.51.100.1"), later).unwrap().is_some());
    assert!(clients.len() < 10, "{} clients are known", clients.len());
    let capacity = clients.lock().clients.capacity();
    assert!(capacity < 4 * FIRST_SWEEP, "room for {capacity}");
}
