//! A socket for what balancers tell each other on one link.
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use rustix::net::netdevice::name_to_index;
use rustix::net::sockopt::set_ip_multicast_if_with_ifindex;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

/// Datagrams do not leave the link by themselves, for the group is one of the link; those of peers that are named may.
const HOPS: u32 = 255;

/// Hears a group and this host's own addresses, on one interface alone, and sends by that.
///
/// # Errors
///
/// There is no such interface, it lacks the family, or the port is another program's.
pub fn open(interface: &str, address: SocketAddr, group: IpAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Several virtual routers of one interface have a socket each.
    socket.set_reuse_address(true)?;
    let index = name_to_index(&socket, interface)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    match group {
        IpAddr::V4(group) => {
            let by_index = InterfaceIndexOrAddress::Index(index);
            socket.join_multicast_v4_n(&group, &by_index)?;
            let any = Ipv4Addr::UNSPECIFIED;
            set_ip_multicast_if_with_ifindex(&socket, &any, &any, index)?;
            socket.set_multicast_ttl_v4(HOPS)?;
            socket.set_multicast_loop_v4(false)?;
        }
        IpAddr::V6(group) => {
            socket.set_only_v6(true)?;
            socket.join_multicast_v6(&group, index)?;
            socket.set_multicast_if_v6(index)?;
            socket.set_multicast_hops_v6(HOPS)?;
            socket.set_multicast_loop_v6(false)?;
        }
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}
