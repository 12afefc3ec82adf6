//! One session as a task: first the approach to a server, then the control channel, and a net under both.
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::admittance::{EntryRefusal, Places};
use super::approach::{ApproachError, approach, within};
use super::arrival::{Arrival, ArrivalError, heed_header};
use super::control_channel::{CLOSING_FOR, ControlChannel};
use super::control_stream::ControlStream;
use super::gsi::{self, GsiOutcome, PathLengthEnd, ReceptionError};
use super::listener::Entrance;
use super::relay::Lingering;
use super::service::Service;
use super::session_table::{Registration, SessionTable, Signal};
use super::{journal, now, plain, tally};
use crate::balance::{ClientSession, LoginVerdict};
use crate::sys::socket::turn_away;

/// A session that is being served; as a future it completes when the session is over.
///
/// Written by hand, because the future that the compiler would make of it keeps room for every step at once, and
/// thousands of these wait at a time.
pub(super) struct ServedSession {
    service: Arc<Service>,
    stage: Stage,
    _places: Places,
}

#[allow(clippy::large_enum_variant, reason = "the large one is the one that lasts")]
enum Stage {
    /// Boxed: its size goes when the server has greeted. With the client's address.
    Approaching(Pin<Box<dyn Future<Output = Option<ControlChannel>> + Send>>, SocketAddr),
    Serving(ControlChannel),
    /// Boxed, and of few: no session waits in it for long.
    Lingering(Box<Lingering>),
    Over,
}

impl ServedSession {
    pub(super) fn new(
        service: Arc<Service>,
        entrance: Entrance,
        table: &Arc<SessionTable>,
        places: Places,
        counted: Option<ClientSession>,
        client: TcpStream,
        address: SocketAddr,
    ) -> Self {
        let registration = table.register();
        registration.set_place(address, || client.local_addr().ok());
        if entrance == Entrance::Plain {
            let plain = plain::serve(Arc::clone(&service), registration, counted, client, address);
            let whole = Box::pin(async move {
                plain.await;
                None
            });
            return Self { service, stage: Stage::Approaching(whole, address), _places: places };
        }
        let approaching = begin(Arc::clone(&service), entrance, registration, counted, client, address);
        Self { service, stage: Stage::Approaching(Box::pin(approaching), address), _places: places }
    }

    fn client(&self) -> Option<SocketAddr> {
        match &self.stage {
            Stage::Approaching(_, client) => Some(*client),
            Stage::Serving(channel) => Some(channel.client()),
            Stage::Lingering(lingering) => Some(lingering.facts.client),
            Stage::Over => None,
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Stage::Approaching(approaching, _) = &mut self.stage {
            match ready!(approaching.as_mut().poll(cx)) {
                Some(channel) => self.stage = Stage::Serving(channel),
                None => return Poll::Ready(()),
            }
        }
        if let Stage::Serving(channel) = &mut self.stage {
            ready!(channel.poll(cx));
            if let Stage::Serving(channel) = std::mem::replace(&mut self.stage, Stage::Over)
                && let Some(lingering) = channel.into_lingering()
            {
                self.stage = Stage::Lingering(Box::new(lingering));
            }
        }
        match &mut self.stage {
            Stage::Lingering(lingering) => lingering.poll(cx),
            Stage::Approaching(..) | Stage::Serving(_) | Stage::Over => Poll::Ready(()),
        }
    }
}

impl Future for ServedSession {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Nothing of the session is used after a panic: its guards drop, and its sockets close.
        catch_unwind(AssertUnwindSafe(|| self.advance(cx))).unwrap_or_else(|_| {
            self.service.lasting.panics.fetch_add(1, Relaxed);
            journal::panicked(&self.service, self.client());
            Poll::Ready(())
        })
    }
}

