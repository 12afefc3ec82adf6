//! The kernel and what `sys` asks of it for the virtual address: between machines of a lab, each with a network of its own.

mod addresses;
mod adverts;
mod events;
mod neighbours;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use gridfront::proto::netlink::address::Assignment;
use gridfront::proto::netlink::link::Macvlan;
use gridfront::sys::netlink::Route;
use gridfront::sys::sysctl;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::support::netns::{Lab, Machine};
use crate::support::{deadline, skip};

/// For anything that a kernel does at once.
const SOON: Duration = Duration::from_secs(10);

/// The MAC address of virtual router 51 (RFC 9568 section 7.3).
const VIRTUAL_MAC: [u8; 6] = [0, 0, 0x5e, 0, 1, 51];

/// Two machines, or nothing where there can be none.
fn lab(what: &str) -> Option<Lab> {
    skip::unless_present(what, &["ip"]).then(|| Lab::new(&[("one", 11), ("two", 12)]))
}

fn route(machine: &Machine) -> Route {
    machine.enter(|| Route::open().unwrap())
}

fn index(route: &mut Route, name: &str) -> u32 {
    route.link_named(name).unwrap().unwrap_or_else(|| panic!("no link {name}")).index
}

fn assignment(index: u32, address: &str, seconds: Option<u32>) -> Assignment {
    let address: IpAddr = address.parse().unwrap();
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    Assignment { index, address, prefix, lifetime: seconds.and_then(NonZeroU32::new), label: None }
}

/// A macvlan with the virtual MAC address on a machine's only interface, up.
fn add_macvlan(machine: &Machine, route: &mut Route) -> u32 {
    let parent = index(route, "eth0");
    let made = route.add_macvlan(&Macvlan { name: "vrrp.51", mac: VIRTUAL_MAC, parent }).unwrap();
    machine.enter(|| {
        for setting in sysctl::OF_A_VIRTUAL_MAC {
            sysctl::set("vrrp.51", setting).unwrap();
        }
        for setting in sysctl::OF_ITS_PARENT {
            sysctl::set("eth0", setting).unwrap();
        }
    });
    route.set_up(made).unwrap();
    made
}

/// Every frame that comes to a machine from now on.
struct Capture(Socket);

impl Capture {
    fn on(machine: &Machine) -> Self {
        // ETH_P_ALL, in the byte order of the network.
        let all = Protocol::from(i32::from(3_u16.to_be()));
        let socket = machine.enter(|| Socket::new(Domain::PACKET, Type::RAW, Some(all)).unwrap());
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    /// The first frame to which this is the destination and type.
    fn frame(&self, destination: [u8; 6], ethertype: u16) -> Vec<u8> {
        let wanted = [destination.as_slice(), &ethertype.to_be_bytes()];
        let found = deadline::until("a frame", SOON, || {
            let mut bytes = [0; 2048];
            loop {
                let received = rustix::net::recv(&self.0, &mut bytes, rustix::net::RecvFlags::DONTWAIT);
                let length = match received {
                    Ok((_, length)) => length,
                    Err(Errno::AGAIN) => return Err(format!("none to {destination:02x?}")),
                    Err(errno) => panic!("{errno}"),
                };
                if bytes[..6] == *wanted[0] && bytes[12..14] == *wanted[1] {
                    return Ok(bytes[..length].to_vec());
                }
            }
        });
        found.unwrap_or_else(|why| panic!("{why}"))
    }
}
