//! The engine that has IPVS forward.
//!
//! ```text
//!   plan ─▶ Wanted ─┐
//!   register ───────┼─▶ difference ─▶ requests ─▶ kernel         register: which services are ours, in a file
//!   kernel ─▶ Table ┘                                            marks: which packets belong to which of them
//! ```
//!
//! A virtual server of one address and port is a service of TCP, one of several is a service of a mark, and so is each server that takes
//! data connections.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use crate::balance::{
    FlowCounts, FlowSync, ForwardError, ForwardedService, Forwarder, ForwarderCapabilities, ForwardingChange,
    ForwardingCounts, ForwardingPlan, PortSteering, ServiceCounts,
};
use crate::proto::netlink::ipvs::{Daemon, DaemonRole, ListedDestination, ServiceKey};
use crate::sys::lock::NamespaceLock;
use crate::sys::netlink::{Ipvs, NetlinkError};
use crate::sys::sysctl::end_connections_without_server;
use difference::{Operation, Standing, Table, difference};
use links::Links;
use register::{OwnedSync, Register, Subject, mark_of};
use steering::Steering;
use wanted::Wanted;

mod difference;
mod links;
mod register;
mod steering;
mod sync;
mod wanted;

/// Of which there is one in a network namespace.
const LOCK: &str = "gridfront/forwarding";

/// What an engine has to know.
#[derive(Clone, Debug)]
pub struct IpvsSettings {
    /// Which services are ours, for the next daemon. It has to outlive this one, but no boot.
    pub state_file: PathBuf,
}

/// The engine. Dropping it leaves everything as it is: the kernel forwards on, and the next one takes over.
#[derive(Debug)]
pub struct IpvsEngine {
    ipvs: Ipvs,
    state_file: PathBuf,
    register: Register,
    /// What the file says.
    saved: Register,
    /// Or why there is none.
    marking: Result<Marking, String>,
    plan: ForwardingPlan,
    /// Of that plan; nothing is, before there is one.
    wanted: Option<Wanted>,
    /// The names of members, those that leave included.
    names: HashMap<(ServiceKey, IpAddr), String>,
    /// What was done since the last apply.
    report: Report,
    _lock: NamespaceLock,
}

#[derive(Debug)]
struct Marking {
    links: Links,
    steering: Arc<Steering>,
}

#[derive(Debug, Default)]
struct Report {
    changes: Vec<ForwardingChange>,
    errors: Vec<ForwardError>,
}

impl IpvsEngine {
    /// Takes over what a daemon before us has left, and changes nothing before the first plan.
    ///
    /// # Errors
    ///
    /// [`ForwardError::Unavailable`]: the kernel has no IPVS, this process may not use it, another one does already, or what is ours
    /// is not known.
    pub fn open(settings: IpvsSettings) -> Result<Self, ForwardError> {
        let unavailable = ForwardError::Unavailable;
        let ipvs = Ipvs::open().map_err(|error| unavailable(error.to_string()))?;
        let lock = NamespaceLock::take(LOCK)
            .map_err(|error| unavailable(format!("IPVS: no lock: {error}")))?
            .ok_or_else(|| {
                unavailable(
                    "IPVS of this network namespace is another gridfront's: stop it, or have one daemon for all virtual servers".into(),
                )
            })?;
        let namespace = register::namespace()
            .map_err(|error| unavailable(format!("IPVS: which network namespace this is: {error}")))?;
        let register = Register::load(&settings.state_file, namespace).map_err(unavailable)?;
        let marking = Links::load().map(|links| {
            let steering = Arc::new(Steering::new(Box::new(links.marks())));
            Marking { links, steering }
        });
        Ok(Self {
            ipvs,
            state_file: settings.state_file,
            saved: register.clone(),
            register,
            marking,
            plan: ForwardingPlan::default(),
            wanted: None,
            names: HashMap::new(),
            report: Report::default(),
            _lock: lock,
        })
    }

    /// Why single ports and groups cannot be had, if they cannot.
    #[must_use]
    pub fn unmarked(&self) -> Option<&str> {
        self.marking.as_ref().err().map(String::as_str)
    }

