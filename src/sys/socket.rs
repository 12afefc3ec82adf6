//! Sockets as the door wants them.
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// Connections that wait for `accept`; the kernel caps it at `net.core.somaxconn`. Clients such as globus-url-copy
/// `-cc` come in bursts, and a full queue costs each a second.
pub const BACKLOG: i32 = 4096;

/// A peer that has vanished without a word is noticed after 120 s + 4 × 30 s: sessions in GSI passthrough have no
/// other time-out, and may be silent for hours.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(120);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_PROBES: u32 = 4;

/// Whether an address has to be this host's when a socket is bound to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presence {
    /// It has to, so that a slip in it is seen.
    Required,
    /// It is a virtual address, which may come later and go again, as often as it likes (`IP_FREEBIND`, ip(7)).
    Awaited,
}

/// Listens for control connections, one of several listeners on the same address (`SO_REUSEPORT`), so that each
/// thread has a queue of its own. Accepted sockets inherit TCP_NODELAY and keepalive from it.
///
/// # Errors
///
/// What the kernel says: the address is not ours, the port is taken, or not permitted.
pub fn listen(address: SocketAddr, presence: Presence) -> io::Result<TcpListener> {
    let socket = new(address, presence)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    tune_listener(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What accepted sockets inherit, on a listener that somebody else may have opened.
///
/// # Errors
///
/// As `setsockopt(2)`.
pub(super) fn tune_listener(socket: &Socket) -> io::Result<()> {
    tune(&SockRef::from(socket))?;
    socket.set_nonblocking(true)
}

/// Whether nobody else listens there. [`listen`] would share the port with another program of the same user, and
/// half of the clients would reach that one. Binding without `SO_REUSEPORT` is refused while anybody listens, so that
/// nothing is opened here to which a client could connect.
///
/// It is a trial, not a claim: two daemons with different locks that start in the same moment may both pass it.
///
/// # Errors
///
/// `AddrInUse` when somebody does, and whatever else binding may fail with.
pub fn probe_unused(address: SocketAddr, presence: Presence) -> io::Result<()> {
    let socket = new(address, presence)?;
    // Connections of a predecessor in TIME_WAIT are no obstacle.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

/// Sets what a control connection needs on one that the door has made itself.
///
/// # Errors
///
/// As `setsockopt(2)`.
pub fn tune_control_connection(stream: &impl AsFd) -> io::Result<()> {
    tune(&SockRef::from(stream))
}

/// Whether it is this process or host that has run out of something: descriptors, memory, or, towards one address
/// and port, local ports (`EADDRNOTAVAIL`, connect(2)). It says nothing about the peer.
#[must_use]
pub fn is_local_shortage(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL)
    )
}

/// Says one line to a peer that gets nothing else, and that nothing more will come, without waiting. A new
/// connection's send buffer has room for it.
///
/// What the peer has said already is thrown away: closing a socket with unread bytes sends RST, which may overtake
/// the line.
pub fn turn_away(stream: &impl AsFd, line: &[u8]) {
    // As much as is likely to have been said by a client that did not wait for its greeting, in reads of this size.
    const UNREAD: (usize, usize) = (16, 4096);
    // A peer that is gone already needs no line.
    let _ = send(stream, line, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    let _ = shutdown(stream, Shutdown::Write);
    let mut bytes = [0; UNREAD.1];
    for _ in 0..UNREAD.0 {
        if !matches!(recv(stream, &mut bytes, RecvFlags::DONTWAIT), Ok((_, 1..))) {
            break;
        }
    }
}

/// Whether the peer has closed its side or the connection is broken, even if what it said before is still unread.
pub fn is_closed_by_peer(stream: &impl AsFd) -> bool {
    let mut watched = [PollFd::new(stream, PollFlags::RDHUP)];
    // ERR and HUP come unasked. What cannot be watched is not known to be closed.
    matches!(poll(&mut watched, Some(&Timespec::default())), Ok(1..))
}

fn new(address: SocketAddr, presence: Presence) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    match (presence, address) {
        (Presence::Required, _) => {}
        (Presence::Awaited, SocketAddr::V4(_)) => socket.set_freebind_v4(true)?,
        (Presence::Awaited, SocketAddr::V6(_)) => socket.set_freebind_v6(true)?,
    }
    Ok(socket)
}

fn tune(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_short_here_is_told_from_what_the_peer_does() {
        for (errno, is_local) in [
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::NOBUFS, true),
            (Errno::NOMEM, true),
            (Errno::ADDRNOTAVAIL, true),
            (Errno::CONNREFUSED, false),
            (Errno::HOSTUNREACH, false),
            (Errno::TIMEDOUT, false),
        ] {
            assert_eq!(is_local_shortage(&errno.into()), is_local, "{errno:?}");
        }
        assert!(!is_local_shortage(&io::ErrorKind::UnexpectedEof.into()));
    }

    #[test]
    fn whoever_listens_is_found_whatever_the_options() {
        for (reuse_address, reuse_port) in [(false, false), (true, false), (false, true), (true, true)] {
            for any in ["127.0.0.1:0", "[::1]:0"] {
                let any: SocketAddr = any.parse().unwrap();
                let other = Socket::new(Domain::for_address(any), Type::STREAM, None).unwrap();
                other.set_reuse_address(reuse_address).unwrap();
                other.set_reuse_port(reuse_port).unwrap();
                if other.bind(&any.into()).is_err() {
                    continue; // no IPv6 here
                }
                other.listen(1).unwrap();
                let address = other.local_addr().unwrap().as_socket().unwrap();
                let found = probe_unused(address, Presence::Required).map_err(|error| error.kind());
                assert_eq!(found, Err(io::ErrorKind::AddrInUse), "{address} {reuse_address} {reuse_port}");
                drop(other);
                assert!(
                    probe_unused(address, Presence::Required).is_ok(),
                    "{address}: nobody listens any more"
                );
            }
        }
    }

    #[test]
    fn a_predecessors_connections_are_no_obstacle() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let (served, _) = listener.accept().unwrap();
        // The listener's side closes first and keeps the port in TIME_WAIT.
        drop((served, listener));
        drop(client);
        assert!(probe_unused(address, Presence::Required).is_ok());
        assert!(listen(address, Presence::Required).is_ok());
    }

    #[test]
    fn an_address_that_is_awaited_need_not_be_there() {
        for absent in ["192.0.2.1:0", "[2001:db8::1]:0"] {
            let absent: SocketAddr = absent.parse().unwrap();
            let required = listen(absent, Presence::Required).map_err(|error| error.kind());
            assert_eq!(required.unwrap_err(), io::ErrorKind::AddrNotAvailable, "{absent}");
            let listener = listen(absent, Presence::Awaited).unwrap();
            let address = listener.local_addr().unwrap();
            assert_eq!(address.ip(), absent.ip());
            let taken = probe_unused(address, Presence::Awaited).map_err(|error| error.kind());
            assert_eq!(taken, Err(io::ErrorKind::AddrInUse), "{address}");
            drop(listener);
            assert!(probe_unused(address, Presence::Awaited).is_ok(), "{address}");
        }
    }
}
