//! What a data connection carries: a file, or bytes in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, PoisonError};

/// Most bytes the demo stores in one file: a try-out must not fill the disk of the machine it runs on.
pub(super) const MAX_FILE_BYTES: u64 = 4 << 30;

/// Bytes to send.
///
/// Files are read in blocking fashion on the thread of their server: it has a thread of its own, and the files lie in
/// a local temporary directory.
pub(super) enum Source {
    /// an open regular file
    File(File),
    /// a listing, or what the demo's client puts
    Memory(Vec<u8>),
}

impl Source {
    /// Reads at `offset`; 0 at the end.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read_at(buffer, offset),
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let rest = &bytes[start..];
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
        }
    }
}

/// Where received bytes go; blocks may arrive in any order (MODE E).
pub(super) enum Sink {
    /// an open regular file, up to [`MAX_FILE_BYTES`]
    File(File),
    /// what the demo's client gets, up to `limit` bytes
    Memory {
        /// the bytes so far; a gap reads as zeros
        bytes: Mutex<Vec<u8>>,
        /// the most that is taken, in bytes
        limit: usize,
    },
}

impl Sink {
    /// A sink in memory that takes at most `limit` bytes.
    pub(super) fn memory(limit: usize) -> Self {
        Self::Memory { bytes: Mutex::new(Vec::new()), limit }
    }

    /// Writes all of `data` at `offset`.
    ///
    /// # Errors
    ///
    /// `FileTooLarge` beyond the limit; whatever the file system says.
    pub(super) fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(data.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        match self {
            Self::File(file) if end <= MAX_FILE_BYTES => file.write_all_at(data, offset),
            Self::Memory { bytes, limit } if end <= *limit as u64 => {
                let end = usize::try_from(end).map_err(|_| io::ErrorKind::FileTooLarge)?;
                let mut bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[end - data.len()..end].copy_from_slice(data);
                Ok(())
            }
            Self::File(_) | Self::Memory { .. } => Err(io::ErrorKind::FileTooLarge.into()),
        }
    }

    /// What was received; empty for a file.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::File(_) => Vec::new(),
            Self::Memory { bytes, .. } => bytes.into_inner().unwrap_or_else(PoisonError::into_inner),
        }
    }
}
