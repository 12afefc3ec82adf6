//! Gratuitous ARP (RFC 826, RFC 5227 section 2.3): telling a link where an IPv4 address is now.

use std::net::Ipv4Addr;

/// The Ethernet type of ARP.
pub const ETHERNET_TYPE: u16 = 0x0806;

/// Where gratuitous ARP goes: everyone.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// What an Ethernet frame of the type [`ETHERNET_TYPE`] to [`BROADCAST`] carries so that everyone who knows `address` looks
/// for it at `mac`: a request for the address itself.
///
/// A request, because more receivers take news from requests than from replies; the target's hardware address is all ones
/// as keepalived has it, which no receiver looks at.
#[must_use]
pub fn gratuitous(mac: [u8; 6], address: Ipv4Addr) -> [u8; 28] {
    // Ethernet, IPv4, 6 and 4 bytes of address, request.
    const HEADER: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
    let mut bytes = [0; 28];
    bytes[..8].copy_from_slice(&HEADER);
    bytes[8..14].copy_from_slice(&mac);
    bytes[14..18].copy_from_slice(&address.octets());
    bytes[18..24].copy_from_slice(&BROADCAST);
    bytes[24..].copy_from_slice(&address.octets());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Captured from keepalived 2.2.7.
    #[test]
    fn everyone_is_asked_for_the_address_by_its_new_holder() {
        let expected = [
            &[0, 1, 8, 0, 6, 4, 0, 1][..],
            &[0x02, 0x81, 0, 0, 0, 0x0b, 192, 0, 2, 10],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 192, 0, 2, 10],
        ]
        .concat();
        let mac = [0x02, 0x81, 0, 0, 0, 0x0b];
        assert_eq!(gratuitous(mac, Ipv4Addr::new(192, 0, 2, 10)), expected[..]);
    }
}
