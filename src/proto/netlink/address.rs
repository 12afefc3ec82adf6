//! Addresses of links (`RTM_NEWADDR` and its kin, rtnetlink(7)).
use std::net::IpAddr;
use std::num::NonZeroU32;

use super::attributes::{Attributes, put, put_address, put_text, put_u32};
use super::message::{CREATE, DUMP, REPLACE, Request};
use super::{FormatError, u32_at};

/// An address is there, or has changed.
pub const NEW: u16 = 20;
/// An address is gone.
pub const DELETED: u16 = 21;
const GET: u16 = 22;

/// Family, length of the prefix, the lower eight flags, scope, and index of the link.
const HEADER: usize = 8;
const PART: &str = "an address";

const INET: u8 = 2;
const INET6: u8 = 10;

/// Of the network, or with IPv4 of the other end of a point-to-point link.
const ADDRESS: u16 = 1;
/// The host's own, where that is another one.
const LOCAL: u16 = 2;
const LABEL: u16 = 3;
const LIFETIMES: u16 = 6;
const FLAGS: u16 = 8;

const NO_DETECTION: u32 = 0x02;
const DETECTION_FAILED: u32 = 0x08;
const DEPRECATED: u32 = 0x20;
const TENTATIVE: u32 = 0x40;
const NO_PREFIX_ROUTE: u32 = 0x200;

/// Of a lifetime, in place of seconds.
const FOR_EVER: u32 = u32::MAX;

/// How far an address is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Everywhere.
    Global,
    /// Within a site, which nobody uses any more.
    Site,
    /// On the link.
    Link,
    /// On the host.
    Host,
    /// By the administrator's own number.
    Other(u8),
}

/// How long something holds from now on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lifetime {
    /// Until it is taken away.
    Endless,
    /// Seconds.
    Seconds(u32),
}

/// One as the kernel describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// Of the link that has it.
    pub index: u32,
    /// The host's own.
    pub address: IpAddr,
    /// Length of the prefix.
    pub prefix: u8,
    /// How far it is known.
    pub scope: Scope,
    /// When the kernel takes it away.
    pub valid: Lifetime,
    /// Until when it is taken as a source by those who name none; of addresses of IPv6.
    pub preferred: Lifetime,
    /// Not usable yet: nobody else may have it, which is being found out (RFC 4862 section 5.4).
    pub is_tentative: bool,
    /// Not usable: somebody else has it.
    pub is_duplicate: bool,
    /// It is not taken as a source.
    pub is_deprecated: bool,
    /// It came without a route to its network.
    pub is_without_prefix_route: bool,
    /// Of IPv4: the name of the link, or that with `:` and a word.
    pub label: Option<String>,
}

/// An address that a link is to have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Assignment {
    /// Of the link.
    pub index: u32,
    /// What the host is to answer to.
    pub address: IpAddr,
    /// Length of the prefix. With that of a single host (32 or 128) nothing is said of the network around; with any other
    /// the kernel makes the route to that network, as for every address of an interface.
    pub prefix: u8,
    /// Seconds until the kernel takes it away; otherwise it stays.
    pub lifetime: Option<NonZeroU32>,
    /// Of IPv4: the name of the link with `:` and a word, 15 bytes in all, for programs that look for it.
    pub label: Option<String>,
}

