//! What `gridfront status` shows.
mod admittance;
mod availability;
mod check;
mod drain;
mod gsi;
mod served_by;
mod server_certificate;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub(super) use admittance::AdmittanceStatus;

pub use self::availability::{EjectionStatus, QuorumStatus};
pub(super) use self::check::CheckStatus;
pub use self::drain::DrainStatus;
pub(super) use self::gsi::{GsiKeysStatus, GsiSessionsStatus, GsiStatus};
pub(super) use self::served_by::ServedByStatus;
pub use self::server_certificate::ServerCertificateStatus;
use super::certificates::today;
use super::forwarding::ForwardingStatus;
use super::in_force::InForce;
use super::names::NameStatus;
use super::reload::Refused;
use super::vrrp::{OwnershipStatus, VrrpStatus};
use crate::balance::RealServer;
use crate::proto::ftp::{DataPath, PathReason};
use crate::proxy::{Removed, ServedBy, Service};

/// The daemon at one moment.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// Of the process.
    pub pid: u32,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Control connections that are open, with those that have no server yet.
    pub sessions: usize,
    /// Log lines that were lost because nobody read them.
    pub log_lines_lost: u64,
    /// Sessions that ended by a bug of the program.
    pub panics: u64,
    /// Which configuration that is.
    pub configuration: ConfigurationStatus,
    /// In the order of the configuration; those behind them are in none any more, and their last sessions are here.
    pub virtual_servers: Vec<VirtualServerStatus>,
    /// Who has the virtual addresses.
    #[serde(default)]
    pub vrrp: Vec<VrrpStatus>,
    /// What these have in common, where there are any.
    #[serde(default)]
    pub ownership: Option<OwnershipStatus>,
    /// What the kernel carries, where something needs that.
    #[serde(default)]
    pub forwarding: Option<ForwardingStatus>,
    /// The names of real servers.
    #[serde(default)]
    pub names: Vec<NameStatus>,
    /// Where some virtual server has ended GSI.
    #[serde(default)]
    pub gsi_keys: Option<GsiKeysStatus>,
    /// Where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gsi_sessions: Option<GsiSessionsStatus>,
}

/// The configuration in force.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ConfigurationStatus {
    /// Seconds since it was put in force.
    pub loaded_s: u64,
    /// The last reload, if it was refused.
    pub refused: Option<RefusedStatus>,
}

/// A reload that was refused.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RefusedStatus {
    /// Seconds since.
    pub since_s: u64,
    /// Why, a line each.
    pub problems: Vec<String>,
}

/// One virtual server.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct VirtualServerStatus {
    /// As configured.
    pub name: String,
    /// Address and port of every listener.
    pub addresses: Vec<String>,
    /// As configured.
    pub lb_algo: String,
    /// Who should serve its clients, and who does.
    #[serde(flatten)]
    pub served_by: ServedByStatus,
    /// As configured.
    pub data_path: String,
    /// Sessions admitted now.
    pub sessions: u32,
    /// Connections that were closed because of their PROXY protocol header, or because there was one.
    #[serde(default)]
    pub proxy_header_failures: u64,
    /// Who was not let in, who waits, and who is kept out.
    #[serde(default)]
    pub admittance: AdmittanceStatus,
    /// Transfers that have ended, by who carried the data and why that was.
    pub data_paths: Vec<DataPathStatus>,
    /// Data that the door carries itself.
    pub relay: RelayStatus,
    /// Where GSI ends at the door.
    #[serde(default)]
    pub gsi: Option<GsiStatus>,
    /// How much of it is up, and how much has to be.
    #[serde(default)]
    pub quorum: QuorumStatus,
    /// In the order of the configuration; those behind them are in none any more, and their last sessions are here.
    pub real_servers: Vec<RealServerStatus>,
    /// Who takes the sessions when nobody else does. Nobody checks it: it is down in no event.
    #[serde(default)]
    pub sorry_server: Option<RealServerStatus>,
    /// It is in no configuration any more.
    #[serde(default)]
    pub removed: bool,
}

