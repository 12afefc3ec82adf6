//! The Grid Security Infrastructure: proxy certificates, and what of them is believed.
//!
//! ```text
//!   DER ─▶ certificate, proxy_cert_info, name
//! ```
//!
//! The rules are those of RFC 3820, and where Globus' servers have their own, theirs: who may log in at a real server may log in at
//! the door, and nobody else.
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
mod issuing;
mod name;
mod peer;
mod peer_verifier;
mod private_key;
mod proxy_cert_info;
mod session_clock;
mod signature;
mod token_stream;

pub use acceptor::{AcceptError, AcceptStep, Accepted, Acceptor, Delegated, NoDelegation};
pub use certificate::{
    BasicConstraints, Certificate, Extension, KeyUsage, MAX_CERTIFICATE, MalformedCertificate, Validity,
};
pub use channel::{Channel, ChannelError, MAX_WRAPPED_TEXT};
pub use credential::{Credential, CredentialError, MAX_CHAIN};
pub use delegation::{IssueError, ReceiveError, RequestError};
pub use handshake::{AcceptorConfig, HandshakeError, InitiatorConfig};
pub use host_name::{HostNames, NameMismatch};
pub use initiator::{Established, InitiateError, Initiator};
pub use name::{DistinguishedName, MAX_NAME, with_common_name};
pub use peer::{ExpectedPeer, Peer, PeerError, Trust};
pub use private_key::{KeyError, PrivateKey, RsaBits};
pub use proxy_cert_info::{PolicyLanguage, ProxyCertInfo, ProxyForm};