async fn begin(
    mut service: Arc<Service>,
    entrance: Entrance,
    mut registration: Registration,
    mut counted: Option<ClientSession>,
    client: TcpStream,
    address: SocketAddr,
) -> Option<ControlChannel> {
    let started = now();
    let mut arrival = Arrival::direct(address);
    let mut client = ControlStream::Plain(client);
    let approached = unless_draining(&registration, async {
        if let Some(stream) = client.tcp() {
            if service.expects_header(address.ip()) {
                arrival = heed_header(stream, address, &registration).await?;
                // Its own connections are checks, and checks are no clients.
                if arrival.proxy.is_some() {
                    counted = service.admittance.admit_client(arrival.client.ip(), now())?;
                }
            }
            if arrival.reached.is_none() && service.sends_headers() {
                arrival.reached = stream.local_addr().ok();
            }
        }
        if entrance == Entrance::ImplicitTls {
            secure(&service, &mut client, &registration).await.map_err(Refusal::Handshake)?;
        }
        let mut user = None;
        let mut unread = Vec::new();
        if let (Some(termination), Entrance::Clear) = (&service.gsi, entrance) {
            // Who greets has to be known before the client says a word: by its address.
            if termination.passes(arrival.client.ip()) {
                service.lasting.gsi.passed_through.fetch_add(1, Relaxed);
            } else {
                let (known, said) = gsi::let_in(&mut client, &service, termination, &registration).await?;
                journal::no_data_authentication(&service, arrival.client, &known);
                (user, unread) = (Some(known), said);
            }
        }
        let approached =
            approach(&mut service, entrance, &arrival, &client, &registration, user.as_ref()).await;
        let approached = approached.inspect_err(|error| {
            if user.is_some() {
                service.lasting.gsi.count(match error {
                    ApproachError::NotLoggedIn(_) => GsiOutcome::RefusedByServer,
                    ApproachError::Left | ApproachError::LeftLogin => GsiOutcome::Abandoned,
                    _ => GsiOutcome::NoServer,
                });
            }
        })?;
        Ok((approached, user, unread))
    })
    .await
    .unwrap_or(Err(Refusal::Approach(ApproachError::Draining)));
    registration.has_begun();
    match approached {
        Ok((approached, user, unread)) => {
            let mut channel =
                ControlChannel::new(service, client, arrival, counted, approached, registration, started);
            if let Some(user) = user {
                channel = channel.of_user(user, unread);
            }
            Some(channel)
        }
        Err(Refusal::Gsi(ReceptionError::Left)) => None,
        Err(Refusal::Gsi(refusal)) => {
            heed_failed_gsi(&service, arrival.client, &refusal);
            let _ = timeout(CLOSING_FOR, say_last(&mut client, &refusal.reply())).await;
            None
        }
        Err(Refusal::Arrival(ArrivalError::Nothing)) => None,
        Err(Refusal::Arrival(refusal)) => {
            service.lasting.proxy_header_failures.fetch_add(1, Relaxed);
            journal::refused(&service, address, &refusal);
            None
        }
        Err(Refusal::Handshake(reason)) => {
            service.lasting.tally.refused(tally::Refusal::Handshake);
            journal::not_secured(&service, arrival.client, &reason);
            None
        }
        Err(Refusal::Approach(ApproachError::Left)) => {
            journal::left_queue(&service, arrival.client, now().saturating_duration_since(started));
            None
        }
        Err(Refusal::Approach(error @ ApproachError::LeftLogin)) => {
            journal::left_login(&service, arrival.client, &error);
            None
        }
        Err(Refusal::Entry(refusal)) => {
            journal::refused(&service, arrival.client, &refusal);
            // Nothing is said in clear to a client that waits for a handshake.
            if entrance == Entrance::Clear
                && let Some(stream) = client.tcp()
            {
                turn_away(stream, refusal.reply().as_bytes());
            }
            None
        }
        Err(Refusal::Approach(refusal)) => {
            journal::refused(&service, arrival.client, &refusal);
            // Before the end of a handshake nothing can be said.
            if client.is_in_handshake() {
                return None;
            }
            // A client that is gone already needs no reply, and one that stays for ever gets no more.
            let reply = refusal.reply(&service);
            let _ = timeout(CLOSING_FOR, say_last(&mut client, reply.as_bytes())).await;
            None
        }
    }
}

/// Counted, told, and held against the client where nobody vouches for it.
fn heed_failed_gsi(service: &Service, client: SocketAddr, refusal: &ReceptionError) {
    service.lasting.tally.refused(tally::Refusal::Gsi);
    journal::not_received(service, client, refusal);
    if let Some(outcome) = refusal.outcome() {
        service.lasting.gsi.count(outcome);
    }
    if refusal.is_of_path_length() {
        service.lasting.gsi.count_path_length_end(PathLengthEnd::NoLogin);
    }
    if refusal.may_be_guess()
        && let LoginVerdict::Banned { client, rule } =
            service.admittance.handle_failed_login(client.ip(), now())
    {
        journal::banned(service, client, &rule);
    }
}

/// Why there is no session.
pub(super) enum Refusal {
    Arrival(ArrivalError),
    /// The client that a load balancer has named.
    Entry(EntryRefusal),
    /// No TLS came about.
    Handshake(String),
    Approach(ApproachError),
    /// Nobody came in by GSI.
    Gsi(ReceptionError),
}

impl From<ReceptionError> for Refusal {
    fn from(error: ReceptionError) -> Self {
        Self::Gsi(error)
    }
}

impl From<ArrivalError> for Refusal {
    fn from(error: ArrivalError) -> Self {
        Self::Arrival(error)
    }
}

impl From<EntryRefusal> for Refusal {
    fn from(error: EntryRefusal) -> Self {
        Self::Entry(error)
    }
}

impl From<ApproachError> for Refusal {
    fn from(error: ApproachError) -> Self {
        Self::Approach(error)
    }
}

/// What comes of it, or nothing where the door is to be left: to this client nothing was said yet, and another door may
/// serve it.
pub(super) async fn unless_draining<F: Future>(registration: &Registration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        registration.entry.set_waker(cx.waker());
        if registration.signal() != Signal::None {
            return Poll::Ready(None);
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

/// The handshake before the greeting. It has as long as a login.
async fn secure(
    service: &Service,
    client: &mut ControlStream,
    registration: &Registration,
) -> Result<(), String> {
    let Some(acceptor) = &service.acceptor else { return Err("there is no certificate".into()) };
    client.start_tls(acceptor, Vec::new());
    let limit = service.timeouts.login;
    match within(registration, limit, poll_fn(|cx| client.poll_handshake(cx))).await {
        Some(result) => result.map_err(|error| error.to_string()),
        None => Err(format!("not complete within {limit:?}")),
    }
}

/// Says it and waits until the client closes, for the reason that `control_channel` gives.
async fn say_last(client: &mut ControlStream, reply: &[u8]) -> io::Result<()> {
    client.write_all(reply).await?;
    client.shutdown().await?;
    let mut bytes = [0; 512];
    while client.read(&mut bytes).await? > 0 {}
    Ok(())
}
