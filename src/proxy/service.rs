//! A virtual server at work: its configuration, the policy that its sessions share, and its real servers.
mod lasting;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use super::admittance::Admittance;
use super::availability::offline_reply;
use super::generation::{Generation, Kernel, Site};
use super::gsi::Termination;
use super::listener::Entrance;
use crate::balance::{KernelPath, VirtualServer};
use crate::config;
use crate::proto::ftp::{
    BouncePolicy, DataAddresses, DataConstraint, DataPath, ServerData, SessionPolicy, TlsPolicy,
};
use crate::proto::proxy_protocol;
use crate::sys::socket::Presence;
use crate::tls::{Acceptor, Connector, CredentialProblem};

use super::arrival::HEADER_FOR;
pub(super) use lasting::Lasting;

/// A virtual server as one configuration has it. A reload makes another one, to which new sessions come; those that are
/// there keep theirs until they end. What must outlive that is in [`Lasting`] and in the `Arc`s of `balance`.
#[derive(Debug)]
pub struct Service {
    /// Choice and counts.
    pub virtual_server: Arc<VirtualServer>,
    /// Where it listens.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Where sessions begin with TLS.
    pub(super) implicit_addresses: Vec<SocketAddr>,
    /// Where nothing is read of what passes.
    pub(crate) plain_addresses: Vec<SocketAddr>,
    /// Which of them may be another host's at times.
    virtual_addresses: Vec<IpAddr>,
    /// The door's own TLS.
    pub(crate) acceptor: Option<Arc<Acceptor>>,
    /// The door's own GSI.
    pub(crate) gsi: Option<Termination>,
    /// TLS to real servers, in the order of the virtual server's.
    pub(crate) connectors: Vec<Option<Arc<Connector>>>,
    /// Who serves its clients.
    pub(crate) served_by: ServedBy,
    /// Why the kernel does not serve them, where it should.
    pub(crate) why_not_kernel: Option<Arc<str>>,
    /// As configured.
    pub(crate) data_path: DataPath,
    /// The kernel that may carry data connections, where the site has one.
    pub(super) kernel_path: Option<Arc<dyn KernelPath>>,
    pub(super) policy: Arc<SessionPolicy>,
    /// In the order of the virtual server's real servers; the last is the sorry server's, if there is one.
    pub(super) server_data: Vec<Arc<ServerData>>,
    /// Whether a real server is told who the client is; in the same order.
    pub(super) proxy_protocol: Vec<Option<proxy_protocol::Version>>,
    /// Whose connections begin with a PROXY protocol header.
    proxy_protocol_from: Vec<IpNet>,
    pub(super) timeouts: Timeouts,
    /// Who is let in.
    pub(crate) admittance: Admittance,
    /// What clients are told where nobody takes them, if the configuration says it.
    pub(super) offline_reply: Option<Box<str>>,
    pub(crate) lasting: Arc<Lasting>,
}

/// What a service needs of its files.
#[derive(Debug)]
pub(super) struct ServiceTls {
    pub(super) acceptor: Option<Arc<Acceptor>>,
    pub(super) gsi: Option<Termination>,
    pub(super) connectors: Vec<Option<Arc<Connector>>>,
}

/// Who serves the clients of a virtual server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ServedBy {
    /// The door, as configured.
    Door,
    /// The kernel (`forwarding = "dr"`).
    Kernel,
    /// The door, because this host's kernel does not (`fallback = "proxy"`).
    DoorInstead,
    /// Nobody, for the same reason.
    Nobody,
}

impl ServedBy {
    fn of(config: &config::VirtualServer, kernel: &Kernel) -> Self {
        match &config.direct_routing {
            None => Self::Door,
            Some(_) if kernel.serves => Self::Kernel,
            Some(routing) if routing.fallback => Self::DoorInstead,
            Some(_) => Self::Nobody,
        }
    }

    /// Whether the door listens for it.
    pub(crate) fn is_door(self) -> bool {
        matches!(self, Self::Door | Self::DoorInstead)
    }

    /// Whether the kernel should serve it, and does not.
    fn misses_kernel(self) -> bool {
        matches!(self, Self::DoorInstead | Self::Nobody)
    }

    /// As the status has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Door => "door",
            Self::Kernel => "kernel",
            Self::DoorInstead => "door_instead",
            Self::Nobody => "nobody",
        }
    }
}

/// How long a session may take over what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    pub(super) connect: Duration,
    pub(super) greeting: Duration,
    pub(super) login: Duration,
    pub(super) idle: Duration,
}

impl Service {
    /// Builds every virtual server of a configuration that nothing has gone before; see [`Generation::first`].
    ///
    /// # Errors
    ///
    /// A certificate or a key that cannot be used.
    pub fn from_model(
        model: &config::Model,
        today: SystemTime,
    ) -> Result<(Vec<Arc<Self>>, Vec<CredentialProblem>), CredentialProblem> {
        let (generation, warnings) = Generation::first(model, today)?;
        Ok((generation.services().to_vec(), warnings))
    }

