//! VRRP: which of several routers owns the virtual addresses. Version 3 (RFC 9568) and version 2 (RFC 3768, with the
//! simple password of RFC 2338), in the dialect of keepalived.
//!
//! ```text
//!   raw socket ──▶ Reception::check, Advertisement::parse ──▶ Instance::handle_advertisement
//!   timer      ──▶                                            Instance::handle_timeout
//!   Instance::poll_timeout ──▶ timer                          Instance::poll_action ──▶ socket, addresses
//! ```
//!
//! RFC 9568 says Active where this says master, as RFC 5798, keepalived and its users do.
//! `docs/conformance.md` goes through the rules one by one.
pub mod advertisement;
pub mod announcing;
pub mod discard;
pub mod instance;
pub mod sync_group;
pub mod tracking;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU8;

pub use advertisement::{Advertisement, ChecksumForm, MalformedAdvertisement};
pub use announcing::{Announcing, AnnouncingPolicy};
pub use discard::{Discard, Reception};
pub use instance::{Action, Cause, Instance, InstanceConfig, Role, State};
pub use sync_group::{Order, SyncGroup};
pub use tracking::{Condition, Standing, TrackedItem, Tracking};

/// The number of the protocol in IP (RFC 9568 sections 5.1.1.4 and 5.1.2.4).
pub const IP_PROTOCOL: u8 = 112;

/// Where advertisements go over IPv4 (RFC 9568 section 5.1.1.2).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);

/// Where advertisements go over IPv6 (RFC 9568 section 5.1.2.2).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// The TTL or hop limit of every advertisement that has not crossed a router (RFC 9568 sections 5.1.1.3 and 5.1.2.3).
pub const HOP_LIMIT: u8 = 255;

/// Most addresses of one advertisement: its count is one byte (RFC 9568 section 5.2.5).
pub const MAX_ADDRESSES: usize = 255;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Version {
    /// RFC 3768, IPv4 alone.
    V2,
    /// RFC 9568.
    #[default]
    V3,
}

impl Version {
    /// As it stands in an advertisement.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

/// Which kind of addresses a virtual router has: never both (RFC 9568 section 1.1).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Family {
    /// IP version 4.
    Ipv4,
    /// IP version 6.
    Ipv6,
}

impl Family {
    /// That of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    /// No address of it.
    #[must_use]
    pub fn unspecified(self) -> IpAddr {
        match self {
            Self::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// Where advertisements go that are for no peer by name.
    #[must_use]
    pub fn group(self) -> IpAddr {
        match self {
            Self::Ipv4 => GROUP_V4.into(),
            Self::Ipv6 => GROUP_V6.into(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// The number of a virtual router on its link: 1 to 255.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VirtualRouterId(NonZeroU8);

impl VirtualRouterId {
    /// `None` for 0.
    #[must_use]
    pub fn new(id: u8) -> Option<Self> {
        NonZeroU8::new(id).map(Self)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0.get()
    }
}

impl From<NonZeroU8> for VirtualRouterId {
    fn from(id: NonZeroU8) -> Self {
        Self(id)
    }
}

impl fmt::Display for VirtualRouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How much a router wants to be master (RFC 9568 section 5.2.4).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Priority(u8);

impl Priority {
    /// Of a master that gives up. No router has it.
    pub const RELEASE: Self = Self(0);
    /// The lowest that a router may have.
    pub const LOWEST: Self = Self(1);
    /// The highest of a router that does not own the addresses.
    pub const HIGHEST: Self = Self(254);
    /// Of the router whose own addresses the virtual ones are.
    pub const OWNER: Self = Self(255);

    /// A router's priority, 1 to 255; `None` for 0, which is [`Self::RELEASE`].
    #[must_use]
    pub fn new(priority: u8) -> Option<Self> {
        (priority != 0).then_some(Self(priority))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

/// A router's.
impl From<NonZeroU8> for Priority {
    fn from(priority: NonZeroU8) -> Self {
        Self(priority.get())
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The password of version 2 (RFC 2338 section 5.3.6.1, keepalived's PASS). It crosses the link in the clear and keeps out
/// mistakes, not attackers; logs do not have it all the same.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Password([u8; Self::LENGTH]);

impl Password {
    /// Its place in an advertisement, in bytes; shorter ones are followed by zeros.
    pub const LENGTH: usize = 8;

    /// `None` if it is empty, longer than [`Self::LENGTH`], or ends with a zero byte, which could not be told from none.
    #[must_use]
    pub fn new(password: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::LENGTH];
        bytes.get_mut(..password.len())?.copy_from_slice(password);
        password.last().is_some_and(|last| *last != 0).then_some(Self(bytes))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// The Ethernet address that a virtual router has wherever it is (RFC 9568 section 7.3).
#[must_use]
pub fn virtual_mac(family: Family, id: VirtualRouterId) -> [u8; 6] {
    let version = match family {
        Family::Ipv4 => 0x01,
        Family::Ipv6 => 0x02,
    };
    [0x00, 0x00, 0x5e, 0x00, version, id.get()]
}
