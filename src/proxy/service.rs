//! A virtual server at work: its configuration, the policy that its sessions share, and its real servers.
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use super::relay::{LivePorts, Relaying};
use crate::balance::{RealServer, RealServerSpec, VirtualServer};
use crate::config;
use crate::proto::ftp::{
    BouncePolicy, DataAddresses, DataConstraint, DataPath, OwnPorts, PathReason, ServerData, SessionPolicy,
    TlsPolicy,
};
use crate::proto::proxy_protocol;
use crate::tls::{Acceptor, Connector, CredentialProblem};

use super::arrival::HEADER_FOR;

/// See the module's text.
#[derive(Debug)]
pub struct Service {
    /// Choice and counts.
    pub virtual_server: Arc<VirtualServer>,
    /// Where it listens.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Where sessions begin with TLS.
    pub(super) implicit_addresses: Vec<SocketAddr>,
    /// The door's own TLS.
    pub(crate) acceptor: Option<Arc<Acceptor>>,
    /// TLS to real servers, in the order of the virtual server's.
    pub(crate) connectors: Vec<Option<Arc<Connector>>>,
    /// As configured.
    pub(crate) data_path: DataPath,
    pub(super) policy: Arc<SessionPolicy>,
    /// In the order of the virtual server's real servers.
    pub(super) server_data: Vec<Arc<ServerData>>,
    /// Whether a real server is told who the client is; in the same order.
    pub(super) proxy_protocol: Vec<Option<proxy_protocol::Version>>,
    /// Whose connections begin with a PROXY protocol header.
    proxy_protocol_from: Vec<IpNet>,
    pub(super) timeouts: Timeouts,
    /// Connections that were closed because of their PROXY protocol header: it was missing or broken, or there was one
    /// from where none is believed.
    pub(crate) proxy_header_failures: AtomicU64,
    pub(crate) relaying: Relaying,
    pub(crate) path_counts: PathCounts,
    /// Sessions that ended by a panic of ours.
    pub(crate) panics: AtomicU64,
}

/// How many transfers took which data path, and why.
#[derive(Debug, Default)]
pub(crate) struct PathCounts([AtomicU64; PATHS.len()]);

/// What a transfer can have.
const PATHS: [(DataPath, PathReason); 9] = [
    (DataPath::Direct, PathReason::Configured),
    (DataPath::Direct, PathReason::GlobusClient),
    (DataPath::Relay, PathReason::Configured),
    (DataPath::Relay, PathReason::GlobusClient),
    (DataPath::Relay, PathReason::OtherClient),
    (DataPath::Relay, PathReason::PeerChecked),
    (DataPath::Relay, PathReason::TlsToClient),
    (DataPath::Relay, PathReason::TlsToServer),
    (DataPath::Relay, PathReason::OwnRelayNamed),
];

impl PathCounts {
    pub(super) fn count(&self, path: DataPath, reason: PathReason) {
        if let Some(index) = PATHS.iter().position(|&known| known == (path, reason)) {
            self.0[index].fetch_add(1, Relaxed);
        }
    }

    /// Those that are not 0.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (DataPath, PathReason, u64)> {
        let counts = PATHS.iter().zip(&self.0);
        counts
            .map(|(&(path, reason), count)| (path, reason, count.load(Relaxed)))
            .filter(|&(.., count)| count > 0)
    }
}

/// What the virtual servers know of each other.
struct Site {
    /// Where real servers are reached for data.
    servers: Vec<IpAddr>,
    /// Where services listen.
    services: Vec<SocketAddr>,
    live_ports: Arc<LivePorts>,
    own_ports: Arc<OwnPorts>,
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
    /// Builds every virtual server of a configuration; they know each other's addresses, for third-party transfers
    /// and for what no data connection may reach.
    ///
    /// Reads the certificates; what is likely not meant with them comes beside.
    ///
    /// # Errors
    ///
    /// A certificate or a key that cannot be used.
    pub fn from_model(
        model: &config::Model,
        today: SystemTime,
    ) -> Result<(Vec<Arc<Self>>, Vec<CredentialProblem>), CredentialProblem> {
        let everything = &model.virtual_servers;
        let site = Site {
            servers: everything.iter().flat_map(|v| &v.real_servers).flat_map(data_ips).collect(),
            services: everything.iter().flat_map(service_addresses).collect(),
            live_ports: Arc::default(),
            own_ports: Arc::new(OwnPorts::new(everything.iter().map(|v| v.relay_ports.clone()).collect())),
        };
        for address in everything.iter().flat_map(|v| v.addresses.iter().chain(&v.announce_address)) {
            site.own_ports.add_address(*address);
        }
        let mut warnings = Vec::new();
        let mut built = Vec::new();
        for config in everything {
            let acceptor = match &config.tls {
                None => None,
                Some(tls) => {
                    let (acceptor, more) = Acceptor::open(tls, today)?;
                    warnings.extend(more);
                    Some(Arc::new(acceptor))
                }
            };
            let connectors = config.real_servers.iter().map(|server| match &server.tls {
                None => Ok(None),
                Some(tls) => Connector::open(tls, server.address).map(|connector| Some(Arc::new(connector))),
            });
            let connectors = connectors.collect::<Result<Vec<_>, _>>()?;
            built.push(Arc::new(Self::new(config, acceptor, connectors, &site)));
        }
        Ok((built, warnings))
    }

