use std::fs;

use super::*;
use crate::proto::gsi::issuing::{NOW, Request, Revocations, key, name, pem};
use crate::proto::gsi::{Reason, verify};
use rustls::pki_types::{CertificateDer, UnixTime};

const POLICY: &str =
    "access_id_CA X509 '/O=Grid/CN=A'\npos_rights globus CA:sign\ncond_subjects globus '\"/O=Grid/*\"'\n";

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW + seconds)
}

fn site() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let authority = Request::authority(&name("A"), &name("A"), key(0)).sign(key(0));
    fs::write(directory.path().join("0000000a.0"), pem("CERTIFICATE", &authority)).unwrap();
    fs::write(directory.path().join("0000000a.signing_policy"), POLICY).unwrap();
    directory
}

fn revoke(directory: &Path, serial: u8) {
    let list = Revocations::new(&name("A"), &[&[serial]]).sign(key(0));
    // As fetch-crl does it.
    fs::write(directory.join("new"), pem("X509 CRL", &list)).unwrap();
    fs::rename(directory.join("new"), directory.join("0000000a.r0")).unwrap();
}

fn login(directory: &TrustDirectory) -> Result<(), Reason> {
    let user = Request::end_entity(&name("A"), &name("User"), key(2)).sign(key(0));
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
    verify(&[CertificateDer::from(user)], &directory.store(), now).map(|_| ()).map_err(|error| error.reason)
}

#[test]
fn a_revocation_takes_effect_at_the_second_look_that_sees_it() {
    let site = site();
    let (directory, problems) = TrustDirectory::open(site.path(), at(0)).unwrap();
    assert_eq!((problems, login(&directory)), (Vec::new(), Ok(())));
    assert_eq!(directory.look(at(5)), None, "nothing has changed");
    revoke(site.path(), 77);
    assert_eq!(directory.look(at(6)), None, "it has just been looked at");
    assert_eq!(directory.look(at(10)), None, "it may be half written");
    assert_eq!(login(&directory), Ok(()));
    assert_eq!(directory.look(at(15)), Some(TrustNotice::Reread { authorities: 1, problems: Vec::new() }));
    assert_eq!(login(&directory), Err(Reason::Revoked));
    assert_eq!(directory.look(at(20)), None);
    // A clock that was put back by an hour.
    revoke(site.path(), 78);
    let looks: Vec<_> =
        [0, 5].into_iter().map(|seconds| directory.look(at(seconds) - Duration::from_secs(3600))).collect();
    assert!(matches!(looks[1], Some(TrustNotice::Reread { .. })), "{looks:?}");
    assert_eq!(login(&directory), Ok(()));
}

#[test]
fn a_directory_that_never_comes_to_rest_is_read_all_the_same() {
    let site = site();
    let (directory, _) = TrustDirectory::open(site.path(), at(0)).unwrap();
    let mut taken = Vec::new();
    for second in (5..=60).step_by(5) {
        // One list after the other, as fetch-crl does it.
        revoke(site.path(), u8::try_from(second).unwrap());
        if directory.look(at(second)).is_some() {
            taken.push(second);
        }
    }
    assert_eq!(taken, [25, 50]);
}

#[test]
fn what_is_wrong_is_told_once_and_a_directory_that_is_gone_leaves_all_in_force() {
    let site = site();
    let (directory, _) = TrustDirectory::open(site.path(), at(0)).unwrap();
    let looks =
        |from: u64| [directory.look(at(from)), directory.look(at(from + 5)), directory.look(at(from + 10))];
    fs::write(site.path().join("0000000b.0"), "?").unwrap();
    let [None, Some(TrustNotice::Reread { authorities: 1, problems }), None] = looks(10) else {
        panic!("no notice")
    };
    assert!(problems[0].to_string().starts_with("0000000b.0: there is no certificate"), "{problems:?}");
    fs::write(site.path().join("0000000c.info"), "of no concern").unwrap();
    assert_eq!(looks(30), [None, None, None]);
    fs::create_dir(site.path().join("0000000d.r0")).unwrap();
    let [None, Some(TrustNotice::Reread { problems, .. }), None] = looks(50) else { panic!("no notice") };
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["0000000d.r0: it is no file"]);
    assert_eq!(directory.problem_count(), 2);
    let away = site.path().with_extension("away");
    fs::rename(site.path(), &away).unwrap();
    let [None, Some(TrustNotice::Refused(refused)), None] = looks(70) else { panic!("no notice") };
    assert!(refused.to_string().contains("the trust directory cannot be read"), "{refused}");
    assert_eq!(login(&directory), Ok(()));
    fs::rename(&away, site.path()).unwrap();
    assert!(matches!(looks(90), [None, Some(TrustNotice::Reread { .. }), None]));
}

