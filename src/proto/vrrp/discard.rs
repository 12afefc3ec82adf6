//! What is not taken for an advertisement, and why: RFC 9568 and RFC 3768, both section 7.1.

use std::net::IpAddr;
use std::time::Duration;

use super::{HOP_LIMIT, MalformedAdvertisement};

/// Why something received is not acted upon.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Discard {
    /// It may come from another link.
    #[error("its TTL or hop limit is {0} and not 255; it has crossed a router")]
    HopLimit(u8),
    /// Multicast at an instance with unicast peers, or the other way round.
    #[error("it was sent to {0}, which is not where the peers of this instance send to")]
    Destination(IpAddr),
    /// Somebody who is none of the configured unicast peers.
    #[error("{0} is none of the unicast peers; add it to them if it is one")]
    UnknownPeer(IpAddr),
    /// The bytes are wrong.
    #[error(transparent)]
    Malformed(#[from] MalformedAdvertisement),
    /// No instance on this interface has the id.
    #[error("virtual router id {0} is not configured on this interface")]
    VirtualRouterId(u8),
    /// The right form of the wrong version.
    #[error("it has version {0}; all routers of an instance must have the same version")]
    Version(u8),
    /// Our own, sent back by the network, or of somebody with our address.
    #[error("it comes from our own address: the network sends it back, or another host has the address")]
    Reflected,
    /// Version 2: another password, one where there is none, or none where there is one.
    #[error("its password is not ours; all routers of an instance must have the same")]
    Authentication,
    /// Version 2: a different interval.
    #[error(
        "its interval is {} s and ours is {} s; all routers of an instance must have the same",
        found.as_secs(),
        expected.as_secs()
    )]
    Interval {
        /// Ours.
        expected: Duration,
        /// The sender's.
        found: Duration,
    },
    /// Other virtual addresses than ours.
    #[error("its virtual addresses are not those of this instance; all routers must have the same")]
    AddressList,
    /// Nothing is to be learnt while the instance is in fault or not started.
    #[error("the instance is not running")]
    NotRunning,
}

impl Discard {
    /// All that [`Self::word`] may say, for a metric that is there before it counts.
    pub const WORDS: [&str; 13] = [
        "hop_limit",
        "destination",
        "unicast_peer",
        "truncated",
        "version",
        "type",
        "length",
        "checksum",
        "virtual_router_id",
        "reflected",
        "authentication",
        "interval",
        "address_list",
    ];

    /// One word, for a metric; what a router that is not running hears has none and is no fault.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        Some(match self {
            Self::HopLimit(_) => "hop_limit",
            Self::Destination(_) => "destination",
            Self::UnknownPeer(_) => "unicast_peer",
            Self::Malformed(malformed) => malformed.word(),
            Self::VirtualRouterId(_) => "virtual_router_id",
            Self::Version(_) => "version",
            Self::Reflected => "reflected",
            Self::Authentication => "authentication",
            Self::Interval { .. } => "interval",
            Self::AddressList => "address_list",
            Self::NotRunning => return None,
        })
    }
}

/// What the IP header of an advertisement must be.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reception {
    /// Without any, advertisements are multicast.
    pub unicast_peers: Vec<IpAddr>,
    /// Whether a unicast peer must be on the link, as one that multicasts must. keepalived sends unicast over IPv6 with a
    /// hop limit of 64, so it is off unless it is asked for.
    pub checks_unicast_hop_limit: bool,
}

impl Reception {
    /// Whether an advertisement may have come as its IP header says.
    ///
    /// # Errors
    ///
    /// `HopLimit`, `Destination` or `UnknownPeer`.
    pub fn check(&self, source: IpAddr, destination: IpAddr, hop_limit: u8) -> Result<(), Discard> {
        let is_unicast = !self.unicast_peers.is_empty();
        if destination.is_multicast() == is_unicast {
            return Err(Discard::Destination(destination));
        }
        if hop_limit != HOP_LIMIT && (!is_unicast || self.checks_unicast_hop_limit) {
            return Err(Discard::HopLimit(hop_limit));
        }
        if is_unicast && !self.unicast_peers.contains(&source) {
            return Err(Discard::UnknownPeer(source));
        }
        Ok(())
    }
}
