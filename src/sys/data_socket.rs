//! Sockets of data connections that cross the door.
//!
//! All of them carry `SO_LINGER` 0 from the beginning: whatever ends the process or drops the socket, the kernel sends
//! RST, and no server takes a file that was cut for a whole one. Only behind a clean end is that lifted.
#![allow(unsafe_code, reason = "no crate asks for the length of a send queue, or for TCP_INFO")]

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd as _};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::socket::tune_control_connection;
use super::socket_option;

/// Connections that wait for `accept` on one port: clients open the parallel connections of MODE E (`-p`) in one burst,
/// some dozens of them.
const BACKLOG: i32 = 128;

/// How often a kernel is asked in vain before its silence means anything: one packet may be lost, and the answer to another.
const ASKED: u8 = 3;

/// Listens on `address`; what is accepted inherits every option.
///
/// # Errors
///
/// `AddrInUse`, and whatever else binding may fail with.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new(address)?;
    // Connections of the port's last use, living or in TIME_WAIT, are no obstacle; another listener is.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket that connects from `source`, whose port is 0 for any. The port is taken now if `fix_port`, and otherwise with
/// the connection, when ports that are in use towards other peers are as good.
///
/// # Errors
///
/// The address is not ours, or something is short.
pub fn from_source(source: SocketAddr, fix_port: bool) -> io::Result<Socket> {
    let socket = new(source)?;
    if !fix_port {
        socket_option::set(&socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
    }
    socket.bind(&source.into())?;
    Ok(socket)
}

/// A socket that connects to `target` from wherever the route says.
///
/// # Errors
///
/// Something is short.
pub fn towards(target: SocketAddr) -> io::Result<Socket> {
    new(target)
}

/// Has a socket reset its connection when it is closed, however the process ends.
///
/// # Errors
///
/// As `setsockopt(2)`.
pub fn reset_on_close(stream: &impl AsFd) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// Sends FIN behind what was sent, after which the kernel ends the connection in order, whoever closes it.
///
/// # Errors
///
/// The connection is broken.
pub fn finish(stream: &impl AsFd) -> io::Result<()> {
    // In this order: the data are whole, and nothing may reset them any more.
    SockRef::from(stream).set_linger(None)?;
    Ok(shutdown(stream, Shutdown::Write)?)
}

/// Whether the peer's FIN has arrived, even if what it sent before is still unread.
pub fn end_has_arrived(stream: &impl AsFd) -> bool {
    let mut watched = [PollFd::new(stream, PollFlags::RDHUP)];
    let polled = poll(&mut watched, Some(&Timespec::default()));
    let found = watched[0].revents();
    // A reset shows the same, and an error besides.
    matches!(polled, Ok(1..)) && found.contains(PollFlags::RDHUP) && !found.contains(PollFlags::ERR)
}

/// Bytes that have been received and not read.
///
/// # Errors
///
/// As `ioctl(2)`.
pub fn unread(stream: &impl AsFd) -> io::Result<u64> {
    Ok(rustix::io::ioctl_fionread(stream)?)
}

/// Bytes that the peer has not acknowledged.
///
/// # Errors
///
/// As `ioctl(2)`.
pub fn unacknowledged(stream: &impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as it is borrowed; SIOCOUTQ (tcp(7), the value of TIOCOUTQ) writes one int
    // to the address, which is that of a living one.
    let result = unsafe { libc::ioctl(stream.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(usize::try_from(bytes).unwrap_or(0)) }
}

/// For how long the peer's kernel has acknowledged nothing although it was asked over and over: neither bytes that were sent
/// again nor the probes of its closed window. `None` where it owes no answer; the probes of a receiver that has paused for
/// long are two minutes apart, and that alone says nothing.
///
/// # Errors
///
/// As `getsockopt(2)`.
pub fn unheard_for(stream: &impl AsFd) -> io::Result<Option<Duration>> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or_default();
    // SAFETY: the descriptor is open as long as it is borrowed; TCP_INFO (tcp(7)) writes at most `length` bytes to the
    // address, which is that of so many.
    let result = unsafe {
        libc::getsockopt(
            stream.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every field is a number, for which zero is a value; the kernel has written over some of them.
    let info = unsafe { info.assume_init() };
    let asked = info.tcpi_probes.max(info.tcpi_retransmits);
    Ok((asked >= ASKED).then(|| Duration::from_millis(info.tcpi_last_ack_recv.into())))
}

fn new(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_linger(Some(Duration::ZERO))?;
    // Urgent data stand in the stream where they were sent; outside it, splice(2) stops at the mark and says 0 there, as at
    // the end.
    socket.set_out_of_band_inline(true)?;
    // A peer that has vanished while nothing is under way to it is noticed as one of a control connection is, and blocks of MODE E that end
    // a transfer without ending the connection must not wait for an acknowledgement.
    tune_control_connection(&socket)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
