//! Adler-32 (RFC 1950 section 8.2), the checksum that grids keep of every file.

/// The largest prime below 65536.
const BASE: u32 = 65_521;

/// As many bytes as can be added before the second sum leaves 32 bits.
const RUN: usize = 5552;

/// A checksum that grows with the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adler32 {
    a: u32,
    b: u32,
}

impl Default for Adler32 {
    fn default() -> Self {
        Self { a: 1, b: 0 }
    }
}

impl Adler32 {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        for run in bytes.chunks(RUN) {
            for &byte in run {
                self.a += u32::from(byte);
                self.b += self.a;
            }
            self.a %= BASE;
            self.b %= BASE;
        }
    }

    pub(super) fn value(self) -> u32 {
        self.b << 16 | self.a
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_rfc_however_the_bytes_come() {
        // Values of Python's zlib.adler32.
        #[rustfmt::skip]
        let table: &[(&[u8], u32)] = &[
            (b"",                  0x0000_0001),
            (b"a",                 0x0062_0062),
            (b"Wikipedia",         0x11e6_0398),
            (&[0xff; 1_000_000],   0x3843_e1be),
        ];
        for &(bytes, expected) in table {
            for chunk in [1, 7, 5552, 16 * 1024, bytes.len().max(1)] {
                let mut sum = Adler32::default();
                for part in bytes.chunks(chunk) {
                    sum.update(part);
                }
                assert_eq!(sum.value(), expected, "{} bytes in {chunk}", bytes.len());
            }
        }
    }
}
