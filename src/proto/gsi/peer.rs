//! Who the other end is.
use std::fmt;

use rustls::pki_types::{CertificateDer, UnixTime};

use super::certificate::{Certificate, MalformedCertificate};
use super::host_name::{HostNames, NameMismatch};
use super::name::DistinguishedName;

/// Judges chains of certificates.
pub trait Trust: fmt::Debug + Send + Sync {
    /// Whether `chain`, from the leaf upwards, leads to an authority that is trusted at the time `now`.
    ///
    /// # Errors
    /// With what is wrong with it.
    fn verify(&self, chain: &[CertificateDer<'static>], now: UnixTime) -> Result<Peer, PeerError>;
}

/// A chain that was found good.
#[derive(Clone, Debug)]
pub struct Peer {
    identity: DistinguishedName,
    leaf: Certificate,
    chain: Vec<CertificateDer<'static>>,
    remaining_path_length: Option<u32>,
}

impl Peer {
    /// What [`Trust::verify`] found.
    pub fn new(
        identity: DistinguishedName,
        leaf: Certificate,
        chain: Vec<CertificateDer<'static>>,
        remaining_path_length: Option<u32>,
    ) -> Self {
        Self { identity, leaf, chain, remaining_path_length }
    }

    /// Who it is, as a grid-mapfile names it: the end entity, or an independent proxy.
    pub fn identity(&self) -> &DistinguishedName {
        &self.identity
    }

    /// The certificate that it has the key of.
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// From the leaf upwards, byte for byte as they came, without the root.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// How many proxies may follow below the leaf; `None` is any number. Each that it hands its rights on to is one.
    pub fn remaining_path_length(&self) -> Option<u32> {
        self.remaining_path_length
    }
}

/// Why the other end is not believed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PeerError {
    /// A certificate cannot be read.
    #[error(transparent)]
    Malformed(#[from] MalformedCertificate),
    /// It is trusted, and somebody else.
    #[error(transparent)]
    Name(#[from] NameMismatch),
}

/// Who the other end has to be, besides trusted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ExpectedPeer {
    /// Whoever is trusted: what servers expect of clients.
    Anyone,
    /// The holder of a certificate for one of these names.
    Host(HostNames),
    /// Exactly this identity, in the slash form.
    Identity(String),
}

impl ExpectedPeer {
    pub(super) fn check(&self, leaf: &Certificate, identity: &DistinguishedName) -> Result<(), NameMismatch> {
        match self {
            Self::Anyone => Ok(()),
            Self::Host(names) => names.check(leaf),
            Self::Identity(expected) if expected == identity.as_str() => Ok(()),
            Self::Identity(expected) => {
                Err(NameMismatch { expected: expected.clone(), found: identity.as_str().to_owned() })
            }
        }
    }
}
