//! Links and addresses of the kernel, asked for and changed by rtnetlink(7).
//!
//! ```text
//!   Route ────── Request ─────▶ kernel      each request has its answer before the call returns
//!   RouteEvents ◀── what has changed ── kernel      a descriptor for poll(2)
//! ```
//!
//! They are two sockets, so that no event stands between a request and its answer.
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recvfrom, sendto, socket_with,
};

use super::socket_option;
use crate::proto::netlink::FormatError;
use crate::proto::netlink::address::{self, Address, Assignment};
use crate::proto::netlink::link::{self, Link, Macvlan};
use crate::proto::netlink::message::{Answer, Confirm, Messages, Request};

mod error;
mod events;
mod traffic_control;

pub use error::NetlinkError;
pub use events::{RouteEvent, RouteEvents};

/// The kernel has answered before the request is sent; what is waited for is memory.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Requests of a batch that go at once: if all are refused, their answers still fit in the socket's buffer.
const MAX_BATCH: usize = 64;

/// The largest part of a list that the kernel makes.
const BUFFER: usize = 32 * 1024;

/// How often a list is read that has changed meanwhile. After the last time it is taken as it is: who needs to know what
/// it lacks hears of it as an event.
const TRIES: usize = 3;

/// The kernel itself, as an address.
const KERNEL: SocketAddrNetlink = SocketAddrNetlink::new(0, 0);

/// A socket for requests. Each call waits for the kernel's lock of all network settings (RTNL), which others may hold for
/// some milliseconds, and then at most a second for an answer that should be there.
#[derive(Debug)]
pub struct Route {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

/// One of a batch that was refused.
#[derive(Debug)]
pub struct Refused {
    /// Its place in the batch.
    pub position: usize,
    /// Why.
    pub error: NetlinkError,
}

impl Route {
    /// Opens it in the network namespace of the thread.
    ///
    /// # Errors
    ///
    /// Descriptors or memory are short.
    pub fn open() -> io::Result<Self> {
        let socket = open(0, SocketFlags::empty())?;
        // Kernels before 4.12 have no sentences, and repeat the request.
        let _ = socket_option::set(&socket, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1);
        let _ = socket_option::set(&socket, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_WITHIN))?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// Has something done.
    ///
    /// # Errors
    ///
    /// What the kernel says, or that it says nothing.
    pub fn request(&mut self, request: &Request) -> Result<(), NetlinkError> {
        self.ask(request, Confirm::Yes, |_| Ok(()))
    }

    /// Has one thing done after the other, whether or not those before were refused, and returns which were. That costs far
    /// less than as many requests: only the last one of some dozens is confirmed.
    ///
    /// # Errors
    ///
    /// Nobody knows what was done: the kernel said nothing, or something that cannot be read.
    pub fn batch(&mut self, requests: &[Request]) -> Result<Vec<Refused>, NetlinkError> {
        let mut refused = Vec::new();
        for (number, part) in requests.chunks(MAX_BATCH).enumerate() {
            self.send_batch(part, number * MAX_BATCH, &mut refused)?;
        }
        Ok(refused)
    }

    fn send_batch(
        &mut self,
        requests: &[Request],
        before: usize,
        refused: &mut Vec<Refused>,
    ) -> Result<(), NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for (number, request) in requests.iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            let confirm = if number + 1 == requests.len() { Confirm::Yes } else { Confirm::No };
            request.write(&mut bytes, self.sequence, confirm);
        }
        self.send(&bytes)?;
        loop {
            let received = self.receive()?;
            for message in Messages::new(received) {
                let message = message?;
                let position = usize::try_from(message.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                if position >= requests.len() {
                    continue;
                }
                if let Answer::Refused(refusal) = message.answer()? {
                    refused.push(Refused { position: before + position, error: refusal.into() });
                }
                if position + 1 == requests.len() {
                    return Ok(());
                }
            }
        }
    }

