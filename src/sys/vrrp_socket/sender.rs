//! Where adverts go out.
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use rustix::net::sockopt::set_ip_multicast_if_with_ifindex;
use rustix::net::{SendFlags, sendto};
use socket2::{Domain, SockFilter, Socket};

use crate::proto::vrrp::HOP_LIMIT;
use crate::sys::socket_option;

/// Precedence internetwork control (RFC 791 section 3.1, CS6 of RFC 2474): what switches and hosts let pass first.
const TRAFFIC_CLASS: u8 = 0xc0;

/// Where the checksum stands in an advert (RFC 9568 section 5.2.8).
const CHECKSUM_AT: libc::c_int = 6;

/// A filter that takes nothing: `BPF_RET`, 0 bytes.
const NOTHING: SockFilter = SockFilter::new(6, 0, 0, 0);

/// A socket for one interface and one source address.
#[derive(Debug)]
pub struct Sender {
    socket: Socket,
    index: u32,
    source: IpAddr,
}

impl Sender {
    /// Adverts leave by the interface of this index, with its MAC address, and come from `source`, which need not be an
    /// address of that interface: adverts with the virtual MAC address leave by a macvlan and come from its parent's address.
    ///
    /// # Errors
    ///
    /// There is no such interface, it has none of the family, or CAP_NET_RAW is missing.
    pub fn open(index: u32, source: IpAddr) -> io::Result<Self> {
        let domain = if source.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = super::open(domain, index)?;
        // Adverts of others would only fill its buffer.
        socket.attach_filter(&[NOTHING])?;
        match source {
            IpAddr::V4(_) => {
                // By the index alone; the source is what the socket is bound to.
                let any = Ipv4Addr::UNSPECIFIED;
                set_ip_multicast_if_with_ifindex(&socket, &any, &any, index)?;
                socket.set_multicast_ttl_v4(HOP_LIMIT.into())?;
                socket.set_ttl_v4(HOP_LIMIT.into())?;
                socket.set_tos_v4(TRAFFIC_CLASS.into())?;
                socket.set_multicast_loop_v4(false)?;
                socket.set_freebind_v4(true)?;
            }
            IpAddr::V6(_) => {
                socket.set_multicast_if_v6(index)?;
                socket.set_multicast_hops_v6(HOP_LIMIT.into())?;
                socket.set_unicast_hops_v6(HOP_LIMIT.into())?;
                socket.set_tclass_v6(TRAFFIC_CLASS.into())?;
                socket.set_multicast_loop_v6(false)?;
                socket.set_freebind_v6(true)?;
                socket_option::set(&socket, libc::IPPROTO_IPV6, libc::IPV6_CHECKSUM, CHECKSUM_AT)?;
            }
        }
        let sender = Self { socket, index, source };
        sender.socket.bind(&sender.at(source).into())?;
        Ok(sender)
    }

    /// The address that adverts come from.
    #[must_use]
    pub const fn source(&self) -> IpAddr {
        self.source
    }

    /// Sends an advert to the group or to a peer of the same family. The checksum of one over IPv6 is the kernel's, whatever
    /// stands in its place.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it cannot go now, and then it is lost; or what the kernel says of the interface or the peer.
    pub fn send(&self, destination: IpAddr, advert: &[u8]) -> io::Result<()> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendto(&self.socket, advert, flags, &self.at(destination))?;
        Ok(())
    }

    /// An address as seen from the interface. Raw sockets have no port.
    fn at(&self, address: IpAddr) -> SocketAddr {
        match address {
            IpAddr::V6(address) if is_of_the_link(address) => {
                SocketAddrV6::new(address, 0, 0, self.index).into()
            }
            address => SocketAddr::new(address, 0),
        }
    }
}

/// Whether an address means nothing without its link.
fn is_of_the_link(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local() || address.is_multicast()
}
