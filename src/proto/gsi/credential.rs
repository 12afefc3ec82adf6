//! A credential: certificates from the holder's own upwards, and its private key.
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use super::certificate::{Certificate, MalformedCertificate};
use super::path::MAX_CHAIN;
use super::private_key::PrivateKey;

/// Why a chain and a key are no credential.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CredentialError {
    /// No certificate.
    #[error("there is no certificate")]
    NoCertificate,
    /// More than [`MAX_CHAIN`].
    #[error("there are more than {MAX_CHAIN} certificates")]
    TooManyCertificates,
    /// The first certificate, or one above it.
    #[error(transparent)]
    Malformed(#[from] MalformedCertificate),
    /// Another certificate's key.
    #[error("the private key is not that of the first certificate")]
    AnotherKey,
}

/// Certificates from the leaf upwards, without self-signed roots, and the leaf's key.
#[derive(Clone, Debug)]
pub struct Credential {
    leaf: Arc<Certificate>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKey,
}

impl Credential {
    /// Puts a chain and its key together. Certificates are kept as they came, roots are left out: the other end has its own.
    ///
    /// # Errors
    /// Where the first certificate is not that of the key, or one cannot be read.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKey) -> Result<Self, CredentialError> {
        if chain.len() > MAX_CHAIN {
            return Err(CredentialError::TooManyCertificates);
        }
        let leaf = Certificate::from_der(chain.first().ok_or(CredentialError::NoCertificate)?)?;
        if leaf.spki() != key.spki() {
            return Err(CredentialError::AnotherKey);
        }
        let mut sent = Vec::with_capacity(chain.len());
        for der in chain {
            let is_leaf = sent.is_empty();
            // A server that is its own authority still has to show its certificate.
            if is_leaf || !Certificate::from_der(&der)?.is_self_issued() {
                sent.push(der);
            }
        }
        Ok(Self { leaf: Arc::new(leaf), chain: sent, key })
    }

    /// The holder's own certificate.
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// From the leaf upwards.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The leaf's.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// For rustls, which does not read it: webpki refuses proxies.
    pub(super) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::new(CertifiedKey::new(self.chain.clone(), Arc::clone(self.key.signing())))
    }
}
