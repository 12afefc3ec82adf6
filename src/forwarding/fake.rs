//! An engine for tests: it forwards nothing, and remembers what it was told.
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::balance::{
    FlowCounts, FlowSync, ForwardError, Forwarder, ForwarderCapabilities, ForwardingChange, ForwardingCounts,
    ForwardingPlan, PortSteering, ServiceCounts,
};

/// The engine, and what it was told: all clones are one.
#[derive(Clone, Debug)]
pub struct FakeForwarder {
    capabilities: ForwarderCapabilities,
    told: Arc<Mutex<Told>>,
}

/// What a fake was told, and what it is to say.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// All plans, the last one in force.
    pub plans: Vec<ForwardingPlan>,
    /// The last word on the sync daemon.
    pub sync: Option<FlowSync>,
    /// Single ports, each with its carrier.
    pub ports: HashMap<(Option<IpAddr>, SocketAddr), IpAddr>,
    /// How often all was taken away.
    pub withdrawals: usize,
    /// What the next plan meets, once.
    pub errors: Vec<ForwardError>,
    /// What is counted of an address, in whatever service; nothing for others.
    pub counts: HashMap<IpAddr, FlowCounts>,
}

impl FakeForwarder {
    /// One that can do this.
    #[must_use]
    pub fn new(capabilities: ForwarderCapabilities) -> Self {
        Self { capabilities, told: Arc::default() }
    }

    /// What it was told so far. Others wait as long as it is looked at.
    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for FakeForwarder {
    /// One that can do everything.
    fn default() -> Self {
        Self::new(ForwarderCapabilities { services: true, ports: true, survives: true, sync: true })
    }
}

impl Forwarder for FakeForwarder {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn capabilities(&self) -> ForwarderCapabilities {
        self.capabilities
    }

    fn apply(&mut self, plan: &ForwardingPlan) -> (Vec<ForwardingChange>, Vec<ForwardError>) {
        let mut told = self.told();
        let is_new = told.plans.last() != Some(plan);
        told.plans.push(plan.clone());
        let change = is_new.then(|| ForwardingChange("another plan".into()));
        (change.into_iter().collect(), std::mem::take(&mut told.errors))
    }

    fn counts(&mut self) -> Result<ForwardingCounts, ForwardError> {
        let told = self.told();
        let of = |address: IpAddr| told.counts.get(&address).copied().unwrap_or_default();
        let Some(plan) = told.plans.last() else { return Ok(ForwardingCounts::default()) };
        let services = plan.services.iter().map(|service| {
            let member = |of_service: &crate::balance::Member| {
                (of_service.real_server.clone(), of_service.address, of(of_service.address))
            };
            ServiceCounts {
                virtual_server: service.virtual_server.clone(),
                entry: service.entry.clone(),
                members: service.members.iter().map(member).collect(),
            }
        });
        let carriers = plan.carriers.iter().map(|carrier| (carrier.address, of(carrier.address)));
        Ok(ForwardingCounts { services: services.collect(), carriers: carriers.collect(), leaving: 0 })
    }

    fn sync(&mut self, sync: Option<&FlowSync>) -> Result<(), ForwardError> {
        self.told().sync = sync.cloned();
        Ok(())
    }

    fn withdraw(&mut self) {
        let mut told = self.told();
        told.withdrawals += 1;
        told.plans.push(ForwardingPlan::default());
        told.ports.clear();
    }

    fn ports(&self) -> Option<Arc<dyn PortSteering>> {
        self.capabilities.ports.then(|| Arc::new(self.clone()) as Arc<dyn PortSteering>)
    }
}

impl PortSteering for FakeForwarder {
    fn set(&self, client: Option<IpAddr>, at: SocketAddr, carrier: IpAddr) -> Result<(), ForwardError> {
        let mut told = self.told();
        let is_known =
            told.plans.last().is_some_and(|plan| plan.carriers.iter().any(|known| known.address == carrier));
        if !is_known {
            let doing = format!("forwarding {at} to {carrier}");
            return Err(ForwardError::Kernel {
                doing,
                why: "no data connections are forwarded to it".into(),
            });
        }
        told.ports.insert((client, at), carrier);
        Ok(())
    }

    fn clear(&self, client: Option<IpAddr>, at: SocketAddr) {
        self.told().ports.remove(&(client, at));
    }
}
