//! What holds for every dialogue.
use std::collections::VecDeque;

use proptest::prelude::*;

use super::driver::{Driver, Mood};
use super::*;

/// A command, the reply an in-order server gives, and the final code that the client must see.
fn exchange() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let pairs: Vec<(&str, &str)> = vec![
        ("NOOP\r\n", "200 ok\r\n"),
        ("PWD\r\n", "257 \"/\"\r\n"),
        ("TYPE A\r\n", "200 A\r\n"),
        ("TYPE I\r\n", "200 I\r\n"),
        ("MODE E\r\n", "200 E\r\n"),
        ("USER joe\r\n", "331 p\r\n"),
        ("PASS x\r\n", "230-hi\r\n230 in\r\n"),
        ("FEAT\r\n", "211-Extensions\r\n SIZE\r\n227 no\r\n211 End\r\n"),
        ("PASV\r\n", "227 x (10,0,0,11,1,2)\r\n"),
        ("EPSV\r\n", "229 x (|||513|)\r\n"),
        ("EPSV 2\r\n", "229 x (|||514|)\r\n"),
        ("EPSV ALL\r\n", "229 all\r\n"),
        ("SPOR 192,0,2,7,200,1 192,0,2,7,200,2\r\n", "200 SPOR\r\n"),
        ("OPTS PASV AllowDelayed=1;\r\n", "200 delayed\r\n"),
        ("MODE S\r\n", "200 S\r\n"),
        ("REST 5\r\n", "350 from there\r\n"),
        ("GET path=/a;pasv;\r\n", "127 x (10,0,0,11,1,2)\r\n226 done\r\n"),
        ("RETR /no\r\n", "550-no\r\n550 such\r\n"),
        ("SPAS\r\n", "229-x\r\n 10,0,0,11,1,2\r\n229 End\r\n"),
        ("PORT 192,0,2,7,200,1\r\n", "200 PORT\r\n"),
        ("PORT 203,0,113,9,200,1\r\n", "200 PORT\r\n"),
        ("PORT what\r\n", "501 no\r\n"),
        ("RETR /a\r\n", "150 go\r\n226 done\r\n"),
        ("STOR /b\r\n", "127 x (10,0,0,11,1,2)\r\n150 go\r\n112-m\r\n112 End.\r\n226 done\r\n"),
        ("LIST\r\n", "125 go\r\n226 done\r\n"),
        ("SITE UPAS\r\n", "250 never\r\n"),
        ("LPSV\r\n", "250 never\r\n"),
        ("NOOP\nNOOP\r\n", "250 never\r\n"),
        ("ABOR\r\n", "226 ok\r\n"),
        ("REIN\r\n", "220 again\r\n"),
        ("AUTH TLS\r\n", "504 no\r\n"),
    ];
    let long = (8000usize..20_000).prop_map(|length| {
        (
            format!("CWD {}\r\n", "x".repeat(length)).into_bytes(),
            format!("550 {}\r\n", "x".repeat(length)).into_bytes(),
        )
    });
    let short = proptest::sample::select(pairs).prop_map(|(command, reply)| (command.into(), reply.into()));
    prop_oneof![15 => short, 1 => long]
}

/// A server that answers every line in its turn.
#[derive(Default)]
struct InOrder {
    lines: Vec<u8>,
    replies: VecDeque<u8>,
    answered: usize,
}

impl Site {
    /// With what its data path may want of the driver.
    fn ready(&self) -> Rig {
        let mut rig = self.rig();
        if self.path == DataPath::Kernel {
            rig.session = rig.session.with_kernel_path();
        }
        rig
    }
}

impl InOrder {
    fn hear(&mut self, bytes: &[u8], script: &[(Vec<u8>, Vec<u8>)]) {
        self.lines.extend_from_slice(bytes);
        while let Some(end) = memchr::memmem::find(&self.lines, b"\r\n") {
            let line: Vec<u8> = self.lines.drain(..end + 2).collect();
            let reply = script.iter().find(|(command, _)| *command == line).map(|(_, reply)| &reply[..]);
            self.answered += 1;
            // What the client has not said it must not hear of, and of the rest in order.
            let number = if reply.is_some() { self.answered.to_string() } else { "hidden".to_owned() };
            let reply = reply.unwrap_or(b"200 I\r\n");
            self.replies.extend(&reply[..reply.len() - 2]);
            self.replies.extend(format!(" #{number}\r\n").as_bytes());
        }
    }
}

