//! Distinguished names as Globus writes them: `/DC=org/O=Grid/CN=Some One`.
//!
//! It is what OpenSSL's X509_NAME_oneline gives, for that is what stands in grid-mapfiles and signing policies: bytes outside of
//! printable ASCII as `\xC3`, a slash or plus within a value as `\/` and `\+`, values of one set with a plus between them, types by
//! OpenSSL's short name or else by number.
use std::fmt;

use x509_cert::der::Tag;
use x509_cert::der::asn1::ObjectIdentifier;

use super::certificate::MalformedCertificate;
use super::der::{Element, Elements, Wrong};

/// Longest name that is read, in bytes of DER. Names are some hundred; the text is up to four times as long.
pub const MAX_NAME: usize = 4 * 1024;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// OpenSSL's short names of what stands in subjects. Types that it does not know it writes as numbers.
#[rustfmt::skip]
const SHORT_NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"), ("2.5.4.4", "SN"), ("2.5.4.5", "serialNumber"), ("2.5.4.6", "C"), ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"), ("2.5.4.9", "street"), ("2.5.4.10", "O"), ("2.5.4.11", "OU"), ("2.5.4.12", "title"),
    ("2.5.4.13", "description"), ("2.5.4.14", "searchGuide"), ("2.5.4.15", "businessCategory"),
    ("2.5.4.16", "postalAddress"), ("2.5.4.17", "postalCode"), ("2.5.4.18", "postOfficeBox"),
    ("2.5.4.19", "physicalDeliveryOfficeName"), ("2.5.4.20", "telephoneNumber"), ("2.5.4.21", "telexNumber"),
    ("2.5.4.22", "teletexTerminalIdentifier"), ("2.5.4.23", "facsimileTelephoneNumber"),
    ("2.5.4.24", "x121Address"), ("2.5.4.25", "internationaliSDNNumber"), ("2.5.4.26", "registeredAddress"),
    ("2.5.4.27", "destinationIndicator"), ("2.5.4.28", "preferredDeliveryMethod"),
    ("2.5.4.29", "presentationAddress"), ("2.5.4.30", "supportedApplicationContext"), ("2.5.4.31", "member"),
    ("2.5.4.32", "owner"), ("2.5.4.33", "roleOccupant"), ("2.5.4.34", "seeAlso"), ("2.5.4.35", "userPassword"),
    ("2.5.4.36", "userCertificate"), ("2.5.4.37", "cACertificate"), ("2.5.4.41", "name"), ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"), ("2.5.4.44", "generationQualifier"), ("2.5.4.45", "x500UniqueIdentifier"),
    ("2.5.4.46", "dnQualifier"), ("2.5.4.49", "distinguishedName"), ("2.5.4.50", "uniqueMember"),
    ("2.5.4.51", "houseIdentifier"), ("2.5.4.54", "dmdName"), ("2.5.4.65", "pseudonym"), ("2.5.4.72", "role"),
    ("2.5.4.97", "organizationIdentifier"), ("2.5.4.98", "c3"), ("2.5.4.99", "n3"), ("2.5.4.100", "dnsName"),
    ("0.9.2342.19200300.100.1.1", "UID"), ("0.9.2342.19200300.100.1.2", "textEncodedORAddress"),
    ("0.9.2342.19200300.100.1.3", "mail"), ("0.9.2342.19200300.100.1.4", "info"),
    ("0.9.2342.19200300.100.1.5", "favouriteDrink"), ("0.9.2342.19200300.100.1.6", "roomNumber"),
    ("0.9.2342.19200300.100.1.8", "userClass"), ("0.9.2342.19200300.100.1.9", "host"),
    ("0.9.2342.19200300.100.1.20", "homeTelephoneNumber"), ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.37", "associatedDomain"), ("0.9.2342.19200300.100.1.40", "personalTitle"),
    ("0.9.2342.19200300.100.1.41", "mobileTelephoneNumber"),
    ("0.9.2342.19200300.100.1.42", "pagerTelephoneNumber"),
    ("0.9.2342.19200300.100.1.43", "friendlyCountryName"), ("0.9.2342.19200300.100.1.44", "uid"),
    ("0.9.2342.19200300.100.1.45", "organizationalStatus"),
    ("1.2.840.113549.1.9.1", "emailAddress"), ("1.2.840.113549.1.9.2", "unstructuredName"),
    ("1.2.840.113549.1.9.8", "unstructuredAddress"), ("1.2.840.113549.1.9.20", "friendlyName"),
    ("1.3.6.1.4.1.311.60.2.1.1", "jurisdictionL"), ("1.3.6.1.4.1.311.60.2.1.2", "jurisdictionST"),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC"),
];

