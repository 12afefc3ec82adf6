//! The directory of trust anchors as Globus sites have it, from the content of its files.
//!
//! ```text
//!   1a2b3c4d.0, .1, …          certificates of an authority
//!   1a2b3c4d.r0, .r1, …        its revocation lists
//!   1a2b3c4d.signing_policy    which names it may sign
//! ```
//!
//! The hash in front (the "stem") is OpenSSL's of the authority's name, and IGTF's directories have each authority under the new and the
//! old kind of hash. What belongs together is found by stem and by the names inside; a hash is not calculated. A file that cannot be
//! read is told, and holds against its own authority alone.
mod file;

use std::collections::{BTreeMap, HashMap, HashSet};

use rustls::pki_types::{TrustAnchor, UnixTime};

pub use self::file::{TrustFile, TrustFileKind, TrustProblem};
use super::name::canonical;
use super::path::Reason;
use super::{Certificate, DistinguishedName, RevocationList, SigningPolicy, SigningPolicyVerdict};

/// Most files that are looked at. The IGTF distribution has some thousand.
pub const MAX_TRUST_FILES: usize = 16 * 1024;

/// Authorities with what they may sign and what they have taken back.
#[derive(Debug, Default)]
pub struct TrustStore {
    authorities: Vec<Certificate>,
    /// Those that have signed themselves, as webpki wants them, and their places among `authorities`.
    anchors: Vec<TrustAnchor<'static>>,
    roots: Vec<usize>,
    /// By the authority's name, however it is spelled.
    names: HashMap<Vec<u8>, Name>,
    /// Policies of stems that have no certificate, for intermediate authorities that peers present.
    orphaned_policies: Vec<SigningPolicy>,
}

/// What is known of an authority's name; several certificates may have it.
#[derive(Debug, Default)]
struct Name {
    policies: Vec<SigningPolicy>,
    policy_unreadable: bool,
    lists: Vec<Listed>,
    list_unreadable: bool,
}

#[derive(Debug)]
struct Listed {
    list: RevocationList,
    /// Keys of authorities of this name, and whether they have signed it.
    signers: Vec<(Vec<u8>, bool)>,
}

