//! What neighbours are told: the frames as another machine sees them.
use std::net::{SocketAddr, TcpListener, TcpStream};

use gridfront::sys::packet_socket::PacketSocket;
use gridfront::sys::sysctl::{self, Setting};

use super::{Capture, SOON, VIRTUAL_MAC, add_macvlan, assignment, index, lab, route};

const BROADCAST: [u8; 6] = [0xff; 6];
const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// From fd77::100 to ff02::1, a neighbour advertisement with the override flag; the checksum is left out.
#[rustfmt::skip]
const ADVERTISEMENT: [u8; 72] = [
    0x60, 0, 0, 0, 0, 32, 58, 255,
    0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
    0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    136, 0, 0, 0, 0x20, 0, 0, 0,
    0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
    2, 1, 0, 0, 0x5e, 0, 1, 51,
];

#[test]
fn arp_and_advertisements_reach_all_neighbours_with_the_mac_of_the_interface() {
    let Some(lab) = lab("gratuitous ARP and neighbour advertisements") else { return };
    let one = lab.machine("one");
    let mut route = route(one);
    let socket = one.enter(|| PacketSocket::open().unwrap());
    let macvlan = add_macvlan(one, &mut route);
    let eth0 = route.link_named("eth0").unwrap().unwrap();
    for (index, mac) in [(eth0.index, eth0.mac.unwrap()), (macvlan, VIRTUAL_MAC)] {
        let capture = Capture::on(lab.machine("two"));
        // As long as the shortest frame, which nobody pads.
        let arp = [index.to_be_bytes()[3]; 46];
        let advertisement = ADVERTISEMENT;
        socket.send_arp(index, &arp).unwrap();
        socket.send_neighbour_advertisement(index, &advertisement).unwrap();
        let seen = loop {
            let frame = capture.frame(BROADCAST, 0x0806);
            if frame[14..] == arp {
                break frame;
            }
        };
        assert_eq!(seen[6..12], mac, "the source of the frame");
        let seen = loop {
            let frame = capture.frame(ALL_NODES, 0x86dd);
            if frame[14..] == advertisement {
                break frame;
            }
        };
        assert_eq!(seen[6..12], mac, "the source of the frame");
    }
    assert!(socket.send_arp(12345, &[0; 28]).is_err(), "no such interface");
    let lo = index(&mut route, "lo");
    assert!(socket.send_arp(lo, &[0; 28]).is_ok());
}

#[test]
fn a_virtual_address_is_answered_for_with_the_virtual_mac() {
    let Some(lab) = lab("addresses with a virtual MAC address") else { return };
    let (one, two) = (lab.machine("one"), lab.machine("two"));
    let mut route = route(one);
    let macvlan = add_macvlan(one, &mut route);
    // As some distributions come.
    one.enter(|| sysctl::set("all", Setting::ReversePathFilter(1))).unwrap();
    for address in ["10.77.0.100", "fd77::100"] {
        let vip = assignment(macvlan, address, Some(60));
        route.add_address(&vip).unwrap();
        let at = SocketAddr::new(vip.address, 2811);
        let _listener = one.enter(|| TcpListener::bind(at)).unwrap();
        two.enter(|| TcpStream::connect_timeout(&at, SOON)).unwrap();
        let output = two.command(None, "ip").args(["neighbour", "show", address]).output().unwrap();
        let known = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(known.contains("lladdr 00:00:5e:00:01:33"), "{address}: {known}");
    }
}
