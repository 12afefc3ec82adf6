//! A directory for the time of the demo.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Names tried before giving up; a clash of 64 random bits means that something else is wrong.
const ATTEMPTS: usize = 4;

/// A new directory that only this user can enter; removed with all that is in it when dropped.
pub(super) struct TemporaryDirectory {
    path: PathBuf,
}

impl TemporaryDirectory {
    /// Makes `gridfront-demo-…` below the system's temporary directory.
    ///
    /// # Errors
    ///
    /// That directory cannot be written.
    pub(super) fn create() -> io::Result<Self> {
        let mut outcome = Err(io::ErrorKind::AlreadyExists.into());
        for _ in 0..ATTEMPTS {
            let mut random = [0; 8];
            File::open("/dev/urandom")?.read_exact(&mut random)?;
            let name = format!("gridfront-demo-{:016x}", u64::from_ne_bytes(random));
            let path = std::env::temp_dir().join(name);
            outcome = DirBuilder::new().mode(0o700).create(&path).map(|()| Self { path });
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        // nothing more can be done about it here; the name says whose it is
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stays_behind() {
        let directory = TemporaryDirectory::create().unwrap();
        let path = directory.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        drop(directory);
        assert!(!path.exists());
    }
}
