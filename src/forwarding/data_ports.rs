//! Ports of virtual addresses that sessions expect the kernel to carry.
//!
//! ```text
//!   expect ─▶ is there a carrier? ─▶ does it answer at the virtual address? ─▶ is the port free? ─▶ PortSteering ─▶ answer
//!                                     probed once, and again now and then
//! ```
//!
//! Nothing here waits: a session's thread is where all but the probe is done, which takes microseconds.
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::probe::Verdict;
use crate::balance::{
    Effect, Expectation, ExpectationAnswer, Expectations, KernelPath, NoPassage, Passage, PortSteering,
};

/// How long a server is believed to be as a probe has found it. One that is fit goes on to be served while it is asked again.
const BELIEVED_FOR: Duration = Duration::from_secs(30);

/// Sessions that wait for one probe; those beyond it are relayed.
const MAX_WAITING: usize = 1024;

/// Probes that are ordered and not begun; beyond it servers are asked when the next session wants it.
const MAX_ORDERS: usize = 256;

/// Where data connections of a real server may go: by its control address and the virtual address, the carrier.
pub type Routes = HashMap<(SocketAddr, IpAddr), IpAddr>;

/// See the module's text.
#[derive(Debug)]
pub struct DataPorts {
    ports: Arc<dyn PortSteering>,
    routes: ArcSwap<Routes>,
    table: Mutex<Expectations>,
    fitness: Mutex<HashMap<Place, Fitness>>,
    orders: mpsc::Sender<ProbeOrder>,
    clock: fn() -> Instant,
    /// What has come of expectations.
    pub counts: ExpectationCounts,
}

/// A carrier, and a virtual address that it should have.
pub type Place = (IpAddr, IpAddr);

/// What has come of expectations.
#[derive(Debug, Default)]
pub struct ExpectationCounts {
    /// Those that are carried.
    pub carried: AtomicU64,
    /// Another server had the port.
    pub taken: AtomicU64,
    /// The server is not fit, or the kernel refused.
    pub closed: AtomicU64,
}

/// A question for a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProbeOrder {
    /// Where it is.
    pub carrier: IpAddr,
    /// Where it should answer.
    pub at: SocketAddr,
}

#[derive(Debug, Default)]
struct Fitness {
    /// The last answer.
    known: Option<(Verdict, Instant)>,
    /// Whether it is being asked, and who waits for that.
    asking: Option<Vec<Waiting>>,
}

struct Waiting {
    expectation: Expectation,
    answer: ExpectationAnswer,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.expectation.fmt(to)
    }
}

impl DataPorts {
    /// With nothing to go anywhere. The orders are to be carried out, each ending in [`Self::handle_verdict`].
    #[must_use]
    pub fn new(
        ports: Arc<dyn PortSteering>,
        clock: fn() -> Instant,
    ) -> (Arc<Self>, mpsc::Receiver<ProbeOrder>) {
        let (orders, receiver) = mpsc::channel(MAX_ORDERS);
        let this = Self {
            ports,
            routes: ArcSwap::default(),
            table: Mutex::default(),
            fitness: Mutex::default(),
            orders,
            clock,
            counts: ExpectationCounts::default(),
        };
        (Arc::new(this), receiver)
    }

    /// Where data connections may go from now on, and which ports are always a carrier's: carrier, virtual address, ports.
    pub fn set_routes(
        &self,
        routes: Routes,
        slices: impl IntoIterator<Item = (IpAddr, IpAddr, RangeInclusive<u16>)>,
    ) {
        let gone = lock(&self.table).set_slices(slices);
        for (client, at) in gone {
            self.ports.clear(client, at);
        }
        let places: Vec<Place> = routes.iter().map(|(&(_, address), &carrier)| (carrier, address)).collect();
        lock(&self.fitness).retain(|place, fitness| fitness.asking.is_some() || places.contains(place));
        self.routes.store(Arc::new(routes));
    }

    /// What a probe has found.
    pub fn handle_verdict(self: &Arc<Self>, order: ProbeOrder, verdict: Verdict) {
        let is_fit = verdict == Verdict::Answered;
        let waiting = {
            let mut fitness = lock(&self.fitness);
            let of = fitness.entry((order.carrier, order.at.ip())).or_default();
            of.known = Some((verdict, (self.clock)()));
            of.asking.take().unwrap_or_default()
        };
        for Waiting { expectation, answer } in waiting {
            answer(if is_fit { self.carry(expectation, order.carrier) } else { self.close() });
        }
    }

