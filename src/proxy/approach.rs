//! From an accepted client to a real server that has greeted.
//!
//! Until the greeting has passed nothing was said to the client, so a server that refuses, keeps silent, hangs up or
//! is busy costs it nothing but time: the next one is tried.
use std::borrow::Cow;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use super::admittance::RefusalReason;
use super::arrival::Arrival;
use super::control_stream::ControlStream;
use super::gsi::User;
use super::listener::Entrance;
use super::queueing::{Client, PlaceSeeker, watch};
use super::service::Service;
use super::session_table::Registration;
use super::tally::Refusal;
use super::{journal, now};
use crate::balance::{Deed, NoServer, Placement, QueueFull, RealServer, Tried};
use crate::config::ServerTlsMode;
use crate::proto::ftp::{Ending, Greeting, ReplyCode};
use crate::proto::gsi::{Channel, ChannelEnd};
use crate::sys;
use crate::tls::{self, Connector, GsiLoginError, Protected};

/// How long a server that is left before the session began may take to take the QUIT.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// A real server that took the session.
pub(super) struct Approached {
    pub(super) server: ControlStream,
    pub(super) placement: Placement,
    /// The door's own address on that connection, under which the server knows the session.
    pub(super) leg: SocketAddr,
    /// The greeting, byte for byte.
    pub(super) greeting: Vec<u8>,
    /// What the server said on top of it.
    pub(super) rest: Vec<u8>,
    /// How long the session has waited for its place.
    pub(super) queued: Option<Duration>,
    /// How long the login with the user's credential has taken.
    pub(super) logged_in: Option<Duration>,
}

/// Nobody took it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApproachError {
    #[error(transparent)]
    NoServer(#[from] NoServer),
    #[error(
        "cannot open a connection to a real server: {0}; raise the limit named (LimitNOFILE, net.ipv4.ip_local_port_range)"
    )]
    Local(io::Error),
    #[error("the door is being drained")]
    Draining,
    #[error(transparent)]
    QueueFull(#[from] QueueFull),
    #[error("no server had room within queue_timeout = {0:?}; raise their max_connections or add a server")]
    QueueTimeout(Duration),
    /// The client has hung up while it waited.
    #[error("the client left the queue")]
    Left,
    /// The client has hung up while the door logged in for it.
    #[error("the client has left in the midst of its login")]
    LeftLogin,
    /// No real server lets the user in with GSI, the last for this reason.
    #[error("no real server lets the user in: {0}")]
    NotLoggedIn(String),
}

impl ApproachError {
    /// What the client is told.
    pub(super) fn reply<'s>(&self, service: &'s Service) -> Cow<'s, str> {
        let said = match self {
            Self::NoServer(NoServer::AllFull) | Self::QueueFull(_) | Self::QueueTimeout(_) => {
                "421 Service busy: all servers are full; please try again later.\r\n"
            }
            Self::NoServer(NoServer::AllTried) => {
                "421 Service not available: no server took the session; please try again.\r\n"
            }
            Self::NoServer(NoServer::Inhibited) => {
                "421 Service not available: your server is out of service; please try again later.\r\n"
            }
            Self::NoServer(NoServer::AllDown | NoServer::AllDrained | NoServer::NoQuorum) => service
                .offline_reply
                .as_deref()
                .unwrap_or("421 Service not available: no server is up; please try again later.\r\n"),
            Self::Local(_) => {
                "421 Service not available: the front door is out of resources; please try again later.\r\n"
            }
            Self::Draining => Ending::Draining.reply(),
            // As Globus servers write it. Whoever got that far is protected.
            Self::NotLoggedIn(reason) => {
                let reason = reason.replace(|c: char| c.is_control(), " ");
                return format!("530-Login incorrect. : {reason}\r\n530 End.\r\n").into();
            }
            Self::Left | Self::LeftLogin => "",
        };
        said.into()
    }
}

impl RefusalReason for ApproachError {
    fn kind(&self) -> Refusal {
        match self {
            Self::NoServer(none) => (*none).into(),
            Self::Local(_) => Refusal::OutOfResources,
            Self::Draining => Refusal::Draining,
            Self::QueueFull(_) => Refusal::QueueFull,
            Self::QueueTimeout(_) => Refusal::QueueTimeout,
            Self::Left => Refusal::LeftQueue,
            Self::NotLoggedIn(_) => Refusal::NotLoggedIn,
            Self::LeftLogin => Refusal::Gsi,
        }
    }
}

