//! What ip-route(8), ip-neighbour(8) and the kernel say to each other, in captured.txt.
use super::captured::all;
use super::*;
use crate::proto::netlink::neighbour::neighbours;
use crate::proto::netlink::route::way_to;

#[test]
#[cfg(target_endian = "little")]
fn a_way_is_asked_for_as_ip_does_it() {
    let address = "192.0.2.21".parse().unwrap();
    let mut theirs = all()["asked for a way"].clone();
    // It asks for the table as well, and not for the end of a list of one.
    theirs[24..28].fill(0);
    theirs[6] = 5;
    let ours = written(&way_to(address));
    assert_eq!((&ours[..8], &ours[12..]), (&theirs[..8], &theirs[12..]));
}

#[test]
#[cfg(target_endian = "little")]
fn ways_are_read_as_ip_shows_them() {
    let captured = all();
    let way = |source: &str, is_routed| Way {
        is_to_another_host: true,
        is_routed,
        index: 3,
        source: Some(source.parse().unwrap()),
    };
    for (name, expected) in [
        ("told of a way", way("192.0.2.1", false)),
        ("told of a way of IPv6", way("2001:db8::1", false)),
        ("told of a routed way", way("192.0.2.1", true)),
    ] {
        assert_eq!(Way::read(data(&only(&captured[name]))), Ok(Some(expected)), "{name}");
    }
    // The type of this host's own addresses.
    let mut local = captured["told of a way"].clone();
    local[23] = 2;
    assert!(!Way::read(data(&only(&local))).unwrap().unwrap().is_to_another_host);
}

#[test]
#[cfg(target_endian = "little")]
fn neighbours_are_read_as_ip_shows_them() {
    let captured = all();
    let bytes = &captured["told of neighbours"];
    let read = |bytes: &[u8]| {
        let first = Messages::new(bytes).next().unwrap().unwrap();
        Neighbour::read(data(&first)).unwrap().unwrap()
    };
    let expected = Neighbour {
        index: 3,
        address: "192.0.2.21".parse().unwrap(),
        mac: Some([2, 0, 0, 0, 0, 0x21]),
        is_given_up: false,
    };
    assert_eq!(read(bytes), expected);
    for (state, mac, is_given_up) in [(0x04, expected.mac, false), (0x01, None, false), (0x20, None, true)] {
        let mut other = bytes.clone();
        other[24] = state;
        assert_eq!(read(&other), Neighbour { mac, is_given_up, ..expected }, "{state:#x}");
    }
    let asked = written(&neighbours("2001:db8::21".parse().unwrap()));
    assert_eq!((asked[4], asked[16]), (30, 10));
}
