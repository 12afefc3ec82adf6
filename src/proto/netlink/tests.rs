use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use proptest::prelude::*;

use super::address::{self, Address, Assignment, Lifetime, Scope};
use super::attributes::{self, Attributes};
use super::link::{self, Link, Macvlan, OperationalState};
use super::message::{Answer, Confirm, Message, Messages, Refusal, Request};
use super::neighbour::Neighbour;
use super::route::Way;
use super::traffic_control::{Filter, Qdisc};
use super::*;

mod captured;
mod ipvs;
mod traffic_control;
mod ways;

/// The length of the header of this type of message.
fn header_of(kind: u16) -> usize {
    if kind < address::NEW { 16 } else { 8 }
}

fn data<'b>(message: &Message<'b>) -> &'b [u8] {
    match message.answer() {
        Ok(Answer::Data(data)) => data,
        other => panic!("{other:?}"),
    }
}

fn written(request: &Request) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.write(&mut bytes, 7, Confirm::Yes);
    bytes
}

fn only(bytes: &[u8]) -> Message<'_> {
    let mut messages = Messages::new(bytes);
    let message = messages.next().unwrap().unwrap();
    assert!(messages.next().is_none());
    message
}

fn assignment(address: &str, prefix: u8, seconds: Option<u32>) -> Assignment {
    Assignment {
        index: 3,
        address: address.parse().unwrap(),
        prefix,
        lifetime: seconds.and_then(NonZeroU32::new),
        label: None,
    }
}

#[test]
fn what_is_assigned_reads_back_as_the_kernel_would_take_it() {
    #[rustfmt::skip]
    let table = [
        // address, prefix, seconds, valid, preferred, without prefix route
        ("192.0.2.10", 32, Some(3), Lifetime::Seconds(3), Lifetime::Seconds(3), true),
        ("192.0.2.10", 24, None, Lifetime::Endless, Lifetime::Endless, false),
        ("2001:db8::10", 128, Some(3), Lifetime::Seconds(3), Lifetime::Seconds(0), true),
        ("fe80::10", 64, None, Lifetime::Endless, Lifetime::Seconds(0), false),
    ];
    for (address, prefix, seconds, valid, preferred, is_without_prefix_route) in table {
        let bytes = written(&address::assign(&assignment(address, prefix, seconds)));
        let read = Address::read(data(&only(&bytes))).unwrap().unwrap();
        let expected = Address {
            index: 3,
            address: address.parse().unwrap(),
            prefix,
            scope: Scope::Global,
            valid,
            preferred,
            is_tentative: false,
            is_duplicate: false,
            is_deprecated: false,
            is_without_prefix_route,
            label: None,
        };
        assert_eq!(read, expected);
    }
}

#[test]
fn what_a_link_is_to_a_bridge_is_no_link() {
    let mut bytes = written(&link::set_up(4));
    assert_eq!(Link::read(data(&only(&bytes))).unwrap().unwrap().index, 4);
    bytes[16] = 7; // AF_BRIDGE
    assert_eq!(Link::read(data(&only(&bytes))), Ok(None));
}

#[test]
fn several_messages_are_told_apart_and_the_first_that_is_none_ends_them() {
    let (mut bytes, whole) = (Vec::new(), written(&link::set_up(4)));
    for sequence in [1, 2, 3] {
        link::named("eth0").write(&mut bytes, sequence, Confirm::No);
    }
    let sequences: Vec<u32> = Messages::new(&bytes).map(|message| message.unwrap().sequence).collect();
    assert_eq!(sequences, [1, 2, 3]);
    for (length, expected) in [
        (31_u32, None),
        (33, Some(FormatError::Truncated("a message"))),
        (15, Some(FormatError::TooShort("a message"))),
    ] {
        let mut bytes = whole.clone();
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        let mut messages = Messages::new(&bytes);
        assert_eq!(messages.next().unwrap().err(), expected, "{length}");
        assert!(messages.next().is_none());
    }
}

