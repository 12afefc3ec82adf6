//! Which way packets go, and to which MAC address.
use std::net::IpAddr;

use rustix::io::Errno;

use super::{NetlinkError, Route, Unsettled};
use crate::proto::netlink::neighbour::{self, Neighbour};
use crate::proto::netlink::route::{self, Way};

impl Route {
    /// How packets go to an address, if they do.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn way_to(&mut self, address: IpAddr) -> Result<Option<Way>, NetlinkError> {
        match self.conversation.one(&route::way_to(address), Way::read) {
            Err(error) if matches!(error.errno(), Some(Errno::NETUNREACH | Errno::HOSTUNREACH)) => Ok(None),
            found => found,
        }
    }

    /// What the kernel knows of a host on the same link.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn neighbour(&mut self, index: u32, address: IpAddr) -> Result<Option<Neighbour>, NetlinkError> {
        let known =
            self.conversation.list(&neighbour::neighbours(address), Unsettled::Taken, Neighbour::read)?;
        Ok(known.into_iter().find(|one| one.index == index && one.address == address))
    }
}
