//! What the kernel forwards: `[forwarding]`, and `forwarding = "dr"` of a virtual server.
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{CheckKind, Model, RealServer, VirtualServer};
use crate::proto::ftp::DataPath;

/// Where servers greet with 220: FTP's own port, and GridFTP's.
pub(in crate::config) const FTP_PORTS: [u16; 2] = [21, 2811];

/// Most ports that are served in the kernel's place, each with a listener for every thread; beyond it, ranges are for data connections,
/// which follow a session of FTP that the door serves, and need none.
pub const MAX_FALLBACK_PORTS: usize = 64;

/// What concerns the engine: `[forwarding]`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Forwarding {
    /// Which one.
    pub engine: Engine,
    /// Where clients come in; where the virtual addresses are or may come to be, when empty.
    pub interfaces: Vec<String>,
    /// Whether connections are told to another balancer.
    pub sync: Option<LvsSync>,
}

/// Who forwards (`engine`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Engine {
    /// The best that this host has.
    #[default]
    Auto,
    /// IP Virtual Server, of the kernel.
    Ipvs,
}

/// Connections that the kernel tells another balancer, which goes on with them: `lvs_sync_daemon`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LvsSync {
    /// The instance of VRRP whose master tells.
    pub instance: String,
    /// The instance's when not set.
    pub interface: Option<String>,
    /// The instance's `virtual_router_id` when not set.
    pub id: Option<u8>,
}

/// A virtual server whose connections the kernel balances.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DirectRouting {
    /// Ports besides `port`.
    pub ports: Vec<RangeInclusive<u16>>,
    /// How long a client stays on its server, in whole seconds.
    pub persistence: Option<Persistence>,
    /// Whether it is served at layer 7 where the kernel cannot.
    pub fallback: bool,
}

/// See [`DirectRouting`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Persistence {
    /// After its last connection.
    pub timeout: Duration,
    /// Bits of an IPv4 address that make a client.
    pub prefix: u8,
    /// The same of IPv6.
    pub prefix_ipv6: u8,
}

impl Engine {
    /// As the file has it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ipvs => "ipvs",
        }
    }
}

impl std::str::FromStr for Engine {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "auto" => Ok(Self::Auto),
            "ipvs" => Ok(Self::Ipvs),
            _ => Err(()),
        }
    }
}

impl Persistence {
    /// As long as keepalived keeps it.
    pub(in crate::config) const TIMEOUT: Duration = Duration::from_secs(360);
}

impl Model {
    /// What an engine is to be like, where anything needs one: a table of its own, a virtual server that the kernel serves, or
    /// data ports that it carries.
    #[must_use]
    pub fn wanted_forwarding(&self) -> Option<Forwarding> {
        let wanted = |server: &VirtualServer| {
            server.direct_routing.is_some()
                || server.data_path == DataPath::Kernel
                || server.written_servers().any(|real| real.data_ports.is_some())
        };
        match &self.forwarding {
            Some(forwarding) => Some(forwarding.clone()),
            None => self.virtual_servers.iter().any(wanted).then(Forwarding::default),
        }
    }
}

impl VirtualServer {
    /// Whether its control port is one where servers greet: by its number, or by what its checks ask for.
    #[must_use]
    pub fn speaks_ftp(&self) -> bool {
        let by_check = matches!(
            self.check.kind,
            CheckKind::Ftp | CheckKind::Login(_) | CheckKind::Transfer(..) | CheckKind::Gsi(_)
        );
        FTP_PORTS.contains(&self.port) || by_check
    }

    /// Its ports besides the one that the door could serve as FTP, all counted.
    #[must_use]
    pub fn port_count(&self) -> usize {
        let further = self.direct_routing.iter().flat_map(|routing| &routing.ports);
        1 + further.map(|range| usize::from(range.end() - range.start()) + 1).sum::<usize>()
    }
}

impl RealServer {
    /// Where it is reached by packets of this family: its control address, or else one of its data addresses.
    #[must_use]
    pub fn address_of_family(&self, ipv6: bool) -> Option<IpAddr> {
        std::iter::once(&self.address).chain(&self.data_addresses).copied().find(|ip| ip.is_ipv6() == ipv6)
    }
}
