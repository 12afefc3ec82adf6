//! One session at work: two connections, and the machine between them.
//!
//! ```text
//!   Open ──client's FIN──▶ HalfClosed ──server's FIN, or 5 s idle──▶ over
//!    │ server's FIN, a time-out, a refusal                            ▲
//!    └──────────▶ Closing: the last reply goes out, FIN, ─────────────┘
//!                 the client's bytes are thrown away for 2 s
//! ```
//!
//! `Closing` waits because closing a socket with unread bytes sends RST, and RST may overtake the reply that says why.
mod patience;
mod told;
mod traffic;

use std::cell::RefCell;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::approach::Approached;
use super::arrival::Arrival;
use super::availability::Conduct;
use super::backlog::{Backlog, Progress};
use super::control_stream::ControlStream;
use super::gsi::{GsiOutcome, Identified, User};
use super::journal::{self, Facts};
use super::now;
use super::relay::{Lingering, Relays};
use super::service::Service;
use super::session_table::{IdentifiedSession, Registration};
use crate::balance::{ClientSession, Deed, Placement, RealServer};
use crate::proto::ftp::{Ending, Fault, Login, Outbox, Session};

/// What is read at once, in bytes: one buffer per thread, so that an idle session owns none.
const READ_SIZE: usize = 16 * 1024;

/// How long a server may take to close after its client has, once it owes no reply.
const HALF_CLOSED_FOR: Duration = Duration::from_secs(5);

/// How long a client may take to close after its last reply.
pub(super) const CLOSING_FOR: Duration = Duration::from_secs(2);

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        bytes: vec![0; READ_SIZE].into_boxed_slice(),
        out: Outbox::default(),
    });
}

struct Scratch {
    bytes: Box<[u8]>,
    out: Outbox,
}

/// A session whose server has greeted.
pub(super) struct ControlChannel {
    service: Arc<Service>,
    client: ControlStream,
    /// Closed as soon as the session is `Closing`.
    server: Option<ControlStream>,
    session: Session,
    registration: Registration,
    real_server: Arc<RealServer>,
    /// The count on the server, held as long as the connection to it.
    placement: Option<Placement>,
    /// Boxed: nothing of it is touched per command.
    facts: Box<Facts>,
    /// From the first data connection on that crosses the door.
    relays: Option<Box<Relays>>,
    to_client: Backlog,
    to_server: Backlog,
    /// Bytes of the client that wait until the machine takes them.
    unread: Box<[u8]>,
    started: Instant,
    /// When the client last was logged in; before the first time, when it came.
    login_due_from: Instant,
    /// When a byte last went anywhere.
    active: Instant,
    state: State,
    /// The door is.
    draining: bool,
    /// As the session was told last; whether, since and until when is the server's to say.
    server_is_drained: bool,
    /// The client has sent FIN.
    client_is_done: bool,
    /// TLS begins as soon as the client has all that is meant for it in clear.
    starts_tls: bool,
}

enum State {
    Open,
    HalfClosed { fin_sent: bool, timer: Pin<Box<Sleep>> },
    Closing { ending: Ending, timer: Pin<Box<Sleep>> },
}

enum Step {
    Forward,
    Blocked,
    Over(Ending),
}

impl ControlChannel {
    pub(super) fn new(
        service: Arc<Service>,
        client: ControlStream,
        arrival: Arrival,
        counted: Option<ClientSession>,
        approached: Approached,
        registration: Registration,
        started: Instant,
    ) -> Self {
        let Approached { server, placement, leg, mut greeting, rest, queued, logged_in } = approached;
        if let Some(took) = logged_in {
            placement.real_server().stats.count_gsi_login(took);
        }
        let begun = now();
        service.policy.own_ports.add_address(leg.ip());
        let data = Arc::clone(&service.server_data[placement.index()]);
        let mut session = Session::new(Arc::clone(&service.policy), data, arrival.client.ip());
        let reached = client.tcp().and_then(|stream| stream.local_addr().ok());
        // Behind another load balancer the client does not come to an address of ours by itself.
        if let (Some(path), Some(reached), None) = (&service.kernel_path, reached, arrival.proxy)
            && path.is_open(placement.real_server().address(), reached.ip().to_canonical())
        {
            session = session.with_kernel_path();
        }
        let tls = client.tls_version();
        if tls.is_some() {
            session = session.with_implicit_tls();
        }
        if !rest.is_empty() {
            let mut out = Outbox::default();
            session.handle_server(started, &rest, &mut out);
            greeting.append(&mut out.to_client);
        }
        Self {
            service,
            client,
            server: Some(server),
            session,
            registration,
            real_server: Arc::clone(placement.real_server()),
            placement: Some(placement),
            facts: Box::new(Facts {
                client: arrival.client,
                proxy: arrival.proxy.map(Box::new),
                door: leg,
                user: None,
                gsi: None,
                identity: None,
                tls,
                transfers: 0,
                denied: 0,
                queued,
                _counted: counted,
                conduct: Conduct::default(),
            }),
            relays: None,
            to_client: Backlog::new(greeting),
            to_server: Backlog::default(),
            unread: Box::default(),
            started,
            // The time in which it waited for a server is not the client's.
            login_due_from: begun,
            active: begun,
            state: State::Open,
            draining: false,
            server_is_drained: false,
            client_is_done: false,
            starts_tls: false,
        }
    }

