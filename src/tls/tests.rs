use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::config;

/// Valid for 100 days from [`BEGINNING`], and `B` for 400.
const A: (&str, &str) = (include_str!("tests/a.pem"), include_str!("tests/a.key"));
const B: (&str, &str) = (include_str!("tests/b.pem"), include_str!("tests/b.key"));
const ENCRYPTED: &str = include_str!("tests/a.encrypted");

/// When they begin, in seconds after 1970.
const BEGINNING: u64 = 1_795_475_698;

fn day(number: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(BEGINNING + 60 + number * 24 * 3600)
}

/// Certificate and key in files of their own.
fn files(certificate: &str, key: &str) -> (TempDir, config::Tls) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    let tls = config::Tls {
        certificate: path("cert.pem"),
        key: path("key.pem"),
        implicit_port: None,
        required: false,
    };
    write(&tls.certificate, certificate);
    write(&tls.key, key);
    (directory, tls)
}

/// As a careful program replaces a file: in one step, with permissions for the owner alone.
fn write(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[test]
fn what_makes_a_credential_useless_is_said_with_its_file_and_its_cure() {
    let chain_in_wrong_order = format!("{}{}", B.0, A.0);
    let older_encryption = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,31\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
    #[rustfmt::skip]
    let table: &[(&str, &str, &str, &str)] = &[
        (A.0,     A.1,       "",         ""),
        ("",      A.1,       "cert.pem", "there is no certificate in it; put it there as PEM"),
        (A.1,     A.1,       "cert.pem", "there is no certificate in it"),
        ("-----BEGIN CERTIFICATE-----\n", A.1, "cert.pem", "cannot be understood"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", A.1, "cert.pem", "cannot be understood"),
        (A.0,     "",        "key.pem",  "there is no private key in it"),
        (A.0,     A.0,       "key.pem",  "there is no private key in it"),
        (A.0,     B.1,       "key.pem",  "the key does not belong to the certificate in"),
        (&chain_in_wrong_order, A.1, "key.pem", "the host's own certificate comes first"),
        (A.0,     ENCRYPTED, "key.pem",  "the private key is encrypted"),
        (A.0,     older_encryption, "key.pem", "the private key is encrypted"),
        (A.0,     "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "key.pem", "the key cannot be used"),
    ];
    for &(certificate, key, file, expected) in table {
        let (_directory, tls) = files(certificate, key);
        match examine(&tls, day(1)) {
            Ok(warnings) => assert!(expected.is_empty() && warnings.is_empty(), "{expected}: {warnings:?}"),
            Err(problem) => {
                assert!(!expected.is_empty() && problem.file.ends_with(file), "{expected}: {problem}");
                assert!(problem.to_string().contains(expected), "{expected}: {problem}");
                assert!(problem.to_string().contains("; "), "{problem}");
            }
        }
    }
    let (_directory, mut tls) = files(A.0, A.1);
    tls.key.set_extension("gone");
    let problem = examine(&tls, day(1)).unwrap_err();
    assert!(problem.to_string().contains("key.gone: cannot be read: No such file"), "{problem}");
}

#[test]
fn dates_and_permissions_are_warned_of() {
    let (_directory, tls) = files(A.0, A.1);
    for (now, expected) in [
        (BEGINNING - 3600, "is not valid before 2026-11-23T23:14:58Z"),
        (BEGINNING + 3600, ""),
        (BEGINNING + 87 * 24 * 3600, "the certificate of CN=a.example expires on 2027-03-03T23:14:58Z"),
        (BEGINNING + 101 * 24 * 3600, "has expired on 2027-03-03T23:14:58Z"),
    ] {
        let warnings = examine(&tls, SystemTime::UNIX_EPOCH + Duration::from_secs(now)).unwrap();
        let text: String = warnings.iter().map(ToString::to_string).collect();
        assert!(text.contains(expected) && warnings.len() == usize::from(!expected.is_empty()), "{text}");
    }
    // Of a chain, the certificate that ends first counts.
    let (_directory, chain) = files(&format!("{}{}", B.0, A.0), B.1);
    let text = examine(&chain, day(90)).unwrap()[0].to_string();
    assert!(text.contains("CN=a.example expires"), "{text}");
    std::fs::set_permissions(&tls.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let text = examine(&tls, day(1)).unwrap()[0].to_string();
    assert!(
        text.contains("key.pem: everybody on this host can read the private key; take that away"),
        "{text}"
    );
}

#[test]
fn a_good_new_certificate_is_taken_at_the_first_look() {
    let (_directory, tls) = files(A.0, A.1);
    let (acceptor, warnings) = Acceptor::open(&tls, day(1)).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(acceptor.look(day(1)), None);
    write(&tls.certificate, A.0);
    assert_eq!(acceptor.look(day(1)), None, "the same certificate in a new file is no news");
    write(&tls.certificate, B.0);
    assert_eq!(acceptor.look(day(1)), None, "the key is yet to come");
    assert_eq!(acceptor.expires(), day(100) - Duration::from_secs(60));
    write(&tls.key, B.1);
    assert_eq!(acceptor.look(day(1)), Some(Notice::Replaced(vec![])));
    assert_eq!(acceptor.expires(), day(400) - Duration::from_secs(60));
    assert_eq!(acceptor.look(day(1)), None);
    assert_eq!(acceptor.look(day(101)), None, "this one lives longer");
}

#[test]
fn a_bad_new_certificate_is_refused_once_and_the_old_one_stays() {
    let (_directory, tls) = files(B.0, B.1);
    let (acceptor, _) = Acceptor::open(&tls, day(101)).unwrap();
    let refused = |certificate: &str, key: &str| {
        write(&tls.certificate, certificate);
        write(&tls.key, key);
        assert_eq!(acceptor.look(day(101)), None, "it may be half of a replacement");
        let notice = acceptor.look(day(101));
        assert_eq!(acceptor.look(day(101)), None, "said once");
        let Some(Notice::Refused(problem)) = notice else { panic!("{notice:?}") };
        problem.to_string()
    };
    assert!(refused(A.0, A.1).contains("has expired"));
    assert!(refused("", A.1).contains("no certificate"));
    assert!(refused(A.0, B.1).contains("does not belong"));
    std::fs::remove_file(&tls.key).unwrap();
    assert_eq!(acceptor.look(day(101)), None);
    assert!(matches!(acceptor.look(day(101)), Some(Notice::Refused(_))));
    // What was in force all the time comes back, and nothing has changed.
    write(&tls.certificate, B.0);
    write(&tls.key, B.1);
    assert_eq!(acceptor.look(day(101)), None);
}

#[test]
fn a_certificate_that_grows_old_is_spoken_of_when_it_does() {
    let (_directory, tls) = files(A.0, A.1);
    let (acceptor, _) = Acceptor::open(&tls, day(1)).unwrap();
    assert_eq!(acceptor.look(day(85)), None);
    for (number, expected) in [(87, "expires on"), (101, "has expired")] {
        let notice = acceptor.look(day(number));
        let Some(Notice::Lapsing(problem)) = notice else { panic!("{notice:?}") };
        assert!(problem.to_string().contains(expected), "{problem}");
        assert_eq!(acceptor.look(day(number)), None);
    }
}
