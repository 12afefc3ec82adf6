//! The file of the transfer log.
//!
//! It is looked at before every batch of lines: one that was renamed (logrotate) or removed is left, and its name opened
//! anew. Nobody has to say so, and a SIGHUP that comes with it changes nothing.
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Model;
use crate::proxy::TransferLog;
use crate::sys::line_buffer::{LineOutput, LineWriter, Torn, write_whole};

/// Who may read it besides the owner: the group, as with other logs.
const MODE: u32 = 0o640;

/// Why there is no transfer log.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}; make its directory writable for this user, or name another file with `transfer_log` in [global]", .path.display())]
pub struct TransferLogError {
    /// The file.
    path: PathBuf,
    /// Why.
    source: io::Error,
}

/// A file that may be exchanged under its name.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: Option<File>,
    /// The last line in it is not whole.
    torn: bool,
    failing: bool,
}

/// Opens the transfer log that the configuration names, if it does, and starts its thread.
///
/// # Errors
///
/// When the file cannot be opened, or no thread be started.
pub(super) fn start(model: &Model, log: &TransferLog) -> Result<Option<LineWriter>, TransferLogError> {
    let Some(path) = &model.global.transfer_log else { return Ok(None) };
    let failed = |source| TransferLogError { path: path.clone(), source };
    let file = LogFile::open(path).map_err(failed)?;
    let writer = LineWriter::start("transfer-log", Arc::clone(log.lines()), file).map_err(failed)?;
    let host = model.global.router_id.clone().unwrap_or_else(host_name);
    log.set_host(Some(&host));
    Ok(Some(writer))
}

/// The name of this host, as Globus has it in its lines.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        Ok(Self { path: path.into(), file: Some(file), torn: false, failing: false })
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), Torn> {
        let nothing = |error| Torn { written: 0, error };
        if !self.file.as_ref().is_some_and(|file| is_at(file, &self.path)) {
            self.file = None;
            self.torn = false;
            self.file = Some(open(&self.path).map_err(nothing)?);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if self.torn {
            write_whole(file, b"\n").map_err(|torn| nothing(torn.error))?;
            self.torn = false;
        }
        let outcome = write_whole(file, lines);
        if let Err(torn) = &outcome {
            self.torn = torn.written > 0 && lines[torn.written - 1] != b'\n';
        }
        outcome
    }
}

impl LineOutput for LogFile {
    fn write_lines(&mut self, lines: &[u8]) -> u64 {
        match self.write(lines) {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!(path = %self.path.display(), "the transfer log is written again");
                }
                0
            }
            Err(torn) => {
                // Said once until it works again.
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(
                        path = %self.path.display(),
                        error = %torn.error,
                        "cannot write the transfer log, whose lines are lost; make room, or mend its directory"
                    );
                }
                torn.lost(lines)
            }
        }
    }
}

/// Not a pipe without a reader, on which opening would wait.
fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    OpenOptions::new().append(true).create(true).mode(MODE).custom_flags(flags.cast_signed()).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata().map(identity), std::fs::metadata(path).map(identity)) {
        (Ok(open), Ok(named)) => open == named,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_renamed_or_removed_is_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("log"), directory.path().join("log.1"));
        let mut file = LogFile::open(&path).unwrap();
        assert_eq!(file.write_lines(b"one\n"), 0);
        std::fs::rename(&path, &old).unwrap();
        assert_eq!(file.write_lines(b"two\n"), 0);
        assert_eq!(std::fs::read(&old).unwrap(), b"one\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"two\n");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.write_lines(b"three\n"), 0);
        assert_eq!(std::fs::read(&path).unwrap(), b"three\n");
        // What was there before stays, and a copy that was cut to nothing is gone on with.
        std::fs::write(&path, b"").unwrap();
        assert_eq!(LogFile::open(&path).unwrap().write_lines(b"four\n"), 0);
        assert_eq!(file.write_lines(b"five\n"), 0);
        assert_eq!(std::fs::read(&path).unwrap(), b"four\nfive\n");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777 & !MODE, 0);
    }

    #[test]
    fn while_it_cannot_be_opened_lines_are_lost_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let mut file = LogFile::open(&inner.join("log")).unwrap();
        std::fs::rename(&inner, directory.path().join("away")).unwrap();
        assert_eq!(file.write_lines(b"one\ntwo\n"), 2);
        assert!(file.failing);
        std::fs::create_dir(&inner).unwrap();
        assert_eq!(file.write_lines(b"three\n"), 0);
        assert!(!file.failing);
        assert_eq!(std::fs::read(inner.join("log")).unwrap(), b"three\n");
    }

    #[test]
    fn a_full_disk_costs_counted_lines() {
        let mut file = LogFile::open(Path::new("/dev/full")).unwrap();
        assert_eq!(file.write_lines(b"one\ntwo\n"), 2);
        assert_eq!(file.write_lines(b"three\n"), 1);
    }
}
