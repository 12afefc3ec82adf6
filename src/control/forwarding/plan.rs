//! What the kernel is to forward, from what is configured and what is known of the real servers.
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Instant;

use super::super::in_force::InForce;
use crate::balance::{
    Carrier, Entry, ForwardedService, ForwardingPlan, Member, Persistence, RealServer, VirtualServer,
};
use crate::config;
use crate::forwarding::data_ports::Routes;
use crate::proxy::{ServedBy, Service};

/// All of it at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wanted {
    pub(super) plan: ForwardingPlan,
    /// Where data connections of sessions may go.
    pub(super) routes: Routes,
}

/// A real server that should answer at a virtual address.
pub(super) type Answering = (IpAddr, SocketAddr);

impl Wanted {
    /// `silent` are those that do not answer there; `leaving` is whether nobody new is to come in.
    pub(super) fn of(
        in_force: &InForce,
        interfaces: Vec<String>,
        silent: &HashSet<Answering>,
        leaving: bool,
        now: Instant,
    ) -> Self {
        let everything = || in_force.configuration.meant.virtual_servers.iter().zip(in_force.services());
        let mut services = Vec::new();
        for (config, service) in everything() {
            if let (ServedBy::Kernel, Some(routing)) = (service.served_by, &config.direct_routing) {
                let balanced = Balanced { config, service: &service.virtual_server, silent, leaving, now };
                services.extend(balanced.services(routing));
            }
        }
        let mut wanted = Self::default();
        let mut carriers: BTreeMap<IpAddr, BTreeSet<(IpAddr, u16, u16)>> = BTreeMap::new();
        for (config, service) in everything() {
            wanted.add_carriers(config, service, &mut carriers);
        }
        let slices = |slices: BTreeSet<(IpAddr, u16, u16)>| {
            slices.into_iter().map(|(address, low, high)| (address, low..=high)).collect()
        };
        let carrier = |(address, of): (IpAddr, BTreeSet<_>)| Carrier { address, slices: slices(of) };
        let has_slices =
            |config: &config::VirtualServer| config.real_servers.iter().any(|real| real.data_ports.is_some());
        let virtual_addresses = everything()
            .filter(|(config, service)| {
                service.served_by == ServedBy::Kernel || service.has_kernel_path() || has_slices(config)
            })
            .flat_map(|(config, _)| config.addresses.iter().copied())
            .filter(|address| !address.is_unspecified());
        wanted.plan = ForwardingPlan {
            interfaces,
            virtual_addresses: virtual_addresses.collect::<BTreeSet<_>>().into_iter().collect(),
            services,
            carriers: carriers.into_iter().map(carrier).collect(),
        };
        wanted
    }

    /// Ports that are always one server's: carrier, virtual address, ports.
    pub(super) fn slices(&self) -> impl Iterator<Item = (IpAddr, IpAddr, RangeInclusive<u16>)> {
        self.plan.carriers.iter().flat_map(|carrier| {
            let of = carrier.slices.iter();
            of.map(|(address, ports)| (carrier.address, *address, ports.clone()))
        })
    }

    /// Who should answer where, of whole virtual servers.
    pub(super) fn answering(&self) -> HashSet<Answering> {
        let mut answering = HashSet::new();
        for service in &self.plan.services {
            for at in asked_at(&service.entry) {
                answering.extend(
                    service.members.iter().filter(|member| !member.down).map(|member| (member.address, at)),
                );
            }
        }
        answering
    }

    fn add_carriers(
        &mut self,
        config: &config::VirtualServer,
        service: &Service,
        carriers: &mut BTreeMap<IpAddr, BTreeSet<(IpAddr, u16, u16)>>,
    ) {
        let may_carry = service.has_kernel_path();
        for real in &config.real_servers {
            if real.tls.is_some() || real.checks_data_peer {
                continue;
            }
            for &address in config.addresses.iter().filter(|address| !address.is_unspecified()) {
                let Some(carrier) = real.address_of_family(address.is_ipv6()) else { continue };
                if may_carry {
                    let server = SocketAddr::new(real.address, real.port);
                    self.routes.insert((server, address), carrier);
                    carriers.entry(carrier).or_default();
                }
                if let Some(ports) = &real.data_ports {
                    let slices = carriers.entry(carrier).or_default();
                    slices.insert((address, *ports.start(), *ports.end()));
                }
            }
        }
    }
}

/// Where the servers of a service are asked. Nobody need listen at a range of ports before there are data; the servers of a group
/// without another port are those of a service that has one.
fn asked_at(entry: &Entry) -> Vec<SocketAddr> {
    match entry {
        Entry::Single(at) => vec![*at],
        Entry::Group { addresses, ports } => {
            let port = ports.first().filter(|range| range.start() == range.end());
            let at = |port: &RangeInclusive<u16>| {
                addresses.iter().map(|address| SocketAddr::new(*address, *port.start())).collect()
            };
            port.map(at).unwrap_or_default()
        }
    }
}

