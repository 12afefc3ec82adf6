use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::config;
use crate::proto::gsi::issuing::{Request, key, name, pem};

/// Valid for 100 days from [`BEGINNING`], and `B` for 400.
pub(super) const A: (&str, &str) = (include_str!("tests/a.pem"), include_str!("tests/a.key"));
pub(super) const B: (&str, &str) = (include_str!("tests/b.pem"), include_str!("tests/b.key"));
const ENCRYPTED: &str = include_str!("tests/a.encrypted");

/// When they begin, in seconds after 1970.
const BEGINNING: u64 = 1_795_475_698;

pub(super) fn day(number: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(BEGINNING + 60 + number * 24 * 3600)
}

/// Certificate and key in files of their own.
pub(super) fn files(certificate: &str, key: &str) -> (TempDir, config::Tls) {
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
pub(super) fn write(file: &Path, text: &str) {
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

/// Who looks after a certificate.
enum Keeper {
    Tls(Acceptor),
    Gsi(Box<GsiAcceptor>),
}

impl Keeper {
    fn look(&self, now: SystemTime) -> Option<Notice> {
        match self {
            Self::Tls(acceptor) => acceptor.look(now),
            Self::Gsi(acceptor) => acceptor.look(now),
        }
    }

    fn expires(&self) -> SystemTime {
        match self {
            Self::Tls(acceptor) => acceptor.expires(),
            Self::Gsi(acceptor) => acceptor.expires(),
        }
    }
}

/// Each kind of them is tried with files of its own.
fn with_each_keeper(now: SystemTime, (certificate, key): (&str, &str), try_it: impl Fn(Keeper, config::Tls)) {
    let (_directory, tls) = files(certificate, key);
    let (acceptor, _) = Acceptor::open(&tls, now).unwrap();
    try_it(Keeper::Tls(acceptor), tls);
    let (_directory, tls) = files(certificate, key);
    let (acceptor, _) = GsiAcceptor::open(&gsi(&tls), &mut TrustDirectories::default(), now).unwrap();
    try_it(Keeper::Gsi(Box::new(acceptor)), tls);
}

/// The same certificate for GSI, with an authority beside it.
fn gsi(tls: &config::Tls) -> config::Gsi {
    let trust_anchors = tls.certificate.with_file_name("anchors");
    std::fs::create_dir(&trust_anchors).unwrap();
    let authority = Request::authority(&name("A"), &name("A"), key(0)).sign(key(0));
    std::fs::write(trust_anchors.join("0000000a.0"), pem("CERTIFICATE", &authority)).unwrap();
    std::fs::write(
        trust_anchors.join("0000000a.signing_policy"),
        "access_id_CA X509 '/O=Grid/CN=A'\npos_rights globus CA:sign\ncond_subjects globus '\"/O=Grid/*\"'\n",
    )
    .unwrap();
    let (certificate, key) = (tls.certificate.clone(), tls.key.clone());
    config::Gsi {
        certificate,
        key,
        trust_anchors,
        identities: Default::default(),
        backend_login: Default::default(),
    }
}

/// Files with which GSI can end at the door.
pub(crate) fn gsi_files() -> (TempDir, config::Gsi) {
    let (directory, tls) = files(A.0, A.1);
    let gsi = gsi(&tls);
    (directory, gsi)
}

#[test]
fn a_good_new_certificate_is_taken_at_the_first_look() {
    with_each_keeper(day(1), A, |keeper, tls| {
        assert_eq!(keeper.look(day(1)), None);
        write(&tls.certificate, A.0);
        assert_eq!(keeper.look(day(1)), None, "the same certificate in a new file is no news");
        write(&tls.certificate, B.0);
        assert_eq!(keeper.look(day(1)), None, "the key is yet to come");
        assert_eq!(keeper.expires(), day(100) - Duration::from_secs(60));
        write(&tls.key, B.1);
        assert_eq!(keeper.look(day(1)), Some(Notice::Replaced(vec![])));
        assert_eq!(keeper.expires(), day(400) - Duration::from_secs(60));
        assert_eq!(keeper.look(day(1)), None);
        assert_eq!(keeper.look(day(101)), None, "this one lives longer");
        write(&tls.certificate, A.0);
        write(&tls.key, A.1);
        std::fs::set_permissions(&tls.key, std::fs::Permissions::from_mode(0o644)).unwrap();
        let notice = keeper.look(day(90));
        let Some(Notice::Replaced(warnings)) = notice else { panic!("{notice:?}") };
        let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        assert!(warnings[0].contains("everybody on this host can read"), "{warnings:?}");
        assert!(warnings[1].contains("expires on"), "{warnings:?}");
    });
}

#[test]
fn a_bad_new_certificate_is_refused_once_and_the_old_one_stays() {
    with_each_keeper(day(101), B, |keeper, tls| {
        let refused = |certificate: &str, key: &str| {
            write(&tls.certificate, certificate);
            write(&tls.key, key);
            assert_eq!(keeper.look(day(101)), None, "it may be half of a replacement");
            let notice = keeper.look(day(101));
            assert_eq!(keeper.look(day(101)), None, "said once");
            assert_eq!(keeper.expires(), day(400) - Duration::from_secs(60));
            let Some(Notice::Refused(problem)) = notice else { panic!("{notice:?}") };
            problem.to_string()
        };
        assert!(refused(A.0, A.1).contains("has expired"));
        assert!(refused("", A.1).contains("no certificate"));
        let another_key = refused(A.0, B.1);
        assert!(another_key.contains("does not belong") || another_key.contains("is not that of"));
        std::fs::remove_file(&tls.key).unwrap();
        assert_eq!(keeper.look(day(101)), None);
        assert!(matches!(keeper.look(day(101)), Some(Notice::Refused(_))));
        assert_eq!(keeper.look(day(102)), None, "a file that is not there is no news later either");
        // What was in force all the time comes back, and nothing has changed.
        write(&tls.certificate, B.0);
        write(&tls.key, B.1);
        assert_eq!(keeper.look(day(102)), None);
    });
}

#[test]
fn a_certificate_that_grows_old_is_spoken_of_when_it_does() {
    with_each_keeper(day(1), A, |keeper, _| {
        assert_eq!(keeper.look(day(85)), None);
        for (number, expected) in [(87, "expires on"), (101, "has expired")] {
            let notice = keeper.look(day(number));
            let Some(Notice::Lapsing(problem)) = notice else { panic!("{notice:?}") };
            assert!(problem.to_string().contains(expected), "{problem}");
            assert_eq!(keeper.look(day(number)), None);
        }
    });
}

/// Nobody touches its file in the meantime.
#[test]
fn a_certificate_that_came_too_early_is_taken_when_it_holds() {
    let early = SystemTime::UNIX_EPOCH + Duration::from_secs(BEGINNING - 30);
    with_each_keeper(early, B, |keeper, tls| {
        write(&tls.certificate, A.0);
        write(&tls.key, A.1);
        assert_eq!(keeper.look(early), None);
        let notice = keeper.look(early);
        let Some(Notice::Refused(problem)) = notice else { panic!("{notice:?}") };
        assert!(problem.to_string().contains("is not valid before"), "{problem}");
        assert_eq!(keeper.look(early + Duration::from_secs(59)), None);
        assert_eq!(keeper.look(early + Duration::from_secs(60)), Some(Notice::Replaced(vec![])));
    });
}

/// `/proc/self/mem` is a file that can be opened and not be read: EIO.
#[test]
fn what_cannot_be_read_may_be_read_later() {
    let (_directory, tls) = files(A.0, A.1);
    std::fs::remove_file(&tls.key).unwrap();
    assert!(!examine(&tls, day(1)).unwrap_err().may_pass);
    std::os::unix::fs::symlink("/proc/self/mem", &tls.key).unwrap();
    let problem = examine(&tls, day(1)).unwrap_err();
    assert!(problem.may_pass && problem.to_string().contains("cannot be read"), "{problem}");
    write(&tls.key, "?");
    assert!(!examine(&tls, day(1)).unwrap_err().may_pass);
}
