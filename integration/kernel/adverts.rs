//! Adverts from one machine to the other.
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;

use gridfront::sys::vrrp_socket::{Received, Receiver, Sender};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Capture, SOON, VIRTUAL_MAC, add_macvlan, index, lab, route};
use crate::support::deadline;
use crate::support::netns::Machine;

const GROUPS: [&str; 2] = ["224.0.0.18", "ff02::12"];
const ADVERT: [u8; 12] = [0x31, 51, 100, 1, 0, 100, 0, 0, 10, 77, 0, 100];

fn receiver(machine: &Machine, index: u32, family: IpAddr) -> Receiver {
    machine.enter(|| if family.is_ipv4() { Receiver::v4(index) } else { Receiver::v6(index) }).unwrap()
}

/// The next advert, for which poll(2) wakes.
fn next(receiver: &mut Receiver) -> (Received, Vec<u8>) {
    let limit = Timespec { tv_sec: SOON.as_secs().cast_signed(), tv_nsec: 0 };
    let woken = poll(&mut [PollFd::new(&receiver.as_fd(), PollFlags::IN)], Some(&limit));
    assert_eq!(woken, Ok(1), "an advert comes");
    let mut buffer = [0; 8192];
    let received = receiver.receive(&mut buffer).unwrap().expect("an advert");
    let payload = buffer[received.payload.clone()].to_vec();
    (received, payload)
}

/// The sum over the pseudo-header of IPv6 and the advert, which is all ones if the checksum holds (RFC 8200 section 8.1).
fn sum(source: IpAddr, destination: IpAddr, advert: &[u8]) -> u16 {
    let octets = |address| match address {
        IpAddr::V6(address) => Ipv6Addr::octets(&address),
        IpAddr::V4(_) => panic!("IPv6"),
    };
    let length = u8::try_from(advert.len()).unwrap();
    let all = [&octets(source)[..], &octets(destination), &[0, 0, 0, length, 0, 0, 0, 112], advert].concat();
    let sum: u32 = all.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    u16::try_from((sum >> 16) + (sum & 0xffff)).unwrap()
}

#[test]
fn adverts_come_with_their_source_destination_and_ttl() {
    let Some(lab) = lab("adverts") else { return };
    let (one, two) = (lab.machine("one"), lab.machine("two"));
    let (eth0, other) = (index(&mut route(one), "eth0"), index(&mut route(two), "eth0"));
    for (family, group) in GROUPS.iter().enumerate() {
        let group: IpAddr = group.parse().unwrap();
        let (source, peer) = (one.addresses()[family], two.addresses()[family]);
        let (mut own, mut hears) = (receiver(one, eth0, group), receiver(two, other, group));
        let sender = one.enter(|| Sender::open(eth0, source)).unwrap();
        assert_eq!(sender.source(), source);
        for destination in [group, peer] {
            sender.send(destination, &ADVERT).unwrap();
            let (received, payload) = next(&mut hears);
            assert_eq!((received.source, received.destination, received.ttl), (source, destination, 255));
            if source.is_ipv6() {
                assert_eq!(sum(source, destination, &payload), 0xffff, "{payload:02x?}");
                assert_eq!((&payload[..6], &payload[8..]), (&ADVERT[..6], &ADVERT[8..]));
            } else {
                assert_eq!(payload, ADVERT);
            }
        }
        assert_eq!(own.receive(&mut [0; 8192]).unwrap(), None, "nobody hears itself");
        // Somebody else's TTL is told as it is.
        let stranger = one.enter(|| {
            let socket = Socket::new(
                Domain::for_address(SocketAddr::new(source, 0)),
                Type::RAW,
                Some(Protocol::from(112)),
            )
            .unwrap();
            if source.is_ipv4() { socket.set_ttl_v4(64) } else { socket.set_unicast_hops_v6(64) }.unwrap();
            socket
        });
        stranger.send_to(&ADVERT, &SocketAddr::new(peer, 0).into()).unwrap();
        assert_eq!(next(&mut hears).0.ttl, 64);
        // One that does not fit is no advert.
        sender.send(group, &ADVERT).unwrap();
        sender.send(group, &ADVERT).unwrap();
        let passed_over = deadline::until("it is passed over", SOON, || match hears.receive(&mut [0; 8]) {
            Ok(None) if hears.malformed() == 2 => Ok(()),
            other => Err(format!("{other:?}")),
        });
        passed_over.unwrap_or_else(|why| panic!("{why}"));
    }
}

