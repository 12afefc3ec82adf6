//! What ip(8) and the kernel say to each other, in captured.txt.
use super::*;

/// By its name in the file.
pub(super) fn all() -> BTreeMap<&'static str, Vec<u8>> {
    sections(include_str!("captured.txt"))
}

/// What such a file has, by name.
pub(super) fn sections(file: &'static str) -> BTreeMap<&'static str, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut name = "";
    for line in file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some((found, _)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            name = found;
            continue;
        }
        let bytes = (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap());
        all.entry(name).or_insert_with(Vec::new).extend(bytes);
    }
    all
}

/// A message without what the socket knows, with its attributes in the order of their types: programs differ in theirs.
#[derive(Debug, Eq, PartialEq)]
struct Shape {
    kind: u16,
    flags: [u8; 2],
    header: Vec<u8>,
    attributes: BTreeMap<u16, Vec<u8>>,
}

fn shape(bytes: &[u8]) -> Shape {
    let message = only(bytes);
    let (header, rest) = data(&message).split_at(header_of(message.kind));
    let mut attributes = BTreeMap::new();
    for attribute in Attributes::new(rest) {
        let attribute = attribute.unwrap();
        let mut value = attribute.value.to_vec();
        if (message.kind, attribute.kind) == (link::NEW, 18) {
            // ip(8) does not mark the inner ones as nested, which the kernel does not ask for.
            value.iter_mut().filter(|byte| **byte == 0x80).for_each(|byte| *byte = 0);
        }
        attributes.insert(attribute.kind, value);
    }
    Shape { kind: message.kind, flags: [bytes[6], bytes[7]], header: header.to_vec(), attributes }
}

#[test]
#[cfg(target_endian = "little")]
fn requests_are_those_of_ip() {
    let captured = all();
    let macvlan = Macvlan { name: "vrrp.51", mac: [0, 0, 0x5e, 0, 1, 0x33], parent: 3 };
    let table = [
        ("asked to add a macvlan", link::add_macvlan(&macvlan)),
        ("asked to set it up", link::set_up(4)),
        ("asked to delete it", link::delete(4)),
        ("asked to assign IPv4", address::assign(&assignment("192.0.2.10", 32, Some(3)))),
        ("asked to assign IPv6", address::assign(&assignment("2001:db8::10", 128, Some(3)))),
        (
            "asked to assign with a label",
            address::assign(&Assignment {
                label: Some("eth0:vip".to_owned()),
                ..assignment("192.0.2.11", 24, None)
            }),
        ),
        ("asked to remove", address::remove(3, "192.0.2.11".parse().unwrap(), 24)),
    ];
    for (name, request) in table {
        let (mut ours, mut theirs) = (shape(&written(&request)), shape(&captured[name]));
        // Differences that are meant: ip(8) says nothing of lifetimes that do not end, and was not told of the route; and it adds
        // where we replace.
        for (kind, value) in [(6, [0xff; 8].as_slice()), (8, &[0; 4]), (8, &[0, 2, 0, 0])] {
            if !theirs.attributes.contains_key(&kind)
                && ours.attributes.get(&kind).is_some_and(|ours| ours.starts_with(value))
            {
                ours.attributes.remove(&kind);
            }
        }
        if name == "asked to assign with a label" {
            (ours.flags, theirs.flags) = ([0; 2], [0; 2]);
        }
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
#[cfg(target_endian = "little")]
fn links_are_read_as_ip_shows_them() {
    let captured = all();
    let link = Link::read(data(&only(&captured["told of the link"]))).unwrap().unwrap();
    let expected = Link {
        index: 4,
        name: "vrrp.51".into(),
        is_up: true,
        is_running: true,
        is_lower_up: true,
        operational: Some(OperationalState::Up),
        carrier: Some(true),
        mac: Some([0, 0, 0x5e, 0, 1, 0x33]),
        mtu: Some(1500),
        kind: Some("macvlan".into()),
        parent: Some(3),
    };
    assert_eq!(link, expected);
}

#[test]
#[cfg(target_endian = "little")]
fn addresses_are_read_as_ip_shows_them() {
    let captured = all();
    let list = &captured["told of all addresses"];
    let mut shown = Vec::new();
    for message in Messages::new(list) {
        let message = message.unwrap();
        assert_eq!((message.kind, message.is_inconsistent()), (address::NEW, false));
        let Address { index, address, prefix, scope, valid, preferred, label, .. } =
            Address::read(data(&message)).unwrap().unwrap();
        let label = label.unwrap_or_default();
        shown.push(
            format!("{index} {address}/{prefix} {scope:?} {valid:?} {preferred:?} {label}")
                .trim_end()
                .to_owned(),
        );
    }
    assert_eq!(shown, SHOWN);
    assert_eq!(only(&captured["end of the list"]).answer(), Ok(Answer::Done));
}

#[cfg(target_endian = "little")]
const SHOWN: [&str; 9] = [
    "1 127.0.0.1/8 Host Endless Endless lo",
    "3 192.0.2.1/24 Global Endless Endless eth0",
    "3 192.0.2.10/32 Global Seconds(3) Seconds(3) eth0",
    "3 192.0.2.11/24 Global Endless Endless eth0:vip",
    "1 ::1/128 Host Endless Endless",
    "2 fe80::c881:eaff:fe12:dbe4/64 Link Endless Endless",
    "3 2001:db8::10/128 Global Seconds(3) Seconds(0)",
    "3 fe80::3089:3fff:fe46:f18/64 Link Endless Endless",
    "4 fe80::200:5eff:fe00:133/64 Link Endless Endless",
];

#[test]
#[cfg(target_endian = "little")]
fn acknowledgements_and_refusals_are_read_with_the_kernels_sentence() {
    let captured = all();
    assert_eq!(only(&captured["done"]).answer(), Ok(Answer::Done));
    for (name, errno, text) in [
        ("refused the address", 99, "ipv4: Address not found"),
        ("refused the size", 22, "mtu less than device minimum"),
    ] {
        let refusal = Refusal { errno, text: Some(text.to_owned()) };
        assert_eq!(only(&captured[name]).answer(), Ok(Answer::Refused(refusal)), "{name}");
        // Without its attributes it is as much of a refusal.
        let mut cut = captured[name].clone();
        cut.truncate(36);
        cut[..4].copy_from_slice(&36_u32.to_ne_bytes());
        let refusal = Refusal { errno, text: None };
        assert_eq!(only(&cut).answer(), Ok(Answer::Refused(refusal)), "{name}");
    }
}
