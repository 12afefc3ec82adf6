//! Services: what clients connect to.
use std::net::SocketAddr;
use std::num::NonZeroU32;

use super::super::attributes::{put, put_nested, put_text, put_u16, put_u32};
use super::super::generic::{Command, Family};
use super::super::message::{DUMP, Request};
use super::super::{FormatError, u32_at};
use super::statistics::Found;
use super::{AddressFamily, SERVICE, Statistics, port, put_socket_address, subject};

const NEW: u8 = 1;
const SET: u8 = 2;
const DELETE: u8 = 3;
const GET: u8 = 4;

const FAMILY: u16 = 1;
const PROTOCOL: u16 = 2;
const ADDRESS: u16 = 3;
const PORT: u16 = 4;
const MARK: u16 = 5;
const SCHEDULER: u16 = 6;
const FLAGS: u16 = 7;
const TIMEOUT: u16 = 8;
const NETMASK: u16 = 9;
const STATISTICS: u16 = 10;
const ENGINE: u16 = 11;
const WIDE_STATISTICS: u16 = 12;

const PART: &str = "a service";

const TCP: u16 = 6;
const PERSISTENT: u32 = 1;
/// It is in the kernel's table, of which the kernel takes note here. It believes who says that of a new one, and does not enter it.
const HASHED: u32 = 2;

/// By which the kernel knows a service.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ServiceKey {
    /// A port of TCP; with port 0, which takes a persistent service, all that have none of their own.
    Tcp(SocketAddr),
    /// Packets of this family with this mark of the firewall, whatever their port.
    Mark {
        /// As the firewall sets it.
        mark: NonZeroU32,
        /// Of the packets.
        family: AddressFamily,
    },
}

/// What a service is to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// What clients connect to.
    pub key: ServiceKey,
    /// Its name, of at most 15 bytes, as ipvsadm(8) has it, such as `wlc`. The kernel refuses with ENOENT what it has no module for.
    pub scheduler: String,
    /// Whether clients come to the destination of their last connection.
    pub persistence: Option<Persistence>,
    /// The other bits of `IP_VS_SVC_F_…`, of which schedulers have some, but for what the kernel notes for itself.
    pub other_flags: u32,
    /// A persistence engine, which looks into packets for who a client is; of at most 15 bytes. Only `sip` was ever written.
    pub engine: Option<String>,
}

/// For whom and how long a destination is remembered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Persistence {
    /// Seconds after the last connection.
    pub timeout: u32,
    /// Clients who have this much of their address in common are one; 32 or 128 for each alone. With IPv6 not 0. A netmask with
    /// holes, which only others set, is read up to the first.
    pub prefix: u8,
}

/// One as the kernel describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedService {
    /// What it is.
    pub service: Service,
    /// What has gone through it.
    pub statistics: Statistics,
}

impl ServiceKey {
    /// That of its clients.
    #[must_use]
    pub const fn family(&self) -> AddressFamily {
        match self {
            Self::Tcp(address) => AddressFamily::of(address.ip()),
            Self::Mark { family, .. } => *family,
        }
    }

    /// Appends it as the attribute that a command is about.
    pub(super) fn put(&self, body: &mut Vec<u8>) {
        put_nested(body, SERVICE, |body| self.put_attributes(body));
    }

    fn put_attributes(&self, body: &mut Vec<u8>) {
        put_u16(body, FAMILY, self.family().number());
        match *self {
            Self::Tcp(address) => {
                put_u16(body, PROTOCOL, TCP);
                put_socket_address(body, [ADDRESS, PORT], address);
            }
            Self::Mark { mark, .. } => put_u32(body, MARK, mark.get()),
        }
    }
}

impl Service {
    /// Of the data of a message that tells of one, by the kernel or to it; nothing for protocols other than TCP, and if it tells of
    /// something else.
    ///
    /// # Errors
    ///
    /// See [`FormatError`].
    pub fn read(data: &[u8]) -> Result<Option<Self>, FormatError> {
        Ok(read(data)?.map(|(service, _)| service))
    }

    fn put(&self, body: &mut Vec<u8>) {
        put_nested(body, SERVICE, |body| {
            self.key.put_attributes(body);
            put_text(body, SCHEDULER, &self.scheduler);
            if let Some(engine) = &self.engine {
                put_text(body, ENGINE, engine);
            }
            let persistent = if self.persistence.is_some() { PERSISTENT } else { 0 };
            // The second number has the flags that are said: all, or those that it had would stay.
            let flags = [(self.other_flags & !(PERSISTENT | HASHED)) | persistent, u32::MAX];
            put(body, FLAGS, flags.map(u32::to_ne_bytes).as_flattened());
            put_u32(body, TIMEOUT, self.persistence.map_or(0, |persistence| persistence.timeout));
            let family = self.key.family();
            let prefix = self.persistence.map_or(family.bits(), |persistence| persistence.prefix);
            put(body, NETMASK, &family.netmask(prefix));
        });
    }
}

impl ListedService {
    /// Of the data of an answer to [`dump_services`]; nothing for protocols other than TCP, and if it tells of something else.
    ///
    /// # Errors
    ///
    /// See [`FormatError`].
    pub fn read(data: &[u8]) -> Result<Option<Self>, FormatError> {
        let Some((service, found)) = read(data)? else { return Ok(None) };
        let statistics = found.statistics("what has gone through a service")?;
        Ok(Some(Self { service, statistics }))
    }
}

