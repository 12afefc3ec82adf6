use super::*;
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn addresses(dialled: &str, public: &[&str], map: &[(&str, &str)]) -> DataAddresses {
    let public: Vec<IpAddr> = public.iter().map(|text| ip(text)).collect();
    DataAddresses::new(ip(dialled), &public, map.iter().map(|(from, to)| (ip(from), ip(to))).collect())
}

#[test]
fn every_form_of_address_reply_is_rewritten_and_nothing_around_it() {
    use AddressList::{HostPort, Striped};
    const EXT4: AddressList = AddressList::Extended { ipv6: false };
    const EXT6: AddressList = AddressList::Extended { ipv6: true };
    let nat = addresses("10.0.0.11", &["198.51.100.11", "2001:db8::11"], &[("10.0.0.61", "198.51.100.61")]);
    let plain = addresses("10.0.0.11", &[], &[]);
    let six = addresses("fd77::11", &[], &[]);
    #[rustfmt::skip]
    let table: &[(&str, &DataAddresses, AddressList, &str, Option<&str>)] = &[
        ("Globus 227",       &nat,   HostPort, "227 Entering Passive Mode (10,0,0,11,137,153)\r\n", Some("227 Entering Passive Mode (198,51,100,11,137,153)\r\n")),
        ("no data_addresses", &plain, HostPort, "227 Entering Passive Mode (10,0,0,11,137,153)\r\n", None),
        ("no parentheses",   &nat,   HostPort, "227 Entering Passive Mode 10,0,0,11,137,153.\r\n",  Some("227 Entering Passive Mode 198,51,100,11,137,153.\r\n")),
        ("dCache 127",       &nat,   HostPort, "127 PORT (10,0,0,11,1,2)\r\n",                      Some("127 PORT (198,51,100,11,1,2)\r\n")),
        ("a data node",      &nat,   HostPort, "227 x (10,0,0,62,1,2)\r\n",                         None),
        ("a mapped node",    &nat,   HostPort, "227 x (10,0,0,61,1,2)\r\n",                         Some("227 x (198,51,100,61,1,2)\r\n")),
        ("127.0.1.1",        &nat,   HostPort, "227 x (127,0,1,1,1,2)\r\n",                         Some("227 x (198,51,100,11,1,2)\r\n")),
        ("127.0.1.1, plain", &plain, HostPort, "227 x (127,0,1,1,1,2)\r\n",                         Some("227 x (10,0,0,11,1,2)\r\n")),
        ("0.0.0.0, v6 leg",  &six,   HostPort, "227 x (0,0,0,0,1,2)\r\n",                           None),
        ("no address",       &nat,   HostPort, "200 Passive delayed.\r\n",                          None),
        ("octet too big",    &nat,   HostPort, "227 x (10,0,0,256,1,2)\r\n",                        None),
        ("seven numbers",    &nat,   HostPort, "227 x (10,0,0,11,1,2,3)\r\n",                       None),
        ("Globus 229",       &plain, EXT4,     "229 Entering Extended Passive Mode (|||35183|)\r\n", Some("229 Entering Extended Passive Mode (|1|10.0.0.11|35183|)\r\n")),
        ("with public",      &nat,   EXT4,     "229 x (|||35183|).\r\n",                            Some("229 x (|1|198.51.100.11|35183|).\r\n")),
        ("IPv6 asked for",   &nat,   EXT6,     "229 x (|||35183|)\r\n",                             Some("229 x (|2|2001:db8::11|35183|)\r\n")),
        ("IPv6 leg",         &six,   EXT6,     "129 x (|||35183|)\r\n",                             Some("129 x (|2|fd77::11|35183|)\r\n")),
        ("-epsv-ip",         &nat,   EXT4,     "229 x (|1|10.0.0.11|33519|)\r\n",                   Some("229 x (|1|198.51.100.11|33519|)\r\n")),
        ("-epsv-ip, plain",  &plain, EXT4,     "229 x (|1|10.0.0.11|33519|)\r\n",                   None),
        ("EPSV ALL",         &nat,   EXT4,     "229 EPSV ALL Successful.\r\n",                      None),
        ("129 single",       &nat,   EXT4,     "129 x (10,0,0,11,1,2)\r\n",                         Some("129 x (198,51,100,11,1,2)\r\n")),
        ("port 0",           &nat,   EXT4,     "229 x (|||0|)\r\n",                                 None),
        ("odd protocol",     &nat,   EXT4,     "229 x (|a\n||35183|)\r\n",                        None),
        ("parentheses only", &nat,   EXT4,     "229 x ((((8()\r\n",                                None),
        ("SPAS",             &nat,   Striped,  " 10,0,0,11,158,143\r\n",                            Some(" 198,51,100,11,158,143\r\n")),
        ("SPAS node",        &nat,   Striped,  " 10,0,0,62,158,143\r\n",                            None),
        ("SPAS mapped node", &nat,   Striped,  " 10,0,0,61,158,143\r\n",                            Some(" 198,51,100,61,158,143\r\n")),
        ("SPAS 1",           &nat,   Striped,  " |1|10.0.0.11|47979|\r\n",                          Some(" |1|198.51.100.11|47979|\r\n")),
        ("SPAS 2 mapped v4", &nat,   Striped,  " |2|::ffff:10.0.0.11|34691|\r\n",                   Some(" |1|198.51.100.11|34691|\r\n")),
        ("SPAS 2, node",     &nat,   Striped,  " |2|fd77::62|40219|\r\n",                           None),
        ("SPAS first line",  &nat,   Striped,  "229-Entering Striped Passive Mode.\r\n",            None),
        ("SPAS last line",   &nat,   Striped,  "229 End\r\n",                                       None),
        ("blank line",       &nat,   Striped,  " \r\n",                                             None),
    ];
    for &(name, addresses, kind, line, expected) in table {
        let got = rewrite_address_line(kind, line.as_bytes(), addresses);
        assert_eq!(got.as_deref(), expected.map(str::as_bytes), "{name}");
    }
}

