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
//! has ended, and longer where something was said of it ([`Removed`]), and is the same again if it comes back before.
mod removed;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::availability::{availability, sorry_server_spec};
use super::gsi::{KeyPool, Termination, Workshop};
use super::relay::LivePorts;
use super::service::{Lasting, Service, ServiceTls, implicit_port};
use super::session_table::SessionTable;
use super::transfer_log::TransferLog;
use super::{journal, now};
use crate::balance::{KernelPath, RealServer, RealServerSpec, SiteSessions, VirtualServer};
use crate::config::{self, BackendLogin};
use crate::proto::ftp::OwnPorts;
use crate::tls::{Acceptor, Connector, CredentialProblem, GsiAcceptor, Reread, TrustDirectories};
pub(crate) use removed::Removed;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Generation {
    services: Vec<Arc<Service>>,
    removed: Removed,
    live_ports: Arc<LivePorts>,
    own_ports: Arc<OwnPorts>,
    transfer_log: Arc<TransferLog>,
    sessions: Arc<SiteSessions>,
    workshop: Arc<Workshop>,
    trust: TrustDirectories,
    kernel: Kernel,
}

/// What the kernel does in the door's place, for as long as the daemon runs.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// It carries data connections.
    pub path: Option<Arc<dyn KernelPath>>,
    /// It balances the connections of virtual servers with `forwarding = "dr"`.
    pub serves: bool,
    /// Why it does not, where that is known.
    pub why_not: Option<Arc<str>>,
}

impl Kernel {
    /// Why it does not serve.
    pub(super) fn why_not(&self) -> Arc<str> {
        self.why_not.clone().unwrap_or_else(|| "no engine runs".into())
    }
}

/// A generation that can take over, and what comes with it.
#[derive(Debug)]
pub struct Successor {
    generation: Generation,
    /// What is likely not meant with the certificates.
    pub warnings: Vec<CredentialProblem>,
    /// Settings of real servers that are there already.
    settings: Vec<Settings>,
    /// Certificates for acceptors that are there already, with the names of their virtual servers.
    certificates: Vec<(String, Arc<Acceptor>, Reread)>,
    /// The door's own, and those that clients know it by.
    own_addresses: Vec<IpAddr>,
    /// In the order of the services.
    relay_ports: Vec<RangeInclusive<u16>>,
}

#[derive(Debug)]
struct Settings {
    virtual_server: String,
    server: Arc<RealServer>,
    spec: RealServerSpec,
    is_sorry: bool,
}