/// Transfers that took one data path for one reason.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DataPathStatus {
    /// `direct` or `relay`.
    pub data_path: String,
    /// As in the log.
    pub reason: String,
    /// How many, listings with them.
    pub transfers: u64,
}

/// What became of data connections to the door.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RelayStatus {
    /// Of `relay_ports`, on all addresses.
    pub ports_in_use: usize,
    /// How often none was free, and a client was told 425.
    pub ports_exhausted: u64,
    /// Connections from addresses that may not use the port.
    pub strangers_refused: u64,
    /// Connections beyond what one transfer may have.
    pub connections_refused: u64,
}

/// Whether a real server gets sessions, and if not, why.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// It does.
    Up,
    /// Its checks fail.
    Down,
    /// Taken out of service, or weight 0.
    Drained,
    /// Up, but the last check or session was answered with 421 or 422.
    Busy,
    /// Its checks fail, and it keeps its place with weight 0 (`inhibit_on_failure`).
    Inhibited,
    /// Up, but its sessions fail.
    Ejected,
    /// In no configuration any more; its sessions are drained.
    Removed,
}

/// One real server.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[allow(missing_docs)] // the counters are those of `balance::Stats`
pub struct RealServerStatus {
    pub name: String,
    pub address: String,
    /// As configured.
    pub weight: u32,
    /// As configured; `weight` is another when an operator has said so.
    pub configured_weight: u32,
    /// What counts: the weight that its `script` check says, or else the configured one.
    #[serde(default)]
    pub effective_weight: u32,
    pub state: ServerState,
    /// Out of service by an operator's word.
    pub drain: Option<DrainStatus>,
    /// Seconds since the state last changed between up and down; `None` if never.
    pub since_s: Option<u64>,
    /// Why the last check or greeting failed.
    pub reason: Option<String>,
    /// Sessions that it holds now.
    pub sessions: u32,
    pub total_sessions: u64,
    pub connect_failures: u64,
    pub busy: u64,
    pub logins: u64,
    pub login_failures: u64,
    pub gsi_logins: u64,
    pub gsi_failures: u64,
    /// Mean time from AUTH to 235 in milliseconds; `None` before the first.
    pub handshake_ms_mean: Option<f64>,
    pub handshake_ms_max: Option<f64>,
    pub transfers: u64,
    pub transfer_failures: u64,
    pub relayed_transfers: u64,
    /// Bytes that the door has carried to it.
    pub relayed_bytes_in: u64,
    /// Bytes that the door has carried from it.
    pub relayed_bytes_out: u64,
    pub data_failures: u64,
    /// The last check; `None` before the first.
    #[serde(default)]
    pub check: Option<CheckStatus>,
    /// For GSI, as a `gsi` check has seen it; `None` where there is none.
    #[serde(default)]
    pub certificate: Option<ServerCertificateStatus>,
    #[serde(default)]
    pub checks_passed: u64,
    #[serde(default)]
    pub checks_failed: u64,
    #[serde(default)]
    pub checks_busy: u64,
    /// Mean time from a check's start to its verdict in milliseconds; `None` before the first.
    #[serde(default)]
    pub check_ms_mean: Option<f64>,
    /// Why it is ejected, and how long; `None` when it is not.
    #[serde(default)]
    pub ejected: Option<EjectionStatus>,
    /// How often it was.
    #[serde(default)]
    pub ejections: u64,
    /// How far it has come in its slow start; `None` when it is not in one.
    #[serde(default)]
    pub slow_start_percent: Option<u32>,
}