    /// What is known of servers at virtual addresses.
    #[must_use]
    pub fn verdicts(&self) -> Vec<(Place, Verdict, Instant)> {
        let fitness = lock(&self.fitness);
        let known = fitness.iter().filter_map(|(place, of)| {
            let (verdict, at) = of.known.clone()?;
            Some((*place, verdict, at))
        });
        let mut known: Vec<_> = known.collect();
        known.sort_by_key(|(place, ..)| *place);
        known
    }

    /// How many ports are expected now, besides those that are always a server's.
    #[must_use]
    pub fn live(&self) -> usize {
        lock(&self.table).len()
    }

    /// Sets all that is expected once more: the engine has begun anew.
    pub fn renew(&self) {
        let expected: Vec<_> = lock(&self.table).iter().collect();
        for (client, at, carrier) in expected {
            let _ = self.ports.set(client, at, carrier);
        }
    }

    fn route(&self, server: SocketAddr, address: IpAddr) -> Option<IpAddr> {
        self.routes.load().get(&(server, address)).copied()
    }

    fn carry(self: &Arc<Self>, expectation: Expectation, carrier: IpAddr) -> Result<Passage, NoPassage> {
        let Expectation { client, at, .. } = expectation;
        // Held until the kernel has it: another session's removal of the same must not come in between.
        let mut table = lock(&self.table);
        match table.add(client, at, carrier) {
            Err(_) => {
                self.counts.taken.fetch_add(1, Relaxed);
                return Err(NoPassage::PortTaken);
            }
            Ok(Effect::Nothing) => {}
            Ok(Effect::Changed) => {
                if self.ports.set(client, at, carrier).is_err() {
                    table.remove(client, at, carrier);
                    drop(table);
                    return self.close();
                }
            }
        }
        drop(table);
        self.counts.carried.fetch_add(1, Relaxed);
        let path: Arc<dyn KernelPath> = Arc::clone(self) as _;
        Ok(Passage::new(path, expectation, carrier))
    }

    fn close(&self) -> Result<Passage, NoPassage> {
        self.counts.closed.fetch_add(1, Relaxed);
        Err(NoPassage::Closed)
    }

    fn is_believed(&self, at: Instant) -> bool {
        (self.clock)().saturating_duration_since(at) < BELIEVED_FOR
    }
}

impl KernelPath for DataPorts {
    fn is_open(&self, server: SocketAddr, virtual_address: IpAddr) -> bool {
        let Some(carrier) = self.route(server, virtual_address) else { return false };
        let fitness = lock(&self.fitness);
        match fitness.get(&(carrier, virtual_address)).and_then(|of| of.known.as_ref()) {
            Some((verdict, at)) => *verdict == Verdict::Answered || !self.is_believed(*at),
            None => true,
        }
    }

    fn expect(self: Arc<Self>, expectation: Expectation, answer: ExpectationAnswer) {
        let at = expectation.at;
        let Some(carrier) = self.route(expectation.server, at.ip()) else { return answer(self.close()) };
        let order = ProbeOrder { carrier, at };
        let mut fitness = lock(&self.fitness);
        let of = fitness.entry((carrier, at.ip())).or_default();
        let (is_fit, is_recent) = match &of.known {
            Some((verdict, at)) => (*verdict == Verdict::Answered, self.is_believed(*at)),
            None => (false, false),
        };
        if !is_recent && of.asking.is_none() && self.orders.try_send(order).is_ok() {
            of.asking = Some(Vec::new());
        }
        match &mut of.asking {
            Some(waiting) if !is_fit && waiting.len() < MAX_WAITING => {
                waiting.push(Waiting { expectation, answer });
            }
            _ => {
                drop(fitness);
                answer(if is_fit { self.carry(expectation, carrier) } else { self.close() });
            }
        }
    }

    fn withdraw(&self, expectation: &Expectation, carrier: IpAddr) {
        let Expectation { client, at, .. } = *expectation;
        let mut table = lock(&self.table);
        if table.remove(client, at, carrier) == Effect::Changed {
            self.ports.clear(client, at);
        }
    }
}

/// What is behind it is good at any moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
