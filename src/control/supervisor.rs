//! One daemon: what it holds, how it starts, how it stops.
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until, timeout};

use super::forwarding::Forwarding;
use super::in_force::Configuration;
use super::logging::LogLoss;
use super::names::{self, FIRST_ANSWERS};
use super::observed::Observed;
use super::reload::Reloader;
use super::status::Status;
use super::transfer_log::{self, TransferLogError};
use super::vrrp::{ADDRESSES_GO_WITHIN, LAST_NOTIFICATIONS, LAST_WORDS, Ownership, RAISE_LIMITS};
use super::{admin, certificates, http, service_manager};
use crate::checker;
use crate::config;
use crate::proxy::{BindError, FrontDoor, Generation, Phase, Service, now};
use crate::resolver::{NameWatch, NoNameService};
use crate::script;
use crate::sys;
use crate::sys::line_buffer::LineWriter;
use crate::sys::lock::{Lock, LockError};
use crate::sys::passed_sockets::PassedSocket;
use crate::tls::CredentialProblem;

/// How long the checks may take to leave their servers politely.
const LAST_CHECKS: Duration = Duration::from_secs(2);

/// What lies between the parts.
const BETWEEN: Duration = Duration::from_secs(1);

/// What ending takes at most when `drain_timeout` is over: sessions say their last line before the addresses go, and at the end
/// beside the checks.
pub(crate) const AFTER_DRAIN: Duration = LAST_WORDS
    .saturating_add(ADDRESSES_GO_WITHIN)
    .saturating_add(LAST_NOTIFICATIONS)
    .saturating_add(LAST_CHECKS)
    .saturating_add(BETWEEN);

/// Sessions from which on their memory is worth giving back: some 2 MB.
const BURST: usize = 1000;

/// How often to look whether a burst is over, every thread runs and every virtual server has its quorum.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How often the number of sessions is looked at while the door drains.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    door: Arc<FrontDoor>,
    reloader: Reloader,
    admin: Option<AdminSocket>,
    http: Option<tokio::net::TcpListener>,
    observed: Observed,
    /// Goes after the sessions, so that their transfers are in it.
    transfer_log: Option<LineWriter>,
}

/// The socket with the lock that makes it ours; the lock goes last.
#[derive(Debug)]
struct AdminSocket {
    listener: Option<tokio::net::UnixListener>,
    path: PathBuf,
    _lock: Lock,
}