impl Status {
    /// Reads every counter.
    #[must_use]
    pub(super) fn of(
        in_force: &InForce,
        refused: Option<&Refused>,
        sessions: usize,
        log_lines_lost: u64,
        uptime: u64,
        now: Instant,
    ) -> Self {
        let removed = in_force.generation.removed(now);
        let everything = || in_force.services().iter().chain(&removed.services);
        let of = |(number, service): (usize, &Arc<Service>)| {
            let mut status = VirtualServerStatus::of(service, &removed, now);
            status.removed = number >= in_force.services().len();
            // The door listens nowhere for what the kernel serves.
            let config = in_force.configuration.meant.virtual_servers.get(number);
            if let (ServedBy::Kernel | ServedBy::Nobody, Some(config)) = (service.served_by, config) {
                let at = |&address: &IpAddr| SocketAddr::new(address, config.port).to_string();
                status.addresses = config.addresses.iter().map(at).collect();
            }
            status
        };
        let since = |moment| now.saturating_duration_since(moment).as_secs();
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_s: uptime,
            sessions,
            log_lines_lost,
            panics: everything().map(|service| service.lasting.panics.load(Relaxed)).sum(),
            configuration: ConfigurationStatus {
                loaded_s: since(in_force.since),
                refused: refused.map(|refused| RefusedStatus {
                    since_s: since(refused.at),
                    problems: refused.problems.clone(),
                }),
            },
            virtual_servers: everything().enumerate().map(of).collect(),
            vrrp: Vec::new(),
            ownership: None,
            forwarding: None,
            names: Vec::new(),
            gsi_keys: in_force.generation.keys().map(GsiKeysStatus::of),
            gsi_sessions: None,
        }
    }
}

impl VirtualServerStatus {
    fn of(service: &Service, removed: &Removed, now: Instant) -> Self {
        let server = &service.virtual_server;
        let gone = removed.all_servers().filter(|(of, _)| of == server.name()).map(|(_, real)| real);
        // Of a virtual server that has gone itself they are all among these.
        let present = server
            .real_servers()
            .iter()
            .enumerate()
            .filter(|(_, real)| !real.is_removed())
            .map(|(index, real)| RealServerStatus::of(real, now).in_service_of(server, index, now));
        Self {
            name: server.name().into(),
            addresses: service
                .addresses
                .iter()
                .chain(&service.plain_addresses)
                .map(ToString::to_string)
                .collect(),
            lb_algo: server.lb_algo().to_string(),
            served_by: ServedByStatus::of(service),
            data_path: service.data_path.to_string(),
            sessions: server.active(),
            proxy_header_failures: service.lasting.proxy_header_failures.load(Relaxed),
            admittance: AdmittanceStatus::of(service, now),
            data_paths: service.lasting.path_counts.iter().map(DataPathStatus::of).collect(),
            relay: RelayStatus::of(service),
            gsi: GsiStatus::of(service, today()),
            quorum: QuorumStatus::of(server, now),
            real_servers: present.chain(gone.map(|real| RealServerStatus::of(real, now))).collect(),
            sorry_server: server
                .availability()
                .sorry_server
                .as_ref()
                .filter(|sorry| !sorry.is_removed())
                .map(|sorry| RealServerStatus::of(sorry, now)),
            removed: false,
        }
    }
}

impl DataPathStatus {
    fn of((data_path, reason, transfers): (DataPath, PathReason, u64)) -> Self {
        Self { data_path: data_path.to_string(), reason: reason.to_string(), transfers }
    }
}

impl RelayStatus {
    fn of(service: &Service) -> Self {
        let relaying = &service.lasting.relaying;
        Self {
            ports_in_use: relaying.ports.in_use(),
            ports_exhausted: relaying.ports.exhausted(),
            strangers_refused: relaying.strangers.load(Relaxed),
            connections_refused: relaying.refused.load(Relaxed),
        }
    }
}

impl RealServerStatus {
    /// `1`, or `0 (1)` where the configuration says 1.
    pub(super) fn shown_weight(&self) -> String {
        if self.weight == self.configured_weight {
            return self.weight.to_string();
        }
        format!("{} ({})", self.weight, self.configured_weight)
    }

