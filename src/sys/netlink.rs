//! Links, addresses and the table of IPVS, asked for and changed by netlink(7).
//!
//! ```text
//!   Route, Ipvs ── Request ─────▶ kernel      each request has its answer before the call returns
//!   RouteEvents ◀── what has changed ── kernel      a descriptor for poll(2)
//! ```
//!
//! Each is a socket of its own, so that no event stands between a request and its answer.
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};

use crate::proto::netlink::address::{self, Address, Assignment};
use crate::proto::netlink::link::{self, Link, Macvlan};
use crate::proto::netlink::message::Request;
use conversation::{Conversation, Unsettled};

mod conversation;
mod error;
mod events;
mod ipvs;
mod neighbours;
mod traffic_control;

pub use conversation::Refused;
pub use error::NetlinkError;
pub use events::{RouteEvent, RouteEvents};
pub use ipvs::{Ipvs, IpvsOpenError};

/// A socket for requests. Each call waits for the kernel's lock of all network settings (RTNL), which others may hold for
/// some milliseconds, and then at most a second for an answer that should be there.
#[derive(Debug)]
pub struct Route {
    conversation: Conversation,
}

impl Route {
    /// Opens it in the network namespace of the thread.
    ///
    /// # Errors
    ///
    /// Descriptors or memory are short.
    pub fn open() -> io::Result<Self> {
        Ok(Self { conversation: Conversation::open(None)? })
    }

    /// Has something done.
    ///
    /// # Errors
    ///
    /// What the kernel says, or that it says nothing.
    pub fn request(&mut self, request: &Request) -> Result<(), NetlinkError> {
        self.conversation.request(request)
    }

    /// Has one thing done after the other, whether or not those before were refused, and returns which were. That costs far
    /// less than as many requests: only the last one of some dozens is confirmed.
    ///
    /// # Errors
    ///
    /// Nobody knows what was done: the kernel said nothing, or something that cannot be read.
    pub fn batch(&mut self, requests: &[Request]) -> Result<Vec<Refused>, NetlinkError> {
        self.conversation.batch(requests)
    }

    /// All links of the namespace. After a few times that they changed while they were read they are taken as they are: who needs
    /// to know what is lacking hears of it as an event.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        self.conversation.list(&link::dump(), Unsettled::Taken, Link::read)
    }

    /// The link of this name, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn link_named(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        match self.conversation.one(&link::named(name), Link::read) {
            Err(error) if error.errno() == Some(Errno::NODEV) => Ok(None),
            asked => asked,
        }
    }

    /// All addresses of the namespace, as [`Self::links`].
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        self.conversation.list(&address::dump(), Unsettled::Taken, Address::read)
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
}

/// A socket of a protocol that hears of these groups. NETLINK_ROUTE is 0, which is what no protocol means.
fn open(protocol: Option<Protocol>, groups: u32, flags: SocketFlags) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | flags;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// One datagram, by its real length; nothing if somebody other than the kernel has sent it.
fn receive(socket: &OwnedFd, buffer: &mut [u8], flags: RecvFlags) -> Result<Option<usize>, Errno> {
    let (_, length, sender) = retry_on_intr(|| recvfrom(socket, &mut *buffer, flags | RecvFlags::TRUNC))?;
    let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
    Ok(sender.is_some_and(|sender| sender.pid() == 0).then_some(length))
}
