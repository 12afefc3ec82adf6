//! Sockets for what balancers tell each other on one link. None of them ever blocks.
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, UdpSocket};

use rustix::net::netdevice::index_to_name;
use rustix::net::sockopt::set_ip_multicast_if_with_ifindex;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

/// Datagrams do not leave the link by themselves, for the group is one of the link; those of peers that are named may.
const HOPS: u32 = 255;

/// Sends from one address of an interface and by that alone, and hears what comes to it there.
///
/// # Errors
///
/// There is no such interface, it lacks the address, or the port is another program's.
pub fn at_address(index: u32, address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = new(index, address)?;
    match address {
        SocketAddr::V4(_) => {
            let any = Ipv4Addr::UNSPECIFIED;
            set_ip_multicast_if_with_ifindex(&socket, &any, &any, index)?;
            socket.set_multicast_ttl_v4(HOPS)?;
            socket.set_multicast_loop_v4(false)?;
        }
        SocketAddr::V6(_) => {
            socket.set_multicast_if_v6(index)?;
            socket.set_multicast_hops_v6(HOPS)?;
            socket.set_multicast_loop_v6(false)?;
        }
    }
    bind(socket, index, address)
}

/// Hears a group on one interface, and nothing else.
///
/// # Errors
///
/// There is no such interface, it lacks the family, or the port is another program's.
pub fn of_group(index: u32, group: SocketAddr) -> io::Result<UdpSocket> {
    let socket = new(index, group)?;
    match group.ip() {
        IpAddr::V4(group) => socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))?,
        IpAddr::V6(group) => socket.join_multicast_v6(&group, index)?,
    }
    bind(socket, index, group)
}

fn new(index: u32, address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Virtual routers of one interface that send from other addresses hear the same group; and one that is closed may go later
    // than the next comes.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // By its name, as kernels before 5.0 want it.
    let name = index_to_name(&socket, index)?;
    socket.bind_device(Some(name.as_bytes()))?;
    Ok(socket)
}

fn bind(socket: Socket, index: u32, address: SocketAddr) -> io::Result<UdpSocket> {
    let address = match address {
        // The scope of link-local addresses and groups.
        SocketAddr::V6(of) => SocketAddrV6::new(*of.ip(), of.port(), 0, index).into(),
        SocketAddr::V4(_) => address,
    };
    socket.bind(&address.into())?;
    Ok(socket.into())
}
