//! What an instance is told, and what it demands of an advertisement by it.

use std::net::IpAddr;
use std::time::Duration;

use crate::proto::vrrp::{Advertisement, Discard, Password, Priority, Version, VirtualRouterId};

/// What an instance is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InstanceConfig {
    /// The version, and with it the rules.
    pub version: Version,
    /// Which virtual router it is.
    pub virtual_router_id: VirtualRouterId,
    /// The priority to begin with: the configured one and what is tracked.
    pub priority: Priority,
    /// How often it advertises as master; positive. Version 2 has whole seconds. Version 3 has any, and what is not a
    /// number of centiseconds is told rounded up ([`Advertisement::announced`]).
    pub interval: Duration,
    /// The virtual addresses that are advertised, of one family, at most [`super::super::MAX_ADDRESSES`].
    pub addresses: Vec<IpAddr>,
    /// Where its advertisements come from; of the same family.
    pub primary_address: IpAddr,
    /// Whether it takes over from a master of lower priority.
    pub preempt: bool,
    /// How much longer it lets such a master be.
    pub preempt_delay: Duration,
    /// Version 2's.
    pub password: Option<Password>,
    /// Whether advertisements with other virtual addresses are discarded, as keepalived does unless
    /// `vrrp_skip_check_adv_addr` is set; two masters are the result. Otherwise they are taken, and
    /// [`super::Instance::differs_from_master`] tells.
    pub checks_addresses: bool,
}

impl InstanceConfig {
    /// Whether these are the virtual addresses, in whatever order.
    #[must_use]
    pub fn has_addresses(&self, addresses: &[IpAddr]) -> bool {
        if self.addresses == addresses {
            return true;
        }
        let sorted = |addresses: &[IpAddr]| {
            let mut addresses = addresses.to_vec();
            addresses.sort_unstable();
            addresses
        };
        self.addresses.len() == addresses.len() && sorted(&self.addresses) == sorted(addresses)
    }

    /// The checks of section 7.1 that need to know the instance.
    pub(super) fn judge(
        &self,
        source: IpAddr,
        advertisement: &Advertisement,
        has_our_addresses: bool,
    ) -> Result<(), Discard> {
        if advertisement.virtual_router_id != self.virtual_router_id {
            return Err(Discard::VirtualRouterId(advertisement.virtual_router_id.get()));
        }
        if advertisement.version != self.version {
            return Err(Discard::Version(advertisement.version.number()));
        }
        if source == self.primary_address {
            return Err(Discard::Reflected);
        }
        if self.version == Version::V2 {
            if advertisement.password != self.password {
                return Err(Discard::Authentication);
            }
            let expected = Advertisement::announced(Version::V2, self.interval);
            if advertisement.interval != expected {
                return Err(Discard::Interval { expected, found: advertisement.interval });
            }
        }
        // RFC 3768 section 7.1: what an owner says is right.
        let is_owners = self.version == Version::V2 && advertisement.priority == Priority::OWNER;
        if self.checks_addresses && !has_our_addresses && !is_owners {
            return Err(Discard::AddressList);
        }
        Ok(())
    }
}
