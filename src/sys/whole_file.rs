//! Files that are whole, whatever ends us while they are written.
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

/// The old file or the new one, whatever ends us. For a moment another one stands beside it, with the extension `new`.
///
/// # Errors
///
/// It cannot be written, and the old one stays.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let write = || {
        let mut file = fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}
