//! The header of IPv4, which raw sockets of that family hand over (raw(7), RFC 791 section 3.1).
use std::net::Ipv4Addr;
use std::ops::Range;

/// Without options.
const HEADER: usize = 20;

/// More fragments, and where this one stands.
const FRAGMENT: u16 = 0x3fff;

/// What of it matters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) ttl: u8,
    /// What the header says that the packet carries.
    pub(super) payload: Range<usize>,
}

impl Header {
    /// Nothing if it is no header, if there is less than it says, or if it is that of a fragment: the kernel puts those
    /// together before it hands them over.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER] = packet.first_chunk()?;
        let length = usize::from(header[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let fragment = u16::from_be_bytes([header[6], header[7]]) & FRAGMENT;
        let is_whole = length >= HEADER && length <= total && total <= packet.len() && fragment == 0;
        if header[0] >> 4 != 4 || !is_whole {
            return None;
        }
        let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        Some(Self { source: address(12), destination: address(16), ttl: header[8], payload: length..total })
    }
}

/// Whether the header has its checksum (RFC 1071), which the kernel has looked at in what raw sockets hand over.
pub(super) fn is_intact(packet: &[u8]) -> bool {
    let length = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    let header = packet.get(..length).unwrap_or_default();
    let words = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    // At most 30 words.
    let sum: u32 = words.sum();
    (sum & 0xffff) + (sum >> 16) == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut packet = vec![
            0x45, 0xc0, 0, 28, 0, 1, 0, 0, 255, 112, 0, 0, 192, 0, 2, 1, 224, 0, 0, 18, 1, 2, 3, 4, 5, 6, 7,
            8,
        ];
        change(&mut packet);
        packet
    }

    #[test]
    fn whole_packets_are_read_and_others_are_not() {
        let read = |change: fn(&mut Vec<u8>)| Header::read(&packet(change)).map(|header| header.payload);
        let header = Header::read(&packet(|_| {})).unwrap();
        assert_eq!(header.source, Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(header.destination, Ipv4Addr::new(224, 0, 0, 18));
        assert_eq!((header.ttl, header.payload), (255, 20..28));
        type Case = (&'static str, fn(&mut Vec<u8>), Option<Range<usize>>);
        let table: [Case; 9] = [
            ("options are left out", |bytes| bytes[0] = 0x46, Some(24..28)),
            ("what stands behind the packet is none of it", |bytes| bytes.push(0), Some(20..28)),
            ("Do not fragment is no fragment", |bytes| bytes[6] = 0x40, Some(20..28)),
            ("the first fragment", |bytes| bytes[6] = 0x20, None),
            ("another fragment", |bytes| bytes[7] = 1, None),
            ("another version", |bytes| bytes[0] = 0x65, None),
            ("a header that is too short", |bytes| bytes[0] = 0x44, None),
            ("a header longer than the packet", |bytes| bytes[0] = 0x48, None),
            ("less than it says", |bytes| bytes.truncate(27), None),
        ];
        for (what, change, expected) in table {
            assert_eq!(read(change), expected, "{what}");
        }
    }

    #[test]
    fn one_bit_of_a_header_is_missed_and_none_behind_it() {
        // 0x45c0 + 0x1c + 1 + 0xff70 + 0xc000 + 0x0201 + 0xe000 + 0x12 = 0x2e760.
        let whole = packet(|bytes| bytes[10..12].copy_from_slice(&(!0xe762_u16).to_be_bytes()));
        assert!(is_intact(&whole));
        assert!(!is_intact(&packet(|_| {})) && !is_intact(&whole[..19]) && !is_intact(&[]));
        for at in 0..28 {
            let mut other = whole.clone();
            other[at] ^= 0x10;
            assert_eq!(is_intact(&other), at >= HEADER, "{at}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_lies_in_the_packet(bytes: Vec<u8>, start in any::<bool>()) {
            let bytes = if start { packet(|packet| packet.extend_from_slice(&bytes)) } else { bytes };
            if let Some(header) = Header::read(&bytes) {
                prop_assert!(bytes.get(header.payload).is_some());
            }
        }
    }
}