/// A subject or issuer, as text.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DistinguishedName(String);

impl DistinguishedName {
    /// Reads the DER of a Name.
    ///
    /// # Errors
    ///
    /// Where it is none, or longer than [`MAX_NAME`].
    pub fn from_der(bytes: &[u8]) -> Result<Self, MalformedCertificate> {
        oneline(bytes).map(Self).map_err(|wrong| MalformedCertificate::new("name", wrong))
    }

    /// As Globus writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DistinguishedName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn oneline(bytes: &[u8]) -> Result<String, Wrong> {
    let mut text = String::new();
    for set in relative_names(bytes)? {
        let mut pairs = Elements::new(set);
        let mut pairs = pairs.required(Tag::Set, "a part of it is no SET")?.inside();
        let mut separator = '/';
        while !pairs.is_empty() {
            let (kind, value) = pair(pairs.next()?)?;
            text.push(std::mem::replace(&mut separator, '+'));
            let number = kind.to_string();
            let short = SHORT_NAMES.iter().find(|(oid, _)| *oid == number).map(|(_, short)| *short);
            text.push_str(short.unwrap_or(&number));
            text.push('=');
            write_value(&mut text, value);
        }
    }
    Ok(text)
}

fn write_value(text: &mut String, value: Element<'_>) {
    // Four bytes a character in GeneralString alone, and only where the first three are never used.
    let wide = value.tag == Tag::GeneralString
        && value.content.len().is_multiple_of(4)
        && value.content.chunks_exact(4).all(|character| character[..3] == [0, 0, 0]);
    for byte in value.content.iter().skip(if wide { 3 } else { 0 }).step_by(if wide { 4 } else { 1 }) {
        match byte {
            b'/' | b'+' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            other => text.push_str(&format!("\\x{other:02X}")),
        }
    }
}

fn pair(element: Element<'_>) -> Result<(ObjectIdentifier, Element<'_>), Wrong> {
    if element.tag != Tag::Sequence {
        return Err("a part of it is no SEQUENCE");
    }
    let mut fields = element.inside();
    let kind = fields.next()?.oid()?;
    let value = fields.next()?;
    fields.finish("bytes follow a value")?;
    Ok((kind, value))
}

/// The DER of each relative name.
fn relative_names(name: &[u8]) -> Result<Vec<&[u8]>, Wrong> {
    if name.len() > MAX_NAME {
        return Err("it is longer than 4096 bytes");
    }
    let mut rest = Element::only(name, Tag::Sequence, "it is no SEQUENCE")?.inside();
    let mut sets = Vec::new();
    while !rest.is_empty() {
        sets.push(rest.required(Tag::Set, "a part of it is no SET")?.whole);
    }
    Ok(sets)
}

/// What two spellings of a name have in common, RFC 5280 section 7.1 as OpenSSL does it: case, blanks and the kind of string do not count.
/// A revocation list may spell its authority in another way than the authority itself does, and must not be overlooked for that.
pub(super) fn canonical(name: &[u8]) -> Vec<u8> {
    spelled(name).unwrap_or_else(|_| name.to_vec())
}

fn spelled(name: &[u8]) -> Result<Vec<u8>, Wrong> {
    let mut all = Vec::new();
    for set in relative_names(name)? {
        let mut pairs = Elements::new(set).next()?.inside();
        let mut spelled = Vec::new();
        while !pairs.is_empty() {
            let (kind, value) = pair(pairs.next()?)?;
            let text = characters(value).map(|text| {
                let words: Vec<&str> = text.split_ascii_whitespace().collect();
                super::der::element(0x0c, words.join(" ").to_ascii_lowercase().as_bytes())
            });
            spelled.extend(super::der::element(0x06, kind.as_bytes()));
            spelled.extend(text.unwrap_or_else(|| value.whole.to_vec()));
        }
        all.extend(super::der::element(0x31, &spelled));
    }
    Ok(all)
}