impl AddressFamily {
    /// Of an address.
    const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// As IPVS has it: for IPv4 the mask in network byte order, for IPv6 the length of the prefix.
    fn netmask(self, prefix: u8) -> [u8; 4] {
        match self {
            Self::V4 => {
                let host_bits = u32::from(self.bits().saturating_sub(prefix));
                u32::MAX.checked_shl(host_bits).unwrap_or(0).to_be_bytes()
            }
            Self::V6 => u32::from(prefix).to_ne_bytes(),
        }
    }

    fn prefix(self, netmask: [u8; 4]) -> Result<u8, FormatError> {
        let prefix = match self {
            Self::V4 => u32::from_be_bytes(netmask).leading_ones(),
            Self::V6 => u32::from_ne_bytes(netmask),
        };
        let prefix = u8::try_from(prefix).ok().filter(|prefix| *prefix <= self.bits());
        prefix.ok_or(FormatError::Value("the netmask of a service"))
    }
}

/// Makes one; EEXIST if it is there.
#[must_use]
pub fn add_service(family: Family, service: &Service) -> Request {
    family.request(NEW, 0, |body| service.put(body))
}

/// Makes it what is said, with its destinations and its connections; ESRCH if it is not there.
#[must_use]
pub fn edit_service(family: Family, service: &Service) -> Request {
    family.request(SET, 0, |body| service.put(body))
}

/// Takes one away with its destinations, and its connections are reset; ESRCH if it is not there.
#[must_use]
pub fn remove_service(family: Family, key: &ServiceKey) -> Request {
    family.request(DELETE, 0, |body| key.put(body))
}

/// All of the network namespace.
#[must_use]
pub fn dump_services(family: Family) -> Request {
    family.request(GET, DUMP, |_| {})
}

fn read(data: &[u8]) -> Result<Option<(Service, Found)>, FormatError> {
    let command = Command::read(data)?;
    if ![NEW, SET].contains(&command.number) {
        return Ok(None);
    }
    let mut parts = Parts::default();
    for attribute in subject(command, SERVICE, PART)? {
        let attribute = attribute?;
        match attribute.kind {
            FAMILY => parts.family = Some(attribute.u16()?),
            PROTOCOL => parts.protocol = Some(attribute.u16()?),
            ADDRESS => parts.address = Some(attribute.value),
            PORT => parts.port = Some(port(&attribute)?),
            MARK => parts.mark = NonZeroU32::new(attribute.u32()?),
            SCHEDULER => parts.scheduler = Some(attribute.text()),
            ENGINE => parts.engine = Some(attribute.text()),
            FLAGS => parts.flags = Some(u32_at(attribute.value, 0, "the flags of a service")?),
            TIMEOUT => parts.timeout = Some(attribute.u32()?),
            NETMASK => parts.netmask = Some(attribute.array()?),
            STATISTICS => parts.statistics.read_narrow(&attribute)?,
            WIDE_STATISTICS => parts.statistics.read_wide(&attribute)?,
            _ => {}
        }
    }
    parts.join()
}

/// What attributes have said.
#[derive(Default)]
struct Parts<'b> {
    family: Option<u16>,
    protocol: Option<u16>,
    address: Option<&'b [u8]>,
    port: Option<u16>,
    mark: Option<NonZeroU32>,
    scheduler: Option<String>,
    engine: Option<String>,
    flags: Option<u32>,
    timeout: Option<u32>,
    netmask: Option<[u8; 4]>,
    statistics: Found,
}

impl Parts<'_> {
    fn join(self) -> Result<Option<(Service, Found)>, FormatError> {
        let Some(key) = self.key()? else { return Ok(None) };
        let flags = self.flags.ok_or(FormatError::Missing("the flags of a service"))?;
        let timeout = self.timeout.ok_or(FormatError::Missing("the timeout of a service"))?;
        let netmask = self.netmask.ok_or(FormatError::Missing("the netmask of a service"))?;
        let prefix = key.family().prefix(netmask)?;
        let service = Service {
            key,
            scheduler: self.scheduler.ok_or(FormatError::Missing("the scheduler of a service"))?,
            persistence: (flags & PERSISTENT != 0).then_some(Persistence { timeout, prefix }),
            other_flags: flags & !(PERSISTENT | HASHED),
            engine: self.engine.filter(|engine| !engine.is_empty()),
        };
        Ok(Some((service, self.statistics)))
    }

    fn key(&self) -> Result<Option<ServiceKey>, FormatError> {
        let family = self.family.ok_or(FormatError::Missing("the family of a service"))?;
        let family = AddressFamily::from_number(family, "the family of a service")?;
        if let Some(mark) = self.mark {
            return Ok(Some(ServiceKey::Mark { mark, family }));
        }
        if self.protocol.ok_or(FormatError::Missing("the protocol of a service"))? != TCP {
            return Ok(None);
        }
        let address = self.address.ok_or(FormatError::Missing("the address of a service"))?;
        let address = family.address(address, "the address of a service")?;
        let port = self.port.ok_or(FormatError::Missing("the port of a service"))?;
        Ok(Some(ServiceKey::Tcp(SocketAddr::new(address, port))))
    }
}