    /// The session of a client that has come in by GSI: who it is, and what it has said since.
    pub(super) fn of_user(mut self, user: User, unread: Vec<u8>) -> Self {
        self.session = self.session.with_gsi();
        self.service.lasting.gsi.count(GsiOutcome::Success);
        self.facts.gsi = Some(user.handshake);
        let listed = self.registration.list(IdentifiedSession {
            dn: Arc::clone(user.counted.name()),
            client: self.facts.client,
            door: self.facts.door,
            virtual_server: Arc::clone(&self.service.virtual_server),
            real_server: Arc::clone(&self.real_server),
            since: self.started,
        });
        self.facts.identity = Some(Box::new(Identified { counted: user.counted, _listed: listed }));
        self.unread = unread.into();
        self
    }

    /// Brings the session forward until both peers have to be waited for, or it is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.registration.entry.set_waker(cx.waker());
        let now = now();
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.out.clear();
            let mut step = self.heed_signals(now, scratch);
            loop {
                match step {
                    Step::Forward => {}
                    Step::Blocked => {
                        let patience = self.patience(now);
                        self.registration.set_deadline(patience.until);
                        return Poll::Pending;
                    }
                    Step::Over(ending) => {
                        self.client.part(cx);
                        self.report(now, ending, &mut scratch.out);
                        return Poll::Ready(());
                    }
                }
                step = match self.state {
                    State::Open => self.advance_open(cx, now, scratch),
                    State::HalfClosed { .. } => self.advance_half_closed(cx, now, scratch),
                    State::Closing { .. } => self.advance_closing(cx, scratch),
                };
                if matches!(step, Step::Forward) {
                    self.active = now;
                }
            }
        })
    }

    pub(super) fn client(&self) -> SocketAddr {
        self.facts.client
    }

    /// What outlasts the control connection: data that is whole, and still on its way; and a server's word on data that
    /// is not.
    pub(super) fn into_lingering(self) -> Option<Lingering> {
        let Self { service, real_server, facts, registration, relays, .. } = self;
        let relays = relays.filter(|relays| !relays.is_over())?;
        Some(Lingering { service, server: real_server, facts, registration, relays })
    }

    fn advance_open(&mut self, cx: &mut Context<'_>, now: Instant, scratch: &mut Scratch) -> Step {
        let Ok(mut forward) = self.flush(cx) else { return self.client_lost(now, scratch) };
        match self.advance_handshake(cx, now) {
            Ok(progress) => forward |= progress,
            Err(error) => return self.handshake_failed(&error, now, scratch),
        }
        forward |= self.hear_relays();
        if self.to_client.is_empty() {
            forward |= self.read_server(cx, now, scratch);
            if self.deliver(cx, scratch).is_err() {
                return self.client_lost(now, scratch);
            }
        }
        // A client that does not take its replies is not heard any further.
        if self.to_client.is_empty() && self.to_server.is_empty() {
            match self.read_client(cx, now, scratch) {
                Ok(progress) => forward |= progress,
                Err(_) => return self.client_lost(now, scratch),
            }
            if self.deliver(cx, scratch).is_err() {
                return self.client_lost(now, scratch);
            }
        }
        if let Some(ending) = self.session.ended() {
            self.close(ending, scratch);
            return Step::Forward;
        }
        if self.has_left_upload() {
            return Step::Over(Ending::ClientClosed);
        }
        if self.client_is_done {
            self.state = State::HalfClosed { fin_sent: false, timer: Box::pin(sleep(HALF_CLOSED_FOR)) };
            return Step::Forward;
        }
        if forward { Step::Forward } else { Step::Blocked }
    }

    fn advance_handshake(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<Progress> {
        if self.starts_tls
            && self.to_client.is_empty()
            && let Some(acceptor) = &self.service.acceptor
        {
            self.starts_tls = false;
            self.client.start_tls(acceptor, std::mem::take(&mut self.unread).into_vec());
        }
        if !self.client.is_in_handshake() {
            return Ok(false);
        }
        match self.client.poll_handshake(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(result) => {
                result?;
                self.facts.tls = self.client.tls_version();
                self.session.handle_secured(now);
                Ok(true)
            }
        }
    }

    fn handshake_failed(&mut self, error: &io::Error, now: Instant, scratch: &mut Scratch) -> Step {
        journal::not_secured(&self.service, self.facts.client, error);
        self.session.handle_ending(Ending::HandshakeFailed, now, &mut scratch.out);
        Step::Over(Ending::HandshakeFailed)
    }

    /// The client has said all; its last commands and the server's last replies still pass.
    fn advance_half_closed(&mut self, cx: &mut Context<'_>, now: Instant, scratch: &mut Scratch) -> Step {
        let Ok(mut forward) = self.flush(cx) else { return self.client_lost(now, scratch) };
        forward |= self.hear_relays();
        if self.has_left_upload() {
            return Step::Over(Ending::ClientClosed);
        }
        if self.to_server.is_empty()
            && let State::HalfClosed { fin_sent, .. } = &mut self.state
            && !*fin_sent
            && let Some(server) = &mut self.server
        {
            // A connection that is gone already needs no FIN.
            *fin_sent = Pin::new(server).poll_shutdown(cx).is_ready();
        }
        if self.to_client.is_empty() {
            forward |= self.read_server(cx, now, scratch);
            if self.deliver(cx, scratch).is_err() {
                return self.client_lost(now, scratch);
            }
        }
        if self.to_client.is_empty() && (self.server.is_none() || self.session.ended().is_some()) {
            return Step::Over(Ending::ClientClosed);
        }
        if forward {
            return Step::Forward;
        }
        let State::HalfClosed { timer, .. } = &mut self.state else { return Step::Forward };
        if timer.as_mut().poll(cx).is_pending() {
            return Step::Blocked;
        }
        // What the server still owes may take as long as it would with a client that listens.
        if self.session.is_busy() && now < self.active + self.service.timeouts.idle {
            timer.set(sleep(HALF_CLOSED_FOR));
            return Step::Forward;
        }
        Step::Over(Ending::ClientClosed)
    }

    fn advance_closing(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Step {
        let State::Closing { ending, timer } = &mut self.state else { return Step::Forward };
        let ending = *ending;
        if self.to_client.flush(&mut self.client, cx).is_err() {
            return Step::Over(ending);
        }
        while self.to_client.is_empty() {
            let mut buffer = ReadBuf::new(&mut scratch.bytes);
            match Pin::new(&mut self.client).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                // Nothing unread, and nothing more to come: no RST can follow.
                Poll::Pending if ending == Ending::Goodbye && self.session.has_quit() => {
                    return Step::Over(ending);
                }
                Poll::Pending => {
                    // A connection that is gone already needs no FIN.
                    let _ = Pin::new(&mut self.client).poll_shutdown(cx);
                    break;
                }
                Poll::Ready(_) => return Step::Over(ending),
            }
        }
        // Last, for most sessions need no timer, and setting one is a system call.
        if timer.as_mut().poll(cx).is_ready() { Step::Over(ending) } else { Step::Blocked }
    }

    fn client_lost(&mut self, now: Instant, scratch: &mut Scratch) -> Step {
        self.session.handle_ending(Ending::ClientLost, now, &mut scratch.out);
        Step::Over(Ending::ClientLost)
    }

    fn close(&mut self, ending: Ending, scratch: &mut Scratch) {
        self.account_all(&mut scratch.out);
        self.end_relays();
        self.to_client.append(&mut scratch.out.to_client);
        self.leave_server();
        if self.client.is_in_handshake() {
            // There is no way to say it.
            self.to_client.abandon();
        }
        self.state = State::Closing { ending, timer: Box::pin(sleep(CLOSING_FOR)) };
    }

    fn report(&mut self, now: Instant, ending: Ending, out: &mut Outbox) {
        self.session.handle_ending(ending, now, out);
        let ending = self.session.ended().unwrap_or(ending);
        self.account_all(out);
        let was_logging_in = self.session.login() == Login::No && self.session.commands() > 0;
        if ending.fault() == Fault::RealServer && was_logging_in && self.session.tunnel().is_none() {
            self.failed(Deed::Login, ending.word());
        }
        // curl and gfal2 look for a file first, and go away if it is not there.
        if self.facts.transfers == 0 && self.session.has_found_nothing() {
            self.failed(Deed::Transfer, "no file found");
        }
        if ending == Ending::ProxyHeader {
            self.service.lasting.proxy_header_failures.fetch_add(1, Relaxed);
        }
        self.end_relays();
        self.service.lasting.tally.ended(ending);
        journal::session_ended(
            &self.service,
            &self.real_server,
            &self.facts,
            self.session.commands(),
            now.saturating_duration_since(self.started),
            ending,
        );
    }
}