impl Address {
    /// Of the data of [`NEW`] or [`DELETED`]; nothing for families other than IPv4 and IPv6.
    ///
    /// # Errors
    ///
    /// See [`FormatError`].
    pub fn read(data: &[u8]) -> Result<Option<Self>, FormatError> {
        let (Some(&[family, prefix, flags, scope]), Some(attributes)) =
            (data.first_chunk(), data.get(HEADER..))
        else {
            return Err(FormatError::Truncated(PART));
        };
        if ![INET, INET6].contains(&family) {
            return Ok(None);
        }
        let (mut network, mut local, mut label) = (None, None, None);
        let (mut valid, mut preferred) = (Lifetime::Endless, Lifetime::Endless);
        let mut flags = u32::from(flags);
        for attribute in Attributes::new(attributes) {
            let attribute = attribute?;
            match attribute.kind {
                ADDRESS => network = Some(attribute.address()?),
                LOCAL => local = Some(attribute.address()?),
                LABEL => label = Some(attribute.text()),
                FLAGS => flags = attribute.u32()?,
                LIFETIMES => {
                    preferred = Lifetime::of(u32_at(attribute.value, 0, PART)?);
                    valid = Lifetime::of(u32_at(attribute.value, 4, PART)?);
                }
                _ => {}
            }
        }
        let address = local.or(network).ok_or(FormatError::Value(PART))?;
        if address.is_ipv4() != (family == INET) || prefix > host_prefix(address) {
            return Err(FormatError::Value(PART));
        }
        Ok(Some(Self {
            index: u32_at(data, 4, PART)?,
            address,
            prefix,
            scope: Scope::of(scope),
            valid,
            preferred,
            is_tentative: flags & TENTATIVE != 0,
            is_duplicate: flags & DETECTION_FAILED != 0,
            is_deprecated: flags & DEPRECATED != 0,
            is_without_prefix_route: flags & NO_PREFIX_ROUTE != 0,
            label,
        }))
    }
}

impl Scope {
    const fn of(number: u8) -> Self {
        match number {
            0 => Self::Global,
            200 => Self::Site,
            253 => Self::Link,
            254 => Self::Host,
            other => Self::Other(other),
        }
    }
}

impl Lifetime {
    const fn of(number: u32) -> Self {
        if number == FOR_EVER { Self::Endless } else { Self::Seconds(number) }
    }
}

/// All addresses of both families.
#[must_use]
pub fn dump() -> Request {
    Request::new(GET, DUMP, vec![0; HEADER])
}

/// Gives a link an address, or an address that it has already another lifetime.
///
/// With IPv6 it is usable at once, without duplicate address detection: the virtual address is meant to be at another
/// router a moment before (RFC 9568 section 6.4.2). And it is deprecated from the beginning: the router's own
/// connections begin at its own addresses, and outlive the change.
#[must_use]
pub fn assign(assignment: &Assignment) -> Request {
    let Assignment { index, address, prefix, lifetime, ref label } = *assignment;
    let is_host = prefix == host_prefix(address);
    let route = if is_host { NO_PREFIX_ROUTE } else { 0 };
    let valid = lifetime.map_or(FOR_EVER, NonZeroU32::get);
    let (flags, preferred) = match address {
        IpAddr::V4(_) => (route, valid),
        IpAddr::V6(_) => (route | NO_DETECTION, 0),
    };
    let mut body = header(index, address, prefix);
    put_address(&mut body, LOCAL, address);
    put_address(&mut body, ADDRESS, address);
    put_u32(&mut body, FLAGS, flags);
    if let Some(label) = label {
        put_text(&mut body, LABEL, label);
    }
    let mut lifetimes = [0; 16];
    lifetimes[..4].copy_from_slice(&preferred.to_ne_bytes());
    lifetimes[4..8].copy_from_slice(&valid.to_ne_bytes());
    put(&mut body, LIFETIMES, &lifetimes);
    Request::new(NEW, CREATE | REPLACE, body)
}

/// Takes an address away; EADDRNOTAVAIL if the link has none such with that prefix.
#[must_use]
pub fn remove(index: u32, address: IpAddr, prefix: u8) -> Request {
    let mut body = header(index, address, prefix);
    put_address(&mut body, LOCAL, address);
    put_address(&mut body, ADDRESS, address);
    Request::new(DELETED, 0, body)
}

/// The length of the prefix of a single host.
#[must_use]
pub const fn host_prefix(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// Its number (`AF_INET`, `AF_INET6`).
pub(super) const fn family_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => INET,
        IpAddr::V6(_) => INET6,
    }
}

fn header(index: u32, address: IpAddr, prefix: u8) -> Vec<u8> {
    let family = family_of(address);
    // The scope is that of the address for IPv6, and everywhere for IPv4.
    let mut bytes = vec![family, prefix, 0, 0];
    bytes.extend_from_slice(&index.to_ne_bytes());
    bytes
}
