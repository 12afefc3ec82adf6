//! Who owns the virtual addresses: VRRP at work.
//!
//! ```text
//!   control ── Input ──▶ engine (thread "vrrp") ── Order ──▶ holdings (thread "vrrp-addresses") ──▶ guardian (process)
//!      ▲                   │   ▲                                │
//!      └────── Event ──────┘   └─────────── Report ─────────────┘
//! ```
//!
//! The [engine] has the sockets and the clock of all virtual routers, whose machines are those of
//! [`proto::vrrp`](crate::proto::vrrp), and waits for nobody: what may block is done by [holdings], and what is said, logged
//! or run for it is done by whoever takes its [`Event`]s. What others see is in [record].
mod engine;
pub mod guardian;
mod holdings;
mod links;
mod parent_setting;
pub mod record;
mod router;
mod settings;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};

use self::engine::{Engine, Input, Parts};
use self::holdings::Holdings;
use self::record::{Counts, Record, Shared, Situation};
use crate::config::vrrp::{self as config, VrrpInstance};
use crate::proto::vrrp::{Cause, Condition, Priority, Role};
use crate::sys;
use crate::sys::netlink::RouteEvents;
use crate::sys::real_time::RealTimeError;
use crate::sys::wake::Wake;

/// Of SCHED_FIFO, sched(7): before everything that is not real-time, behind what the kernel itself runs so (50 and above).
const REAL_TIME_PRIORITY: u8 = 20;

/// Events that wait for whoever logs them. Beyond that they are lost and counted: a virtual router does not wait for a log.
const MAX_EVENTS: usize = 4096;

/// What mends it.
const GRANT: &str = "run it as root, or give it AmbientCapabilities= in the unit";

/// What has happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A virtual router has changed its state.
    Transition {
        /// Which.
        instance: String,
        /// Before.
        from: Role,
        /// After.
        to: Role,
        /// Why.
        cause: Cause,
        /// With what is tracked.
        priority: Priority,
        /// All that it has, or had: a configuration that has others may be in force already.
        addresses: Vec<IpAddr>,
        /// When: whoever hears of it late is not to end what has begun since.
        at: Instant,
    },
    /// All members of a sync group have come to a state.
    Group {
        /// Which.
        name: String,
        /// Theirs.
        to: Role,
    },
    /// Something of one virtual router is not as it should be.
    Problem {
        /// Which.
        instance: String,
        /// What.
        what: String,
    },
    /// The same of all.
    Trouble(String),
    /// These addresses were there at the start, and were taken away.
    Stale(Vec<String>),
    /// The thread may be late.
    NotRealTime(String),
}

/// What is to be from now on.
#[derive(Debug)]
struct Plan {
    instances: Vec<VrrpInstance>,
    /// Names, and names of members.
    groups: Vec<(String, Vec<String>)>,
    /// Of the instances, in their order.
    records: Vec<Arc<Record>>,
}

/// All virtual routers of this daemon. Dropped, it gives them up.
#[derive(Debug)]
pub struct Vrrp {
    inputs: Inbox,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Where the engine hears.
#[derive(Clone, Debug)]
struct Inbox {
    inputs: Sender<Input>,
    wake: Arc<Wake>,
}

impl Inbox {
    fn put(&self, input: Input) {
        // An engine that has ended hears nothing any more.
        let _ = self.inputs.send(input);
        self.wake.wake();
    }
}

impl Vrrp {
    /// Starts the threads, with no virtual router yet. What happens is to be taken from the receiver.
    ///
    /// # Errors
    ///
    /// Threads, descriptors or memory are short.
    pub fn start() -> io::Result<(Self, mpsc::Receiver<Event>)> {
        let (event_sender, events) = mpsc::channel(MAX_EVENTS);
        let (inputs, inbox) = channel();
        let inputs = Inbox { inputs, wake: Arc::new(Wake::new()?) };
        // A backup would hear of it only when it is to take over.
        let shared = Arc::new(Shared::new(sys::capabilities::missing_for_addresses()));
        // Before anything is looked at, so that no change falls in between.
        let route_events = RouteEvents::open()?;
        let reports = inputs.clone();
        let holdings = Holdings::start(move |report| reports.put(Input::Report(report)))?;
        let of_events = Arc::clone(&shared);
        let tell = move |event| {
            if event_sender.try_send(event).is_err() {
                of_events.events_lost.fetch_add(1, Relaxed);
            }
        };
        for what in &shared.missing {
            tell(Event::Trouble(format!("this process lacks {what}; {GRANT}")));
        }
        let (wake, of_engine) = (Arc::clone(&inputs.wake), Arc::clone(&shared));
        let thread = thread::Builder::new().name("vrrp".into()).spawn(move || {
            let refused: Vec<String> = keep_time_well().iter().map(RealTimeError::to_string).collect();
            for what in &refused {
                tell(Event::NotRealTime(what.clone()));
            }
            // It is asked once.
            let _ = of_engine.refused.set(refused);
            let tell = Box::new(tell);
            Engine::new(Parts { events: route_events, holdings, inbox, wake, shared: of_engine, tell }).run();
        })?;
        Ok((Self { inputs, shared, thread: Mutex::new(Some(thread)) }, events))
    }

