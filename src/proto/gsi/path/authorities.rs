//! From the end entity to a root. webpki finds the path and checks signatures and name constraints; what Globus asks beyond it is here.
use std::cell::RefCell;

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeIdIter, VerifiedPath};

use super::{PathError, Reason, blame, check_alone};
use crate::proto::gsi::trust::{TrustStore, may_sign_certificates};
use crate::proto::gsi::{Certificate, signature};

/// Most authorities that a peer's chain adds to those of the trust store. Grids have one or two.
const MAX_PRESENTED_AUTHORITIES: usize = 8;
/// Most of them with the same name: one that was renewed, and the one before.
const MAX_OF_A_NAME: usize = 2;

/// What stands above an end entity.
pub(super) struct Authorities {
    pub(super) intermediates: Vec<Certificate>,
    /// Of the root.
    pub(super) not_after: UnixTime,
}

/// Globus asks for no purpose: hosts log in as clients, users serve.
struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        for purpose in purposes {
            purpose?;
        }
        Ok(())
    }
}

/// `presented` may have intermediate authorities in it; those of the trust store are used as well.
pub(super) fn find(
    end_entity: &Certificate,
    presented: &[Certificate],
    trust: &TrustStore,
    now: UnixTime,
) -> Result<Authorities, PathError> {
    let refused = blame(end_entity);
    let der = CertificateDer::from(end_entity.der());
    let subject = EndEntityCert::try_from(&der).map_err(|error| refused(reason_of(&error)))?;
    let intermediates: Vec<CertificateDer<'_>> = above(end_entity, presented)
        .into_iter()
        .chain(trust.intermediates())
        .map(|certificate| CertificateDer::from(certificate.der()))
        .collect();
    let found = RefCell::new(None);
    let first_refusal = RefCell::new(None);
    // A path that webpki finds is judged at once: where an authority has an expired and a renewed root, the other may hold.
    let judge = |path: &VerifiedPath<'_>| {
        judge(end_entity, path, trust, now)
            .map(|authorities| {
                found.replace(Some(authorities));
            })
            .map_err(|refusal| {
                first_refusal.borrow_mut().get_or_insert(refusal);
                Error::UnknownIssuer
            })
    };
    let algorithms = signature::algorithms();
    let verdict = subject.verify_for_usage(
        algorithms,
        trust.anchors(),
        &intermediates,
        now,
        AnyPurpose,
        None,
        Some(&judge),
    );
    if let Err(error) = verdict {
        return Err(first_refusal.take().unwrap_or_else(|| refused(reason_of(&error))));
    }
    found.take().ok_or_else(|| refused(Reason::UnknownAuthority))
}

/// Of the authorities that were presented those that names lead to. webpki tries every way through them before it looks at a
/// signature, which a stranger would make many.
fn above<'c>(end_entity: &Certificate, presented: &'c [Certificate]) -> Vec<&'c Certificate> {
    let authorities = || presented.iter().filter(|one| one.is_ca() && !one.is_self_issued());
    let mut found: Vec<&Certificate> = Vec::new();
    let mut names = vec![end_entity.issuer().to_vec()];
    while let Some(name) = names.pop() {
        let new: Vec<_> = authorities()
            .filter(|one| one.subject() == name && !found.contains(one))
            .take(MAX_OF_A_NAME)
            .collect();
        let known = found.iter().filter(|one| one.subject() == name).count();
        for one in new.into_iter().take(MAX_OF_A_NAME.saturating_sub(known)) {
            if found.len() == MAX_PRESENTED_AUTHORITIES {
                return found;
            }
            names.push(one.issuer().to_vec());
            found.push(one);
        }
    }
    found
}

