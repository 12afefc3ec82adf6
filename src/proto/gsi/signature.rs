//! Signatures of certificates and CRLs, and which keys are strong enough.
use rustls::pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use webpki::{ALL_VERIFICATION_ALGS, RawPublicKeyEntity};
use x509_cert::der::Tag;
use x509_cert::der::asn1::ObjectIdentifier;

use super::der::{Element, Wrong};
use super::path::Reason;

/// Sizes of RSA keys that are taken, in bits: below, Globus refuses them too (OpenSSL's security level 2); above, checking a signature
/// would cost a stranger nothing and the door much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ELLIPTIC_CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// P-256, P-384 and P-521.
const CURVES: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
    ObjectIdentifier::new_unwrap("1.3.132.0.34"),
    ObjectIdentifier::new_unwrap("1.3.132.0.35"),
];

pub(super) fn algorithms() -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    ALL_VERIFICATION_ALGS
}

/// Whether `message` was signed with the private half of `spki`.
pub(super) fn verify(spki: &[u8], algorithm: &[u8], message: &[u8], signature: &[u8]) -> Result<(), Reason> {
    let spki = SubjectPublicKeyInfoDer::from(spki);
    let key = RawPublicKeyEntity::try_from(&spki).map_err(|_| Reason::UnusableKey)?;
    let mut known = false;
    // One identifier of ECDSA stands for several curves.
    for candidate in algorithms().iter().filter(|known| known.signature_alg_id().as_ref() == algorithm) {
        known = true;
        if key.verify_signature(*candidate, message, signature).is_ok() {
            return Ok(());
        }
    }
    Err(if known { Reason::WrongSignature } else { Reason::UnknownSignatureAlgorithm })
}

/// Whether a key is of a kind that is used here, and neither weak nor excessive.
pub(super) fn check_key(spki: &[u8]) -> Result<(), Reason> {
    let usable = |usable| if usable { Ok(()) } else { Err(Reason::UnusableKey) };
    match read_key(spki).map_err(|_| Reason::UnusableKey)? {
        Kind::Rsa(bits) if RSA_BITS.contains(&bits) => Ok(()),
        Kind::Rsa(bits) => Err(Reason::KeySize { bits }),
        Kind::Curve(curve) => usable(CURVES.contains(&curve)),
        Kind::Other(algorithm) => usable(algorithm == ED25519),
    }
}

enum Kind {
    Rsa(usize),
    Curve(ObjectIdentifier),
    Other(ObjectIdentifier),
}

fn read_key(spki: &[u8]) -> Result<Kind, Wrong> {
    let mut fields = Element::only(spki, Tag::Sequence, "it is no SEQUENCE")?.inside();
    let mut algorithm = fields.required(Tag::Sequence, "the algorithm is missing")?.inside();
    let kind = algorithm.next()?.oid()?;
    let key = fields.next()?.whole_bytes()?;
    fields.finish("bytes follow the key")?;
    if kind == ELLIPTIC_CURVE {
        return Ok(Kind::Curve(algorithm.next()?.oid()?));
    }
    if kind != RSA {
        return Ok(Kind::Other(kind));
    }
    let mut numbers = Element::only(key, Tag::Sequence, "the key is no SEQUENCE")?.inside();
    let modulus = numbers.required(Tag::Integer, "the modulus is missing")?.content;
    let significant = modulus.iter().position(|byte| *byte != 0).map_or(&[][..], |first| &modulus[first..]);
    let unused = significant.first().map_or(0, |first| first.leading_zeros() as usize);
    Ok(Kind::Rsa(significant.len() * 8 - unused))
}
