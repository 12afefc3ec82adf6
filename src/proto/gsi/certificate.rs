//! An X.509 certificate with its raw pieces at hand, and what proxies are judged by.
//!
//! Nothing here says that a certificate may be trusted: that is for `path`.
use std::ops::Range;

use rustls::pki_types::UnixTime;
use x509_cert::der::asn1::{GeneralizedTime, ObjectIdentifier, UtcTime};
use x509_cert::der::{Decode as _, Tag};

use super::der::{Element, Elements, Signed, Wrong, context, context_primitive};
use super::name::DistinguishedName;
use super::proxy_cert_info::{ProxyCertInfo, ProxyForm};

/// Largest certificate that is read, in bytes. Those with VOMS attributes are some 10 kB.
pub const MAX_CERTIFICATE: usize = 64 * 1024;

/// Most extensions of one certificate that are read. Real ones have a dozen.
const MAX_EXTENSIONS: usize = 64;

/// Extensions that are judged here, RFC 5280 section 4.2.1.
pub(super) mod oid {
    use super::ObjectIdentifier;

    pub(in super::super) const SUBJECT_KEY_IDENTIFIER: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("2.5.29.14");
    pub(in super::super) const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
    pub(in super::super) const SUBJECT_ALTERNATIVE_NAME: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("2.5.29.17");
    pub(in super::super) const ISSUER_ALTERNATIVE_NAME: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("2.5.29.18");
    pub(in super::super) const BASIC_CONSTRAINTS: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("2.5.29.19");
    pub(in super::super) const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("2.5.29.35");
    pub(in super::super) const EXTENDED_KEY_USAGE: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("2.5.29.37");
    pub(in super::super) const NETSCAPE_CERT_TYPE: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("2.16.840.1.113730.1.1");
}

/// What is no certificate, CRL or name, and where.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{place} cannot be read: {wrong}")]
pub struct MalformedCertificate {
    place: &'static str,
    wrong: Wrong,
}

impl MalformedCertificate {
    pub(super) fn new(place: &'static str, wrong: Wrong) -> Self {
        Self { place, wrong }
    }
}

/// A certificate as it came. It owns its bytes; cloning copies them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    der: Vec<u8>,
    tbs: Range<usize>,
    version: u8,
    serial: Range<usize>,
    signature_algorithm: Range<usize>,
    signature: Range<usize>,
    issuer: Range<usize>,
    subject: Range<usize>,
    issuer_name: DistinguishedName,
    subject_name: DistinguishedName,
    spki: Range<usize>,
    validity: Validity,
    extensions: Vec<Placed>,
    key_usage: Option<KeyUsage>,
    basic_constraints: Option<BasicConstraints>,
    proxy: Option<(ProxyForm, ProxyCertInfo)>,
}

/// From when to when, both included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validity {
    /// notBefore.
    pub not_before: UnixTime,
    /// notAfter.
    pub not_after: UnixTime,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Placed {
    oid: ObjectIdentifier,
    critical: bool,
    value: Range<usize>,
    whole: Range<usize>,
}

/// An extension as it came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Extension<'a> {
    /// What it is.
    pub oid: ObjectIdentifier,
    /// Whether who does not know it has to refuse the certificate.
    pub critical: bool,
    /// Its value, inside the OCTET STRING.
    pub value: &'a [u8],
    /// All of it, to be copied into another certificate.
    pub der: &'a [u8],
}

/// The bits of keyUsage, the first (digitalSignature) lowest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyUsage(u16);

/// basicConstraints.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BasicConstraints {
    /// Whether it may sign certificates that are no proxies.
    pub ca: bool,
    /// How many CAs may follow.
    pub path_length: Option<u32>,
}

impl KeyUsage {
    /// digitalSignature: what signs proxies and handshakes.
    pub fn digital_signature(self) -> bool {
        self.0 & 1 != 0
    }

    /// nonRepudiation, also called contentCommitment.
    pub fn non_repudiation(self) -> bool {
        self.0 & 1 << 1 != 0
    }

    /// keyCertSign: what CAs have.
    pub fn key_cert_sign(self) -> bool {
        self.0 & 1 << 5 != 0
    }

    /// cRLSign.
    pub fn crl_sign(self) -> bool {
        self.0 & 1 << 6 != 0
    }

    /// The usage of a proxy that this key signs: without nonRepudiation and keyCertSign, as Globus signs them.
    #[must_use]
    pub fn of_proxies_below(self) -> Self {
        Self(self.0 & !(1 << 1 | 1 << 5))
    }

    /// The extension's value.
    pub fn to_der(self) -> Vec<u8> {
        // The first bit is the highest of the first byte.
        let bytes = self.0.reverse_bits().to_be_bytes();
        let used = 16 - self.0.leading_zeros();
        let length = (used as usize).div_ceil(8);
        let unused = u8::try_from(length * 8 - used as usize).unwrap_or(0);
        super::der::element(0x03, &[&[unused], &bytes[..length]].concat())
    }