/// Why a daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It runs already.
    #[error("{}: held by {holder}, a daemon with the same configuration; stop it first", .path.display())]
    AlreadyRunning {
        /// The lock.
        path: PathBuf,
        /// `process` and its number, as far as it has written that.
        holder: String,
    },
    /// What stands at the socket's path is no socket.
    #[error("{}: this is not a socket and stays as it is; name another path with `admin_socket` in [global]", .0.display())]
    NotASocket(PathBuf),
    /// The directory, the lock or the socket cannot be made.
    #[error("{}: {source}; make its directory writable for this user, or set `admin_socket` in [global]", .path.display())]
    Admin {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The address of `http`.
    #[error(
        "http: cannot listen on {address}: {source}; free it, or name another address with `http` in [global]"
    )]
    Http {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The transfer log.
    #[error(transparent)]
    TransferLog(#[from] TransferLogError),
    /// A listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A thread of VRRP.
    #[error("VRRP cannot be started: {0}; {RAISE_LIMITS}")]
    Vrrp(io::Error),
    /// A certificate or a key.
    #[error(transparent)]
    Credential(#[from] CredentialProblem),
    /// A script that checks are to run.
    #[error(transparent)]
    Script(#[from] script::InsecureScript),
    /// Who is asked for names.
    #[error(transparent)]
    NameService(#[from] NoNameService),
}

impl Daemon {
    /// As [`Daemon::start_with`], once it is known which servers the names of `file` stand for.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn start_with_names(
        file: &config::Model,
        loss: LogLoss,
        passed: Vec<PassedSocket>,
    ) -> Result<Self, StartError> {
        if file.questions().is_empty() {
            return Self::start_with(file, loss, passed);
        }
        let mut watch = NameWatch::open(file)?;
        watch.first_answers(FIRST_ANSWERS).await;
        let (meant, left_out) = watch.names().apply_to(file);
        for line in left_out {
            tracing::warn!("{line}");
        }
        let daemon = Self::start_configured(Configuration { said: file.clone(), meant }, loss, passed)?;
        daemon.reloader.names().ask(Some(watch));
        Ok(daemon)
    }

    /// Takes the lock, opens the admin socket and every listener, and serves clients from then on. To be called
    /// inside a tokio runtime, which is to go on with [`Daemon::run`].
    ///
    /// # Errors
    ///
    /// See [`StartError`]; nothing is left behind.
    pub fn start(model: &config::Model, loss: LogLoss) -> Result<Self, StartError> {
        Self::start_with(model, loss, Vec::new())
    }

    /// The same, with listening sockets that the service manager has opened.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start_with(
        model: &config::Model,
        loss: LogLoss,
        passed: Vec<PassedSocket>,
    ) -> Result<Self, StartError> {
        Self::start_configured(Configuration::of(model.clone()), loss, passed)
    }

    fn start_configured(
        configuration: Configuration,
        loss: LogLoss,
        passed: Vec<PassedSocket>,
    ) -> Result<Self, StartError> {
        let model = &configuration.meant;
        let admin = AdminSocket::open(&model.global.admin_socket)?;
        if let Err(shortage) = config::check_descriptors(model, sys::descriptors::raise_limit()) {
            tracing::warn!("{shortage}");
        }
        if let Some(insecure) = script::examine_scripts(model).into_iter().next() {
            return Err(insecure.into());
        }
        let forwarding = Forwarding::default();
        let kernel = forwarding.prepare(model);
        let (generation, warnings) = Generation::first_with(model, certificates::today(), kernel)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        generation.say_who_misses_kernel();
        let listen = |address| http::listen(address).map_err(|source| StartError::Http { address, source });
        let http = model.global.http.map(listen).transpose()?;
        let transfer_log = transfer_log::start(model, generation.transfer_log())?;
        let threads = model.global.threads.unwrap_or_else(sys::processors::count);
        let door = Arc::new(FrontDoor::open_with(generation.services(), threads, passed)?);
        door.sessions().note_places(configuration.said.owned_addresses());
        log_start(model, &door, threads);
        let ownership = Ownership::default();
        ownership.prepare(&configuration.said.vrrp).map_err(StartError::Vrrp)?;
        ownership.configure(&configuration.said.vrrp);
        let reloader = Reloader::new(configuration, generation, Arc::clone(&door), ownership, forwarding);
        let observed = Observed {
            reloader: reloader.clone(),
            sessions: Arc::clone(door.sessions()),
            loss,
            started: now(),
            start_date: certificates::today(),
            phase: door.phase(),
            liveness: Arc::clone(door.liveness()),
        };
        Ok(Self { door, reloader, admin: Some(admin), http, observed, transfer_log })
    }

    /// Reads its configuration from there again whenever it is asked to, which the answer does.
    #[must_use]
    pub fn reloads_from(&self, file: &Path) -> Reloader {
        self.reloader.set_file(file);
        self.reloader.clone()
    }

    /// Where the door really listens.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.door.addresses()
    }

    /// The virtual servers.
    #[must_use]
    pub fn services(&self) -> Vec<Arc<Service>> {
        self.reloader.in_force().services().to_vec()
    }

    /// What `gridfront status` shows.
    #[must_use]
    pub fn status(&self) -> Status {
        self.observed.status()
    }

    /// Tells the service manager, for as long as it is polled, that every part turns, and how the site is. Returns at
    /// once where there is no service manager.
    pub fn inform_service_manager(&self) -> impl Future<Output = ()> + Send + use<> {
        let observed = self.observed.clone();
        service_manager::inform(Arc::clone(self.door.liveness()), move || observed.status())
    }

    /// Checks the real servers and answers questions until `stop` becomes [`Stop::Drain`], then drains: running
    /// transfers may finish within `drain_timeout`; [`Stop::AtOnce`] cuts that short.
    ///
    /// Returns false when the daemon ends because a part of it failed, or a part failed while it drained.
    pub async fn run(self, stop: watch::Receiver<Stop>) -> bool {
        let (stop_checks, checks_stopped) = watch::channel(false);
        let pulse = self.door.liveness().pulse("checks".into());
        let checks = checker::run(self.reloader.probes(), checks_stopped);
        let checks = tokio::spawn(pulse.beside(checks));
        self.run_beside(checks, stop_checks, stop).await
    }

    async fn run_beside(
        mut self,
        mut checks: JoinHandle<()>,
        stop_checks: watch::Sender<bool>,
        mut stop: watch::Receiver<Stop>,
    ) -> bool {
        let listener = self.admin.as_mut().and_then(|admin| admin.listener.take());
        let observed = self.observed.clone();
        let http = self.http.take();
        let answers = async move {
            let monitor = observed.clone();
            let admin = async {
                let answer = move |question| {
                    let observed = observed.clone();
                    async move { observed.answer(question).await }
                };
                match listener {
                    Some(listener) => admin::serve(listener, answer).await,
                    None => std::future::pending().await,
                }
            };
            let http = async {
                match http {
                    Some(listener) => http::serve(listener, monitor).await,
                    None => std::future::pending().await,
                }
            };
            tokio::join!(admin, http);
        };
        let mut answers = std::pin::pin!(answers);
        let pulse = self.door.liveness().pulse("clock".into());
        let mut clock = tokio::spawn(pulse.beside(self.door.keep_time()));
        let mut names = tokio::spawn(names::follow(self.reloader.clone()));
        let mut certificates = tokio::spawn(certificates::look_after(self.reloader.watch()));
        let ownership = self.reloader.ownership().clone();
        let mut vrrp = {
            let (ownership, in_force) = (ownership.clone(), self.reloader.watch());
            let (sessions, liveness) = (Arc::clone(self.door.sessions()), Arc::clone(self.door.liveness()));
            tokio::spawn(async move { ownership.look_after(in_force, sessions, &liveness).await })
        };
        let mut forwarding = {
            let (forwarding, in_force) = (self.reloader.forwarding().clone(), self.reloader.watch());
            let ownership = ownership.clone();
            tokio::spawn(async move { forwarding.look_after(in_force, ownership).await })
        };
        let goes_on = tokio::select! {
            _ = stop.wait_for(|stop| *stop != Stop::No) => true,
            () = self.look_after() => false,
            _ = &mut checks => false,
            _ = &mut clock => false,
            _ = &mut certificates => false,
            _ = &mut names => false,
            _ = &mut vrrp => false,
            _ = &mut forwarding => false,
            () = &mut answers => false,
        };
        if goes_on {
            // Whatever fails now, the transfers that still run are not what has failed.
            tokio::select! {
                () = self.drain(&mut stop) => {}
                () = &mut answers => {}
            }
        }
        ownership.stop().await;
        if ownership.vrrp().is_some() && !vrrp.is_finished() {
            // Whoever is told of the end is told. What takes too long is said there, within this time.
            tokio::select! {
                _ = timeout(LAST_NOTIFICATIONS + BETWEEN / 2, &mut vrrp) => {}
                _ = stop.wait_for(|stop| *stop == Stop::AtOnce) => {}
            }
        }
        vrrp.abort();
        let sound = goes_on && self.door.is_sound() && !checks.is_finished() && !clock.is_finished();
        if !sound {
            tracing::error!(
                "a part of the daemon failed; it ends, so that the service manager starts it anew"
            );
        }
        let _ = stop_checks.send(true);
        self.door.enter(Phase::Closing);
        let goodbye = async {
            if !checks.is_finished() {
                // A probe says QUIT before it leaves.
                tokio::select! {
                    _ = timeout(LAST_CHECKS, &mut checks) => {}
                    _ = stop.wait_for(|stop| *stop == Stop::AtOnce) => {}
                }
            }
        };
        let last_words = timeout(LAST_WORDS, self.until_empty());
        let _ = tokio::join!(goodbye, last_words);
        forwarding.abort();
        self.reloader.forwarding().stop().await;
        clock.abort();
        certificates.abort();
        names.abort();
        tracing::info!("stopped");
        self.door.close();
        drop(self.transfer_log);
        sound
    }

    async fn drain(&mut self, stop: &mut watch::Receiver<Stop>) {
        let drain_timeout = self.reloader.drain_timeout();
        let deadline = now() + drain_timeout;
        // Clients are served as ever at the virtual addresses as long as these are here.
        let owned = self.reloader.in_force().configuration.said.owned_addresses();
        if !owned.is_empty() {
            self.door.leave_all_but(&owned);
        }
        tokio::select! {
            () = self.reloader.ownership().hand_over(self.door.sessions(), deadline) => {}
            _ = stop.wait_for(|stop| *stop == Stop::AtOnce) => {}
        }
        tracing::info!(sessions = self.door.sessions().len(), ?drain_timeout, "draining");
        self.door.enter(Phase::Draining);
        self.reloader.forwarding().leave();
        tokio::select! {
            () = self.until_all_have_left() => {}
            () = sleep_until(deadline.into()) => {
                tracing::warn!(sessions = self.door.sessions().len(), "drain_timeout is over; ending what still runs");
            }
            _ = stop.wait_for(|stop| *stop == Stop::AtOnce) => {}
        }
    }

    /// What the kernel carries goes on by another balancer where the addresses have moved there.
    async fn until_all_have_left(&self) {
        self.until_empty().await;
        let stays = self.reloader.in_force().configuration.said.owned_addresses().is_empty();
        while stays && self.reloader.forwarding().connections().await > 0 {
            sleep(DRAIN_POLL).await;
        }
    }

    async fn until_empty(&self) {
        while !self.door.sessions().is_empty() {
            sleep(DRAIN_POLL).await;
        }
    }

    /// Returns when a thread of the door has ended. Until then it sees to what only time brings about, and gives memory
    /// back: after a burst of sessions that is free and scattered, and nobody but us knows that it will not be needed soon.
    async fn look_after(&self) {
        let mut most = 0;
        while self.door.is_sound()
            && self.reloader.ownership().is_sound()
            && self.reloader.forwarding().is_sound()
        {
            sleep(LOOK_INTERVAL).await;
            for service in self.reloader.in_force().services() {
                service.observe(now());
            }
            let sessions = self.door.sessions().len();
            if most >= BURST && sessions <= most / 2 {
                sys::memory::give_back();
                most = sessions;
            }
            most = most.max(sessions);
        }
    }
}

/// How a daemon is to stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// Not.
    No,
    /// When the transfers that run are done, or `drain_timeout` is over.
    Drain,
    /// Without waiting for anything.
    AtOnce,
}

