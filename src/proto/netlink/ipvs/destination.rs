//! Destinations: where a service sends connections.
use std::net::SocketAddr;

use super::super::FormatError;
use super::super::attributes::{put_nested, put_u16, put_u32};
use super::super::generic::{Command, Family};
use super::super::message::{DUMP, Request};
use super::statistics::Found;
use super::{AddressFamily, DESTINATION, ServiceKey, Statistics, port, put_socket_address, subject};

const NEW: u8 = 5;
const SET: u8 = 6;
const DELETE: u8 = 7;
const GET: u8 = 8;

const ADDRESS: u16 = 1;
const PORT: u16 = 2;
const METHOD: u16 = 3;
const WEIGHT: u16 = 4;
const UPPER_THRESHOLD: u16 = 5;
const LOWER_THRESHOLD: u16 = 6;
const ACTIVE: u16 = 7;
const INACTIVE: u16 = 8;
const PERSISTENT: u16 = 9;
const STATISTICS: u16 = 10;
const FAMILY: u16 = 11;
const WIDE_STATISTICS: u16 = 12;

const PART: &str = "a destination";

/// The bits of the method that say how packets are sent; others say more of a tunnel.
const METHOD_MASK: u32 = 7;

/// How packets reach a destination (ipvsadm(8)).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ForwardingMethod {
    /// With the destination's address in the place of the service's, and back through the balancer.
    Masquerade,
    /// It is this host.
    Local,
    /// In packets of their own.
    Tunnel,
    /// As they are, in frames to the destination; the answer goes to the client by its own way.
    DirectRoute,
    /// To where they were going; of the kernel's own making.
    Bypass,
}

/// What a destination is to be. Its family may be another one than that of the service with a tunnel, since Linux 3.18, and while no
/// [`Daemon`](super::Daemon) runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Destination {
    /// Where it is. With a [mark](ServiceKey::Mark) the port is 0 for that of the packet, and with Direct Routing it is that of the
    /// service in any case.
    pub address: SocketAddr,
    /// How packets get there.
    pub method: ForwardingMethod,
    /// Its share, at most `i32::MAX`. With 0 it gets no new connection, but for those of clients that it is remembered for.
    pub weight: u32,
    /// Connections, active and inactive, at which it gets no new ones; 0 for no limit.
    pub upper_threshold: u32,
    /// Connections below which it gets new ones again; 0 for three quarters of the upper one.
    pub lower_threshold: u32,
}

/// One as the kernel describes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListedDestination {
    /// What it is.
    pub destination: Destination,
    /// Connections that are established.
    pub active: u32,
    /// Connections that are not, or not any more: some seconds or minutes of each.
    pub inactive: u32,
    /// Clients that it is remembered for.
    pub persistent: u32,
    /// What has gone there.
    pub statistics: Statistics,
}

impl ForwardingMethod {
    const fn number(self) -> u32 {
        match self {
            Self::Masquerade => 0,
            Self::Local => 1,
            Self::Tunnel => 2,
            Self::DirectRoute => 3,
            Self::Bypass => 4,
        }
    }

    const fn from_number(number: u32) -> Result<Self, FormatError> {
        Ok(match number & METHOD_MASK {
            0 => Self::Masquerade,
            1 => Self::Local,
            2 => Self::Tunnel,
            3 => Self::DirectRoute,
            4 => Self::Bypass,
            _ => return Err(FormatError::Value("the forwarding method of a destination")),
        })
    }
}

impl Destination {
    /// Of the data of a message that tells of one, by the kernel or to it; nothing if it tells of something else.
    ///
    /// # Errors
    ///
    /// See [`FormatError`].
    pub fn read(data: &[u8], family: AddressFamily) -> Result<Option<Self>, FormatError> {
        let parts = Parts::read(data, family)?;
        parts.map(|parts| parts.destination()).transpose()
    }

    fn put(&self, body: &mut Vec<u8>) {
        put_nested(body, DESTINATION, |body| {
            put_address(body, self.address);
            put_u32(body, METHOD, self.method.number());
            put_u32(body, WEIGHT, self.weight);
            put_u32(body, UPPER_THRESHOLD, self.upper_threshold);
            put_u32(body, LOWER_THRESHOLD, self.lower_threshold);
        });
    }
}

impl ListedDestination {
    /// Of the data of an answer to [`dump_destinations`]; nothing if it tells of something else. Kernels before 3.18 do not say of
    /// which family a destination is: it is that of the service.
    ///
    /// # Errors
    ///
    /// See [`FormatError`].
    pub fn read(data: &[u8], family: AddressFamily) -> Result<Option<Self>, FormatError> {
        let Some(parts) = Parts::read(data, family)? else { return Ok(None) };
        Ok(Some(Self {
            destination: parts.destination()?,
            active: parts.active.ok_or(FormatError::Missing("the active connections of a destination"))?,
            inactive: parts
                .inactive
                .ok_or(FormatError::Missing("the inactive connections of a destination"))?,
            persistent: parts.persistent.ok_or(FormatError::Missing("the clients of a destination"))?,
            statistics: parts.statistics.statistics("what has gone to a destination")?,
        }))
    }
}

