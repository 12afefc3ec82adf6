//! What a kernel that forwards is asked for, whatever carries it out: whole virtual servers, and data connections.
//!
//! ```text
//!   configuration, health, drains ─▶ ForwardingPlan ─▶ Forwarder::apply     reads the kernel, changes what differs
//!   sessions ─▶ KernelPath::expect ─▶ Forwarder's PortSteering              a port of the virtual address, one server
//! ```
//!
//! By Direct Routing: packets of a client go on to a real server as they are, at its link address; the server has the virtual
//! address, too, and answers past the balancer.
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::LbAlgo;

/// All that the kernel is to forward.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ForwardingPlan {
    /// Where clients come in, by name; those that are not there are looked for again.
    pub interfaces: Vec<String>,
    /// What clients come to, whatever for.
    pub virtual_addresses: Vec<IpAddr>,
    /// Whole virtual servers.
    pub services: Vec<ForwardedService>,
    /// Real servers to which data connections may go, each once.
    pub carriers: Vec<Carrier>,
}

/// One address family of a virtual server whose connections the kernel balances.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ForwardedService {
    /// Which virtual server.
    pub virtual_server: String,
    /// Where clients come to.
    pub entry: Entry,
    /// How connections are spread.
    pub lb_algo: LbAlgo,
    /// Whether a client stays on its server.
    pub persistence: Option<Persistence>,
    /// In the order of the configuration; none is a service that refuses.
    pub members: Vec<Member>,
}

/// Where clients come to, all of one address family.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Entry {
    /// One address and port.
    Single(SocketAddr),
    /// Several, whose connections count together.
    Group {
        /// At least one.
        addresses: Vec<IpAddr>,
        /// At least one range.
        ports: Vec<RangeInclusive<u16>>,
    },
}

/// All connections of a client, or of its network, go to one real server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Persistence {
    /// How long after its last connection, in whole seconds.
    pub timeout: Duration,
    /// Bits of a client's address that count: 32 or 128 for the client alone.
    pub prefix: u8,
}

/// A real server of a service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// Its name in the virtual server.
    pub real_server: String,
    /// Where packets go.
    pub address: IpAddr,
    /// Its share of new connections; 0 keeps those that it has.
    pub weight: u32,
    /// Connections at once.
    pub max_connections: Option<u32>,
    /// It does not answer, and goes at once: clients that the kernel remembers it for would be sent there even with weight 0. Its
    /// connections are lost in any case. Who is not named any more keeps those that it has.
    pub down: bool,
}

/// A real server that takes data connections at the virtual addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Carrier {
    /// Where packets go; the family of the virtual addresses, too.
    pub address: IpAddr,
    /// Ports of virtual addresses that are always its own.
    pub slices: Vec<(IpAddr, RangeInclusive<u16>)>,
}

/// What the kernel counts of a member or a carrier.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FlowCounts {
    /// Connections that are open, as far as a balancer sees that on one half of them.
    pub active: u32,
    /// That are ending, or half open.
    pub inactive: u32,
    /// Since the service was made.
    pub connections: u64,
    /// From clients; what servers send does not come by.
    pub packets: u64,
    /// Likewise, in bytes.
    pub bytes: u64,
}

/// What the kernel has of a plan.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ForwardingCounts {
    /// One a service of the plan.
    pub services: Vec<ServiceCounts>,
    /// By address.
    pub carriers: Vec<(IpAddr, FlowCounts)>,
    /// Services, carriers and members that no plan names any more and that wait for their last connection.
    pub leaving: usize,
}

/// What the kernel has of a service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceCounts {
    /// Which.
    pub virtual_server: String,
    /// Where.
    pub entry: Entry,
    /// By the member's name and address, those that leave included: behind the others, and with the address for a name if nobody
    /// knows it any more.
    pub members: Vec<(String, IpAddr, FlowCounts)>,
}

/// Something that an apply has done, for the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ForwardingChange(pub String);

