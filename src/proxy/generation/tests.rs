use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;
use crate::balance::{CheckOutcome, Deed, Tried};
use crate::config::Model;
use crate::proxy::{ServedBy, now};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A virtual server `v` with these real servers, each a name, an address and what else is said of it.
fn virtual_server(name: &str, keys: &str, servers: &[(&str, &str, &str)]) -> String {
    let mut text = format!("[[virtual_server]]\nname = \"{name}\"\naddresses = [\"127.0.0.1\"]\n{keys}\n");
    for (name, address, keys) in servers {
        text.push_str(&format!(
            "[[virtual_server.real_server]]\nname = \"{name}\"\naddress = \"{address}\"\n{keys}\n"
        ));
    }
    text
}

fn model(text: &str) -> Model {
    config::toml::parse(std::path::Path::new("test.toml"), text).expect("a configuration").model
}

fn first(text: &str) -> Generation {
    Generation::first(&model(text), SystemTime::UNIX_EPOCH).unwrap().0
}

fn next(generation: &Generation, text: &str) -> Generation {
    generation.next(&model(text), SystemTime::UNIX_EPOCH).unwrap().take_over(now(), &SessionTable::new(now()))
}

fn server(generation: &Generation, name: &str) -> Arc<RealServer> {
    let mut servers = generation.services()[0].virtual_server.real_servers().iter();
    Arc::clone(servers.find(|server| server.name() == name).expect("a real server of that name"))
}

fn removed(generation: &Generation) -> Vec<(String, String)> {
    let removed = generation.removed(now());
    removed.real_servers.iter().map(|(of, server)| (of.clone(), server.name().to_owned())).collect()
}

#[test]
fn what_has_the_same_identity_keeps_its_counts_its_health_and_its_sessions() {
    let before = first(&virtual_server("v", "", &[("s1", "127.0.0.2", ""), ("s2", "127.0.0.3", "")]));
    let service = Arc::clone(&before.services()[0]);
    let admission = service.virtual_server.admit().unwrap();
    let placement = service.virtual_server.place(now(), CLIENT, &Tried::default()).unwrap();
    assert_eq!(placement.real_server().name(), "s1");
    for _ in 0..4 {
        let _ = server(&before, "s2").handle_check(now(), CheckOutcome::Failed("refused".into()));
    }
    server(&before, "s1").stats.logins.store(7, Relaxed);
    service.lasting.panics.store(1, Relaxed);

    let keys = "max_sessions = 1\nlb_algo = \"rr\"\nidle_timeout = \"1m\"\nrelay_ports = \"41000-41009\"";
    let servers = [
        ("s3", "127.0.0.4", ""),
        ("s2", "127.0.0.3", "weight = 5"),
        ("s1", "127.0.0.2", "max_connections = 1"),
    ];
    let after = next(&before, &virtual_server("v", keys, &servers));
    let service = &after.services()[0];
    assert!(Arc::ptr_eq(&server(&after, "s1"), placement.real_server()));
    assert_eq!(service.virtual_server.active(), 1);
    assert_eq!(service.virtual_server.admit().unwrap_err().max_sessions, 1, "the session of before counts");
    assert_eq!((server(&after, "s1").active(), server(&after, "s1").stats.logins.load(Relaxed)), (1, 7));
    assert_eq!((server(&after, "s2").is_up(), server(&after, "s2").weight()), (false, 5));
    assert_eq!(service.lasting.panics.load(Relaxed), 1);
    // s1 is full now and s2 is down.
    let next = service.virtual_server.place(now(), CLIENT, &Tried::default()).unwrap();
    assert_eq!(next.real_server().name(), "s3");
    drop((admission, placement));
    assert_eq!((service.virtual_server.active(), server(&after, "s1").active()), (0, 0));
    assert_eq!(removed(&after), []);
}

#[test]
fn a_name_at_another_address_is_another_server() {
    let before = first(&virtual_server("v", "", &[("s1", "127.0.0.2", "")]));
    let placement = before.services()[0].virtual_server.place(now(), CLIENT, &Tried::default()).unwrap();
    let after = next(&before, &virtual_server("v", "", &[("s1", "127.0.0.2", "port = 2812")]));
    assert_eq!(server(&after, "s1").active(), 0);
    assert_eq!(removed(&after), [("v".to_owned(), "s1".to_owned())]);
    assert!(placement.real_server().is_removed());
    drop(placement);
    assert_eq!(removed(&after), []);
}