    fn read(value: &[u8]) -> Result<Self, Wrong> {
        let bits = Element::only(value, Tag::BitString, "it is no BIT STRING")?;
        match *bits.content {
            [0..=7, first] => Ok(Self(u16::from(first.reverse_bits()))),
            [0..=7, first, second] => Ok(Self(u16::from_be_bytes([first, second]).reverse_bits())),
            [0] => Ok(Self(0)),
            _ => Err("it is a broken BIT STRING"),
        }
    }
}

impl Validity {
    /// Whether `now` is in it.
    pub fn holds(&self, now: UnixTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

impl Certificate {
    /// Reads one certificate. Its signature is not looked at.
    ///
    /// # Errors
    ///
    /// Where it is none, is larger than [`MAX_CERTIFICATE`], or has an extension twice.
    pub fn from_der(der: &[u8]) -> Result<Self, MalformedCertificate> {
        if der.len() > MAX_CERTIFICATE {
            return Err(MalformedCertificate::new("certificate", "it is larger than 64 KiB"));
        }
        let mut place = "certificate";
        read(der, &mut place).map_err(|wrong| MalformedCertificate::new(place, wrong))
    }

    /// All of it.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// What is signed.
    pub fn tbs(&self) -> &[u8] {
        &self.der[self.tbs.clone()]
    }

    /// 1, 2 or 3.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// The bytes of the serial number, as in DER.
    pub fn serial(&self) -> &[u8] {
        &self.der[self.serial.clone()]
    }

    /// The AlgorithmIdentifier without its outer SEQUENCE, as `SignatureVerificationAlgorithm::signature_alg_id` has it.
    pub fn signature_algorithm(&self) -> &[u8] {
        &self.der[self.signature_algorithm.clone()]
    }

    /// The signature itself.
    pub fn signature(&self) -> &[u8] {
        &self.der[self.signature.clone()]
    }

    /// The DER of the issuer's name.
    pub fn issuer(&self) -> &[u8] {
        &self.der[self.issuer.clone()]
    }

    /// The DER of the subject's name.
    pub fn subject(&self) -> &[u8] {
        &self.der[self.subject.clone()]
    }

    /// The issuer's name as Globus writes it.
    pub fn issuer_name(&self) -> DistinguishedName {
        self.issuer_name.clone()
    }

    /// The subject's name as Globus writes it.
    pub fn subject_name(&self) -> DistinguishedName {
        self.subject_name.clone()
    }

    /// The DER of the SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.der[self.spki.clone()]
    }

    /// From when to when it holds.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether subject and issuer are the same; the signature is not looked at.
    pub fn is_self_issued(&self) -> bool {
        self.subject() == self.issuer()
    }

    /// All extensions, in order.
    pub fn extensions(&self) -> impl Iterator<Item = Extension<'_>> {
        self.extensions.iter().map(|placed| Extension {
            oid: placed.oid,
            critical: placed.critical,
            value: &self.der[placed.value.clone()],
            der: &self.der[placed.whole.clone()],
        })
    }

    /// The extension of that kind.
    pub fn extension(&self, oid: &ObjectIdentifier) -> Option<Extension<'_>> {
        self.extensions().find(|extension| extension.oid == *oid)
    }

    /// keyUsage, where there is one.
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.key_usage
    }

    /// extendedKeyUsage as it came, to be copied.
    pub fn extended_key_usage(&self) -> Option<Extension<'_>> {
        self.extension(&oid::EXTENDED_KEY_USAGE)
    }

    /// basicConstraints, where there are any.
    pub fn basic_constraints(&self) -> Option<BasicConstraints> {
        self.basic_constraints
    }

    /// Whether it says that it is a CA.
    pub fn is_ca(&self) -> bool {
        self.basic_constraints.is_some_and(|constraints| constraints.ca)
    }

    /// ProxyCertInfo of either form, where it is a proxy.
    pub fn proxy_cert_info(&self) -> Option<(ProxyForm, &ProxyCertInfo)> {
        self.proxy.as_ref().map(|(form, info)| (*form, info))
    }
}

