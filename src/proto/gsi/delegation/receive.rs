//! Taking a delegated credential: is it a proxy of the peer's, for our key, that the peer was allowed to sign?
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_cert::der::Tag;

use super::super::certificate::{Certificate, MalformedCertificate};
use super::super::credential::{Credential, CredentialError};
use super::super::der::Elements;
use super::super::path::{PathError, VerifiedPath, verify};
use super::super::private_key::PrivateKey;
use super::super::trust::TrustStore;

/// Why what a peer answered to our request is no credential.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReceiveError {
    /// Not DER, or bytes behind it that are no certificates.
    #[error("the answer to the certificate request is no certificate")]
    NoCertificate,
    /// A certificate that cannot be read.
    #[error("the delegated certificate cannot be read: {0}")]
    Malformed(MalformedCertificate),
    /// For a key that we did not ask for.
    #[error("the delegated certificate is for another key than the one that was sent")]
    AnotherKey,
    /// Not one level below the certificate that the peer authenticated with.
    #[error("the delegated certificate is no proxy of the peer's own certificate")]
    NotBelowPeer,
    /// An independent proxy: it would act under a name that has not logged in.
    #[error(
        "the delegated certificate has another identity than the client; delegate a limited or a full proxy"
    )]
    AnotherIdentity,
    /// Its path is not valid: not signed by the peer, expired, of a kind that may not follow.
    #[error("the delegated certificate is not accepted: {0}")]
    Refused(PathError),
    /// Too many certificates.
    #[error("the delegated credential is not accepted: {0}")]
    Credential(CredentialError),
}

/// The credential that `answer` makes of `key`: its first certificate, and behind it the chain of the handshake byte for byte, attribute
/// certificates and all. A chain that the peer sends along is not used, as Globus does not.
pub(in super::super) fn receive(
    answer: &[u8],
    key: PrivateKey,
    peer: &VerifiedPath,
    trust: &TrustStore,
    now: UnixTime,
) -> Result<(Credential, VerifiedPath), ReceiveError> {
    let leaf = first_certificate(answer)?;
    let read = Certificate::from_der(leaf).map_err(ReceiveError::Malformed)?;
    if read.spki() != key.spki() {
        return Err(ReceiveError::AnotherKey);
    }
    if read.issuer() != peer.leaf().subject() || read.proxy_cert_info().is_none() {
        return Err(ReceiveError::NotBelowPeer);
    }
    let mut chain = vec![CertificateDer::from(leaf.to_vec())];
    chain.extend(peer.certificates().iter().map(|above| CertificateDer::from(above.der().to_vec())));
    let delegated = verify(&chain, trust, now).map_err(ReceiveError::Refused)?;
    // The path went up through the certificate whose key the peer has shown to have, and no other of that name.
    if delegated.certificates().get(1) != Some(peer.leaf()) {
        return Err(ReceiveError::NotBelowPeer);
    }
    if delegated.identity() != peer.identity() {
        return Err(ReceiveError::AnotherIdentity);
    }
    let credential = Credential::new(chain, key).map_err(ReceiveError::Credential)?;
    Ok((credential, delegated))
}

fn first_certificate(answer: &[u8]) -> Result<&[u8], ReceiveError> {
    let mut elements = Elements::new(answer);
    let first = elements.required(Tag::Sequence, "").map_err(|_| ReceiveError::NoCertificate)?;
    while !elements.is_empty() {
        elements.required(Tag::Sequence, "").map_err(|_| ReceiveError::NoCertificate)?;
    }
    Ok(first.whole)
}
