//! Socket options that no crate of ours knows.
#![allow(unsafe_code, reason = "setsockopt(2) takes an address")]
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// Sets an option whose value is a number.
pub(super) fn set(
    socket: &impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or_default();
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel reads `length` bytes from the address, which is
    // that of a living number of this size.
    let result = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, (&raw const value).cast(), length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
