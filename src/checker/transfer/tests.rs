use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::*;
use crate::balance::{CheckOutcome, RealServer, RealServerSpec};
use crate::checker::conversation::attempt;
use crate::checker::{Finding, Probe};
use crate::config::{Account, Check, CheckKind};

/// The file of these servers: bytes that a lost or doubled one changes the checksum of.
fn content() -> Vec<u8> {
    (0..100_000u32).map(|number| (number % 251) as u8).collect()
}

/// What becomes of the data connection once `sends` bytes are out.
#[derive(Clone, Copy, Debug)]
enum Then {
    Close,
    Hold,
    Reset,
}

/// How a server is at one point other than one in good health.
#[derive(Clone, Copy, Debug)]
struct Stub {
    size: &'static str,
    /// In place of 227 or 229 with the port that it listens on.
    passive: Option<&'static str>,
    opening: &'static str,
    sends: usize,
    then: Then,
    /// `None` is silence.
    last: Option<&'static str>,
}

const WELL: Stub = Stub {
    size: "213 100000",
    passive: None,
    opening: "150 here it comes",
    sends: 100_000,
    then: Then::Close,
    last: Some("226 done"),
};

/// Serves one control connection until QUIT.
async fn serve(listener: TcpListener, stub: Stub) {
    let (stream, _) = listener.accept().await.unwrap();
    let local = stream.local_addr().unwrap();
    let mut stream = BufReader::new(stream);
    let data = TcpListener::bind((local.ip(), 0)).await.unwrap();
    let port = data.local_addr().unwrap().port();
    stream.write_all(b"220 stub\r\n").await.unwrap();
    let mut held = Vec::new();
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|count| count > 0) {
        let verb = line.split([' ', '\r']).next().unwrap_or_default().to_owned();
        let reply = match verb.as_str() {
            "USER" => "331 password please".into(),
            "PASS" => "230 in".into(),
            "TYPE" => "200 binary".into(),
            "SIZE" => stub.size.to_owned(),
            "PASV" | "EPSV" if stub.passive.is_some() => stub.passive.unwrap_or_default().to_owned(),
            "PASV" => format!("227 Entering Passive Mode (127,0,0,1,{},{}).", port >> 8, port & 255),
            "EPSV" => format!("229 Entering Extended Passive Mode (|||{port}|)"),
            "RETR" => {
                assert_eq!(line, "RETR /check/file\r\n");
                stream.write_all(format!("{}\r\n", stub.opening).as_bytes()).await.unwrap();
                if stub.opening.starts_with('1') {
                    let (mut data, _) = data.accept().await.unwrap();
                    let _ = data.write_all(&content()[..stub.sends.min(100_000)]).await;
                    match stub.then {
                        Then::Close => drop(data),
                        Then::Hold => held.push(data),
                        Then::Reset => {
                            // What is still under way would be lost with it.
                            sleep(Duration::from_millis(50)).await;
                            socket2::SockRef::from(&data).set_linger(Some(Duration::ZERO)).unwrap();
                            drop(data);
                            sleep(Duration::from_millis(50)).await;
                        }
                    }
                    if let Some(last) = stub.last {
                        stream.write_all(format!("{last}\r\n").as_bytes()).await.unwrap();
                    }
                }
                line.clear();
                continue;
            }
            "QUIT" => {
                let _ = stream.write_all(b"221 bye\r\n").await;
                return;
            }
            other => panic!("the check says {other}"),
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
        line.clear();
    }
}

fn sample() -> SampleFile {
    SampleFile { path: "/check/file".into(), size: None, adler32: None }
}

async fn check_over(ip: &str, stub: Stub, file: SampleFile, max_time: Duration) -> Finding {
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let probe = Probe {
        virtual_server: "gridftp".into(),
        server: Arc::new(RealServer::new(RealServerSpec {
            name: "s1".into(),
            address: listener.local_addr().unwrap(),
            weight: 1,
            max_connections: None,
            fall: 1,
            rise: 1,
        })),
        check: Check {
            kind: CheckKind::Transfer(Account::default(), file),
            connect_timeout: Duration::from_millis(500),
            max_time,
            ..Check::default()
        },
        greeting_timeout: Duration::from_secs(10),
        proxy_protocol: None,
        tls: None,
        gsi: None,
    };
    let (finding, ()) = tokio::join!(attempt(Arc::new(probe)), serve(listener, stub));
    finding
}

fn said(finding: Finding) -> String {
    let report = finding.unwrap();
    match report.outcome {
        CheckOutcome::Passed => format!("passed: {}", report.found),
        CheckOutcome::Busy(words) => format!("busy: {words}"),
        CheckOutcome::Failed(reason) => format!("failed: {reason}"),
    }
}