#[test]
fn commands_that_name_addresses_are_read_strictly() {
    #[rustfmt::skip]
    let port: &[(&str, Option<&str>)] = &[
        ("127,0,0,1,202,89",       Some("127.0.0.1:51801")),
        ("127,0,0,1,202,89,",      None),
        ("127,0,0,1,202",          None),
        ("127,0,0,1,0,0",          None),
        ("127, 0,0,1,202,89",      None),
        ("0127,0,0,1,202,89",      None),
        ("010,0,0,1,202,89",       None),
        ("10,0,0,1,0,20289",       None),
        ("10,0,0,1,202,-1",        None),
        ("4294967306,0,0,1,4,1",   None),
        ("|1|10.0.0.1|5000|",      None),
        ("10,0,0,1,4,1 10,0,0,2,4,1", None),
        ("127,0,0,1,202,89 x",     None),
        ("-1,0,0,1,202,89",        None),
        ("",                       None),
    ];
    for &(text, expected) in port {
        assert_eq!(parse_port(text.as_bytes()).map(|a| a.to_string()).as_deref(), expected, "PORT {text}");
    }
    #[rustfmt::skip]
    let eprt: &[(&str, Option<&str>)] = &[
        ("|1|132.235.1.2|6275|",   Some("132.235.1.2:6275")),
        ("|2|FD77::2|46895|",      Some("[fd77::2]:46895")),
        ("!1!132.235.1.2!6275!",   Some("132.235.1.2:6275")),
        ("|2|::ffff:10.0.0.1|99|", Some("10.0.0.1:99")),
        ("|1||5000|",              None),
        ("|1|::1|5000|",           None),
        ("|2|10.0.0.1|5000|",      None),
        ("|1|10.0.0.1|65536|",     None),
        ("|1|10.0.0.1|5000|x",     None),
        ("|01|10.0.0.1|5000|",     None),
        ("|1|010.0.0.1|5000|",     None),
        ("a1a10.0.0.1a5000a",      None),
        ("|1|10.0.1|5000|",        None),
        ("|1|10.0.0.1|5000|1|10.0.0.2|5000|", None),
        ("10,0,0,1,4,1",           None),
        ("|1|10.0.0.1|5000",       None),
        ("|2|fe80::1%eth0|5000|",  None),
        ("",                       None),
    ];
    for &(text, expected) in eprt {
        assert_eq!(parse_eprt(text.as_bytes()).map(|a| a.to_string()).as_deref(), expected, "EPRT {text}");
    }
    let spor = parse_spor(b"10,0,0,1,4,1  |2|fd77::1|1026|").unwrap();
    assert_eq!(spor, ["10.0.0.1:1025".parse().unwrap(), "[fd77::1]:1026".parse().unwrap()]);
    assert_eq!(parse_spor(b"10,0,0,1,4,1 rubbish"), None);
    assert_eq!(parse_spor(b" "), None);
    assert_eq!(parse_spor(&b"10,0,0,1,4,1 ".repeat(MAX_STRIPES + 1)), None);
}