#[test]
fn what_is_removed_gets_nothing_and_is_the_same_when_it_is_back() {
    let both = virtual_server("v", "", &[("s1", "127.0.0.2", ""), ("s2", "127.0.0.3", "")]);
    let one = virtual_server("v", "", &[("s2", "127.0.0.3", "")]);
    let other = virtual_server("w", "port = 2812", &[("s3", "127.0.0.4", "")]);
    let mut generation = first(&both);
    let old = Arc::clone(&generation.services()[0]);
    let admission = old.virtual_server.admit().unwrap();
    let placement = old.virtual_server.place(now(), CLIENT, &Tried::default()).unwrap();
    assert_eq!(placement.real_server().name(), "s1");
    placement.real_server().stats.logins.store(3, Relaxed);

    generation = next(&generation, &one);
    // A session of before that still looks for a server.
    let late = old.virtual_server.place(now(), CLIENT, &Tried::default()).unwrap();
    assert_eq!(late.real_server().name(), "s2");
    generation = next(&generation, &other);
    assert_eq!(removed(&generation), [("v".into(), "s1".into()), ("v".into(), "s2".into())]);
    assert_eq!(generation.removed(now()).services.len(), 1);
    assert!(old.virtual_server.place(now(), CLIENT, &Tried::default()).is_err());

    generation = next(&generation, &both);
    assert_eq!(removed(&generation), []);
    assert!(Arc::ptr_eq(&server(&generation, "s1"), placement.real_server()));
    assert!(!placement.real_server().is_removed());
    assert_eq!(generation.services()[0].virtual_server.active(), 1);
    assert_eq!(server(&generation, "s1").stats.logins.load(Relaxed), 3);
    drop((admission, placement, late));
    assert!(generation.removed(now()).services.is_empty());
}

#[test]
fn an_operators_weight_stays_until_the_files_weight_changes() {
    let with = |keys| virtual_server("v", keys, &[("s1", "127.0.0.2", "weight = 2")]);
    let mut generation = first(&with(""));
    server(&generation, "s1").set_weight(9);
    generation = next(&generation, &with("max_sessions = 5"));
    assert_eq!((server(&generation, "s1").weight(), server(&generation, "s1").configured_weight()), (9, 2));
    generation = next(&generation, &virtual_server("v", "", &[("s1", "127.0.0.2", "weight = 3")]));
    assert_eq!((server(&generation, "s1").weight(), server(&generation, "s1").configured_weight()), (3, 3));
}

#[test]
fn a_generation_that_does_not_take_over_changes_nothing() {
    let before = first(&virtual_server("v", "", &[("s1", "127.0.0.2", ""), ("s2", "127.0.0.3", "")]));
    let text = virtual_server("v", "relay_ports = \"41000-41009\"", &[("s1", "127.0.0.2", "weight = 7")]);
    drop(before.next(&model(&text), SystemTime::UNIX_EPOCH).unwrap());
    assert_eq!(server(&before, "s1").weight(), 1);
    assert!(!server(&before, "s2").is_removed());
    let held: Vec<_> = (0..4)
        .map(|_| before.services()[0].virtual_server.place(now(), CLIENT, &Tried::default()).unwrap())
        .collect();
    assert_eq!((server(&before, "s1").active(), server(&before, "s2").active()), (2, 2));
    drop(held);
    let missing = virtual_server(
        "v",
        "[virtual_server.tls]\ncertificate = \"/nonexistent.pem\"\nkey = \"/nonexistent.pem\"",
        &[("s1", "127.0.0.2", "")],
    );
    let error = before.next(&model(&missing), SystemTime::UNIX_EPOCH).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent.pem: cannot be read"), "{error}");
}