fn read(der: &[u8], place: &mut &'static str) -> Result<Certificate, Wrong> {
    let at = |part: &[u8]| place_of(der, part);
    let Signed { tbs, algorithm, signature } = Signed::from_der(der)?;

    let mut fields = tbs.inside();
    *place = "version";
    let version = match fields.take(context(0))? {
        Some(tagged) => match Element::only(tagged.content, Tag::Integer, "it is no number")?.number()? {
            0 => 1,
            1 => 2,
            2 => 3,
            _ => return Err("it is none of 1, 2 and 3"),
        },
        None => 1,
    };
    *place = "serial number";
    let serial = fields.required(Tag::Integer, "it is missing")?;
    *place = "signature algorithm";
    if fields.next()?.whole != algorithm.whole {
        return Err("inside it is another than outside");
    }
    *place = "issuer";
    let (issuer, issuer_name) = name(&mut fields)?;
    *place = "validity";
    let mut times = fields.required(Tag::Sequence, "it is missing")?.inside();
    let validity = Validity { not_before: time(times.next()?)?, not_after: time(times.next()?)? };
    times.finish("bytes follow it")?;
    *place = "subject";
    let (subject, subject_name) = name(&mut fields)?;
    *place = "public key";
    let spki = fields.required(Tag::Sequence, "it is missing")?;
    *place = "certificate";
    fields.take(context_primitive(1))?;
    fields.take(context_primitive(2))?;
    let mut certificate = Certificate {
        tbs: at(tbs.whole),
        version,
        serial: at(serial.content),
        signature_algorithm: at(algorithm.content),
        signature: at(signature),
        issuer: at(issuer),
        subject: at(subject),
        issuer_name,
        subject_name,
        spki: at(spki.whole),
        validity,
        extensions: Vec::new(),
        key_usage: None,
        basic_constraints: None,
        proxy: None,
        der: der.to_vec(),
    };
    *place = "extensions";
    if let Some(tagged) = fields.take(context(3))? {
        if version != 3 {
            return Err("only version 3 has any");
        }
        let list = Element::only(tagged.content, Tag::Sequence, "they are no SEQUENCE")?;
        read_extensions(list.inside(), &mut certificate, der, place)?;
    }
    *place = "certificate";
    fields.finish("bytes follow the extensions")?;
    Ok(certificate)
}

fn read_extensions(
    mut list: Elements<'_>,
    certificate: &mut Certificate,
    der: &[u8],
    place: &mut &'static str,
) -> Result<(), Wrong> {
    while !list.is_empty() {
        *place = "extensions";
        if certificate.extensions.len() == MAX_EXTENSIONS {
            return Err("there are more than 64");
        }
        let extension = read_extension(list.next()?)?;
        if certificate.extensions.iter().any(|other| other.oid == extension.oid) {
            return Err("one is there twice");
        }
        if extension.oid == oid::KEY_USAGE {
            *place = "keyUsage";
            certificate.key_usage = Some(KeyUsage::read(extension.value)?);
        } else if extension.oid == oid::BASIC_CONSTRAINTS {
            *place = "basicConstraints";
            certificate.basic_constraints = Some(read_basic_constraints(extension.value)?);
        } else if let Some(form) = ProxyForm::of(&extension.oid) {
            *place = "proxyCertInfo";
            if certificate.proxy.is_some() {
                return Err("it is there in two forms");
            }
            let info = ProxyCertInfo::from_der(extension.value, form).map_err(|error| error.wrong)?;
            certificate.proxy = Some((form, info));
        }
        certificate.extensions.push(Placed {
            oid: extension.oid,
            critical: extension.critical,
            value: place_of(der, extension.value),
            whole: place_of(der, extension.der),
        });
    }
    Ok(())
}

pub(super) fn read_extension(element: Element<'_>) -> Result<Extension<'_>, Wrong> {
    if element.tag != Tag::Sequence {
        return Err("one is no SEQUENCE");
    }
    let mut fields = element.inside();
    let oid = fields.next()?.oid()?;
    let critical =
        fields.take(Tag::Boolean)?.map(|critical| critical.boolean()).transpose()?.unwrap_or(false);
    let value = fields.required(Tag::OctetString, "one has no value")?.content;
    fields.finish("bytes follow a value")?;
    Ok(Extension { oid, critical, value, der: element.whole })
}

fn read_basic_constraints(value: &[u8]) -> Result<BasicConstraints, Wrong> {
    let mut fields = Element::only(value, Tag::Sequence, "they are no SEQUENCE")?.inside();
    let ca = fields.take(Tag::Boolean)?.map(|ca| ca.boolean()).transpose()?.unwrap_or(false);
    let path_length = fields.take(Tag::Integer)?.map(|length| length.number()).transpose()?;
    fields.finish("bytes follow them")?;
    Ok(BasicConstraints { ca, path_length })
}

/// Its DER, and what it says.
fn name<'a>(fields: &mut Elements<'a>) -> Result<(&'a [u8], DistinguishedName), Wrong> {
    let name = fields.required(Tag::Sequence, "it is missing")?.whole;
    Ok((name, DistinguishedName::from_der(name).map_err(|error| error.wrong)?))
}

pub(super) fn time(element: Element<'_>) -> Result<UnixTime, Wrong> {
    let broken = "a time is broken, or before 1970";
    let since = match element.tag {
        Tag::UtcTime => UtcTime::from_der(element.whole).map_err(|_| broken)?.to_unix_duration(),
        Tag::GeneralizedTime => {
            GeneralizedTime::from_der(element.whole).map_err(|_| broken)?.to_unix_duration()
        }
        _ => return Err("a time is missing"),
    };
    Ok(UnixTime::since_unix_epoch(since))
}

/// Where `part` stands in `der`, which it was cut from.
pub(super) fn place_of(der: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - der.as_ptr() as usize;
    debug_assert!(start + part.len() <= der.len(), "a part of these bytes");
    start..start + part.len()
}

#[cfg(test)]
mod tests;
