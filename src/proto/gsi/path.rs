//! Whether a chain of certificates is believed, and who it is then.
//!
//! ```text
//!   leaf ─▶ proxy ─▶ … ─▶ end entity ─▶ CA ─▶ … ─▶ root
//!   └── RFC 3820, here ──┘└─ webpki; CRLs, signing_policy ─┘
//! ```
//!
//! Of what a peer presents only the first certificate has a place of its own. The others are looked for by name and taken where their
//! key has signed; roots and strangers among them do no harm. Every rule is Globus' own or stricter.
mod authorities;
mod proxies;
mod refusal;

use rustls::pki_types::{CertificateDer, UnixTime};

use super::certificate::oid;
use super::trust::TrustStore;
use super::{Certificate, DistinguishedName, PolicyLanguage, ProxyForm, signature};
pub use refusal::{PathError, Reason};

/// Most certificates of a chain: a user's own, one or two authorities, and a proxy for each hop of a delegation.
pub const MAX_CHAIN: usize = 32;

/// Most bytes of a chain. Each VOMS attribute certificate is some 10 kB.
pub const MAX_CHAIN_BYTES: usize = 256 * 1024;

/// A chain that is believed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedPath {
    certificates: Vec<Certificate>,
    /// Place of the end entity; proxies stand before it.
    end_entity: usize,
    identity: usize,
    limited: bool,
    remaining_proxies: Option<u32>,
    not_after: UnixTime,
}

/// What the first certificate of a chain is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LeafKind {
    /// A user's or host's own.
    EndEntity,
    /// A proxy.
    Proxy(ProxyForm, PolicyLanguage),
}

/// Judges what a peer has presented, its own certificate first.
///
/// # Errors
///
/// The first certificate that breaks a rule, and which.
pub fn verify(
    chain: &[CertificateDer<'_>],
    trust: &TrustStore,
    now: UnixTime,
) -> Result<VerifiedPath, PathError> {
    let of_chain = |reason| PathError { subject: None, reason };
    if chain.is_empty() {
        return Err(of_chain(Reason::NoCertificate));
    }
    if chain.len() > MAX_CHAIN || chain.iter().map(|der| der.len()).sum::<usize>() > MAX_CHAIN_BYTES {
        return Err(of_chain(Reason::TooLong));
    }
    let leaf = Certificate::from_der(&chain[0]).map_err(|error| of_chain(Reason::Malformed(error)))?;
    let (mut others, mut malformed) = (Vec::with_capacity(chain.len()), None);
    for der in &chain[1..] {
        match Certificate::from_der(der) {
            Ok(certificate) if certificate != leaf && !others.contains(&certificate) => {
                others.push(certificate);
            }
            Ok(_) => {}
            // An old root may be odd, and nobody needs it from the peer.
            Err(error) => malformed = malformed.or(Some(of_chain(Reason::Malformed(error)))),
        }
    }
    let proxies = proxies::walk(leaf, others, now).map_err(|error| match malformed {
        Some(malformed) if error.reason == Reason::IssuerMissing => malformed,
        _ => error,
    })?;
    let authorities = authorities::find(proxies.end_entity(), &proxies.others, trust, now)?;

    let end_entity = proxies.path.len() - 1;
    let identity = proxies
        .path
        .iter()
        .position(|certificate| {
            language(certificate).is_none_or(|language| language == PolicyLanguage::Independent)
        })
        .unwrap_or(end_entity);
    let limited = proxies.path[..identity]
        .iter()
        .any(|certificate| language(certificate) == Some(PolicyLanguage::Limited));
    let mut certificates = proxies.path;
    certificates.extend(authorities.intermediates);
    let not_after = certificates
        .iter()
        .map(|certificate| certificate.validity().not_after)
        .fold(authorities.not_after, UnixTime::min);
    Ok(VerifiedPath {
        certificates,
        end_entity,
        identity,
        limited,
        remaining_proxies: proxies.remaining,
        not_after,
    })
}

impl VerifiedPath {
    /// The chain in order: proxies, end entity, intermediate authorities. The root is not in it.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The first certificate: whose key the peer has.
    pub fn leaf(&self) -> &Certificate {
        &self.certificates[0]
    }

    /// The certificate that an authority has signed.
    pub fn end_entity(&self) -> &Certificate {
        &self.certificates[self.end_entity]
    }

    /// What the first certificate is.
    pub fn leaf_kind(&self) -> LeafKind {
        self.leaf()
            .proxy_cert_info()
            .map_or(LeafKind::EndEntity, |(form, info)| LeafKind::Proxy(form, info.language))
    }

    /// Who this is: the subject of the end entity, or of the first independent proxy.
    pub fn identity(&self) -> DistinguishedName {
        self.certificates[self.identity].subject_name()
    }

    /// Whether a proxy of that identity is a limited one.
    pub fn is_limited(&self) -> bool {
        self.limited
    }

    /// How many proxies may still be signed one below the other; `None` is any number.
    pub fn remaining_proxies(&self) -> Option<u32> {
        self.remaining_proxies
    }

    /// The last second in which every certificate holds, the root included.
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }
}

fn language(certificate: &Certificate) -> Option<PolicyLanguage> {
    certificate.proxy_cert_info().map(|(_, info)| info.language)
}

/// What is asked of every certificate, whatever it is.
fn check_alone(certificate: &Certificate, now: UnixTime) -> Result<(), Reason> {
    /// What Globus allows to be critical.
    const UNDERSTOOD: [x509_cert::der::asn1::ObjectIdentifier; 6] = [
        oid::BASIC_CONSTRAINTS,
        oid::KEY_USAGE,
        oid::EXTENDED_KEY_USAGE,
        oid::NETSCAPE_CERT_TYPE,
        oid::SUBJECT_KEY_IDENTIFIER,
        oid::AUTHORITY_KEY_IDENTIFIER,
    ];
    let validity = certificate.validity();
    if now < validity.not_before {
        return Err(Reason::NotYetValid { not_before: validity.not_before });
    }
    if now > validity.not_after {
        return Err(Reason::Expired { not_after: validity.not_after });
    }
    for extension in certificate.extensions().filter(|extension| extension.critical) {
        if !UNDERSTOOD.contains(&extension.oid) && ProxyForm::of(&extension.oid).is_none() {
            return Err(Reason::CriticalExtension(extension.oid));
        }
    }
    signature::check_key(certificate.spki())
}

fn blame(certificate: &Certificate) -> impl Fn(Reason) -> PathError + '_ {
    |reason| PathError { subject: Some(certificate.subject_name()), reason }
}

#[cfg(test)]
mod tests;
