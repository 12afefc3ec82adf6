//! Certificate revocation lists of both versions, RFC 5280 section 5.
use std::ops::Range;

use rustls::pki_types::UnixTime;
use x509_cert::der::Tag;
use x509_cert::der::asn1::ObjectIdentifier;

use super::certificate::{MalformedCertificate, read_extension, time};
use super::der::{Element, Elements, Signed, Wrong, context};
use super::path::Reason;
use super::signature;

/// Largest list that is read, in bytes: the largest authorities' have some hundred thousand entries of 40 bytes.
pub const MAX_REVOCATION_LIST: usize = 32 * 1024 * 1024;

/// authorityKeyIdentifier, cRLNumber and issuingDistributionPoint: a list for a part of the certificates says nothing of the others, as
/// having none. Any other that is critical changes what the entries mean.
const HARMLESS: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("2.5.29.35"),
    ObjectIdentifier::new_unwrap("2.5.29.20"),
    ObjectIdentifier::new_unwrap("2.5.29.28"),
];

/// What an authority has taken back. It owns its bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RevocationList {
    der: Vec<u8>,
    tbs: Range<usize>,
    algorithm: Range<usize>,
    signature: Range<usize>,
    issuer: Range<usize>,
    this_update: UnixTime,
    next_update: Option<UnixTime>,
    /// Sorted by what they point at.
    serials: Vec<Serial>,
}

/// Place and length of a serial number in the list, 8 bytes an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Serial {
    start: u32,
    length: u32,
}

impl RevocationList {
    /// Reads one list. Its signature is not looked at.
    ///
    /// # Errors
    ///
    /// Where it is none, is larger than [`MAX_REVOCATION_LIST`], or is one of changes (a delta CRL).
    pub fn from_der(der: &[u8]) -> Result<Self, MalformedCertificate> {
        let malformed = |wrong| MalformedCertificate::new("revocation list", wrong);
        if der.len() > MAX_REVOCATION_LIST {
            return Err(malformed("it is larger than 32 MiB"));
        }
        read(der).map_err(malformed)
    }

    /// The DER of the name of who signed it.
    pub fn issuer(&self) -> &[u8] {
        &self.der[self.issuer.clone()]
    }

    /// How many certificates it takes back.
    pub fn len(&self) -> usize {
        self.serials.len()
    }

    /// Whether it takes nothing back.
    pub fn is_empty(&self) -> bool {
        self.serials.is_empty()
    }

    /// Whether it names the certificate with this serial number, as in its DER.
    pub fn revokes(&self, serial: &[u8]) -> bool {
        self.serials.binary_search_by(|entry| self.bytes(*entry).cmp(serial)).is_ok()
    }

    pub(super) fn verify(&self, spki: &[u8]) -> Result<(), Reason> {
        let part = |range: &Range<usize>| &self.der[range.clone()];
        signature::verify(spki, part(&self.algorithm), part(&self.tbs), part(&self.signature))
    }

    /// As Globus judges: what is past its time counts as no answer, not as no list.
    pub(super) fn check_time(&self, now: UnixTime) -> Result<(), Reason> {
        if now < self.this_update {
            return Err(Reason::RevocationListNotYetValid);
        }
        match self.next_update {
            Some(next_update) if now > next_update => Err(Reason::RevocationListExpired { next_update }),
            _ => Ok(()),
        }
    }

    fn bytes(&self, serial: Serial) -> &[u8] {
        let start = serial.start as usize;
        &self.der[start..start + serial.length as usize]
    }
}

fn read(der: &[u8]) -> Result<RevocationList, Wrong> {
    let at = |part: &[u8]| super::certificate::place_of(der, part);
    let Signed { tbs, algorithm, signature } = Signed::from_der(der)?;

    let mut fields = tbs.inside();
    let version = fields.take(Tag::Integer)?.map(|version| version.number()).transpose()?;
    if !matches!(version, None | Some(1)) {
        return Err("its version is neither 1 nor 2");
    }
    if fields.required(Tag::Sequence, "the algorithm inside is missing")?.whole != algorithm.whole {
        return Err("its algorithm inside is another than outside");
    }
    let issuer = fields.required(Tag::Sequence, "the issuer is missing")?.whole;
    let this_update = time(fields.next()?)?;
    let next_update = match fields.take(Tag::UtcTime)? {
        Some(element) => Some(element),
        None => fields.take(Tag::GeneralizedTime)?,
    };
    let next_update = next_update.map(time).transpose()?;
    let mut list = RevocationList {
        tbs: at(tbs.whole),
        algorithm: at(algorithm.content),
        signature: at(signature),
        issuer: at(issuer),
        this_update,
        next_update,
        serials: Vec::new(),
        der: Vec::new(),
    };
    if let Some(entries) = fields.take(Tag::Sequence)? {
        list.serials = read_entries(entries.inside(), der)?;
    }
    if let Some(tagged) = fields.take(context(0))? {
        check_extensions(
            Element::only(tagged.content, Tag::Sequence, "its extensions are broken")?.inside(),
            &HARMLESS,
        )?;
    }
    fields.finish("bytes follow its extensions")?;
    list.der = der.to_vec();
    list.serials.sort_unstable_by(|one, other| {
        let bytes = |serial: &Serial| &der[serial.start as usize..][..serial.length as usize];
        bytes(one).cmp(bytes(other))
    });
    Ok(list)
}

fn read_entries(mut entries: Elements<'_>, der: &[u8]) -> Result<Vec<Serial>, Wrong> {
    let mut serials = Vec::new();
    while !entries.is_empty() {
        let mut entry = entries.required(Tag::Sequence, "an entry is no SEQUENCE")?.inside();
        let serial = entry.required(Tag::Integer, "an entry has no serial number")?.content;
        time(entry.next()?)?;
        if let Some(extensions) = entry.take(Tag::Sequence)? {
            // A critical certificateIssuer: the entry is about another authority's certificate.
            check_extensions(extensions.inside(), &[])?;
        }
        entry.finish("bytes follow an entry")?;
        let too_large = "it is too large";
        serials.push(Serial {
            start: u32::try_from(super::certificate::place_of(der, serial).start).map_err(|_| too_large)?,
            length: u32::try_from(serial.len()).map_err(|_| too_large)?,
        });
    }
    Ok(serials)
}

fn check_extensions(mut extensions: Elements<'_>, harmless: &[ObjectIdentifier]) -> Result<(), Wrong> {
    while !extensions.is_empty() {
        let extension = read_extension(extensions.next()?)?;
        if extension.critical && !harmless.contains(&extension.oid) {
            return Err("it has a critical extension that is not known here, such as that of a delta CRL");
        }
    }
    Ok(())
}