/// Runs a dialogue; `client` and `server` say how many bytes move at a time, and whether the driver speaks.
fn run(
    script: &[(Vec<u8>, Vec<u8>)],
    path: DataPath,
    mood: Mood,
    client: &[usize],
    server: &[usize],
) -> (Vec<u8>, Vec<u8>, Vec<Action>) {
    let mut rig = Site { path, ..Site::default() }.ready();
    let mut driver = Driver::default();
    let mut input: VecDeque<u8> = script.iter().flat_map(|(command, _)| command.clone()).collect();
    let mut peer = InOrder::default();
    let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
    for turn in 0.. {
        let from_client: Vec<u8> = {
            let most = if rig.stash.is_empty() { client[turn % client.len()] } else { 0 };
            input.drain(..most.min(input.len())).collect()
        };
        rig.client(from_client);
        let from_server: Vec<u8> = {
            let most = server[turn % server.len()];
            peer.replies.drain(..most.min(peer.replies.len())).collect()
        };
        rig.server(from_server);
        driver.hear(&mut rig, mood);
        if server[turn % server.len()] % 2 == 1 || turn % 7 == 0 {
            driver.speak(&mut rig);
        }
        peer.hear(&rig.out.to_server, script);
        to_client.append(&mut rig.out.to_client);
        to_server.append(&mut rig.out.to_server);
        let quiet = input.is_empty() && rig.stash.is_empty() && peer.replies.is_empty() && !driver.owes();
        if quiet && !rig.session.is_waiting() {
            break;
        }
        assert!(turn < 1_000_000, "the dialogue is stuck");
    }
    driver.hear(&mut rig, mood);
    assert!(!driver.owes() && !rig.session.is_busy() && rig.session.ended().is_none());
    (to_client, to_server, rig.actions())
}

/// The numbers of the server's replies that the client has heard; its own words in a 425 of the door's are none.
fn numbers(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter(|line| !line.starts_with("425"));
    lines.filter_map(|line| Some(line.rsplit_once(" #")?.1.to_owned())).collect()
}

