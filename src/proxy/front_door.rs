//! The proxy as a whole: its threads and its life from open to closed.
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::listener::{Entrance, Origin};
use super::service::Service;
use super::session_table::{SessionTable, Signal, sweep_interval};
use super::{listener, now};
use crate::sys;
use crate::sys::liveness::{Liveness, Pulse};
use crate::sys::passed_sockets::PassedSocket;

/// How often to sweep while the door drains: somebody waits for every session that is left.
const DRAINING_SWEEP: Duration = Duration::from_millis(500);

/// Where the door is in its life; only ever forward.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Phase {
    /// Accepting.
    Open,
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
    threads: Vec<JoinHandle<()>>,
    phase: watch::Sender<Phase>,
    table: Arc<SessionTable>,
    addresses: Vec<SocketAddr>,
    liveness: Arc<Liveness>,
    /// How often to look for sessions whose time is over.
    sweep: Duration,
    /// How often to look among those that look for a server.
    sweep_beginning: Duration,
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
        passed: Vec<PassedSocket>,
    ) -> Result<Self, BindError> {
        let (listeners, addresses) = listen(services, threads, passed)?;
        let (phase, watched) = watch::channel(Phase::Open);
        let table = Arc::new(SessionTable::new(now()));
        let shortest = |of: fn(&Service) -> Duration| {
            sweep_interval(services.iter().map(|service| of(service)).min().unwrap_or(Duration::MAX))
        };
        let (sweep, sweep_beginning) =
            (shortest(Service::shortest_timeout), shortest(Service::shortest_beginning));
        let liveness = Arc::new(Liveness::default());
        let prepare = |(number, listeners)| {
            let runtime = DoorRuntime::build()?;
            let listeners = runtime.watch(listeners)?;
            let pulse = liveness.pulse(format!("door-{number}"));
            Ok((runtime, Work { listeners, table: Arc::clone(&table), phase: watched.clone(), pulse }))
        };
        let prepared: Vec<(DoorRuntime, Work)> = listeners
            .into_iter()
            .enumerate()
            .map(prepare)
            .collect::<io::Result<_>>()
            .map_err(BindError::Thread)?;
        let mut door =
            Self { threads: Vec::new(), phase, table, addresses, liveness, sweep, sweep_beginning };
        for (number, (runtime, work)) in prepared.into_iter().enumerate() {
            let thread =
                std::thread::Builder::new().name(format!("door-{number}")).spawn(move || runtime.run(work));
            match thread {
                Ok(thread) => door.threads.push(thread),
                Err(error) => {
                    door.close();
                    return Err(BindError::Thread(error));
                }
            }
        }
        Ok(door)
    }

    /// Where it really listens, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
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
        match phase {
            Phase::Open => {}
            Phase::Draining => self.table.signal_all(Signal::Drain),
            Phase::Closing | Phase::Closed => self.table.signal_all(Signal::Shutdown),
        }
    }

    /// Keeps time for all sessions, for ever: wakes those whose time is over. It is the supervisor's to run: a timer
    /// that is always set would cost a thread of the door a look at the clock at every turn.
    pub fn keep_time(&self) -> impl Future<Output = ()> + Send + use<> {
        let (table, mut phase) = (Arc::clone(&self.table), self.phase.subscribe());
        let (of_all, of_beginning) = (self.sweep, self.sweep_beginning);
        async move {
            let mut swept = now();
            loop {
                let open = *phase.borrow_and_update() == Phase::Open;
                let of_all = if open { of_all } else { of_all.min(DRAINING_SWEEP) };
                tokio::select! {
                    () = sleep(of_beginning.min(of_all)) => {}
                    Ok(()) = phase.changed() => {}
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
        !self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Ends the threads.
    pub fn close(self) {
        self.enter(Phase::Closed);
        for thread in self.threads {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

type Listeners<L> = Vec<(L, Arc<Service>, Entrance, Origin)>;

/// For each thread a listener on every address, and these addresses.
fn listen(
    services: &[Arc<Service>],
    threads: NonZeroUsize,
    mut passed: Vec<PassedSocket>,
) -> Result<(Vec<Listeners<TcpListener>>, Vec<SocketAddr>), BindError> {
    let mut listeners: Vec<Listeners<TcpListener>> = Vec::new();
    listeners.resize_with(threads.get(), Vec::new);
    let mut addresses = Vec::new();
    for service in services {
        let clear = service.addresses.iter().map(|&address| (address, Entrance::Clear));
        let secured = service.implicit_addresses.iter().map(|&address| (address, Entrance::ImplicitTls));
        for (configured, entrance) in clear.chain(secured) {
            let fail = |error| bind_error(configured, error);
            let of_manager: Vec<TcpListener> = passed
                .extract_if(.., |socket| socket.address == configured)
                .map(|socket| socket.listener)
                .collect();
            if !of_manager.is_empty() {
                for (number, of_thread) in listeners.iter_mut().enumerate() {
                    for listener in share(&of_manager, number, threads).map_err(fail)? {
                        of_thread.push((listener, Arc::clone(service), entrance, Origin::Passed));
                    }
                }
                addresses.push(configured);
                continue;
            }
            if configured.port() != 0 {
                sys::socket::probe_unused(configured).map_err(fail)?;
            }
            // A port 0 becomes a number with the first listener; the others share that number.
            let mut address = configured;
            for of_thread in &mut listeners {
                let listener = sys::socket::listen(address).map_err(fail)?;
                address = listener.local_addr().map_err(fail)?;
                of_thread.push((listener, Arc::clone(service), entrance, Origin::Own));
            }
            addresses.push(address);
        }
    }
    match passed.pop() {
        None => Ok((listeners, addresses)),
        Some(PassedSocket { name, address, .. }) => Err(BindError::NotConfigured { name, address }),
    }
}

/// What one thread gets of the sockets that were passed for one address: its part of them, or one together with other
/// threads. Then one queue is there for several, each is woken, and whoever comes first takes the client. Listeners of our
/// own beside them would need `ReusePort=yes` and the user that the service manager has, and whoever waited in their
/// queues would be lost when this process ends, which is what passed sockets spare the clients.
fn share(passed: &[TcpListener], number: usize, threads: NonZeroUsize) -> io::Result<Vec<TcpListener>> {
    if passed.len() < threads.get() {
        return Ok(vec![passed[number % passed.len()].try_clone()?]);
    }
    passed.iter().skip(number).step_by(threads.get()).map(TcpListener::try_clone).collect()
}

/// A thread's runtime. One that is dropped before it runs is dropped inside the supervisor's, where tokio panics
/// unless it need not wait for anything.
struct DoorRuntime(Option<Runtime>);

impl DoorRuntime {
    fn build() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        Ok(Self(Some(runtime)))
    }

    /// Registers listeners with the runtime's event queue.
    fn watch(&self, listeners: Listeners<TcpListener>) -> io::Result<Listeners<tokio::net::TcpListener>> {
        let _inside = self.0.as_ref().map(Runtime::enter);
        let watch = |(listener, service, entrance, origin)| {
            Ok((tokio::net::TcpListener::from_std(listener)?, service, entrance, origin))
        };
        listeners.into_iter().map(watch).collect()
    }

    fn run(mut self, work: Work) {
        if let Some(runtime) = self.0.take() {
            runtime.block_on(work.run());
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

/// What one thread does.
struct Work {
    listeners: Listeners<tokio::net::TcpListener>,
    table: Arc<SessionTable>,
    phase: watch::Receiver<Phase>,
    pulse: Pulse,
}

impl Work {
    /// Ends when the door is closed, or a part of it has panicked.
    async fn run(mut self) {
        let mut tasks = JoinSet::new();
        for (listener, service, entrance, origin) in self.listeners {
            tasks.spawn(listener::accept(
                listener,
                service,
                (entrance, origin),
                Arc::clone(&self.table),
                self.phase.clone(),
            ));
        }
        loop {
            tokio::select! {
                _ = self.phase.wait_for(|phase| *phase == Phase::Closed) => return,
                // Listeners close when the door drains; the sessions go on.
                Some(ended) = tasks.join_next() => if ended.is_err() { return },
                never = self.pulse.answer() => match never {},
            }
        }
    }
}

fn bind_error(address: SocketAddr, error: io::Error) -> BindError {
    match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        io::ErrorKind::AddrNotAvailable => BindError::NotOurs(address),
        io::ErrorKind::PermissionDenied => BindError::NotPermitted(address),
        _ => BindError::Listen(address, error),
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
        let mut door = FrontDoor::open(&services, NonZeroUsize::MIN).unwrap();
        assert!(door.is_sound());
        let runtime = DoorRuntime::build().unwrap();
        let (_, phase) = watch::channel(Phase::Open);
        let work = Work {
            listeners: Vec::new(),
            table: Arc::clone(&door.table),
            phase,
            pulse: door.liveness.pulse("more".into()),
        };
        // Nobody is left who could close it: it ends by itself, and too early.
        door.threads.push(std::thread::spawn(move || runtime.run(work)));
        while door.is_sound() {
            sleep(Duration::from_millis(1)).await;
        }
        door.close();
    }
}
