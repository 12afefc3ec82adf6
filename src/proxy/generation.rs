//! The virtual servers of a configuration, and how the next configuration takes over from it.
//!
//! ```text
//!   Model ─▶ Generation::first ──────────────▶ services in force
//!   Model ─▶ Generation::next ─▶ Successor ─▶ take_over ─▶ services in force
//!            reads files, may fail            cannot fail
//! ```
//!
//! Identity is a name: a virtual server's, and within it a real server's with its address and port. What has the same
//! identity keeps counts, health and what operators have said of it; what has gone is remembered until its last session
//! has ended, and is the same again if it comes back before.
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::SystemTime;

use super::availability::availability;
use super::relay::LivePorts;
use super::service::{Lasting, Service, ServiceTls, implicit_port};
use super::transfer_log::TransferLog;
use crate::balance::{RealServer, RealServerSpec, SiteSessions, VirtualServer};
use crate::config;
use crate::proto::ftp::OwnPorts;
use crate::tls::{Acceptor, Connector, CredentialProblem, Reread};

/// See the module's text.
#[derive(Debug, Default)]
pub struct Generation {
    services: Vec<Arc<Service>>,
    departed: Departed,
    live_ports: Arc<LivePorts>,
    own_ports: Arc<OwnPorts>,
    transfer_log: Arc<TransferLog>,
    sessions: Arc<SiteSessions>,
}

/// What no configuration names any more, but sessions still use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Departed {
    pub(crate) services: Vec<Arc<Service>>,
    /// With the names of their virtual servers, which may be there still.
    pub(crate) real_servers: Vec<(String, Arc<RealServer>)>,
}

/// A generation that can take over, and what comes with it.
#[derive(Debug)]
pub struct Successor {
    generation: Generation,
    /// What is likely not meant with the certificates.
    pub warnings: Vec<CredentialProblem>,
    /// Settings of real servers that are there already.
    settings: Vec<(Arc<RealServer>, RealServerSpec)>,
    /// Certificates for acceptors that are there already.
    certificates: Vec<(Arc<Acceptor>, Reread)>,
    /// The door's own, and those that clients know it by.
    own_addresses: Vec<IpAddr>,
    /// In the order of the services.
    relay_ports: Vec<RangeInclusive<u16>>,
}

/// What the virtual servers know of each other.
#[derive(Debug)]
pub(super) struct Site {
    /// Where real servers are reached for data.
    pub(super) servers: Vec<IpAddr>,
    /// Where services listen.
    pub(super) services: Vec<SocketAddr>,
    pub(super) own_ports: Arc<OwnPorts>,
    /// All sessions, and how many there may be.
    pub(super) sessions: Arc<SiteSessions>,
    pub(super) max_sessions: Option<u32>,
}

impl Generation {
    /// Builds every virtual server of a configuration; they know each other's addresses, for third-party transfers
    /// and for what no data connection may reach.
    ///
    /// Reads the certificates; what is likely not meant with them comes beside.
    ///
    /// # Errors
    ///
    /// A certificate or a key that cannot be used.
    pub fn first(
        model: &config::Model,
        today: SystemTime,
    ) -> Result<(Self, Vec<CredentialProblem>), CredentialProblem> {
        let mut successor = Self::default().next(model, today)?;
        let warnings = std::mem::take(&mut successor.warnings);
        Ok((successor.take_over(), warnings))
    }

    /// The virtual servers, in the order of the configuration.
    #[must_use]
    pub fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    /// What sessions use that is in no configuration any more.
    pub(crate) fn departed(&self) -> Departed {
        let mut departed = self.departed.clone();
        departed.forget_unused();
        departed
    }

