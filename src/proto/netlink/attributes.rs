//! Attributes: type, length, value, and attributes in the value of others (`struct nlattr`).
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{FormatError, aligned, array_at, u16_at};

/// Length and type.
const HEADER: usize = 4;

/// In the type: the value is attributes. Kernels before 5.2 did not ask for it, and rtnetlink itself does not set it.
const NESTED: u16 = 1 << 15;

/// What is left of the type without that and the flag for network byte order.
const TYPE: u16 = 0x3fff;

const PART: &str = "an attribute";

/// One of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attribute<'b> {
    /// What it is, which its surroundings know.
    pub kind: u16,
    /// Without header and padding.
    pub value: &'b [u8],
}

/// All of a message or of an attribute, in order. Ends behind the first that is none.
#[derive(Clone, Debug)]
pub struct Attributes<'b>(&'b [u8]);

impl<'b> Attributes<'b> {
    /// Of bytes that begin with one, if there are any.
    #[must_use]
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// The value of the first one of a kind.
    ///
    /// # Errors
    ///
    /// What stands before it is no attribute.
    pub fn find(self, kind: u16) -> Result<Option<Attribute<'b>>, FormatError> {
        for attribute in self {
            let attribute = attribute?;
            if attribute.kind == kind {
                return Ok(Some(attribute));
            }
        }
        Ok(None)
    }
}

impl<'b> Iterator for Attributes<'b> {
    type Item = Result<Attribute<'b>, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.0);
        if bytes.is_empty() {
            return None;
        }
        let (attribute, rest) = match first(bytes) {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        self.0 = rest;
        Some(Ok(attribute))
    }
}

fn first(bytes: &[u8]) -> Result<(Attribute<'_>, &[u8]), FormatError> {
    let length = usize::from(u16_at(bytes, 0, PART)?);
    let kind = u16_at(bytes, 2, PART)? & TYPE;
    if length < HEADER {
        return Err(FormatError::TooShort(PART));
    }
    let value = bytes.get(HEADER..length).ok_or(FormatError::Truncated(PART))?;
    // The padding of the last one may be missing.
    let rest = bytes.get(aligned(length)..).unwrap_or_default();
    Ok((Attribute { kind, value }, rest))
}

impl<'b> Attribute<'b> {
    /// The attributes in it.
    #[must_use]
    pub const fn nested(&self) -> Attributes<'b> {
        Attributes::new(self.value)
    }

    /// A number.
    ///
    /// # Errors
    ///
    /// The value has another size.
    pub fn u8(&self) -> Result<u8, FormatError> {
        self.array().map(|[byte]| byte)
    }

    /// As above.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn u16(&self) -> Result<u16, FormatError> {
        self.array().map(u16::from_ne_bytes)
    }

    /// As above.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn u32(&self) -> Result<u32, FormatError> {
        self.array().map(u32::from_ne_bytes)
    }

    /// Bytes of a number that is known.
    ///
    /// # Errors
    ///
    /// The value has another size.
    pub fn array<const N: usize>(&self) -> Result<[u8; N], FormatError> {
        self.value.try_into().map_err(|_| FormatError::Value(PART))
    }

    /// Text, up to the first NUL. What is no UTF-8 (names of interfaces may be anything) is replaced by U+FFFD.
    #[must_use]
    pub fn text(&self) -> String {
        let text = self.value.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }

    /// An address, of which the size tells the family.
    ///
    /// # Errors
    ///
    /// The size is that of none.
    pub fn address(&self) -> Result<IpAddr, FormatError> {
        match self.value.len() {
            4 => Ok(Ipv4Addr::from(array_at::<4>(self.value, 0, PART)?).into()),
            16 => Ok(Ipv6Addr::from(array_at::<16>(self.value, 0, PART)?).into()),
            _ => Err(FormatError::Value(PART)),
        }
    }
}

/// Appends an attribute. The value is of our own making and far below the 64 KiB that fit.
pub fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    within(bytes, kind, |bytes| bytes.extend_from_slice(value));
}

/// Appends a number.
pub fn put_u16(bytes: &mut Vec<u8>, kind: u16, value: u16) {
    put(bytes, kind, &value.to_ne_bytes());
}

/// Appends a number.
pub fn put_u32(bytes: &mut Vec<u8>, kind: u16, value: u32) {
    put(bytes, kind, &value.to_ne_bytes());
}

/// Appends text with the NUL that ends it.
pub fn put_text(bytes: &mut Vec<u8>, kind: u16, text: &str) {
    within(bytes, kind, |bytes| {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    });
}

/// Appends an address in the bytes of its family.
pub fn put_address(bytes: &mut Vec<u8>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => put(bytes, kind, &address.octets()),
        IpAddr::V6(address) => put(bytes, kind, &address.octets()),
    }
}

/// Appends an attribute of attributes, which `write` appends.
pub fn put_nested(bytes: &mut Vec<u8>, kind: u16, write: impl FnOnce(&mut Vec<u8>)) {
    within(bytes, kind | NESTED, write);
}

fn within(bytes: &mut Vec<u8>, kind: u16, write: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&kind.to_ne_bytes());
    write(bytes);
    let length = bytes.len() - start;
    debug_assert!(u16::try_from(length).is_ok(), "an attribute of {length} bytes");
    // One that says too much is refused by the kernel.
    let told = u16::try_from(length).unwrap_or(u16::MAX);
    bytes[start..start + 2].copy_from_slice(&told.to_ne_bytes());
    bytes.resize(start + aligned(length), 0);
}
