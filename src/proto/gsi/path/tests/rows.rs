//! What is no break of a single thing.
use super::*;
use crate::proto::gsi::issuing::PROXY_CERT_INFO;

const FULL: (PolicyLanguage, Option<u32>) = (PolicyLanguage::InheritAll, None);

fn plan(proxies: &[(PolicyLanguage, Option<u32>)]) -> Plan {
    Plan { intermediate: false, form: ProxyForm::Rfc3820, proxies: proxies.to_vec() }
}

#[test]
fn path_lengths_count_over_the_whole_chain_row_by_row() {
    #[rustfmt::skip]
    let table: &[(&[Option<u32>], Option<u32>)] = &[
        (&[],                          None),
        (&[None],                      None),
        (&[Some(0)],                   Some(0)),
        (&[Some(1)],                   Some(1)),
        (&[Some(3), None],             Some(2)),
        (&[Some(3), Some(9), None],    Some(1)),
        (&[None, Some(1), None],       Some(0)),
        (&[Some(u32::MAX), None],      Some(u32::MAX - 1)),
    ];
    for (lengths, expected) in table {
        let proxies: Vec<_> = lengths.iter().map(|length| (PolicyLanguage::InheritAll, *length)).collect();
        let path = Chain::new(&plan(&proxies)).verify().unwrap();
        assert_eq!(path.remaining_proxies(), *expected, "{lengths:?}");
    }
}

#[test]
fn too_little_and_too_much_is_refused_before_any_signature_is_checked() {
    let chain = Chain::new(&plan(&[FULL]));
    let trust = chain.trust();
    let reason = |presented: &[CertificateDer<'_>]| verify(presented, &trust, now()).unwrap_err().reason;
    assert_eq!(reason(&[]), Reason::NoCertificate);
    let leaf = &chain.presented()[0];
    assert_eq!(reason(&vec![leaf.clone(); MAX_CHAIN + 1]), Reason::TooLong);
    let large = CertificateDer::from(vec![0; MAX_CHAIN_BYTES]);
    assert_eq!(reason(&[leaf.clone(), large]), Reason::TooLong);
    assert!(matches!(reason(&[CertificateDer::from(b"garbage".to_vec())]), Reason::Malformed(_)));
    assert!(matches!(
        reason(&[leaf.clone(), CertificateDer::from(b"garbage".to_vec())]),
        Reason::Malformed(_)
    ));
}

#[test]
fn what_is_odd_behind_the_leaf_and_not_needed_does_no_harm() {
    let chain = Chain::new(&plan(&[FULL]));
    let mut presented = chain.presented();
    presented.push(CertificateDer::from(b"garbage".to_vec()));
    assert!(verify(&presented, &chain.trust(), now()).is_ok());
}

/// Keys may be renewed under one name, and strangers may add what they like.
#[test]
fn among_many_certificates_of_one_name_the_one_that_has_signed_is_found() {
    let chain = Chain::new(&plan(&[FULL]));
    let decoys = (0..25_u8).map(|number| {
        let mut request = chain.links[1].request.clone();
        request.serial = vec![1, number];
        request.spki = key(STRANGER).spki();
        CertificateDer::from(request.sign(key(8)))
    });
    let mut presented = chain.presented();
    presented.splice(1..1, decoys);
    let path = verify(&presented, &chain.trust(), now()).unwrap();
    assert_eq!(path.end_entity().spki(), key(2).spki());
    presented.remove(26);
    assert_eq!(verify(&presented, &chain.trust(), now()).unwrap_err().reason, Reason::WrongSignature);
}

#[test]
fn of_an_expired_and_a_renewed_root_the_one_that_holds_is_taken() {
    let chain = Chain::new(&plan(&[FULL]));
    let mut old = chain.links[0].request.clone();
    old.not_after = NOW - 1;
    old.serial = vec![1];
    let (old, new) = (old.sign(key(0)), chain.links[0].request.sign(key(0)));
    for (first, second) in [(&old, &new), (&new, &old)] {
        let (first, second) = (pem("CERTIFICATE", first), pem("CERTIFICATE", second));
        let trust = store(&[
            ("0000000a.0", &first),
            ("0000000a.1", &second),
            ("0000000a.signing_policy", &chain.root_policy),
        ]);
        assert_eq!(verify(&chain.presented(), &trust, now()).map(|_| ()), Ok(()));
    }
}

#[test]
fn an_intermediate_authority_of_the_trust_directory_is_no_root() {
    let plan = Plan { intermediate: true, ..plan(&[FULL]) };
    let mut chain = Chain::new(&plan);
    chain.withheld = vec![0, 1];
    let [root, middle] = [0, 1].map(|place| {
        let link: &Link = &chain.links[place];
        pem("CERTIFICATE", &link.request.sign(key(link.signer)))
    });
    let (root_policy, middle_policy) = (&chain.root_policy[..], &chain.intermediate_policy[..]);
    let middle_files = [("0000000b.0", &middle[..]), ("0000000b.signing_policy", middle_policy)];
    let root_files = [("0000000a.0", &root[..]), ("0000000a.signing_policy", root_policy)];
    let both = store(&[&middle_files[..], &root_files].concat());
    let path = verify(&chain.presented(), &both, now()).unwrap();
    assert_eq!(
        path.certificates().len(),
        3,
        "proxy, user, and the authority that the user has not presented"
    );
    let alone = store(&middle_files);
    assert_eq!(verify(&chain.presented(), &alone, now()).unwrap_err().reason, Reason::UnknownAuthority);
}

#[test]
fn the_earliest_end_of_all_is_told() {
    let mut chain = Chain::new(&plan(&[FULL, FULL]));
    let end = |chain: &Chain| chain.verify().unwrap().not_after().as_secs();
    assert_eq!(end(&chain), NOW + 24 * HOUR);
    for (place, hours) in [(3, 12), (2, 11), (1, 10), (0, 9)] {
        chain.links[place].request.not_after = NOW + hours * HOUR;
        assert_eq!(end(&chain), NOW + hours * HOUR);
    }
}

#[test]
fn a_root_from_before_there_were_basic_constraints_is_one_and_no_user() {
    let mut chain = Chain::new(&plan(&[]));
    let root = &mut chain.links[0].request;
    *root = root.clone().without(issuing::BASIC_CONSTRAINTS);
    assert!(chain.verify().is_ok());
    let root = chain.presented().pop().unwrap();
    assert_eq!(verify(&[root], &chain.trust(), now()).unwrap_err().reason, Reason::EndEntityIsAuthority);
    let request = &mut chain.links[0].request;
    request.version = 1;
    request.extensions.clear();
    assert!(chain.verify().is_ok());
}

#[test]
fn a_refusal_says_whose_certificate_it_is_and_how_to_mend_it() {
    let mut chain = Chain::new(&plan(&[FULL]));
    chain.leaf().request.not_after = NOW - 1;
    assert_eq!(
        chain.verify().unwrap_err().to_string(),
        "certificate of /O=Grid/CN=User/CN=1000: it has expired on 2025-12-31T23:59:59Z; make or ask for a new one"
    );
    assert!(chain.links[2].request.extensions.iter().any(|(kind, ..)| *kind == PROXY_CERT_INFO));
}
