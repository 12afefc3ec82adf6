//! What is asked for, signed and taken when a credential is handed on.
use std::time::Duration;

use rustls::pki_types::UnixTime;
use x509_cert::der::Tag;

use super::super::delegation::{PublicKeyRequest, sign_proxy, write_request};
use super::super::der::{Element, element};
use super::super::issuing::{self, HOUR, KEY_USAGE, NOW, inherit_all};
use super::super::*;
use super::grid::*;
use crate::proto::gsi::delegation::issue;

fn limited() -> ProxyCertInfo {
    ProxyCertInfo::new(PolicyLanguage::Limited, None)
}

/// What comes of an answer to the door's request.
fn answered(credential: &Credential, answer: &[u8]) -> Result<Accepted, AcceptError> {
    let (mut acceptor, mut client, _) = before_certificate(Version::Tls13, credential.clone());
    match acceptor.step(&client.write(answer).unwrap(), now())? {
        AcceptStep::Complete(accepted) => Ok(*accepted),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_that_is_not_our_proxy_ends_the_exchange() {
    let form = ProxyForm::Rfc3820;
    let own = user_proxy();
    let spki = rsa_key().spki().to_vec();
    let signed =
        |signer: &Credential, info: &ProxyCertInfo| sign_proxy(signer, &spki, form, info, now()).unwrap();
    let good = signed(&own, &limited());
    let above = Credential::new(own.chain()[1..].to_vec(), user().key().clone());
    assert!(above.is_err(), "the key of another certificate");

    // The same names, another key: who signs it has not the key of the certificate that was shown.
    let twin = {
        let mut request =
            issuing::Request::end_entity(&issuing::name("Root"), &issuing::name("User"), issuing::key(0));
        let key = elliptic_key();
        request.spki = key.spki().to_vec();
        let der = request.sign(issuing::key(0)).into();
        proxy_named_as(&own, &Credential::new(vec![der], key).unwrap())
    };
    let user = user();
    let only_limited = proxy(&user, form, &limited());
    let (_, _, request) = before_certificate(Version::Tls13, own.clone());

    let no_certificate = "the answer to the certificate request is no certificate";
    #[rustfmt::skip]
    let table: Vec<(&str, &Credential, Vec<u8>, &str)> = vec![
        ("text",               &own, b"hello".to_vec(),                              no_certificate),
        ("a number",           &own, vec![2, 1, 5],                                  no_certificate),
        ("half",               &own, good[..good.len() / 2].to_vec(),                no_certificate),
        ("rubbish behind it",  &own, [&good[..], b"xx"].concat(),                    no_certificate),
        ("an empty sequence",  &own, vec![0x30, 0],                                  "the delegated certificate cannot be read"),
        ("our request",        &own, request,                                        "the delegated certificate cannot be read"),
        ("another key",        &own, sign_proxy(&own, elliptic_key().spki(), form, &limited(), now()).unwrap(),
                                                                                     "the delegated certificate is for another key"),
        ("one level too high", &own, signed(&user, &limited()),                      "the delegated certificate is no proxy of the peer's"),
        ("by a stranger",      &own, signed(&forged("User"), &limited()),            "the delegated certificate is no proxy of the peer's"),
        ("by a namesake",      &own, signed(&twin, &limited()),                      "the delegated certificate is not accepted: certificate of"),
        ("more than the peer", &only_limited, signed(&only_limited, &inherit_all()), "the delegated certificate is not accepted: certificate of"),
        ("of another form",    &own, sign_proxy(&own, &spki, ProxyForm::Draft, &limited(), now()).unwrap(),
                                                                                     "the delegated certificate is not accepted: certificate of"),
        ("an independent one", &own, signed(&own, &ProxyCertInfo::new(PolicyLanguage::Independent, None)),
                                                                                     "the delegated certificate has another identity"),
        ("not yet valid",      &own, sign_proxy(&own, &spki, form, &limited(), UnixTime::since_unix_epoch(Duration::from_secs(NOW + HOUR))).unwrap(),
                                                                                     "the delegated certificate is not accepted: certificate of"),
    ];
    for (what, credential, answer, expected) in table {
        let error = answered(credential, &answer).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{what}: {error}");
    }

    let accepted = answered(&own, &good).unwrap();
    assert_eq!(accepted.delegated.unwrap().credential.leaf().der(), good);
    // Some clients send their chain along.
    let accepted = answered(&own, &[&good[..], &own.chain()[0], &own.chain()[1]].concat()).unwrap();
    assert_eq!(accepted.delegated.unwrap().credential.chain().len(), 3);
    // A full proxy is the client's choice.
    let accepted = answered(&own, &signed(&own, &inherit_all())).unwrap();
    let own_info = accepted.delegated.unwrap().credential;
    assert_eq!(own_info.leaf().proxy_cert_info().unwrap().1.language, PolicyLanguage::InheritAll);
}

/// A credential of `key`'s holder whose leaf has the subject of another's leaf.
fn proxy_named_as(other: &Credential, signer: &Credential) -> Credential {
    let key = elliptic_key();
    let mut request =
        issuing::Request::end_entity(signer.leaf().subject(), other.leaf().subject(), issuing::key(0));
    request.spki = key.spki().to_vec();
    Credential::new(vec![request.sign(issuing::key(0)).into()], key).unwrap()
}

#[test]
fn a_proxy_that_may_not_be_handed_on_logs_in_without_a_credential() {
    let none = ProxyCertInfo::new(PolicyLanguage::InheritAll, Some(0));
    let last = proxy(&user(), ProxyForm::Rfc3820, &none);
    // Globus clients do not look, and sign.
    let answer = sign_proxy(&last, rsa_key().spki(), ProxyForm::Rfc3820, &limited(), now()).unwrap();
    let accepted = answered(&last, &answer).unwrap();
    let why = accepted.delegated.unwrap_err();
    assert!(matches!(why, NoDelegation::PathLength(_)), "{why:?}");
    assert!(why.to_string().contains("make that with a larger path length"), "{why}");
    assert_eq!(accepted.peer.remaining_proxies(), Some(0));

    let one = proxy(&user(), ProxyForm::Rfc3820, &ProxyCertInfo::new(PolicyLanguage::InheritAll, Some(1)));
    let outcome = exchange(acceptor(Version::Tls13), initiator_config(Version::Tls13, one)).unwrap();
    let delegated = outcome.accepted.delegated.unwrap();
    assert_eq!(delegated.remaining_proxies, Some(0), "the real server will not be able to use it");
    // And so the door says itself.
    let failure = exchange(acceptor(Version::Tls13), initiator_config(Version::Tls13, delegated.credential));
    assert!(
        failure.is_ok(),
        "the new proxy says nothing of its own length, so it is the server that sees: {failure:?}"
    );
}

#[test]
fn a_request_proves_that_its_sender_has_the_key() {
    let request = write_request(&rsa_key()).unwrap();
    PublicKeyRequest::from_der(&request).unwrap();
    for at in 0..request.len() {
        let mut other = request.clone();
        other[at] ^= 1;
        assert!(PublicKeyRequest::from_der(&other).is_err(), "byte {at}");
        assert!(PublicKeyRequest::from_der(&request[..at]).is_err(), "{at} bytes");
    }
    let fields = |spki: &[u8]| element(0x30, &[&[2, 1, 0, 0x30, 0], spki, &[0xa0, 0]].concat());
    let weak = element(
        0x30,
        &[&fields(&issuing::rsa_spki_of(1024))[..], &issuing::key(0).algorithm(), &[3, 2, 0, 1]].concat(),
    );
    let error = PublicKeyRequest::from_der(&weak).unwrap_err().to_string();
    assert_eq!(error, "the certificate request: its RSA key has 1024 bits; use 2048 to 8192");
}

#[test]
fn a_proxy_is_signed_as_globus_signs_it() {
    let user = end_entity("User", &rsa_key(), |mut request| {
        // digitalSignature, nonRepudiation, keyEncipherment.
        request = request.with(KEY_USAGE, true, &[3, 2, 5, 0b1110_0000]);
        request
    });
    let requested = elliptic_key();
    let request = PublicKeyRequest::from_der(&write_request(&requested).unwrap()).unwrap();
    let proxy = Certificate::from_der(&issue(&user, &request, now()).unwrap()).unwrap();
    let leaf = user.leaf();
    assert_eq!(proxy.version(), 3);
    assert_eq!(proxy.issuer(), leaf.subject());
    assert_eq!(proxy.spki(), requested.spki());
    let serial = proxy.serial().iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    assert!(serial < 1 << 31, "31 bits: {serial}");
    assert_eq!(proxy.subject_name().as_str(), format!("/O=Grid/CN=User/CN={serial}"));
    assert_eq!(proxy.validity().not_before.as_secs(), NOW - 300);
    assert_eq!(proxy.validity().not_after, leaf.validity().not_after);
    let (form, info) = proxy.proxy_cert_info().unwrap();
    assert_eq!((form, info), (ProxyForm::Rfc3820, &limited()));
    assert!(proxy.extension(&form.oid()).unwrap().critical);
    let usage = proxy.key_usage().unwrap();
    assert!(usage.digital_signature() && !usage.non_repudiation() && !usage.key_cert_sign());
    assert_eq!(usage.to_der(), [3, 2, 5, 0b1010_0000]);
    assert_eq!(proxy.extended_key_usage().unwrap().der, leaf.extended_key_usage().unwrap().der);
    assert_eq!(proxy.extensions().count(), 3);
    // sha256WithRSAEncryption: what Globus has to go on from.
    let algorithm = element(0x30, proxy.signature_algorithm());
    let algorithm = Element::only(&algorithm, Tag::Sequence, "").unwrap();
    assert_eq!(algorithm.inside().next().unwrap().oid().unwrap().to_string(), "1.2.840.113549.1.1.11");
}

#[test]
fn what_may_not_sign_does_not() {
    let request = PublicKeyRequest::from_der(&write_request(&rsa_key()).unwrap()).unwrap();
    let refused = |credential: &Credential| issue(credential, &request, now()).unwrap_err();
    assert_eq!(refused(&end_entity("limited proxy", &elliptic_key(), |request| request)), IssueError::Legacy);
    let none = ProxyCertInfo::new(PolicyLanguage::InheritAll, Some(0));
    assert_eq!(refused(&proxy(&user(), ProxyForm::Rfc3820, &none)), IssueError::PathLength);
    let silent =
        end_entity("User", &elliptic_key(), |request| request.with(KEY_USAGE, true, &[3, 2, 5, 0x20]));
    assert_eq!(refused(&silent), IssueError::KeyUsage);
    let late = UnixTime::since_unix_epoch(Duration::from_secs(NOW + 48 * HOUR));
    assert_eq!(issue(&user(), &request, late).unwrap_err(), IssueError::Expired);
    let draft = proxy(&user(), ProxyForm::Draft, &inherit_all());
    let below = Certificate::from_der(&issue(&draft, &request, now()).unwrap()).unwrap();
    assert_eq!(below.proxy_cert_info().unwrap().0, ProxyForm::Draft);
}

#[test]
fn nothing_shows_a_private_key() {
    let credential = user();
    let shown = format!("{credential:?} {:?}", initiator_config(Version::Tls13, credential.clone()));
    assert!(shown.contains("PrivateKey(ECDSA)"), "{shown}");
    assert!(!shown.contains("EcdsaKeyPair"), "{shown}");
}
