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
        let mut best: Option<(usize, u64, u32)> = None;
        for (index, Load { weight, .. }) in fit {
            // draw / weight by cross-multiplication: below 2^39 times below 2^32. The first of equals stays.
            let bound = best.map(|(_, draw, of_best)| (product(draw, weight), of_best));
            let is_worse = |draw| bound.is_some_and(|(bound, of_best)| product(draw, of_best) >= bound);
            let hash = mix(client ^ self.identities[index]);
            if let Some(draw) = waiting_time_unless(hash, is_worse) {
                best = Some((index, draw, weight));
            }
        }
        best.map(|(index, ..)| index)
    }
}

fn product(draw: u64, weight: u32) -> u128 {
    u128::from(draw) * u128::from(weight)
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
///
/// `None` as soon as the least that it may be `is_too_much`: of many servers nearly all are out after a few bits.
fn waiting_time_unless(hash: u64, is_too_much: impl Fn(u64) -> bool) -> Option<u64> {
    let hash = hash.max(1);
    let zeros = hash.leading_zeros();
    // The hash as 1.xxx, with 31 bits after the point; squaring it shifts the next bit of its logarithm out.
    let mut mantissa = (hash << zeros) >> 32;
    let whole = u64::from(zeros + 1) << FRACTION_BITS;
    let mut fraction = 0_u64;
    for left in (0..FRACTION_BITS).rev() {
        mantissa = (mantissa * mantissa) >> 31;
        let bit = mantissa >> 32;
        mantissa >>= bit;
        fraction = fraction << 1 | bit;
        // All bits that are left may be ones.
        let least = whole - (((fraction + 1) << left) - 1);
        if is_too_much(least) {
            return None;
        }
    }
    Some(whole - fraction)
}

#[cfg(test)]
mod tests;
