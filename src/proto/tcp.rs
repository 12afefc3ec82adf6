//! The one segment of TCP that a balancer sends by itself.
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

const HEADER_V4: usize = 20;
const HEADER_V6: usize = 40;
const SEGMENT: usize = 20;
const PROTOCOL: u8 = 6;
const TTL: u8 = 64;
const ACK: u8 = 0x10;

/// A packet, IP header and all, that belongs to no connection though it names one: an acknowledgment of nothing. Whoever has
/// that connection finds it unacceptable and says where it stands (RFC 9293 section 3.10.7.4, step 1); a host that does not
/// have the other end any more resets what it gets in answer, with numbers that are right.
///
/// `None` for addresses of two families.
#[must_use]
pub fn tickle(from: SocketAddr, to: SocketAddr) -> Option<Vec<u8>> {
    match (from, to) {
        (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
            Some(over_v4(*source.ip(), *destination.ip(), segment(from.port(), to.port())))
        }
        (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
            Some(over_v6(*source.ip(), *destination.ip(), segment(from.port(), to.port())))
        }
        _ => None,
    }
}

fn segment(from: u16, to: u16) -> [u8; SEGMENT] {
    let mut bytes = [0; SEGMENT];
    bytes[..2].copy_from_slice(&from.to_be_bytes());
    bytes[2..4].copy_from_slice(&to.to_be_bytes());
    // Sequence and acknowledgment are 0: it would be a strange connection that is just there.
    bytes[12] = 5 << 4;
    bytes[13] = ACK;
    // A window that is not closed.
    bytes[14..16].copy_from_slice(&1024_u16.to_be_bytes());
    bytes
}

fn over_v4(source: Ipv4Addr, destination: Ipv4Addr, mut segment: [u8; SEGMENT]) -> Vec<u8> {
    let pseudo = [&source.octets()[..], &destination.octets(), &[0, PROTOCOL, 0, 20]].concat();
    let sum = checksum(&[&pseudo, &segment]);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut header = [0; HEADER_V4];
    header[0] = 0x45;
    header[3] = 40;
    header[8] = TTL;
    header[9] = PROTOCOL;
    header[12..16].copy_from_slice(&source.octets());
    header[16..].copy_from_slice(&destination.octets());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&header[..], &segment].concat()
}

fn over_v6(source: Ipv6Addr, destination: Ipv6Addr, mut segment: [u8; SEGMENT]) -> Vec<u8> {
    let pseudo = [&source.octets()[..], &destination.octets(), &[0, 0, 0, 20, 0, 0, 0, PROTOCOL]].concat();
    let sum = checksum(&[&pseudo, &segment]);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut header = [0; HEADER_V6];
    header[0] = 0x60;
    header[5] = 20;
    header[6] = PROTOCOL;
    header[7] = TTL;
    header[8..24].copy_from_slice(&source.octets());
    header[24..].copy_from_slice(&destination.octets());
    [&header[..], &segment].concat()
}

/// RFC 1071, of an even number of bytes in each part.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks_exact(2));
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[allow(clippy::cast_possible_truncation, reason = "16 bits are left")]
    let folded = sum as u16;
    !folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_segment_have_checksums_that_come_to_nothing() {
        let packet = |from: &str, to: &str| tickle(from.parse().unwrap(), to.parse().unwrap());
        let v4 = packet("192.0.2.10:2811", "198.51.100.7:40000").unwrap();
        assert_eq!(v4.len(), 40);
        assert_eq!(checksum(&[&v4[..20]]), 0);
        assert_eq!(checksum(&[&v4[12..20], &[0, 6, 0, 20], &v4[20..]]), 0);
        assert_eq!((v4[9], v4[33], &v4[20..24]), (6, 0x10, [0x0a, 0xfb, 0x9c, 0x40].as_slice()));
        let v6 = packet("[2001:db8::10]:2811", "[2001:db8::7]:40000").unwrap();
        assert_eq!(v6.len(), 60);
        assert_eq!(checksum(&[&v6[8..40], &[0, 0, 0, 20, 0, 0, 0, 6], &v6[40..]]), 0);
        assert_eq!(packet("192.0.2.10:2811", "[2001:db8::7]:40000"), None);
    }
}
