use std::net::SocketAddr;

use tokio::io::{DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::*;
use crate::balance::{Capabilities, Observation, RealServer, RealServerSpec};
use crate::config::Account;
use crate::proto::proxy_protocol::Version;

const PATIENCE: Duration = Duration::from_secs(10);

/// What a server does, step by step.
#[derive(Clone, Copy, Debug)]
enum Step {
    Say(&'static str),
    /// Reads a line, which has to be this one.
    Hear(&'static str),
    Wait(Duration),
    /// Says it again and again, until nobody listens.
    Repeat(&'static str, Duration),
    /// Reads until QUIT, answers 221 and closes.
    Part,
    /// Reads on and never answers.
    Stay,
    Close,
}
use Step::{Close, Hear, Part, Repeat, Say, Stay, Wait};

/// Plays a server; returns what it was told.
async fn serve(mut stream: DuplexStream, steps: &[Step]) -> String {
    let mut heard = Vec::new();
    for step in steps {
        match *step {
            Say(words) => stream.write_all(words.as_bytes()).await.unwrap(),
            Hear(line) => {
                let mut bytes = vec![0; line.len() + 2];
                stream.read_exact(&mut bytes).await.unwrap();
                assert_eq!(String::from_utf8(bytes).unwrap(), format!("{line}\r\n"));
            }
            Wait(time) => sleep(time).await,
            Repeat(words, pause) => {
                let mut said = 0;
                while stream.write_all(words.as_bytes()).await.is_ok() {
                    said += words.len();
                    assert!(said < 4 * MAX_FAREWELL, "what is read is bounded");
                    sleep(pause).await;
                }
                let _ = stream.read_to_end(&mut heard).await;
            }
            Part => {
                while !heard.ends_with(b"QUIT\r\n") {
                    heard.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(b"221 Goodbye.\r\n").await.unwrap();
            }
            Stay => {
                stream.read_to_end(&mut heard).await.unwrap();
            }
            Close => {}
        }
    }
    String::from_utf8(heard).unwrap()
}

const SECOND: Duration = Duration::from_secs(1);
const PASSED: &str = "passed";

/// A claim; the steps; what `ftp` and what `tcp` says ("…" leaves the rest open); seconds it may take at most.
type Row = (&'static str, &'static [Step], &'static str, &'static str, u64);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("a Globus greeting",           &[Say("220 s1 GridFTP Server 13.24 ready.\r\n"), Part],             PASSED, PASSED, 0),
    ("a terse one",                 &[Say("220 \r\n"), Part],                                           PASSED, PASSED, 0),
    ("lines of welcome",            &[Say("220-Welcome\r\n220-to\r\n the grid\r\n220 ready\r\n"), Part], PASSED, PASSED, 0),
    ("in pieces",                   &[Say("22"), Wait(SECOND), Say("0 re"), Wait(SECOND), Say("ady\r"), Wait(SECOND), Say("\n"), Part], PASSED, PASSED, 3),
    ("late, but in time",           &[Wait(Duration::from_secs(9)), Say("220 ready\r\n"), Part],        PASSED, PASSED, 9),
    ("120 comes before",            &[Say("120 in a minute\r\n"), Wait(SECOND), Say("220 ready\r\n"), Part], PASSED, PASSED, 3),
    ("no goodbye",                  &[Say("220 ready\r\n"), Stay],                                      PASSED, PASSED, 2),
    ("no end to its goodbye",       &[Say("220 ready\r\n"), Repeat("221-and\r\n", Duration::from_millis(10))], PASSED, PASSED, 2),
    ("busy and gone",               &[Say("421 Service busy: Connection limit exceeded.\r\n"), Close],  "busy: 421 Service busy: Connection limit exceeded.", PASSED, 0),
    ("busy and polite",             &[Say("421 Service busy\r\n"), Part],                               "busy: 421 Service busy", PASSED, 0),
    ("offline",                     &[Say("422-Sorry\r\n422 offline for maintenance\r\n"), Close],      "busy: 422 offline for maintenance", PASSED, 0),
    ("120 and then busy",           &[Say("120 soon\r\n421 not now\r\n"), Part],                        "busy: 421 not now", PASSED, 0),
    ("another code",                &[Say("530 not \x1b[31myou\r\n"), Part],                            "failed: it greets with `530 not [31myou` in place of 220; …", PASSED, 0),
    ("closes at once",              &[Close],                                                           "failed: it closed the connection before its greeting; …", "failed: it closed the connection before a word; …", 0),
    ("closes inside its greeting",  &[Say("220-Welc"), Close],                                          "failed: it closed the connection before its greeting; …", PASSED, 0),
    ("closes after 120",            &[Say("120 soon\r\n"), Close],                                      "failed: it closed the connection before its greeting; …", PASSED, 0),
    ("silence",                     &[Stay],                                                            "failed: no greeting within 10s; …", PASSED, 12),
    ("half a greeting",             &[Say("220-Welcome\r\n"), Stay],                                    "failed: no greeting within 10s; …", PASSED, 12),
    ("one byte a second",           &[Repeat("2", SECOND)],                                             "failed: no greeting within 10s; …", PASSED, 12),
    ("a greeting without end, slow", &[Repeat("220-and\r\n", Duration::from_millis(10))],               "failed: no greeting within 10s; …", PASSED, 12),
    ("a greeting without end",      &[Repeat("220-and so on and on and on\r\n", Duration::ZERO)],       "failed: its greeting is longer than 65536 bytes; …", PASSED, 2),
    ("a line without end",          &[Repeat("220 aaaaaaaaaaaaaaaaaaaaaaaaa", Duration::ZERO)],         "failed: its greeting is longer than 65536 bytes; …", PASSED, 2),
    ("not FTP",                     &[Say("SSH-2.0-OpenSSH_9.2p1\r\n"), Part],                          "failed: it does not speak FTP…", PASSED, 0),
    ("not text",                    &[Say("\u{1}\u{3}\0\0\u{16}\r\n"), Part],                           "failed: it does not speak FTP…", PASSED, 0),
];

fn says(verdict: Verdict) -> String {
    match verdict {
        Ok(_) => PASSED.into(),
        Err(Setback::Server(CheckOutcome::Busy(words))) => format!("busy: {words}"),
        Err(Setback::Server(CheckOutcome::Failed(reason))) => format!("failed: {reason}"),
        Err(other) => format!("{other:?}"),
    }
}

fn found(finding: Finding) -> CheckOutcome {
    finding.unwrap().outcome
}

fn check(kind: CheckKind) -> Check {
    Check { kind, retry: 0, connect_timeout: Duration::from_millis(300), ..Check::default() }
}

fn course(check: &Check) -> Course<'_> {
    let server = SocketAddr::from(([127, 0, 0, 1], 1));
    Course { check, server, greeting_timeout: PATIENCE, start: Instant::now(), capabilities: None }
}

/// What comes of a conversation with a server that takes these steps, and what it was told.
async fn rehearse(kind: &CheckKind, steps: &[Step]) -> (Verdict, String) {
    let (ours, theirs) = duplex(256);
    let check = check(kind.clone());
    let course = course(&check);
    let ((verdict, _), heard) = tokio::join!(converse(ours, &course, None), serve(theirs, steps));
    (verdict, heard)
}

fn assert_said(claim: &str, said: &str, expected: &str) {
    match expected.strip_suffix('…') {
        Some(start) => assert!(said.starts_with(start), "{claim}: {said}"),
        None => assert_eq!(said, expected, "{claim}"),
    }
}

async fn table_holds(kind: CheckKind) {
    for &(claim, steps, of_ftp, of_tcp, seconds) in TABLE {
        let expected = if kind == CheckKind::Ftp { of_ftp } else { of_tcp };
        let start = Instant::now();
        let (verdict, heard) = rehearse(&kind, steps).await;
        assert_said(claim, &says(verdict), expected);
        assert!(
            start.elapsed() <= Duration::from_secs(seconds) + SECOND / 2,
            "{claim}: {:?}",
            start.elapsed()
        );
        if !matches!(steps.last(), Some(Close)) {
            assert_eq!(heard, "QUIT\r\n", "{claim}: never connect and drop");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ftp_judges_by_the_greeting_and_always_says_quit() {
    table_holds(CheckKind::Ftp).await;
}

#[tokio::test(start_paused = true)]
async fn tcp_takes_any_greeting_and_always_says_quit() {
    table_holds(CheckKind::Tcp).await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_says_how_to_mend_it() {
    for &(claim, steps, ..) in TABLE {
        let (verdict, _) = rehearse(&CheckKind::Ftp, steps).await;
        if let Err(Setback::Server(CheckOutcome::Failed(reason))) = verdict {
            assert!(reason.contains("; ") && !reason.contains(['\r', '\n', '\x1b']), "{claim}: {reason}");
        }
    }
}

fn probe(address: SocketAddr, kind: CheckKind) -> Arc<Probe> {
    Arc::new(Probe {
        virtual_server: "gridftp".into(),
        server: Arc::new(RealServer::new(RealServerSpec {
            name: "s1".into(),
            address,
            weight: 1,
            max_connections: None,
            fall: 1,
            rise: 1,
        })),
        check: check(kind),
        greeting_timeout: Duration::from_secs(10),
        proxy_protocol: None,
        tls: None,
        gsi: None,
    })
}

#[tokio::test]
async fn a_real_connection_is_opened_used_and_ended_by_the_server() {
    for kind in [CheckKind::Tcp, CheckKind::Ftp] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let probe = probe(listener.local_addr().unwrap(), kind.clone());
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"220 ready\r\n").await.unwrap();
            let mut quit = [0; 6];
            stream.read_exact(&mut quit).await.unwrap();
            stream.write_all(b"221 Goodbye.\r\n").await.unwrap();
            quit
        };
        let (finding, quit) = tokio::join!(attempt(probe), server);
        assert_eq!((found(finding), &quit), (CheckOutcome::Passed, b"QUIT\r\n"), "{kind:?}");
    }
}

#[tokio::test]
async fn a_probe_says_that_it_speaks_for_nobody_else() {
    for (version, expected) in
        [(Version::V1, &b"PROXY UNKNOWN\r\n"[..]), (Version::V2, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut probe = probe(listener.local_addr().unwrap(), CheckKind::Ftp);
        Arc::get_mut(&mut probe).unwrap().proxy_protocol = Some(version);
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut header = vec![0; expected.len()];
            stream.read_exact(&mut header).await.unwrap();
            stream.write_all(b"220 ready\r\n").await.unwrap();
            let mut quit = [0; 6];
            stream.read_exact(&mut quit).await.unwrap();
            assert_eq!(&quit, b"QUIT\r\n");
            header
        };
        let (finding, header) = tokio::join!(attempt(probe), server);
        assert_eq!((found(finding), &header[..]), (CheckOutcome::Passed, expected));
    }
}

#[tokio::test]
async fn a_closed_port_fails_at_once() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for kind in [CheckKind::Tcp, CheckKind::Ftp] {
        let said = says(Err(found(attempt(probe(address, kind)).await).into()));
        assert!(said.starts_with("failed: no connection: Connection refused"), "{said}");
    }
}

#[tokio::test]
async fn a_host_that_does_not_answer_fails_after_connect_timeout() {
    // A listener whose queue is full drops every further SYN, as a dead host does.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let _waiting = std::net::TcpStream::connect(address).unwrap();
    let said = says(Err(found(attempt(probe(address, CheckKind::Ftp)).await).into()));
    assert!(said.starts_with("failed: no connection within 300ms; "), "{said}");
}

const GREETS: Step = Say("220 s1 ready\r\n");
const NAMES: Step = Hear("USER anonymous");
const WANTS: Step = Say("331 password please\r\n");
const PROVES: Step = Hear("PASS check@gridfront");

/// What `login` says of a server; seconds that it may take at most.
#[rustfmt::skip]
const LOGINS: &[(&str, &[Step], &str, u64)] = &[
    ("let in",                       &[GREETS, NAMES, WANTS, PROVES, Say("230 in\r\n"), Part],                       PASSED, 0),
    ("with no password asked for",   &[GREETS, NAMES, Say("230 in\r\n"), Part],                                     PASSED, 0),
    ("with a long welcome",          &[GREETS, NAMES, WANTS, PROVES, Say("230-Welcome\r\n230-to\r\n"), Wait(SECOND), Say("230 in\r\n"), Part], PASSED, 1),
    ("late, but in time",            &[GREETS, NAMES, WANTS, PROVES, Wait(Duration::from_secs(19)), Say("230 in\r\n"), Part], PASSED, 20),
    ("full at its greeting",         &[Say("421 full\r\n"), Close],                                                 "busy: 421 full", 0),
    ("full at USER",                 &[GREETS, NAMES, Say("421 too many users\r\n"), Close],                        "busy: 421 too many users", 0),
    ("full at PASS",                 &[GREETS, NAMES, WANTS, PROVES, Say("450 try again\r\n"), Part],               "busy: 450 try again", 0),
    ("full as ProFTPD says it",      &[GREETS, NAMES, WANTS, PROVES, Say("530 Sorry, the maximum number of clients (2) are already connected.\r\n"), Close],
                                     "busy: 530 Sorry, the maximum number of clients (2) are already connected.", 0),
    ("refused",                      &[GREETS, NAMES, WANTS, PROVES, Say("530 Login incorrect.\r\n"), Part],        "failed: it refuses the login of `anonymous`: `530 Login incorrect.`; let guests in there (Globus: allow_anonymous 1), …", 0),
    ("refused as Globus does",       &[GREETS, NAMES, WANTS, PROVES, Say("530-Login incorrect. : no mapping\r\n530-more\r\n530 End.\r\n"), Part],
                                     "failed: it refuses the login of `anonymous`: `530-Login incorrect. : no mapping`; …", 0),
    ("a wrong password, as some say", &[GREETS, NAMES, WANTS, PROVES, Say("430 bad password\r\n"), Part],           "failed: it refuses the login of `anonymous`: `430 bad password`; …", 0),
    ("wants an account",             &[GREETS, NAMES, Say("332 account?\r\n"), Part],                              "failed: it refuses the login of `anonymous`: `332 account?`; the check has no ACCT…", 0),
    ("closes at PASS",               &[GREETS, NAMES, WANTS, PROVES, Close],                                        "failed: it closed the connection, no reply to PASS came; …", 0),
    ("silent at USER",               &[GREETS, NAMES, Stay],                                                        "failed: no reply to USER within max_time = 20s; …", 22),
    ("silent at PASS",               &[GREETS, NAMES, WANTS, PROVES, Stay],                                         "failed: no reply to PASS within max_time = 20s; …", 22),
    ("a reply without end",          &[GREETS, NAMES, Repeat("331-and so on and on and on\r\n", Duration::ZERO)],   "failed: the reply to USER is longer than 65536 bytes; …", 2),
    ("one that never ends, slowly",  &[GREETS, NAMES, Repeat("120 wait\r\n", SECOND)],                              "failed: no reply to USER within max_time = 20s; …", 23),
];

#[tokio::test(start_paused = true)]
async fn login_judges_by_the_reply_to_the_password_and_always_says_quit() {
    for &(claim, steps, expected, seconds) in LOGINS {
        let start = Instant::now();
        let (verdict, heard) = rehearse(&CheckKind::Login(Account::default()), steps).await;
        assert_said(claim, &says(verdict), expected);
        assert!(
            start.elapsed() <= Duration::from_secs(seconds) + SECOND / 2,
            "{claim}: {:?}",
            start.elapsed()
        );
        if !matches!(steps.last(), Some(Close)) {
            assert!(heard.ends_with("QUIT\r\n"), "{claim}: {heard:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_password_is_sent_to_the_server_and_told_nobody_else() {
    let account = Account { user: "alice".into(), password: "secret".into() };
    let steps = [GREETS, Hear("USER alice"), WANTS, Hear("PASS secret"), Say("530 no\r\n"), Part];
    let (verdict, _) = rehearse(&CheckKind::Login(account.clone()), &steps).await;
    let said = says(verdict);
    assert!(said.starts_with("failed: it refuses the login of `alice`: `530 no`; correct `user`"), "{said}");
    assert!(!said.contains("secret") && !format!("{account:?}").contains("secret"));
    let steps = [GREETS, Hear("USER alice"), WANTS, Hear("PASS secret"), Close];
    let (verdict, _) = rehearse(&CheckKind::Login(account), &steps).await;
    assert!(!says(verdict).contains("secret"));
}

/// What a check has seen of a server that greets, answers so and takes the QUIT.
async fn look(answers: &[Step]) -> (Verdict, Observation<Capabilities>) {
    let (ours, theirs) = duplex(256);
    let check = check(CheckKind::Ftp);
    let seen = Seen::default();
    let course = Course { capabilities: Some(&seen), ..course(&check) };
    let steps = [&[Say("220 ready\r\n"), Hear("FEAT")], answers].concat();
    let ((verdict, _), _) = tokio::join!(converse(ours, &course, None), serve(theirs, &steps));
    (verdict, seen.into_observation())
}

#[tokio::test(start_paused = true)]
async fn what_a_server_can_do_is_seen_and_never_a_fault() {
    let seen = |features: &[&str], commands: &[&str]| {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Observation::Seen(Capabilities { features: owned(features), commands: owned(commands) })
    };
    let features = Say("211-Extensions\r\n SIZE\r\n MLST Type*;\r\n211 End.\r\n");
    #[rustfmt::skip]
    let table: &[(&[Step], Observation<Capabilities>)] = &[
        (&[features, Hear("HELP"), Say("214-These:\r\n    PWD     SIZE\r\n214 End\r\n"), Part],
         seen(&["SIZE", "MLST Type*;"], &["PWD", "SIZE"])),
        (&[features, Hear("HELP"), Say("502 No.\r\n"), Part],  seen(&["SIZE", "MLST Type*;"], &[])),
        (&[Say("211 nothing\r\n"), Hear("HELP"), Say("502 No.\r\n"), Part], seen(&[], &[])),
        (&[Say("530 Must perform GSSAPI authentication.\r\n"), Part], Observation::NotLookedAt),
        (&[Part],  Observation::AsBefore),
        (&[Close], Observation::AsBefore),
    ];
    for (answers, expected) in table {
        let (verdict, observed) = look(answers).await;
        assert!(verdict.is_ok(), "{answers:?}: {verdict:?}");
        assert_eq!(&observed, expected, "{answers:?}");
    }
}