    pub(super) fn of(server: &RealServer, now: Instant) -> Self {
        let health = server.health();
        let stats = &server.stats;
        let state = if server.is_removed() {
            ServerState::Removed
        } else if !health.up {
            ServerState::Down
        } else if server.is_drained() || server.effective_weight() == 0 {
            ServerState::Drained
        } else if health.busy {
            ServerState::Busy
        } else {
            ServerState::Up
        };
        let gsi_logins = stats.gsi_logins.load(Relaxed);
        let [checks_passed, checks_failed, checks_busy] =
            [&stats.checks_passed, &stats.checks_failed, &stats.checks_busy].map(|count| count.load(Relaxed));
        #[allow(clippy::cast_precision_loss)] // a display of milliseconds
        let millis = |micros: u64| micros as f64 / 1000.0;
        let in_millis = |mean: Duration| mean.as_secs_f64() * 1000.0;
        Self {
            name: server.name().into(),
            address: server.address().to_string(),
            weight: server.weight(),
            configured_weight: server.configured_weight(),
            effective_weight: server.effective_weight(),
            state,
            drain: server.drain().map(|drain| DrainStatus::of(drain, now)),
            since_s: health.since.map(|since| now.saturating_duration_since(since).as_secs()),
            reason: health.last_error,
            sessions: server.active(),
            total_sessions: stats.sessions.load(Relaxed),
            connect_failures: stats.connect_failures.load(Relaxed),
            busy: stats.busy.load(Relaxed),
            logins: stats.logins.load(Relaxed),
            login_failures: stats.login_failures.load(Relaxed),
            gsi_logins,
            gsi_failures: stats.gsi_failures.load(Relaxed),
            handshake_ms_mean: stats.handshakes.mean().map(in_millis),
            handshake_ms_max: (gsi_logins > 0).then(|| millis(stats.handshake_max_micros.load(Relaxed))),
            transfers: stats.transfers.load(Relaxed),
            transfer_failures: stats.transfer_failures.load(Relaxed),
            relayed_transfers: stats.relayed_transfers.load(Relaxed),
            relayed_bytes_in: stats.relayed_to_server.load(Relaxed),
            relayed_bytes_out: stats.relayed_to_client.load(Relaxed),
            data_failures: stats.data_failures.load(Relaxed),
            check: server.last_check().map(|last| CheckStatus::of(last, now)),
            certificate: server.certificate().map(ServerCertificateStatus::from),
            checks_passed,
            checks_failed,
            checks_busy,
            check_ms_mean: stats.check_times.mean().map(in_millis),
            ejected: None,
            ejections: stats.ejections.load(Relaxed),
            slow_start_percent: None,
        }
    }
}

