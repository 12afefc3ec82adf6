//! Random numbers that a test can have again: by its seed.

use std::ops::Range;

/// The seed of tests that need one, when nobody asks for another.
const SEED: u64 = 0x6772_6964_6674_7001;

/// SplitMix64 (Steele, Lea, Flood 2014): good enough for offsets and contents, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn within(&mut self, range: Range<usize>) -> usize {
        let width = (range.end - range.start).max(1) as u64;
        range.start + usize::try_from(self.next() % width).expect("below a usize")
    }

    /// Small ones as often as large ones: between 1 and `limit`, even in the number of digits.
    pub fn size(&mut self, limit: usize) -> usize {
        let bits = limit.ilog2() as usize;
        let ceiling = 2_usize << self.within(0..bits);
        self.within(1..ceiling.min(limit) + 1)
    }
}

/// `GRIDFRONT_SEED`, or the usual one.
///
/// # Panics
/// When it is no number.
pub fn seed() -> u64 {
    std::env::var("GRIDFRONT_SEED").map_or(SEED, |text| text.parse().expect("GRIDFRONT_SEED is a number"))
}

/// Whether tests shall take their time: `GRIDFRONT_LONG=1`, which `integration/run --long` sets.
pub fn long() -> bool {
    std::env::var_os("GRIDFRONT_LONG").is_some_and(|value| value == "1")
}

/// Bytes that no offset, order or length repeats.
pub fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut numbers = Seeded::new(seed);
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend_from_slice(&numbers.next().to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
