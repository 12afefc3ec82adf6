//! The thread that an engine runs on: its calls wait for the kernel.
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::balance::{FlowSync, ForwardError, Forwarder, ForwardingChange, ForwardingCounts, ForwardingPlan};
use crate::sys::netlink::Route;

/// How often the kernel is asked what it has counted.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// How often, in counts, the kernel is made to have what it should, whoever has changed it.
const COUNTS_TO_APPLY: u32 = 5;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Worker {
    orders: Sender<Order>,
    seen: Arc<Mutex<Seen>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the engine has done and found.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) counts: ForwardingCounts,
    /// What does not work now.
    pub(super) errors: Vec<ForwardError>,
    /// Since somebody took them.
    pub(super) changes: Vec<ForwardingChange>,
    /// What was done to the kernel, in all.
    pub(super) changed: u64,
    /// What did not work, in all.
    pub(super) failed: u64,
    pub(super) sync: Option<FlowSync>,
    /// Where clients come in, by name.
    pub(super) interfaces: Vec<String>,
}

/// Changes that nobody has taken yet; beyond it they are counted alone.
const MAX_CHANGES: usize = 1000;

enum Order {
    /// And whether clients also come in where virtual addresses are.
    Apply(Box<ForwardingPlan>, bool),
    Sync(Option<FlowSync>),
    /// Ask the kernel what it has counted now.
    Count(oneshot::Sender<()>),
    /// Take away everything and end.
    Stop,
}

impl Worker {
    /// Starts it.
    pub(super) fn start(engine: Box<dyn Forwarder>) -> io::Result<Self> {
        let (orders, receiver) = channel();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let of_thread = Arc::clone(&seen);
        let run = move || Thread::new(engine, of_thread).run(&receiver);
        let thread = thread::Builder::new().name("forwarding".into()).spawn(run)?;
        Ok(Self { orders, seen, thread: Mutex::new(Some(thread)) })
    }

    /// Has the kernel forward this and nothing else. Where clients come in is as the plan says, and where virtual addresses are
    /// if that is to be looked for.
    pub(super) fn apply(&self, plan: ForwardingPlan, looks_for_links: bool) {
        let _ = self.orders.send(Order::Apply(Box::new(plan), looks_for_links));
    }

    /// Has flows told, or heard of.
    pub(super) fn sync(&self, sync: Option<FlowSync>) {
        let _ = self.orders.send(Order::Sync(sync));
    }

    /// Returns when it has read once more what the kernel counts, or has ended.
    pub(super) async fn recount(&self) {
        let (done, counted) = oneshot::channel();
        let _ = self.orders.send(Order::Count(done));
        let _ = counted.await;
    }

    /// What it has found last.
    pub(super) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// What it has changed since this was asked last.
    pub(super) fn take_changes(&self) -> Vec<ForwardingChange> {
        std::mem::take(&mut lock(&self.seen).changes)
    }

    /// Whether it runs.
    pub(super) fn is_sound(&self) -> bool {
        lock(&self.thread).as_ref().is_none_or(|thread| !thread.is_finished())
    }

    /// Takes away everything, and returns when that is done.
    pub(super) fn stop(&self) {
        let _ = self.orders.send(Order::Stop);
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

struct Thread {
    engine: Box<dyn Forwarder>,
    seen: Arc<Mutex<Seen>>,
    plan: ForwardingPlan,
    sync: Option<FlowSync>,
    sync_error: Option<ForwardError>,
    looks_for_links: bool,
    route: Option<Route>,
}

impl Thread {
    fn new(engine: Box<dyn Forwarder>, seen: Arc<Mutex<Seen>>) -> Self {
        Self {
            engine,
            seen,
            plan: ForwardingPlan::default(),
            sync: None,
            sync_error: None,
            looks_for_links: false,
            route: Route::open().ok(),
        }
    }

    fn run(mut self, orders: &Receiver<Order>) {
        let mut counted = 0;
        let mut is_configured = false;
        loop {
            let mut asked = None;
            match orders.recv_timeout(COUNT_EVERY) {
                Ok(Order::Apply(plan, looks_for_links)) => {
                    is_configured = true;
                    (self.plan, self.looks_for_links) = (*plan, looks_for_links);
                    self.apply();
                }
                Ok(Order::Sync(sync)) => {
                    self.sync = sync;
                    self.follow_sync();
                }
                Ok(Order::Count(done)) => asked = Some(done),
                Ok(Order::Stop) => return self.engine.withdraw(),
                // Killed threads leave the kernel as it is, as a killed daemon does.
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    counted += 1;
                    if is_configured && counted % COUNTS_TO_APPLY == 0 {
                        self.apply();
                        self.follow_sync();
                    } else if self.sync_error.is_some() {
                        // Whoever is master now tells nobody of its flows until then.
                        self.follow_sync();
                    }
                }
            }
            self.count();
            // Whoever asked may have gone.
            let _ = asked.map(|done| done.send(()));
        }
    }

    fn apply(&mut self) {
        let interfaces = self.interfaces();
        let plan = ForwardingPlan { interfaces: interfaces.clone(), ..self.plan.clone() };
        let (changes, mut errors) = self.engine.apply(&plan);
        let mut seen = lock(&self.seen);
        seen.changed += changes.len() as u64;
        seen.failed += errors.len() as u64;
        let room = MAX_CHANGES.saturating_sub(seen.changes.len());
        seen.changes.extend(changes.into_iter().take(room));
        errors.extend(self.sync_error.clone());
        seen.errors = errors;
        seen.interfaces = interfaces;
    }

    fn follow_sync(&mut self) {
        let before = std::mem::replace(&mut self.sync_error, self.engine.sync(self.sync.as_ref()).err());
        let mut seen = lock(&self.seen);
        seen.errors.retain(|error| before.as_ref() != Some(error));
        seen.sync = self.sync.clone().filter(|_| self.sync_error.is_none());
        seen.failed += u64::from(self.sync_error.is_some());
        seen.errors.extend(self.sync_error.clone());
    }

    fn count(&mut self) {
        // What cannot be read now stays as it was; an apply will say what is wrong.
        if let Ok(counts) = self.engine.counts() {
            lock(&self.seen).counts = counts;
        }
    }

    /// Where clients come in now.
    fn interfaces(&mut self) -> Vec<String> {
        let mut names = self.plan.interfaces.clone();
        if self.looks_for_links {
            names.extend(self.links_with_virtual_addresses());
        }
        names.sort();
        names.dedup();
        names
    }

    fn links_with_virtual_addresses(&mut self) -> Vec<String> {
        let Some(route) = &mut self.route else { return Vec::new() };
        let (Ok(links), Ok(addresses)) = (route.links(), route.addresses()) else { return Vec::new() };
        let wanted = &self.plan.virtual_addresses;
        let has = |index: u32| addresses.iter().any(|of| of.index == index && wanted.contains(&of.address));
        let with = links.into_iter().filter(|link| link.mac.is_some() && has(link.index));
        with.map(|link| link.name).collect()
    }
}

/// What is behind it is good at any moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