/// For people: a table for every virtual server.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "gridfront {}, pid {}, up {} s, {} sessions",
            self.version, self.pid, self.uptime_s, self.sessions
        )?;
        if self.configuration.loaded_s < self.uptime_s {
            writeln!(f, "configuration reloaded {} s ago", self.configuration.loaded_s)?;
        }
        if let Some(refused) = &self.configuration.refused {
            writeln!(
                f,
                "the reload {} s ago was refused, and the configuration before it stays in force:",
                refused.since_s
            )?;
            refused.problems.iter().try_for_each(|problem| writeln!(f, "  {problem}"))?;
        }
        if self.log_lines_lost > 0 {
            writeln!(f, "{} log lines lost: whoever reads the log is too slow", self.log_lines_lost)?;
        }
        if self.panics > 0 {
            writeln!(f, "{} sessions ended by a bug: see the log and report it", self.panics)?;
        }
        if let Some(forwarding) = &self.forwarding {
            write!(f, "\n{forwarding}")?;
        }
        if let Some(ownership) = &self.ownership {
            write!(f, "\n{ownership}")?;
        }
        self.vrrp.iter().try_for_each(|instance| write!(f, "{instance}"))?;
        for server in &self.virtual_servers {
            write!(f, "\n{server}")?;
        }
        if let Some(keys) = &self.gsi_keys {
            writeln!(f, "\n{keys}")?;
        }
        for name in &self.names {
            let NameStatus { name, addresses, reason, next_s, .. } = name;
            writeln!(f, "\n{name}: {}, asked again in {next_s} s", addresses.join(" "))?;
            if let Some(reason) = reason {
                writeln!(f, "  {reason}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for VirtualServerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = if self.removed { "no address any more".into() } else { self.addresses.join(" ") };
        writeln!(
            f,
            "{} at {addresses}, {}, data {}, {} sessions",
            self.name, self.lb_algo, self.data_path, self.sessions
        )?;
        if self.served_by.is_remarkable() && !self.removed {
            writeln!(f, "  {}", self.served_by)?;
        }
        if self.proxy_header_failures > 0 {
            writeln!(
                f,
                "  {} connections closed for their PROXY protocol header: see the log, and `proxy_protocol_from`",
                self.proxy_header_failures
            )?;
        }
        if self.quorum.is_remarkable() {
            writeln!(f, "  {}", self.quorum)?;
        }
        let width = self
            .real_servers
            .iter()
            .chain(&self.sorry_server)
            .map(|server| server.name.len())
            .max()
            .unwrap_or(0)
            .max(11);
        writeln!(
            f,
            "  {:width$}  {:21}  {:9}  {:>6}  {:>8}  {:>8}  {:>15}  {:>17}  {:>13}",
            "real server",
            "address",
            "state",
            "weight",
            "sessions",
            "total",
            "logins (failed)",
            "GSI (failed, ms)",
            "transfers (failed)",
        )?;
        for server in self.real_servers.iter().chain(&self.sorry_server) {
            let state = format!("{:?}", server.state).to_lowercase();
            let logins = format!("{} ({})", server.logins, server.login_failures);
            let handshake = server.handshake_ms_mean.map_or("-".into(), |millis| format!("{millis:.0}"));
            let gsi = format!("{} ({}, {handshake})", server.gsi_logins, server.gsi_failures);
            let transfers = format!("{} ({})", server.transfers, server.transfer_failures);
            writeln!(
                f,
                "  {:width$}  {:21}  {state:9}  {:>6}  {:>8}  {:>8}  {logins:>15}  {gsi:>17}  {transfers:>18}",
                server.name,
                server.address,
                server.shown_weight(),
                server.sessions,
                server.total_sessions,
            )?;
            if server.effective_weight != server.weight {
                writeln!(
                    f,
                    "  {:width$}  weight {} as its check says, not {}",
                    "", server.effective_weight, server.weight
                )?;
            }
            if let Some(drain) = &server.drain {
                writeln!(f, "  {:width$}  {drain}, {} sessions left", "", server.sessions)?;
            }
            if let Some(ejected) = &server.ejected {
                writeln!(f, "  {:width$}  {ejected}", "")?;
            }
            if let Some(percent) = server.slow_start_percent {
                writeln!(f, "  {:width$}  slow start, {percent} %", "")?;
            }
            if let Some(check) = &server.check {
                let CheckStatus { result, found, ms, ago_s } = check;
                writeln!(f, "  {:width$}  check {result} in {ms:.0} ms, {ago_s} s ago: {found}", "")?;
            }
            if let Some(certificate) = &server.certificate {
                writeln!(f, "  {:width$}  {certificate}", "")?;
            }
            let of_check = server.check.as_ref().map(|check| &check.found);
            if let Some(reason) = server.reason.as_ref().filter(|reason| Some(*reason) != of_check) {
                writeln!(f, "  {:width$}  {reason}", "")?;
            }
        }
        for path in &self.data_paths {
            writeln!(f, "  data {}, {}: {} transfers", path.data_path, path.reason, path.transfers)?;
        }
        let sum = |of: fn(&RealServerStatus) -> u64| self.real_servers.iter().map(of).sum::<u64>();
        if sum(|server| server.relayed_transfers) > 0 || self.relay.ports_exhausted > 0 {
            writeln!(
                f,
                "  relay: {} bytes in, {} bytes out, {} ports in use ({} times none free), {} strangers refused",
                sum(|server| server.relayed_bytes_in),
                sum(|server| server.relayed_bytes_out),
                self.relay.ports_in_use,
                self.relay.ports_exhausted,
                self.relay.strangers_refused,
            )?;
        }
        if let Some(gsi) = &self.gsi {
            gsi.fmt(f)?;
        }
        self.admittance.fmt(f)
    }
}