/// Why one server was tried in vain.
enum AttemptError {
    /// 421 or 422, with its words.
    Busy(String),
    Failed(String),
    /// GSI came to no login, and whether the server is to blame for it.
    NotLoggedIn(String, bool),
    Local(io::Error),
    /// The client is gone.
    Left,
}

/// Chooses a server, connects and reads its greeting; the next one if that was in vain, each once. Goes over to another
/// generation of the service when that comes into force meanwhile.
pub(super) async fn approach(
    service: &mut Arc<Service>,
    entrance: Entrance,
    arrival: &Arrival,
    stream: &ControlStream,
    registration: &Registration,
    user: Option<&User>,
) -> Result<Approached, ApproachError> {
    let client = arrival.client;
    let mut seeker =
        PlaceSeeker::new(Arc::clone(service), entrance, stream, client.ip().to_canonical(), registration);
    seeker.home = user.and_then(|user| home_of(service, user));
    let mut tried = Tried::default();
    let (mut shortage, mut not_logged_in) = (None, None);
    loop {
        let placement = match seeker.place(&mut tried).await {
            Ok(placement) => placement,
            Err(none @ ApproachError::NoServer(_)) => {
                let reason = not_logged_in.map(ApproachError::NotLoggedIn);
                return Err(reason.or(shortage.map(ApproachError::Local)).unwrap_or(none));
            }
            Err(refusal) => return Err(refusal),
        };
        service.clone_from(&seeker.service);
        let server = placement.real_server();
        match attempt(service, &placement, arrival, stream, registration, user).await {
            Ok(Greeted { stream, leg, greeting, rest, logged_in }) => {
                registration.set_server(server);
                if server.is_drained() {
                    // Since it was chosen. The client has heard nothing yet.
                    journal::passed_over(service, server, client, "drained meanwhile");
                    registration.clear_server();
                    say_goodbye(stream, registration).await;
                    tried.insert(placement.index());
                    continue;
                }
                server.stats.sessions.fetch_add(1, Relaxed);
                journal::health(service, server, server.handle_greeting(now(), Ok(())));
                if let Some(user) = user {
                    settle(service, user, &placement, &tried, seeker.home.as_ref());
                }
                let queued = seeker.queued;
                return Ok(Approached { server: stream, placement, leg, greeting, rest, queued, logged_in });
            }
            // Local ports are counted for each destination: towards the next server there may be some.
            Err(AttemptError::Local(error)) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                let reason = format!("no local port towards it: {error}; widen net.ipv4.ip_local_port_range");
                journal::passed_over(service, server, client, &reason);
                shortage = Some(error);
            }
            Err(AttemptError::Local(error)) => return Err(ApproachError::Local(error)),
            Err(AttemptError::Left) => return Err(ApproachError::LeftLogin),
            Err(AttemptError::Busy(words)) => {
                server.stats.busy.fetch_add(1, Relaxed);
                journal::passed_over(service, server, client, &words);
                server.handle_busy(words);
            }
            Err(AttemptError::NotLoggedIn(reason, is_servers_fault)) => {
                server.stats.gsi_failures.fetch_add(1, Relaxed);
                journal::passed_over(service, server, client, &reason);
                if is_servers_fault {
                    service.handle_failure(now(), server, client, Deed::Login, &reason);
                }
                not_logged_in = Some(format!("{}: {reason}", server.name()));
            }
            Err(AttemptError::Failed(reason)) => {
                server.stats.connect_failures.fetch_add(1, Relaxed);
                journal::passed_over(service, server, client, &reason);
                journal::health(service, server, server.handle_greeting(now(), Err(reason)));
            }
        }
        tried.insert(placement.index());
    }
}

/// Whether a user's sessions go to one server.
fn keeps_homes(service: &Service) -> bool {
    service.gsi.as_ref().is_some_and(|termination| termination.identities.persistent)
}

/// The server to which the user's sessions go, where that is kept.
fn home_of(service: &Service, user: &User) -> Option<Arc<RealServer>> {
    keeps_homes(service).then(|| service.lasting.gsi.identities.home(user.counted.name())).flatten()
}

/// Keeps in mind where the user's sessions go; one that only had no room there has not moved.
fn settle(
    service: &Service,
    user: &User,
    placement: &Placement,
    tried: &Tried,
    home: Option<&Arc<RealServer>>,
) {
    let (virtual_server, server) = (&service.virtual_server, placement.real_server());
    let is_real = placement.index() < virtual_server.real_servers().len();
    let stays = home.is_some_and(|home| !Arc::ptr_eq(home, server) && virtual_server.keeps(home, tried));
    if keeps_homes(service) && is_real && !stays {
        service.lasting.gsi.identities.settle(user.counted.name(), server);
    }
}