/// The text of a value, where it is one.
fn characters(value: Element<'_>) -> Option<String> {
    match value.tag {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::VisibleString => {
            String::from_utf8(value.content.to_vec()).ok()
        }
        Tag::TeletexString => Some(value.content.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => {
            let units = value.content.chunks(2).map(|two| two.try_into().map(u16::from_be_bytes));
            String::from_utf16(&units.collect::<Result<Vec<_>, _>>().ok()?).ok()
        }
        _ => None,
    }
}

/// The last relative name, where it is one common name and all before it is `issuer`, byte for byte: RFC 3820 section 3.4.
pub(super) fn common_name_below<'a>(issuer: &[u8], subject: &'a [u8]) -> Option<&'a [u8]> {
    let (above, below) = (relative_names(issuer).ok()?, relative_names(subject).ok()?);
    let (last, rest) = below.split_last()?;
    if rest != above.as_slice() {
        return None;
    }
    last_common_name(last)
}

/// The common name at the end of a subject.
pub(super) fn trailing_common_name(subject: &[u8]) -> Option<&[u8]> {
    last_common_name(relative_names(subject).ok()?.last()?)
}

fn last_common_name(relative_name: &[u8]) -> Option<&[u8]> {
    let mut pairs = Elements::new(relative_name).next().ok()?.inside();
    let (kind, value) = pair(pairs.next().ok()?).ok()?;
    (pairs.is_empty() && kind == COMMON_NAME).then_some(value.content)
}

/// The DER of `issuer` with one more relative name at its end: CN = `common_name`, as PrintableString.
///
/// # Errors
///
/// Where `issuer` is no name.
pub fn with_common_name(issuer: &[u8], common_name: &str) -> Result<Vec<u8>, MalformedCertificate> {
    let written = || {
        let mut content = Element::only(issuer, Tag::Sequence, "it is no SEQUENCE")?.content.to_vec();
        let pair = [
            super::der::element(0x06, COMMON_NAME.as_bytes()),
            super::der::element(0x13, common_name.as_bytes()),
        ]
        .concat();
        content.extend(super::der::element(0x31, &super::der::element(0x30, &pair)));
        Ok(super::der::element(0x30, &content))
    };
    written().map_err(|wrong| MalformedCertificate::new("name", wrong))
}

#[cfg(test)]
mod tests {
    use super::super::der::element;
    use super::*;

    /// Type, tag and value of what stands in one set.
    type Set<'a> = &'a [(&'a str, u8, &'a [u8])];

