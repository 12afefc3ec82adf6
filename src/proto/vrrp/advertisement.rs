//! Advertisements as bytes: RFC 9568 section 5.2 (version 3), RFC 3768 section 5.3 (version 2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::{IP_PROTOCOL, MAX_ADDRESSES, Password, Priority, Version, VirtualRouterId};
use crate::proto::ndp::{checksum_of, sum_of_pseudo_header};

/// The fixed part, in bytes, of both versions.
const HEADER: usize = 8;

/// The only type there is, in the lower half of the first byte.
const ADVERTISEMENT: u8 = 1;

/// Where the checksum stands.
const CHECKSUM: std::ops::Range<usize> = 6..8;

/// The unit of version 3's interval.
const CENTISECOND: Duration = Duration::from_millis(10);

/// The largest number in the 12 bits of version 3's interval.
const MAX_CENTISECONDS: u16 = 0x0fff;

/// Authentication types of version 2 (RFC 2338 section 5.3.6).
const NO_AUTHENTICATION: u8 = 0;
const SIMPLE_PASSWORD: u8 = 1;

/// What the checksum of version 3 over IPv4 is made of. RFC 5798 has been read in both ways; implementations differ, and
/// most take one form only. Received, either is good.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ChecksumForm {
    /// The IPv4 pseudo-header and the advertisement: keepalived, and the packet analysers.
    #[default]
    PseudoHeader,
    /// The advertisement alone (RFC 9568 section 5.2.8).
    Rfc9568,
}

/// What a master says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Advertisement {
    /// The version.
    pub version: Version,
    /// Which virtual router it is about.
    pub virtual_router_id: VirtualRouterId,
    /// The sender's, or [`Priority::RELEASE`].
    pub priority: Priority,
    /// How often the sender advertises. On the wire it has whole seconds up to 255 (version 2), or centiseconds up to
    /// 4095 (version 3): see [`Self::announced`].
    pub interval: Duration,
    /// The virtual addresses, at most [`MAX_ADDRESSES`], of the family that carries the advertisement. Over IPv6 the
    /// first is link-local (RFC 9568 section 5.2.9).
    pub addresses: Vec<IpAddr>,
    /// Version 2 only.
    pub password: Option<Password>,
}

/// Why bytes are no advertisement.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MalformedAdvertisement {
    /// Shorter than the fixed part.
    #[error("it has {0} bytes, fewer than the 8 of its fixed part")]
    Truncated(usize),
    /// Neither 2 nor 3, or 2 over IPv6.
    #[error("version {0} is neither 3 nor, over IPv4, 2")]
    Version(u8),
    /// Not an advertisement.
    #[error("type {0} is not 1, an advertisement")]
    Type(u8),
    /// The number of addresses is for another length.
    #[error("it has {found} bytes, and by its number of addresses {expected}")]
    Length {
        /// By its number of addresses.
        expected: usize,
        /// In fact.
        found: usize,
    },
    /// Damaged, or of a sender that makes the checksum in another way.
    #[error("its checksum is wrong")]
    Checksum,
    /// Virtual routers begin at 1.
    #[error("virtual router id 0 does not exist")]
    VirtualRouterId,
    /// Nothing is advertised.
    #[error("it has no addresses")]
    NoAddresses,
    /// Whoever believed it would be master at once.
    #[error("its interval is 0")]
    NoInterval,
    /// Neither none nor a simple password.
    #[error("authentication type {0} is neither 0 (none) nor 1 (a simple password)")]
    Authentication(u8),
}

impl MalformedAdvertisement {
    /// One word, for a metric.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Truncated(_) => "truncated",
            Self::Version(_) => "version",
            Self::Type(_) => "type",
            Self::Length { .. } => "length",
            Self::Checksum => "checksum",
            Self::VirtualRouterId => "virtual_router_id",
            Self::NoAddresses => "address_list",
            Self::NoInterval => "interval",
            Self::Authentication(_) => "authentication",
        }
    }
}

impl Advertisement {
    /// Reads what an IP packet carries, with the checks of RFC 9568 section 7.1 that the bytes allow. The addresses are
    /// those of the IP header.
    ///
    /// # Errors
    ///
    /// See [`MalformedAdvertisement`].
    pub fn parse(
        payload: &[u8],
        source: IpAddr,
        destination: IpAddr,
    ) -> Result<Self, MalformedAdvertisement> {
        let (fixed, rest) =
            payload.split_first_chunk::<HEADER>().ok_or(MalformedAdvertisement::Truncated(payload.len()))?;
        let version = match fixed[0] >> 4 {
            2 if source.is_ipv4() => Version::V2,
            3 => Version::V3,
            other => return Err(MalformedAdvertisement::Version(other)),
        };
        if fixed[0] & 0x0f != ADVERTISEMENT {
            return Err(MalformedAdvertisement::Type(fixed[0] & 0x0f));
        }
        let count = usize::from(fixed[3]);
        let length = length_of_addresses(source, count);
        let expected = HEADER + length + trailer(version);
        if payload.len() != expected {
            return Err(MalformedAdvertisement::Length { expected, found: payload.len() });
        }
        if !is_intact(payload, version, source, destination) {
            return Err(MalformedAdvertisement::Checksum);
        }
        let virtual_router_id =
            VirtualRouterId::new(fixed[1]).ok_or(MalformedAdvertisement::VirtualRouterId)?;
        // RFC 9568 section 5.2.5 as erratum 8299 has it; in version 2 keepalived may leave out what is on other lists.
        if count == 0 && version == Version::V3 {
            return Err(MalformedAdvertisement::NoAddresses);
        }
        let (addresses, trailer) = rest.split_at(length);
        let (interval, password) = match version {
            Version::V2 => (Duration::from_secs(fixed[5].into()), password(fixed[4], trailer)?),
            Version::V3 => {
                (CENTISECOND * u32::from(u16::from_be_bytes([fixed[4], fixed[5]]) & MAX_CENTISECONDS), None)
            }
        };
        if interval.is_zero() {
            return Err(MalformedAdvertisement::NoInterval);
        }
        Ok(Self {
            version,
            virtual_router_id,
            priority: Priority(fixed[2]),
            interval,
            addresses: read_addresses(source, addresses),
            password,
        })
    }