impl TrustStore {
    /// Reads the files of a directory, whatever their order; those of other names do not count.
    pub fn from_files<'a>(files: impl IntoIterator<Item = TrustFile<'a>>) -> (Self, Vec<TrustProblem>) {
        let mut problems = Vec::new();
        let mut stems: BTreeMap<String, Stem> = BTreeMap::new();
        let mut sorted: Vec<_> = files.into_iter().collect();
        sorted.sort_by(|one, other| one.name.cmp(other.name));
        if sorted.len() > MAX_TRUST_FILES {
            let first_left_out = sorted[MAX_TRUST_FILES].name;
            problems.push(TrustProblem::new(
                first_left_out,
                "it and all behind it are left out: there are more than 16384 files",
            ));
            sorted.truncate(MAX_TRUST_FILES);
        }
        for file in sorted {
            if let Some((stem, kind)) = TrustFileKind::of(file.name) {
                stems.entry(stem.to_owned()).or_default().read(kind, file, &mut problems);
            }
        }
        let mut store = Self::default();
        for stem in stems.into_values() {
            store.add(stem, &mut problems);
        }
        store.match_lists_with_keys(&mut problems);
        (store, problems)
    }

    /// All certificates of authorities.
    pub fn authorities(&self) -> &[Certificate] {
        &self.authorities
    }

    /// Authorities that others have signed.
    pub(super) fn intermediates(&self) -> impl Iterator<Item = &Certificate> {
        self.authorities.iter().filter(|certificate| !certificate.is_self_issued())
    }

    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// The certificate of one of [`Self::anchors`].
    pub(super) fn root(&self, anchor: &TrustAnchor<'_>) -> Option<&Certificate> {
        // A renewed root may be equal in all that webpki keeps of it.
        let place = self.anchors.iter().position(|own| std::ptr::eq(own, anchor))?;
        self.authorities.get(self.roots[place])
    }

    /// Whether `issuer` may have signed `subject` and stands by it. The signature itself is not looked at.
    pub(super) fn check_issued(
        &self,
        issuer: &Certificate,
        subject: &Certificate,
        now: UnixTime,
    ) -> Result<(), Reason> {
        self.check_signing_policy(issuer, subject)?;
        self.check_revocation(issuer, subject, now)
    }

    fn check_signing_policy(&self, issuer: &Certificate, subject: &Certificate) -> Result<(), Reason> {
        let (issuer_name, subject_name) = (issuer.subject_name(), subject.subject_name());
        let name = self.names.get(&canonical(issuer.subject()));
        if name.is_some_and(|name| name.policy_unreadable) {
            return Err(Reason::SigningPolicyUnreadable);
        }
        // Where the stems of an authority disagree, it may sign what all of them allow.
        let policies: Vec<&SigningPolicy> = match name.map(|name| &name.policies) {
            Some(policies) if !policies.is_empty() => policies.iter().collect(),
            _ => self.orphaned_policies.iter().filter(|policy| policy.names(&issuer_name)).collect(),
        };
        if policies.is_empty() {
            return Err(Reason::NoSigningPolicy);
        }
        let allowed = |policy: &&SigningPolicy| {
            policy.verdict(&issuer_name, &subject_name) == SigningPolicyVerdict::Allowed
        };
        if policies.iter().all(allowed) { Ok(()) } else { Err(Reason::SigningPolicyForbids) }
    }

    /// As Globus judges: no list is fine; a list must hold.
    pub(super) fn check_revocation(
        &self,
        issuer: &Certificate,
        subject: &Certificate,
        now: UnixTime,
    ) -> Result<(), Reason> {
        let Some(name) = self.names.get(&canonical(issuer.subject())) else { return Ok(()) };
        if name.list_unreadable {
            return Err(Reason::RevocationListUnreadable);
        }
        if name.lists.is_empty() {
            return Ok(());
        }
        let mut refusal = Reason::RevocationListForged;
        let mut in_force = false;
        for listed in name.lists.iter().filter(|listed| listed.is_signed_by(issuer)) {
            match listed.list.check_time(now) {
                Ok(()) if listed.list.revokes(subject.serial()) => return Err(Reason::Revoked),
                Ok(()) => in_force = true,
                Err(reason) => refusal = reason,
            }
        }
        if in_force { Ok(()) } else { Err(refusal) }
    }

    fn add(&mut self, stem: Stem, problems: &mut Vec<TrustProblem>) {
        let names: HashSet<Vec<u8>> =
            stem.certificates.iter().map(|(_, certificate)| canonical(certificate.subject())).collect();
        for (file, certificate) in stem.certificates {
            if let Err(problem) = self.add_authority(certificate) {
                problems.push(TrustProblem::new(&file, problem));
            }
        }
        for (file, list) in stem.lists {
            if !names.is_empty() && !names.contains(&canonical(list.issuer())) {
                problems.push(TrustProblem::new(
                    &file,
                    "it is the revocation list of another authority; run fetch-crl",
                ));
            }
            let lists = &mut self.names.entry(canonical(list.issuer())).or_default().lists;
            // Under the other hash it is there again.
            if lists.iter().all(|listed| listed.list != list) {
                lists.push(Listed { list, signers: Vec::new() });
            }
        }
        for name in &names {
            let known = self.names.entry(name.clone()).or_default();
            known.list_unreadable |= stem.list_unreadable;
            known.policy_unreadable |= stem.policy_unreadable;
            if let Some(policy) = &stem.policy
                && !known.policies.contains(policy)
            {
                known.policies.push(policy.clone());
            }
        }
        if names.is_empty() {
            self.orphaned_policies.extend(stem.policy);
        }
    }

    fn add_authority(&mut self, certificate: Certificate) -> Result<(), &'static str> {
        if self.authorities.contains(&certificate) {
            return Ok(());
        }
        if !may_sign_certificates(&certificate) {
            return Err("it is no authority's certificate; trust anchors must have CA:TRUE");
        }
        if certificate.is_self_issued() {
            let anchor = {
                let der = rustls::pki_types::CertificateDer::from(certificate.der());
                webpki::anchor_from_trusted_cert(&der).map(|anchor| anchor.to_owned())
            };
            self.anchors.push(anchor.map_err(|_| "it cannot be used as a trust anchor; fetch it again")?);
            self.roots.push(self.authorities.len());
        }
        self.authorities.push(certificate);
        Ok(())
    }

    /// The signature of a list is checked once: hashing the largest takes longer than a login.
    fn match_lists_with_keys(&mut self, problems: &mut Vec<TrustProblem>) {
        for authority in &self.authorities {
            let Some(name) = self.names.get_mut(&canonical(authority.subject())) else { continue };
            for listed in &mut name.lists {
                let signed = listed.list.verify(authority.spki()).is_ok();
                listed.signers.push((authority.spki().to_vec(), signed));
            }
            if name.policies.is_empty() && !name.policy_unreadable {
                let what = "it has no signing_policy file beside it, so nothing that it signed is believed; install that";
                problems.push(TrustProblem::new(authority.subject_name().as_str(), what));
            }
        }
        for name in self.names.values().filter(|name| !name.lists.is_empty()) {
            let unsigned = |listed: &&Listed| {
                !listed.signers.is_empty() && !listed.signers.iter().any(|(_, signed)| *signed)
            };
            if let Some(listed) = name.lists.iter().find(unsigned) {
                let issuer = DistinguishedName::from_der(listed.list.issuer());
                let issuer = issuer.map_or_else(|_| "?".to_owned(), |issuer| issuer.to_string());
                problems.push(TrustProblem::new(
                    &issuer,
                    "its revocation list was not signed by it; run fetch-crl",
                ));
            }
        }
    }
}

impl Listed {
    fn is_signed_by(&self, issuer: &Certificate) -> bool {
        match self.signers.iter().find(|(spki, _)| spki == issuer.spki()) {
            Some((_, signed)) => *signed,
            None => self.list.verify(issuer.spki()).is_ok(),
        }
    }
}

/// Whether a certificate is one of an authority: as OpenSSL sees it, also a root from before there were basicConstraints.
pub(super) fn may_sign_certificates(certificate: &Certificate) -> bool {
    let usage = certificate.key_usage().map(super::KeyUsage::key_cert_sign);
    let authority = match certificate.basic_constraints() {
        Some(constraints) => constraints.ca,
        None => certificate.is_self_issued() && (certificate.version() == 1 || usage == Some(true)),
    };
    authority && usage != Some(false) && certificate.proxy_cert_info().is_none()
}

/// The files of one hash.
#[derive(Debug, Default)]
struct Stem {
    certificates: Vec<(String, Certificate)>,
    lists: Vec<(String, RevocationList)>,
    list_unreadable: bool,
    policy: Option<SigningPolicy>,
    policy_unreadable: bool,
}

#[cfg(test)]
mod tests;
