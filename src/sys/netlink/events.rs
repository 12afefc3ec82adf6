//! What changes at links and addresses, as it happens.
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{RecvFlags, SocketFlags};

use crate::proto::netlink::FormatError;
use crate::proto::netlink::address::{self, Address};
use crate::proto::netlink::link::{self, Link};
use crate::proto::netlink::message::{Answer, Message, Messages};

/// Links, addresses of IPv4, addresses of IPv6: bits of `nl_groups`, rtnetlink(7).
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// Each address whose lifetime is refreshed is an event of less than a KiB with the kernel's own bookkeeping, and there may
/// be hundreds at once.
const RECEIVE_BUFFER: usize = 1 << 20;

/// As the kernel makes them; a link with many virtual functions takes most.
const BUFFER: usize = 32 * 1024;

/// Datagrams of one call, so that a storm of events does not keep the caller from its timers.
const MAX_READ: usize = 256;

/// A socket that hears of every change. It blocks never.
#[derive(Debug)]
pub struct RouteEvents {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// One change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RouteEvent {
    /// A link is new, or something of it has changed.
    Link(Link),
    /// A link is gone, which had this index.
    LinkGone(u32),
    /// An address is new, or something of it has changed, such as its lifetime: so our own refreshing is heard, too.
    AddressAdded(Address),
    /// An address is gone.
    AddressRemoved(Address),
    /// Some changes are lost: everything has to be looked at anew.
    Overflow,
}

impl RouteEvents {
    /// Opens it in the network namespace of the thread; what changes from now on is heard.
    ///
    /// # Errors
    ///
    /// Descriptors or memory are short.
    pub fn open() -> io::Result<Self> {
        let socket = super::open(None, GROUPS, SocketFlags::NONBLOCK)?;
        // Beyond `net.core.rmem_max` only with CAP_NET_ADMIN. With less there is an overflow sooner.
        if set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
            set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
        }
        Ok(Self { socket, buffer: vec![0; BUFFER] })
    }

    /// What has come since the last call; nothing if nothing has. After some hundreds the rest is left for the next call,
    /// for which poll(2) wakes at once.
    ///
    /// # Errors
    ///
    /// The socket is broken.
    pub fn read(&mut self) -> io::Result<Vec<RouteEvent>> {
        let mut events = Vec::new();
        for _ in 0..MAX_READ {
            match super::receive(&self.socket, &mut self.buffer, RecvFlags::DONTWAIT) {
                Ok(Some(length)) => match self.buffer.get(..length) {
                    Some(bytes) => append(bytes, &mut events),
                    None => events.push(RouteEvent::Overflow),
                },
                Ok(None) => {}
                Err(Errno::AGAIN) => break,
                Err(Errno::NOBUFS) => events.push(RouteEvent::Overflow),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(events)
    }
}

impl AsFd for RouteEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn append(bytes: &[u8], events: &mut Vec<RouteEvent>) {
    for message in Messages::new(bytes) {
        match message.and_then(|message| event(&message)) {
            Ok(event) => events.extend(event),
            // What cannot be read may have been anything.
            Err(_) => events.push(RouteEvent::Overflow),
        }
    }
}

fn event(message: &Message<'_>) -> Result<Option<RouteEvent>, FormatError> {
    let data = match message.answer()? {
        Answer::Data(data) => data,
        Answer::Overrun => return Ok(Some(RouteEvent::Overflow)),
        Answer::Done | Answer::Refused(_) | Answer::Nothing => return Ok(None),
    };
    Ok(match message.kind {
        link::NEW => Link::read(data)?.map(RouteEvent::Link),
        link::DELETED => Link::read(data)?.map(|link| RouteEvent::LinkGone(link.index)),
        address::NEW => Address::read(data)?.map(RouteEvent::AddressAdded),
        address::DELETED => Address::read(data)?.map(RouteEvent::AddressRemoved),
        _ => None,
    })
}
