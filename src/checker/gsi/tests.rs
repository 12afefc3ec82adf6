use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::config::{Check, CheckKind};
use crate::proto::gsi::{ExpectedPeer, PrivateKey, TrustStore};

fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tls/tests").join(name)
}

fn credential() -> Credential {
    let chain = CertificateDer::pem_file_iter(file("a.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file("a.key")).unwrap();
    Credential::new(chain, PrivateKey::from_der(&key).unwrap()).unwrap()
}

/// What a check makes of a server that greets, and gives these answers one after the other.
async fn check_of(answers: &[&str]) -> (String, Option<Certificate>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let check = Check {
        kind: CheckKind::Gsi(GsiCheck::default()),
        max_time: Duration::from_millis(500),
        ..Check::default()
    };
    let server = listener.local_addr().unwrap();
    let course = Course {
        check: &check,
        server,
        greeting_timeout: Duration::from_secs(10),
        start: Instant::now(),
        capabilities: None,
    };
    let config = InitiatorConfig {
        provider: crate::proto::gsi::ciphers(),
        credential: credential(),
        trust: Arc::new(TrustStore::from_files(std::iter::empty()).0),
        expected: ExpectedPeer::Anyone,
        delegates: false,
    };
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 ready\r\n").await.unwrap();
        let mut line = String::new();
        for answer in answers {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        // QUIT, or the end.
        line.clear();
        stream.read_line(&mut line).await.unwrap();
        line
    };
    let mut shown = None;
    let asked = async {
        let stream = TcpStream::connect(server).await.unwrap();
        converse(stream, &course, config, &mut shown).await.0
    };
    let (verdict, last) = tokio::join!(asked, serve);
    assert_eq!(last, "QUIT\r\n", "{answers:?}: no server is left without");
    let words = match verdict {
        Ok(found) => found,
        Err(Setback::Server(CheckOutcome::Busy(words))) => format!("busy: {words}"),
        Err(Setback::Server(CheckOutcome::Failed(reason))) => format!("failed: {reason}"),
        Err(other) => format!("{other:?}"),
    };
    (words, shown)
}

#[tokio::test]
async fn a_server_that_takes_no_handshake_has_failed_and_the_reason_says_which_side_does_not_like_what() {
    const MORE: &str = "334 Using authentication type; ADAT must follow.\r\n";
    const EXPIRED: &str = "530-globus_xio: Server side credential failure\r\n530-    has expired 9 minutes ago.\r\n530 End.\r\n";
    const REFUSED: &str = "530-globus_xio: Authentication Error\r\n530-globus_x: Can't get the local trusted CA\r\n530 End.\r\n";
    #[rustfmt::skip]
    let table: &[(&[&str], &str)] = &[
        (&["500 AUTH: unknown\r\n"],       "failed: it answers AUTH GSSAPI with `500 AUTH: unknown`"),
        (&["500 \x1b[2J\r\n"],            "failed: it answers AUTH GSSAPI with `500 [2J`"),
        (&["421 Too many.\r\n"],           "busy: 421 Too many."),
        (&["422 Offline.\r\n"],            "busy: 422 Offline."),
        (&[MORE, "421 Going down.\r\n"],   "busy: 421 Going down."),
        (&[EXPIRED],                       "failed: it cannot begin with GSI: Server side credential failure has expired 9 minutes ago.; renew"),
        (&[MORE, REFUSED],                 "failed: it refuses the credential: Can't get the local trusted CA; see its log"),
        (&[MORE, "335 ADAT=?\r\n"],        "failed: its answer to ADAT cannot be read: the token is not base64"),
        (&[MORE, "335 ADAT=AAEC\r\n"],     "failed: the GSI handshake with it has failed: the token is cut off"),
        (&[MORE, "235 Welcome.\r\n"],      "failed: the GSI handshake with it has failed: the server ends the exchange too early"),
        (&[MORE, "no reply\r\n"],          "failed: connection lost in its GSI handshake: its answer is no reply"),
        (&[MORE, ""],                      "failed: no end of its GSI handshake within max_time = 500ms"),
    ];
    for (answers, expected) in table {
        let (words, shown) = check_of(answers).await;
        assert!(words.starts_with(expected), "{answers:?}: {words}");
        assert_eq!(shown, None);
    }
}

#[test]
fn a_certificate_is_read_for_the_names_that_clients_use() {
    let own = credential();
    let leaf = own.leaf();
    let name = HostNames::of(leaf).remove(0);
    let end = leaf.validity().not_after;
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let before = UnixTime::since_unix_epoch(Duration::from_secs(end.as_secs() - 60));
    let after = UnixTime::since_unix_epoch(Duration::from_secs(end.as_secs() + 60));
    let read_at = |now, wanted: &[&str]| {
        let ServerCertificate { missing_name, standing, not_after, .. } = read(leaf, names(wanted), now);
        assert_eq!(not_after.as_secs(), end.as_secs());
        (missing_name, standing)
    };
    assert_eq!(read_at(before, &["other.test", &name]), (None, CertificateStanding::ExpiresSoon));
    let missing = Some("other.test or another.test".to_owned());
    assert_eq!(read_at(after, &["other.test", "another.test"]), (missing, CertificateStanding::Expired));
}
