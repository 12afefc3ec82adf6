//! Unsolicited neighbour advertisements (RFC 4861 section 7.2.6): telling a link where an IPv6 address is now. And the
//! checksum of the Internet (RFC 1071), which VRRP has as well.

use std::net::Ipv6Addr;

/// The Ethernet type of IPv6.
pub const ETHERNET_TYPE: u16 = 0x86dd;

/// Where unsolicited advertisements go: all nodes of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// [`ALL_NODES`] on Ethernet (RFC 2464 section 7).
pub const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// Flags in the first byte behind the checksum.
const ROUTER: u8 = 0x80;
const OVERRIDE: u8 = 0x20;

/// The target's link-layer address, in units of 8 bytes.
const TARGET_OPTION: [u8; 2] = [2, 1];

const HEADER: usize = 40;
const ADVERTISEMENT: usize = 32;

/// An IPv6 packet, for [`ALL_NODES_MAC`], that has everyone who knows `address` look for it at `mac`. It comes from the address
/// itself. `is_router` has to be what the host says elsewhere, or its neighbours drop it from their default routers
/// (RFC 4861 section 7.2.5).
#[must_use]
pub fn unsolicited(mac: [u8; 6], address: Ipv6Addr, is_router: bool) -> [u8; HEADER + ADVERTISEMENT] {
    let mut bytes = [0; HEADER + ADVERTISEMENT];
    let (header, advertisement) = bytes.split_at_mut(HEADER);
    header[0] = 0x60;
    header[5] = 32;
    header[6] = ICMPV6;
    // RFC 4861 section 7.1.2: one that has crossed a router is not believed.
    header[7] = 255;
    header[8..24].copy_from_slice(&address.octets());
    header[24..].copy_from_slice(&ALL_NODES.octets());

    advertisement[0] = NEIGHBOUR_ADVERTISEMENT;
    advertisement[4] = OVERRIDE | if is_router { ROUTER } else { 0 };
    advertisement[8..24].copy_from_slice(&address.octets());
    advertisement[24..26].copy_from_slice(&TARGET_OPTION);
    advertisement[26..].copy_from_slice(&mac);
    let start = sum_of_pseudo_header(&address.octets(), &ALL_NODES.octets(), ADVERTISEMENT, ICMPV6);
    let checksum = checksum_of(start, advertisement);
    advertisement[2..4].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// The sum of the pseudo-header that RFC 8200 section 8.1 and RFC 9293 section 3.1 have: two addresses, a length and a
/// protocol. The layouts differ, the sums do not.
pub(super) fn sum_of_pseudo_header(source: &[u8], destination: &[u8], length: usize, protocol: u8) -> u32 {
    let length = u32::try_from(length).unwrap_or_default();
    sum(source) + sum(destination) + (length >> 16) + (length & 0xffff) + u32::from(protocol)
}

/// RFC 1071: what goes into a checksum field that is zero; 0 for data with the right one in it.
pub(super) fn checksum_of(start: u32, data: &[u8]) -> u16 {
    let mut folded = u64::from(start) + u64::from(sum(data));
    while folded > 0xffff {
        folded = (folded >> 16) + (folded & 0xffff);
    }
    !u16::try_from(folded).unwrap_or_default()
}

/// Data of up to 64 kB, as no IP packet is longer.
fn sum(data: &[u8]) -> u32 {
    let (pairs, rest) = data.as_chunks::<2>();
    let odd = rest.first().map_or(0, |last| u32::from(*last) << 8);
    pairs.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).fold(odd, u32::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Captured from keepalived 2.2.7: the frame of an address that has moved to 02:81:00:00:00:0b.
    const KEEPALIVED: [u8; 72] = *b"\x60\0\0\0\0\x20\x3a\xff\
        \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x10\xff\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\
        \x88\0\xf8\x81\x20\0\0\0\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x10\x02\x01\x02\x81\0\0\0\x0b";

    #[test]
    fn keepalived_and_we_write_the_same_bytes() {
        let address = "2001:db8::10".parse().unwrap();
        assert_eq!(unsolicited([0x02, 0x81, 0, 0, 0, 0x0b], address, false), KEEPALIVED);
    }

    #[test]
    fn a_router_says_so_and_the_checksum_with_it() {
        let address = "2001:db8::10".parse().unwrap();
        let packet = unsolicited([0x02, 0x81, 0, 0, 0, 0x0b], address, true);
        assert_eq!(packet[44], ROUTER | OVERRIDE);
        let start = sum_of_pseudo_header(&address.octets(), &ALL_NODES.octets(), ADVERTISEMENT, ICMPV6);
        assert_eq!(checksum_of(start, &packet[HEADER..]), 0);
    }

    /// RFC 1071 section 3 has these bytes and their sum, ddf2.
    #[test]
    fn the_checksum_is_that_of_the_example_in_its_rfc() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum_of(0, &data), !0xddf2);
        assert_eq!(checksum_of(0, &data[..7]), !0xdcfb);
    }
}