    fn bring(&mut self, plan: &ForwardingPlan, table: &Table) {
        let taken: BTreeSet<ServiceKey> = table.keys().copied().collect();
        let unmarked = self.marking.as_ref().err().map(String::as_str);
        let (wanted, errors) = Wanted::of(plan, &mut self.register, &taken, unmarked);
        self.report.errors.extend(errors);
        let gone: Vec<ServiceKey> = self
            .register
            .keys()
            .filter(|key| !taken.contains(key) && !wanted.services.contains_key(key))
            .collect();
        gone.iter().for_each(|key| self.register.strike(key));
        self.remember_names(plan, &wanted, table);
        let known = self.saved.clone();
        // Those that are not to be made, or cannot be.
        let mut broken = BTreeSet::new();
        if !self.save() {
            // Nobody would know whose they are after our end.
            broken.extend(wanted.services.keys().filter(|key| !known.has(key)).copied());
            broken.iter().for_each(|key| self.register.strike(key));
        }
        if let Ok(marking) = &self.marking {
            marking.steering.retire(&wanted);
        }
        for operation in difference(table, &wanted.services, self.register.keys()) {
            let key = operation.key();
            if broken.contains(&key) {
                continue;
            }
            if let Err(error) = self.carry_out(&operation, Some(&wanted))
                && matches!(operation, Operation::AddService(_))
            {
                broken.insert(key);
                // One that the list has left out is ours all the same; without an answer it may have been made.
                let may_be_ours = error.errno().is_none() || error.is_presence() && known.has(&key);
                if !may_be_ours {
                    self.register.strike(&key);
                }
            }
        }
        self.mark(&wanted, &plan.interfaces, &broken);
        self.save();
        self.plan.clone_from(plan);
        self.wanted = Some(wanted);
    }

    /// Their clients would wait in vain.
    fn have_lost_connections_end(&mut self) {
        match end_connections_without_server() {
            Ok(true) => self.report.changes.push(ForwardingChange(
                "connections to servers that are taken out are reset now (net.ipv4.vs.expire_nodest_conn = 1)".into(),
            )),
            Ok(false) => {}
            Err(error) => self.report.errors.push(kernel(
                "having connections reset whose server is taken out",
                format!("{error}; set net.ipv4.vs.expire_nodest_conn = 1 by sysctl(8), or their clients wait in vain"),
            )),
        }
    }

    fn mark(&mut self, wanted: &Wanted, interfaces: &[String], broken: &BTreeSet<ServiceKey>) {
        let Ok(marking) = &mut self.marking else { return };
        let without: BTreeSet<_> = broken.iter().filter_map(mark_of).collect();
        if let Err((installed, error)) = marking.steering.install(wanted, |mark| !without.contains(&mark)) {
            let doing = format!("marking packets to {} addresses and ports", wanted.marks.len());
            let why = format!("{installed} are marked: {error}; name fewer ports");
            self.report.errors.push(ForwardError::Kernel { doing, why });
        }
        // What is attached now has all marks of the plan, so that it can take the place of what a daemon before us has left.
        let (changes, errors) = marking.links.follow(interfaces);
        marking.steering.open(wanted, |mark| !without.contains(&mark));
        self.report.changes.extend(changes);
        self.report.errors.extend(errors);
    }

    /// Reads all services, and the destinations of ours.
    fn read(&mut self) -> Result<Table, ForwardError> {
        let doing = "reading the table of IPVS";
        let failed =
            |error: NetlinkError| kernel(doing, format!("{error}; nothing is changed until it can be read"));
        let mut listed = match self.ipvs.services() {
            Err(error) if error.errno() == Some(Errno::NOENT) => {
                // The module was loaded anew, and its number is another one.
                self.ipvs = Ipvs::open().map_err(|error| ForwardError::Unavailable(error.to_string()))?;
                self.ipvs.services()
            }
            listed => listed,
        }
        .map_err(failed)?;
        let misses_one = |key| listed.iter().all(|service| service.service.key != key);
        if self.register.keys().any(misses_one) {
            // It may be left out because somebody else has changed the table meanwhile, and it is not to be forgotten for that.
            listed.extend(self.ipvs.services().map_err(failed)?);
        }
        let mut table = Table::new();
        for service in listed.into_iter().map(|listed| listed.service) {
            let is_new = !table.contains_key(&service.key);
            let destinations = if is_new && self.register.has(&service.key) {
                self.ipvs.destinations(&service.key).map_err(failed)?
            } else {
                Vec::new()
            };
            let destinations =
                destinations.into_iter().map(|listed| (listed.destination.address, listed)).collect();
            table.entry(service.key).or_insert(Standing { service, destinations });
        }
        Ok(table)
    }

    /// Does something and reports it.
    fn carry_out(&mut self, operation: &Operation, wanted: Option<&Wanted>) -> Result<(), NetlinkError> {
        let key = operation.key();
        let title = match wanted.and_then(|wanted| wanted.services.get(&key)) {
            Some(wanted) => wanted.title.clone(),
            None => self.register.subject(&key).map(Subject::to_string).unwrap_or_default(),
        };
        let done = self.perform(operation);
        match &done {
            Ok(()) => {
                if matches!(operation, Operation::RemoveService(_)) {
                    self.register.strike(&key);
                }
                self.report.changes.push(ForwardingChange(format!("{title}: {operation}")));
            }
            Err(error) => {
                self.report.errors.push(kernel(&format!("{title}: {operation}"), why(operation, error)));
            }
        }
        done
    }

