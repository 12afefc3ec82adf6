//! The kernel path as a part of the daemon: an engine where something needs one, told what is wanted whenever that changes.
//!
//! ```text
//!   configuration, health, drains ─▶ Wanted ─▶ worker (a thread) ─▶ engine ─▶ kernel
//!   sessions ─▶ DataPorts ─▶ PortSteering (any thread)    probes (tasks here)
//!   VRRP ─▶ who tells whom of flows
//! ```
mod plan;
mod status;
mod worker;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use self::plan::{Answering, Wanted};
pub(super) use self::status::{FlowStatus, ForwardingStatus, ServerFlows};
use self::worker::{Seen, Worker};
use super::in_force::InForce;
use super::metrics::ObservedForwarding;
use super::vrrp::Ownership;
use crate::balance::{FlowSync, ForwardError, Forwarder, SyncRole};
use crate::config::{self, Model};
use crate::forwarding::data_ports::{DataPorts, ProbeOrder};
use crate::forwarding::ipvs::{IpvsEngine, IpvsSettings};
use crate::forwarding::probe::{Verdict, probe};
use crate::proto::ftp::DataPath;
use crate::proxy::{Kernel, now};

/// How soon the kernel is told of what has changed: health, weights, drains.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a server may take to answer a probe.
const PROBE_WITHIN: Duration = Duration::from_secs(1);

/// How often servers are asked whether they answer at the addresses of whole virtual servers.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// How soon after one of them was silent for the first time: its clients wait in vain meanwhile.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Times in a row that a server has not answered until it gets no more connections: frames may be lost.
const SILENT_AFTER: u32 = 2;

/// The kernel path of a daemon; nothing runs before a configuration needs it. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Forwarding(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
enum State {
    /// Nothing needs it.
    #[default]
    Idle,
    /// Something does, and it is not to be had.
    Failed(Arc<str>),
    Running(Arc<Running>),
}

#[derive(Debug)]
struct Running {
    engine: &'static str,
    /// Why it has no single ports, if it has none.
    unmarked: Option<String>,
    worker: Worker,
    ports: Option<Arc<DataPorts>>,
    /// Until somebody takes them.
    orders: Mutex<Option<mpsc::Receiver<ProbeOrder>>>,
    /// Servers that do not answer at an address of a whole virtual server, and how.
    silent: Mutex<HashMap<Answering, Silence>>,
    is_leaving: watch::Sender<bool>,
}

/// How a server has not answered.
#[derive(Clone, Debug)]
struct Silence {
    verdict: Verdict,
    /// In a row.
    times: u32,
}

impl Forwarding {
    /// Starts an engine where this configuration needs one and none runs. What the kernel does from then on.
    pub(super) fn prepare(&self, model: &Model) -> Kernel {
        let mut state = lock(&self.0.state);
        if let (Some(_), State::Idle | State::Failed(_)) = (model.wanted_forwarding(), &*state) {
            let engine =
                IpvsEngine::open(IpvsSettings { state_file: state_file(&model.global.admin_socket) });
            *state = match engine.map_err(|error| error.to_string()).and_then(|engine| {
                let unmarked = engine.unmarked().map(str::to_owned);
                Running::start(Box::new(engine), unmarked)
                    .map_err(|error| format!("no thread can be started: {error}"))
            }) {
                Ok(running) => {
                    tracing::info!(engine = running.engine, "the kernel forwards");
                    if let Some(error) = running.relays_all(model) {
                        tracing::error!(engine = running.engine, "forwarding: {error}");
                    }
                    State::Running(Arc::new(running))
                }
                Err(why) => {
                    let why = format!("{why}; then `gridfront reload`");
                    tracing::error!(%why, "the kernel does not forward");
                    State::Failed(why.into())
                }
            };
        }
        kernel(&state)
    }

    /// The same, changing nothing.
    pub(super) fn kernel(&self) -> Kernel {
        kernel(&lock(&self.0.state))
    }

    fn running(&self) -> Option<Arc<Running>> {
        match &*lock(&self.0.state) {
            State::Running(running) => Some(Arc::clone(running)),
            State::Idle | State::Failed(_) => None,
        }
    }

    /// Whether everything that was started still runs.
    pub(super) fn is_sound(&self) -> bool {
        self.running().is_none_or(|running| running.worker.is_sound())
    }

