//! The proxy as a whole: its threads and its life from open to closed.
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::time::sleep;

use super::endpoint::{self, Bound};
use super::endpoints::{Endpoints, Plan};
use super::now;
use super::service::Service;
use super::session_table::{SessionTable, Signal, sweep_interval};
use crate::sys::liveness::{Liveness, Pulse};
use crate::sys::passed_sockets::PassedSocket;
use crate::sys::socket::Presence;

/// How often to sweep while the door drains: somebody waits for every session that is left.
const DRAINING_SWEEP: Duration = Duration::from_millis(500);

/// Where the door is in its life; only ever forward.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Phase {
    /// Accepting.
    Open,
    /// Accepts at addresses that will move alone; what is at the others leaves.
    Leaving,
    /// Accepts nobody; sessions leave as they can.
    Draining,
    /// Sessions are told to end.
    Closing,
    /// The threads end, and with them what is left of the sessions.
    Closed,
}

/// See the module's text.
#[derive(Debug)]
pub struct FrontDoor {
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Those of the threads, in the same order.
    runtimes: Vec<Handle>,
    phase: watch::Sender<Phase>,
    table: Arc<SessionTable>,
    /// Locked by whoever alters the door or looks at it, never for a client.
    endpoints: Mutex<Endpoints>,
    liveness: Arc<Liveness>,
    pace: watch::Sender<Pace>,
}

/// What is ready to become of the door.
#[derive(Debug)]
pub struct Alteration {
    plan: Plan<Bound>,
    pace: Pace,
}

/// How often to look for sessions whose time is over. Those of an earlier configuration may have shorter times; they are
/// noticed by the longest interval at the latest, which is some seconds.
#[derive(Clone, Copy, Debug)]
struct Pace {
    of_all: Duration,
    /// Among those that look for a server.
    of_beginning: Duration,
}

/// Why the door cannot open.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error(
        "{0}: another program listens on this address and port; stop it, or give one of the two another (`ss -ltnp` shows it)"
    )]
    InUse(SocketAddr),
    /// The address is not on this host.
    #[error("{0}: no interface of this host has this address; add it (`ip address add`) or mend `addresses`")]
    NotOurs(SocketAddr),
    /// Ports below 1024 need a capability.
    #[error("{0}: not permitted; run as root or with CAP_NET_BIND_SERVICE")]
    NotPermitted(SocketAddr),
    /// Anything else.
    #[error("{0}: cannot listen: {1}")]
    Listen(SocketAddr, io::Error),
    /// The service manager has opened a socket that the configuration does not know.
    #[error(
        "socket {name:?} from the service manager: no virtual server listens on {address}; add it to `addresses` and `port`, or take its ListenStream= away"
    )]
    NotConfigured {
        /// Of the unit.
        name: String,
        /// Where it listens.
        address: SocketAddr,
    },
    /// A thread or its event queue.
    #[error("cannot start a thread: {0}; raise the limits of processes and descriptors")]
    Thread(io::Error),
}

