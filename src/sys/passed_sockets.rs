//! Listening sockets that the service manager has opened for us (socket activation, sd_listen_fds(3)).
#![allow(unsafe_code, reason = "a descriptor that was inherited is known by its number alone")]
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use rustix::io::Errno;
use socket2::{Socket, Type};

use super::socket::tune_listener;

/// One of them.
#[derive(Debug)]
pub struct PassedSocket {
    /// `FileDescriptorName=` of the unit; by default the unit's own name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Tuned as the door's own are.
    pub listener: TcpListener,
}

/// A socket that was passed and is of no use.
#[derive(Debug, thiserror::Error)]
pub enum PassedSocketError {
    /// `LISTEN_PID`, `LISTEN_FDS` or `LISTEN_FDNAMES`.
    #[error(
        "sockets from the service manager: {0}; LISTEN_FDS and LISTEN_FDNAMES have to say what was passed"
    )]
    Environment(io::Error),
    /// It is no socket, or not a listening TCP socket.
    #[error(
        "socket {name:?} from the service manager: {what}; each has to be a ListenStream= of an address and a port, with Accept=no"
    )]
    NotAListener {
        /// Of the unit.
        name: String,
        /// What is wrong with it.
        what: String,
    },
}

/// Takes what was passed to this process; nothing the second time, for they have an owner then.
///
/// # Errors
///
/// See [`PassedSocketError`]; none is left open.
pub fn take() -> Result<Vec<PassedSocket>, PassedSocketError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, SeqCst) {
        return Ok(Vec::new());
    }
    let passed = sd_notify::listen_fds_with_names().map_err(PassedSocketError::Environment)?;
    // All become owned before one is found bad.
    let owned: Vec<(OwnedFd, String)> = passed.map(|(number, name)| (own(number), name)).collect();
    owned.into_iter().map(|(descriptor, name)| examine(descriptor, name)).collect()
}

fn own(number: RawFd) -> OwnedFd {
    // SAFETY: LISTEN_PID and LISTEN_FDS say that this number was passed to this process, and it is open: its flags have
    // just been set. Nothing else in the process knows the number, and it comes by here once.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn examine(descriptor: OwnedFd, name: String) -> Result<PassedSocket, PassedSocketError> {
    let socket = Socket::from(descriptor);
    match listener(&socket) {
        Ok(address) => Ok(PassedSocket { name, address, listener: socket.into() }),
        Err(error) => {
            let what = match Errno::from_io_error(&error) {
                Some(Errno::NOTSOCK) => "it is no socket".into(),
                _ => error.to_string(),
            };
            Err(PassedSocketError::NotAListener { name, what })
        }
    }
}

fn listener(socket: &Socket) -> io::Result<SocketAddr> {
    let wrong = |what: &str| Err(io::Error::other(what.to_owned()));
    if socket.r#type()? != Type::STREAM {
        return wrong("it is no stream socket");
    }
    let Some(address) = socket.local_addr()?.as_socket() else {
        return wrong("it has no internet address");
    };
    if !socket.is_listener()? {
        return wrong("it does not listen");
    }
    tune_listener(socket)?;
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    #[test]
    fn only_listening_tcp_sockets_are_taken() {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listening.local_addr().unwrap();
        let passed = examine(listening.try_clone().unwrap().into(), "door".into()).unwrap();
        assert_eq!((passed.address, passed.name.as_str()), (address, "door"));
        let tuned = Socket::from(passed.listener);
        assert!(tuned.tcp_nodelay().unwrap() && tuned.keepalive().unwrap() && tuned.nonblocking().unwrap());
        assert_eq!(tuned.tcp_keepalive_time().unwrap(), Duration::from_secs(120));

        let directory = tempfile::tempdir().unwrap();
        let connected = std::net::TcpStream::connect(address).unwrap();
        let table: [(OwnedFd, &str); 4] = [
            (std::fs::File::open("/dev/null").unwrap().into(), "it is no socket"),
            (std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into(), "it is no stream socket"),
            (UnixListener::bind(directory.path().join("s")).unwrap().into(), "it has no internet address"),
            (connected.into(), "it does not listen"),
        ];
        for (descriptor, expected) in table {
            let error = examine(descriptor, "odd".into()).unwrap_err().to_string();
            assert!(
                error.starts_with("socket \"odd\" from the service manager: ") && error.contains(expected),
                "{error}"
            );
        }
    }

    #[test]
    fn what_was_not_passed_to_this_process_is_not_taken() {
        // The test harness was passed nothing, and a second call never is.
        assert!(take().unwrap().is_empty() && take().unwrap().is_empty());
    }
}