    /// All links of the namespace.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        self.list(&link::dump(), Link::read)
    }

    /// The link of this name, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn link_named(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut found = None;
        let asked = self.ask(&link::named(name), Confirm::Yes, |data| {
            found = Link::read(data)?;
            Ok(())
        });
        match asked {
            Err(error) if error.errno() == Some(Errno::NODEV) => Ok(None),
            asked => asked.map(|()| found),
        }
    }

    /// All addresses of the namespace.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        self.list(&address::dump(), Address::read)
    }

    /// Gives a link an address. If it has that one already, its lifetime begins anew.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn add_address(&mut self, assignment: &Assignment) -> Result<(), NetlinkError> {
        self.request(&address::assign(assignment))
    }

    /// The same of many, in a [batch](Self::batch).
    ///
    /// # Errors
    ///
    /// As [`Self::batch`].
    pub fn add_addresses(&mut self, assignments: &[Assignment]) -> Result<Vec<Refused>, NetlinkError> {
        let requests: Vec<Request> = assignments.iter().map(address::assign).collect();
        self.batch(&requests)
    }

    /// Takes an address away, if the link has it with that prefix.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn remove_address(&mut self, index: u32, address: IpAddr, prefix: u8) -> Result<(), NetlinkError> {
        let removed = self.request(&address::remove(index, address, prefix));
        removed.or_else(|error| if error.is_absence() { Ok(()) } else { Err(error) })
    }

    /// The same of many, in a [batch](Self::batch). Their lifetimes do not matter.
    ///
    /// # Errors
    ///
    /// As [`Self::batch`].
    pub fn remove_addresses(&mut self, assignments: &[Assignment]) -> Result<Vec<Refused>, NetlinkError> {
        let requests: Vec<Request> =
            assignments.iter().map(|of| address::remove(of.index, of.address, of.prefix)).collect();
        let mut refused = self.batch(&requests)?;
        refused.retain(|refused| !refused.error.is_absence());
        Ok(refused)
    }

    /// Makes a macvlan, down and without addresses, and returns its index.
    ///
    /// # Errors
    ///
    /// As [`Self::request`]; EEXIST if there is a link of its name.
    pub fn add_macvlan(&mut self, macvlan: &Macvlan<'_>) -> Result<u32, NetlinkError> {
        self.request(&link::add_macvlan(macvlan))?;
        let made = self.link_named(macvlan.name)?;
        made.map(|link| link.index).ok_or(NetlinkError::of(Errno::NODEV))
    }

    /// Sets a link up.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn set_up(&mut self, index: u32) -> Result<(), NetlinkError> {
        self.request(&link::set_up(index))
    }

    /// Deletes a link that was made, if it is there.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn delete_link(&mut self, index: u32) -> Result<(), NetlinkError> {
        let deleted = self.request(&link::delete(index));
        deleted.or_else(|error| if error.is_absence() { Ok(()) } else { Err(error) })
    }

    fn list<T>(
        &mut self,
        question: &Request,
        read: fn(&[u8]) -> Result<Option<T>, FormatError>,
    ) -> Result<Vec<T>, NetlinkError> {
        let mut list = Vec::new();
        for _ in 0..TRIES {
            list.clear();
            let asked = self.ask(question, Confirm::No, |data| {
                list.extend(read(data)?);
                Ok(())
            });
            match asked {
                Err(NetlinkError::Inconsistent) => {}
                asked => return asked.map(|()| list),
            }
        }
        Ok(list)
    }

    /// Sends a request and takes the data of its answer up to the end.
    fn ask(
        &mut self,
        request: &Request,
        confirm: Confirm,
        mut take: impl FnMut(&[u8]) -> Result<(), NetlinkError>,
    ) -> Result<(), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut bytes = Vec::new();
        request.write(&mut bytes, sequence, confirm);
        self.send(&bytes)?;
        let mut is_inconsistent = false;
        loop {
            let received = self.receive()?;
            for message in Messages::new(received) {
                let message = message?;
                // What else there is answers a request that was given up.
                if message.sequence != sequence {
                    continue;
                }
                is_inconsistent |= message.is_inconsistent();
                match message.answer()? {
                    Answer::Data(data) => take(data)?,
                    Answer::Done if is_inconsistent => return Err(NetlinkError::Inconsistent),
                    Answer::Done => return Ok(()),
                    Answer::Refused(refusal) => return Err(refusal.into()),
                    Answer::Overrun => return Err(NetlinkError::of(Errno::NOBUFS)),
                    Answer::Nothing => {}
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        retry_on_intr(|| sendto(&self.socket, bytes, SendFlags::empty(), &KERNEL))?;
        Ok(())
    }

    /// One datagram of the kernel.
    fn receive(&mut self) -> Result<&[u8], NetlinkError> {
        let length = loop {
            match receive(&self.socket, &mut self.buffer, RecvFlags::empty()) {
                Ok(Some(length)) => break length,
                Ok(None) => {}
                Err(Errno::AGAIN) => return Err(NetlinkError::Silent),
                Err(errno) => return Err(errno.into()),
            }
        };
        // The rest of what did not fit is lost, which whoever reads it finds.
        Ok(&self.buffer[..length.min(self.buffer.len())])
    }
}

/// A socket of rtnetlink that hears of these groups.
fn open(groups: u32, flags: SocketFlags) -> io::Result<OwnedFd> {
    // NETLINK_ROUTE is 0, which is what no protocol means.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC | flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// One datagram, by its real length; nothing if somebody other than the kernel has sent it.
fn receive(socket: &OwnedFd, buffer: &mut [u8], flags: RecvFlags) -> Result<Option<usize>, Errno> {
    let (_, length, sender) = retry_on_intr(|| recvfrom(socket, &mut *buffer, flags | RecvFlags::TRUNC))?;
    let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
    Ok(sender.is_some_and(|sender| sender.pid() == 0).then_some(length))
}
