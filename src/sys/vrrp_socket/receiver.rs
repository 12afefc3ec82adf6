//! What comes for virtual routers of an interface.
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::{Domain, InterfaceIndexOrAddress, Socket};

use super::{ipv4, ipv6, martian};
use crate::proto::vrrp::{GROUP_V4, GROUP_V6};
use crate::sys::socket_option;

/// Some thousand adverts with the kernel's bookkeeping: a tenth of a second of 250 virtual routers at 10 ms each.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Unreadable datagrams that one call passes over, so that a flood of them does not keep the caller from its timers.
const MAX_PASSED_OVER: usize = 64;

/// A socket that hears the group and its unicast peers.
#[derive(Debug)]
pub struct Receiver {
    socket: Socket,
    hears: Hears,
    malformed: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Hears {
    /// Adverts of IPv4 that the kernel takes.
    V4,
    /// Adverts of IPv4, whatever the kernel thinks of them.
    AllOfV4,
    V6,
}

/// One datagram of the protocol. Nothing of it is checked but that it is whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Received {
    /// Who sent it.
    pub source: IpAddr,
    /// The group, or an address of ours.
    pub destination: IpAddr,
    /// TTL, or hop limit.
    pub ttl: u8,
    /// Where in the buffer the advertisement is.
    pub payload: Range<usize>,
}

impl Receiver {
    /// Hears adverts of IPv4 on the interface of this index.
    ///
    /// # Errors
    ///
    /// There is no such interface, or CAP_NET_RAW is missing.
    pub fn v4(index: u32) -> io::Result<Self> {
        let socket = super::open(Domain::IPV4, index)?;
        super::enlarge_buffer(&socket, RECEIVE_BUFFER)?;
        socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(index))?;
        Ok(Self { socket, hears: Hears::V4, malformed: 0 })
    }

    /// Hears the same adverts, and those that the kernel drops because this host has the address that they come from. Which groups
    /// the interface takes is said by [`Self::v4`].
    ///
    /// # Errors
    ///
    /// As above.
    pub fn all_of_v4(index: u32) -> io::Result<Self> {
        let socket = martian::open(index)?;
        super::enlarge_buffer(&socket, RECEIVE_BUFFER)?;
        Ok(Self { socket, hears: Hears::AllOfV4, malformed: 0 })
    }

    /// Hears adverts of IPv6 on the interface of this index.
    ///
    /// # Errors
    ///
    /// There is no such interface, it has no IPv6, or CAP_NET_RAW is missing.
    pub fn v6(index: u32) -> io::Result<Self> {
        let socket = super::open(Domain::IPV6, index)?;
        super::enlarge_buffer(&socket, RECEIVE_BUFFER)?;
        socket.set_recv_hoplimit_v6(true)?;
        socket_option::set(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        socket.join_multicast_v6(&GROUP_V6, index)?;
        Ok(Self { socket, hears: Hears::V6, malformed: 0 })
    }

    /// The next datagram, if there is one. `buffer` should have 8 KiB: an advert of 255 addresses of IPv6 has 4 KiB, and one
    /// that does not fit is malformed.
    ///
    /// # Errors
    ///
    /// What the kernel says of the interface, such as that it is down.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        for _ in 0..MAX_PASSED_OVER {
            let received = match self.next(buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if received.is_some() {
                return Ok(received);
            }
            self.malformed += 1;
        }
        // poll(2) wakes at once for what is left.
        Ok(None)
    }

    /// How many datagrams could not even be read: their IP header is none, they are fragments, or larger than the buffer.
    #[must_use]
    pub const fn malformed(&self) -> u64 {
        self.malformed
    }

    fn next(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        if self.hears == Hears::V6 {
            let datagram = ipv6::receive(&self.socket, buffer)?;
            let ipv6::Datagram { source, destination, hop_limit, length } = datagram;
            return Ok(destination.zip(hop_limit).zip(length).map(|((destination, ttl), length)| Received {
                source: source.into(),
                destination: destination.into(),
                ttl,
                payload: 0..length,
            }));
        }
        let (_, length) = recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT | RecvFlags::TRUNC)
            .map_err(|errno: Errno| io::Error::from(errno))?;
        let packet = buffer.get(..length).filter(|packet| self.hears == Hears::V4 || ipv4::is_intact(packet));
        let header = packet.and_then(ipv4::Header::read);
        Ok(header.map(|ipv4::Header { source, destination, ttl, payload }| Received {
            source: source.into(),
            destination: destination.into(),
            ttl,
            payload,
        }))
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