#[test]
fn attributes_are_as_long_as_they_say_or_none() {
    let mut bytes = Vec::new();
    attributes::put_text(&mut bytes, 3, "eth0");
    attributes::put_u32(&mut bytes, 4, 1500);
    let read: Vec<_> = Attributes::new(&bytes).map(|attribute| attribute.unwrap()).collect();
    assert_eq!((read[0].text(), read[1].u32()), ("eth0".to_owned(), Ok(1500)));
    assert_eq!(read[1].u8(), Err(FormatError::Value("an attribute")));
    assert_eq!(read[1].address(), Ok(IpAddr::from(1500_u32.to_ne_bytes())));
    // The padding of the last one may be missing, nothing else.
    assert_eq!(Attributes::new(&bytes[..9]).next().unwrap().unwrap().text(), "eth0");
    for (length, expected) in
        [(3_u16, FormatError::TooShort("an attribute")), (40, FormatError::Truncated("an attribute"))]
    {
        let mut bytes = bytes.clone();
        bytes[..2].copy_from_slice(&length.to_ne_bytes());
        let all: Vec<_> = Attributes::new(&bytes).collect();
        assert_eq!(all, [Err(expected)]);
    }
}

/// What an attribute of the tests holds.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Tree {
    Value(Vec<u8>),
    Nested(Vec<(u16, Tree)>),
}

fn trees() -> impl Strategy<Value = Vec<(u16, Tree)>> {
    let leaf = prop::collection::vec(any::<u8>(), 0..40).prop_map(Tree::Value);
    let tree = leaf.prop_recursive(3, 24, 5, |inner| {
        prop::collection::vec((0..0x4000_u16, inner), 0..5).prop_map(Tree::Nested)
    });
    prop::collection::vec((0..0x4000_u16, tree), 0..5)
}

fn write_trees(bytes: &mut Vec<u8>, trees: &[(u16, Tree)]) {
    for (kind, tree) in trees {
        match tree {
            Tree::Value(value) => attributes::put(bytes, *kind, value),
            Tree::Nested(inner) => attributes::put_nested(bytes, *kind, |bytes| write_trees(bytes, inner)),
        }
    }
}

/// Reads attributes in the shape of what was written.
fn read_trees(attributes: Attributes<'_>, shape: &[(u16, Tree)]) -> Vec<(u16, Tree)> {
    let attributes = attributes.map(|attribute| attribute.unwrap());
    attributes
        .zip(shape)
        .map(|(attribute, (_, shape))| {
            let tree = match shape {
                Tree::Value(_) => Tree::Value(attribute.value.to_vec()),
                Tree::Nested(shape) => Tree::Nested(read_trees(attribute.nested(), shape)),
            };
            (attribute.kind, tree)
        })
        .collect()
}

/// Everything that is read of bytes from the kernel.
fn read_all(bytes: &[u8]) {
    for message in Messages::new(bytes).flatten() {
        let _ = (message.answer(), message.is_inconsistent());
        if let Ok(Answer::Data(data)) = message.answer() {
            let _ = (Link::read(data), Address::read(data), Filter::read(data), Qdisc::read(data));
            let _ = (Way::read(data), Neighbour::read(data));
            ipvs::read_all(data);
        }
    }
    let _ = (Link::read(bytes), Address::read(bytes), Filter::read(bytes), Qdisc::read(bytes));
    let _ = (Way::read(bytes), Neighbour::read(bytes));
    ipvs::read_all(bytes);
}

proptest! {
    #[test]
    fn attributes_read_back_as_they_were_written(trees in trees()) {
        let mut bytes = Vec::new();
        write_trees(&mut bytes, &trees);
        prop_assert_eq!(bytes.len() % 4, 0);
        prop_assert_eq!(read_trees(Attributes::new(&bytes), &trees), trees);
    }

    #[test]
    fn any_address_reads_back(address: IpAddr, index: u32, prefix: u8, seconds: u32, label in "[a-z]{0,15}") {
        let prefix = prefix % (address::host_prefix(address) + 1);
        let (lifetime, label) = (NonZeroU32::new(seconds), Some(label));
        let bytes = written(&address::assign(&Assignment { index, address, prefix, lifetime, label: label.clone() }));
        let read = Address::read(data(&only(&bytes))).unwrap().unwrap();
        prop_assert_eq!((read.index, read.address, read.prefix, read.label), (index, address, prefix, label));
    }

    #[test]
    fn no_bytes_are_too_strange(bytes: Vec<u8>) {
        read_all(&bytes);
    }

    #[test]
    fn nothing_captured_is_too_strange_when_it_is_cut_or_changed(which: usize, at: usize, to: u8, end: usize) {
        let captured: Vec<Vec<u8>> = captured::all().into_values().chain(ipvs::captured::all().into_values()).collect();
        let mut bytes = captured[which % captured.len()].clone();
        let at = at % bytes.len();
        bytes[at] = to;
        read_all(&bytes);
        bytes.truncate(end % (bytes.len() + 1));
        read_all(&bytes);
    }
}