/// Why something is not forwarded.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ForwardError {
    /// No engine runs on this host.
    #[error("{0}")]
    Unavailable(String),
    /// A service of somebody else is there.
    #[error(
        "{virtual_server}: {entry}: the kernel has a service there already that is not ours; stop the program that made it, or remove it ({removal})"
    )]
    Foreign {
        /// Ours.
        virtual_server: String,
        /// Where, as text.
        entry: String,
        /// The command that removes it.
        removal: String,
    },
    /// The kernel refuses something.
    #[error("{doing}: {why}")]
    Kernel {
        /// What was being done.
        doing: String,
        /// The kernel's words, and how to mend it.
        why: String,
    },
}

/// What an engine can do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ForwarderCapabilities {
    /// Services, with how many connections each server has.
    pub services: bool,
    /// Data connections at single ports.
    pub ports: bool,
    /// Flows live on when the daemon is killed.
    pub survives: bool,
    /// Flows are told to another balancer.
    pub sync: bool,
}

/// Which of two balancers tells the other of its flows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FlowSync {
    /// Tells, or hears.
    pub role: SyncRole,
    /// By multicast there.
    pub interface: String,
    /// Which group of balancers.
    pub id: u8,
}

/// See [`FlowSync`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SyncRole {
    /// Its flows are told.
    Master,
    /// It hears of those of another one.
    Backup,
}

/// An engine. Its calls may take some milliseconds; they are made on one thread.
pub trait Forwarder: fmt::Debug + Send {
    /// Its word in the configuration.
    fn name(&self) -> &'static str;

    /// What it can do on this host.
    fn capabilities(&self) -> ForwarderCapabilities;

    /// Makes the kernel forward what the plan says and nothing else of ours: reads what is there, changes what differs, and
    /// leaves alone what is not ours. What is not wanted any more gets no new connection, and goes when its last one has ended.
    /// Whatever cannot be done is told and does not keep the rest.
    fn apply(&mut self, plan: &ForwardingPlan) -> (Vec<ForwardingChange>, Vec<ForwardError>);

    /// Reads what the kernel has counted.
    ///
    /// # Errors
    ///
    /// The kernel does not say.
    fn counts(&mut self) -> Result<ForwardingCounts, ForwardError>;

    /// Tells flows, hears of them, or neither.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    fn sync(&mut self, sync: Option<&FlowSync>) -> Result<(), ForwardError>;

    /// Takes away all that is ours, with the connections that are still there.
    fn withdraw(&mut self);

    /// Single ports, for any thread; `None` where it cannot.
    fn ports(&self) -> Option<Arc<dyn PortSteering>>;
}

/// Ports of virtual addresses, each with the carrier where new connections go. Microseconds, on any thread.
pub trait PortSteering: fmt::Debug + Send + Sync {
    /// From now on connections to this address and port, of the client alone if one is named, go to this carrier.
    ///
    /// # Errors
    ///
    /// There is no such carrier, or no room.
    fn set(&self, client: Option<IpAddr>, at: SocketAddr, carrier: IpAddr) -> Result<(), ForwardError>;

    /// New connections do not any more. Those that are there are not touched.
    fn clear(&self, client: Option<IpAddr>, at: SocketAddr);
}

impl Entry {
    /// Whether it is of IPv6.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        match self {
            Self::Single(address) => address.is_ipv6(),
            Self::Group { addresses, .. } => addresses.first().is_some_and(IpAddr::is_ipv6),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(address) => address.fmt(to),
            Self::Group { addresses, ports } => {
                for (number, address) in addresses.iter().enumerate() {
                    write!(to, "{}{address}", if number == 0 { "" } else { "," })?;
                }
                to.write_str(" ports ")?;
                for (number, range) in ports.iter().enumerate() {
                    to.write_str(if number == 0 { "" } else { "," })?;
                    match (range.start(), range.end()) {
                        (start, end) if start == end => write!(to, "{start}")?,
                        (start, end) => write!(to, "{start}-{end}")?,
                    }
                }
                Ok(())
            }
        }
    }
}
