//! Programs at the entrance of links.
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::io::Errno;

use super::{NetlinkError, Route, Unsettled};
use crate::proto::netlink::traffic_control::{self, Filter, Hook, Qdisc};

impl Route {
    /// The qdiscs of all links.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn qdiscs(&mut self) -> Result<Vec<Qdisc>, NetlinkError> {
        self.conversation.list(&traffic_control::qdiscs(), Unsettled::Taken, Qdisc::read)
    }

    /// All filters at one end of a link, in the order in which they are asked; none if there is no such link.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn filters(&mut self, index: u32, hook: Hook) -> Result<Vec<Filter>, NetlinkError> {
        let listed =
            self.conversation.list(&traffic_control::filters(index, hook), Unsettled::Taken, Filter::read);
        listed.or_else(|error| if error.is_absence() { Ok(Vec::new()) } else { Err(error) })
    }

    /// Makes room for filters at a link, and returns whether that was necessary.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn add_clsact(&mut self, index: u32) -> Result<bool, NetlinkError> {
        match self.request(&traffic_control::add_clsact(index)) {
            Err(error) if error.errno() == Some(Errno::EXIST) => Ok(false),
            added => added.map(|()| true),
        }
    }

    /// Takes it away, with all filters in it, if it is there.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn remove_clsact(&mut self, index: u32) -> Result<(), NetlinkError> {
        let removed = self.request(&traffic_control::remove_clsact(index));
        removed.or_else(|error| if error.is_absence() { Ok(()) } else { Err(error) })
    }

    /// Has a program see everything that comes in by a link, which has room for it. It takes our place, whoever is there.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn attach_filter(&mut self, index: u32, program: BorrowedFd<'_>) -> Result<(), NetlinkError> {
        self.request(&traffic_control::attach(index, program.as_raw_fd().cast_unsigned()))
    }

    /// Takes one of our filters away, if it is there.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn detach_filter(&mut self, filter: &Filter) -> Result<(), NetlinkError> {
        let detached = self.request(&traffic_control::detach(filter.index, filter.priority, filter.handle));
        detached.or_else(|error| if error.is_absence() { Ok(()) } else { Err(error) })
    }
}
