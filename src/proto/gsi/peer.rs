//! Whom the other end has to be.
use rustls::pki_types::{CertificateDer, UnixTime};

use super::host_name::{HostNames, NameMismatch};
use super::name::DistinguishedName;
use super::path::{PathError, VerifiedPath, verify};
use super::trust::TrustStore;

/// Why the other end is not believed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PeerError {
    /// Its certificates are not accepted.
    #[error(transparent)]
    Path(#[from] PathError),
    /// An independent proxy has none of the rights of the host that has signed it.
    #[error("{0} is an independent proxy, and no host; let the server run with its host certificate")]
    Independent(DistinguishedName),
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
    /// Exactly this identity, in the slash form: servers that run with a user's proxy.
    Identity(String),
}

impl ExpectedPeer {
    /// Whether `chain` is trusted, and its holder the one that is meant.
    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        trust: &TrustStore,
        now: UnixTime,
    ) -> Result<VerifiedPath, PeerError> {
        let path = verify(chain, trust, now)?;
        match self {
            Self::Anyone => {}
            Self::Host(_) if path.identity() != path.end_entity().subject_name() => {
                return Err(PeerError::Independent(path.identity()));
            }
            Self::Host(names) => names.check(path.end_entity())?,
            Self::Identity(expected) => {
                let identity = path.identity();
                if expected != identity.as_str() {
                    let (expected, found) = (expected.clone(), identity.as_str().to_owned());
                    return Err(NameMismatch { expected, found }.into());
                }
            }
        }
        Ok(path)
    }
}
