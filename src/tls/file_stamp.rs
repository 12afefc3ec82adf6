//! By what a file is seen to have changed, and when one is read again that has not.
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// From an error that may pass to the next attempt. A trust directory is read whole then.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// What of a file changes when it is written or replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    inode: (u64, u64),
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

pub(super) fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(file).ok()?;
    Some(Stamp {
        inode: (metadata.dev(), metadata.ino()),
        length: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// Whether a file may be read later although it has not changed: descriptors that have run out, NFS or AFS that does not
/// answer. One that is not there has no stamp, and gets one.
pub(super) fn may_pass(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::NotFound
}

/// Whether it is time to read again what failed at `failed_at`. A clock that was put back must not stop it.
pub(super) fn is_due(failed_at: SystemTime, now: SystemTime) -> bool {
    now.duration_since(failed_at).map_or(true, |since| since >= READ_AGAIN_AFTER)
}