    /// Tells the kernel what is wanted for as long as the daemon runs. Returns when the engine's thread has ended.
    pub(super) async fn look_after(&self, in_force: watch::Receiver<Arc<InForce>>, ownership: Ownership) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let running = loop {
            ticks.tick().await;
            if let Some(running) = self.running() {
                break running;
            }
        };
        running.follow(in_force, ownership).await;
    }

    /// Nobody new is let in; what is there goes on.
    pub(super) fn leave(&self) {
        if let Some(running) = self.running() {
            running.is_leaving.send_replace(true);
        }
    }

    /// Connections that the kernel has at virtual servers now, as far as it knows.
    pub(super) async fn connections(&self) -> u64 {
        let Some(running) = self.running() else { return 0 };
        // What was seen last may be older than the newest of them.
        running.worker.recount().await;
        let seen = running.worker.seen();
        let members = seen.counts.services.iter().flat_map(|service| &service.members);
        members.map(|(_, _, counts)| u64::from(counts.active)).sum()
    }

    /// Takes away everything that is ours.
    pub(super) async fn stop(&self) {
        if let Some(running) = self.running() {
            let stop = tokio::task::spawn_blocking(move || running.worker.stop());
            let _ = stop.await;
        }
    }

    /// For a page of metrics.
    pub(super) fn measured(&self, in_force: &InForce) -> Option<ObservedForwarding> {
        let status = self.status(in_force)?;
        Some(ObservedForwarding { servers: ServerFlows::all(in_force, &status), status })
    }

    /// What `status` shows; nothing where nothing needs an engine.
    pub(super) fn status(&self, in_force: &InForce) -> Option<ForwardingStatus> {
        match &*lock(&self.0.state) {
            State::Idle => None,
            State::Failed(why) => Some(ForwardingStatus::failed(why)),
            State::Running(running) => Some(running.status(in_force)),
        }
    }
}

fn kernel(state: &State) -> Kernel {
    match state {
        State::Idle => Kernel::default(),
        State::Failed(why) => Kernel { why_not: Some(Arc::clone(why)), ..Kernel::default() },
        State::Running(running) => {
            Kernel { path: running.ports.clone().map(|ports| ports as _), serves: true, why_not: None }
        }
    }
}

/// Beside the admin socket, which is one a configuration.
fn state_file(admin_socket: &Path) -> PathBuf {
    admin_socket.with_extension("forwarding")
}

impl Running {
    fn start(engine: Box<dyn Forwarder>, unmarked: Option<String>) -> io::Result<Self> {
        let name = engine.name();
        let (ports, orders) = match engine.ports() {
            Some(ports) => {
                let (ports, orders) = DataPorts::new(ports, now);
                (Some(ports), Some(orders))
            }
            None => (None, None),
        };
        Ok(Self {
            engine: name,
            unmarked,
            worker: Worker::start(engine)?,
            ports,
            orders: Mutex::new(orders),
            silent: Mutex::default(),
            is_leaving: watch::Sender::new(false),
        })
    }

    /// Why no data connections are forwarded that might be, if there are such.
    fn relays_all(&self, model: &Model) -> Option<ForwardError> {
        let why = self.unmarked.as_ref()?;
        let might = |server: &config::VirtualServer| {
            server.direct_routing.is_none() && matches!(server.data_path, DataPath::Auto | DataPath::Kernel)
        };
        let is_lost = model.virtual_servers.iter().any(might);
        is_lost.then(|| {
            ForwardError::Unavailable(format!(
                "data connections: they take marks of packets: {why}; then start gridfront again, and until then they are relayed"
            ))
        })
    }

