//! Packets beside the kernel's IP, by AF_PACKET (packet(7)).
//!
//! Frames that tell neighbours whose an address is, gratuitous ARP and unsolicited neighbour advertisements, go by it, for it
//! takes any source address: the virtual one need not be this host's, or not yet. And it hears what the kernel would drop.
#![allow(unsafe_code, reason = "no crate of ours knows packet addresses")]
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use socket2::{SockFilter, Socket};

/// All hosts.
const BROADCAST: [u8; 6] = [0xff; 6];
/// All nodes, ff02::1 (RFC 2464 section 7).
const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;

/// A socket that sends by any interface of the thread's network namespace, and hears nothing.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
}

impl PacketSocket {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// CAP_NET_RAW is missing.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Without a protocol nothing is received.
        let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?;
        Ok(Self { socket })
    }

    /// Sends an ARP packet (RFC 826) to all hosts, with the MAC address of the interface as the frame's source.
    ///
    /// # Errors
    ///
    /// There is no such interface, it is down, or its queue is full.
    pub fn send_arp(&self, index: u32, packet: &[u8]) -> io::Result<()> {
        self.send(index, ARP, BROADCAST, packet)
    }

    /// Sends an IPv6 packet, header and all, to all nodes.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn send_neighbour_advertisement(&self, index: u32, packet: &[u8]) -> io::Result<()> {
        self.send(index, IPV6, ALL_NODES, packet)
    }

    fn send(&self, index: u32, protocol: u16, destination: [u8; 6], packet: &[u8]) -> io::Result<()> {
        let (address, length) = address(index, protocol, destination);
        // SAFETY: the descriptor is open as long as it is borrowed; the kernel reads the packet and the address, which live,
        // by their sizes.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                (&raw const address).cast(),
                length,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// A socket that hears what this filter takes of the IPv4 packets that come in by the interface of this index, from the IP header
/// on, before the kernel has looked at them. It never blocks.
pub(in crate::sys) fn hear_ipv4(index: u32, filter: &[SockFilter]) -> io::Result<Socket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Bound last: it would hear all interfaces, and everything, before.
    let socket = Socket::from(socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?);
    socket.attach_filter(filter)?;
    let (address, length) = address(index, IPV4, [0; 6]);
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel reads the address, which lives, by its size.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

fn address(index: u32, protocol: u16, mac: [u8; 6]) -> (libc::sockaddr_ll, libc::socklen_t) {
    let mut bytes = [0; 8];
    bytes[..6].copy_from_slice(&mac);
    let address = libc::sockaddr_ll {
        sll_family: AddressFamily::PACKET.as_raw(),
        sll_protocol: protocol.to_be(),
        sll_ifindex: index.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: bytes,
    };
    (address, libc::socklen_t::try_from(size_of_val(&address)).unwrap_or_default())
}