/// A real server that has greeted, and what it said.
struct Greeted {
    stream: ControlStream,
    leg: SocketAddr,
    greeting: Vec<u8>,
    rest: Vec<u8>,
    logged_in: Option<Duration>,
}

async fn attempt(
    service: &Service,
    placement: &Placement,
    arrival: &Arrival,
    client: &ControlStream,
    registration: &Registration,
    user: Option<&User>,
) -> Result<Greeted, AttemptError> {
    let (server, limits) = (placement.real_server(), &service.timeouts);
    let mut stream = match within(registration, limits.connect, TcpStream::connect(server.address())).await {
        Some(Ok(stream)) => stream,
        Some(Err(error)) if sys::socket::is_local_shortage(&error) => return Err(AttemptError::Local(error)),
        Some(Err(error)) => return Err(AttemptError::Failed(format!("cannot connect: {error}"))),
        None => return Err(AttemptError::Failed(format!("no connection within {:?}", limits.connect))),
    };
    let leg = stream.local_addr().map_err(AttemptError::Local)?;
    sys::socket::tune_control_connection(&stream).map_err(AttemptError::Local)?;
    let header = service.proxy_protocol.get(placement.index()).copied().flatten();
    let header = header.map(|version| arrival.header().write(version));
    let greeted = async {
        if let Some(header) = header {
            stream.write_all(&header).await.map_err(|error| {
                AttemptError::Failed(format!("cannot send it a PROXY protocol header: {error}"))
            })?;
        }
        let mut stream = ControlStream::Plain(stream);
        let connector = service.connectors.get(placement.index()).and_then(Option::as_deref);
        let mode = connector.map(Connector::mode);
        let connector = connector.map(|connector| Arc::new(connector.session()));
        if let (Some(ServerTlsMode::Implicit), Some(connector)) = (mode, &connector) {
            stream.connect_tls(connector).await.map_err(|error| no_tls(&error))?;
        }
        let (greeting, rest) = read_greeting(&mut stream).await?;
        if let (Some(mode), Some(connector)) = (mode, &connector) {
            if !rest.is_empty() {
                return Err(no_tls(&"it said more than its greeting"));
            }
            if mode == ServerTlsMode::Explicit {
                ask(&mut stream, "AUTH TLS", 234).await?;
                stream.connect_tls(connector).await.map_err(|error| no_tls(&error))?;
            }
            ask(&mut stream, "PBSZ 0", 200).await?;
            ask(&mut stream, "PROT P", 200).await?;
        }
        Ok(Greeted { stream, leg, greeting, rest, logged_in: None })
    };
    let greeted = match within(registration, limits.greeting, greeted).await {
        Some(result) => result?,
        None => return Err(AttemptError::Failed(format!("no greeting within {:?}", limits.greeting))),
    };
    let Some(user) = user else { return Ok(greeted) };
    let Greeted { mut stream, leg, rest, .. } = greeted;
    let Some(mut plain) = stream.take_plain() else {
        return Err(AttemptError::NotLoggedIn("it is behind TLS".into(), false));
    };
    let login = async {
        if !rest.is_empty() {
            return Err(AttemptError::NotLoggedIn("it said more than its greeting".into(), true));
        }
        log_in(&mut plain, service, placement.index(), user).await
    };
    let login = unless_gone(client, login);
    let begun = now();
    let limit = || AttemptError::NotLoggedIn(format!("no GSI login within {:?}", limits.login), true);
    match within(registration, limits.login, login).await.unwrap_or_else(|| Err(limit())) {
        Ok((channel, read)) => {
            let stream = Protected::new(plain, channel, ChannelEnd::Client, &read).into();
            let logged_in = Some(now().saturating_duration_since(begun));
            // The door has greeted already.
            Ok(Greeted { stream, leg, greeting: Vec::new(), rest, logged_in })
        }
        Err(error) => {
            // It has room for one line, or is gone.
            let _ = plain.try_write(b"QUIT\r\n");
            Err(error)
        }
    }
}