/// What the virtual servers know of each other.
#[derive(Debug)]
pub(super) struct Site {
    /// Where real servers are reached for data.
    pub(super) servers: Vec<IpAddr>,
    /// Where services listen.
    pub(super) services: Vec<SocketAddr>,
    /// Addresses that may be another host's at times.
    pub(super) virtual_addresses: std::collections::BTreeSet<IpAddr>,
    pub(super) own_ports: Arc<OwnPorts>,
    /// What it does in the door's place.
    pub(super) kernel: Kernel,
    /// All sessions, and how many there may be.
    pub(super) sessions: Arc<SiteSessions>,
    pub(super) max_sessions: Option<u32>,
    /// Keys for delegated credentials.
    pub(super) ready_keys: usize,
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
        Self::first_with(model, today, Kernel::default())
    }

    /// The same on a host whose kernel forwards.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn first_with(
        model: &config::Model,
        today: SystemTime,
        kernel: Kernel,
    ) -> Result<(Self, Vec<CredentialProblem>), CredentialProblem> {
        let mut successor = Self { kernel, ..Self::default() }.next(model, today)?;
        let warnings = std::mem::take(&mut successor.warnings);
        Ok((successor.put_in_force(), warnings))
    }

    /// The virtual servers, in the order of the configuration.
    #[must_use]
    pub fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    /// Has the log say which virtual servers miss their kernel, and who serves them.
    pub(crate) fn say_who_misses_kernel(&self) {
        self.services.iter().for_each(|service| journal::misses_kernel(service));
    }

    /// Where the lines of all of them gather.
    pub(crate) fn transfer_log(&self) -> &TransferLog {
        &self.transfer_log
    }

    /// Keys for delegated credentials, where some virtual server has ended GSI.
    pub(crate) fn keys(&self) -> Option<&KeyPool> {
        self.workshop.keys()
    }

    /// What is in no configuration any more, and sessions use or an operator has steered.
    pub(crate) fn removed(&self, now: Instant) -> Removed {
        let mut removed = self.remembered(now);
        removed.forget_unsteered();
        removed
    }

    fn remembered(&self, now: Instant) -> Removed {
        let mut removed = self.removed.clone();
        removed.forget_unused(now);
        removed
    }

    /// Builds the generation that is to follow. Reads every certificate anew, and changes nothing of what is in force.
    ///
    /// # Errors
    ///
    /// A certificate or a key that cannot be used.
    pub fn next(&self, model: &config::Model, today: SystemTime) -> Result<Successor, CredentialProblem> {
        self.next_with(model, today, self.kernel.clone())
    }

    /// The same where the kernel does something else from then on.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn next_with(
        &self,
        model: &config::Model,
        today: SystemTime,
        kernel: Kernel,
    ) -> Result<Successor, CredentialProblem> {
        let everything = &model.virtual_servers;
        let site = Site {
            servers: everything.iter().flat_map(every_data_ip).collect(),
            services: everything.iter().flat_map(service_addresses).collect(),
            virtual_addresses: model.vrrp.owned_addresses(),
            own_ports: Arc::clone(&self.own_ports),
            kernel: kernel.clone(),
            sessions: Arc::clone(&self.sessions),
            max_sessions: model.global.max_sessions,
            ready_keys: model.global.gsi_ready_keys,
        };
        let mut successor = Successor {
            generation: Self {
                services: Vec::with_capacity(everything.len()),
                removed: self.remembered(now()),
                live_ports: Arc::clone(&self.live_ports),
                own_ports: Arc::clone(&self.own_ports),
                transfer_log: Arc::clone(&self.transfer_log),
                sessions: Arc::clone(&self.sessions),
                workshop: Arc::clone(&self.workshop),
                trust: self.trust.clone(),
                kernel,
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
        let Generation { services, removed, .. } = &mut successor.generation;
        removed.see_off(self, services);
        Ok(successor)
    }

    /// The virtual server of that name, one that is removed too.
    fn find(&self, name: &str) -> Option<&Arc<Service>> {
        let mut everything = self.services.iter().chain(&self.removed.services);
        everything.find(|service| service.virtual_server.name() == name)
    }
}

impl Successor {
    /// The virtual servers, in the order of the configuration.
    #[must_use]
    pub fn services(&self) -> &[Arc<Service>] {
        &self.generation.services
    }

    /// What comes with it and is not in the configuration, each as a change would be said: other certificates in the same
    /// files, what operators have chosen and what becomes of it, and sessions of servers that go.
    #[must_use]
    pub fn circumstances(&self) -> Vec<String> {
        let mut said = Vec::new();
        for (name, _, certificate) in &self.certificates {
            if certificate.is_another() {
                said.push(format!("virtual_server {name}: tls: another certificate"));
            }
        }
        for Settings { virtual_server, server, spec, is_sorry } in &self.settings {
            let place = format!("virtual_server {virtual_server}: real_server {}", spec.name);
            let (weight, configured) = (server.weight(), server.configured_weight());
            if weight != configured && configured == spec.weight {
                said.push(format!(
                    "{place}: weight {weight} stays, as an operator chose it; the file has {configured}"
                ));
            } else if weight != configured {
                said.push(format!(
                    "{place}: weight {weight}, as an operator chose it, gives way to the file's"
                ));
            }
            if server.has_ordered_drain() && !is_sorry {
                said.push(format!("{place}: stays drained until `gridfront undrain`"));
            }
        }
        let removed = &self.generation.removed;
        let removed = [("real_server ", &removed.real_servers), ("", &removed.sorry_servers)];
        for (kind, (virtual_server, server)) in
            removed.into_iter().flat_map(|(kind, servers)| servers.iter().map(move |server| (kind, server)))
        {
            let (name, sessions) = (server.name(), server.active());
            if sessions > 0 && !server.is_removed() {
                said.push(format!(
                    "virtual_server {virtual_server}: {kind}{name}: {sessions} sessions are drained"
                ));
            }
        }
        said
    }

    /// Puts it in force, as far as that is not the listeners' to do: real servers have the new settings, acceptors show the
    /// new certificates, and the sessions of servers that have gone are told to leave.
    #[must_use]
    pub fn take_over(self, now: Instant, sessions: &SessionTable) -> Generation {
        let back: Vec<Arc<RealServer>> =
            self.settings.iter().map(|settings| Arc::clone(&settings.server)).collect();
        let back = back.into_iter().filter(|server| server.is_removed()).collect::<Vec<_>>();
        let gone = self.generation.removed.all_servers().map(|(_, server)| server);
        let gone: Vec<Arc<RealServer>> = gone.filter(|server| !server.is_removed()).map(Arc::clone).collect();
        // First: whoever waits for a place is woken by a removal, and is to find the servers that there are then.
        let generation = self.put_in_force();
        for server in &gone {
            server.handle_removal(now);
        }
        for server in gone.iter().chain(&back) {
            sessions.handle_drain_change(server);
        }
        generation
    }

    fn put_in_force(self) -> Generation {
        for Settings { server, spec, is_sorry, .. } in &self.settings {
            if *is_sorry && server.is_removed() {
                // Somebody may have set a deadline while it was removed; in service it cannot be drained.
                server.handle_undrain();
            }
            server.reconfigure(spec);
        }
        for (_, acceptor, certificate) in self.certificates {
            acceptor.adopt(certificate);
        }
        let services = &self.generation.services;
        for (service, range) in services.iter().zip(&self.relay_ports) {
            service.lasting.relaying.ports.set_range(range.clone());
            // First, for whoever waits is woken by the other and looks for it.
            service.lasting.put_in_force(service);
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
                Some(tls) => {
                    let before = before.and_then(|before| before.acceptor.as_ref());
                    Some(self.acceptor(&config.name, tls, before, today)?)
                }
            },
            gsi: config
                .gsi
                .as_ref()
                .map(|gsi| self.termination(config, gsi, before, site, today))
                .transpose()?,
            connectors: connectors(config, before)?,
        };
        let servers =
            config.real_servers.iter().map(|server| self.real_server(config, server, before)).collect();
        let mut availability = availability(config);
        if let Some(sorry) = &mut availability.sorry_server {
            self.take_back_sorry_server(&config.name, sorry);
        }
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
        name: &str,
        tls: &config::Tls,
        before: Option<&Arc<Acceptor>>,
        today: SystemTime,
    ) -> Result<Arc<Acceptor>, CredentialProblem> {
        if let Some(acceptor) = before.filter(|acceptor| acceptor.is_of(tls)) {
            let (reread, warnings) = acceptor.reread(today)?;
            self.warnings.extend(warnings);
            self.certificates.push((name.to_owned(), Arc::clone(acceptor), reread));
            return Ok(Arc::clone(acceptor));
        }
        let (acceptor, warnings) = Acceptor::open(tls, today)?;
        self.warnings.extend(warnings);
        Ok(Arc::new(acceptor))
    }

    /// The one that is there goes on where its files have kept their names, and they are not read: it looks after them by itself.
    /// That a reload is refused for them is seen to before.
    fn termination(
        &mut self,
        config: &config::VirtualServer,
        gsi: &config::Gsi,
        before: Option<&Arc<Service>>,
        site: &Site,
        today: SystemTime,
    ) -> Result<Termination, CredentialProblem> {
        let workshop = Arc::clone(&self.generation.workshop);
        // Who logs in at the real servers takes no key.
        if gsi.backend_login != BackendLogin::Passthrough {
            workshop.open(site.ready_keys);
        }
        let before = before.and_then(|before| before.gsi.as_ref());
        if let Some(before) = before.filter(|before| before.acceptor.is_of(gsi)) {
            return Ok(Termination::new(config, gsi, Arc::clone(&before.acceptor), &workshop));
        }
        let (acceptor, warnings) = GsiAcceptor::open(gsi, &mut self.generation.trust, today)?;
        self.warnings.extend(warnings);
        Ok(Termination::new(config, gsi, Arc::new(acceptor), &workshop))
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
        let removed = self.generation.removed.real_servers.iter();
        let removed = removed.filter(|(of, _)| *of == config.name).map(|(_, server)| server);
        let known =
            present.chain(removed).find(|known| known.name() == spec.name && known.address() == spec.address);
        match known.map(Arc::clone) {
            None if config.availability.alpha => Arc::new(RealServer::new(spec).unproven()),
            None if before.is_some() => Arc::new(RealServer::new(spec).newcomer()),
            None => Arc::new(RealServer::new(spec)),
            Some(known) => {
                let server = Arc::clone(&known);
                self.settings.push(Settings {
                    virtual_server: config.name.clone(),
                    server,
                    spec,
                    is_sorry: false,
                });
                known
            }
        }
    }

    /// Instead of a new one the one that was removed and holds sessions still, so that they are not told to leave.
    fn take_back_sorry_server(&mut self, virtual_server: &str, sorry: &mut Arc<RealServer>) {
        let removed = &self.generation.removed.sorry_servers;
        let same = |(of, known): &&(String, Arc<RealServer>)| {
            of == virtual_server && known.address() == sorry.address()
        };
        let Some((_, known)) = removed.iter().find(same) else { return };
        let known = Arc::clone(known);
        *sorry = Arc::clone(&known);
        let spec = sorry_server_spec(known.address());
        self.settings.push(Settings {
            virtual_server: virtual_server.into(),
            server: known,
            spec,
            is_sorry: true,
        });
    }
}

/// Those of before go on where nothing has changed for them, and with them their probes.
fn connectors(
    config: &config::VirtualServer,
    before: Option<&Arc<Service>>,
) -> Result<Vec<Option<Arc<Connector>>>, CredentialProblem> {
    let known = |connector: &Connector| {
        let known = before.into_iter().flat_map(|before| before.connectors.iter().flatten());
        known.filter(|known| known.is_like(connector)).map(Arc::clone).next()
    };
    let open = |server: &config::RealServer| match &server.tls {
        None => Ok(None),
        Some(tls) => {
            let connector = Connector::open(tls, server.address)?;
            Ok(Some(known(&connector).unwrap_or_else(|| Arc::new(connector))))
        }
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
