//! The configuration as values: what a whole, accepted file says, defaults filled in.
mod availability;
mod check;
mod forwarding;
pub mod vrrp;

pub use self::availability::Availability;
pub use self::check::{Account, Check, CheckKind, GsiCheck, SampleFile, Script};
pub(super) use self::forwarding::FTP_PORTS;
pub use self::forwarding::{DirectRouting, Engine, Forwarding, LvsSync, MAX_FALLBACK_PORTS, Persistence};
use self::vrrp::Vrrp;
use super::error::TooFewDescriptors;
use super::naming::NamedServer;
use crate::balance::{ClientLimits, IdentityRules, LbAlgo};
use crate::proto::ftp::{CommandFilter, DataPath, ForeignDataAddresses};
use crate::proto::proxy_protocol;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// A whole configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// What concerns the process.
    pub global: Global,
    /// The services, in file order.
    pub virtual_servers: Vec<VirtualServer>,
    /// Who owns their addresses.
    pub vrrp: Vrrp,
    /// What concerns the kernel that forwards, where the file says something of it.
    pub forwarding: Option<Forwarding>,
}

/// What concerns the process: `[global]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Global {
    /// How this balancer calls itself in logs; the host name when not set.
    pub router_id: Option<String>,
    /// Who is asked for names; those of /etc/resolv.conf when empty.
    pub nameservers: Vec<SocketAddr>,
    /// The Unix socket of `status`.
    pub admin_socket: PathBuf,
    /// Threads that carry sessions; one per core of the affinity mask when not set.
    pub threads: Option<NonZeroUsize>,
    /// How long running transfers may take to finish after SIGTERM.
    pub drain_timeout: Duration,
    /// Where `/metrics`, `/healthz` and `/readyz` are answered; nowhere when not set.
    pub http: Option<SocketAddr>,
    /// The file that gets a line for each transfer, in Globus' form.
    pub transfer_log: Option<PathBuf>,
    /// Sessions at once, all virtual servers together; what these say, when not set.
    pub max_sessions: Option<u32>,
    /// Keys for delegated credentials that lie ready.
    pub gsi_ready_keys: usize,
}

/// One service: the addresses and port that clients know, and the servers behind them.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualServer {
    /// Unique in the file.
    pub name: String,
    /// Where it listens; without duplicates, IPv4 and IPv6 in file order.
    pub addresses: Vec<IpAddr>,
    /// The control port of every address.
    pub port: u16,
    /// Set where the kernel balances its connections, and not the door.
    pub direct_routing: Option<DirectRouting>,
    /// How a session's real server is chosen.
    pub lb_algo: LbAlgo,
    /// Who carries the bytes of data connections.
    pub data_path: DataPath,
    /// Ports of the virtual address that the door itself may open, 1024 or above.
    pub relay_ports: RangeInclusive<u16>,
    /// What clients are told of the virtual address where they reach it under another (1:1 NAT), at most one of each family.
    pub announce_address: Vec<IpAddr>,
    /// Whose connections begin with a PROXY protocol header.
    pub proxy_protocol_from: Vec<ipnet::IpNet>,
    /// The door's own TLS, for clients with AUTH TLS.
    pub tls: Option<Tls>,
    /// GSI that ends at the door; bytes of AUTH GSSAPI pass unread where it is not set.
    pub gsi: Option<Gsi>,
    /// Which addresses a session may name in PORT, EPRT and SPOR.
    pub foreign_data_addresses: ForeignDataAddresses,
    /// Networks that every session may name in PORT, EPRT and SPOR.
    pub trusted_networks: Vec<ipnet::IpNet>,
    /// Sessions at once, all real servers together.
    pub max_sessions: u32,
    /// Who may come in besides, how often, and what may be said.
    pub admittance: Admittance,
    /// From the greeting to a login.
    pub login_timeout: Duration,
    /// From one command to the next while no transfer is open.
    pub idle_timeout: Duration,
    /// From the connection to a real server until its 220.
    pub greeting_timeout: Duration,
    /// For a session's connection to a real server.
    pub connect_timeout: Duration,
    /// How the health of its real servers is found out.
    pub check: Check,
    /// When they are to be had.
    pub availability: Availability,
    /// Those that the file gives an address; with the next at least one.
    pub real_servers: Vec<RealServer>,
    /// Those that it gives a name, in file order.
    pub named_servers: Vec<NamedServer>,
}

