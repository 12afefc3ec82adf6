//! A plan in the words of IPVS: services, their destinations, and the marks that lead to them.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use super::register::{NoKey, Register, Subject, mark_of};
use crate::balance::{Carrier, Entry, ForwardError, ForwardedService, ForwardingPlan, Member};
use crate::proto::netlink::ipvs::{Destination, ForwardingMethod, Persistence, Service, ServiceKey};

/// All that the kernel is to have of ours.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Wanted {
    /// By their keys.
    pub(super) services: BTreeMap<ServiceKey, WantedService>,
    /// Which mark packets to an address and port get, whoever sends them.
    pub(super) marks: HashMap<(IpAddr, u16), NonZeroU32>,
    /// The marks of carriers.
    pub(super) carriers: HashMap<IpAddr, NonZeroU32>,
}

/// One service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct WantedService {
    /// For the log: the virtual server and the entry, or the carrier.
    pub(super) title: String,
    /// What it is.
    pub(super) service: Service,
    /// Where connections go.
    pub(super) destinations: Vec<Destination>,
    /// What is not to be there for another moment.
    pub(super) down: Vec<SocketAddr>,
}

impl Wanted {
    /// Of a plan. What has no service yet is entered in the register; what cannot have one is told. Keys that are `taken` are in the
    /// kernel now. Without a marker `unmarked` says why.
    pub(super) fn of(
        plan: &ForwardingPlan,
        register: &mut Register,
        taken: &BTreeSet<ServiceKey>,
        unmarked: Option<&str>,
    ) -> (Self, Vec<ForwardError>) {
        let mut wanted = Self::default();
        let mut errors = Vec::new();
        for service in &plan.services {
            let added = wanted.add_service(service, register, taken, unmarked);
            errors.extend(added.err());
        }
        for carrier in &plan.carriers {
            let added = wanted.add_carrier(carrier, register, taken, unmarked);
            errors.extend(added.err());
        }
        (wanted, errors)
    }

    fn add_service(
        &mut self,
        planned: &ForwardedService,
        register: &mut Register,
        taken: &BTreeSet<ServiceKey>,
        unmarked: Option<&str>,
    ) -> Result<(), ForwardError> {
        let ForwardedService { virtual_server, entry, .. } = planned;
        let title = format!("{virtual_server}: {entry}");
        if let (Entry::Group { .. }, Some(why)) = (entry, unmarked) {
            return Err(ForwardError::Unavailable(format!(
                "{title}: several addresses or ports take marks of packets: {why}"
            )));
        }
        let key = register.enter(Subject::of(entry), taken).map_err(|why| match why {
            NoKey::Foreign(key) => ForwardError::Foreign {
                virtual_server: virtual_server.clone(),
                entry: entry.to_string(),
                removal: removal(&key),
            },
            NoKey::NoMark => no_mark(&title),
        })?;
        if let (Entry::Group { addresses, ports }, Some(mark)) = (entry, mark_of(&key)) {
            addresses
                .iter()
                .flat_map(|address| ports.iter().map(move |range| (*address, range)))
                .for_each(|(address, range)| self.mark(address, range, mark));
        }
        let port = match entry {
            Entry::Single(address) => address.port(),
            // That of the packet.
            Entry::Group { .. } => 0,
        };
        let (down, up): (Vec<&Member>, Vec<&Member>) = planned.members.iter().partition(|member| member.down);
        let wanted = WantedService {
            title,
            service: Service {
                key,
                scheduler: planned.lb_algo.to_string(),
                persistence: planned.persistence.map(|persistence| Persistence {
                    timeout: u32::try_from(persistence.timeout.as_secs()).unwrap_or(u32::MAX),
                    prefix: persistence.prefix,
                }),
                other_flags: 0,
                engine: None,
            },
            destinations: up.into_iter().map(|member| destination(member, port)).collect(),
            down: down.into_iter().map(|member| SocketAddr::new(member.address, port)).collect(),
        };
        self.services.insert(key, wanted);
        Ok(())
    }

    fn add_carrier(
        &mut self,
        carrier: &Carrier,
        register: &mut Register,
        taken: &BTreeSet<ServiceKey>,
        unmarked: Option<&str>,
    ) -> Result<(), ForwardError> {
        let subject = Subject::Carrier(carrier.address);
        let title = subject.to_string();
        if let Some(why) = unmarked {
            return Err(ForwardError::Unavailable(format!("{title}: they take marks of packets: {why}")));
        }
        let key = register.enter(subject, taken).map_err(|_| no_mark(&title))?;
        let Some(mark) = mark_of(&key) else { return Ok(()) };
        for (address, ports) in &carrier.slices {
            self.mark(*address, ports, mark);
        }
        self.carriers.insert(carrier.address, mark);
        let only = Destination {
            address: SocketAddr::new(carrier.address, 0),
            method: ForwardingMethod::DirectRoute,
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
        };
        let service =
            Service { key, scheduler: "rr".into(), persistence: None, other_flags: 0, engine: None };
        let wanted = WantedService { title, service, destinations: vec![only], down: Vec::new() };
        self.services.insert(key, wanted);
        Ok(())
    }

    fn mark(&mut self, address: IpAddr, ports: &RangeInclusive<u16>, mark: NonZeroU32) {
        self.marks.extend(ports.clone().map(|port| ((address, port), mark)));
    }
}

fn destination(member: &Member, port: u16) -> Destination {
    Destination {
        address: SocketAddr::new(member.address, port),
        method: ForwardingMethod::DirectRoute,
        weight: member.weight.min(i32::MAX.unsigned_abs()),
        upper_threshold: member.max_connections.unwrap_or(0),
        lower_threshold: 0,
    }
}

fn no_mark(title: &str) -> ForwardError {
    ForwardError::Kernel {
        doing: title.to_owned(),
        why: "all marks are taken; name fewer real servers, or wait until those that leave have gone".into(),
    }
}

/// The command that takes a service away.
fn removal(key: &ServiceKey) -> String {
    use crate::proto::netlink::ipvs::AddressFamily;
    match key {
        ServiceKey::Tcp(address) => format!("ipvsadm -D -t {address}"),
        ServiceKey::Mark { mark, family: AddressFamily::V4 } => format!("ipvsadm -D -f {mark}"),
        ServiceKey::Mark { mark, family: AddressFamily::V6 } => format!("ipvsadm -D -f {mark} -6"),
    }
}