#[test]
fn a_file_that_could_not_be_read_is_read_again_without_having_changed() {
    let site = site();
    let fails = |what: &'static str, name: &'static str| {
        move |file: &Path| match file.file_name().is_some_and(|own| own == name) || name.is_empty() {
            true => Err(Unread { what: what.to_owned(), may_pass: true }),
            false => read_file(file),
        }
    };
    let not_now = |directory: &TrustDirectory, seconds: u64| {
        let seen = directory.look_with(at(seconds), |file| panic!("{} is read", file.display()));
        assert_eq!(seen, None);
    };
    let (directory, _) = TrustDirectory::open(site.path(), at(0)).unwrap();
    revoke(site.path(), 78);
    assert_eq!(directory.look(at(5)), None);
    let told = |notice: Option<TrustNotice>| match notice {
        Some(TrustNotice::Reread { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        other => vec![format!("{other:?}")],
    };
    let unread = fails("EIO", "0000000a.r0");
    assert_eq!(told(directory.look_with(at(10), unread)), ["0000000a.r0: EIO"]);
    assert!(login(&directory).is_err(), "nobody knows who is revoked");
    [15, 65].into_iter().for_each(|seconds| not_now(&directory, seconds));
    assert_eq!(directory.look_with(at(70), unread), None, "told once");
    not_now(&directory, 125);
    let other = fails("EMFILE", "0000000a.r0");
    assert_eq!(told(directory.look_with(at(130), other)), ["0000000a.r0: EMFILE"]);
    assert_eq!(told(directory.look(at(190))), [""; 0], "all of it is in force");
    assert_eq!(login(&directory), Ok(()));
    not_now(&directory, 260);
    // Nothing can be read at all: what is in force stays, and a new list is not forgotten.
    revoke(site.path(), 77);
    let nothing = fails("EMFILE", "");
    assert_eq!(directory.look_with(at(265), nothing), None);
    assert!(matches!(directory.look_with(at(270), nothing), Some(TrustNotice::Refused(_))));
    not_now(&directory, 325);
    assert_eq!(directory.look_with(at(330), nothing), None, "told once");
    assert_eq!(login(&directory), Ok(()));
    assert_eq!(told(directory.look(at(390))), [""; 0]);
    assert_eq!(login(&directory), Err(Reason::Revoked));
}

/// `/proc/self/mem` is a file that can be opened and not be read: EIO.
#[test]
fn what_cannot_be_read_is_told_from_what_is_useless() {
    let site = site();
    let passes = |name: &str| read_file(&site.path().join(name)).unwrap_err().may_pass;
    std::os::unix::fs::symlink("/proc/self/mem", site.path().join("mem")).unwrap();
    fs::create_dir(site.path().join("directory")).unwrap();
    assert_eq!(["mem", "directory", "none"].map(passes), [true, false, false]);
}

#[test]
fn a_directory_without_an_authority_is_refused_with_a_reason() {
    let empty = tempfile::tempdir().unwrap();
    let error = TrustDirectory::open(empty.path(), at(0)).unwrap_err().to_string();
    assert!(error.contains("there is no authority that could be trusted"), "{error}");
    fs::write(empty.path().join("0000000a.0"), "?").unwrap();
    let error = TrustDirectory::open(empty.path(), at(0)).unwrap_err().to_string();
    assert!(error.contains("0000000a.0: there is no certificate in it"), "{error}");
    assert!(TrustDirectory::open(&empty.path().join("none"), at(0)).is_err());
}

#[test]
fn whoever_wants_the_same_directory_gets_the_same_one_while_somebody_has_it() {
    let (site, other) = (site(), site());
    fs::write(site.path().join("0000000b.0"), "no certificate").unwrap();
    let mut directories = TrustDirectories::default();
    let (first, problems) = directories.open(site.path(), at(0)).unwrap();
    assert_eq!((problems.len(), first.problem_count()), (1, 1));
    // As a reload does it.
    let mut next = directories.clone();
    let (second, problems) = next.open(site.path(), at(1)).unwrap();
    assert!(Arc::ptr_eq(&first, &second) && problems.is_empty(), "it is told once");
    let (another, _) = next.open(other.path(), at(1)).unwrap();
    assert!(!Arc::ptr_eq(&first, &another));
    // What has changed is in force for both.
    revoke(site.path(), 77);
    fs::remove_file(site.path().join("0000000b.0")).unwrap();
    assert_eq!(first.look(at(5)), None);
    assert!(second.look(at(10)).is_some() && login(&first).is_err());
    assert_eq!((first.problem_count(), second.problem_count()), (0, 0));
    drop((first, second));
    let (anew, _) = next.open(site.path(), at(11)).unwrap();
    assert!(login(&anew).is_err());
    assert_eq!(next.0.len(), 2, "nothing is kept of what is gone");
}
