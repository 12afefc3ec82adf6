//! Clients that speak TLS, with their own defaults, to a server that does not.

use std::process::Command;

use super::*;

/// Both directions of a transfer, as a client does them: `get` writes to a local file, `put` reads one.
fn both_ways(
    secured: &Secured,
    server: &LocalServer,
    name: &str,
    get: impl FnOnce(&str) -> (bool, String),
    put: impl FnOnce(&str, &str) -> (bool, String),
) {
    let (copy, original) = (secured.local("copy"), secured.local("original"));
    let _ = std::fs::remove_file(&copy);
    secured.works(get(path(&copy)));
    assert!(std::fs::read(&copy).unwrap() == payload(), "{name}: get");
    std::fs::write(&original, payload()).unwrap();
    let remote = format!("put-{name}");
    secured.works(put(path(&original), &remote));
    assert!(std::fs::read(server.file(&remote)).unwrap() == payload(), "{name}: put");
}

#[test]
fn curl_verifies_the_doors_certificate_on_control_and_data() {
    if !ready("curl with TLS", &["curl"]) {
        return;
    }
    let server = clear_server();
    let secured = Secured::start(server.address(), "", "required = true");
    #[rustfmt::skip]
    let table: &[(&str, &str, &[&str])] = &[
        ("explicit",     "ftp",  &["--ssl-reqd"]),
        ("tls-1.2",      "ftp",  &["--ssl-reqd", "--tls-max", "1.2"]),
        ("control-only", "ftp",  &["--ftp-ssl-control"]),
        ("pasv",         "ftp",  &["--ssl-reqd", "--disable-epsv"]),
        ("implicit",     "ftps", &[]),
    ];
    for (name, scheme, words) in table {
        both_ways(
            &secured,
            &server,
            name,
            |local| secured.curl(&[words, &["-o", local, &secured.url(scheme, "file")][..]].concat()),
            |local, remote| secured.curl(&[words, &["-T", local, &secured.url(scheme, remote)][..]].concat()),
        );
        let listing = secured.works(secured.curl(&[words, &[&secured.url(scheme, "")[..]][..]].concat()));
        assert!(listing.contains("file"), "{name}: {listing}");
    }
    secured.door.until_logged(&["session ended", "tls=\"1.3\"", "reason=\"goodbye\""]);
    secured.door.until_logged(&["session ended", "tls=\"1.2\""]);
    // Without TLS there is no login.
    let (success, output) = secured.curl(&[&secured.url("ftp", "file")]);
    assert!(!success && output.contains("Access denied: 530"), "{output}");
    secured.door.until_empty();
}

#[test]
fn lftp_protects_control_and_data() {
    if !ready("lftp with TLS", &["lftp"]) {
        return;
    }
    let server = clear_server();
    let secured = Secured::start(server.address(), "", "");
    let lftp = |port: u16, scheme: &str, script: &str| {
        let settings = format!(
            "set net:max-retries 1; set net:timeout 20; set ftp:ssl-force true; set ftp:ssl-protect-data true; \
             set ssl:ca-file {}; set ssl:check-hostname false; set cmd:fail-exit true; \
             open {scheme}://{}:{port}; {script}; exit",
            secured.authority.certificate().display(),
            secured.door.address().ip(),
        );
        let mut command = Command::new("lftp");
        command.arg("-c");
        secured.run(command, &[&settings])
    };
    for (name, scheme, port) in
        [("explicit", "ftp", secured.door.address().port()), ("implicit", "ftps", secured.implicit_port)]
    {
        both_ways(
            &secured,
            &server,
            name,
            |local| lftp(port, scheme, &format!("get file -o {local}")),
            |local, remote| lftp(port, scheme, &format!("put {local} -o {remote}")),
        );
        assert!(secured.works(lftp(port, scheme, "cls")).contains("file"), "{name}");
    }
    secured.door.until_empty();
}

#[test]
fn pythons_ftplib_resumes_the_control_connections_session() {
    if !ready("ftplib with TLS", &[]) {
        return;
    }
    let server = clear_server();
    let secured = Secured::start(server.address(), "", "");
    for version in ["tls1.2", "tls1.3"] {
        both_ways(
            &secured,
            &server,
            version,
            |local| secured.python(&[version, "get", "file", local]),
            |local, remote| secured.python(&[version, "put", local, remote]),
        );
        let resumed = secured.works(secured.python(&[version, "reuse", "file"]));
        assert_eq!(resumed, "resumed 700001\n".repeat(3), "{version}");
    }
    for words in [&["implicit"][..], &["active"], &["implicit", "active"]] {
        both_ways(
            &secured,
            &server,
            &words.join("-"),
            |local| secured.python(&[words, &["get", "file", local]].concat()),
            |local, remote| secured.python(&[words, &["put", local, remote]].concat()),
        );
    }
    secured.door.until_empty();
}

#[test]
fn openssl_sees_the_whole_conversation() {
    if !ready("openssl s_client", &[]) {
        return;
    }
    let server = clear_server();
    let secured = Secured::start(server.address(), "", "");
    for version in ["-tls1_2", "-tls1_3"] {
        let to = secured.door.address().to_string();
        let conversation = format!(
            "(echo FEAT; echo 'PROT P'; echo 'PBSZ 0'; echo 'PROT P'; echo 'AUTH TLS'; echo QUIT; sleep 1) | \
             openssl s_client {version} -crlf -quiet -starttls ftp -verify_return_error -CAfile {} -connect {to}",
            path(&secured.authority.certificate()),
        );
        let mut command = Command::new("sh");
        command.arg("-c");
        let said = secured.works(secured.run(command, &[&conversation]));
        for line in
            [" AUTH TLS", " PBSZ", " PROT", "503 PROT comes after PBSZ.", "200 PBSZ=0", "503 The", "221 "]
        {
            assert!(said.contains(line), "{line} is not in\n{said}");
        }
    }
    secured.door.until_empty();
}