    /// Puts a configuration in force: virtual routers that it has as before go on as they are.
    pub fn configure(&self, config: &config::Vrrp) {
        let before: BTreeMap<String, Arc<Record>> =
            self.shared.records().iter().map(|record| (record.name.clone(), Arc::clone(record))).collect();
        let record = |instance: &VrrpInstance| Arc::new(record_of(instance, before.get(&instance.name)));
        let records: Vec<Arc<Record>> = config.instances.iter().map(record).collect();
        self.shared.set_records(records.clone());
        let groups =
            config.sync_groups.iter().map(|group| (group.name.clone(), group.instances.clone())).collect();
        self.inputs.put(Input::Configure(Plan { instances: config.instances.clone(), groups, records }));
    }

    /// What all virtual routers are and have counted.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// A tracked script is up or down.
    pub fn set_script(&self, name: &str, condition: Condition) {
        self.inputs.put(Input::Condition { item: settings::script_item(name), condition });
    }

    /// A tracked file says this.
    pub fn set_file(&self, name: &str, condition: Condition) {
        self.inputs.put(Input::Condition { item: settings::file_item(name), condition });
    }

    /// A virtual server has its quorum or not.
    pub fn set_virtual_server(&self, name: &str, condition: Condition) {
        self.inputs.put(Input::Condition { item: settings::virtual_server_item(name), condition });
    }

    /// The instance gives up its addresses for once, if it is master. Whether it was.
    pub async fn step_down(&self, instance: &str) -> bool {
        let (done, answer) = oneshot::channel();
        self.inputs.put(Input::StepDown { instance: instance.into(), done });
        answer.await.unwrap_or(false)
    }

    /// Whether virtual routers are kept from being master, but for these, which are not yet.
    pub fn set_maintenance(&self, on: bool, except: Vec<String>) {
        self.inputs.put(Input::Maintenance { on, except });
    }

    /// Returns when the engine has had a turn, or has ended.
    pub async fn until_it_turns(&self) {
        let (sender, turned) = oneshot::channel();
        self.inputs.put(Input::Ping { _dropped: sender });
        let _ = turned.await;
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.lock().as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Starts guardians, one after the other, for ever.
    ///
    /// # Errors
    ///
    /// None can be started.
    pub async fn keep_guardian(&self) -> io::Result<()> {
        loop {
            let guardian::Guardian { mut child, pipe } = guardian::Guardian::start()?;
            self.inputs.put(Input::Guard(pipe));
            self.shared.has_guardian.store(true, Relaxed);
            let ended = child.wait().await;
            self.shared.has_guardian.store(false, Relaxed);
            if !self.is_sound() {
                // Nothing is left to be guarded.
                return std::future::pending().await;
            }
            tracing::warn!(?ended, "the guardian of the virtual addresses has ended; another one is started");
            tokio::time::sleep(guardian::START_AGAIN_AFTER).await;
        }
    }

    /// Gives up all addresses, and returns when that is done.
    pub fn stop(&self) {
        self.inputs.put(Input::Stop);
        // Not in the condition, where the lock would be held until the thread has ended.
        let thread = self.lock().take();
        if let Some(thread) = thread {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Vrrp {
    fn drop(&mut self) {
        self.stop();
    }
}

fn record_of(instance: &VrrpInstance, before: Option<&Arc<Record>>) -> Record {
    let unknown = || Situation {
        role: Role::Initialize,
        since: now(),
        date: today(),
        cause: "not started".into(),
        priority: settings::priority(instance),
        origin: None,
        master: None,
        complaints: Vec::new(),
    };
    let situation = before.map_or_else(unknown, |record| Situation::clone(&record.situation()));
    let counts = before.map_or_else(|| Arc::new(Counts::default()), |record| Arc::clone(&record.counts));
    Record::new(instance, situation, counts)
}

/// For the calling thread. What was refused.
fn keep_time_well() -> Vec<RealTimeError> {
    let priority = sys::real_time::set_priority(REAL_TIME_PRIORITY).err();
    let memory = sys::real_time::lock_memory().err();
    priority.into_iter().chain(memory).collect()
}

/// The clock of VRRP, which no change of the time of day moves.
#[allow(clippy::disallowed_methods, reason = "here is the edge")]
fn now() -> Instant {
    Instant::now()
}

/// The clock that people read, for whom alone it is asked.
#[allow(clippy::disallowed_methods, reason = "here is the edge")]
fn today() -> SystemTime {
    SystemTime::now()
}
