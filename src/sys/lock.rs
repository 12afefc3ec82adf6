//! One daemon per configuration, and one of a kind per network namespace.
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// An exclusive lock on a file, held until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Held once in a network namespace, until it is dropped or the process ends, however it ends. It is a name of a socket that no
/// file has, unix(7): nobody writes there.
#[derive(Debug)]
pub struct NamespaceLock {
    _socket: UnixDatagram,
}

/// Why there is no lock.
#[derive(Debug)]
pub enum LockError {
    /// Another process holds it: its number, unless it has not written that yet.
    Held(Option<u32>),
    /// The file cannot be opened or locked.
    Io(io::Error),
}

impl Lock {
    /// Takes the lock without waiting. The file stays when the lock goes: removing it would let two processes hold
    /// two files of one name.
    ///
    /// # Errors
    ///
    /// See [`LockError`].
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            // The file is emptied; what a link points to is not ours.
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(open_error)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // Only for the message.
                let _ = file.take(20).read_to_string(&mut holder);
                return Err(LockError::Held(holder.trim().parse().ok()));
            }
            Err(errno) => return Err(LockError::Io(errno.into())),
        }
        let written = file.set_len(0).and_then(|()| file.rewind());
        written.and_then(|()| writeln!(file, "{}", std::process::id())).map_err(LockError::Io)?;
        Ok(Self { _file: file })
    }
}

impl NamespaceLock {
    /// Takes it without waiting, in the network namespace of the thread; nothing if somebody else has it.
    ///
    /// # Errors
    ///
    /// Descriptors are short.
    pub fn take(name: &str) -> io::Result<Option<Self>> {
        match UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?) {
            Ok(socket) => Ok(Some(Self { _socket: socket })),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn open_error(error: io::Error) -> LockError {
    LockError::Io(match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => io::Error::other("a symbolic link stands there, and is not followed"),
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_link_points_to_is_not_emptied() {
        let directory = tempfile::tempdir().unwrap();
        let (precious, path) = (directory.path().join("precious"), directory.path().join("admin.sock.lock"));
        std::fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        match Lock::take(&path) {
            Err(LockError::Io(error)) => assert!(error.to_string().contains("symbolic link"), "{error}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
    }

    #[test]
    fn a_holder_that_has_not_written_its_number_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock.lock");
        let holder = File::create(&path).unwrap();
        flock(&holder, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(matches!(Lock::take(&path), Err(LockError::Held(None))));
    }

    #[test]
    fn a_namespace_is_held_once_and_freed_by_drop() {
        let name = format!("gridfront/test-{}", std::process::id());
        let first = NamespaceLock::take(&name).unwrap();
        assert!(first.is_some() && NamespaceLock::take(&name).unwrap().is_none());
        drop(first);
        assert!(NamespaceLock::take(&name).unwrap().is_some());
    }

    #[test]
    fn a_lock_is_held_once_and_freed_by_drop() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock.lock");
        let first = Lock::take(&path).unwrap();
        match Lock::take(&path) {
            Err(LockError::Held(holder)) => assert_eq!(holder, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(first);
        Lock::take(&path).unwrap();
    }
}
