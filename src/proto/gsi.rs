//! The Grid Security Infrastructure: proxy certificates, and what of them is believed.
//!
//! ```text
//!   DER ─▶ certificate, proxy_cert_info, name ──┐
//!                                               ├─▶ path ─▶ who it is
//!   files ─▶ trust: authorities, revocation_list, signing_policy
//! ```
//!
//! The rules are those of RFC 3820, and where Globus' servers have their own, theirs: who may log in at a real server may log in at
//! the door, and nobody else.
mod certificate;
mod der;
#[cfg(test)]
pub(crate) mod issuing;
mod name;
mod path;
mod proxy_cert_info;
mod revocation_list;
mod signature;
mod signing_policy;
mod trust;

/// What the interface speaks in.
pub use rustls::pki_types::{CertificateDer, UnixTime};

pub use certificate::{
    BasicConstraints, Certificate, Extension, KeyUsage, MAX_CERTIFICATE, MalformedCertificate, Validity,
};
pub use name::{DistinguishedName, MAX_NAME, with_common_name};
pub use path::{LeafKind, MAX_CHAIN, MAX_CHAIN_BYTES, PathError, Reason, VerifiedPath, verify};
pub use proxy_cert_info::{PolicyLanguage, ProxyCertInfo, ProxyForm};
pub use revocation_list::{MAX_REVOCATION_LIST, RevocationList};
pub use signing_policy::{MAX_SIGNING_POLICY, SigningPolicy, SigningPolicyError, SigningPolicyVerdict};
pub use trust::{MAX_TRUST_FILES, TrustFile, TrustFileKind, TrustProblem, TrustStore};
