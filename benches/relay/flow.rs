//! Bytes that cost next to nothing: a file in memory, sent again and again, and a drain.

use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create, sendfile};
use rustix::net::{RecvFlags, recv};

/// Small enough to stay in the processor's cache where something does read it.
const FILE_SIZE: u64 = 4 << 20;
/// What one call may take; more than a socket buffer holds.
const CHUNK: usize = 1 << 20;

/// A file in memory that stands for one of any length.
pub(crate) struct Source {
    file: OwnedFd,
}

impl Source {
    pub(crate) fn new() -> io::Result<Self> {
        let file = memfd_create("source", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, FILE_SIZE)?;
        // Pages that were never written would all be the same one.
        let mut writing = std::fs::File::from(file.try_clone()?);
        let page: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 16).collect();
        for _ in 0..FILE_SIZE >> 16 {
            writing.write_all(&page)?;
        }
        Ok(Self { file })
    }

    /// Sends `bytes` over a blocking connection.
    pub(crate) fn send(&self, to: BorrowedFd<'_>, bytes: u64) -> io::Result<()> {
        let mut left = bytes;
        let mut offset = 0;
        while left > 0 {
            let chunk = usize::try_from(left.min(FILE_SIZE - offset)).unwrap_or(CHUNK);
            match sendfile(to, &self.file, Some(&mut offset), chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(sent) => left -= sent as u64,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if offset == FILE_SIZE {
                offset = 0;
            }
        }
        Ok(())
    }
}

/// Takes everything until the end of the stream, and throws it away where it lies (tcp(7): MSG_TRUNC).
pub(crate) fn drain(from: BorrowedFd<'_>) -> io::Result<u64> {
    // Never written to: the kernel only wants to know its size.
    let mut nowhere = vec![0; CHUNK];
    let mut taken = 0;
    loop {
        match recv(from, nowhere.as_mut_slice(), RecvFlags::TRUNC) {
            Ok((_, 0)) => return Ok(taken),
            Ok((_, bytes)) => taken += bytes as u64,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
