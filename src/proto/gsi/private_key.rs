//! Private keys: read or made once, then only asked to sign.
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use x509_cert::der::asn1::ObjectIdentifier;

use super::der::element;

/// Why there is no key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// Neither PKCS #8 nor PKCS #1 nor SEC 1, or of a kind that is not supported.
    #[error("the private key is neither RSA nor ECDSA (P-256, P-384, P-521)")]
    Unreadable,
    /// The random number generator, or memory, has failed.
    #[error("no RSA key could be made")]
    NotMade,
}

/// The digest of an RSA signature.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Digest {
    #[default]
    Sha256,
    Sha384,
    Sha512,
}

/// A private key. The library below keeps it in memory that it overwrites before giving it back; nothing shows it.
#[derive(Clone)]
pub struct PrivateKey {
    signing: Arc<dyn SigningKey>,
    spki: Arc<[u8]>,
}

/// A signature, and the AlgorithmIdentifier that says how it was made.
pub(super) struct Signature {
    pub(super) algorithm: Vec<u8>,
    pub(super) bytes: Vec<u8>,
}

impl PrivateKey {
    /// Reads a key.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`].
    pub fn from_der(der: &PrivateKeyDer<'_>) -> Result<Self, KeyError> {
        let signing =
            rustls::crypto::aws_lc_rs::sign::any_supported_type(der).map_err(|_| KeyError::Unreadable)?;
        if !matches!(signing.algorithm(), SignatureAlgorithm::RSA | SignatureAlgorithm::ECDSA) {
            return Err(KeyError::Unreadable);
        }
        let spki = signing.public_key().ok_or(KeyError::Unreadable)?.as_ref().into();
        Ok(Self { signing, spki })
    }

    /// Makes a new RSA key of 2048 bits, as Globus does: some 80 ms of a core, for a thread that may take its time.
    ///
    /// # Errors
    /// [`KeyError::NotMade`].
    pub fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::NotMade)?;
        // Overwritten when it is dropped.
        let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::NotMade)?;
        Self::from_der(&PrivatePkcs8KeyDer::from(der.as_ref()).into())
    }

    /// The DER of its public half, a SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    pub(super) fn signing(&self) -> &Arc<dyn SigningKey> {
        &self.signing
    }

    /// Signs as certificates are signed: RSA with PKCS #1 v1.5, which is all that Globus goes on from; ECDSA with the digest of its curve.
    pub(super) fn sign(&self, message: &[u8], digest: Digest) -> Option<Signature> {
        let signer = self.signer(digest)?;
        let algorithm = algorithm_identifier(signer.scheme())?;
        Some(Signature { algorithm, bytes: signer.sign(message).ok()? })
    }

    /// The AlgorithmIdentifier of such a signature, which is part of what is signed.
    pub(super) fn signature_algorithm(&self, digest: Digest) -> Option<Vec<u8>> {
        algorithm_identifier(self.signer(digest)?.scheme())
    }

    fn signer(&self, digest: Digest) -> Option<Box<dyn Signer>> {
        let rsa = match digest {
            Digest::Sha256 => SignatureScheme::RSA_PKCS1_SHA256,
            Digest::Sha384 => SignatureScheme::RSA_PKCS1_SHA384,
            Digest::Sha512 => SignatureScheme::RSA_PKCS1_SHA512,
        };
        self.signing.choose_scheme(&[
            rsa,
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP521_SHA512,
        ])
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PrivateKey({:?})", self.signing.algorithm())
    }
}

impl Digest {
    /// That of an AlgorithmIdentifier (its content): Globus signs with the digest that the signer's own certificate is signed with.
    pub(super) fn of(algorithm: &[u8]) -> Self {
        if algorithm == content(RSA_SHA384, true) {
            Self::Sha384
        } else if algorithm == content(RSA_SHA512, true) {
            Self::Sha512
        } else {
            Self::Sha256
        }
    }
}

/// RFC 4055 section 5.
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
/// RFC 5758 section 3.2.
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");

fn algorithm_identifier(scheme: SignatureScheme) -> Option<Vec<u8>> {
    let content = match scheme {
        SignatureScheme::RSA_PKCS1_SHA256 => content(RSA_SHA256, true),
        SignatureScheme::RSA_PKCS1_SHA384 => content(RSA_SHA384, true),
        SignatureScheme::RSA_PKCS1_SHA512 => content(RSA_SHA512, true),
        SignatureScheme::ECDSA_NISTP256_SHA256 => content(ECDSA_SHA256, false),
        SignatureScheme::ECDSA_NISTP384_SHA384 => content(ECDSA_SHA384, false),
        SignatureScheme::ECDSA_NISTP521_SHA512 => content(ECDSA_SHA512, false),
        _ => return None,
    };
    Some(element(0x30, &content))
}

/// RSA has NULL for its parameters, ECDSA none.
fn content(oid: ObjectIdentifier, has_null: bool) -> Vec<u8> {
    let mut content = element(0x06, oid.as_bytes());
    if has_null {
        content.extend_from_slice(&[0x05, 0x00]);
    }
    content
}