/// Adds one; EEXIST if the service has it, ESRCH if there is no such service.
#[must_use]
pub fn add_destination(family: Family, key: &ServiceKey, destination: &Destination) -> Request {
    with(family, NEW, key, |body| destination.put(body))
}

/// Makes it what is said, and its connections stay; ENOENT if the service does not have it, ESRCH if there is no such service.
#[must_use]
pub fn edit_destination(family: Family, key: &ServiceKey, destination: &Destination) -> Request {
    with(family, SET, key, |body| destination.put(body))
}

/// Takes one away, and what its connections send is thrown away; ENOENT if the service does not have it, ESRCH if there is no such
/// service.
#[must_use]
pub fn remove_destination(family: Family, key: &ServiceKey, address: SocketAddr) -> Request {
    with(family, DELETE, key, |body| {
        put_nested(body, DESTINATION, |body| put_address(body, address));
    })
}

/// All of a service; none if there is no such service.
#[must_use]
pub fn dump_destinations(family: Family, key: &ServiceKey) -> Request {
    family.request(GET, DUMP, |body| key.put(body))
}

fn with(family: Family, command: u8, key: &ServiceKey, write: impl FnOnce(&mut Vec<u8>)) -> Request {
    family.request(command, 0, |body| {
        key.put(body);
        write(body);
    })
}

fn put_address(body: &mut Vec<u8>, address: SocketAddr) {
    // Kernels that do not know of it skip it.
    put_u16(body, FAMILY, AddressFamily::of(address.ip()).number());
    put_socket_address(body, [ADDRESS, PORT], address);
}

/// What attributes have said.
#[derive(Default)]
struct Parts<'b> {
    address: Option<&'b [u8]>,
    port: Option<u16>,
    family: Option<AddressFamily>,
    method: Option<u32>,
    weight: Option<u32>,
    upper_threshold: Option<u32>,
    lower_threshold: Option<u32>,
    active: Option<u32>,
    inactive: Option<u32>,
    persistent: Option<u32>,
    statistics: Found,
}

impl<'b> Parts<'b> {
    fn read(data: &'b [u8], family: AddressFamily) -> Result<Option<Self>, FormatError> {
        let command = Command::read(data)?;
        if ![NEW, SET].contains(&command.number) {
            return Ok(None);
        }
        let mut parts = Self { family: Some(family), ..Self::default() };
        for attribute in subject(command, DESTINATION, PART)? {
            let attribute = attribute?;
            match attribute.kind {
                ADDRESS => parts.address = Some(attribute.value),
                PORT => parts.port = Some(port(&attribute)?),
                FAMILY => {
                    let part = "the family of a destination";
                    parts.family = Some(AddressFamily::from_number(attribute.u16()?, part)?);
                }
                METHOD => parts.method = Some(attribute.u32()?),
                WEIGHT => parts.weight = Some(attribute.u32()?),
                UPPER_THRESHOLD => parts.upper_threshold = Some(attribute.u32()?),
                LOWER_THRESHOLD => parts.lower_threshold = Some(attribute.u32()?),
                ACTIVE => parts.active = Some(attribute.u32()?),
                INACTIVE => parts.inactive = Some(attribute.u32()?),
                PERSISTENT => parts.persistent = Some(attribute.u32()?),
                STATISTICS => parts.statistics.read_narrow(&attribute)?,
                WIDE_STATISTICS => parts.statistics.read_wide(&attribute)?,
                _ => {}
            }
        }
        Ok(Some(parts))
    }

    fn destination(&self) -> Result<Destination, FormatError> {
        let address = self.address.ok_or(FormatError::Missing("the address of a destination"))?;
        let family = self.family.ok_or(FormatError::Missing("the family of a destination"))?;
        let address = family.address(address, "the address of a destination")?;
        let port = self.port.ok_or(FormatError::Missing("the port of a destination"))?;
        let method = self.method.ok_or(FormatError::Missing("the forwarding method of a destination"))?;
        Ok(Destination {
            address: SocketAddr::new(address, port),
            method: ForwardingMethod::from_number(method)?,
            weight: self.weight.ok_or(FormatError::Missing("the weight of a destination"))?,
            upper_threshold: self
                .upper_threshold
                .ok_or(FormatError::Missing("the upper threshold of a destination"))?,
            lower_threshold: self
                .lower_threshold
                .ok_or(FormatError::Missing("the lower threshold of a destination"))?,
        })
    }
}
