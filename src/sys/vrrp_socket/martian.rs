//! What the kernel drops before raw sockets hear it: IPv4 packets that come from an address which this host has itself (RFC 1812
//! section 5.3.7 calls them martian). A router that holds the address of another one, its owner, gets such from that owner.
use std::io;

use socket2::{SockFilter, Socket};

use crate::proto::vrrp::IP_PROTOCOL;
use crate::sys::packet_socket;

/// `SKF_AD_OFF + SKF_AD_PKTTYPE`: where a filter finds for whom a packet is.
const PACKET_TYPE: u32 = 0xffff_f004;

/// Adverts for this host or a group. No fragments, which nobody puts together here; adverts are none.
const ADVERTS: [SockFilter; 8] = [
    // For another host: an interface in promiscuous mode hears it.
    SockFilter::new(0x20, 0, 0, PACKET_TYPE),
    SockFilter::new(0x15, 5, 0, libc::PACKET_OTHERHOST as u32),
    // Protocol.
    SockFilter::new(0x30, 0, 0, 9),
    SockFilter::new(0x15, 0, 3, IP_PROTOCOL as u32),
    // More fragments, and where this one stands.
    SockFilter::new(0x28, 0, 0, 6),
    SockFilter::new(0x45, 1, 0, 0x3fff),
    SockFilter::new(0x06, 0, 0, u32::MAX),
    SockFilter::new(0x06, 0, 0, 0),
];

pub(super) fn open(index: u32) -> io::Result<Socket> {
    packet_socket::hear_ipv4(index, &ADVERTS)
}