impl AdminSocket {
    fn open(path: &Path) -> Result<Self, StartError> {
        let failed = |path: &Path, source| StartError::Admin { path: path.into(), source };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(|source| failed(directory, source))?;
        }
        // Before the lock, whose file would stand beside it for nothing.
        let place = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => StartError::NotASocket(path.into()),
            _ => failed(path, source),
        };
        admin::check_place(path).map_err(place)?;
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock_path = PathBuf::from(lock_path);
        let lock = Lock::take(&lock_path).map_err(|error| match error {
            LockError::Held(number) => {
                let holder = number.map_or("another process".into(), |number| format!("process {number}"));
                StartError::AlreadyRunning { path: lock_path.clone(), holder }
            }
            LockError::Io(source) => failed(&lock_path, source),
        })?;
        let listener = admin::listen(path).map_err(place)?;
        Ok(Self { listener: Some(listener), path: path.into(), _lock: lock })
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // What somebody has put in its place meanwhile stays.
        let _ = admin::remove(&self.path);
    }
}

fn log_start(model: &config::Model, door: &FrontDoor, threads: NonZeroUsize) {
    let addresses: Vec<String> = door.addresses().iter().map(ToString::to_string).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        router_id = model.global.router_id.as_deref(),
        listening = addresses.join(" "),
        threads,
        "started"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;

    /// A daemon of one thread before one real server, for which the caller speaks.
    async fn daemon(directory: &Path) -> (Daemon, TcpListener) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let text = format!(
            "[global]\nadmin_socket = \"{}\"\nthreads = 1\n\
             [[virtual_server]]\nname = \"v\"\naddresses = [\"127.0.0.1\"]\n\
             [[virtual_server.real_server]]\naddress = \"127.0.0.1\"\nport = {}\n",
            directory.join("admin.sock").display(),
            server.local_addr().unwrap().port(),
        );
        let mut model = config::toml::parse(Path::new("test.toml"), &text).unwrap().model;
        model.virtual_servers[0].port = 0;
        (Daemon::start(&model, LogLoss::default()).unwrap(), server)
    }

    /// Without a virtual server, which a reload may bring.
    fn owner_of_addresses(directory: &Path, keys: &str) -> config::Model {
        let text = format!(
            "[global]\nadmin_socket = \"{}\"\nthreads = 1\n{keys}\n\
             [[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvirtual_router_id = 51\n\
             virtual_addresses = [\"192.0.2.10/24\"]\n",
            directory.join("admin.sock").display(),
        );
        config::toml::parse(Path::new("test.toml"), &text).unwrap().model
    }

    #[tokio::test]
    async fn a_daemon_without_virtual_servers_runs_and_has_its_transfer_log() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("transfer.log");
        let model = owner_of_addresses(directory.path(), &format!("transfer_log = \"{}\"", log.display()));
        let daemon = Daemon::start(&model, LogLoss::default()).unwrap();
        assert_eq!(daemon.addresses(), []);
        assert!(log.exists());
        let (stop, stopping) = watch::channel(Stop::No);
        stop.send_replace(Stop::Drain);
        assert!(daemon.run(stopping).await);
    }

    #[tokio::test]
    async fn virtual_routers_that_end_by_themselves_fail_the_daemon_and_do_not_panic_it() {
        let directory = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(&owner_of_addresses(directory.path(), ""), LogLoss::default()).unwrap();
        let ownership = daemon.reloader.ownership().clone();
        let (_stop, stopping) = watch::channel(Stop::No);
        let (sound, ()) = tokio::join!(daemon.run(stopping), ownership.stop());
        assert!(!sound, "the service manager is to start it anew");
    }

    #[tokio::test]
    async fn a_panic_of_the_checker_while_draining_cuts_no_transfer_and_fails_the_exit() {
        let directory = tempfile::tempdir().unwrap();
        let (daemon, server) = daemon(directory.path()).await;
        let address = daemon.addresses()[0];
        let (panic, panics) = oneshot::channel::<()>();
        let checks = tokio::spawn(async {
            let _ = panics.await;
            panic!("a bug in a check");
        });
        let (stop_checks, _checks_stopped) = watch::channel(false);
        let (stop, stopping) = watch::channel(Stop::No);
        let script = async {
            let client = TcpStream::connect(address);
            let (client, accepted) = tokio::join!(client, server.accept());
            let (mut client, mut server) =
                (BufReader::new(client.unwrap()), BufReader::new(accepted.unwrap().0));
            let mut line = String::new();
            server.write_all(b"220 ready\r\n").await.unwrap();
            client.read_line(&mut line).await.unwrap();
            client.write_all(b"RETR /file\r\n").await.unwrap();
            server.read_line(&mut line).await.unwrap();
            server.write_all(b"150 opening\r\n").await.unwrap();
            client.read_line(&mut line).await.unwrap();
            stop.send_replace(Stop::Drain);
            sleep(2 * DRAIN_POLL).await;
            drop(panic);
            sleep(2 * DRAIN_POLL).await;
            server.write_all(b"226 done\r\n").await.unwrap();
            client.read_line(&mut line).await.unwrap();
            line
        };
        let (sound, heard) = tokio::join!(daemon.run_beside(checks, stop_checks, stopping), script);
        assert_eq!(heard, "220 ready\r\nRETR /file\r\n150 opening\r\n226 done\r\n");
        assert!(!sound, "the service manager is to hear of it");
    }
}
