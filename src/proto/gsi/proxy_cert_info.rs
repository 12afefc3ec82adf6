//! ProxyCertInfo, RFC 3820 section 3.8: the extension that makes a certificate a proxy and says how much of its issuer's rights it has.
//! The draft before it ("GSI-3") has another identifier and the same fields in another order.
use x509_cert::der::Tag;
use x509_cert::der::asn1::ObjectIdentifier;

use super::certificate::MalformedCertificate;
use super::der::{Element, Elements, Wrong, context, element};

const RFC_3820: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.14");
const DRAFT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3536.1.222");
const INHERIT_ALL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.21.1");
const INDEPENDENT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.21.2");
const LIMITED: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3536.1.1.1.9");

/// Which of the two extensions: proxies of one form sign only the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProxyForm {
    /// 1.3.6.1.5.5.7.1.14.
    Rfc3820,
    /// 1.3.6.1.4.1.3536.1.222, of Globus Toolkit 3 (`grid-proxy-init -draft`).
    Draft,
}

/// What a proxy may do of what its issuer may.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PolicyLanguage {
    /// Everything: id-ppl-inheritAll.
    InheritAll,
    /// Nothing, it has an identity of its own: id-ppl-independent.
    Independent,
    /// What the site grants to limited proxies (files, no jobs): of Globus.
    Limited,
    /// A language that is not known here.
    Other(ObjectIdentifier),
}

/// The content of the extension.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProxyCertInfo {
    /// Proxies that may follow below this one; `None` is any number.
    pub path_length: Option<u32>,
    /// How `policy` is to be read.
    pub language: PolicyLanguage,
    /// The policy itself, where there is one.
    pub policy: Option<Vec<u8>>,
}

impl ProxyForm {
    /// The identifier of the extension.
    pub fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Rfc3820 => RFC_3820,
            Self::Draft => DRAFT,
        }
    }

    pub(super) fn of(extension: &ObjectIdentifier) -> Option<Self> {
        [Self::Rfc3820, Self::Draft].into_iter().find(|form| form.oid() == *extension)
    }
}

impl PolicyLanguage {
    /// Its identifier.
    pub fn oid(self) -> ObjectIdentifier {
        match self {
            Self::InheritAll => INHERIT_ALL,
            Self::Independent => INDEPENDENT,
            Self::Limited => LIMITED,
            Self::Other(oid) => oid,
        }
    }

    fn of(oid: ObjectIdentifier) -> Self {
        [Self::InheritAll, Self::Independent, Self::Limited]
            .into_iter()
            .find(|language| language.oid() == oid)
            .unwrap_or(Self::Other(oid))
    }
}

impl ProxyCertInfo {
    /// One without a policy of its own.
    pub fn new(language: PolicyLanguage, path_length: Option<u32>) -> Self {
        Self { path_length, language, policy: None }
    }

    /// Reads the extension's value.
    ///
    /// # Errors
    ///
    /// Where it is not the DER of that form.
    pub fn from_der(bytes: &[u8], form: ProxyForm) -> Result<Self, MalformedCertificate> {
        read(bytes, form).map_err(|wrong| MalformedCertificate::new("proxyCertInfo", wrong))
    }

    /// The extension's value.
    pub fn to_der(&self, form: ProxyForm) -> Vec<u8> {
        let mut policy = element(0x06, self.language.oid().as_bytes());
        if let Some(content) = &self.policy {
            policy.extend(element(0x04, content));
        }
        let policy = element(0x30, &policy);
        let length = self.path_length.map(|length| {
            let bytes = length.to_be_bytes();
            let from = bytes.iter().position(|byte| *byte != 0).unwrap_or(3);
            let mut content = Vec::new();
            if bytes[from] >= 0x80 {
                content.push(0);
            }
            content.extend_from_slice(&bytes[from..]);
            element(0x02, &content)
        });
        let content = match (form, length) {
            (_, None) => policy,
            (ProxyForm::Rfc3820, Some(length)) => [length, policy].concat(),
            (ProxyForm::Draft, Some(length)) => [policy, element(0xa1, &length)].concat(),
        };
        element(0x30, &content)
    }
}

