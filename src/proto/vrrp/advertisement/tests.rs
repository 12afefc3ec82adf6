use proptest::prelude::*;

use super::*;
use crate::proto::vrrp::{GROUP_V4, GROUP_V6};

/// The bytes, and what they say: id, version, priority, interval in milliseconds, addresses, password.
type Vector = (&'static str, u8, Version, u8, u64, &'static [&'static str], Option<&'static [u8]>);

/// Captured from keepalived 2.2.7 on a veth pair: what IP carries, from 192.0.2.11 to 224.0.0.18, or from
/// fe80::81:ff:fe00:b to ff02::12. The checksums of both families are the kernel's or keepalived's own.
#[rustfmt::skip]
const KEEPALIVED: [Vector; 12] = [
    ("21336e0101010643c000020a6772696466747031", 51, Version::V2, 110, 1000, &["192.0.2.10"], Some(b"gridftp1")),
    ("2133000101017443c000020a6772696466747031", 51, Version::V2, 0, 1000, &["192.0.2.10"], Some(b"gridftp1")),
    ("21385a010101fd25c000023c6162630000000000", 56, Version::V2, 90, 1000, &["192.0.2.60"], Some(b"abc")),
    ("2138000101015726c000023c6162630000000000", 56, Version::V2, 0, 1000, &["192.0.2.60"], Some(b"abc")),
    ("213464020002f69cc0000214c00002150000000000000000", 52, Version::V2, 100, 2000, &["192.0.2.20", "192.0.2.21"], None),
    ("2134000200025a9dc0000214c00002150000000000000000", 52, Version::V2, 0, 2000, &["192.0.2.20", "192.0.2.21"], None),
    ("3135fe01000a6c05c000021e", 53, Version::V3, 254, 100, &["192.0.2.30"], None),
    ("31350001000a6a06c000021e", 53, Version::V3, 0, 100, &["192.0.2.30"], None),
    ("313678010064f1a0c0000228", 54, Version::V3, 120, 1000, &["192.0.2.40"], None),
    ("31360001006469a1c0000228", 54, Version::V3, 0, 1000, &["192.0.2.40"], None),
    ("313769020032ea3efe80000000000000000000000000515120010db8000000000000000000000010", 55, Version::V3, 105, 500,
     &["fe80::5151", "2001:db8::10"], None),
    ("313700020032533ffe80000000000000000000000000515120010db8000000000000000000000010", 55, Version::V3, 0, 500,
     &["fe80::5151", "2001:db8::10"], None),
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().as_chunks::<2>().0;
    digits.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn hosts(is_ipv4: bool) -> (IpAddr, IpAddr) {
    if is_ipv4 {
        ([192, 0, 2, 11].into(), GROUP_V4.into())
    } else {
        ("fe80::81:ff:fe00:b".parse().unwrap(), GROUP_V6.into())
    }
}

#[test]
fn keepalived_and_we_write_the_same_bytes() {
    for (hex, id, version, priority, interval, addresses, password) in KEEPALIVED {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let (source, destination) = hosts(addresses[0].is_ipv4());
        let advertisement = Advertisement {
            version,
            virtual_router_id: VirtualRouterId::new(id).unwrap(),
            priority: Priority(priority),
            interval: Duration::from_millis(interval),
            addresses,
            password: password.map(|password| Password::new(password).unwrap()),
        };
        let packet = bytes(hex);
        assert_eq!(Advertisement::parse(&packet, source, destination).as_ref(), Ok(&advertisement), "{hex}");
        assert_eq!(advertisement.encode(ChecksumForm::PseudoHeader, source, destination), packet, "{hex}");
    }
}

#[test]
fn both_checksums_of_version_3_over_ipv4_are_accepted_and_written() {
    let (source, destination) = hosts(true);
    let packet = bytes("3135fe01000a0ea0c000021e");
    let advertisement = Advertisement::parse(&packet, source, destination).unwrap();
    let with_pseudo_header = bytes("3135fe01000a6c05c000021e");
    assert_eq!(Advertisement::parse(&with_pseudo_header, source, destination).as_ref(), Ok(&advertisement));
    assert_eq!(advertisement.encode(ChecksumForm::Rfc9568, source, destination), packet);
    // The one with the pseudo-header is good for its addresses alone.
    let elsewhere = [192, 0, 2, 12].into();
    assert_eq!(Advertisement::parse(&packet, elsewhere, destination).as_ref(), Ok(&advertisement));
    let refused = Advertisement::parse(&with_pseudo_header, elsewhere, destination);
    assert_eq!(refused, Err(MalformedAdvertisement::Checksum));
}

#[test]
fn over_ipv6_the_pseudo_header_always_counts() {
    let (source, destination) = hosts(false);
    let packet = bytes(KEEPALIVED[10].0);
    let advertisement = Advertisement::parse(&packet, source, destination).unwrap();
    assert_eq!(advertisement.encode(ChecksumForm::Rfc9568, source, destination), packet);
    let elsewhere = "fe80::1".parse().unwrap();
    let refused = Advertisement::parse(&packet, elsewhere, destination);
    assert_eq!(refused, Err(MalformedAdvertisement::Checksum));
}

/// A good packet with a change, and a checksum that is right for it.
fn changed(hex: &str, change: impl FnOnce(&mut Vec<u8>)) -> Result<Advertisement, MalformedAdvertisement> {
    let mut packet = bytes(hex);
    change(&mut packet);
    if packet.len() >= HEADER {
        packet[CHECKSUM].fill(0);
        let sum = checksum_of(0, &packet);
        packet[CHECKSUM].copy_from_slice(&sum.to_be_bytes());
    }
    let (source, destination) = hosts(true);
    Advertisement::parse(&packet, source, destination)
}

#[test]
fn what_breaks_a_rule_of_the_format_is_refused_by_that_rule() {
    use MalformedAdvertisement::*;
    let (v2, v3) = (KEEPALIVED[0].0, KEEPALIVED[6].0);
    type Change = fn(&mut Vec<u8>);
    let rows: [(&str, Change, MalformedAdvertisement); 16] = [
        (v3, Vec::clear, Truncated(0)),
        (v3, |packet| packet.truncate(7), Truncated(7)),
        (v3, |packet| packet.truncate(11), Length { expected: 12, found: 11 }),
        (v3, |packet| packet.push(0), Length { expected: 12, found: 13 }),
        (v3, |packet| packet[3] = 255, Length { expected: 1028, found: 12 }),
        (v3, |packet| packet[0] = 0x41, Version(4)),
        (v3, |packet| packet[0] = 0x11, Version(1)),
        (v3, |packet| packet[0] = 0x32, Type(2)),
        (v3, |packet| packet[0] = 0x21, Length { expected: 20, found: 12 }),
        (v3, |packet| packet[1] = 0, VirtualRouterId),
        (v3, |packet| packet[4..6].fill(0), NoInterval),
        (v2, |packet| packet[5] = 0, NoInterval),
        (v2, |packet| packet[4] = 2, Authentication(2)),
        (v2, |packet| packet[4] = 255, Authentication(255)),
        (v2, |packet| packet.truncate(12), Length { expected: 20, found: 12 }),
        (
            v3,
            |packet| {
                packet[3] = 0;
                packet.truncate(8);
            },
            NoAddresses,
        ),
    ];
    for (packet, change, expected) in rows {
        assert_eq!(changed(packet, change), Err(expected), "{expected}");
    }
    // Version 2 is for IPv4, and addresses of two families have no checksum.
    let (source, destination) = hosts(false);
    let packet = bytes(v2);
    assert_eq!(Advertisement::parse(&packet, source, destination), Err(Version(2)));
    let of_both = Advertisement::parse(&bytes(KEEPALIVED[6].0), hosts(true).0, destination);
    assert_eq!(of_both, Err(Checksum));
}

#[test]
fn what_is_to_be_ignored_is_ignored() {
    // The reserved bits of version 3, the authentication data of version 2 without authentication, and its lists of
    // addresses that keepalived has left empty.
    let reserved = changed(KEEPALIVED[6].0, |packet| packet[4] |= 0xf0).unwrap();
    assert_eq!(reserved.interval, Duration::from_millis(100));
    let data = changed(KEEPALIVED[4].0, |packet| packet[16..].fill(7)).unwrap();
    assert_eq!(data.password, None);
    let empty = changed(KEEPALIVED[4].0, |packet| {
        packet[3] = 0;
        packet.drain(8..16);
    });
    assert!(empty.unwrap().addresses.is_empty());
}

#[test]
fn an_interval_that_cannot_be_told_is_told_rounded_up() {
    let rows = [
        (Version::V3, 1, 10),
        (Version::V3, 5_000, 10),
        (Version::V3, 10_000, 10),
        (Version::V3, 10_001, 20),
        (Version::V3, 333_333, 340),
        (Version::V3, 40_950_000, 40_950),
        (Version::V3, 90_000_000, 40_950),
        (Version::V2, 100_000, 1000),
        (Version::V2, 1_000_000, 1000),
        (Version::V2, 1_000_001, 2000),
        (Version::V2, 900_000_000, 255_000),
    ];
    for (version, micros, told) in rows {
        let announced = Advertisement::announced(version, Duration::from_micros(micros));
        assert_eq!(announced, Duration::from_millis(told), "{version:?} {micros}");
    }
}

#[test]
fn a_password_has_its_place_and_no_place_in_logs() {
    assert_eq!(Password::new(b""), None);
    assert_eq!(Password::new(b"123456789"), None);
    assert_eq!(Password::new(b"a\0"), None);
    let password = Password::new(b"gridftp1").unwrap();
    assert!(!format!("{password:?}").contains("grid"));
    assert_ne!(Some(password), Password::new(b"gridftp"));
}

fn advertisement() -> impl Strategy<Value = (Advertisement, IpAddr, IpAddr)> {
    let password = proptest::option::of("[a-zA-Z0-9]{1,8}");
    (any::<(bool, bool, u8, [u8; 16], bool)>(), 1..=255_u8, 1..=4095_u32, 1..=255_usize, password).prop_map(
        |((is_v2, is_ipv4, priority, seed, multicast), id, interval, count, password)| {
            let is_ipv4 = is_ipv4 || is_v2;
            let address = |number: u128| -> IpAddr {
                let number = u128::from_be_bytes(seed).wrapping_mul(number);
                if is_ipv4 {
                    Ipv4Addr::from_bits(u32::try_from(number >> 96).unwrap()).into()
                } else {
                    Ipv6Addr::from_bits(number).into()
                }
            };
            let advertisement = Advertisement {
                version: if is_v2 { Version::V2 } else { Version::V3 },
                virtual_router_id: VirtualRouterId::new(id).unwrap(),
                priority: Priority(priority),
                interval: if is_v2 {
                    Duration::from_secs(u64::from(interval % 255 + 1))
                } else {
                    CENTISECOND * interval
                },
                addresses: (1..=count as u128).map(address).collect(),
                password: password
                    .filter(|_| is_v2)
                    .map(|password| Password::new(password.as_bytes()).unwrap()),
            };
            let (source, group) = hosts(is_ipv4);
            (advertisement, source, if multicast { group } else { address(0x1_0000_0001) })
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        (advertisement, source, destination) in advertisement(),
        is_rfc in any::<bool>(),
    ) {
        let form = if is_rfc { ChecksumForm::Rfc9568 } else { ChecksumForm::PseudoHeader };
        let packet = advertisement.encode(form, source, destination);
        prop_assert_eq!(Advertisement::parse(&packet, source, destination), Ok(advertisement));
    }

    #[test]
    fn one_flipped_bit_never_passes(
        (advertisement, source, destination) in advertisement(),
        is_rfc in any::<bool>(),
        bit in any::<prop::sample::Index>(),
    ) {
        let forms = [ChecksumForm::PseudoHeader, ChecksumForm::Rfc9568];
        let packets = forms.map(|form| advertisement.encode(form, source, destination));
        // Two forms are one too many for a few addresses: those whose pseudo-header is worth one bit.
        let [one, other] = [&packets[0], &packets[1]].map(|packet| u16::from_be_bytes([packet[6], packet[7]]));
        let apart = one.abs_diff(other);
        prop_assume!(!apart.is_power_of_two() && !(u16::MAX - apart).is_power_of_two());
        let mut packet = packets[usize::from(is_rfc)].clone();
        let bit = bit.index(packet.len() * 8);
        packet[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Advertisement::parse(&packet, source, destination).is_err());
    }

    #[test]
    fn any_bytes_are_an_advertisement_or_a_reason(
        packet in proptest::collection::vec(any::<u8>(), 0..1100),
        is_ipv4 in any::<bool>(),
    ) {
        let (source, destination) = hosts(is_ipv4);
        let _ = Advertisement::parse(&packet, source, destination);
    }
}