    fn perform(&mut self, operation: &Operation) -> Result<(), NetlinkError> {
        match operation {
            Operation::AddService(service) => self.ipvs.add_service(service),
            Operation::EditService(service) => self.ipvs.edit_service(service),
            Operation::RemoveService(key) => self.ipvs.remove_service(key),
            Operation::AddDestination(key, destination) => self.ipvs.add_destination(key, destination),
            Operation::EditDestination(key, destination) => self.ipvs.edit_destination(key, destination),
            Operation::RemoveDestination(key, address) => self.ipvs.remove_destination(key, *address),
        }
    }

    /// Writes the register if it has changed, and returns whether the file says what it says.
    fn save(&mut self) -> bool {
        if self.register == self.saved {
            return true;
        }
        match self.register.save(&self.state_file) {
            Ok(()) => {
                self.saved.clone_from(&self.register);
                true
            }
            Err(error) => {
                let doing =
                    format!("noting in {} which services of IPVS are ours", self.state_file.display());
                self.report.errors.push(kernel(&doing, format!("{error}; no new ones are made")));
                false
            }
        }
    }

    fn remember_names(&mut self, plan: &ForwardingPlan, wanted: &Wanted, table: &Table) {
        let stands = |key: &ServiceKey, of: IpAddr| {
            let standing = table.get(key);
            standing.is_some_and(|standing| standing.destinations.keys().any(|address| address.ip() == of))
        };
        self.names.retain(|(key, address), _| stands(key, *address));
        for service in &plan.services {
            let Some(key) = self.register.key_of(&Subject::of(&service.entry)) else { continue };
            if wanted.services.contains_key(&key) {
                let name =
                    |member: &crate::balance::Member| ((key, member.address), member.real_server.clone());
                self.names.extend(service.members.iter().map(name));
            }
        }
    }

    /// Takes away what has got its last connection meanwhile.
    fn see_off(&mut self, table: &mut Table) {
        let Some(wanted) = self.wanted.take() else { return };
        let operations = difference(table, &wanted.services, self.register.keys());
        for operation in operations.iter().filter(|operation| operation.is_removal()) {
            if self.carry_out(operation, Some(&wanted)).is_err() {
                continue;
            }
            match operation {
                Operation::RemoveDestination(key, address) => {
                    table.get_mut(key).map(|standing| standing.destinations.remove(address));
                }
                _ => drop(table.remove(&operation.key())),
            }
        }
        self.wanted = Some(wanted);
        self.save();
    }

    fn counts_of(&self, service: &ForwardedService, table: &Table) -> ServiceCounts {
        let key = self.register.key_of(&Subject::of(&service.entry));
        let standing = key.and_then(|key| table.get(&key));
        let mut destinations: BTreeMap<IpAddr, FlowCounts> = standing
            .iter()
            .flat_map(|standing| standing.destinations.iter())
            .map(|(address, listed)| (address.ip(), counts(listed)))
            .collect();
        let named = service.members.iter().map(|member| (member.real_server.clone(), member.address));
        let mut members: Vec<_> = named
            .map(|(name, address)| (name, address, destinations.remove(&address).unwrap_or_default()))
            .collect();
        members.extend(destinations.into_iter().map(|(address, counts)| {
            let name = key.and_then(|key| self.names.get(&(key, address)).cloned());
            (name.unwrap_or_else(|| address.to_string()), address, counts)
        }));
        ServiceCounts {
            virtual_server: service.virtual_server.clone(),
            entry: service.entry.clone(),
            members,
        }
    }
}

