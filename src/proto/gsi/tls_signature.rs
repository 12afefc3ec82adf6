//! Signatures of handshakes, by public keys that webpki would not look at inside a proxy certificate.
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::{CertificateError, DigitallySignedStruct, Error};
use webpki::RawPublicKeyEntity;

/// A signature of a TLS 1.2 handshake.
pub(super) fn verify_tls12(
    spki: &[u8],
    message: &[u8],
    signed: &DigitallySignedStruct,
    supported: &WebPkiSupportedAlgorithms,
) -> Result<(), Error> {
    let spki = SubjectPublicKeyInfoDer::from(spki);
    let key = RawPublicKeyEntity::try_from(&spki).map_err(|_| CertificateError::BadEncoding)?;
    supported
        .mapping
        .iter()
        .filter(|(scheme, _)| *scheme == signed.scheme)
        .flat_map(|(_, algorithms)| algorithms.iter())
        .any(|algorithm| key.verify_signature(*algorithm, message, signed.signature()).is_ok())
        .then_some(())
        .ok_or(Error::InvalidCertificate(CertificateError::BadSignature))
}

/// A signature of a TLS 1.3 handshake.
pub(super) fn verify_tls13(
    spki: &[u8],
    message: &[u8],
    signed: &DigitallySignedStruct,
    supported: &WebPkiSupportedAlgorithms,
) -> Result<(), Error> {
    verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(spki), signed, supported)
        .map(|_| ())
}
