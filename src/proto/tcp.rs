//! Segments of TCP that a balancer sends by itself, and what is answered.
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

const HEADER_V4: usize = 20;
const HEADER_V6: usize = 40;
const SEGMENT: usize = 20;
const PROTOCOL: u8 = 6;
const TTL: u8 = 64;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// What a SYN was answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Somebody listens.
    Accepted,
    /// The address is there, and nobody listens.
    Refused,
}

/// A packet, IP header and all, that belongs to no connection though it names one: an acknowledgment of nothing. Whoever has
/// that connection finds it unacceptable and says where it stands (RFC 9293 section 3.10.7.4, step 1); a host that does not
/// have the other end any more resets what it gets in answer, with numbers that are right.
///
/// `None` for addresses of two families.
#[must_use]
pub fn tickle(from: SocketAddr, to: SocketAddr) -> Option<Vec<u8>> {
    // Sequence and acknowledgment are 0: it would be a strange connection that is just there.
    packet(from, to, 0, ACK)
}

/// A packet, IP header and all, that asks for a connection, whose first sequence number is this one.
///
/// `None` for addresses of two families.
#[must_use]
pub fn syn(from: SocketAddr, to: SocketAddr, sequence: u32) -> Option<Vec<u8>> {
    packet(from, to, sequence, SYN)
}

/// The same that ends what [`syn`] has begun with this number, whether or not that was answered: its number is the next, as RFC 9293
/// section 3.10.7.4 asks for.
#[must_use]
pub fn reset(from: SocketAddr, to: SocketAddr, sequence: u32) -> Option<Vec<u8>> {
    packet(from, to, sequence.wrapping_add(1), RST)
}

/// What a packet answers to [`syn`] of these addresses and this number; nothing if it is no answer to that. Whoever has not
/// seen the question can hardly know its number.
///
/// Its checksum is not looked at: a packet of the same machine has none yet, and network cards have checked all others.
#[must_use]
pub fn answer(packet: &[u8], from: SocketAddr, to: SocketAddr, sequence: u32) -> Option<Answer> {
    let segment = match (to, from) {
        (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
            let header: &[u8; HEADER_V4] = packet.first_chunk()?;
            let length = usize::from(header[0] & 0xf) * 4;
            // A later fragment has other bytes there.
            let is_first = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
            let is_meant =
                header[12..16] == source.ip().octets() && header[16..] == destination.ip().octets();
            let is_tcp = header[0] >> 4 == 4 && length >= HEADER_V4 && header[9] == PROTOCOL;
            packet.get(length..).filter(|_| is_tcp && is_first && is_meant)?
        }
        (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
            let (header, segment): (&[u8; HEADER_V6], _) = packet.split_first_chunk()?;
            let is_meant = header[8..24] == source.ip().octets() && header[24..] == destination.ip().octets();
            Some(segment).filter(|_| header[0] >> 4 == 6 && header[6] == PROTOCOL && is_meant)?
        }
        _ => return None,
    };
    let segment: &[u8; SEGMENT] = segment.first_chunk()?;
    let ports = [to.port().to_be_bytes(), from.port().to_be_bytes()].concat();
    let acknowledged = u32::from_be_bytes(*segment[8..].first_chunk()?);
    if segment[..4] != ports || acknowledged != sequence.wrapping_add(1) {
        return None;
    }
    match segment[13] & (SYN | ACK | RST) {
        flags if flags == SYN | ACK => Some(Answer::Accepted),
        flags if flags == RST | ACK => Some(Answer::Refused),
        _ => None,
    }
}

fn packet(from: SocketAddr, to: SocketAddr, sequence: u32, flags: u8) -> Option<Vec<u8>> {
    let segment = segment(from.port(), to.port(), sequence, flags);
    match (from, to) {
        (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
            Some(over_v4(*source.ip(), *destination.ip(), segment))
        }
        (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
            Some(over_v6(*source.ip(), *destination.ip(), segment))
        }
        _ => None,
    }
}