    /// Builds the generation that is to follow. Reads every certificate anew, and changes nothing of what is in force.
    ///
    /// # Errors
    ///
    /// A certificate or a key that cannot be used.
    pub fn next(&self, model: &config::Model, today: SystemTime) -> Result<Successor, CredentialProblem> {
        let everything = &model.virtual_servers;
        let site = Site {
            servers: everything.iter().flat_map(every_data_ip).collect(),
            services: everything.iter().flat_map(service_addresses).collect(),
            own_ports: Arc::clone(&self.own_ports),
            sessions: Arc::clone(&self.sessions),
            max_sessions: model.global.max_sessions,
        };
        let mut successor = Successor {
            generation: Self {
                services: Vec::with_capacity(everything.len()),
                departed: self.departed(),
                live_ports: Arc::clone(&self.live_ports),
                own_ports: Arc::clone(&self.own_ports),
                transfer_log: Arc::clone(&self.transfer_log),
                sessions: Arc::clone(&self.sessions),
            },
            warnings: Vec::new(),
            settings: Vec::new(),
            certificates: Vec::new(),
            own_addresses: everything
                .iter()
                .flat_map(|v| v.addresses.iter().chain(&v.announce_address))
                .copied()
                .collect(),
            relay_ports: everything.iter().map(|v| v.relay_ports.clone()).collect(),
        };
        for config in everything {
            let service = successor.build(config, self.find(&config.name), &site, today)?;
            successor.generation.services.push(Arc::new(service));
        }
        successor.see_off(self);
        Ok(successor)
    }

    /// The virtual server of that name, one that has departed too.
    fn find(&self, name: &str) -> Option<&Arc<Service>> {
        let mut everything = self.services.iter().chain(&self.departed.services);
        everything.find(|service| service.virtual_server.name() == name)
    }
}

impl Successor {
    /// The virtual servers, in the order of the configuration.
    #[must_use]
    pub fn services(&self) -> &[Arc<Service>] {
        &self.generation.services
    }

    /// Puts it in force, as far as that is not the listeners' to do: real servers have the new settings, and acceptors
    /// show the new certificates.
    #[must_use]
    pub fn take_over(self) -> Generation {
        for (server, spec) in &self.settings {
            server.reconfigure(spec);
        }
        for (_, server) in &self.generation.departed.real_servers {
            server.depart();
        }
        for (acceptor, certificate) in self.certificates {
            acceptor.adopt(certificate);
        }
        let services = &self.generation.services;
        for (service, range) in services.iter().zip(&self.relay_ports) {
            service.lasting.relaying.ports.set_range(range.clone());
            service.admittance.come_into_force(&service.virtual_server);
        }
        let own_ports = &self.generation.own_ports;
        own_ports.set_ranges(self.relay_ports);
        self.own_addresses.into_iter().for_each(|address| own_ports.add_address(address));
        self.generation
    }

    fn build(
        &mut self,
        config: &config::VirtualServer,
        before: Option<&Arc<Service>>,
        site: &Site,
        today: SystemTime,
    ) -> Result<Service, CredentialProblem> {
        let tls = ServiceTls {
            acceptor: match &config.tls {
                None => None,
                Some(tls) => Some(self.acceptor(tls, before.and_then(|it| it.acceptor.as_ref()), today)?),
            },
            connectors: connectors(config)?,
        };
        let servers =
            config.real_servers.iter().map(|server| self.real_server(config, server, before)).collect();
        let availability = availability(config);
        let (virtual_server, lasting) = match before {
            None => (
                VirtualServer::new(
                    config.name.clone(),
                    config.lb_algo,
                    config.max_sessions,
                    servers,
                    availability,
                ),
                Arc::new(Lasting::new(
                    config.relay_ports.clone(),
                    Arc::clone(&self.generation.live_ports),
                    Arc::clone(&self.generation.transfer_log),
                )),
            ),
            Some(before) => (
                before.virtual_server.succeed(config.lb_algo, config.max_sessions, servers, availability),
                Arc::clone(&before.lasting),
            ),
        };
        Ok(Service::new(config, virtual_server, tls, lasting, site))
    }

