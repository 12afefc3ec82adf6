//! Directories as sites have them, with everything that goes wrong in them.
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::*;
use crate::proto::gsi::issuing::{Key, NOW, Request, Revocations, element_of_extension, key, name, pem};
use crate::proto::gsi::verify;

type File<'a> = (&'a str, &'a [u8]);
/// Files beside those of authority A, how the problems begin, what becomes of a user of A.
type Row<'a> = (&'a [File<'a>], &'a [&'a str], Result<(), Reason>);

const POLICY: &[u8] =
    b"access_id_CA X509 '/O=Grid/CN=A'\npos_rights globus CA:sign\ncond_subjects globus '\"/O=Grid/*\"'\n";

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW))
}

fn authority(common_name: &str, key: &Key) -> Vec<u8> {
    pem("CERTIFICATE", &Request::authority(&name(common_name), &name(common_name), key).sign(key))
}

fn read(files: &[File<'_>]) -> (TrustStore, Vec<String>) {
    let files = files.iter().map(|(name, content)| TrustFile { name, content: Ok(content) });
    let (store, problems) = TrustStore::from_files(files);
    (store, problems.iter().map(ToString::to_string).collect())
}

/// What becomes of a user of authority A.
fn login(store: &TrustStore) -> Result<(), Reason> {
    let user = Request::end_entity(&name("A"), &name("User"), key(2)).sign(key(0));
    verify(&[CertificateDer::from(user)], store, now()).map(|_| ()).map_err(|error| error.reason)
}

fn list(revocations: &Revocations, key: &Key) -> Vec<u8> {
    pem("X509 CRL", &revocations.sign(key))
}

#[test]
fn files_of_other_names_do_not_count_row_by_row() {
    use TrustFileKind::{Certificate, RevocationList, SigningPolicy};
    #[rustfmt::skip]
    let table: &[(&str, Option<TrustFileKind>)] = &[
        ("1a2b3c4d.0",              Some(Certificate)),
        ("1a2b3c4d.12",             Some(Certificate)),
        ("1a2b3c4d.r0",             Some(RevocationList)),
        ("1a2b3c4d.signing_policy", Some(SigningPolicy)),
        ("1a2b3c4d.namespaces",     None),
        ("1a2b3c4d.info",           None),
        ("1a2b3c4d.crl_url",        None),
        ("1a2b3c4d.r",              None),
        ("1a2b3c4d.",               None),
        ("1a2b3c4d",                None),
        ("1A2B3C4D.0",              None),
        ("1a2b3c4.0",               None),
        ("1a2b3c4d.0.bak",          None),
        ("1a2b3c4d.0~",             None),
        ("CERN.pem",                None),
    ];
    for (name, expected) in table {
        assert_eq!(TrustFileKind::of(name).map(|(_, kind)| kind), *expected, "{name}");
    }
}

#[test]
fn an_igtf_directory_with_each_authority_twice_is_one_of_each() {
    let (certificate, revoked) =
        (authority("A", key(0)), list(&Revocations::new(&name("A"), &[&[5]]), key(0)));
    let (store, problems) = read(&[
        ("0000000a.0", &certificate),
        ("0000000a.signing_policy", POLICY),
        ("0000000a.r0", &revoked),
        ("0000000b.0", &certificate),
        ("0000000b.signing_policy", POLICY),
        ("0000000b.r0", &revoked),
        ("0000000b.info", b"alias = A"),
    ]);
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!((store.authorities().len(), store.anchors().len()), (1, 1));
    assert_eq!(store.names[&canonical(&name("A"))].lists.len(), 1);
    assert_eq!(login(&store), Ok(()));
}

#[test]
fn what_is_broken_is_told_and_holds_against_its_own_authority_alone_row_by_row() {
    let (a, b) = (authority("A", key(0)), authority("B", key(1)));
    let empty = Revocations::new(&name("A"), &[]);
    let other = list(&Revocations::new(&name("B"), &[]), key(1));
    let forged = list(&empty, key(5));
    let delta =
        Revocations { extensions: element_of_extension("2.5.29.27", true, &[2, 1, 1]), ..empty.clone() };
    let delta = list(&delta, key(0));
    let partial =
        Revocations { extensions: element_of_extension("2.5.29.28", true, &[0x30, 0]), ..empty.clone() };
    let (partial, good) = (list(&partial, key(0)), list(&empty, key(0)));
    let user = pem("CERTIFICATE", &Request::end_entity(&name("U"), &name("U"), key(2)).sign(key(2)));
    let cut = &a[..a.len() / 2];
    #[rustfmt::skip]
    let table: &[Row<'_>] = &[
        // files beside those of authority A                    problems                                      a user of A
        (&[],                                                   &[],                                          Ok(())),
        (&[("0000000a.r0", &good)],                             &[],                                          Ok(())),
        (&[("0000000a.r0", &partial)],                          &[],                                          Ok(())),
        (&[("0000000b.0", &b)],                                 &["/O=Grid/CN=B: it has no signing_policy"],  Ok(())),
        (&[("0000000b.0", cut)],                                &["0000000b.0: "],                            Ok(())),
        (&[("0000000b.0", b"")],                                &["0000000b.0: there is no certificate"],     Ok(())),
        (&[("0000000b.0", &user)],                              &["0000000b.0: it is no authority's"],        Ok(())),
        (&[("0000000b.signing_policy", b"?")],                  &["0000000b.signing_policy: line 1"],         Ok(())),
        (&[("0000000b.r0", b"?")],                              &["0000000b.r0: there is no revocation list"], Ok(())),
        (&[("0000000a.r0", b"")],                               &["0000000a.r0: there is no revocation list"], Err(Reason::RevocationListUnreadable)),
        (&[("0000000a.r0", &good), ("0000000a.r1", b"?")],      &["0000000a.r1: there is no revocation list"], Err(Reason::RevocationListUnreadable)),
        (&[("0000000a.r0", &delta)],                            &["0000000a.r0: revocation list cannot be read: it has a critical"], Err(Reason::RevocationListUnreadable)),
        (&[("0000000a.r0", &forged)],                           &["/O=Grid/CN=A: its revocation list was not signed"], Err(Reason::RevocationListForged)),
        (&[("0000000a.r0", &other)],                            &["0000000a.r0: it is the revocation list of another"], Ok(())),
    ];
    for (files, expected, verdict) in table {
        let own: [(&str, &[u8]); 2] = [("0000000a.0", &a), ("0000000a.signing_policy", POLICY)];
        let (store, problems) = read(&[&own[..], files].concat());
        let told = problems.len() == expected.len()
            && problems.iter().zip(*expected).all(|(problem, expected)| problem.starts_with(expected));
        assert!(told, "{expected:?}: {problems:?}");
        assert_eq!(login(&store), *verdict, "{expected:?}");
    }
    let unreadable = TrustFile { name: "0000000a.0", content: Err("Permission denied") };
    let (_, problems) = TrustStore::from_files([unreadable]);
    assert_eq!(problems[0].to_string(), "0000000a.0: Permission denied");
}

#[test]
fn where_stems_disagree_an_authority_may_sign_what_all_allow() {
    let a = authority("A", key(0));
    let narrow = String::from_utf8_lossy(POLICY).replace("Grid/*", "Grid/CN=Other").into_bytes();
    let files: [(&str, &[u8]); 4] = [
        ("0000000a.0", &a),
        ("0000000a.signing_policy", POLICY),
        ("0000000b.0", &a),
        ("0000000b.signing_policy", &narrow),
    ];
    assert_eq!(login(&read(&files).0), Err(Reason::SigningPolicyForbids));
    assert_eq!(login(&read(&files[..3]).0), Ok(()));
}

#[test]
fn of_several_lists_of_an_authority_those_in_force_and_signed_by_its_key_count() {
    let a = authority("A", key(0));
    let fresh = Revocations::new(&name("A"), &[]);
    let revokes = Revocations::new(&name("A"), &[&[77]]);
    let stale = Revocations { next_update: Some(NOW - 1), ..revokes.clone() };
    let endless = Revocations { next_update: None, ..fresh.clone() };
    let lists = [
        list(&fresh, key(0)),
        list(&revokes, key(0)),
        list(&stale, key(0)),
        list(&revokes, key(5)),
        list(&endless, key(0)),
    ];
    let expired = Reason::RevocationListExpired {
        next_update: UnixTime::since_unix_epoch(Duration::from_secs(NOW - 1)),
    };
    #[rustfmt::skip]
    let table: &[(&[usize], Result<(), Reason>)] = &[
        (&[0],    Ok(())),
        (&[1],    Err(Reason::Revoked)),
        (&[0, 1], Err(Reason::Revoked)),
        (&[2],    Err(expired)),
        (&[0, 2], Ok(())),
        (&[3],    Err(Reason::RevocationListForged)),
        (&[0, 3], Ok(())),
        (&[4],    Ok(())),
    ];
    for (chosen, expected) in table {
        let names = ["0000000a.r0", "0000000a.r1"];
        let mut files: Vec<(&str, &[u8])> = vec![("0000000a.0", &a), ("0000000a.signing_policy", POLICY)];
        files.extend(chosen.iter().zip(names).map(|(place, name)| (name, &lists[*place][..])));
        assert_eq!(login(&read(&files).0), *expected, "{chosen:?}");
    }
}

/// Globus finds a list by a hash of the name that case and kinds of strings do not change.
#[test]
fn a_list_that_spells_its_authority_in_another_way_is_not_overlooked() {
    let a = authority("A", key(0));
    let spelled =
        String::from_utf8(name("A")).unwrap().replace("Grid", "GRID").replace('\u{13}', "\u{c}").into_bytes();
    assert_ne!(spelled, name("A"));
    let revokes = list(&Revocations::new(&spelled, &[&[77]]), key(0));
    let (store, problems) =
        read(&[("0000000a.0", &a), ("0000000a.signing_policy", POLICY), ("0000000a.r0", &revokes)]);
    assert_eq!((problems, login(&store)), (Vec::new(), Err(Reason::Revoked)));
}

#[test]
fn a_large_list_is_searched_for_the_whole_serial_number() {
    let serials: Vec<Vec<u8>> =
        (0..20_000_u32).map(|number| [&[1][..], &number.to_be_bytes()].concat()).collect();
    let serials: Vec<&[u8]> = serials.iter().rev().map(Vec::as_slice).collect();
    let list = RevocationList::from_der(&Revocations::new(&name("A"), &serials).sign(key(0))).unwrap();
    assert_eq!(list.len(), 20_000);
    assert!(serials.iter().all(|serial| list.revokes(serial)));
    assert!(
        !list.revokes(&[1])
            && !list.revokes(&[])
            && !list.revokes(&[1, 0, 0, 0, 0, 0])
            && !list.revokes(&[2, 0, 0, 0, 0])
    );
    for length in 0..200 {
        assert!(
            RevocationList::from_der(&Revocations::new(&name("A"), &serials[..2]).sign(key(0))[..length])
                .is_err()
        );
    }
}

#[test]
fn more_files_than_any_site_has_are_left_out_and_told() {
    let names: Vec<String> = (0..=MAX_TRUST_FILES).map(|number| format!("{number:08x}.info")).collect();
    let files = names.iter().map(|name| TrustFile { name, content: Ok(b"") });
    let (_, problems) = TrustStore::from_files(files);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].place == format!("{MAX_TRUST_FILES:08x}.info") && problems[0].what.contains("16384"));
}
