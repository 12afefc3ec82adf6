use super::*;
use crate::config::{ServerTls, ServerTlsMode};

#[expect(clippy::disallowed_methods, reason = "tests need some instant to start from")]
fn moment() -> Instant {
    Instant::now()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn found(addresses: &[&str], seconds: u64) -> Answer {
    let servers = addresses.iter().map(|address| (ip(address), None)).collect();
    Answer::Found { servers, ttl: Duration::from_secs(seconds) }
}

fn record(target: &str, port: u16, weight: u16) -> ServiceRecord {
    ServiceRecord { target: target.into(), port, weight }
}

fn addresses(resolution: &Resolution) -> Vec<String> {
    resolution.endpoints().iter().map(|endpoint| endpoint.address.to_string()).collect()
}

/// The answer; whether there are other servers then; the servers; seconds until it is asked again; what is wrong.
type Step = (Answer, bool, &'static [&'static str], u64, Option<&'static str>);

/// Priority, weight, port and target of each record; those that count.
type Services<'r> = (&'r [(u16, u16, u16, &'r str)], &'r [ServiceRecord]);

#[test]
fn a_name_follows_its_answers_and_keeps_the_last_good_one() {
    let nothing = "the name service knows no address; the last answer is kept";
    let failed = "the name service does not answer: refused; the last answer is kept";
    #[rustfmt::skip]
    let course: &[Step] = &[
        (Answer::Nothing, false, &[], 10, Some("the name service knows no address; no server is known")),
        (Answer::Failed("refused".into()), false, &[], 10, Some("the name service does not answer: refused; no server is known")),
        (found(&["192.0.2.12", "192.0.2.11"], 60), true, &["192.0.2.11", "192.0.2.12"], 60, None),
        (found(&["192.0.2.11", "192.0.2.12", "192.0.2.11"], 60), false, &["192.0.2.11", "192.0.2.12"], 60, None),
        (Answer::Failed("refused".into()), false, &["192.0.2.11", "192.0.2.12"], 10, Some(failed)),
        (Answer::Nothing, false, &["192.0.2.11", "192.0.2.12"], 10, Some(nothing)),
        (found(&["192.0.2.13", "192.0.2.12"], 0), true, &["192.0.2.12", "192.0.2.13"], 5, None),
        (found(&["192.0.2.12"], 86_400), true, &["192.0.2.12"], 3600, None),
    ];
    let mut now = moment();
    let mut resolution = Resolution::new(now);
    assert_eq!(resolution.due(), now, "asked at once");
    for (answer, changed, expected, seconds, trouble) in course {
        now += Duration::from_secs(1);
        assert_eq!(resolution.handle_answer(now, answer.clone()), *changed, "{answer:?}");
        assert_eq!(addresses(&resolution), *expected, "{answer:?}");
        assert_eq!(resolution.due() - now, Duration::from_secs(*seconds), "{answer:?}");
        assert_eq!(resolution.trouble(), *trouble, "{answer:?}");
    }
}

#[test]
fn a_name_with_very_many_addresses_is_cut_off_and_says_so() {
    let many: Vec<String> = (0..=255).map(|last| format!("192.0.2.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let now = moment();
    let mut resolution = Resolution::new(now);
    assert!(resolution.handle_answer(now, found(&many, 60)));
    assert_eq!(resolution.endpoints().len(), MAX_ENDPOINTS);
    assert_eq!(resolution.trouble(), Some("it has 256 addresses; the first 64 are used"));
}

#[test]
fn a_host_of_both_families_is_one_server_and_does_not_change_its_family() {
    let v4 = || Records::Found(vec![ip("192.0.2.11")], Duration::from_secs(4));
    let v6 = || Records::Found(vec![ip("2001:db8::11")], Duration::from_secs(6));
    let failed = || Records::Failed("no".into());
    let no = || Answer::Failed("no".into());
    let table = [
        (v4(), v6(), found(&["192.0.2.11"], 4)),
        (v4(), Records::Missing, found(&["192.0.2.11"], 4)),
        (v4(), failed(), found(&["192.0.2.11"], 4)),
        (Records::Missing, v6(), found(&["2001:db8::11"], 6)),
        (failed(), v6(), no()),
        (failed(), Records::Missing, no()),
        (Records::Missing, failed(), no()),
        (Records::Missing, Records::Missing, Answer::Nothing),
    ];
    for (four, six, expected) in table {
        assert_eq!(Answer::of_host(four.clone(), six.clone()), expected, "{four:?} {six:?}");
    }
}

#[test]
fn of_a_service_the_lowest_priority_counts() {
    #[rustfmt::skip]
    let table: &[Services<'_>] = &[
        (&[], &[]),
        (&[(0, 0, 0, ".")], &[]),
        (&[(0, 0, 2811, ".")], &[]),
        (&[(20, 1, 2811, "b.org."), (10, 5, 2811, "a.org.")], &[record("a.org", 2811, 5)]),
        (&[(10, 0, 2812, "a.org."), (10, 5, 2811, "a.org.")], &[record("a.org", 2811, 5), record("a.org", 2812, 1)]),
        (&[(10, 3, 2811, "b.org."), (10, 2, 2811, "a.org."), (10, 2, 2811, "a.org.")], &[record("a.org", 2811, 2), record("b.org", 2811, 3)]),
    ];
    for (records, expected) in table {
        let records: Vec<_> = records.iter().map(|&(a, b, c, target)| (a, b, c, target.to_owned())).collect();
        assert_eq!(ServiceRecord::preferred(&records), *expected, "{records:?}");
    }
}

#[test]
fn a_service_is_whole_or_no_answer() {
    let (a, b) = (record("a.org", 2811, 1), record("b.org", 2812, 9));
    let records = || vec![a.clone(), b.clone()];
    let ttl = Duration::from_secs(60);
    let both = Answer::of_service(records(), ttl, vec![found(&["192.0.2.1"], 30), found(&["192.0.2.2"], 90)]);
    let servers = vec![(ip("192.0.2.1"), Some(a.clone())), (ip("192.0.2.2"), Some(b.clone()))];
    assert_eq!(both, Answer::Found { servers, ttl: Duration::from_secs(30) });
    let one = Answer::of_service(records(), ttl, vec![Answer::Nothing, found(&["192.0.2.2"], 90)]);
    assert_eq!(one, Answer::Found { servers: vec![(ip("192.0.2.2"), Some(b.clone()))], ttl });
    let half =
        Answer::of_service(records(), ttl, vec![found(&["192.0.2.1"], 30), Answer::Failed("late".into())]);
    assert_eq!(half, Answer::Failed("b.org: late".into()));
    assert_eq!(Answer::of_service(records(), ttl, vec![Answer::Nothing, Answer::Nothing]), Answer::Nothing);
}

/// A virtual server with one real server at an address between two names, and one of a service.
const FILE: &str = r#"
    [[virtual_server]]
    addresses = ["192.0.2.10"]
    tls = { certificate = "/c.pem", key = "/k.pem", implicit_port = 990 }
    [[virtual_server.real_server]]
    address = "S1.example.org"
    max_connections = 7
    tls = { trust_anchors = "/a.pem" }
    [[virtual_server.real_server]]
    name = "static"
    address = "192.0.2.99"
    [[virtual_server.real_server]]
    name = "pool"
    address = "pool.example.org."
    port = 2812
    [[virtual_server.real_server]]
    srv = "_gsiftp._tcp.example.org"
"#;

fn file() -> Model {
    crate::config::toml::parse(std::path::Path::new("f"), FILE).unwrap().model
}

#[test]
fn names_become_servers_at_their_place_in_the_file() {
    let file = file();
    let questions = file.questions();
    let host = |name: &str| Question::Host(name.into());
    let service = Question::Service("_gsiftp._tcp.example.org".into());
    assert_eq!(questions, [host("pool.example.org."), host("s1.example.org"), service.clone()]);

    let now = moment();
    let mut known: Vec<(Question, Resolution)> =
        questions.into_iter().map(|question| (question, Resolution::new(now))).collect();
    let told = |known: &mut Vec<(Question, Resolution)>, question: &Question, answer: Answer| {
        let of_it = known.iter_mut().find(|(other, _)| other == question).unwrap();
        of_it.1.handle_answer(now, answer);
    };
    let shown = |known: &[(Question, Resolution)]| {
        let endpoints = |question: &Question| {
            known.iter().find(|(other, _)| other == question).map_or(&[][..], |(_, of_it)| of_it.endpoints())
        };
        let (model, left_out) = file.resolved(endpoints);
        let server = &model.virtual_servers[0];
        assert_eq!(server.named_servers, []);
        let line = |real: &RealServer| {
            format!("{} {}:{} {} {:?}", real.name, real.address, real.port, real.weight, real.max_connections)
        };
        (server.real_servers.iter().map(line).collect::<Vec<_>>(), left_out, model)
    };
    assert_eq!(shown(&known).0, ["static 192.0.2.99:2811 1 None"], "nothing is known yet");

    told(&mut known, &host("s1.example.org"), found(&["192.0.2.1"], 60));
    told(&mut known, &host("pool.example.org."), found(&["192.0.2.3", "192.0.2.2"], 60));
    let of_service = |weight| Answer::Found {
        servers: vec![
            (ip("192.0.2.4"), Some(record("a.org", 2813, weight))),
            (ip("192.0.2.5"), Some(record("b.org", 2814, 2))),
        ],
        ttl: Duration::from_secs(60),
    };
    told(&mut known, &service, of_service(9));
    let (servers, left_out, model) = shown(&known);
    assert_eq!(
        servers,
        [
            "s1.example.org 192.0.2.1:2811 1 Some(7)",
            "static 192.0.2.99:2811 1 None",
            "pool:192.0.2.2:2812 192.0.2.2:2812 1 None",
            "pool:192.0.2.3:2812 192.0.2.3:2812 1 None",
            "a.org 192.0.2.4:2813 9 None",
            "b.org 192.0.2.5:2814 2 None",
        ]
    );
    assert_eq!(left_out, [""; 0]);
    let name = Some("s1.example.org".to_owned());
    let tls =
        ServerTls { mode: ServerTlsMode::Explicit, trust_anchors: Some("/a.pem".into()), name, verify: true };
    assert_eq!(
        model.virtual_servers[0].real_servers[0].tls,
        Some(tls),
        "the certificate is that of the name"
    );

    // A second address leaves the first its name, and so its counts; another weight makes no other server.
    told(&mut known, &host("s1.example.org"), found(&["192.0.2.0", "192.0.2.1"], 60));
    told(&mut known, &host("pool.example.org."), found(&["192.0.2.3"], 60));
    told(&mut known, &service, of_service(1));
    assert_eq!(
        shown(&known).0,
        [
            "s1.example.org:192.0.2.0:2811 192.0.2.0:2811 1 Some(7)",
            "s1.example.org 192.0.2.1:2811 1 Some(7)",
            "static 192.0.2.99:2811 1 None",
            "pool:192.0.2.3:2812 192.0.2.3:2812 1 None",
            "a.org 192.0.2.4:2813 1 None",
            "b.org 192.0.2.5:2814 2 None",
        ]
    );

    // What cannot be is left out and told.
    told(&mut known, &host("s1.example.org"), found(&["192.0.2.10", "0.0.0.0", "192.0.2.99"], 60));
    told(
        &mut known,
        &service,
        Answer::Found {
            servers: vec![(ip("192.0.2.10"), Some(record("a.org", 990, 1)))],
            ttl: Duration::from_secs(60),
        },
    );
    let (servers, left_out, _) = shown(&known);
    assert_eq!(servers, ["static 192.0.2.99:2811 1 None", "pool:192.0.2.3:2812 192.0.2.3:2812 1 None"]);
    assert_eq!(
        left_out,
        [
            "gridftp: `s1.example.org` is 0.0.0.0:2811, which no server can have: left out; correct the record",
            "gridftp: `s1.example.org` is 192.0.2.10:2811, which is an address of the door itself: left out; correct the record",
            "gridftp: `s1.example.org` is 192.0.2.99:2811, where there is a real server already: left out; correct the record",
            "gridftp: `_gsiftp._tcp.example.org` is 192.0.2.10:990, which is an address of the door itself: left out; correct the record",
        ]
    );
}

#[test]
fn a_configuration_without_names_is_itself() {
    let text = "[[virtual_server]]\naddresses = ['192.0.2.10']\n[[virtual_server.real_server]]\naddress = '192.0.2.11'\n";
    let model = crate::config::toml::parse(std::path::Path::new("f"), text).unwrap().model;
    assert_eq!(model.resolved(|_| &[]), (model.clone(), Vec::new()));
    assert_eq!(model.questions(), []);
}
