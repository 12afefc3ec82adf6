//! What `gridfront status` shows of the kernel path.
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use super::super::in_force::InForce;
use super::{Running, SILENT_AFTER, lock};
use crate::balance::{FlowCounts, SyncRole};

/// The kernel path at one moment.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ForwardingStatus {
    /// Who forwards; nobody where there is a reason.
    pub engine: Option<String>,
    /// Why nobody does.
    pub reason: Option<String>,
    /// Where clients come in.
    pub interfaces: Vec<String>,
    /// What does not work, and how to mend it.
    pub problems: Vec<String>,
    /// Whole virtual servers, one for each address and port or group of them.
    pub services: Vec<ForwardedServiceStatus>,
    /// Real servers to which data connections may go.
    pub carriers: Vec<CarrierStatus>,
    /// What was removed and waits for its last connection.
    pub leaving: usize,
    /// Ports that sessions expect.
    pub expectations: ExpectationStatus,
    /// Whether real servers answer at virtual addresses.
    pub probes: Vec<ProbeStatus>,
    /// `master` or `backup` where flows are told to another balancer.
    pub sync: Option<String>,
    /// What was changed in the kernel.
    pub changes: u64,
    /// What could not be.
    pub failures: u64,
}

/// A virtual server in the kernel.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ForwardedServiceStatus {
    /// As configured.
    pub virtual_server: String,
    /// Address and port, or several.
    pub entry: String,
    /// Its real servers, those that leave with them.
    pub members: Vec<MemberStatus>,
}

/// A real server of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MemberStatus {
    /// As configured.
    pub real_server: String,
    /// Where packets go.
    pub address: String,
    /// What the kernel has counted.
    #[serde(flatten)]
    pub flows: FlowStatus,
}

/// A real server that data connections go to.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CarrierStatus {
    /// Where packets go.
    pub address: String,
    /// Ports of virtual addresses that are its own.
    pub slices: Vec<String>,
    /// What the kernel has counted.
    #[serde(flatten)]
    pub flows: FlowStatus,
}

/// What the kernel has counted.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct FlowStatus {
    /// Connections that are open.
    pub active: u32,
    /// That are not any more.
    pub inactive: u32,
    /// In all.
    pub connections: u64,
    /// From clients.
    pub packets: u64,
    /// From clients.
    pub bytes: u64,
}

/// Ports that sessions expect.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ExpectationStatus {
    /// Now.
    pub live: usize,
    /// That were carried, in all.
    pub carried: u64,
    /// That were relayed because another server had the port.
    pub port_taken: u64,
    /// That were relayed because the server was not fit.
    pub closed: u64,
}

/// Whether a real server answers at a virtual address.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ProbeStatus {
    /// Its own address.
    pub server: String,
    /// The virtual one, with the port where that is of a virtual server.
    pub address: String,
    /// It does.
    pub answered: bool,
    /// What was found, and how to mend it.
    pub found: String,
}

/// What the kernel has counted of one real server, in all of its services.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct ServerFlows {
    pub(in crate::control) virtual_server: String,
    pub(in crate::control) real_server: String,
    /// Whole connections to the virtual server.
    pub(in crate::control) service: FlowStatus,
    /// Data connections, of all virtual servers that it serves.
    pub(in crate::control) data: FlowStatus,
    /// It does not answer at a virtual address.
    pub(in crate::control) is_silent: bool,
}

impl ServerFlows {
    /// Of every real server.
    pub(super) fn all(in_force: &InForce, status: &ForwardingStatus) -> Vec<Self> {
        let mut all = Vec::new();
        for server in &in_force.configuration.meant.virtual_servers {
            for real in &server.real_servers {
                let own: Vec<String> = [false, true]
                    .into_iter()
                    .filter_map(|ipv6| real.address_of_family(ipv6))
                    .map(|address| address.to_string())
                    .collect();
                let services = status.services.iter().filter(|of| of.virtual_server == server.name);
                let members = services.flat_map(|of| &of.members).filter(|of| of.real_server == real.name);
                let carriers = status.carriers.iter().filter(|of| own.contains(&of.address));
                let silent = |probe: &&ProbeStatus| !probe.answered && own.contains(&probe.server);
                all.push(Self {
                    virtual_server: server.name.clone(),
                    real_server: real.name.clone(),
                    service: members.map(|of| of.flows).sum(),
                    data: carriers.map(|of| of.flows).sum(),
                    is_silent: status.probes.iter().any(|probe| silent(&probe)),
                });
            }
        }
        all
    }
}

impl std::iter::Sum for FlowStatus {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, of| Self {
            active: sum.active + of.active,
            inactive: sum.inactive + of.inactive,
            connections: sum.connections + of.connections,
            packets: sum.packets + of.packets,
            bytes: sum.bytes + of.bytes,
        })
    }
}

impl ForwardingStatus {
    pub(super) fn failed(why: &str) -> Self {
        Self { reason: Some(why.to_owned()), ..Self::default() }
    }
}

impl From<FlowCounts> for FlowStatus {
    fn from(FlowCounts { active, inactive, connections, packets, bytes }: FlowCounts) -> Self {
        Self { active, inactive, connections, packets, bytes }
    }
}