/// Who may come in, how often, and what may be said; nothing is limited by default.
#[derive(Clone, Debug, PartialEq)]
pub struct Admittance {
    /// Networks whose clients may come; all when empty.
    pub allow: Vec<ipnet::IpNet>,
    /// Networks whose clients may not.
    pub deny: Vec<ipnet::IpNet>,
    /// What one client may take. Whom no ban concerns is not in it: that follows from the whole configuration.
    pub client_limits: ClientLimits,
    /// Commands that no server is to hear.
    pub denied_commands: CommandFilter,
    /// Whether sessions wait while all real servers are full.
    pub queue: Option<QueueLimits>,
}

/// How many sessions wait while all real servers are full, and for how long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct QueueLimits {
    /// At least 1.
    pub length: u32,
    /// After it the client is told that the service is busy.
    pub timeout: Duration,
}

/// TLS that ends at the door: `[virtual_server.tls]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tls {
    /// The certificate and its chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM; may be the same file.
    pub key: PathBuf,
    /// The port where sessions begin with TLS (`ftps`, 990), on every address.
    pub implicit_port: Option<u16>,
    /// Whether a login needs TLS (or GSI).
    pub required: bool,
}

/// GSI that ends at the door: `[virtual_server.gsi]` with `mode = "terminate"`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gsi {
    /// The host's certificate and its chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The directory of authorities, signing policies and revocation lists.
    pub trust_anchors: PathBuf,
    /// Which users may come in, how often, and whether each has a server of its own.
    pub identities: IdentityRules,
    /// Who logs in at the real servers.
    pub backend_login: BackendLogin,
}

/// Who logs in at the real servers where GSI ends at the door: `backend_login`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BackendLogin {
    /// The door, with the credential that the client delegates; but clients of these networks do it themselves
    /// (`passthrough_networks`).
    Delegated(Vec<ipnet::IpNet>),
    /// Every client itself. The door reads nobody's name then, and no rule for users is configured.
    Passthrough,
}

/// TLS between door and real server, control and data: `tls` of a real server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerTls {
    /// How it begins.
    pub mode: ServerTlsMode,
    /// Certificates that may have signed the server's, PEM; not needed where it is not verified.
    pub trust_anchors: Option<PathBuf>,
    /// The name in its certificate; its address when not set.
    pub name: Option<String>,
    /// Whether the certificate is verified.
    pub verify: bool,
}

/// How TLS to a real server begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ServerTlsMode {
    /// With AUTH TLS after the greeting.
    Explicit,
    /// Before the greeting.
    Implicit,
}

/// One server behind a virtual server.
#[derive(Clone, Debug, PartialEq)]
pub struct RealServer {
    /// Unique in its virtual server; the address when not set.
    pub name: String,
    /// Its control address.
    pub address: IpAddr,
    /// Its control port.
    pub port: u16,
    /// Share of sessions, 0 to 65535; 0 gets no new ones.
    pub weight: u32,
    /// Sessions at once.
    pub max_connections: Option<u32>,
    /// Its addresses as clients reach them, at most one of each family; what the server itself announces when
    /// empty.
    pub data_addresses: Vec<IpAddr>,
    /// Addresses of its data nodes and what clients are told in their place (1:1 NAT); each pair of one family.
    pub data_address_map: Vec<(IpAddr, IpAddr)>,
    /// Its slice of the virtual address's ports, 1024 or above.
    pub data_ports: Option<RangeInclusive<u16>>,
    /// Whether it refuses data connections that do not come from the control connection's address.
    pub checks_data_peer: bool,
    /// Whether it is told who the client is, and how.
    pub send_proxy_protocol: Option<proxy_protocol::Version>,
    /// TLS to it.
    pub tls: Option<ServerTls>,
    /// The host name in its GSI certificate; its own when not set. The virtual server's is as good.
    pub gsi_name: Option<String>,
    /// The subject of its GSI certificate as a whole, in the slash form.
    pub gsi_subject: Option<String>,
    /// How its own health is found out, where that is not as for the others.
    pub check: Option<Check>,
    /// Whether its failure gives it weight 0 in place of taking it out.
    pub inhibit_on_failure: bool,
}