fn read(bytes: &[u8], form: ProxyForm) -> Result<ProxyCertInfo, Wrong> {
    let mut fields = Element::only(bytes, Tag::Sequence, "it is no SEQUENCE")?.inside();
    let mut path_length = fields.take(Tag::Integer)?;
    let policy = fields.required(Tag::Sequence, "the policy is missing")?;
    // Globus reads the draft's extension in the order of the RFC as well.
    if form == ProxyForm::Draft && path_length.is_none() {
        let tagged = fields.take(context(1))?;
        path_length = tagged
            .map(|tagged| Element::only(tagged.content, Tag::Integer, "the path length is no number"))
            .transpose()?;
    }
    fields.finish("bytes follow the policy")?;
    let (language, content) = read_policy(policy.inside())?;
    Ok(ProxyCertInfo {
        path_length: path_length.map(|number| number.number()).transpose()?,
        language,
        policy: content.map(<[u8]>::to_vec),
    })
}

fn read_policy(mut fields: Elements<'_>) -> Result<(PolicyLanguage, Option<&[u8]>), Wrong> {
    let language = fields.next()?.oid()?;
    let content = fields.take(Tag::OctetString)?.map(|content| content.content);
    fields.finish("bytes follow the policy's content")?;
    Ok((PolicyLanguage::of(language), content))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORMS: [ProxyForm; 2] = [ProxyForm::Rfc3820, ProxyForm::Draft];

    #[test]
    fn the_bytes_are_those_that_grid_proxy_init_writes() {
        let limited = ProxyCertInfo::new(PolicyLanguage::Limited, None);
        let bytes = b"\x30\x0f\x30\x0d\x06\x0b\x2b\x06\x01\x04\x01\x9b\x50\x01\x01\x01\x09";
        for form in FORMS {
            assert_eq!(limited.to_der(form), bytes);
            assert_eq!(ProxyCertInfo::from_der(bytes, form), Ok(limited.clone()));
        }
        let long = ProxyCertInfo::new(PolicyLanguage::InheritAll, Some(200));
        let rfc = b"\x30\x10\x02\x02\x00\xc8\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x15\x01";
        assert_eq!(long.to_der(ProxyForm::Rfc3820), rfc);
        let draft = b"\x30\x12\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x15\x01\xa1\x04\x02\x02\x00\xc8";
        assert_eq!(long.to_der(ProxyForm::Draft), draft);
        assert_eq!(ProxyCertInfo::from_der(rfc, ProxyForm::Draft), Ok(long));
        assert!(ProxyCertInfo::from_der(draft, ProxyForm::Rfc3820).is_err());
    }

    #[test]
    fn what_is_broken_is_refused_row_by_row() {
        #[rustfmt::skip]
        let table: &[(&[u8], &str)] = &[
            (b"",                                                      "not DER"),
            (b"\x30\x00",                                              "not DER"),
            (b"\x31\x0c\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x15\x01", "no SEQUENCE"),
            (b"\x30\x0c\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x15\x01\x00", "bytes follow"),
            (b"\x30\x0f\x02\x01\xff\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x15\x01", "negative"),
            (b"\x30\x02\x30\x00",                                      "not DER"),
            (b"\x30\x04\x30\x02\x05\x00",                              "object identifier"),
            (b"\x30\x0e\x30\x0c\x06\x08\x2b\x06\x01\x05\x05\x07\x15\x01\x05\x00", "bytes follow"),
        ];
        for (bytes, expected) in table {
            let error = ProxyCertInfo::from_der(bytes, ProxyForm::Rfc3820).unwrap_err().to_string();
            assert!(error.contains(expected), "{bytes:02x?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            path_length in proptest::option::of(any::<u32>()),
            language in 0..4_usize,
            policy in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
        ) {
            let other = PolicyLanguage::Other(ObjectIdentifier::new_unwrap("1.2.3.4"));
            let languages = [PolicyLanguage::InheritAll, PolicyLanguage::Independent, PolicyLanguage::Limited, other];
            let info = ProxyCertInfo { path_length, language: languages[language], policy };
            for form in FORMS {
                let read = ProxyCertInfo::from_der(&info.to_der(form), form);
                prop_assert_eq!(read.as_ref(), Ok(&info));
            }
        }
    }
}
