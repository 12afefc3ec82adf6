//! From the leaf to the end entity, RFC 3820 section 4.
use rustls::pki_types::UnixTime;

use super::{PathError, Reason, blame, check_alone};
use crate::proto::gsi::certificate::oid;
use crate::proto::gsi::name::{common_name_below, trailing_common_name};
use crate::proto::gsi::trust::may_sign_certificates;
use crate::proto::gsi::{Certificate, PolicyLanguage, signature};

/// The chain from the leaf to the end entity, each of its proxies judged.
pub(super) struct Proxies {
    pub(super) path: Vec<Certificate>,
    /// What else was presented.
    pub(super) others: Vec<Certificate>,
    pub(super) remaining: Option<u32>,
}

impl Proxies {
    pub(super) fn end_entity(&self) -> &Certificate {
        &self.path[self.path.len() - 1]
    }
}

/// `others` stand as they like.
pub(super) fn walk(
    leaf: Certificate,
    mut others: Vec<Certificate>,
    now: UnixTime,
) -> Result<Proxies, PathError> {
    let mut path = vec![leaf];
    loop {
        let current = &path[path.len() - 1];
        check_kind(current).map_err(blame(current))?;
        check_alone(current, now).map_err(blame(current))?;
        if current.proxy_cert_info().is_none() {
            break;
        }
        let issuer = issuer_of(current, &others).map_err(blame(current))?;
        check_step(current, &others[issuer]).map_err(blame(current))?;
        path.push(others.remove(issuer));
    }
    let remaining = remaining(&path)?;
    Ok(Proxies { path, others, remaining })
}

/// What it says of itself, before anything above it is known.
fn check_kind(certificate: &Certificate) -> Result<(), Reason> {
    let Some((form, info)) = certificate.proxy_cert_info() else {
        if certificate.is_ca() || may_sign_certificates(certificate) {
            return Err(Reason::EndEntityIsAuthority);
        }
        // Globus takes every certificate with such a name for a legacy proxy.
        return match trailing_common_name(certificate.subject()) {
            Some(b"proxy" | b"limited proxy") => Err(Reason::LegacyProxy),
            _ => Ok(()),
        };
    };
    if !certificate.extension(&form.oid()).is_some_and(|extension| extension.critical) {
        return Err(Reason::ProxyCertInfoNotCritical);
    }
    if certificate.is_ca() {
        return Err(Reason::ProxyIsAuthority);
    }
    let alternatives = [oid::SUBJECT_ALTERNATIVE_NAME, oid::ISSUER_ALTERNATIVE_NAME];
    if alternatives.iter().any(|kind| certificate.extension(kind).is_some()) {
        return Err(Reason::ProxyHasAlternativeName);
    }
    // RFC 3820 section 3.8.2: the three languages have no content, and what has one restricts in ways that are not known here.
    if info.policy.is_some() || matches!(info.language, PolicyLanguage::Other(_)) {
        return Err(Reason::RestrictedPolicy);
    }
    match common_name_below(certificate.issuer(), certificate.subject()) {
        None => Err(Reason::NameNotBelowIssuer),
        Some(b"proxy" | b"limited proxy") => Err(Reason::LegacyProxy),
        Some(_) => Ok(()),
    }
}

/// Which of the others has signed it. Names get shorter with every step, so each of the others is asked once at most.
fn issuer_of(certificate: &Certificate, others: &[Certificate]) -> Result<usize, Reason> {
    let mut reason = Reason::IssuerMissing;
    for (place, other) in others.iter().enumerate() {
        if other.subject() != certificate.issuer() {
            continue;
        }
        let (algorithm, signed) = (certificate.signature_algorithm(), certificate.signature());
        match signature::verify(other.spki(), algorithm, certificate.tbs(), signed) {
            Ok(()) => return Ok(place),
            Err(wrong) => reason = wrong,
        }
    }
    Err(reason)
}

/// What a proxy may be below that issuer.
fn check_step(proxy: &Certificate, issuer: &Certificate) -> Result<(), Reason> {
    // A proxy that says so is told what is wrong with itself.
    if issuer.proxy_cert_info().is_none() && (issuer.is_ca() || may_sign_certificates(issuer)) {
        return Err(Reason::ProxyOfAuthority);
    }
    if issuer.key_usage().is_some_and(|usage| !usage.digital_signature()) {
        return Err(Reason::IssuerMayNotSign);
    }
    let (Some((form, info)), Some((above, of_issuer))) = (proxy.proxy_cert_info(), issuer.proxy_cert_info())
    else {
        return Ok(());
    };
    if form != above {
        return Err(Reason::MixedForms);
    }
    let below_limited = [PolicyLanguage::Limited, PolicyLanguage::Independent];
    if of_issuer.language == PolicyLanguage::Limited && !below_limited.contains(&info.language) {
        return Err(Reason::FullBelowLimited);
    }
    Ok(())
}

/// RFC 3820 section 4.1.4 (b)(4): the smallest of what every proxy allows and those below it have left of it.
fn remaining(path: &[Certificate]) -> Result<Option<u32>, PathError> {
    let mut remaining: Option<u32> = None;
    for certificate in path.iter().rev() {
        let Some((_, info)) = certificate.proxy_cert_info() else { continue };
        let left = match remaining {
            Some(0) => return Err(blame(certificate)(Reason::PathLengthExceeded)),
            Some(left) => Some(left - 1),
            None => None,
        };
        remaining = match (left, info.path_length) {
            (Some(left), Some(own)) => Some(left.min(own)),
            (left, own) => left.or(own),
        };
    }
    Ok(remaining)
}