#[test]
fn adverts_of_a_macvlan_have_the_virtual_mac_and_its_parents_address() {
    let Some(lab) = lab("adverts with a virtual MAC address") else { return };
    let (one, two) = (lab.machine("one"), lab.machine("two"));
    let mut at_one = route(one);
    let macvlan = add_macvlan(one, &mut at_one);
    let eth0 = index(&mut at_one, "eth0");
    let other = index(&mut route(two), "eth0");
    let link_local = deadline::until("the link-local address", SOON, || {
        let all = at_one.addresses().unwrap();
        let of_eth0 = all.iter().filter(|one| one.index == eth0 && !one.is_tentative);
        let is_link_local =
            |address: IpAddr| matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        of_eth0
            .map(|one| one.address)
            .find(|address| is_link_local(*address))
            .ok_or_else(|| format!("{all:?}"))
    });
    let link_local = link_local.unwrap_or_else(|why| panic!("{why}"));
    let [v4, v6] = one.addresses();
    #[rustfmt::skip]
    let table = [
        (v4,         "224.0.0.18", [1, 0, 0x5e, 0, 0, 0x12],       0x0800, 1),
        (v6,         "ff02::12",   [0x33, 0x33, 0, 0, 0, 0x12],    0x86dd, 0),
        (link_local, "ff02::12",   [0x33, 0x33, 0, 0, 0, 0x12],    0x86dd, 0),
    ];
    for (source, group, mac, ethertype, class_at) in table {
        let group: IpAddr = group.parse().unwrap();
        let mut hears = receiver(two, other, group);
        let mut own = receiver(one, eth0, group);
        let capture = Capture::on(two);
        let sender = one.enter(|| Sender::open(macvlan, source)).unwrap();
        sender.send(group, &ADVERT).unwrap();
        let (received, _) = next(&mut hears);
        assert_eq!((received.source, received.destination, received.ttl), (source, group, 255));
        let frame = capture.frame(mac, ethertype);
        assert_eq!(frame[6..12], VIRTUAL_MAC, "{source}");
        // The traffic class of IPv6 is behind four bits of the version.
        let class = if class_at == 1 { frame[15] } else { frame[14] << 4 | frame[15] >> 4 };
        assert_eq!(class, 0xc0, "{source}");
        assert_eq!(own.receive(&mut [0; 8192]).unwrap(), None, "{source}: nobody hears itself");
    }
}

#[test]
fn an_interface_that_goes_is_an_error_and_no_more() {
    let Some(lab) = lab("adverts of an interface that goes") else { return };
    let one = lab.machine("one");
    let mut route = route(one);
    let macvlan = add_macvlan(one, &mut route);
    for (family, group) in GROUPS.iter().enumerate() {
        let group: IpAddr = group.parse().unwrap();
        let source = one.addresses()[family];
        assert!(one.enter(|| Sender::open(12345, source)).is_err());
        let _hears = receiver(one, macvlan, group);
    }
    let senders = one.addresses().map(|source| one.enter(|| Sender::open(macvlan, source)).unwrap());
    let mut receivers = GROUPS.map(|group| receiver(one, macvlan, group.parse().unwrap()));
    route.delete_link(macvlan).unwrap();
    for (sender, group) in senders.iter().zip(GROUPS) {
        assert!(sender.send(group.parse().unwrap(), &ADVERT).is_err(), "{group}");
    }
    for receiver in &mut receivers {
        assert!(!matches!(receiver.receive(&mut [0; 8192]), Ok(Some(_))));
    }
}