    /// The bytes behind the IP header, whose addresses these are. Addresses of the other family, and those beyond
    /// [`MAX_ADDRESSES`], have no place and are left out. `checksum` counts for version 3 over IPv4; the others have one
    /// form.
    #[must_use]
    pub fn encode(&self, checksum: ChecksumForm, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let fitting = self.addresses.iter().filter(|address| address.is_ipv4() == source.is_ipv4());
        let addresses: Vec<IpAddr> = fitting.take(MAX_ADDRESSES).copied().collect();
        debug_assert_eq!(addresses.len(), self.addresses.len());
        let count = u8::try_from(addresses.len()).unwrap_or(u8::MAX);
        let (id, priority) = (self.virtual_router_id.get(), self.priority.get());
        let mut bytes = vec![self.version.number() << 4 | ADVERTISEMENT, id, priority, count];
        match self.version {
            Version::V2 => {
                let kind = if self.password.is_some() { SIMPLE_PASSWORD } else { NO_AUTHENTICATION };
                let seconds = Self::announced(Version::V2, self.interval).as_secs();
                bytes.extend([kind, u8::try_from(seconds).unwrap_or(u8::MAX)]);
            }
            Version::V3 => bytes.extend(centiseconds(self.interval).to_be_bytes()),
        }
        bytes.extend([0, 0]);
        for address in addresses {
            match address {
                IpAddr::V4(address) => bytes.extend(address.octets()),
                IpAddr::V6(address) => bytes.extend(address.octets()),
            }
        }
        if self.version == Version::V2 {
            bytes.extend(self.password.map_or([0; Password::LENGTH], |password| password.0));
        }
        let with_pseudo_header = match self.version {
            Version::V2 => false,
            Version::V3 => source.is_ipv6() || checksum == ChecksumForm::PseudoHeader,
        };
        let start =
            if with_pseudo_header { pseudo_header(source, destination, bytes.len()) } else { Some(0) };
        let sum = checksum_of(start.unwrap_or_default(), &bytes);
        bytes[CHECKSUM].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// The interval that others read when a router advertises this often. It is rounded up, for a backup that expects
    /// advertisements sooner than they come would take over: below 10 ms it is 10 ms.
    #[must_use]
    pub fn announced(version: Version, interval: Duration) -> Duration {
        match version {
            Version::V2 => {
                let seconds = interval.as_secs() + u64::from(interval.subsec_nanos() > 0);
                Duration::from_secs(seconds.clamp(1, u8::MAX.into()))
            }
            Version::V3 => CENTISECOND * u32::from(centiseconds(interval)),
        }
    }
}

fn centiseconds(interval: Duration) -> u16 {
    let rounded_up = interval.as_nanos().div_ceil(CENTISECOND.as_nanos());
    u16::try_from(rounded_up).unwrap_or(u16::MAX).clamp(1, MAX_CENTISECONDS)
}

fn length_of_addresses(source: IpAddr, count: usize) -> usize {
    count * if source.is_ipv4() { size_of::<Ipv4Addr>() } else { size_of::<Ipv6Addr>() }
}

/// Version 2 ends with authentication data, of whatever type.
fn trailer(version: Version) -> usize {
    match version {
        Version::V2 => Password::LENGTH,
        Version::V3 => 0,
    }
}

fn read_addresses(source: IpAddr, bytes: &[u8]) -> Vec<IpAddr> {
    if source.is_ipv4() {
        bytes.as_chunks::<4>().0.iter().map(|octets| IpAddr::from(*octets)).collect()
    } else {
        bytes.as_chunks::<16>().0.iter().map(|octets| IpAddr::from(*octets)).collect()
    }
}

/// RFC 3768 section 5.3.10: without authentication what stands there is ignored.
fn password(kind: u8, trailer: &[u8]) -> Result<Option<Password>, MalformedAdvertisement> {
    match kind {
        NO_AUTHENTICATION => Ok(None),
        SIMPLE_PASSWORD => Ok(trailer.first_chunk().copied().map(Password)),
        other => Err(MalformedAdvertisement::Authentication(other)),
    }
}

/// The one form of version 2 and of IPv6, or either of version 3 over IPv4.
fn is_intact(payload: &[u8], version: Version, source: IpAddr, destination: IpAddr) -> bool {
    let with_pseudo_header = || {
        pseudo_header(source, destination, payload.len())
            .is_some_and(|start| checksum_of(start, payload) == 0)
    };
    match version {
        Version::V2 => checksum_of(0, payload) == 0,
        Version::V3 => with_pseudo_header() || (source.is_ipv4() && checksum_of(0, payload) == 0),
    }
}

/// `None` if the addresses are not of one family.
fn pseudo_header(source: IpAddr, destination: IpAddr, length: usize) -> Option<u32> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            Some(sum_of_pseudo_header(&source.octets(), &destination.octets(), length, IP_PROTOCOL))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Some(sum_of_pseudo_header(&source.octets(), &destination.octets(), length, IP_PROTOCOL))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