/// The port that IANA assigns to GridFTP (`gsiftp`).
pub(super) const GSIFTP_PORT: u16 = 2811;

/// Most that `weight` may be, as in IPVS.
pub(super) const MAX_WEIGHT: u32 = 65535;

/// Descriptors besides those of sessions: listeners, admin connections, checks, logs, event queues.
const DESCRIPTORS_OF_THE_PROCESS: u64 = 64;

/// One to the client and one to the real server.
const DESCRIPTORS_OF_A_SESSION: u64 = 2;

/// Of a transfer that crosses the door: a connection on either side, and a pipe while bytes wait for a slow peer. Which of
/// the two directions that is changes nothing, for files move in one.
const DESCRIPTORS_OF_A_RELAY: u64 = 4;

/// The sockets for adverts of a virtual router: one that hears and one that sends. Others of VRRP are the process's.
const DESCRIPTORS_OF_AN_INSTANCE: u64 = 2;

/// How many file descriptors the process needs when every virtual server is full, and as many of its sessions transfer
/// through the door as it has `relay_ports`.
#[must_use]
pub fn descriptors_needed(model: &Model) -> u64 {
    let servers = &model.virtual_servers;
    let sessions: u64 = servers.iter().map(|server| u64::from(server.max_sessions)).sum();
    let sessions = sessions.min(model.global.max_sessions.map_or(u64::MAX, u64::from));
    let relays: u64 = servers.iter().map(|server| relays(server).min(u64::from(server.max_sessions))).sum();
    let relays = relays.min(sessions);
    sessions * DESCRIPTORS_OF_A_SESSION + relays * DESCRIPTORS_OF_A_RELAY + besides_sessions(model)
}

fn besides_sessions(model: &Model) -> u64 {
    DESCRIPTORS_OF_THE_PROCESS + model.vrrp.instances.len() as u64 * DESCRIPTORS_OF_AN_INSTANCE
}

fn relays(server: &VirtualServer) -> u64 {
    let constrained = server.written_servers().any(|real| real.checks_data_peer || real.tls.is_some());
    if server.data_path == DataPath::Direct && server.tls.is_none() && !constrained {
        0
    } else {
        server.relay_ports.len() as u64
    }
}

/// Compares the process's limit of file descriptors (`RLIMIT_NOFILE`) with what the configuration may need.
///
/// # Errors
///
/// When `limit` is too low for every virtual server to be full at once. Not a reason to refuse a start: it
/// shows only under a load that may never come.
pub fn check_descriptors(model: &Model, limit: u64) -> Result<(), TooFewDescriptors> {
    let needed = descriptors_needed(model);
    if limit >= needed {
        return Ok(());
    }
    let free = limit.saturating_sub(besides_sessions(model));
    let relays: u64 = model.virtual_servers.iter().map(relays).sum();
    // As long as there are ports, each session may transfer.
    let all_transfer = free / (DESCRIPTORS_OF_A_SESSION + DESCRIPTORS_OF_A_RELAY);
    let sessions = match free.checked_sub(relays * DESCRIPTORS_OF_A_RELAY) {
        Some(rest) if all_transfer > relays => rest / DESCRIPTORS_OF_A_SESSION,
        _ => all_transfer,
    };
    Err(TooFewDescriptors { limit, needed, sessions })
}