fn judge(
    end_entity: &Certificate,
    path: &VerifiedPath<'_>,
    trust: &TrustStore,
    now: UnixTime,
) -> Result<Authorities, PathError> {
    let malformed = |error| PathError { subject: None, reason: Reason::Malformed(error) };
    let intermediates: Vec<Certificate> = path
        .intermediate_certificates()
        .map(|certificate| Certificate::from_der(&certificate.der()).map_err(malformed))
        .collect::<Result<_, _>>()?;
    let root = trust.root(path.anchor()).ok_or_else(|| blame(end_entity)(Reason::UnknownAuthority))?;
    let mut below = end_entity;
    let mut authorities_below = 0_u32;
    for authority in intermediates.iter().chain([root]) {
        check_alone(authority, now).map_err(blame(authority))?;
        check_authority(authority, authorities_below).map_err(blame(authority))?;
        trust.check_issued(authority, below, now).map_err(blame(below))?;
        below = authority;
        // RFC 5280 section 4.2.1.9: those that renew their own key do not count.
        authorities_below += u32::from(!authority.is_self_issued());
    }
    trust.check_revocation(root, root, now).map_err(blame(root))?;
    Ok(Authorities { intermediates, not_after: root.validity().not_after })
}

fn check_authority(authority: &Certificate, authorities_below: u32) -> Result<(), Reason> {
    if !may_sign_certificates(authority) {
        return Err(Reason::NotAnAuthority);
    }
    let longest = authority.basic_constraints().and_then(|constraints| constraints.path_length);
    if longest.is_some_and(|longest| authorities_below > longest) {
        return Err(Reason::AuthorityPathLength);
    }
    Ok(())
}

/// webpki tells the most specific fault of all paths that it tried.
fn reason_of(error: &Error) -> Reason {
    match error {
        Error::UnknownIssuer => Reason::UnknownAuthority,
        Error::InvalidSignatureForPublicKey | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            Reason::WrongSignature
        }
        Error::CaUsedAsEndEntity => Reason::EndEntityIsAuthority,
        Error::UnsupportedCertVersion => Reason::AuthorityPath("a certificate is not of version 3"),
        Error::CertExpired { .. } => {
            Reason::AuthorityPath("an intermediate authority's certificate has expired")
        }
        Error::CertNotValidYet { .. } => {
            Reason::AuthorityPath("an intermediate authority's certificate is not valid yet")
        }
        Error::EndEntityUsedAsCa => Reason::NotAnAuthority,
        Error::PathLenConstraintViolated => Reason::AuthorityPathLength,
        Error::NameConstraintViolation => Reason::AuthorityPath("a name constraint forbids the name"),
        Error::UnsupportedSignatureAlgorithmContext(_) => Reason::UnknownSignatureAlgorithm,
        Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumSignatureChecksExceeded
        | Error::MaximumNameConstraintComparisonsExceeded => Reason::AuthorityPath(
            "it takes too many steps to find; present the chain of intermediate authorities alone",
        ),
        Error::UnsupportedCriticalExtension => {
            Reason::AuthorityPath("a certificate has a critical extension that is not understood here")
        }
        _ => Reason::AuthorityPath("a certificate is malformed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::gsi::issuing::{Request, key, name};

    /// Two names that issue each other, fifteen certificates each: webpki would try thousands of ways through them.
    #[test]
    fn a_maze_of_authorities_is_cut_down_to_what_names_need() {
        let authority = |issuer: &str, subject: &str, number: u8| {
            let request = Request::authority(&name(issuer), &name(subject), key(0));
            let request = request.with("2.5.29.14", false, &[4, 1, number]);
            Certificate::from_der(&request.sign(key(0))).unwrap()
        };
        let maze: Vec<Certificate> =
            (0..15).flat_map(|number| [authority("A", "B", number), authority("B", "A", number)]).collect();
        let user = Request::end_entity(&name("A"), &name("User"), key(1)).sign(key(0));
        let user = Certificate::from_der(&user).unwrap();
        assert_eq!(above(&user, &maze).len(), 2 * MAX_OF_A_NAME);
        let tower: Vec<Certificate> = (0..20)
            .map(|level| {
                authority(
                    &format!("{}", level + 1),
                    &if level == 0 { "A".into() } else { level.to_string() },
                    0,
                )
            })
            .collect();
        assert_eq!(above(&user, &tower).len(), MAX_PRESENTED_AUTHORITIES);
        let stranger = [authority("C", "C2", 0)];
        assert!(above(&user, &stranger).is_empty());
    }
}