impl Running {
    pub(super) fn status(&self, in_force: &InForce) -> ForwardingStatus {
        let seen = self.worker.seen();
        let wanted = self.wanted(in_force);
        let member = |(real_server, address, counts): &(String, std::net::IpAddr, FlowCounts)| MemberStatus {
            real_server: real_server.clone(),
            address: address.to_string(),
            flows: (*counts).into(),
        };
        let counts = |address| {
            let of = seen.counts.carriers.iter().find(|(of, _)| *of == address);
            of.map(|(_, counts)| FlowStatus::from(*counts)).unwrap_or_default()
        };
        let carriers = wanted.plan.carriers.iter().map(|carrier| CarrierStatus {
            address: carrier.address.to_string(),
            slices: carrier
                .slices
                .iter()
                .map(|(address, ports)| format!("{address} {}-{}", ports.start(), ports.end()))
                .collect(),
            flows: counts(carrier.address),
        });
        ForwardingStatus {
            engine: Some(self.engine.into()),
            reason: None,
            interfaces: seen.interfaces.clone(),
            problems: seen
                .errors
                .iter()
                .map(ToString::to_string)
                .chain(self.relays_all(&in_force.configuration.said).map(|error| error.to_string()))
                .collect(),
            services: seen
                .counts
                .services
                .iter()
                .map(|service| ForwardedServiceStatus {
                    virtual_server: service.virtual_server.clone(),
                    entry: service.entry.to_string(),
                    members: service.members.iter().map(member).collect(),
                })
                .collect(),
            carriers: carriers.collect(),
            leaving: seen.counts.leaving,
            expectations: self.expectations(),
            probes: self.probes(),
            sync: seen.sync.as_ref().map(|sync| {
                match sync.role {
                    SyncRole::Master => "master",
                    SyncRole::Backup => "backup",
                }
                .into()
            }),
            changes: seen.changed,
            failures: seen.failed,
        }
    }

    fn expectations(&self) -> ExpectationStatus {
        let Some(ports) = &self.ports else { return ExpectationStatus::default() };
        let counts = &ports.counts;
        ExpectationStatus {
            live: ports.live(),
            carried: counts.carried.load(Relaxed),
            port_taken: counts.taken.load(Relaxed),
            closed: counts.closed.load(Relaxed),
        }
    }

    /// Of data connections as sessions have asked, and of whole virtual servers those that do not answer.
    fn probes(&self) -> Vec<ProbeStatus> {
        let verdicts = self.ports.iter().flat_map(|ports| ports.verdicts());
        let mut probes: Vec<ProbeStatus> = verdicts
            .map(|((server, address), verdict, _)| ProbeStatus {
                server: server.to_string(),
                address: address.to_string(),
                answered: verdict == crate::forwarding::probe::Verdict::Answered,
                found: verdict.to_string(),
            })
            .collect();
        let silent = lock(&self.silent);
        let mut silent: Vec<_> = silent.iter().filter(|(_, of)| of.times >= SILENT_AFTER).collect();
        silent.sort_by_key(|(who, _)| **who);
        probes.extend(silent.into_iter().map(|((server, at), of)| ProbeStatus {
            server: server.to_string(),
            address: at.to_string(),
            answered: false,
            found: of.verdict.to_string(),
        }));
        probes
    }
}

impl fmt::Display for ForwardingStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.engine, &self.reason) {
            (Some(engine), _) => write!(f, "kernel: {engine}")?,
            (None, reason) => {
                return writeln!(f, "kernel: does not forward: {}", reason.as_deref().unwrap_or_default());
            }
        }
        if !self.interfaces.is_empty() {
            write!(f, ", clients come in at {}", self.interfaces.join(", "))?;
        }
        if let Some(role) = &self.sync {
            write!(f, ", {role} of flows")?;
        }
        writeln!(f)?;
        for problem in &self.problems {
            writeln!(f, "  wrong: {problem}")?;
        }
        for service in &self.services {
            writeln!(f, "  {} {}", service.virtual_server, service.entry)?;
            for MemberStatus { real_server, address, flows } in &service.members {
                writeln!(f, "    {real_server} ({address}): {flows}")?;
            }
        }
        for CarrierStatus { address, slices, flows } in &self.carriers {
            write!(f, "  data to {address}: {flows}")?;
            if !slices.is_empty() {
                write!(f, ", always {}", slices.join(", "))?;
            }
            writeln!(f)?;
        }
        let ExpectationStatus { live, carried, port_taken, closed } = self.expectations;
        writeln!(
            f,
            "  ports expected: {live} now, {carried} carried, {} relayed ({port_taken} taken, {closed} closed)",
            port_taken + closed
        )?;
        if self.leaving > 0 {
            writeln!(f, "  {} wait for their last connection", self.leaving)?;
        }
        for probe in self.probes.iter().filter(|probe| !probe.answered) {
            writeln!(f, "  {} at {}: {}", probe.server, probe.address, probe.found)?;
        }
        Ok(())
    }
}

impl fmt::Display for FlowStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { active, inactive, connections, packets, bytes } = self;
        write!(f, "{active} open, {inactive} ending, {connections} in all, {packets} packets, {bytes} bytes")
    }
}
