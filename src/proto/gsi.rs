//! The Grid Security Infrastructure: proxy certificates, and what of them is believed.
//!
//! ```text
//!   DER ─▶ certificate, proxy_cert_info, name
//! ```
//!
//! The rules are those of RFC 3820, and where Globus' servers have their own, theirs: who may log in at a real server may log in at
//! the door, and nobody else.
mod certificate;
mod der;
#[cfg(test)]
mod issuing;
mod name;
mod proxy_cert_info;

pub use certificate::{
    BasicConstraints, Certificate, Extension, KeyUsage, MAX_CERTIFICATE, MalformedCertificate, Validity,
};
pub use name::{DistinguishedName, MAX_NAME, with_common_name};
pub use proxy_cert_info::{PolicyLanguage, ProxyCertInfo, ProxyForm};