    /// The one that is there goes on where its files have kept their names, so that clients can resume their sessions.
    fn acceptor(
        &mut self,
        tls: &config::Tls,
        before: Option<&Arc<Acceptor>>,
        today: SystemTime,
    ) -> Result<Arc<Acceptor>, CredentialProblem> {
        if let Some(acceptor) = before.filter(|acceptor| acceptor.is_of(tls)) {
            let (reread, warnings) = acceptor.reread(today)?;
            self.warnings.extend(warnings);
            self.certificates.push((Arc::clone(acceptor), reread));
            return Ok(Arc::clone(acceptor));
        }
        let (acceptor, warnings) = Acceptor::open(tls, today)?;
        self.warnings.extend(warnings);
        Ok(Arc::new(acceptor))
    }

    fn real_server(
        &mut self,
        config: &config::VirtualServer,
        server: &config::RealServer,
        before: Option<&Arc<Service>>,
    ) -> Arc<RealServer> {
        let spec = RealServerSpec {
            name: server.name.clone(),
            address: SocketAddr::new(server.address, server.port),
            weight: server.weight,
            max_connections: server.max_connections,
            fall: config.check_of(server).fall(),
            rise: config.check_of(server).rise,
        };
        let present = before.into_iter().flat_map(|before| before.virtual_server.real_servers());
        let departed = self.generation.departed.real_servers.iter();
        let departed = departed.filter(|(of, _)| *of == config.name).map(|(_, server)| server);
        let known = present
            .chain(departed)
            .find(|known| known.name() == spec.name && known.address() == spec.address);
        match known.map(Arc::clone) {
            None if config.availability.alpha => Arc::new(RealServer::new(spec).unproven()),
            None if before.is_some() => Arc::new(RealServer::new(spec).newcomer()),
            None => Arc::new(RealServer::new(spec)),
            Some(known) => {
                self.settings.push((Arc::clone(&known), spec));
                known
            }
        }
    }

    /// Remembers what of the generation before is not in this one.
    fn see_off(&mut self, before: &Generation) {
        let Generation { services, departed, .. } = &mut self.generation;
        let successor_of = |name: &str| services.iter().find(|service| service.virtual_server.name() == name);
        for service in before.services.iter().chain(&before.departed.services) {
            let name = service.virtual_server.name();
            for server in service.virtual_server.real_servers() {
                if !departed.real_servers.iter().any(|(_, known)| Arc::ptr_eq(known, server)) {
                    departed.real_servers.push((name.to_owned(), Arc::clone(server)));
                }
            }
        }
        departed.real_servers.retain(|(of, server)| {
            !successor_of(of).is_some_and(|service| {
                service.virtual_server.real_servers().iter().any(|known| Arc::ptr_eq(known, server))
            })
        });
        departed.services.extend(before.services.iter().map(Arc::clone));
        departed.services.retain(|service| successor_of(service.virtual_server.name()).is_none());
    }
}

impl Departed {
    fn forget_unused(&mut self) {
        self.services.retain(|service| service.virtual_server.active() > 0);
        self.real_servers.retain(|(_, server)| server.active() > 0);
    }
}

fn connectors(config: &config::VirtualServer) -> Result<Vec<Option<Arc<Connector>>>, CredentialProblem> {
    let open = |server: &config::RealServer| match &server.tls {
        None => Ok(None),
        Some(tls) => Connector::open(tls, server.address).map(|connector| Some(Arc::new(connector))),
    };
    config.real_servers.iter().map(open).collect()
}

/// Where the servers behind a virtual server are reached for data.
fn every_data_ip(config: &config::VirtualServer) -> impl Iterator<Item = IpAddr> {
    let sorry_server = config.availability.sorry_server.map(|sorry| sorry.ip().to_canonical());
    config.real_servers.iter().flat_map(data_ips).chain(sorry_server)
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
    let sorry_server = config.availability.sorry_server.iter();
    let sorry_server = sorry_server.map(|sorry| SocketAddr::new(sorry.ip().to_canonical(), sorry.port()));
    own.chain(behind).chain(sorry_server).collect()
}

#[cfg(test)]
mod tests;