#[test]
fn what_is_known_of_clients_and_who_waits_outlive_a_configuration() {
    let servers = [("s1", "127.0.0.2", "max_connections = 1"), ("s2", "127.0.0.3", "max_connections = 1")];
    let keys = "max_sessions_per_client = 1\nqueue_length = 5";
    let ban = "[virtual_server.ban]\nfailed_logins = 1\nwithin = \"1m\"\ntime = \"1h\"";
    let text = |keys: &str, servers| format!("{}{ban}\n", virtual_server("v", keys, servers));
    let before = first(&text(keys, &servers[..1]));
    let service = Arc::clone(&before.services()[0]);
    let (client, guesser) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
    let session = service.admittance.admit_client(client, now()).unwrap();
    let _ = service.admittance.handle_failed_login(guesser, now());
    let placement = service.virtual_server.place(now(), CLIENT, &Tried::default()).unwrap();
    let queue = &service.admittance.known.queue;
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let waker = Arc::clone(&woken).into();
    let waiting = queue.join(5, None, false, now(), &waker).unwrap();

    // One that is never put in force changes nothing.
    drop(before.next(&model(&text(keys, &servers)), SystemTime::UNIX_EPOCH).unwrap());
    assert!(!service.admittance.is_superseded() && woken.0.load(Relaxed) == 0);

    let after = next(&before, &text("max_sessions_per_client = 2\nqueue_length = 9", &servers));
    let service_after = &after.services()[0];
    assert!(service.admittance.is_superseded() && !service_after.admittance.is_superseded());
    assert!(woken.0.swap(0, Relaxed) > 0, "there is another server");
    let second = service_after.admittance.admit_client(client, now()).unwrap();
    assert!(service_after.admittance.admit_client(client, now()).is_err(), "the session of before counts");
    assert!(service_after.admittance.admit_client(guesser, now()).is_err(), "and so does the ban");
    assert_eq!(service_after.admittance.known.queue.waiting(), 1);
    drop(placement);
    assert_eq!(woken.0.swap(0, Relaxed), 1, "a place of the generation before");
    let placed =
        ["s1", "s2"].map(|_| service_after.virtual_server.place(now(), CLIENT, &Tried::default()).unwrap());
    drop(placed);
    assert_eq!(woken.0.load(Relaxed), 2, "and on the new server");
    drop((waiting, session, second));
}

struct Woken(AtomicUsize);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn ejections_and_slow_starts_outlive_a_configuration_and_those_that_it_adds_start_slowly() {
    const KEYS: &str = "slow_start = \"60s\"\nejection = { failed_transfers = 1, time = \"10m\" }";
    let two = [("s1", "127.0.0.2", ""), ("s2", "127.0.0.3", "")];
    let before = first(&virtual_server("v", KEYS, &two));
    let service = &before.services()[0];
    let _ = service.virtual_server.observe(now());
    let started = service.virtual_server.slow_start_percent(now(), &server(&before, "s2"));
    assert_eq!(started, None, "those of the start are warm");
    for name in ["s1", "s2"] {
        service.virtual_server.handle_success(&server(&before, name), Deed::Transfer);
    }
    let vs = &service.virtual_server;
    assert!(vs.handle_failure(now(), &server(&before, "s1"), CLIENT, Deed::Transfer, "reply 451").is_none());
    vs.handle_success(&server(&before, "s2"), Deed::Transfer);
    let another = IpAddr::from([192, 0, 2, 201]);
    let ejected = vs.handle_failure(now(), &server(&before, "s1"), another, Deed::Transfer, "reply 451");
    assert!(ejected.is_some());
    let three = [two[0], two[1], ("s3", "127.0.0.4", "")];
    let after = next(&before, &virtual_server("v", KEYS, &three));
    assert_eq!(server(&after, "s1").ejection(), ejected);
    let virtual_server = &after.services()[0].virtual_server;
    let _ = virtual_server.observe(now());
    assert_eq!(virtual_server.slow_start_percent(now(), &server(&after, "s3")), Some(0));
    assert_eq!(virtual_server.slow_start_percent(now(), &server(&after, "s2")), None);
}

#[test]
fn with_alpha_only_what_a_configuration_adds_has_to_be_proven() {
    let one = [("s1", "127.0.0.2", "")];
    let before = first(&virtual_server("v", "", &one));
    let after = next(&before, &virtual_server("v", "alpha = true", &[one[0], ("s2", "127.0.0.3", "")]));
    assert!(server(&after, "s1").is_up() && !server(&after, "s2").is_up());
}