fn segment(from: u16, to: u16, sequence: u32, flags: u8) -> [u8; SEGMENT] {
    let mut bytes = [0; SEGMENT];
    bytes[..2].copy_from_slice(&from.to_be_bytes());
    bytes[2..4].copy_from_slice(&to.to_be_bytes());
    bytes[4..8].copy_from_slice(&sequence.to_be_bytes());
    bytes[12] = 5 << 4;
    bytes[13] = flags;
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

    /// A packet from `to` with this acknowledgment and these flags.
    fn answered(from: SocketAddr, to: SocketAddr, acknowledged: u32, flags: u8) -> Vec<u8> {
        let mut bytes = packet(to, from, 77, flags).unwrap();
        let at = bytes.len() - 12;
        bytes[at..at + 4].copy_from_slice(&acknowledged.to_be_bytes());
        bytes
    }

    #[test]
    fn an_answer_is_told_from_all_else_row_by_row() {
        for (from, to) in
            [("192.0.2.1:40000", "192.0.2.10:50000"), ("[2001:db8::1]:40000", "[2001:db8::10]:50000")]
        {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let read = |packet: &[u8]| answer(packet, from, to, u32::MAX);
            assert_eq!(read(&answered(from, to, 0, SYN | ACK)), Some(Answer::Accepted));
            assert_eq!(read(&answered(from, to, 0, RST | ACK)), Some(Answer::Refused));
            assert_eq!(read(&answered(from, to, 0, SYN | ACK | 0x40)), Some(Answer::Accepted), "ECN");
            for (acknowledged, flags) in [(1, SYN | ACK), (0, ACK), (0, SYN), (0, RST), (0, SYN | ACK | RST)]
            {
                assert_eq!(read(&answered(from, to, acknowledged, flags)), None, "{acknowledged} {flags}");
            }
            let good = answered(from, to, 0, SYN | ACK);
            for length in 0..good.len() {
                assert_eq!(read(&good[..length]), None, "cut to {length}");
            }
            // Addresses and ports: each of their last bytes matters.
            let header = good.len() - SEGMENT;
            let (source, destination) = if from.is_ipv4() { (15, 19) } else { (23, 39) };
            for at in [0, source, destination, header + 1, header + 3] {
                let mut other = good.clone();
                other[at] ^= 0x31;
                assert_eq!(read(&other), None, "byte {at}");
            }
            assert_eq!(answer(&good, to, from, u32::MAX), None, "the other way round");
        }
        let mixed = answer(&[0; 60], "192.0.2.1:1".parse().unwrap(), "[::1]:1".parse().unwrap(), 0);
        assert_eq!(mixed, None);
    }

    #[test]
    fn options_and_fragments_of_ipv4_are_told_apart() {
        let (from, to) = ("192.0.2.1:40000".parse().unwrap(), "192.0.2.10:50000".parse().unwrap());
        let good = answered(from, to, 6, SYN | ACK);
        let mut with_options = [&good[..HEADER_V4], &[1; 4], &good[HEADER_V4..]].concat();
        with_options[0] = 0x46;
        assert_eq!(answer(&with_options, from, to, 5), Some(Answer::Accepted));
        let mut fragment = good;
        fragment[7] = 1;
        assert_eq!(answer(&fragment, from, to, 5), None);
    }

    #[test]
    fn a_reset_has_the_number_behind_the_question() {
        let (from, to) = ("192.0.2.1:40000".parse().unwrap(), "192.0.2.10:50000".parse().unwrap());
        assert_eq!(syn(from, to, u32::MAX).unwrap()[24..28], [0xff; 4]);
        let bytes = reset(from, to, u32::MAX).unwrap();
        assert_eq!((&bytes[24..28], bytes[33]), ([0; 4].as_slice(), RST));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>, is_v4: bool) {
            let local = if is_v4 { "192.0.2.1:1" } else { "[::1]:1" }.parse().unwrap();
            let _ = answer(&bytes, local, local, 0);
        }
    }
}