impl Forwarder for IpvsEngine {
    fn name(&self) -> &'static str {
        "ipvs"
    }

    fn capabilities(&self) -> ForwarderCapabilities {
        ForwarderCapabilities { services: true, ports: self.marking.is_ok(), survives: true, sync: true }
    }

    fn apply(&mut self, plan: &ForwardingPlan) -> (Vec<ForwardingChange>, Vec<ForwardError>) {
        self.have_lost_connections_end();
        match self.read() {
            Ok(table) => self.bring(plan, &table),
            Err(error) => self.report.errors.push(error),
        }
        let Report { changes, errors } = std::mem::take(&mut self.report);
        (changes, errors)
    }

    fn counts(&mut self) -> Result<ForwardingCounts, ForwardError> {
        let mut table = self.read()?;
        self.see_off(&mut table);
        let carrier = |address: IpAddr| {
            let key = self.register.key_of(&Subject::Carrier(address))?;
            table.get(&key)?.destinations.get(&SocketAddr::new(address, 0)).map(counts)
        };
        let carriers =
            self.plan.carriers.iter().map(|of| (of.address, carrier(of.address).unwrap_or_default()));
        let leaving = self
            .wanted
            .as_ref()
            .map_or(0, |wanted| difference::leaving(&table, &wanted.services, self.register.keys()));
        Ok(ForwardingCounts {
            services: self.plan.services.iter().map(|service| self.counts_of(service, &table)).collect(),
            carriers: carriers.collect(),
            leaving,
        })
    }

    fn sync(&mut self, sync: Option<&FlowSync>) -> Result<(), ForwardError> {
        let doing = "telling another balancer of connections";
        let failed = |error: NetlinkError| kernel(doing, error.to_string());
        let running = self.ipvs.daemons().map_err(failed)?;
        let wanted = sync.map(OwnedSync::from);
        let steps = sync::steps(&running, self.register.sync.as_ref(), wanted.as_ref());
        if let Some(role) = steps.stop
            && let Err(error) = self.ipvs.stop_daemon(role)
        {
            // A kernel thread that has not begun yet ends by EINTR, and requests that end so are not answered.
            let is_silent = error.errno().is_none();
            let stays = |daemons: Vec<Daemon>| daemons.iter().any(|daemon| daemon.role == role);
            if !is_silent || self.ipvs.daemons().map_or(true, stays) {
                return Err(failed(error));
            }
        }
        if let Some(other) = steps.in_its_place {
            self.register.sync = None;
            self.save();
            let role = match other.role {
                DaemonRole::Master => "master",
                DaemonRole::Backup => "backup",
            };
            return Err(kernel(
                doing,
                format!(
                    "a sync daemon that is not ours is {role} on {}; stop the program that made it, or stop it (ipvsadm --stop-daemon {role})",
                    other.interface
                ),
            ));
        }
        self.register.sync = wanted;
        let is_saved = self.save();
        if let Some(daemon) = steps.start {
            if !is_saved {
                self.register.sync = None;
                let why = self.report.errors.pop();
                return Err(why.unwrap_or_else(|| kernel(doing, "it cannot be noted".into())));
            }
            if let Err(error) = self.ipvs.start_daemon(&daemon) {
                // Without an answer it may have been started.
                if error.errno().is_some() {
                    self.register.sync = None;
                    self.save();
                }
                return Err(match error.errno() {
                    Some(Errno::NODEV) => {
                        kernel(doing, format!("there is no interface {}", daemon.interface))
                    }
                    _ => failed(error),
                });
            }
        }
        Ok(())
    }

    fn withdraw(&mut self) {
        if let Ok(marking) = &mut self.marking {
            marking.steering.clear_all();
            marking.links.leave();
        }
        let ours: Vec<ServiceKey> = self.register.keys().collect();
        for key in ours {
            if self.ipvs.remove_service(&key).is_ok() {
                self.register.strike(&key);
            }
        }
        // Errors of a sync daemon are none of services.
        let _ = self.sync(None);
        self.plan = ForwardingPlan::default();
        self.wanted = None;
        self.names.clear();
        self.save();
        if self.register.keys().next().is_none() && self.register.sync.is_none() {
            // With nothing in it, it says no more than none.
            let _ = fs::remove_file(&self.state_file);
        }
    }

    fn ports(&self) -> Option<Arc<dyn PortSteering>> {
        let marking = self.marking.as_ref().ok()?;
        Some(Arc::clone(&marking.steering) as Arc<dyn PortSteering>)
    }
}

fn counts(listed: &ListedDestination) -> FlowCounts {
    FlowCounts {
        active: listed.active,
        inactive: listed.inactive,
        connections: listed.statistics.connections,
        packets: listed.statistics.packets_in,
        bytes: listed.statistics.bytes_in,
    }
}

fn kernel(doing: &str, why: String) -> ForwardError {
    ForwardError::Kernel { doing: doing.to_owned(), why }
}

/// The kernel's words, and what they mean here.
fn why(operation: &Operation, error: &NetlinkError) -> String {
    match (operation, error.errno()) {
        (Operation::AddService(service) | Operation::EditService(service), Some(Errno::NOENT)) => {
            let name = &service.scheduler;
            format!("the kernel has no scheduler {name}: load it by `modprobe ip_vs_{name}`")
        }
        (_, Some(Errno::AFNOSUPPORT)) => "IPVS of this kernel has no IPv6".into(),
        (_, Some(Errno::EXIST | Errno::NOENT | Errno::SRCH)) => {
            format!("{error}; somebody else changes the table of IPVS, too, and the next attempt looks again")
        }
        _ => format!("{error}; the next attempt tries again"),
    }
}