/// A virtual server whose connections the kernel balances.
struct Balanced<'s> {
    config: &'s config::VirtualServer,
    service: &'s VirtualServer,
    silent: &'s HashSet<Answering>,
    leaving: bool,
    now: Instant,
}

impl Balanced<'_> {
    /// One for each address family, or address and port.
    fn services(&self, routing: &config::DirectRouting) -> Vec<ForwardedService> {
        let mut services = Vec::new();
        let single = routing.persistence.is_none();
        let all_ports = || std::iter::once(self.config.port..=self.config.port).chain(routing.ports.clone());
        for ipv6 in [false, true] {
            let addresses: Vec<IpAddr> =
                self.config.addresses.iter().copied().filter(|address| address.is_ipv6() == ipv6).collect();
            if addresses.is_empty() {
                continue;
            }
            let persistence = routing.persistence.map(|of| Persistence {
                timeout: of.timeout,
                prefix: if ipv6 { of.prefix_ipv6 } else { of.prefix },
            });
            let service = |entry: Entry| ForwardedService {
                virtual_server: self.config.name.clone(),
                members: self.members(ipv6, &entry),
                lb_algo: self.config.lb_algo,
                persistence,
                entry,
            };
            // Ports whose connections need not count together are services of their own, which others read more easily.
            let is_one = |range: &RangeInclusive<u16>| range.start() == range.end();
            let (ones, ranges): (Vec<_>, Vec<_>) =
                all_ports().partition(|range| is_one(range) && (single || routing.ports.is_empty()));
            for port in &ones {
                let entries = addresses.iter().map(|&address| SocketAddr::new(address, *port.start()));
                services.extend(entries.map(|at| service(Entry::Single(at))));
            }
            if !ranges.is_empty() {
                services.push(service(Entry::Group { addresses, ports: ranges }));
            }
        }
        services
    }

    fn members(&self, ipv6: bool, entry: &Entry) -> Vec<Member> {
        let has_quorum = self.service.has_quorum();
        let mut asked = asked_at(entry);
        if asked.is_empty() {
            // Who has not got the address serves no port of it.
            asked.extend(self.config.addresses.iter().map(|at| SocketAddr::new(*at, self.config.port)));
        }
        let servers = self.config.real_servers.iter().zip(self.service.real_servers());
        let mut members: Vec<Member> = servers
            .filter_map(|(config, server)| {
                let address = config.address_of_family(ipv6)?;
                Some(self.member(config, server, address, has_quorum, &asked))
            })
            .collect();
        let sorry = self.config.availability.sorry_server.filter(|sorry| sorry.is_ipv6() == ipv6);
        // Where nobody else may have a connection.
        if let Some(sorry) =
            sorry.filter(|_| members.iter().all(|member| member.weight == 0) && !self.leaving)
        {
            members.push(Member {
                real_server: "sorry_server".into(),
                address: sorry.ip(),
                weight: 1,
                max_connections: None,
                down: false,
            });
        }
        members
    }

    fn member(
        &self,
        config: &config::RealServer,
        server: &RealServer,
        address: IpAddr,
        has_quorum: bool,
        asked: &[SocketAddr],
    ) -> Member {
        let is_up = server.is_up();
        let is_over =
            server.drain().and_then(|drain| drain.deadline).is_some_and(|deadline| deadline <= self.now);
        let is_silent = asked.iter().any(|at| self.silent.contains(&(address, *at)));
        let may = is_up && has_quorum && !server.is_drained() && !is_silent && !self.leaving;
        Member {
            real_server: config.name.clone(),
            address,
            weight: if may { server.effective_weight() } else { 0 },
            max_connections: config.max_connections,
            down: is_over || !is_up && !config.inhibit_on_failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_asked_at_single_ports_and_where_a_group_has_its_first_one() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let addresses = vec![address("192.0.2.10"), address("192.0.2.11")];
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let group = |ports: Vec<RangeInclusive<u16>>| Entry::Group { addresses: addresses.clone(), ports };
        #[rustfmt::skip]
        let table = [
            (Entry::Single(at("192.0.2.10:2811")),      vec![at("192.0.2.10:2811")]),
            (group(vec![2811..=2811, 50_000..=50_099]), vec![at("192.0.2.10:2811"), at("192.0.2.11:2811")]),
            (group(vec![50_000..=50_099]),              vec![]),
        ];
        for (entry, expected) in table {
            assert_eq!(asked_at(&entry), expected, "{entry}");
        }
    }
}
