//! Raw sockets for VRRP's own protocol of IP.
//!
//! One [`Receiver`] hears all virtual routers of an interface and family, over IPv4 with one more for what the kernel drops;
//! each source address has a [`Sender`] of its own, which hears nothing. None of them ever blocks.
use std::io;
use std::os::fd::AsFd;

use rustix::net::netdevice::index_to_name;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::{Domain, Protocol, Socket, Type};

use crate::proto::vrrp::IP_PROTOCOL;

mod ipv4;
mod ipv6;
mod martian;
mod receiver;
mod sender;

pub use receiver::{Received, Receiver};
pub use sender::Sender;

/// A socket of that protocol on one interface and no other.
fn open(domain: Domain, index: u32) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(IP_PROTOCOL))))?;
    socket.set_nonblocking(true)?;
    // By its name, as kernels before 5.0 want it.
    let name = index_to_name(&socket, index)?;
    socket.bind_device(Some(name.as_bytes()))?;
    Ok(socket)
}

/// Asks for a buffer of so many bytes, beyond `net.core.rmem_max` only with CAP_NET_ADMIN.
fn enlarge_buffer(socket: &Socket, bytes: usize) -> io::Result<()> {
    if set_socket_recv_buffer_size_force(socket.as_fd(), bytes).is_err() {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(())
}