    async fn follow(self: &Arc<Self>, mut in_force: watch::Receiver<Arc<InForce>>, ownership: Ownership) {
        let probing = tokio::spawn(carry_out(lock(&self.orders).take(), self.ports.clone()));
        let asking = tokio::spawn(Arc::clone(self).ask(in_force.clone()));
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last, mut synced, mut told) = (None, None, Vec::new());
        while self.worker.is_sound() {
            ticks.tick().await;
            let in_force = in_force.borrow_and_update().clone();
            let seen = self.worker.seen();
            self.tell(&seen, &mut told);
            let wanted = self.wanted(&in_force);
            if last.as_ref() != Some(&wanted) {
                if let Some(ports) = &self.ports {
                    ports.set_routes(wanted.routes.clone(), wanted.slices());
                }
                let looks_for_links = configured_interfaces(&in_force.configuration.said).is_none();
                self.worker.apply(wanted.plan.clone(), looks_for_links);
                last = Some(wanted);
            }
            let sync = sync_of(&in_force.configuration.said, &ownership);
            if synced.as_ref() != Some(&sync) {
                self.worker.sync(sync.clone());
                synced = Some(sync);
            }
        }
        probing.abort();
        asking.abort();
    }

    fn wanted(&self, in_force: &InForce) -> Wanted {
        let model = &in_force.configuration.said;
        let of_vrrp = || model.vrrp.instances.iter().map(|instance| instance.interface.clone()).collect();
        let interfaces = configured_interfaces(model).map_or_else(of_vrrp, <[String]>::to_vec);
        let silent: HashSet<Answering> =
            lock(&self.silent).iter().filter(|(_, of)| of.times >= SILENT_AFTER).map(|(at, _)| *at).collect();
        Wanted::of(in_force, interfaces, &silent, *self.is_leaving.borrow(), now())
    }

    /// Logs what was done, and what does not work as soon as that is something else.
    fn tell(&self, seen: &Seen, told: &mut Vec<ForwardError>) {
        for change in self.worker.take_changes() {
            tracing::info!(engine = self.engine, "forwarding: {}", change.0);
        }
        for error in seen.errors.iter().filter(|error| !told.contains(error)) {
            tracing::error!(engine = self.engine, "forwarding: {error}");
        }
        told.clone_from(&seen.errors);
    }

    /// Asks servers whether they answer at the addresses of whole virtual servers: a check by their own addresses does not see
    /// that, and their clients would wait in vain.
    async fn ask(self: Arc<Self>, mut in_force: watch::Receiver<Arc<InForce>>) {
        loop {
            let in_force_now = in_force.borrow_and_update().clone();
            let all = Wanted::of(&in_force_now, Vec::new(), &HashSet::new(), false, now()).answering();
            let mut probes = JoinSet::new();
            for &(server, at) in &all {
                probes.spawn(async move { ((server, at), probe(server, at, PROBE_WITHIN).await) });
            }
            while let Some(answer) = probes.join_next().await {
                if let Ok((who, verdict)) = answer {
                    self.heed(who, verdict);
                }
            }
            let is_doubtful = {
                let mut silent = lock(&self.silent);
                silent.retain(|who, _| all.contains(who));
                silent.values().any(|of| of.times < SILENT_AFTER)
            };
            sleep(if is_doubtful { ASK_AGAIN_AFTER } else { ASK_EVERY }).await;
        }
    }

    fn heed(&self, (server, at): Answering, verdict: Verdict) {
        let mut silent = lock(&self.silent);
        match verdict {
            Verdict::Answered => {
                if silent.remove(&(server, at)).is_some_and(|before| before.times >= SILENT_AFTER) {
                    tracing::info!(%server, address = %at, "the real server answers at the virtual address again");
                }
            }
            // The balancer's own trouble says nothing of the server.
            Verdict::Failed(_) => {}
            verdict => {
                let before =
                    silent.entry((server, at)).or_insert(Silence { verdict: verdict.clone(), times: 0 });
                *before = Silence { times: before.times.saturating_add(1), verdict };
                if before.times == SILENT_AFTER {
                    tracing::warn!(%server, address = %at, reason = %before.verdict, "the real server gets no connections from the kernel");
                }
            }
        }
    }
}

/// Asks servers at the ports that sessions want.
async fn carry_out(orders: Option<mpsc::Receiver<ProbeOrder>>, ports: Option<Arc<DataPorts>>) {
    let (Some(mut orders), Some(ports)) = (orders, ports) else { return };
    let mut probes = JoinSet::new();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => {
                    probes.spawn(async move { (order, probe(order.carrier, order.at, PROBE_WITHIN).await) });
                }
                None => return,
            },
            Some(answer) = probes.join_next() => {
                if let Ok((order, verdict)) = answer {
                    if verdict != Verdict::Answered {
                        tracing::warn!(server = %order.carrier, address = %order.at, reason = %verdict, "no data goes through the kernel to this server for now");
                    }
                    ports.handle_verdict(order, verdict);
                }
            }
        }
    }
}

/// Where clients come in, if that is configured.
fn configured_interfaces(model: &Model) -> Option<&[String]> {
    let interfaces = &model.forwarding.as_ref()?.interfaces;
    (!interfaces.is_empty()).then_some(interfaces)
}

/// What becomes of flows: those of a master are told, and a backup hears of them.
fn sync_of(model: &Model, ownership: &Ownership) -> Option<FlowSync> {
    let config::LvsSync { instance, interface, id } = model.forwarding.as_ref()?.sync.as_ref()?;
    let of = model.vrrp.instances.iter().find(|of| of.name == *instance)?;
    Some(FlowSync {
        role: if ownership.is_master(instance) { SyncRole::Master } else { SyncRole::Backup },
        interface: interface.clone().unwrap_or_else(|| of.interface.clone()),
        id: id.unwrap_or_else(|| of.virtual_router_id.get()),
    })
}

/// What is behind it is good at any moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