    fn name(parts: &[Set<'_>]) -> Vec<u8> {
        let sets: Vec<u8> = parts
            .iter()
            .flat_map(|set| {
                let pairs: Vec<u8> = set
                    .iter()
                    .flat_map(|(oid, tag, value)| {
                        let oid = ObjectIdentifier::new_unwrap(oid);
                        element(0x30, &[element(6, oid.as_bytes()), element(*tag, value)].concat())
                    })
                    .collect();
                element(0x31, &pairs)
            })
            .collect();
        element(0x30, &sets)
    }

    const CN: &str = "2.5.4.3";
    const O: &str = "2.5.4.10";

    #[test]
    fn names_are_written_as_openssl_writes_them_row_by_row() {
        const DC: &str = "0.9.2342.19200300.100.1.25";
        #[rustfmt::skip]
        let table: &[(&[Set<'_>], &str)] = &[
            (&[],                                                                    ""),
            (&[&[(DC, 22, b"org")], &[(DC, 22, b"grid")], &[(CN, 19, b"A B")]],      "/DC=org/DC=grid/CN=A B"),
            (&[&[(O, 19, b"Grid")], &[(CN, 12, b"host/localhost")]],                 "/O=Grid/CN=host\\/localhost"),
            (&[&[(CN, 12, b"a+b\\c=d,e")]],                                          "/CN=a\\+b\\c=d,e"),
            (&[&[(CN, 12, "J\u{f6}rg".as_bytes())]],                                 "/CN=J\\xC3\\xB6rg"),
            (&[&[(CN, 30, b"\0J\0r")]],                                              "/CN=\\x00J\\x00r"),
            (&[&[(CN, 27, b"\0\0\0J\0\0\0r")]],                                      "/CN=Jr"),
            (&[&[(CN, 27, b"\0\0\x01J\0\0\0r")]],                                    "/CN=\\x00\\x00\\x01J\\x00\\x00\\x00r"),
            (&[&[(CN, 19, b"a\x7f\n")]],                                             "/CN=a\\x7F\\x0A"),
            (&[&[(O, 19, b"x"), (CN, 19, b"y")], &[("1.2.840.113549.1.9.1", 22, b"a@b")]], "/O=x+CN=y/emailAddress=a@b"),
            (&[&[("0.9.2342.19200300.100.1.1", 12, b"u")], &[("1.3.6.1.4.1.9999.1", 12, b"z")]], "/UID=u/1.3.6.1.4.1.9999.1=z"),
            (&[&[(CN, 19, b"")]],                                                    "/CN="),
        ];
        for (parts, expected) in table {
            assert_eq!(DistinguishedName::from_der(&name(parts)).unwrap().as_str(), *expected);
        }
    }

    #[test]
    fn a_proxy_has_its_issuers_name_and_one_common_name_more() {
        let issuer = name(&[&[(O, 19, b"Grid")], &[(CN, 19, b"User")]]);
        let proxy = with_common_name(&issuer, "123").unwrap();
        assert_eq!(common_name_below(&issuer, &proxy), Some(&b"123"[..]));
        assert_eq!(trailing_common_name(&proxy), Some(&b"123"[..]));
        assert_eq!(DistinguishedName::from_der(&proxy).unwrap().as_str(), "/O=Grid/CN=User/CN=123");
        #[rustfmt::skip]
        let others = [
            issuer.clone(),
            with_common_name(&proxy, "4").unwrap(),
            with_common_name(&name(&[&[(O, 19, b"Grid")], &[(CN, 12, b"User")]]), "123").unwrap(),
            name(&[&[(O, 19, b"Grid")], &[(CN, 19, b"User")], &[(O, 19, b"123")]]),
            name(&[&[(O, 19, b"Grid")], &[(CN, 19, b"User")], &[(CN, 19, b"123"), (CN, 19, b"124")]]),
            name(&[&[(CN, 19, b"User")], &[(O, 19, b"Grid")], &[(CN, 19, b"123")]]),
            name(&[]),
        ];
        for other in others {
            assert_eq!(common_name_below(&issuer, &other), None, "{other:02x?}");
        }
    }

    #[test]
    fn names_that_differ_in_spelling_alone_are_the_same() {
        let one = name(&[&[(O, 19, b"Grid Site")], &[(CN, 19, b"CA")]]);
        #[rustfmt::skip]
        let table: &[(&[Set<'_>], bool)] = &[
            (&[&[(O, 12, b"Grid Site")], &[(CN, 22, b"CA")]],                        true),
            (&[&[(O, 19, b" grid   SITE ")], &[(CN, 20, b"ca")]],                    true),
            (&[&[(O, 30, b"\0G\0r\0i\0d\0 \0s\0i\0t\0e")], &[(CN, 19, b"CA")]],     true),
            (&[&[(O, 19, b"Grid Site"), (CN, 19, b"CA")]],                           false),
            (&[&[(O, 19, b"GridSite")], &[(CN, 19, b"CA")]],                         false),
            (&[&[(O, 19, b"Grid Site")], &[(O, 19, b"CA")]],                         false),
            (&[&[(O, 19, b"Grid Site")]],                                            false),
            (&[&[(O, 4, b"Grid Site")], &[(CN, 19, b"CA")]],                         false),
        ];
        for (parts, expected) in table {
            assert_eq!(canonical(&name(parts)) == canonical(&one), *expected, "{parts:?}");
        }
        assert_eq!(canonical(b"?"), b"?");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = name(&[&[(CN, 12, &[b'x'; MAX_NAME])]]);
        for bytes in [&b""[..], b"\x31\x00", b"\x30\x02\x31\x01", b"\x30\x02\x30\x00", b"\x30\x00\x00", &long]
        {
            assert!(DistinguishedName::from_der(bytes).is_err(), "{bytes:02x?}");
        }
    }
}