#[test]
fn what_operators_and_checks_have_said_of_a_server_is_there_again_when_it_is_back() {
    let three = [("s1", "127.0.0.2", ""), ("s2", "127.0.0.3", ""), ("s3", "127.0.0.4", "")];
    let (all, one) = (virtual_server("v", "", &three), virtual_server("v", "", &three[2..]));
    let other = virtual_server("w", "port = 2812", &[("s9", "127.0.0.9", "")]);
    let mut generation = first(&all);
    server(&generation, "s1").handle_drain(now(), None);
    server(&generation, "s2").set_weight(7);
    for _ in 0..4 {
        let _ = server(&generation, "s3").handle_check(now(), CheckOutcome::Failed("refused".into()));
    }
    // A name service that falters, and an operator who reloads again and again, the whole virtual server once.
    for text in [&one, &one, &other, &other] {
        generation = next(&generation, text);
    }
    let steered = [("v".to_owned(), "s1".to_owned()), ("v".to_owned(), "s2".to_owned())];
    assert_eq!(removed(&generation), steered, "shown are those that somebody has steered");
    let back = generation.next(&model(&all), SystemTime::UNIX_EPOCH).unwrap();
    let told = back.circumstances();
    assert!(told.iter().any(|line| line.contains("real_server s1: stays drained")), "{told:?}");
    assert!(told.iter().any(|line| line.contains("real_server s2: weight 7 stays")), "{told:?}");
    generation = back.take_over(now(), &SessionTable::new(now()));
    assert!(server(&generation, "s1").is_drained() && !server(&generation, "s1").is_removed());
    assert_eq!(server(&generation, "s2").weight(), 7);
    assert!(!server(&generation, "s3").is_up(), "until its checks pass");
    assert_eq!(removed(&generation), []);
    // At another address it is another server.
    let moved = [("s1", "127.0.0.8", ""), three[1], three[2]];
    generation = next(&generation, &virtual_server("v", "", &moved));
    assert!(!server(&generation, "s1").is_drained());
}

#[test]
fn what_was_said_of_servers_that_have_gone_is_remembered_within_bounds() {
    let mut generation = first(&virtual_server("v", "", &[("s1", "127.0.0.2", ""), ("s2", "127.0.0.3", "")]));
    server(&generation, "s1").handle_drain(now(), None);
    generation = next(&generation, &virtual_server("v", "", &[("s2", "127.0.0.3", "")]));
    let week = std::time::Duration::from_secs(7 * 24 * 3600);
    assert_eq!(generation.removed(now() + week - std::time::Duration::from_secs(60)).real_servers.len(), 1);
    assert_eq!(generation.removed(now() + week).real_servers.len(), 0);

    let drained = |number: usize| {
        let spec = RealServerSpec {
            name: format!("s{number}"),
            address: SocketAddr::from(([10, 0, 0, 1], 2811)),
            weight: 1,
            max_connections: None,
            fall: 1,
            rise: 1,
        };
        let server = Arc::new(RealServer::new(spec));
        server.handle_drain(now(), None);
        server.handle_removal(now());
        ("v".to_owned(), server)
    };
    let mut many = Removed { real_servers: (0..1030).map(drained).collect(), ..Removed::default() };
    many.forget_unused(now());
    let names: Vec<&str> = many.real_servers.iter().map(|(_, server)| server.name()).collect();
    assert_eq!((names.len(), names[0], names[1023]), (1024, "s6", "s1029"), "the first to go are forgotten");
}

/// A name makes no sorry server of it.
#[test]
fn a_real_server_called_sorry_server_stays_drained_over_its_absence() {
    let other = virtual_server("v", "", &[("s2", "127.0.0.3", "")]);
    let both = virtual_server("v", "", &[("sorry_server", "127.0.0.2", ""), ("s2", "127.0.0.3", "")]);
    let mut generation = first(&both);
    server(&generation, "sorry_server").handle_drain(now(), None);
    generation = next(&generation, &other);
    let successor = generation.next(&model(&both), SystemTime::UNIX_EPOCH).unwrap();
    let told = "virtual_server v: real_server sorry_server: stays drained until `gridfront undrain`";
    assert!(successor.circumstances().iter().any(|said| said == told), "{:?}", successor.circumstances());
    let generation = successor.take_over(now(), &SessionTable::new(now()));
    assert!(server(&generation, "sorry_server").has_ordered_drain());
}

