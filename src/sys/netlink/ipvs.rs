//! The table of IPVS, asked for and changed.
use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;
use rustix::net::netlink::GENERIC;

use super::NetlinkError;
use super::conversation::{Conversation, Unsettled};
use crate::proto::netlink::FormatError;
use crate::proto::netlink::generic::{self, Family};
use crate::proto::netlink::ipvs::{
    self, Daemon, DaemonRole, Destination, Info, ListedDestination, ListedService, Service, ServiceKey,
};
use crate::proto::netlink::message::Request;

/// A socket for the table of the network namespace in which it was opened. Each call has the kernel's answer, and waits for the
/// kernel's lock of IPVS settings, which others hold for some milliseconds at most; starting and stopping a daemon takes longer.
///
/// The kernel tells a list of more than some ten in parts. While somebody else changes it, one may be left out or told of twice,
/// and the kernel does not say so.
#[derive(Debug)]
pub struct Ipvs {
    conversation: Conversation,
    family: Family,
}

/// Why the table cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IpvsOpenError {
    /// The kernel has no such family, and no module for it that it could load.
    #[error("this kernel has no IPVS: load it by `modprobe ip_vs`, on a host if this is a container")]
    Absent,
    /// We may not ask.
    #[error("IPVS may not be used: it takes CAP_NET_ADMIN")]
    Forbidden,
    /// The kernel says something else.
    #[error("IPVS: {0}")]
    Netlink(#[from] NetlinkError),
    /// Descriptors or memory are short.
    #[error("IPVS: no socket: {0}")]
    Socket(#[source] io::Error),
}

impl Ipvs {
    /// Opens it in the network namespace of the thread. The kernel loads the module, if it has it and loads modules at all, and
    /// is asked whether it lets us.
    ///
    /// # Errors
    ///
    /// See [`IpvsOpenError`].
    pub fn open() -> Result<Self, IpvsOpenError> {
        let mut conversation = Conversation::open(Some(GENERIC)).map_err(IpvsOpenError::Socket)?;
        let family = match conversation.one(&generic::family_named(ipvs::FAMILY), Family::read) {
            Ok(Some(family)) => family,
            Ok(None) => return Err(IpvsOpenError::Absent),
            Err(error) if error.errno() == Some(Errno::NOENT) => return Err(IpvsOpenError::Absent),
            Err(error) => return Err(error.into()),
        };
        let mut opened = Self { conversation, family };
        // Anybody may ask for a family.
        match opened.info() {
            Err(error) if matches!(error.errno(), Some(Errno::PERM | Errno::ACCESS)) => {
                Err(IpvsOpenError::Forbidden)
            }
            asked => Ok(asked.map(|_| opened)?),
        }
    }

    /// What the kernel says of itself.
    ///
    /// # Errors
    ///
    /// What the kernel says, or that it says nothing. ENOENT if the module was taken out meanwhile, which it can be only while the
    /// table is empty: [open](Self::open) it anew.
    pub fn info(&mut self) -> Result<Info, NetlinkError> {
        let info = self.conversation.one(&ipvs::info(self.family), Info::read)?;
        info.ok_or(FormatError::Missing("what IPVS says of itself").into())
    }

    /// All services of TCP and of marks, ours and those of others. In no order.
    ///
    /// # Errors
    ///
    /// As [`Self::info`]. A list of which anything is lost is an error, and never short.
    pub fn services(&mut self) -> Result<Vec<ListedService>, NetlinkError> {
        let question = ipvs::dump_services(self.family);
        self.conversation.list(&question, Unsettled::Refused, ListedService::read)
    }

    /// All destinations of a service; none if there is no such service. In no order.
    ///
    /// # Errors
    ///
    /// As [`Self::services`].
    pub fn destinations(&mut self, key: &ServiceKey) -> Result<Vec<ListedDestination>, NetlinkError> {
        let question = ipvs::dump_destinations(self.family, key);
        let read = |data: &[u8]| ListedDestination::read(data, key.family());
        self.conversation.list(&question, Unsettled::Refused, read)
    }

    /// Makes a service.
    ///
    /// # Errors
    ///
    /// As [`Self::info`]; EEXIST if there is one of that key, ENOENT if the kernel has no such scheduler.
    pub fn add_service(&mut self, service: &Service) -> Result<(), NetlinkError> {
        self.conversation.request(&ipvs::add_service(self.family, service))
    }

    /// Changes a service, whose destinations and connections stay.
    ///
    /// # Errors
    ///
    /// As [`Self::info`]; ESRCH if there is none of that key, ENOENT if the kernel has no such scheduler.
    pub fn edit_service(&mut self, service: &Service) -> Result<(), NetlinkError> {
        self.conversation.request(&ipvs::edit_service(self.family, service))
    }

    /// Takes a service away, if it is there: its destinations with it, and its connections are reset.
    ///
    /// # Errors
    ///
    /// As [`Self::info`].
    pub fn remove_service(&mut self, key: &ServiceKey) -> Result<(), NetlinkError> {
        self.remove(&ipvs::remove_service(self.family, key))
    }

    /// Adds a destination to a service.
    ///
    /// # Errors
    ///
    /// As [`Self::info`]; EEXIST if the service has it, ESRCH if there is no such service.
    pub fn add_destination(
        &mut self,
        key: &ServiceKey,
        destination: &Destination,
    ) -> Result<(), NetlinkError> {
        self.conversation.request(&ipvs::add_destination(self.family, key, destination))
    }

    /// Changes a destination, whose connections stay.
    ///
    /// # Errors
    ///
    /// As [`Self::info`]; ENOENT if the service does not have it, ESRCH if there is no such service.
    pub fn edit_destination(
        &mut self,
        key: &ServiceKey,
        destination: &Destination,
    ) -> Result<(), NetlinkError> {
        self.conversation.request(&ipvs::edit_destination(self.family, key, destination))
    }

    /// Takes a destination away, if it and its service are there. What its connections send goes nowhere from now on.
    ///
    /// # Errors
    ///
    /// As [`Self::info`].
    pub fn remove_destination(&mut self, key: &ServiceKey, address: SocketAddr) -> Result<(), NetlinkError> {
        self.remove(&ipvs::remove_destination(self.family, key, address))
    }

    /// The sync daemons that run, one of each role at most.
    ///
    /// # Errors
    ///
    /// As [`Self::services`].
    pub fn daemons(&mut self) -> Result<Vec<Daemon>, NetlinkError> {
        let question = ipvs::dump_daemons(self.family);
        self.conversation.list(&question, Unsettled::Refused, Daemon::read)
    }

    /// Starts a sync daemon.
    ///
    /// # Errors
    ///
    /// As [`Self::info`]; EEXIST if one of that role runs, ENODEV if there is no such interface, EINVAL if a destination is of
    /// another family than its service.
    pub fn start_daemon(&mut self, daemon: &Daemon) -> Result<(), NetlinkError> {
        self.conversation.request(&ipvs::start_daemon(self.family, daemon))
    }

    /// Stops the sync daemon of a role, if it runs.
    ///
    /// # Errors
    ///
    /// As [`Self::info`].
    pub fn stop_daemon(&mut self, role: DaemonRole) -> Result<(), NetlinkError> {
        self.remove(&ipvs::stop_daemon(self.family, role))
    }

    fn remove(&mut self, request: &Request) -> Result<(), NetlinkError> {
        let removed = self.conversation.request(request);
        removed.or_else(|error| if error.is_absence() { Ok(()) } else { Err(error) })
    }
}