/// A server in this state; what is said, as far as it is the same each time.
#[rustfmt::skip]
const TABLE: &[(&str, Stub, &str)] = &[
    ("well",                        WELL, "passed: 100000 bytes of `/check/file` in "),
    ("no SIZE",                     Stub { size: "500 what?", ..WELL }, "passed: 100000 bytes of"),
    ("226 before the end",          Stub { opening: "125 at once", ..WELL }, "passed: 100000 bytes of"),
    ("no such file",                Stub { size: "550 no", opening: "550 No such file or directory", ..WELL },
                                    "failed: it does not send `/check/file`: `550 No such file or directory`; put the file there, readable for the check's user, or correct `file`"),
    ("short, and 226",              Stub { sends: 512, ..WELL },
                                    "failed: it says that all is sent after 512 of 100000 bytes; see the server's log and its file system: transfers that break off count as complete there"),
    ("empty, and 226",              Stub { sends: 0, ..WELL }, "failed: it says that all is sent after 0 of 100000 bytes; "),
    ("longer than it says",         Stub { size: "213 99999", ..WELL }, "failed: it sends more than 99999 bytes of the file; "),
    ("short, and it says so",       Stub { sends: 512, last: Some("426 disk error"), ..WELL }, "failed: it stopped after 512 bytes: `426 disk error`; see the server's log, "),
    ("says so, and hangs",          Stub { sends: 0, then: Then::Hold, last: Some("451 disk error"), ..WELL }, "failed: it stopped after 0 bytes: `451 disk error`; "),
    ("hangs before a byte",         Stub { sends: 0, then: Then::Hold, last: None, ..WELL }, "failed: no byte on the data connection to 127.0.0.1:"),
    ("hangs half way",              Stub { sends: 512, then: Then::Hold, last: None, ..WELL }, "failed: no end of the data, 512 bytes came within max_time = 1s; see the server's log, and whether its file system hangs"),
    ("hangs after 226",             Stub { then: Then::Hold, ..WELL }, "failed: no end of the data after its 226, 100000 bytes came within max_time"),
    ("no 226",                      Stub { last: None, ..WELL }, "failed: no 226 after the 100000 bytes and their end within max_time"),
    ("data reset",                  Stub { sends: 512, then: Then::Reset, last: Some("426 broken pipe"), ..WELL }, "failed: the data connection broke after 512 bytes: Connection reset by peer (os error 104), `426 broken pipe`; "),
    ("no port for data",            Stub { passive: Some("425 no ports"), ..WELL }, "failed: it opens no port for data at PASV: `425 no ports`; see whether it has free ports for data"),
    ("no address in its 227",       Stub { passive: Some("227 here"), ..WELL }, "failed: it opens no port for data at PASV: `227 here`; "),
    ("nobody at its address",       Stub { passive: Some("227 (127,0,0,1,0,1)"), ..WELL },
                                    "failed: its data address 127.0.0.1:1 is not reachable from this balancer: Connection refused (os error 111); pass its data ports in the firewall between"),
    ("nobody at another address",   Stub { passive: Some("227 (127,0,0,99,0,1)"), ..WELL },
                                    "failed: its data address 127.0.0.99:1 is not reachable from this balancer: Connection refused (os error 111); let it announce an address that this balancer reaches too, or use type = \"login\""),
    ("full in the middle of it",    Stub { opening: "421 going down", ..WELL }, "busy: 421 going down"),
];

#[tokio::test]
async fn each_fault_of_a_transfer_has_its_own_reason() {
    for &(claim, stub, expected) in TABLE {
        let said = said(check_over("127.0.0.1", stub, sample(), Duration::from_secs(1)).await);
        assert!(said.starts_with(expected), "{claim}: {said}");
        assert!(!said.starts_with("failed") || said.contains("; "), "{claim}: {said}");
    }
}

#[tokio::test]
async fn over_ipv6_the_server_is_asked_with_epsv() {
    let said = said(check_over("::1", WELL, sample(), Duration::from_secs(5)).await);
    assert!(said.starts_with("passed: 100000 bytes of "), "{said}");
}

#[tokio::test]
async fn what_arrives_is_compared_with_what_the_operator_knows() {
    let mut sum = Adler32::default();
    sum.update(&content());
    let right = sum.value();
    #[rustfmt::skip]
    let table = [
        (Some(100_000), Some(right),     "passed: "),
        (Some(99_999),  None,            "failed: `/check/file` has 100000 bytes there, not 99999; put the whole file there, or correct `size`"),
        (Some(100_001), None,            "failed: `/check/file` has 100000 bytes there, not 100001; "),
        (None,          Some(right ^ 1), "failed: `/check/file` arrives as adler32:"),
    ];
    for (size, adler32, expected) in table {
        let file = SampleFile { size, adler32, ..sample() };
        let said = said(check_over("127.0.0.1", WELL, file, Duration::from_secs(5)).await);
        assert!(said.starts_with(expected), "{size:?} {adler32:?}: {said}");
    }
}
