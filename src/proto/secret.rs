//! Secrets in memory: buffers that are overwritten before they are given back, so that what is free holds no key.
//!
//! Covered are the buffers in which the door itself holds a key or a credential: files of certificates and keys, the DER that is read
//! out of them, and the text under the protection of GSI between TLS and the control channel (a `DCSC` line carries a
//! whole credential). Keys that are in use are the library's, which overwrites them itself.
//!
//! Not covered are buffers of others (of the PEM reader while it decodes, of rustls, of the kernel), and those that the next command
//! overwrites: what a control channel holds of a line, and the buffers of a thread. For all of them core dumps are off.
use std::mem;

use zeroize::Zeroize as _;
pub use zeroize::Zeroizing;

/// Bytes that are overwritten when they are dropped. A vector that grows leaves a copy behind: see [`append`].
pub type Secret = Zeroizing<Vec<u8>>;

/// Appends `bytes` without leaving a copy behind where the memory is too small.
pub fn append(secret: &mut Secret, bytes: &[u8]) {
    reserve(secret, bytes.len());
    secret.extend_from_slice(bytes);
}

/// Makes room for so many bytes more.
pub fn reserve(secret: &mut Secret, more: usize) {
    let wanted = secret.len() + more;
    if wanted > secret.capacity() {
        let mut larger = Secret::new(Vec::with_capacity(wanted.max(2 * secret.len())));
        larger.extend_from_slice(secret);
        *secret = larger;
    }
}

/// Takes bytes away that were used; those behind them come to the front. When all are taken the memory is given back.
pub fn take_front(secret: &mut Secret, taken: usize) {
    if taken >= secret.len() {
        drop(mem::take(secret));
        return;
    }
    let left = secret.len() - taken;
    secret.copy_within(taken.., 0);
    secret[left..].zeroize();
    secret.truncate(left);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_and_go_as_in_any_buffer_and_an_empty_one_holds_no_memory() {
        let mut secret = Secret::default();
        for piece in ["abc", "", "defgh"] {
            append(&mut secret, piece.as_bytes());
        }
        assert_eq!(&**secret, b"abcdefgh");
        let before = secret.as_ptr();
        reserve(&mut secret, 0);
        assert_eq!(secret.as_ptr(), before, "there is room");
        take_front(&mut secret, 3);
        assert_eq!(&**secret, b"defgh");
        take_front(&mut secret, 0);
        assert_eq!(&**secret, b"defgh");
        take_front(&mut secret, 9);
        assert_eq!((secret.len(), secret.capacity()), (0, 0));
    }
}
