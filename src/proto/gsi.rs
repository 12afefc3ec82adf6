//! The Grid Security Infrastructure: proxy certificates, what of them is believed, and the sessions that they open.
//!
//! ```text
//!   DER ─▶ certificate, proxy_cert_info, name ──┐
//!                                               ├─▶ path ─▶ who it is
//!   files ─▶ trust: authorities, revocation_list, signing_policy
//!
//!   AUTH GSSAPI, tokens ─▶ acceptor, initiator ─▶ channel ─▶ commands and replies
//!                             └── handshake, delegation
//! ```
//!
//! The rules are those of RFC 3820, and where Globus' servers have their own, theirs: who may log in at a real server may log in at
//! the door, and nobody else. rustls and the keys that are made here take their random numbers from the system: all else, the time
//! included, is an argument.
mod acceptor;
pub mod adat;
mod certificate;
mod channel;
mod credential;
mod delegation;
mod der;
mod handshake;
mod host_name;
mod initiator;
#[cfg(test)]
pub(crate) mod issuing;
mod name;
mod path;
mod peer;
mod peer_verifier;
mod private_key;
mod protected_lines;
mod proxy_cert_info;
mod revocation_list;
mod session_clock;
mod signature;
mod signing_policy;
mod tls_signature;
mod token_stream;
mod trust;

/// What the interface speaks in.
pub use rustls::crypto::CryptoProvider;
pub use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

pub use acceptor::{AcceptError, AcceptStep, Accepted, Acceptor, Delegated, NoDelegation};
pub use certificate::{
    BasicConstraints, Certificate, Extension, KeyUsage, MAX_CERTIFICATE, MalformedCertificate, Validity,
};
pub use channel::{Channel, ChannelError, MAX_WRAPPED_TEXT};
pub use credential::{Credential, CredentialError};
pub use delegation::{IssueError, ReceiveError, RequestError};
pub use handshake::{AcceptorConfig, HandshakeError, InitiatorConfig, ciphers};
pub use host_name::{HostNames, NameMismatch};
pub use initiator::{Established, InitiateError, Initiator};
pub use name::{DistinguishedName, MAX_NAME, with_common_name};
pub use path::{LeafKind, MAX_CHAIN, MAX_CHAIN_BYTES, PathError, Reason, VerifiedPath, verify};
pub use peer::{ExpectedPeer, PeerError};
pub use private_key::{KeyError, PrivateKey};
pub use protected_lines::{ChannelEnd, ProtectedLines};
pub use proxy_cert_info::{PolicyLanguage, ProxyCertInfo, ProxyForm};
pub use revocation_list::{MAX_REVOCATION_LIST, RevocationList};
pub use signing_policy::{MAX_SIGNING_POLICY, SigningPolicy, SigningPolicyError, SigningPolicyVerdict};
pub use trust::{MAX_TRUST_FILES, TrustFile, TrustFileKind, TrustProblem, TrustStore};

#[cfg(test)]
mod tests;
