//! Reading and writing DER element by element, with the raw bytes of each at hand: names and certificates are copied, never encoded
//! again, and a signature is over the bytes as they came.
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Header, Reader as _, SliceReader, Tag, TagNumber};

/// What is wrong, without where.
pub(super) type Wrong = &'static str;

/// One element: its tag, its content, and all of its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub(super) tag: Tag,
    pub(super) content: &'a [u8],
    pub(super) whole: &'a [u8],
}

/// The elements that stand one behind the other in some bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn next(&mut self) -> Result<Element<'a>, Wrong> {
        const BROKEN: Wrong = "it is not DER";
        let mut reader = SliceReader::new(self.rest).map_err(|_| BROKEN)?;
        let header = Header::peek(&reader).map_err(|_| BROKEN)?;
        let whole = reader.tlv_bytes().map_err(|_| BROKEN)?;
        let length = usize::try_from(header.length()).map_err(|_| BROKEN)?;
        let start = whole.len().checked_sub(length).ok_or(BROKEN)?;
        self.rest = self.rest.get(whole.len()..).ok_or(BROKEN)?;
        Ok(Element { tag: header.tag(), content: &whole[start..], whole })
    }

    pub(super) fn required(&mut self, tag: Tag, otherwise: Wrong) -> Result<Element<'a>, Wrong> {
        let element = self.next()?;
        if element.tag == tag { Ok(element) } else { Err(otherwise) }
    }

    /// The next element where it has this tag.
    pub(super) fn take(&mut self, tag: Tag) -> Result<Option<Element<'a>>, Wrong> {
        let mut ahead = *self;
        if self.is_empty() {
            return Ok(None);
        }
        let element = ahead.next()?;
        if element.tag != tag {
            return Ok(None);
        }
        *self = ahead;
        Ok(Some(element))
    }

    pub(super) fn finish(self, otherwise: Wrong) -> Result<(), Wrong> {
        if self.is_empty() { Ok(()) } else { Err(otherwise) }
    }
}

impl<'a> Element<'a> {
    /// The only element of these bytes.
    pub(super) fn only(bytes: &'a [u8], tag: Tag, otherwise: Wrong) -> Result<Self, Wrong> {
        let mut elements = Elements::new(bytes);
        let element = elements.required(tag, otherwise)?;
        elements.finish("bytes follow it")?;
        Ok(element)
    }

    pub(super) fn inside(&self) -> Elements<'a> {
        Elements::new(self.content)
    }

    pub(super) fn oid(&self) -> Result<ObjectIdentifier, Wrong> {
        if self.tag != Tag::ObjectIdentifier {
            return Err("an object identifier is missing");
        }
        ObjectIdentifier::from_der(self.whole).map_err(|_| "an object identifier is broken or too long")
    }

    /// BER's other values for true are read as OpenSSL does.
    pub(super) fn boolean(&self) -> Result<bool, Wrong> {
        match self.content {
            [byte] if self.tag == Tag::Boolean => Ok(*byte != 0),
            _ => Err("a BOOLEAN is broken"),
        }
    }

    /// A number that is not negative and fits.
    pub(super) fn number(&self) -> Result<u32, Wrong> {
        if self.tag != Tag::Integer {
            return Err("a number is missing");
        }
        u32::from_der(self.whole).map_err(|_| "a number is negative or too large")
    }

    /// The bytes of a BIT STRING of whole bytes.
    pub(super) fn whole_bytes(&self) -> Result<&'a [u8], Wrong> {
        match self.content {
            [0, bytes @ ..] if self.tag == Tag::BitString => Ok(bytes),
            _ => Err("a BIT STRING is broken"),
        }
    }
}

/// What is signed, how, and the signature: the frame of certificates, revocation lists and requests (RFC 5280 section 4.1, RFC 2986
/// section 4.2).
pub(super) struct Signed<'a> {
    pub(super) tbs: Element<'a>,
    pub(super) algorithm: Element<'a>,
    pub(super) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    pub(super) fn from_der(der: &'a [u8]) -> Result<Self, Wrong> {
        let mut whole = Element::only(der, Tag::Sequence, "it is no SEQUENCE")?.inside();
        let tbs = whole.required(Tag::Sequence, "what is signed is missing")?;
        let algorithm = whole.required(Tag::Sequence, "the signature's algorithm is missing")?;
        let signature = whole.next()?.whole_bytes()?;
        whole.finish("bytes follow the signature")?;
        Ok(Self { tbs, algorithm, signature })
    }
}

/// The tag `[number]` around something.
pub(super) fn context(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: true, number: TagNumber(number) }
}

/// The tag `[number]` in place of that of something primitive.
pub(super) fn context_primitive(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: false, number: TagNumber(number) }
}

/// An element to send: header and content.
pub(super) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut whole = Vec::with_capacity(content.len() + significant.len() + 2);
    whole.push(tag);
    if content.len() >= 0x80 {
        // At most eight bytes.
        whole.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
    }
    whole.extend_from_slice(significant);
    whole.extend_from_slice(content);
    whole
}
