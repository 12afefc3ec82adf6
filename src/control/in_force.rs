//! The configuration in force: what the file says, which real servers that means now, and the services made of it.
use std::sync::Arc;
use std::time::Instant;

use crate::checker::{GsiProbe, Probe};
use crate::config::{self, Change, Model, diff};
use crate::proxy::{Generation, Service};

/// One configuration. The next one is another value: whoever looks sees one or the other as a whole.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) configuration: Configuration,
    pub(super) generation: Generation,
    /// Since when.
    pub(super) since: Instant,
}

/// What there is to be put in force.
#[derive(Clone, Debug)]
pub(super) struct Configuration {
    /// What the file says.
    pub(super) said: Model,
    /// The same with the real servers that there are now: where the file has names instead of addresses, what the names
    /// mean may change without the file.
    pub(super) meant: Model,
}

impl Configuration {
    /// Where every real server has an address, the file means what it says.
    pub(super) fn of(said: Model) -> Self {
        Self { meant: said.clone(), said }
    }

    /// What is different in another one: what the file says, and besides what that means.
    pub(super) fn changes(&self, next: &Self) -> Vec<Change> {
        let mut changes = diff(&self.said, &next.said);
        let meant = diff(&self.meant, &next.meant);
        let besides: Vec<Change> = meant.into_iter().filter(|change| !changes.contains(change)).collect();
        changes.extend(besides);
        changes
    }
}

impl InForce {
    pub(super) fn services(&self) -> &[Arc<Service>] {
        self.generation.services()
    }

    /// How the real servers are watched.
    pub(super) fn probes(&self) -> Vec<Probe> {
        let everything = self.configuration.meant.virtual_servers.iter().zip(self.services());
        everything.flat_map(|(config, service)| probes_of(config, service)).collect()
    }
}

fn probes_of(config: &config::VirtualServer, service: &Service) -> Vec<Probe> {
    let servers = service.virtual_server.real_servers().iter().zip(&config.real_servers);
    let gsi = |place: usize| {
        let termination = service.gsi.as_ref()?;
        Some(GsiProbe { acceptor: Arc::clone(&termination.acceptor), expected: termination.expected(place) })
    };
    let probe =
        |(place, ((server, of_server), connector)): (usize, ((&Arc<_>, &config::RealServer), &Option<_>))| {
            Probe {
                virtual_server: config.name.clone(),
                server: Arc::clone(server),
                check: config.check_of(of_server).clone(),
                greeting_timeout: config.greeting_timeout,
                proxy_protocol: of_server.send_proxy_protocol,
                tls: connector.clone(),
                gsi: gsi(place),
            }
        };
    servers.zip(&service.connectors).enumerate().map(probe).collect()
}
