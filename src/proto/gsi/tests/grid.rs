//! An authority, a host and users, and the exchange between them.
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};

use super::super::delegation::sign_proxy;
use super::super::issuing::{NOW, Request, SUBJECT_ALTERNATIVE_NAME, inherit_all, key, name, pem};
use super::super::*;
use crate::proto::gsi::handshake::Handshake;

/// The time of everything here.
pub(super) fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW))
}

/// Which version of TLS the two are to agree upon.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) enum Version {
    Tls12,
    Tls13,
}

pub(super) const BOTH: [Version; 2] = [Version::Tls12, Version::Tls13];

/// Ciphers of one version only.
pub(super) fn provider(version: Version) -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .retain(|suite| matches!(suite, SupportedCipherSuite::Tls13(_)) == (version == Version::Tls13));
    Arc::new(provider)
}

/// An elliptic key is made in no time.
pub(super) fn elliptic_key() -> PrivateKey {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let der = pair.to_pkcs8v1().unwrap();
    PrivateKey::from_der(&PrivatePkcs8KeyDer::from(der.as_ref()).into()).unwrap()
}

/// The key of every delegated credential in one test process.
pub(super) fn rsa_key() -> PrivateKey {
    static KEY: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::generate().unwrap());
    KEY.clone()
}

/// Which of the test keys is whose.
const AUTHORITY: usize = 0;
const STRANGER: usize = 9;

/// An authority of this key, and a directory that trusts it.
fn authority(of: usize) -> (Vec<u8>, Arc<TrustStore>) {
    let certificate = Request::authority(&name("Root"), &name("Root"), key(of)).sign(key(of));
    let policy = b"access_id_CA X509 '/O=Grid/CN=Root'\npos_rights globus CA:sign\ncond_subjects globus '\"/O=Grid/*\"'\n";
    let certificate = pem("CERTIFICATE", &certificate);
    let (trust, problems) = TrustStore::from_files([
        TrustFile { name: "0a1b2c3d.0", content: Ok(&certificate) },
        TrustFile { name: "0a1b2c3d.signing_policy", content: Ok(policy) },
    ]);
    assert!(problems.is_empty(), "{problems:?}");
    (certificate, Arc::new(trust))
}

pub(super) fn trust() -> Arc<TrustStore> {
    authority(AUTHORITY).1
}

/// A credential whose end entity is what `change` makes of an ordinary one.
pub(super) fn end_entity(
    common_name: &str,
    own: &PrivateKey,
    change: impl FnOnce(Request) -> Request,
) -> Credential {
    let mut request = Request::end_entity(&name("Root"), &name(common_name), key(AUTHORITY));
    request.spki = own.spki().to_vec();
    let der = change(request).sign(key(AUTHORITY));
    Credential::new(vec![CertificateDer::from(der)], own.clone()).unwrap()
}

/// The same name, by an authority of the same name that nobody trusts.
pub(super) fn forged(common_name: &str) -> Credential {
    let own = elliptic_key();
    let mut request = Request::end_entity(&name("Root"), &name(common_name), key(STRANGER));
    request.spki = own.spki().to_vec();
    Credential::new(vec![CertificateDer::from(request.sign(key(STRANGER)))], own).unwrap()
}

pub(super) fn host() -> Credential {
    let names = [&[0x30, 14, 0x82, 12][..], b"s1.grid.test"].concat();
    end_entity("s1", &elliptic_key(), |request| request.with(SUBJECT_ALTERNATIVE_NAME, false, &names))
}

pub(super) fn user() -> Credential {
    end_entity("User", &elliptic_key(), |request| request)
}

/// A proxy of `above`.
pub(super) fn proxy(above: &Credential, form: ProxyForm, info: &ProxyCertInfo) -> Credential {
    let own = elliptic_key();
    let der = sign_proxy(above, own.spki(), form, info, now()).unwrap();
    let mut chain = vec![CertificateDer::from(der)];
    chain.extend_from_slice(above.chain());
    Credential::new(chain, own).unwrap()
}

/// What grid-proxy-init makes.
pub(super) fn user_proxy() -> Credential {
    proxy(&user(), ProxyForm::Rfc3820, &inherit_all())
}

pub(super) fn acceptor_config(version: Version) -> AcceptorConfig {
    AcceptorConfig::new(provider(version), &host())
}

pub(super) fn acceptor(version: Version) -> Acceptor {
    Acceptor::new(&acceptor_config(version), trust(), now()).unwrap()
}

pub(super) fn initiator_config(version: Version, credential: Credential) -> InitiatorConfig {
    InitiatorConfig {
        provider: provider(version),
        credential,
        trust: trust(),
        expected: ExpectedPeer::Host(HostNames { names: vec!["s1.grid.test".to_owned()], address: None }),
        delegates: true,
    }
}

/// What the two have come to, and how long each token was.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) accepted: Accepted,
    pub(super) established: Established,
    pub(super) tokens: Vec<usize>,
}

/// Why it has failed, and where.
#[derive(Debug, PartialEq)]
pub(super) enum Failure {
    Acceptor(AcceptError),
    Initiator(InitiateError),
}

/// Lets the two speak until both are done.
pub(super) fn exchange(mut acceptor: Acceptor, config: InitiatorConfig) -> Result<Outcome, Failure> {
    let (mut initiator, mut token) = Initiator::new(config, now()).unwrap();
    let mut tokens = Vec::new();
    loop {
        assert!(tokens.len() < 20, "an end: {tokens:?}");
        tokens.push(token.len());
        let mut step = acceptor.step(&token, now()).map_err(Failure::Acceptor)?;
        if matches!(step, AcceptStep::KeyWanted) {
            step = acceptor.provide_key(rsa_key()).map_err(Failure::Acceptor)?;
        }
        match step {
            AcceptStep::Reply(reply) => {
                assert!(!reply.is_empty(), "Globus takes an empty token for an error");
                tokens.push(reply.len());
                token = initiator.step(&reply, now()).map_err(Failure::Initiator)?;
                assert!(!token.is_empty());
            }
            AcceptStep::KeyWanted => unreachable!("a key was given"),
            AcceptStep::Complete(accepted) => {
                let established = initiator.finish(None, now()).map_err(Failure::Initiator)?;
                return Ok(Outcome { accepted: *accepted, established, tokens });
            }
        }
    }
}

/// A client that has shaken hands and may now say what it likes, and the acceptor that waits for its flag.
pub(super) fn before_flag(version: Version, credential: Credential) -> (Acceptor, Handshake) {
    let mut acceptor = acceptor(version);
    let mut client = Handshake::initiate(&initiator_config(version, credential), now()).unwrap();
    let mut token = client.pending();
    loop {
        let AcceptStep::Reply(reply) = acceptor.step(&token, now()).unwrap() else { panic!("handshake") };
        client.read(&reply, now()).unwrap();
        token = client.pending();
        if client.is_complete() && token.is_empty() {
            return (acceptor, client);
        }
    }
}

/// The same, one step on: the door's request for a certificate.
pub(super) fn before_certificate(version: Version, credential: Credential) -> (Acceptor, Handshake, Vec<u8>) {
    let (mut acceptor, mut client) = before_flag(version, credential);
    let step = acceptor.step(&client.write(b"D").unwrap(), now()).unwrap();
    assert!(matches!(step, AcceptStep::KeyWanted));
    let AcceptStep::Reply(reply) = acceptor.provide_key(rsa_key()).unwrap() else { panic!("a request") };
    let request = client.read(&reply, now()).unwrap();
    (acceptor, client, request)
}
