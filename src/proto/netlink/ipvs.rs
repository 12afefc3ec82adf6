//! IPVS, the kernel's balancer for connections (linux/ip_vs.h, ipvsadm(8)): its family of [generic netlink](super::generic).
//!
//! ```text
//!   Service (ServiceKey) ──has── Destination, Destination …          one table for each network namespace
//!   Daemon: tells the connections of the table to another host, or takes them from there
//! ```
//!
//! Nothing here empties the whole table: others may have services in it, too.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::FormatError;
use super::attributes::{Attribute, Attributes, put};
use super::generic::{Command, Family};
use super::message::Request;

mod daemon;
mod destination;
mod service;
mod statistics;

pub use daemon::{Daemon, DaemonRole, dump_daemons, start_daemon, stop_daemon};
pub use destination::{
    Destination, ForwardingMethod, ListedDestination, add_destination, dump_destinations, edit_destination,
    remove_destination,
};
pub use service::{
    ListedService, Persistence, Service, ServiceKey, add_service, dump_services, edit_service, remove_service,
};
pub use statistics::Statistics;

/// By which the family is asked for.
pub const FAMILY: &str = "IPVS";

const TELL_INFO: u8 = 14;
const GET_INFO: u8 = 15;

/// Attributes of commands.
const SERVICE: u16 = 1;
const DESTINATION: u16 = 2;
const DAEMON: u16 = 3;

const INFO_VERSION: u16 = 1;
const INFO_TABLE: u16 = 2;

const INET: u16 = 2;
const INET6: u16 = 10;

/// Addresses are in as many bytes as the longest has.
const ADDRESS: usize = 16;

/// Which addresses.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AddressFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What the kernel says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Info {
    /// Major, minor and patch level; 1.2.1 since Linux 2.6.
    pub version: [u8; 3],
    /// Buckets of the table of connections, which limits nothing but speed.
    pub table_size: u32,
}

/// Asks for [`Info`].
#[must_use]
pub fn info(family: Family) -> Request {
    family.request(GET_INFO, 0, |_| {})
}

impl Info {
    /// Of the data of the answer; nothing if it tells of something else.
    ///
    /// # Errors
    ///
    /// See [`FormatError`].
    pub fn read(data: &[u8]) -> Result<Option<Self>, FormatError> {
        let command = Command::read(data)?;
        if command.number != TELL_INFO {
            return Ok(None);
        }
        let (mut version, mut table_size) = (None, None);
        for attribute in Attributes::new(command.attributes) {
            let attribute = attribute?;
            match attribute.kind {
                INFO_VERSION => version = Some(attribute.u32()?),
                INFO_TABLE => table_size = Some(attribute.u32()?),
                _ => {}
            }
        }
        let [_, version @ ..] = version.ok_or(FormatError::Missing("the version of IPVS"))?.to_be_bytes();
        let table_size = table_size.ok_or(FormatError::Missing("the size of the table of IPVS"))?;
        Ok(Some(Self { version, table_size }))
    }
}

impl AddressFamily {
    /// That of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    const fn number(self) -> u16 {
        match self {
            Self::V4 => INET,
            Self::V6 => INET6,
        }
    }

    const fn from_number(number: u16, part: &'static str) -> Result<Self, FormatError> {
        match number {
            INET => Ok(Self::V4),
            INET6 => Ok(Self::V6),
            _ => Err(FormatError::Value(part)),
        }
    }

    /// The one of this family that stands in bytes which may be more than it has.
    fn address(self, bytes: &[u8], part: &'static str) -> Result<IpAddr, FormatError> {
        let address = match self {
            Self::V4 => bytes.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into()),
            Self::V6 => bytes.first_chunk::<ADDRESS>().map(|octets| Ipv6Addr::from(*octets).into()),
        };
        address.ok_or(FormatError::Truncated(part))
    }
}

/// Appends the address and the port of something as two attributes.
fn put_socket_address(bytes: &mut Vec<u8>, [address_kind, port_kind]: [u16; 2], address: SocketAddr) {
    let mut octets = [0; ADDRESS];
    match address.ip() {
        IpAddr::V4(address) => octets[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => octets = address.octets(),
    }
    put(bytes, address_kind, &octets);
    put(bytes, port_kind, &address.port().to_be_bytes());
}

/// A number in network byte order.
fn port(attribute: &Attribute<'_>) -> Result<u16, FormatError> {
    attribute.array().map(u16::from_be_bytes)
}

/// The attributes of what a command is about.
fn subject<'b>(command: Command<'b>, kind: u16, part: &'static str) -> Result<Attributes<'b>, FormatError> {
    let found = Attributes::new(command.attributes).find(kind)?;
    found.map(|attribute| attribute.nested()).ok_or(FormatError::Missing(part))
}
