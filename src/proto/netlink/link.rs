//! Links, that is interfaces (`RTM_NEWLINK` and its kin, rtnetlink(7)).
use super::attributes::{Attributes, put, put_nested, put_text, put_u32};
use super::message::{CREATE, DUMP, EXCLUSIVE, Request};
use super::{FormatError, u16_at, u32_at};

/// A link is there, or has changed.
pub const NEW: u16 = 16;
/// A link is gone.
pub const DELETED: u16 = 17;
const GET: u16 = 18;

/// Family, type of the device, index, flags, and which flags change.
const HEADER: usize = 16;
const PART: &str = "a link";

/// What links are as such; others tell what they are to a bridge or to IPv6.
const UNSPECIFIED: u8 = 0;
/// Types of devices: one with addresses of six bytes (`ARPHRD_ETHER`).
const ETHERNET: u16 = 1;

const UP: u32 = 1;
const RUNNING: u32 = 1 << 6;
const LOWER_UP: u32 = 1 << 16;

const MAC: u16 = 1;
const NAME: u16 = 3;
const MTU: u16 = 4;
const PARENT: u16 = 5;
const OPERATIONAL: u16 = 16;
const INFO: u16 = 18;
const FILTER: u16 = 29;
const CARRIER: u16 = 33;

const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;

const MACVLAN_MODE: u16 = 1;
/// What comes with the macvlan's own MAC address as its sender reaches the parent, too.
const BRIDGE: u32 = 4;

/// In answers: without statistics, which are two thirds of their bytes.
const SKIP_STATISTICS: u32 = 1 << 3;

/// One as the kernel describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// By which everything else knows it. A link that is made anew has another one.
    pub index: u32,
    /// Of at most 15 bytes.
    pub name: String,
    /// What is to be: an administrator has set it up.
    pub is_up: bool,
    /// What is: it is up and its carrier is there (`IFF_RUNNING`).
    pub is_running: bool,
    /// The device below has a carrier (`IFF_LOWER_UP`).
    pub is_lower_up: bool,
    /// RFC 2863 section 3.1.14, if told.
    pub operational: Option<OperationalState>,
    /// As the driver says, if told.
    pub carrier: Option<bool>,
    /// Its address, if it is Ethernet.
    pub mac: Option<[u8; 6]>,
    /// Bytes, if told.
    pub mtu: Option<u32>,
    /// `macvlan`, `vlan`, `veth`, `bridge` and so on; nothing for devices.
    pub kind: Option<String>,
    /// The index of the link that it stands on. That of a veth is its other end, maybe in another namespace, where the
    /// number is of that.
    pub parent: Option<u32>,
}

/// `ifOperStatus`, RFC 2863 section 3.1.14.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "the words of the RFC")]
pub enum OperationalState {
    /// Drivers that do not tell.
    Unknown,
    NotPresent,
    Down,
    LowerLayerDown,
    Testing,
    Dormant,
    Up,
}

/// A link of its own MAC address on top of another: what RFC 9568 section 7.3 asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Macvlan<'n> {
    /// At most 15 bytes, without `/` and white space.
    pub name: &'n str,
    /// What is to be its address.
    pub mac: [u8; 6],
    /// The index of the link that carries it.
    pub parent: u32,
}

impl Link {
    /// Of the data of [`NEW`] or [`DELETED`]; nothing where they tell what a link is to a bridge, whose `DELETED` means
    /// that it left the bridge.
    ///
    /// # Errors
    ///
    /// See [`FormatError`].
    pub fn read(data: &[u8]) -> Result<Option<Self>, FormatError> {
        let (Some(&family), Some(attributes)) = (data.first(), data.get(HEADER..)) else {
            return Err(FormatError::Truncated(PART));
        };
        if family != UNSPECIFIED {
            return Ok(None);
        }
        let is_ethernet = u16_at(data, 2, PART)? == ETHERNET;
        let flags = u32_at(data, 8, PART)?;
        let mut link = Self {
            index: u32_at(data, 4, PART)?,
            name: String::new(),
            is_up: flags & UP != 0,
            is_running: flags & RUNNING != 0,
            is_lower_up: flags & LOWER_UP != 0,
            operational: None,
            carrier: None,
            mac: None,
            mtu: None,
            kind: None,
            parent: None,
        };
        for attribute in Attributes::new(attributes) {
            let attribute = attribute?;
            match attribute.kind {
                NAME => link.name = attribute.text(),
                MAC if is_ethernet => link.mac = Some(attribute.array()?),
                MTU => link.mtu = Some(attribute.u32()?),
                PARENT => link.parent = Some(attribute.u32()?).filter(|&parent| parent != 0),
                OPERATIONAL => link.operational = Some(OperationalState::of(attribute.u8()?)),
                CARRIER => link.carrier = Some(attribute.u8()? != 0),
                INFO => link.kind = attribute.nested().find(INFO_KIND)?.map(|kind| kind.text()),
                _ => {}
            }
        }
        Ok(Some(link))
    }
}

impl OperationalState {
    /// Numbers that are not known yet tell nothing.
    const fn of(number: u8) -> Self {
        match number {
            1 => Self::NotPresent,
            2 => Self::Down,
            3 => Self::LowerLayerDown,
            4 => Self::Testing,
            5 => Self::Dormant,
            6 => Self::Up,
            _ => Self::Unknown,
        }
    }
}

/// All links.
#[must_use]
pub fn dump() -> Request {
    let mut body = header(0, 0, 0);
    put_u32(&mut body, FILTER, SKIP_STATISTICS);
    Request::new(GET, DUMP, body)
}

/// The link of this name; answered with a [`Link`], or refused with ENODEV.
#[must_use]
pub fn named(name: &str) -> Request {
    let mut body = header(0, 0, 0);
    put_u32(&mut body, FILTER, SKIP_STATISTICS);
    put_text(&mut body, NAME, name);
    Request::new(GET, 0, body)
}

/// Makes a macvlan, which is down at first. EEXIST if there is a link of its name.
///
/// Its mode is `bridge`: what the master sends comes from the MAC address that the macvlan of every backup has. In mode
/// `private` the macvlan alone would get that, and drop it while it has no address, where rp_filter is on.
#[must_use]
pub fn add_macvlan(macvlan: &Macvlan<'_>) -> Request {
    let mut body = header(0, 0, 0);
    put_text(&mut body, NAME, macvlan.name);
    put_u32(&mut body, PARENT, macvlan.parent);
    put(&mut body, MAC, &macvlan.mac);
    put_nested(&mut body, INFO, |info| {
        put(info, INFO_KIND, b"macvlan");
        put_nested(info, INFO_DATA, |data| put_u32(data, MACVLAN_MODE, BRIDGE));
    });
    Request::new(NEW, CREATE | EXCLUSIVE, body)
}

/// Sets a link up.
#[must_use]
pub fn set_up(index: u32) -> Request {
    Request::new(NEW, 0, header(index, UP, UP))
}

/// Deletes a link that was made; ENODEV if there is none, EOPNOTSUPP for a device.
#[must_use]
pub fn delete(index: u32) -> Request {
    Request::new(DELETED, 0, header(index, 0, 0))
}

fn header(index: u32, flags: u32, changed: u32) -> Vec<u8> {
    let mut bytes = vec![UNSPECIFIED, 0, 0, 0];
    for number in [index, flags, changed] {
        bytes.extend_from_slice(&number.to_ne_bytes());
    }
    bytes
}