impl FrontDoor {
    /// Opens every listener and prepares every thread, then starts them: either all of it works or nothing is left
    /// running, and no client is accepted before everything that is likely to fail has worked.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub fn open(services: &[Arc<Service>], threads: NonZeroUsize) -> Result<Self, BindError> {
        Self::open_with(services, threads, Vec::new())
    }

    /// The same, with sockets that the service manager has opened already in the place of the door's own.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub fn open_with(
        services: &[Arc<Service>],
        threads: NonZeroUsize,
        mut passed: Vec<PassedSocket>,
    ) -> Result<Self, BindError> {
        let runtimes = (0..threads.get()).map(|_| DoorRuntime::build()).collect::<io::Result<Vec<_>>>();
        let runtimes = runtimes.map_err(BindError::Thread)?;
        let door = Self {
            threads: Mutex::default(),
            runtimes: runtimes.iter().map(DoorRuntime::handle).collect(),
            phase: watch::channel(Phase::Open).0,
            table: Arc::new(SessionTable::new(now())),
            endpoints: Mutex::default(),
            liveness: Arc::default(),
            pace: watch::channel(Pace::of(services)).0,
        };
        let open = |configured: SocketAddr, presence: Presence, ours: &[SocketAddr]| {
            let of_manager: Vec<_> = passed.extract_if(.., |socket| socket.address == configured).collect();
            if of_manager.is_empty() {
                Bound::listen(configured, presence, &door.runtimes, ours)
            } else {
                Bound::adopt(configured, of_manager, &door.runtimes)
            }
        };
        let plan = door.lock_endpoints().plan(services, open)?;
        if let Some(PassedSocket { name, address, .. }) = passed.pop() {
            return Err(BindError::NotConfigured { name, address });
        }
        for (number, runtime) in runtimes.into_iter().enumerate() {
            let (phase, pulse) = (door.phase.subscribe(), door.liveness.pulse(format!("door-{number}")));
            let thread = std::thread::Builder::new()
                .name(format!("door-{number}"))
                .spawn(move || runtime.run(phase, pulse));
            match thread {
                Ok(thread) => door.lock_threads().push(thread),
                Err(error) => {
                    door.close();
                    return Err(BindError::Thread(error));
                }
            }
        }
        door.alter(Alteration { plan, pace: Pace::of(services) });
        Ok(door)
    }

    /// Listens where these services are and the door does not listen yet. Nothing else changes before [`FrontDoor::alter`],
    /// and nothing at all if what this returns is dropped.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub fn prepare(&self, services: &[Arc<Service>]) -> Result<Alteration, BindError> {
        let listen =
            |configured, presence, ours: &[_]| Bound::listen(configured, presence, &self.runtimes, ours);
        Ok(Alteration { plan: self.lock_endpoints().plan(services, listen)?, pace: Pace::of(services) })
    }

    /// Whether [`FrontDoor::prepare`] would be likely to succeed. Listens nowhere.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub fn examine(&self, services: &[Arc<Service>]) -> Result<(), BindError> {
        self.lock_endpoints().plan(services, endpoint::examine).map(|_| ())
    }

    /// Puts in force what was prepared: from now on clients come to those services. Where the door listens as before it
    /// loses nobody; where it does not any more, it tells those who wait to come again.
    pub fn alter(&self, alteration: Alteration) {
        self.lock_endpoints().alter(alteration.plan, &self.runtimes, &self.table);
        self.pace.send_replace(alteration.pace);
    }

    /// Where it really listens, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.lock_endpoints().addresses()
    }

    /// The sessions under way.
    #[must_use]
    pub fn sessions(&self) -> &Arc<SessionTable> {
        &self.table
    }

    /// Asks every thread whether it still turns; other parts may be added.
    #[must_use]
    pub fn liveness(&self) -> &Arc<Liveness> {
        &self.liveness
    }

    /// Where it is in its life.
    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Goes forward to a phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_modify(|now| *now = phase.max(*now));
        if phase >= Phase::Draining {
            self.lock_endpoints().close();
        }
        match phase {
            Phase::Open | Phase::Leaving => {}
            Phase::Draining => self.table.signal_all(Signal::Drain),
            Phase::Closing | Phase::Closed => self.table.signal_all(Signal::Shutdown),
        }
    }

    /// Lets nobody in any more but at these addresses, which move to another host; what is at others leaves as it can.
    pub(crate) fn leave_all_but(&self, addresses: &BTreeSet<IpAddr>) {
        self.enter(Phase::Leaving);
        self.lock_endpoints().close_all_but(addresses);
        self.table.drain_what_stays();
    }

    /// Keeps time for all sessions, for ever: wakes those whose time is over. It is the supervisor's to run: a timer
    /// that is always set would cost a thread of the door a look at the clock at every turn.
    pub fn keep_time(&self) -> impl Future<Output = ()> + Send + use<> {
        let (table, mut phase) = (Arc::clone(&self.table), self.phase.subscribe());
        let mut pace = self.pace.subscribe();
        async move {
            let mut swept = now();
            loop {
                let open = *phase.borrow_and_update() == Phase::Open;
                let Pace { of_all, of_beginning } = *pace.borrow_and_update();
                let of_all = if open { of_all } else { of_all.min(DRAINING_SWEEP) };
                tokio::select! {
                    () = sleep(of_beginning.min(of_all)) => {}
                    Ok(()) = phase.changed() => {}
                    Ok(()) = pace.changed() => {}
                    () = table.next_drain_deadline() => {}
                }
                let now = now();
                table.heed_drain_deadlines(now);
                table.sweep_beginning(now);
                if now >= swept + of_all {
                    table.sweep(now);
                    swept = now;
                }
            }
        }
    }

    /// Whether every thread still runs. When one has ended that should not have, the process must end: a part of the
    /// clients would wait in a queue that nobody empties.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.lock_threads().iter().any(JoinHandle::is_finished) && self.lock_endpoints().is_sound()
    }

    /// Whether clients are let in.
    pub(crate) fn is_open(&self) -> bool {
        *self.phase.borrow() == Phase::Open
    }

    fn lock_threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread that died with the lock left a list that is good at any moment.
    fn lock_endpoints(&self) -> MutexGuard<'_, Endpoints> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the threads.
    pub fn close(&self) {
        self.enter(Phase::Closed);
        let threads = std::mem::take(&mut *self.lock_threads());
        for thread in threads {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Pace {
    fn of(services: &[Arc<Service>]) -> Self {
        let shortest = |of: fn(&Service) -> Duration| {
            sweep_interval(services.iter().map(|service| of(service)).min().unwrap_or(Duration::MAX))
        };
        Self {
            of_all: shortest(Service::shortest_timeout),
            of_beginning: shortest(Service::shortest_beginning),
        }
    }
}

/// A thread's runtime. One that is dropped before it runs is dropped inside the supervisor's, where tokio panics
/// unless it need not wait for anything.
struct DoorRuntime(Option<Runtime>);

impl DoorRuntime {
    fn build() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        Ok(Self(Some(runtime)))
    }

    fn handle(&self) -> Handle {
        // It is there until it runs.
        self.0.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }

    /// Ends when the door is closed.
    fn run(mut self, mut phase: watch::Receiver<Phase>, pulse: Pulse) {
        if let Some(runtime) = self.0.take() {
            let _ = runtime.block_on(pulse.beside(phase.wait_for(|phase| *phase == Phase::Closed)));
        }
    }
}

impl Drop for DoorRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl BindError {
    pub(super) fn of(address: SocketAddr, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::AddrNotAvailable => Self::NotOurs(address),
            io::ErrorKind::PermissionDenied => Self::NotPermitted(address),
            _ => Self::Listen(address, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_door_of_which_a_thread_has_ended_is_not_sound() {
        let model = crate::config::toml::parse(
            std::path::Path::new("test.toml"),
            "[[virtual_server]]\nname = \"v\"\naddresses = [\"127.0.0.1\"]\n\
             [[virtual_server.real_server]]\naddress = \"127.0.0.2\"\n",
        );
        let mut model = model.expect("a configuration").model;
        model.virtual_servers[0].port = 0;
        let (services, _) = Service::from_model(&model, std::time::SystemTime::UNIX_EPOCH).unwrap();
        let door = FrontDoor::open(&services, NonZeroUsize::MIN).unwrap();
        assert!(door.is_sound());
        let runtime = DoorRuntime::build().unwrap();
        let (_, phase) = watch::channel(Phase::Open);
        let pulse = door.liveness.pulse("more".into());
        // Nobody is left who could close it: it ends by itself, and too early.
        door.lock_threads().push(std::thread::spawn(move || runtime.run(phase, pulse)));
        while door.is_sound() {
            sleep(Duration::from_millis(1)).await;
        }
        door.close();
    }
}
