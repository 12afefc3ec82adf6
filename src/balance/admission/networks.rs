//! `allow` and `deny`: networks whose clients may come, and those whose may not.
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

/// The most specific network that an address is in decides; one that is in both lists is denied. Who is in none may come,
/// unless there is an `allow`.
///
/// So either list alone means what it says, and each may hold exceptions to the other.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NetworkRules {
    /// Whether who is in it may come.
    networks: HashMap<IpNet, bool>,
    /// Lengths of prefixes that there are, longest first, of IPv4 and of IPv6.
    prefixes: [Vec<u8>; 2],
    only_allowed: bool,
}

impl NetworkRules {
    /// The rules of two lists.
    #[must_use]
    pub fn new(allow: &[IpNet], deny: &[IpNet]) -> Self {
        let mut networks: HashMap<IpNet, bool> =
            allow.iter().map(|network| (network.trunc(), true)).collect();
        networks.extend(deny.iter().map(|network| (network.trunc(), false)));
        let prefixes = [true, false].map(|ipv4| {
            let of_family = networks.keys().filter(|network| network.addr().is_ipv4() == ipv4);
            let lengths: BTreeSet<Reverse<u8>> =
                of_family.map(|network| Reverse(network.prefix_len())).collect();
            lengths.into_iter().map(|Reverse(length)| length).collect()
        });
        Self { networks, prefixes, only_allowed: !allow.is_empty() }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// Whether a client with this address may come.
    #[must_use]
    pub fn admits(&self, client: IpAddr) -> bool {
        self.decides(client).unwrap_or(!self.only_allowed)
    }

    /// Whether an address is denied by name. For a load balancer, whose own address is in no list of clients.
    #[must_use]
    pub fn denies(&self, address: IpAddr) -> bool {
        self.decides(address) == Some(false)
    }

    fn decides(&self, address: IpAddr) -> Option<bool> {
        if self.networks.is_empty() {
            return None;
        }
        let address = address.to_canonical();
        let prefixes = &self.prefixes[usize::from(address.is_ipv6())];
        prefixes.iter().find_map(|&length| {
            let network = IpNet::new(address, length).ok()?.trunc();
            self.networks.get(&network).copied()
        })
    }
}
