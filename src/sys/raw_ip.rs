//! Packets that are sent as they are, with their IP headers (raw(7), `IPPROTO_RAW`).
use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// A socket for packets of one family, which hears nothing. It never blocks.
#[derive(Debug)]
pub struct RawIp {
    socket: Socket,
}

impl RawIp {
    /// For packets of the family of this address.
    ///
    /// # Errors
    ///
    /// CAP_NET_RAW is missing.
    pub fn like(address: SocketAddr) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// Sends a packet to whom its header names, by the route that leads there.
    ///
    /// # Errors
    ///
    /// There is no route, or `WouldBlock`, and then it is lost.
    pub fn send(&self, packet: &[u8], mut destination: SocketAddr) -> io::Result<()> {
        // Of IPv6 the port would be the number of a protocol.
        destination.set_port(0);
        self.socket.send_to(packet, &destination.into()).map(drop)
    }
}
