//! `certs-example/make-example-certs` makes what its README says, as openssl(1) sees it.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::{gsi, skip};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/certs-example/make-example-certs");

fn run(program: &str, words: &[&str]) -> Output {
    Command::new(program).args(words).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have plain names")
}

/// Whether openssl accepts `name` for the certificate, by subjectAltName.
fn carries(certificate: &Path, name: &str) -> bool {
    let output = run("openssl", &["x509", "-noout", "-checkhost", name, "-in", text(certificate)]);
    String::from_utf8_lossy(&output.stdout).contains("does match certificate")
}

fn proxies_are_believed_until_their_user_is_revoked(made: &Path) {
    let verify = |proxy: &str| {
        let chain = gsi::read_chain(&made.join("user").join(proxy));
        let (trust, problems) = gsi::read_trust(&made.join("certificates"));
        assert_eq!(problems, Vec::<String>::new());
        gridfront::proto::gsi::verify(&chain, &trust, gsi::now())
    };
    for (proxy, limited) in [("proxy.pem", false), ("limited-proxy.pem", true)] {
        let output = run(
            "openssl",
            &[
                "verify",
                "-allow_proxy_certs",
                "-CApath",
                text(&made.join("certificates")),
                "-untrusted",
                text(&made.join("user/usercert.pem")),
                text(&made.join("user").join(proxy)),
            ],
        );
        assert!(output.status.success(), "{proxy}: {}", String::from_utf8_lossy(&output.stderr));
        let path = verify(proxy).unwrap_or_else(|error| panic!("{proxy}: {error}"));
        assert_eq!(path.identity().as_str(), "/O=Gridfront example/CN=Example User");
        assert_eq!(path.is_limited(), limited, "{proxy}");
    }
    assert_eq!(verify("usercert.pem").map(|_| ()), Ok(()));

    // The commands of the README.
    let readme = include_str!("../certs-example/README.md");
    let commands: String = readme
        .lines()
        .filter(|line| line.starts_with("openssl ca ") || line.starts_with("for list in "))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(commands.lines().count(), 3, "{commands}");
    let output = Command::new("sh").args(["-ec", &commands]).current_dir(made).output().expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for proxy in ["proxy.pem", "usercert.pem"] {
        assert_eq!(verify(proxy).map(|_| ()).unwrap_err().reason, gridfront::proto::gsi::Reason::Revoked);
    }
}

#[test]
fn example_certificates_form_chains_and_carry_the_names_of_both_styles() {
    if skip::find("openssl").is_none() {
        skip::skipped("example certificates", "not installed: openssl; integration/run installs it");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let made = scratch.path().join("made");
    let words = ["--virtual-name", "se.test", "--server", "one.test", "--server", "two.test", text(&made)];
    let output = run(SCRIPT, &words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let anchors = made.join("certificates");
    let verify = |certificate: &str, purpose: &str| {
        let certificate = made.join(certificate);
        let output = run(
            "openssl",
            &["verify", "-x509_strict", "-purpose", purpose, "-CApath", text(&anchors), text(&certificate)],
        );
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        certificate
    };
    let shared = verify("shared/hostcert.pem", "sslserver");
    for name in ["se.test", "one.test", "two.test"] {
        assert!(carries(&shared, name), "the shared certificate lacks {name}");
    }
    for (server, other) in [("one.test", "two.test"), ("two.test", "one.test")] {
        let own = verify(&format!("own/{server}/hostcert.pem"), "sslserver");
        // Data connections of a host are opened as a client as well.
        verify(&format!("own/{server}/hostcert.pem"), "sslclient");
        assert!(
            carries(&own, server) && carries(&own, "se.test") && !carries(&own, other),
            "names of {server}"
        );
    }
    verify("user/usercert.pem", "sslclient");
    proxies_are_believed_until_their_user_is_revoked(&made);

    let policies: Vec<_> = std::fs::read_dir(&anchors)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "signing_policy"))
        .collect();
    assert_eq!(policies.len(), 2, "one for each kind of hash");
    for policy in policies {
        for kind in ["0", "r0"] {
            assert!(policy.with_extension(kind).exists(), "a policy without a .{kind}");
        }
    }
    for key in ["shared/hostkey.pem", "own/one.test/hostkey.pem", "user/userkey.pem"] {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(made.join(key)).unwrap().permissions().mode() & 0o777, 0o400, "{key}");
    }

    assert!(!run(SCRIPT, &words).status.success(), "it wrote into a directory that was there");
    let refused = run(SCRIPT, &["--server", "a/CN=b", text(&scratch.path().join("other"))]);
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
}