#[test]
fn the_sessions_of_a_sorry_server_that_goes_or_changes_are_drained() {
    let text = |keys: &str| virtual_server("v", keys, &[("s1", "127.0.0.2", "weight = 0")]);
    let with = |address: &str| text(&format!("sorry_server = \"{address}\""));
    let sorry_sessions = |generation: &Generation| {
        let removed = generation.removed(now()).sorry_servers;
        removed
            .iter()
            .map(|(_, server)| (server.address().ip().to_string(), server.active()))
            .collect::<Vec<_>>()
    };
    let other = virtual_server("w", "port = 2812", &[("s9", "127.0.0.9", "")]);
    for gone in [text(""), with("127.0.0.4"), other] {
        let before = first(&with("127.0.0.3"));
        let service = Arc::clone(&before.services()[0]);
        let _admission = service.virtual_server.admit().unwrap();
        let placement = service.virtual_server.place(now(), CLIENT, &Tried::default()).unwrap();
        let sessions = Arc::new(SessionTable::new(now()));
        let registration = sessions.register();
        registration.set_server(placement.real_server());
        let successor = before.next(&model(&gone), SystemTime::UNIX_EPOCH).unwrap();
        let told = "virtual_server v: sorry_server: 1 sessions are drained".to_owned();
        assert!(successor.circumstances().contains(&told), "{:?}", successor.circumstances());
        let after = successor.take_over(now(), &sessions);
        assert!(registration.take_server_change() && placement.real_server().drain().is_some(), "{gone}");
        assert_eq!(sorry_sessions(&after), [("127.0.0.3".to_owned(), 1)]);
        // A session that looks for a server by the old configuration does not find it.
        assert!(service.virtual_server.place(now(), CLIENT, &Tried::default()).is_err());

        let back = after.next(&model(&with("127.0.0.3")), SystemTime::UNIX_EPOCH).unwrap();
        let back = back.take_over(now(), &sessions);
        assert!(registration.take_server_change() && placement.real_server().drain().is_none(), "it is back");
        let sorry = back.services()[0].virtual_server.availability().sorry_server.clone().unwrap();
        assert!(Arc::ptr_eq(&sorry, placement.real_server()));
        drop(placement);
        assert_eq!(sorry_sessions(&back), []);
    }
}

/// A directory has some hundred authorities: whoever has the same one has it once, and a reload does not read it again.
#[test]
fn virtual_servers_with_one_trust_directory_share_it_over_reloads() {
    let (directory, gsi) = crate::tls::tests::gsi_files();
    let copy = |file: &std::path::Path| {
        let copy = directory.path().join("copy.pem");
        std::fs::copy(file, &copy).unwrap();
        copy
    };
    let certificate = copy(&gsi.certificate);
    let with = |name: &str, port: u16, certificate: &std::path::Path| {
        let keys = format!(
            "port = {port}\ngsi = {{ mode = \"terminate\", certificate = \"{}\", key = \"{}\", trust_anchors = \"{}\" }}",
            certificate.display(),
            gsi.key.display(),
            gsi.trust_anchors.display()
        );
        virtual_server(name, &keys, &[("s1", "127.0.0.2", "")])
    };
    let trust = |generation: &Generation, place: usize| {
        Arc::clone(generation.services()[place].gsi.as_ref().unwrap().acceptor.trust())
    };
    let own = |generation: &Generation, place: usize| {
        Arc::clone(&generation.services()[place].gsi.as_ref().unwrap().acceptor)
    };
    let text = with("a", 2811, &gsi.certificate) + &with("b", 2812, &gsi.certificate);
    let before = first(&text);
    let shared = trust(&before, 0);
    assert!(Arc::ptr_eq(&shared, &trust(&before, 1)));
    let after = next(&before, &(with("a", 2811, &certificate) + &with("c", 2813, &gsi.certificate)));
    assert!(!Arc::ptr_eq(&own(&before, 0), &own(&after, 0)), "it has another certificate");
    assert!([0, 1].map(|place| trust(&after, place)).iter().all(|trust| Arc::ptr_eq(trust, &shared)));
}

#[test]
fn who_serves_direct_routing_is_told_row_by_row() {
    let fallback = "fallback = \"proxy\"";
    let missing = Kernel { why_not: Some("the module ip_vs is missing".into()), ..Kernel::default() };
    let serving = Kernel { serves: true, ..missing.clone() };
    for (kernel, keys, served_by, why) in [
        (&serving, fallback, ServedBy::Kernel, None),
        (&missing, fallback, ServedBy::DoorInstead, Some("the module ip_vs is missing")),
        (&missing, "", ServedBy::Nobody, Some("the module ip_vs is missing")),
        (&Kernel::default(), "", ServedBy::Nobody, Some("no engine runs")),
    ] {
        let keys = format!("port = 2811\nforwarding = \"dr\"\n{keys}");
        let text = virtual_server("v", &keys, &[("s1", "127.0.0.2", "")]);
        let (generation, _) =
            Generation::first_with(&model(&text), SystemTime::UNIX_EPOCH, kernel.clone()).unwrap();
        let service = &generation.services()[0];
        assert_eq!(service.served_by, served_by, "{keys}");
        assert_eq!(service.why_not_kernel.as_deref(), why, "{keys}");
    }
    let proxied = first(&virtual_server("v", "", &[("s1", "127.0.0.2", "")]));
    assert_eq!(proxied.services()[0].served_by, ServedBy::Door);
    assert_eq!(proxied.services()[0].why_not_kernel, None);
}
