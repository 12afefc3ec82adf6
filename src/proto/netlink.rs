//! Netlink, the kernel's messages about links, addresses and IPVS (netlink(7), rtnetlink(7), RFC 3549): bytes in, values out.
//!
//! ```text
//!   link, address ─▶ Request ─▶ bytes ─▶ kernel ─▶ bytes ─▶ messages ─▶ Answer ─▶ link, address
//!   ipvs ─▶ generic ─┘                                                        └─▶ generic ─▶ ipvs
//!                                        attributes know none of them, and serve every family
//! ```
//!
//! Numbers are in the byte order of the host, as netlink has them.
pub mod address;
pub mod attributes;
pub mod generic;
pub mod ipvs;
pub mod link;
pub mod message;
pub mod neighbour;
pub mod route;
pub mod traffic_control;

/// What is no netlink.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FormatError {
    /// Fewer bytes than the part named needs or says that it has.
    #[error("netlink: {0} is cut short")]
    Truncated(&'static str),
    /// A part whose length leaves no room for its own header.
    #[error("netlink: {0} is shorter than its header")]
    TooShort(&'static str),
    /// A value that the part named cannot have.
    #[error("netlink: {0} has a value that it cannot have")]
    Value(&'static str),
    /// A part without which the rest means nothing.
    #[error("netlink: {0} is missing")]
    Missing(&'static str),
}

/// The number at the front of a part.
fn u32_at(bytes: &[u8], at: usize, part: &'static str) -> Result<u32, FormatError> {
    Ok(u32::from_ne_bytes(array_at(bytes, at, part)?))
}

fn u16_at(bytes: &[u8], at: usize, part: &'static str) -> Result<u16, FormatError> {
    Ok(u16::from_ne_bytes(array_at(bytes, at, part)?))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize, part: &'static str) -> Result<[u8; N], FormatError> {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.copied().ok_or(FormatError::Truncated(part))
}

/// Everything begins at a multiple of four bytes.
const fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests;