#[test]
fn a_family_that_the_server_lacks_is_known() {
    let nat = addresses("10.0.0.11", &["2001:db8::11"], &[]);
    assert!(nat.has_family(false) && nat.has_family(true) && !nat.dialled_is_ipv6());
    assert!(!addresses("10.0.0.11", &[], &[]).has_family(true));
    assert_eq!(addresses("10.0.0.11", &[], &[]).own_address(true), ip("10.0.0.11"));
}

#[test]
fn the_door_dials_what_the_server_says_unless_it_cannot_be() {
    let nat = addresses("10.0.0.11", &["198.51.100.11"], &[("10.0.0.61", "198.51.100.61")]);
    let local = addresses("127.0.0.1", &[], &[]);
    #[rustfmt::skip]
    let table = [
        ("its own",              &nat,   Some("10.0.0.11"),        "10.0.0.11"),
        ("a node, not mapped",   &nat,   Some("10.0.0.61"),        "10.0.0.61"),
        ("mapped form",          &nat,   Some("::ffff:10.0.0.62"), "10.0.0.62"),
        ("no address",           &nat,   None,                     "10.0.0.11"),
        ("unspecified",          &nat,   Some("0.0.0.0"),          "10.0.0.11"),
        ("unspecified, IPv6",    &nat,   Some("::"),               "10.0.0.11"),
        ("loopback elsewhere",   &nat,   Some("127.0.1.1"),        "10.0.0.11"),
        ("loopback here",        &local, Some("127.0.0.2"),        "127.0.0.2"),
    ];
    for (name, addresses, announced, dialled) in table {
        assert_eq!(addresses.dial(announced.map(ip)), ip(dialled), "{name}");
    }
}

#[test]
fn a_server_is_at_every_address_that_is_configured_for_it() {
    let nat = addresses("10.0.0.11", &["198.51.100.11", "2001:db8::11"], &[("10.0.0.61", "198.51.100.61")]);
    for known in
        ["10.0.0.11", "::ffff:10.0.0.11", "198.51.100.11", "2001:db8::11", "10.0.0.61", "198.51.100.61"]
    {
        assert!(nat.contains(ip(known)), "{known}");
    }
    for unknown in ["10.0.0.12", "2001:db8::12", "127.0.0.1", "0.0.0.0"] {
        assert!(!nat.contains(ip(unknown)), "{unknown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read_back(octets: [u8; 4], high: [u8; 16], port in 1u16..) {
        let (v4, v6) = (Ipv4Addr::from(octets), Ipv6Addr::from(high));
        let text = host_port(v4, port);
        prop_assert_eq!(parse_port(text.as_bytes()), Some(SocketAddr::new(IpAddr::V4(v4), port)));
        for address in [IpAddr::V4(v4), IpAddr::V6(v6).to_canonical()] {
            let read = parse_eprt(extended(address, port).as_bytes());
            prop_assert_eq!(read, Some(SocketAddr::new(address, port)));
        }
        let line = format!("227 Entering Passive Mode ({text})\r\n");
        let (range, found) = find_host_port(line.as_bytes()).unwrap();
        prop_assert_eq!(&line[range], text);
        prop_assert_eq!(found, SocketAddrV4::new(v4, port));
    }

    #[test]
    fn any_line_is_read_without_panic(line in "[0-9,|(): .a-f\r\n]{0,60}", bytes: Vec<u8>) {
        let nat = addresses("10.0.0.11", &["198.51.100.11"], &[]);
        for line in [line.as_bytes(), &bytes] {
            for kind in [AddressList::HostPort, AddressList::Extended { ipv6: false }, AddressList::Striped] {
                let _ = rewrite_address_line(kind, line, &nat);
            }
            let _ = (parse_port(line), parse_eprt(line), parse_spor(line));
        }
    }
}