/// Gives a login up whose client has hung up: the server is spared the rest, and its place is free. A client of which bytes are
/// unread is looked at whenever the server says something.
async fn unless_gone<T>(
    client: &ControlStream,
    login: impl Future<Output = Result<T, AttemptError>>,
) -> Result<T, AttemptError> {
    let mut login = pin!(login);
    poll_fn(|cx| match login.as_mut().poll(cx) {
        Poll::Pending if matches!(watch(client, cx), Client::Gone) => Poll::Ready(Err(AttemptError::Left)),
        polled => polled,
    })
    .await
}

/// Agrees upon the protection of GSI, as the user; what was read behind that comes beside.
async fn log_in(
    plain: &mut TcpStream,
    service: &Service,
    place: usize,
    user: &User,
) -> Result<(Channel, Vec<u8>), AttemptError> {
    let own_trouble = |reason: &str| AttemptError::NotLoggedIn(reason.into(), false);
    // By a reload, since the client came.
    let termination = service.gsi.as_ref();
    let termination = termination.ok_or_else(|| own_trouble("GSI does not end at the door any more"))?;
    let crypto = termination.workshop.crypto();
    let crypto = crypto.ok_or_else(|| own_trouble("the door's crypto threads are not there"))?;
    match tls::log_in(plain, termination.initiator(place, user), crypto).await.result {
        Ok((established, read)) => Ok((established.channel, read)),
        Err(GsiLoginError::Busy(words)) => Err(AttemptError::Busy(words)),
        Err(error) => Err(AttemptError::NotLoggedIn(error.to_string(), error.is_servers_fault())),
    }
}

/// Real servers were seen to hang from connections that are closed without QUIT. One that takes no line now is left
/// without.
async fn say_goodbye(mut stream: ControlStream, registration: &Registration) {
    let said = async {
        stream.write_all(b"QUIT\r\n").await?;
        stream.flush().await
    };
    let _ = within(registration, GOODBYE_WITHIN, said).await;
}

fn no_tls(reason: &dyn std::fmt::Display) -> AttemptError {
    AttemptError::Failed(format!("no TLS with it: {reason}; see its certificate, and its `tls` table here"))
}

/// A command of the door's own, before the session begins.
async fn ask(stream: &mut ControlStream, command: &str, wanted: u16) -> Result<(), AttemptError> {
    let sent = async {
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        stream.flush().await
    };
    sent.await.map_err(|error| no_tls(&error))?;
    let (reply, code, rest) = read_reply(stream).await?;
    if code.number() != wanted {
        return Err(no_tls(&format_args!("it answers {command} with {}", reply.last_line())));
    }
    // What follows in clear could be anybody's.
    if !rest.is_empty() {
        return Err(no_tls(&format_args!("it says more than it was asked after {command}")));
    }
    Ok(())
}

/// `tokio::time::timeout` by the session table's clock. A timer of the runtime's would wake its thread by a system call
/// each time it is the first to fire, which with one session at a time is always.
pub(super) async fn within<F: Future>(
    registration: &Registration,
    limit: Duration,
    future: F,
) -> Option<F::Output> {
    registration.set_deadline(Some(now() + limit));
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if registration.is_overdue(now()) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

async fn read_greeting(stream: &mut ControlStream) -> Result<(Vec<u8>, Vec<u8>), AttemptError> {
    let (greeting, code, rest) = read_reply(stream).await?;
    match code.number() {
        421 | 422 => Err(AttemptError::Busy(greeting.last_line())),
        _ if code.is_success() => Ok((greeting.into_bytes(), rest)),
        _ => Err(AttemptError::Failed(format!("it greets with {}", greeting.last_line()))),
    }
}

/// A whole reply, and what came with it.
async fn read_reply(stream: &mut ControlStream) -> Result<(Greeting, ReplyCode, Vec<u8>), AttemptError> {
    let mut greeting = Greeting::default();
    let (code, rest) = poll_fn(|cx| {
        let mut bytes = [MaybeUninit::uninit(); 4096];
        loop {
            let mut buffer = ReadBuf::uninit(&mut bytes);
            if let Err(error) = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)) {
                return Poll::Ready(Err(AttemptError::Failed(format!(
                    "connection lost before its greeting: {error}"
                ))));
            }
            let input = buffer.filled();
            if input.is_empty() {
                return Poll::Ready(Err(AttemptError::Failed(
                    "it closed the connection before its greeting".into(),
                )));
            }
            match greeting.handle(input) {
                Ok(None) => {}
                Ok(Some((code, used))) => return Poll::Ready(Ok((code, input[used..].to_vec()))),
                Err(error) => return Poll::Ready(Err(AttemptError::Failed(error.to_string()))),
            }
        }
    })
    .await?;
    Ok((greeting, code, rest))
}
