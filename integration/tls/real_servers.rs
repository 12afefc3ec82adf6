//! TLS between door and real server, which the client knows nothing of. ProFTPD wants each data connection to resume the
//! session of its control connection.

use super::*;
use crate::support::control_connection::ControlConnection;

/// A door in front of a ProFTPD that speaks nothing but TLS.
struct Behind {
    server: LocalServer,
    authority: Authority,
    directory: TempDir,
}

impl Behind {
    fn start(options: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let authority = Authority::new(directory.path(), "servers");
        let credential = authority.issue_host("server", &["s1.test".to_owned()]);
        let server = LocalServer::proftpd_with_tls(&credential, options);
        std::fs::write(server.file("file"), payload()).expect("the server's directory");
        Self { server, authority, directory }
    }

    fn keys(&self, mode: &str) -> String {
        format!(
            "[virtual_server.real_server.tls]\nmode = \"{mode}\"\ntrust_anchors = \"{}\"\nname = \"s1.test\"",
            self.authority.certificate().display()
        )
    }

    fn setup(&self, keys: &str) -> Setup {
        let mut setup = Setup::of(&[self.server.address()]);
        setup.real_servers[0].2 = keys.to_owned();
        setup
    }

    fn curl(&self, door: &LocalDoor, words: &[&str], path: &str) -> (bool, Vec<u8>, String) {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "50", "--noproxy", "*"])
            .args(words)
            .arg(format!("ftp://{}/{path}", door.address()))
            .output()
            .expect("curl runs");
        (output.status.success(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn a_client_in_clear_reaches_a_server_that_speaks_nothing_but_tls() {
    if !ready("TLS to real servers", &["curl", "proftpd"]) {
        return;
    }
    for (mode, options) in [
        ("explicit", "TLSProtocol TLSv1.2"),
        ("explicit", "TLSProtocol TLSv1.3"),
        ("implicit", "TLSOptions UseImplicitSSL"),
    ] {
        let behind = Behind::start(options);
        let door = behind.setup(&behind.keys(mode)).start();
        let name = format!("{mode}, {options}");
        let told = |text: &str| format!("{name}: {text}\n{}\n{}", door.log(), behind.server.log());
        let original = behind.directory.path().join("original");
        std::fs::write(&original, payload()).unwrap();
        for words in [&[][..], &["--disable-epsv"], &["-P", "-"]] {
            let (success, bytes, text) = behind.curl(&door, words, "file");
            assert!(success && bytes == payload(), "{}", told(&text));
            let (success, _, text) = behind.curl(&door, &[words, &["-T", path(&original)]].concat(), "put");
            assert!(success, "{}", told(&text));
            assert!(std::fs::read(behind.server.file("put")).unwrap() == payload(), "{}", told("put"));
            std::fs::remove_file(behind.server.file("put")).unwrap();
        }
        // Many data connections of one control connection.
        let url = format!("ftp://{}/file", door.address());
        let again = vec![url.as_str(); 11];
        let (success, bytes, text) = behind.curl(&door, &again, "file");
        assert!(success && bytes.len() == 12 * payload().len(), "{}", told(&text));

        let mut session = ControlConnection::logged_in(door.address());
        session.expect("PROT C", "503");
        session.send(b"FEAT\r\nQUIT\r\n");
        let features = session.rest();
        assert!(
            !features.contains("TLS") && !features.contains("PROT") && features.contains("221 "),
            "{features}"
        );
        door.until_empty();
    }
}

#[test]
fn tls_on_both_sides_is_two_sessions() {
    if !ready("TLS on both sides", &["proftpd"]) {
        return;
    }
    let behind = Behind::start("");
    let credential = behind.authority.issue_host("door", &[NAME.to_owned()]);
    let keys = format!(
        "[virtual_server.tls]\ncertificate = \"{}\"\nkey = \"{}\"",
        credential.certificate.display(),
        credential.key.display()
    );
    let door = behind.setup(&behind.keys("explicit")).virtual_server(&keys).start();
    let mut command = Command::new(PYTHON);
    command.arg(script("ftps_client.py")).arg(door.address().ip().to_string());
    command.arg(door.address().port().to_string()).arg(behind.authority.certificate());
    let output = command.args(["reuse", "file"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "resumed 700001\n".repeat(3), "{wrong}\n{}\n{}", door.log(), behind.server.log());
    door.until_empty();
}

#[test]
fn a_server_that_cannot_prove_who_it_is_gets_no_session() {
    if !ready("real servers with a wrong certificate", &["proftpd"]) {
        return;
    }
    let behind = Behind::start("");
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Authority::new(elsewhere.path(), "stranger");
    let keys = behind.keys("explicit");
    let anchors = path(&behind.authority.certificate()).to_owned();
    let in_clear = clear_server();
    for (wrong, reason) in [
        (keys.replace(&anchors, path(&stranger.certificate())), "UnknownIssuer"),
        (keys.replace("s1.test", "s2.test"), "not valid for name"),
    ] {
        let mut setup = behind
            .setup(&wrong)
            .virtual_server("lb_algo = \"rr\"")
            .check("delay_loop = \"200ms\"\nretry = 0");
        setup.real_servers.push(("s2".into(), in_clear.address(), String::new()));
        let door = setup.start();
        // Whether by a session or by its checks, the server is found out; clients are served by the other.
        door.until_logged(&["WARN", "real_server=\"s1\"", "no TLS with it", reason]);
        for _ in 0..3 {
            drop(ControlConnection::logged_in(door.address()));
        }
        assert_eq!(door.count("s1", "total_sessions"), 0, "{}", door.log());
    }
    let door = behind.setup(&keys).check("delay_loop = \"200ms\"\nretry = 0").start();
    door.until("checks that pass", |status| {
        let server = &status["virtual_servers"][0]["real_servers"][0];
        server["state"] == "up" || server["health"] == "up"
    });
    let unverified = "[virtual_server.real_server.tls]\nmode = \"explicit\"\nverify = false";
    drop(ControlConnection::logged_in(behind.setup(unverified).start().address()));
}