impl Model {
    /// Every address that may be ours at times, and at others on another balancer.
    #[must_use]
    pub fn owned_addresses(&self) -> BTreeSet<IpAddr> {
        self.vrrp.owned_addresses()
    }
}

impl Global {
    /// A burst of so many logins waits for no key.
    const GSI_READY_KEYS: usize = 64;
}

impl Default for Global {
    fn default() -> Self {
        Self {
            router_id: None,
            nameservers: Vec::new(),
            admin_socket: PathBuf::from("/run/gridfront/admin.sock"),
            threads: None,
            drain_timeout: Duration::from_secs(60),
            http: None,
            transfer_log: None,
            max_sessions: None,
            gsi_ready_keys: Self::GSI_READY_KEYS,
        }
    }
}

impl Default for Admittance {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            client_limits: ClientLimits::none(),
            denied_commands: CommandFilter::default(),
            queue: None,
        }
    }
}

impl QueueLimits {
    /// How long sessions wait where nothing is said: clients that give up at all do so after 30 s and more.
    pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
}

impl Default for BackendLogin {
    fn default() -> Self {
        Self::Delegated(Vec::new())
    }
}

impl BackendLogin {
    /// Whether a client with this address has its GSI session with the real server, unread.
    #[must_use]
    pub fn passes(&self, client: IpAddr) -> bool {
        match self {
            Self::Passthrough => true,
            Self::Delegated(networks) => {
                let client = client.to_canonical();
                networks.iter().any(|network| network.contains(&client))
            }
        }
    }

    /// As the file has it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Delegated(_) => "delegated",
            Self::Passthrough => "passthrough",
        }
    }
}

impl VirtualServer {
    /// A virtual server with every default; it still needs addresses and real servers.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self {
            name,
            addresses: Vec::new(),
            port: GSIFTP_PORT,
            direct_routing: None,
            lb_algo: LbAlgo::default(),
            data_path: DataPath::default(),
            relay_ports: 52000..=53000,
            announce_address: Vec::new(),
            proxy_protocol_from: Vec::new(),
            tls: None,
            gsi: None,
            foreign_data_addresses: ForeignDataAddresses::default(),
            trusted_networks: Vec::new(),
            max_sessions: 10_000,
            admittance: Admittance::default(),
            login_timeout: Duration::from_secs(120),
            idle_timeout: Duration::from_secs(15 * 60),
            greeting_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            check: Check::default(),
            availability: Availability::default(),
            real_servers: Vec::new(),
            named_servers: Vec::new(),
        }
    }

    /// Its real servers as they are written, those with a name too; the address of these means nothing.
    pub fn written_servers(&self) -> impl Iterator<Item = &RealServer> {
        self.real_servers.iter().chain(self.named_servers.iter().map(|named| &named.template))
    }

    /// Whether GSI sessions go to the real servers unread: everybody's, or those of a network that `is_meant`.
    pub(super) fn gsi_passes_for(&self, is_meant: impl FnMut(&ipnet::IpNet) -> bool) -> bool {
        match self.gsi.as_ref().map(|gsi| &gsi.backend_login) {
            None | Some(BackendLogin::Passthrough) => true,
            Some(BackendLogin::Delegated(networks)) => networks.iter().any(is_meant),
        }
    }

    /// The check of one of its real servers: that one's own, or the one for all.
    #[must_use]
    pub fn check_of<'c>(&'c self, server: &'c RealServer) -> &'c Check {
        server.check.as_ref().unwrap_or(&self.check)
    }
}

impl RealServer {
    /// A real server with every default, named by its address.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        Self {
            name: address.to_string(),
            address,
            port: GSIFTP_PORT,
            weight: 1,
            max_connections: None,
            data_addresses: Vec::new(),
            data_address_map: Vec::new(),
            data_ports: None,
            checks_data_peer: false,
            send_proxy_protocol: None,
            tls: None,
            gsi_name: None,
            gsi_subject: None,
            check: None,
            inhibit_on_failure: false,
        }
    }
}
