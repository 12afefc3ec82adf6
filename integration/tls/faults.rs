//! Handshakes that come to nothing, uploads that are cut, certificates that nobody should take.

use std::io::Read as _;
use std::net::SocketAddr;

use super::*;
use crate::support::control_connection::ControlConnection;
use crate::support::local_door::run_command;
use crate::support::stub_server::StubServer;

/// A door before a stub, and everything that the stub is told.
fn before_a_stub(keys: &str) -> (Secured, StubServer, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    let (server, heard) = StubServer::that_keeps_what_it_hears();
    let secured = Secured::start(server.address(), keys, "");
    (secured, server, heard)
}

/// Everything up to the end of the connection, however that comes.
fn until_the_end(connection: &ControlConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = connection.stream().read_to_end(&mut bytes);
    bytes
}

fn implicit(secured: &Secured) -> SocketAddr {
    SocketAddr::new(secured.door.address().ip(), secured.implicit_port)
}

#[test]
fn a_command_behind_auth_is_never_carried_out() {
    if !ready("injected commands", &[]) {
        return;
    }
    let (secured, _server, heard) = before_a_stub("");
    let mut session = ControlConnection::greeted(secured.door.address());
    session.send(b"AUTH TLS\r\nUSER injected\r\nPASS injected\r\n");
    assert!(session.line().starts_with("234 "));
    until_the_end(&session);
    secured.door.until_logged(&["TLS handshake failed", "client="]);
    secured.door.until_logged(&["session ended", "reason=\"TLS handshake failed\""]);
    secured.door.until_empty();
    assert!(!heard.lock().unwrap().iter().any(|line| line.contains("injected")), "{heard:?}");
}

#[test]
fn garbage_in_place_of_a_handshake_ends_the_session_and_no_other() {
    if !ready("garbage for a handshake", &[]) {
        return;
    }
    let (secured, _server, _) = before_a_stub("");
    let mut other = ControlConnection::logged_in(secured.door.address());
    let garbage: [&[u8]; 5] =
        [b"\x16\x03\x01", &[0xff; 4096], b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"\x80\x2e\x01", b""];
    for bytes in garbage {
        let mut session = ControlConnection::greeted(secured.door.address());
        session.expect("AUTH TLS", "234");
        session.send(bytes);
        session.finish();
        let said = until_the_end(&session);
        assert!(said.first().is_none_or(|&kind| kind == 21), "only an alert may come: {said:?}");
        let before_greeting = ControlConnection::open(implicit(&secured));
        let mut stream = before_greeting.stream();
        std::io::Write::write_all(&mut stream, bytes).unwrap();
        before_greeting.finish();
        let said = until_the_end(&before_greeting);
        assert!(said.first().is_none_or(|&kind| kind == 21), "only an alert may come: {said:?}");
    }
    other.expect("NOOP", "200");
    other.expect("QUIT", "221");
    secured.door.until_empty();
}

#[test]
fn a_handshake_has_as_long_as_a_login() {
    if !ready("slow handshakes", &[]) {
        return;
    }
    let (secured, server, _) = before_a_stub("login_timeout = \"1s\"");
    let mut session = ControlConnection::greeted(secured.door.address());
    session.expect("AUTH TLS", "234");
    session.send(b"\x16\x03\x01\x02\x00\x01");
    assert_eq!(until_the_end(&session), b"", "nothing is said in clear");
    secured.door.until_logged(&["session ended", "reason=\"login time-out\""]);
    let asked = server.accepted();
    let silent = ControlConnection::open(implicit(&secured));
    assert_eq!(until_the_end(&silent), b"");
    secured.door.until_logged(&["TLS handshake failed", "not complete within 1s"]);
    assert_eq!(server.accepted(), asked, "no server is asked before the handshake is complete");
    secured.door.until_empty();
}

