//! Why a chain is not believed.
use std::fmt;

use rustls::pki_types::UnixTime;
use x509_cert::der::DateTime;
use x509_cert::der::asn1::ObjectIdentifier;

use crate::proto::gsi::{DistinguishedName, MalformedCertificate};

/// A chain that is not believed: which of its certificates, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathError {
    /// The certificate's subject; `None` where it is about the whole chain.
    pub subject: Option<DistinguishedName>,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a certificate or a chain.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Reason {
    /// Nothing was presented.
    #[error("no certificate was presented; make a proxy with grid-proxy-init or voms-proxy-init")]
    NoCertificate,
    /// The chain has too many certificates or bytes.
    #[error(
        "the chain is longer than 32 certificates or 256 KiB; make a new proxy from the user certificate"
    )]
    TooLong,
    /// One of them is no certificate.
    #[error("{0}")]
    Malformed(MalformedCertificate),
    /// Its time is over.
    #[error("it has expired on {}; make or ask for a new one", Date(*not_after))]
    Expired {
        /// Its last second.
        not_after: UnixTime,
    },
    /// Its time has not begun.
    #[error("it is not valid before {}; compare the clocks of both machines", Date(*not_before))]
    NotYetValid {
        /// Its first second.
        not_before: UnixTime,
    },
    /// The certificate that signed it was not presented.
    #[error("its issuer is not in the chain; present the proxy with all certificates above it")]
    IssuerMissing,
    /// It was not signed with the key of the certificate that it names as its issuer.
    #[error("it was not signed by the key of its issuer; it is forged or damaged")]
    WrongSignature,
    /// Such as SHA-1.
    #[error("its signature algorithm is not accepted; have it signed again with SHA-256")]
    UnknownSignatureAlgorithm,
    /// Of no kind that is accepted.
    #[error("its key is of no accepted kind; use RSA, or ECDSA with P-256, P-384 or P-521")]
    UnusableKey,
    /// Too weak, or excessive.
    #[error("its RSA key has {bits} bits; use 2048 to 8192")]
    KeySize {
        /// How many it has.
        bits: usize,
    },
    /// A proxy's subject is not that of its issuer and one common name.
    #[error("its name is not its issuer's with one CN added, as a proxy's must be")]
    NameNotBelowIssuer,
    /// A proxy of Globus Toolkit 2.
    #[error("it is a legacy (GSI-2) proxy, which servers no longer take; make one without -old")]
    LegacyProxy,
    /// RFC 3820 and draft in one chain.
    #[error(
        "it is a proxy of another form (RFC 3820, draft) than its issuer; make a new one from the user certificate"
    )]
    MixedForms,
    /// A limited proxy has signed one with more rights.
    #[error("a limited proxy has signed it, and it is neither limited nor independent")]
    FullBelowLimited,
    /// More proxies than one above allows.
    #[error("it stands deeper than a proxy above it allows; make that with a larger path length")]
    PathLengthExceeded,
    /// A policy that is not understood here, or with content.
    #[error("it is a restricted proxy, whose policy is not understood here; make one without a policy")]
    RestrictedPolicy,
    /// A proxy that an authority has signed.
    #[error("an authority has signed it, which may not sign proxies")]
    ProxyOfAuthority,
    /// Who signed a proxy may not sign anything.
    #[error("the keyUsage of its issuer lacks digitalSignature, so it may not sign proxies")]
    IssuerMayNotSign,
    /// A proxy that would be a CA.
    #[error("it is a proxy and says that it is an authority")]
    ProxyIsAuthority,
    /// A proxy with a subjectAltName or issuerAltName.
    #[error("it is a proxy with an alternative name")]
    ProxyHasAlternativeName,
    /// proxyCertInfo that may be ignored.
    #[error("its proxyCertInfo is not marked critical")]
    ProxyCertInfoNotCritical,
    /// An extension that is not known, and must be.
    #[error("its critical extension {0} is not understood here")]
    CriticalExtension(ObjectIdentifier),
    /// The certificate of an authority in place of a user's or host's.
    #[error("it is an authority's certificate, and no user's or host's")]
    EndEntityIsAuthority,
    /// No path to a trust anchor.
    #[error("its authority is not trusted here; add it to the trust anchors if it should be")]
    UnknownAuthority,
    /// What stands between it and its authority does not hold.
    #[error("the path to its authority does not hold: {0}")]
    AuthorityPath(&'static str),
    /// A certificate of the path may not sign others.
    #[error("it signs certificates and is not an authority that may")]
    NotAnAuthority,
    /// More authorities in a row than one of them allows.
    #[error("there are more authorities below it than it allows")]
    AuthorityPathLength,
    /// In the list of its authority.
    #[error("its authority has revoked it; ask for a new one")]
    Revoked,
    /// Globus takes none of an authority whose list is old, either.
    #[error("the revocation list of its authority has expired on {}; run fetch-crl", Date(*next_update))]
    RevocationListExpired {
        /// When the next was due.
        next_update: UnixTime,
    },
    /// thisUpdate lies ahead.
    #[error("the revocation list of its authority is not valid yet; compare the clocks")]
    RevocationListNotYetValid,
    /// By whoever.
    #[error("the revocation list of its authority was not signed by that authority; run fetch-crl")]
    RevocationListForged,
    /// The file is broken.
    #[error("the revocation list of its authority cannot be read; run fetch-crl")]
    RevocationListUnreadable,
    /// No file.
    #[error("its authority has no signing_policy file among the trust anchors; install it")]
    NoSigningPolicy,
    /// The file is broken.
    #[error("the signing_policy file of its authority cannot be read; mend it")]
    SigningPolicyUnreadable,
    /// The file forbids the name.
    #[error("its authority may not sign this name, by its signing_policy file")]
    SigningPolicyForbids,
}

impl fmt::Display for PathError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Some(subject) => write!(formatter, "certificate of {subject}: {}", self.reason),
            None => write!(formatter, "{}", self.reason),
        }
    }
}

impl std::error::Error for PathError {}

struct Date(UnixTime);

impl fmt::Display for Date {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_unix_duration(std::time::Duration::from_secs(self.0.as_secs())) {
            Ok(date) => date.fmt(formatter),
            Err(_) => write!(formatter, "{} s after 1970", self.0.as_secs()),
        }
    }
}