    fn new(
        config: &config::VirtualServer,
        acceptor: Option<Arc<Acceptor>>,
        connectors: Vec<Option<Arc<Connector>>>,
        site: &Site,
    ) -> Self {
        let real_servers = config.real_servers.iter().map(|server| {
            Arc::new(RealServer::new(RealServerSpec {
                name: server.name.clone(),
                address: SocketAddr::new(server.address, server.port),
                weight: server.weight,
                max_connections: server.max_connections,
                fall: config.check_of(server).fall(),
                rise: config.check_of(server).rise,
            }))
        });
        let virtual_server = VirtualServer::new(
            config.name.clone(),
            config.lb_algo,
            config.max_sessions,
            real_servers.collect(),
        );
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
        Self {
            virtual_server,
            addresses: own_addresses(config, Some(config.port)).collect(),
            implicit_addresses: own_addresses(config, implicit_port(config)).collect(),
            acceptor,
            connectors,
            data_path: config.data_path,
            policy: Arc::new(SessionPolicy {
                bounce,
                data_path: config.data_path,
                announce: config.announce_address.clone(),
                tls: match &config.tls {
                    None => TlsPolicy::Off,
                    Some(tls) if tls.required => TlsPolicy::Required,
                    Some(_) => TlsPolicy::Offered,
                },
                own_ports: Arc::clone(&site.own_ports),
            }),
            server_data: server_data.collect(),
            timeouts: Timeouts {
                connect: config.connect_timeout,
                greeting: config.greeting_timeout,
                login: config.login_timeout,
                idle: config.idle_timeout,
            },
            proxy_protocol: config.real_servers.iter().map(|server| server.send_proxy_protocol).collect(),
            proxy_protocol_from: config.proxy_protocol_from.clone(),
            proxy_header_failures: AtomicU64::new(0),
            path_counts: PathCounts::default(),
            relaying: Relaying::new(config.relay_ports.clone(), Arc::clone(&site.live_ports)),
            panics: AtomicU64::new(0),
        }
    }

    /// The shortest time-out that the sweep has to notice.
    pub(super) fn shortest_timeout(&self) -> Duration {
        self.timeouts.login.min(self.timeouts.idle)
    }

    /// The same of sessions that look for a server.
    pub(super) fn shortest_beginning(&self) -> Duration {
        let shortest = self.timeouts.connect.min(self.timeouts.greeting);
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

/// Every address of a virtual server with this port, if there is one.
fn own_addresses(config: &config::VirtualServer, port: Option<u16>) -> impl Iterator<Item = SocketAddr> {
    port.into_iter().flat_map(|port| config.addresses.iter().map(move |&ip| SocketAddr::new(ip, port)))
}

fn implicit_port(config: &config::VirtualServer) -> Option<u16> {
    config.tls.as_ref().and_then(|tls| tls.implicit_port)
}

/// Where a real server and its data nodes are reached for data.
fn data_ips(server: &config::RealServer) -> impl Iterator<Item = IpAddr> {
    let mapped = server.data_address_map.iter().flat_map(|&(from, to)| [from, to]);
    std::iter::once(server.address)
        .chain(server.data_addresses.iter().copied())
        .chain(mapped)
        .map(|ip| ip.to_canonical())
}

/// The control ports of a virtual server and of its real servers, on every address that is known of them.
fn service_addresses(config: &config::VirtualServer) -> Vec<SocketAddr> {
    let ports = std::iter::once(config.port).chain(implicit_port(config));
    let known_as = || config.addresses.iter().chain(&config.announce_address);
    let own = ports.flat_map(|port| known_as().map(move |ip| SocketAddr::new(ip.to_canonical(), port)));
    let behind = config
        .real_servers
        .iter()
        .flat_map(|server| data_ips(server).map(|ip| SocketAddr::new(ip, server.port)));
    own.chain(behind).collect()
}