    /// What `config` says, around what an earlier configuration has left.
    pub(super) fn new(
        config: &config::VirtualServer,
        virtual_server: Arc<VirtualServer>,
        tls: ServiceTls,
        lasting: Arc<Lasting>,
        site: &Site,
    ) -> Self {
        let bounce = BouncePolicy {
            foreign: config.foreign_data_addresses,
            trusted: config.trusted_networks.clone(),
            servers: site.servers.clone(),
            services: site.services.clone(),
        };
        let server_data = config.real_servers.iter().map(|server| {
            let map = server.data_address_map.clone();
            Arc::new(ServerData {
                addresses: DataAddresses::new(server.address, &server.data_addresses, map),
                constraint: match (&server.tls, server.checks_data_peer) {
                    (Some(_), _) => Some(DataConstraint::Tls),
                    (None, true) => Some(DataConstraint::ChecksPeer),
                    (None, false) => None,
                },
            })
        });
        let of_sorry_server = config.availability.sorry_server.map(|sorry| {
            let addresses = DataAddresses::new(sorry.ip(), &[], Vec::new());
            Arc::new(ServerData { addresses, constraint: None })
        });
        let served_by = ServedBy::of(config, &site.kernel);
        let speaks_ftp = served_by == ServedBy::Door || config.speaks_ftp();
        let port = |port: Option<u16>| port.filter(|_| served_by.is_door() && speaks_ftp);
        let plain_ports = if served_by == ServedBy::DoorInstead { plain_ports(config) } else { Vec::new() };
        Self {
            virtual_server,
            served_by,
            why_not_kernel: served_by.misses_kernel().then(|| site.kernel.why_not()),
            addresses: own_addresses(config, port(Some(config.port))).collect(),
            implicit_addresses: own_addresses(config, port(implicit_port(config))).collect(),
            plain_addresses: plain_ports
                .into_iter()
                .flat_map(|port| own_addresses(config, Some(port)))
                .collect(),
            virtual_addresses: config
                .addresses
                .iter()
                .copied()
                .filter(|address| site.virtual_addresses.contains(address))
                .collect(),
            acceptor: tls.acceptor,
            gsi: tls.gsi,
            connectors: tls.connectors,
            data_path: config.data_path,
            kernel_path: site.kernel.path.clone().filter(|_| may_use_kernel(config.data_path)),
            policy: Arc::new(SessionPolicy {
                bounce,
                data_path: config.data_path,
                announce: config.announce_address.clone(),
                tls: match &config.tls {
                    None => TlsPolicy::Off,
                    Some(tls) if tls.required => TlsPolicy::Required,
                    Some(_) => TlsPolicy::Offered,
                },
                denied_commands: config.admittance.denied_commands.clone(),
                own_ports: Arc::clone(&site.own_ports),
            }),
            server_data: server_data.chain(of_sorry_server).collect(),
            timeouts: Timeouts {
                connect: config.connect_timeout,
                greeting: config.greeting_timeout,
                login: config.login_timeout,
                idle: config.idle_timeout,
            },
            admittance: Admittance::new(config, site, Arc::clone(&lasting.known)),
            offline_reply: offline_reply(config),
            proxy_protocol: config.real_servers.iter().map(|server| server.send_proxy_protocol).collect(),
            proxy_protocol_from: config.proxy_protocol_from.clone(),
            lasting,
        }
    }

    /// Whether the kernel may carry data connections of its sessions.
    pub(crate) fn has_kernel_path(&self) -> bool {
        self.kernel_path.is_some() && self.served_by.is_door()
    }

    /// The generation that is in force now, for a session that has not got its server yet: it may have waited for a header,
    /// a handshake or a server while the configuration changed. TLS that has begun goes on only with what began it.
    pub(super) fn in_force(self: &Arc<Self>, entrance: Entrance) -> Arc<Self> {
        let same_tls = |other: &Arc<Self>| match (entrance, &self.acceptor, &other.acceptor) {
            (Entrance::Clear | Entrance::Plain, ..) => true,
            (Entrance::ImplicitTls, Some(own), Some(others)) => Arc::ptr_eq(own, others),
            (Entrance::ImplicitTls, ..) => false,
        };
        self.lasting.in_force().filter(same_tls).unwrap_or_else(|| Arc::clone(self))
    }

    /// Whether an address where it listens has to be this host's.
    pub(super) fn presence(&self, address: IpAddr) -> Presence {
        if self.virtual_addresses.contains(&address) { Presence::Awaited } else { Presence::Required }
    }

    /// The shortest time-out that the sweep has to notice.
    pub(super) fn shortest_timeout(&self) -> Duration {
        self.timeouts.login.min(self.timeouts.idle)
    }

    /// The same of sessions that look for a server.
    pub(super) fn shortest_beginning(&self) -> Duration {
        let shortest = self.timeouts.connect.min(self.timeouts.greeting);
        let shortest = self.admittance.queue_limits.map_or(shortest, |queue| shortest.min(queue.timeout));
        if self.proxy_protocol_from.is_empty() { shortest } else { shortest.min(HEADER_FOR) }
    }

    /// Whether connections from there begin with a PROXY protocol header.
    pub(super) fn expects_header(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.proxy_protocol_from.iter().any(|network| network.contains(&peer))
    }

    /// Whether some real server is told who the client is.
    pub(super) fn sends_headers(&self) -> bool {
        self.proxy_protocol.iter().any(Option::is_some)
    }
}

/// Ports that the door serves in the kernel's place without reading what passes.
fn plain_ports(config: &config::VirtualServer) -> Vec<u16> {
    let control = (!config.speaks_ftp()).then_some(config.port);
    let further = config.direct_routing.iter().flat_map(|routing| routing.ports.iter().cloned().flatten());
    control.into_iter().chain(further).take(config::MAX_FALLBACK_PORTS).collect()
}

fn may_use_kernel(path: DataPath) -> bool {
    matches!(path, DataPath::Auto | DataPath::Kernel)
}

/// Every address of a virtual server with this port, if there is one.
fn own_addresses(config: &config::VirtualServer, port: Option<u16>) -> impl Iterator<Item = SocketAddr> {
    port.into_iter().flat_map(|port| config.addresses.iter().map(move |&ip| SocketAddr::new(ip, port)))
}

pub(super) fn implicit_port(config: &config::VirtualServer) -> Option<u16> {
    config.tls.as_ref().and_then(|tls| tls.implicit_port)
}
