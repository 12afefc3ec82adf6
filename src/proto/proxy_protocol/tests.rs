use proptest::prelude::*;

use super::*;

fn proxied(source: &str, destination: &str) -> Header {
    Header::Proxied { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// Version 2 with a command, a family and what follows.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [V2_BEGINS.as_slice(), &[command, family], &length, block].concat()
}

#[test]
fn version_1_is_read_row_by_row() {
    let broken = |bytes: &[u8]| matches!(Header::read(bytes), Err(HeaderError::Broken(_)));
    let longest = b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert_eq!(longest.len(), 104, "107 is reached with UNKNOWN in place of TCP6");
    #[rustfmt::skip]
    let accepted: &[(&[u8], Header)] = &[
        (b"PROXY TCP4 192.0.2.7 198.51.100.10 40000 2811\r\n", proxied("192.0.2.7:40000", "198.51.100.10:2811")),
        (b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", proxied("0.0.0.0:0", "255.255.255.255:65535")),
        (b"PROXY TCP6 2001:db8::7 2001:db8::10 40000 2811\r\n", proxied("[2001:db8::7]:40000", "[2001:db8::10]:2811")),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:c633:640a 1 2\r\n", proxied("192.0.2.7:1", "198.51.100.10:2")),
        (longest, proxied("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")),
        (b"PROXY UNKNOWN\r\n", Header::Local),
        (b"PROXY UNKNOWN ::1 ::1 1 2\r\n", Header::Local),
        (b"PROXY UNKNOWN \xff\x00 whatever\r\n", Header::Local),
    ];
    for (bytes, header) in accepted {
        assert_eq!(Header::read(bytes), Ok(Some((*header, bytes.len()))), "{}", bytes.escape_ascii());
        let more = [bytes, &b"USER anonymous\r\n"[..]].concat();
        assert_eq!(Header::read(&more), Ok(Some((*header, bytes.len()))), "what follows is no part of it");
    }
    for bytes in [
        &b"PROXY TCP4 192.0.2.7 198.51.100.10 40000 2811\n"[..],
        b"PROXY TCP4\r192.0.2.7 198.51.100.10 40000 2811\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.10 40000\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.10 40000 2811 \r\n",
        b"PROXY TCP4  192.0.2.7 198.51.100.10 40000 2811\r\n",
        b"PROXY TCP4 192.0.2.07 198.51.100.10 40000 2811\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.10 040000 2811\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.10 40000 +2811\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.10 40000 65536\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.10 40000 \r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::10 40000 2811\r\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.10 40000 2811\r\n",
        b"PROXY TCP6 fe80::1%eth0 2001:db8::10 40000 2811\r\n",
        b"PROXY UDP4 192.0.2.7 198.51.100.10 40000 2811\r\n",
        b"PROXY tcp4 192.0.2.7 198.51.100.10 40000 2811\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY \xff\xff\r\n",
        b"PROXY \r\n",
        b"PROXY \n",
    ] {
        assert!(broken(bytes), "{}", bytes.escape_ascii());
    }
    for bytes in
        [&b"USER anonymous\r\n"[..], b"PROXYTCP4", b"PROXY\r\n", b"proxy TCP4", b"\x16\x03\x01", b"\r\nQUIT"]
    {
        assert_eq!(Header::read(bytes), Err(HeaderError::Missing), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_header_of_version_1_has_107_bytes_at_most() {
    let of_length =
        |length: usize| format!("{:x<width$}\r\n", "PROXY UNKNOWN ", width = length - 2).into_bytes();
    assert_eq!(Header::read(&of_length(MAX_V1)), Ok(Some((Header::Local, MAX_V1))));
    assert_eq!(Header::read(&of_length(MAX_V1)[..MAX_V1 - 1]), Ok(None));
    assert_eq!(Header::read(&of_length(MAX_V1 + 1)), Err(HeaderError::TooLong(MAX_V1)));
    assert_eq!(
        Header::read(&of_length(MAX_V1 + 1)[..MAX_V1]),
        Err(HeaderError::TooLong(MAX_V1)),
        "and no more is awaited"
    );
}

#[test]
fn version_2_is_read_row_by_row() {
    let v4 = [192, 0, 2, 7, 198, 51, 100, 10, 0x9c, 0x40, 0x0a, 0xfb];
    let mut v6 = [0; 36];
    v6[..2].copy_from_slice(&[0x20, 0x01]);
    v6[15] = 7;
    v6[16..18].copy_from_slice(&[0x20, 0x01]);
    v6[31] = 10;
    v6[32..].copy_from_slice(&[0x9c, 0x40, 0x0a, 0xfb]);
    let tlv = [&v4[..], &[0x04, 0, 3, 1, 2, 3, 0xea, 0xff]].concat();
    let broken = Err(HeaderError::Broken(""));
    let ok = |header: Header, bytes: &[u8]| Ok(Some((header, bytes.len())));
    let from_v4 = proxied("192.0.2.7:40000", "198.51.100.10:2811");
    let from_v6 = proxied("[2001::7]:40000", "[2001::a]:2811");
    #[rustfmt::skip]
    let table: Vec<(&str, Vec<u8>, Option<Header>)> = vec![
        ("IPv4",                    v2(0x21, 0x11, &v4),        Some(from_v4)),
        ("IPv6",                    v2(0x21, 0x21, &v6),        Some(from_v6)),
        ("with more than addresses, of any form", v2(0x21, 0x11, &tlv), Some(from_v4)),
        ("LOCAL",                   v2(0x20, 0x00, b""),        Some(Header::Local)),
        ("LOCAL with addresses",    v2(0x20, 0x11, &v4),        Some(Header::Local)),
        ("LOCAL of no family",      v2(0x20, 0xff, b"xyz"),     Some(Header::Local)),
        ("UNSPEC",                  v2(0x21, 0x00, b""),        Some(Header::Local)),
        ("UNSPEC with a transport", v2(0x21, 0x01, b"abc"),     Some(Header::Local)),
        ("UDP",                     v2(0x21, 0x12, &v4),        Some(Header::Local)),
        ("Unix socket",             v2(0x21, 0x31, &[0; 216]),  Some(Header::Local)),
        ("no such family",          v2(0x21, 0x41, &v4),        None),
        ("no such transport",       v2(0x21, 0x13, &v4),        None),
        ("no such command",         v2(0x22, 0x11, &v4),        None),
        ("version 1",               v2(0x11, 0x11, &v4),        None),
        ("version 3",               v2(0x31, 0x11, &v4),        None),
        ("IPv4, cut off",           v2(0x21, 0x11, &v4[..11]),  None),
        ("IPv6, cut off",           v2(0x21, 0x21, &v6[..35]),  None),
        ("IPv4 as IPv6",            v2(0x21, 0x21, &v4),        None),
    ];
    for (name, bytes, header) in table {
        let read = Header::read(&bytes).map_err(|error| match error {
            HeaderError::Broken(_) => HeaderError::Broken(""),
            other => other,
        });
        assert_eq!(read, header.map_or(broken, |header| ok(header, &bytes)), "{name}");
    }
    assert_eq!(Header::read(b"\r\n\r\n\0\r\nQUIT\r"), Err(HeaderError::Missing));
}

#[test]
fn a_header_of_version_2_has_its_limit() {
    let of_length = |length: usize| v2(0x20, 0, &vec![0; length - V2_FIXED]);
    assert_eq!(Header::read(&of_length(MAX_V2)), Ok(Some((Header::Local, MAX_V2))));
    assert_eq!(Header::read(&of_length(MAX_V2 + 1)[..V2_FIXED]), Err(HeaderError::TooLong(MAX_V2)));
}

#[test]
fn what_is_written_has_one_family() {
    let mixed = proxied("[2001:db8::7]:1", "198.51.100.10:2");
    let mapped = proxied("[::ffff:192.0.2.7]:1", "198.51.100.10:2");
    assert_eq!(mixed.write(Version::V1), b"PROXY TCP6 2001:db8::7 ::ffff:198.51.100.10 1 2\r\n");
    assert_eq!(mapped.write(Version::V1), b"PROXY TCP4 192.0.2.7 198.51.100.10 1 2\r\n");
    assert_eq!(mapped.write(Version::V2), v2(0x21, 0x11, &[192, 0, 2, 7, 198, 51, 100, 10, 0, 1, 0, 2]));
    assert_eq!(mixed.write(Version::V2).len(), 52);
    assert_eq!(Header::Local.write(Version::V1), b"PROXY UNKNOWN\r\n");
    assert_eq!(Header::Local.write(Version::V2), v2(0x20, 0, b""));
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(|octets| IpAddr::from(octets).to_canonical()),
    ];
    (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_however_it_arrives(
        source in address(), destination in address(), rest in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let header = Header::Proxied { source, destination };
        for version in [Version::V1, Version::V2] {
            for header in [header, Header::Local] {
                let written = header.write(version);
                prop_assert!(version == Version::V2 || written.len() <= MAX_V1);
                let bytes = [&written[..], &rest].concat();
                for known in 0..written.len() {
                    prop_assert_eq!(Header::read(&bytes[..known]), Ok(None), "{}", known);
                }
                prop_assert_eq!(Header::read(&bytes), Ok(Some((header, written.len()))));
            }
        }
    }

    /// What has once been refused or accepted stays so with more bytes.
    #[test]
    fn no_bytes_change_a_verdict_that_was_given(
        begins in proptest::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 1.2.3.4 ", b"PROXY UNKNOWN ", V2_BEGINS, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"]),
        rest in proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(b"\r\n 1.:".to_vec())], 0..200),
    ) {
        let bytes = [begins, &rest].concat();
        let mut verdict = None;
        for known in 0..=bytes.len() {
            let read = Header::read(&bytes[..known]);
            if let Some(verdict) = verdict {
                prop_assert_eq!(read, verdict);
            } else if read != Ok(None) {
                if let Ok(Some((_, used))) = read {
                    prop_assert_eq!(used, known, "not a byte more was waited for");
                }
                verdict = Some(read);
            }
        }
    }
}