/// Final replies, as the client counts them.
fn finals(bytes: &[u8]) -> usize {
    let mut framer = ReplyFramer::default();
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    lines
        .filter(|line| match framer.classify(line) {
            ReplyLine::Last(code) | ReplyLine::Single(code) => !code.is_preliminary(),
            ReplyLine::First(_) | ReplyLine::Middle(_) | ReplyLine::Stray => false,
        })
        .count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_command_gets_exactly_one_final_reply_and_the_chunks_do_not_matter(
        script in proptest::collection::vec(exchange(), 1..40),
        logged_in in any::<bool>(),
        path in path(),
        mood in proptest::sample::select(vec![Mood::Willing, Mood::Willing, Mood::NoPort, Mood::NoServer]),
        client in proptest::collection::vec(0usize..60, 1..8),
        server in proptest::collection::vec(0usize..60, 1..8),
    ) {
        let mut script = script;
        if logged_in {
            script.splice(0..0, [("USER joe\r\n", "331 p\r\n"), ("PASS x\r\n", "230-hi\r\n230 in\r\n")]
                .map(|(command, reply)| (command.into(), reply.into())));
        }
        // Neither side may stop for ever.
        let (client, server) = ([&client[..], &[9000]].concat(), [&server[..], &[9000]].concat());
        let (to_client, to_server, actions) = run(&script, path, mood, &client, &server);
        prop_assert_eq!(finals(&to_client), script.len());
        let heard: Vec<Option<usize>> = numbers(&to_client).iter().map(|number| number.parse().ok()).collect();
        prop_assert!(heard.is_sorted_by(|one, next| one < next), "{heard:?}");
        prop_assert!(heard.iter().all(Option::is_some), "{heard:?}");
        let whole = run(&script, path, mood, &[usize::MAX], &[usize::MAX]);
        prop_assert_eq!(shown(&to_client), shown(&whole.0));
        prop_assert_eq!(shown(&to_server), shown(&whole.1));
        prop_assert_eq!(actions.len(), whole.2.len());
        let addresses = to_client.windows(10).any(|window| window == b"10,0,0,11,");
        prop_assert!(!addresses, "the server's own address stays hidden");
    }

    #[test]
    fn garbage_on_both_sides_is_survived_within_bounds(
        turns in proptest::collection::vec((any::<bool>(), garbage()), 1..60),
        path in path(),
        mood in proptest::sample::select(vec![Mood::Willing, Mood::NoPort, Mood::NoServer, Mood::Silent]),
    ) {
        let mut rig = Site { path, ..Site::default() }.ready();
        let mut driver = Driver::default();
        let mut offered = 0;
        for (from_client, bytes) in &turns {
            offered = offered.max(rig.stash.len() + bytes.len());
            if *from_client {
                rig.client(bytes);
            } else {
                rig.session.handle_server(rig.now, bytes, &mut rig.out);
                rig.resume();
            }
            driver.hear(&mut rig, mood);
            driver.speak(&mut rig);
            let session = &rig.session;
            prop_assert!(session.client_lines.held() <= HELD_LINE + offered);
            prop_assert!(session.server_lines.held() <= HELD_LINE + offered);
            prop_assert!(session.pending.len() <= MAX_PENDING + 1);
            prop_assert!(session.transfers.len() <= session.pending.len());
        }
        rig.server_closes();
        prop_assert!(rig.session.ended().is_some());
    }

    #[test]
    fn what_is_not_acted_on_comes_out_as_it_went_in(
        lines in proptest::collection::vec(proptest::collection::vec(plain_byte(), 0..300), 0..40),
        replies in proptest::collection::vec((200u16..700, proptest::collection::vec(plain_byte(), 0..300)), 0..40),
        chunk in 1usize..500,
    ) {
        let mut rig = rig();
        let input: Vec<u8> = lines.iter().flat_map(|line| [b"X", &line[..], b"\r\n"].concat()).collect();
        let output: Vec<u8> =
            replies.iter().flat_map(|(code, text)| [format!("{code} ").as_bytes(), text, b"\r\n"].concat()).collect();
        for part in input.chunks(chunk) {
            rig.client(part);
        }
        rig.server_sees(&input);
        for part in output.chunks(chunk) {
            rig.server(part);
        }
        rig.client_sees(&output);
        prop_assert!(rig.actions().is_empty());
    }
}

fn path() -> impl Strategy<Value = DataPath> {
    proptest::sample::select(vec![DataPath::Direct, DataPath::Relay, DataPath::Auto, DataPath::Kernel])
}

fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"\r\n",
        b"\r",
        b"\n",
        b" ",
        b"PASV",
        b"RETR ",
        b"AUTH GSSAPI",
        b"AUTH TLS",
        b"ADAT x",
        b"PORT 192,0,2,7,200,1",
        b"TYPE I",
        b"ABOR",
        b"USER a",
        b"PASS",
        b"EPSV",
        b"MODE E",
        b"QUIT",
        b"REIN",
        b"LIST",
        b"\xff\xf4\xff\xf2",
        b"227 (10,0,0,11,1,2)",
        b"\r\nPASV\r\nRETR x\r\n",
        b"\r\nUSER joe\r\n",
        b"SPAS",
        b"REST 5",
        b"350 ok",
        b"229-x\r\n 10,0,0,62,1,2\r\n229 End",
        b"200 ok",
        b"200-x",
        b"234 ok",
        b"335 x",
        b"535 x",
        b"230 in",
        b"150 go",
        b"226 done",
        b"421 bye",
        b"229 (|||513|)",
        b"\r\n200 ok\r\n",
    ];
    let piece = prop_oneof![
        8 => proptest::sample::select(words).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => (0usize..10_000).prop_map(|length| vec![b'y'; length]),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

/// Any byte but those that end lines or that the door does not pass from clients.
fn plain_byte() -> impl Strategy<Value = u8> {
    (0u8..=250).prop_map(|byte| if matches!(byte, b'\r' | b'\n') { b'z' } else { byte })
}