#[test]
fn an_upload_without_its_end_is_never_acknowledged() {
    if !ready("cut uploads", &["proftpd"]) {
        return;
    }
    // pyftpdlib would say 226 to a reset as well.
    let server = LocalServer::proftpd("");
    let secured = Secured::start(server.address(), "", "");
    for version in ["tls1.2", "tls1.3"] {
        for how in ["cut", "tear"] {
            let said = secured.works(secured.python(&[version, how, "upload"]));
            assert!(!said.starts_with('2') && !said.is_empty(), "{version}, {how}: {said}");
        }
    }
    secured.door.until_logged(&["transfer", "command=\"STOR\"", "without the close_notify"]);
    secured.door.until_empty();
}

#[test]
fn an_expired_certificate_is_warned_of_and_a_bad_one_refuses_the_start() {
    if !ready("expired certificates", &["curl"]) {
        return;
    }
    let server = clear_server();
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "FTPS");
    let expired = authority.issue_expired_host("door", NAME);
    let secured = Secured::with(directory, authority, expired, server.address(), "", "");
    secured.door.until_logged(&["WARN", "door.pem", "has expired on", "renew it"]);
    let check = secured.door.command("check").output().unwrap();
    let text = String::from_utf8_lossy(&check.stdout);
    assert!(check.status.success() && text.contains("door.pem: warning: the certificate of CN="), "{text}");
    let (success, output) = secured.curl(&["--ssl-reqd", &secured.url("ftp", "file")]);
    assert!(!success && output.contains("expired"), "{output}");

    std::fs::write(&secured.credential.key, "no key").unwrap();
    let check = secured.door.command("check").output().unwrap();
    let text = String::from_utf8_lossy(&check.stdout);
    assert!(!check.status.success() && text.contains("door.key: there is no private key in it"), "{text}");
    let file = secured.local("other.toml");
    let text = std::fs::read_to_string(secured.door.configuration()).unwrap();
    std::fs::write(&file, text.replace("admin.sock", "other.sock")).unwrap();
    let run = run_command(&file).output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success() && said.contains("door.key: there is no private key in it"), "{said}");
}

#[test]
fn a_certificate_is_replaced_under_running_sessions_and_a_bad_one_is_not() {
    if !ready("certificates that change", &["curl"]) {
        return;
    }
    let server = clear_server();
    let secured = Secured::start(server.address(), "", "");
    let get = || {
        secured.curl(&["-v", "--ssl-reqd", "-o", path(&secured.local("copy")), &secured.url("ftp", "file")])
    };
    let serial = || {
        let script = format!(
            "echo QUIT | openssl s_client -starttls ftp -connect {} 2>&1 | openssl x509 -noout -serial",
            secured.door.address()
        );
        let mut command = Command::new("sh");
        command.arg("-c");
        secured.works(secured.run(command, &[&script]))
    };
    let first = serial();
    let marker = secured.local("marker");
    std::fs::write(&marker, "").unwrap();
    std::thread::scope(|scope| {
        let held = scope.spawn(|| secured.python(&["tls1.3", "wait", path(&marker)]));
        secured.door.until("a session", |status| status["sessions"] == 1);

        let expired = secured.authority.issue_expired_host("expired", NAME);
        secured.install(&expired);
        secured.door.until_logged(&["WARN", "new certificate refused", "has expired"]);
        assert_eq!(serial(), first, "the old one stays");
        secured.works(get());
        std::fs::write(&secured.credential.certificate, "rubbish").unwrap();
        secured.door.until_logged(&["WARN", "new certificate refused", "no certificate in it"]);
        assert_eq!(serial(), first, "the old one stays");

        let renewed = secured.authority.issue_host("renewed", &[NAME.to_owned()]);
        secured.install(&renewed);
        secured.door.until_logged(&["INFO", "certificate replaced"]);
        assert_ne!(serial(), first);
        secured.works(get());

        std::fs::remove_file(&marker).unwrap();
        let said = secured.works(held.join().unwrap());
        assert_eq!(said, "waiting\nresumed\n", "sessions outlive the certificate");
    });
    let log = secured.door.log();
    assert_eq!(log.matches("new certificate refused").count(), 2, "each is said once\n{log}");
    secured.door.until_empty();
}
