//! `sh`: a client's sessions stay on one server, whichever balancer or core takes them.
//!
//! Weighted rendezvous hashing: each server draws a number from the hash of client and server, as a lottery
//! whose odds are the weights, and the best draw wins. A server that leaves takes only its own clients along;
//! a weight that changes moves only the clients it must.

use std::net::{IpAddr, SocketAddr};

use super::Load;

/// Remembers nothing but who the servers are.
#[derive(Debug)]
pub(super) struct SourceHash {
    /// A server is its address and port: those are the same on every balancer, names need not be.
    identities: Vec<u64>,
}

impl SourceHash {
    pub(super) fn new(addresses: &[SocketAddr]) -> Self {
        Self { identities: addresses.iter().map(|address| identity(*address)).collect() }
    }

    pub(super) fn choose(&self, client: IpAddr, fit: impl Iterator<Item = (usize, Load)>) -> Option<usize> {
        let client = hash_address(client);
        fit.map(|(index, load)| {
            let draw = waiting_time(mix(client ^ self.identities[index]));
            (index, draw, u64::from(load.weight))
        })
        // draw / weight by cross-multiplication: below 2^39 times below 2^32.
        .min_by(|one, other| {
            let one_time = u128::from(one.1) * u128::from(other.2);
            let other_time = u128::from(other.1) * u128::from(one.2);
            one_time.cmp(&other_time)
        })
        .map(|(index, ..)| index)
    }
}

fn identity(address: SocketAddr) -> u64 {
    mix(hash_address(address.ip()) ^ u64::from(address.port()))
}

/// A v4 address and its v4-mapped form are the same client.
fn hash_address(address: IpAddr) -> u64 {
    let segments = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().segments(),
        IpAddr::V6(v6) => v6.segments(),
    };
    // The start is a "nothing up my sleeve" number, the golden ratio: it must only never change.
    segments.iter().fold(0x9e37_79b9_7f4a_7c15, |hash, segment| mix(hash ^ u64::from(*segment)))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014),
/// made one-way from zero by an offset. Written out because the standard hashers may change with a release.
fn mix(value: u64) -> u64 {
    let mut x = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Fraction bits of a waiting time: weights go up to 65535, so 32 bits leave 16 for the odds.
const FRACTION_BITS: u32 = 32;

/// `-log2(hash / 2^64)`, in units of 2^-32: divided by the weight it is exponentially distributed with that
/// rate, and the smallest of such draws falls on each server as often as the weights say. Between 1 and 2^38.
///
/// In integers, because the `ln` of floats may differ in its last bit between two C libraries.
fn waiting_time(hash: u64) -> u64 {
    let hash = hash.max(1);
    let zeros = hash.leading_zeros();
    // The hash as 1.xxx, with 31 bits after the point; squaring it shifts the next bit of its logarithm out.
    let mut mantissa = (hash << zeros) >> 32;
    let mut fraction = 0_u64;
    for _ in 0..FRACTION_BITS {
        mantissa = (mantissa * mantissa) >> 31;
        let bit = mantissa >> 32;
        mantissa >>= bit;
        fraction = fraction << 1 | bit;
    }
    (u64::from(zeros + 1) << FRACTION_BITS) - fraction
}

#[cfg(test)]
mod tests;
