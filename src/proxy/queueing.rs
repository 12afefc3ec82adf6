//! Waiting for a place on a real server.
//!
//! The client has been told nothing yet and sees a connection without a greeting, until there is a place, its time is
//! over, it hangs up, or the door is to be left.
use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use super::approach::ApproachError;
use super::control_stream::ControlStream;
use super::listener::Entrance;
use super::now;
use super::service::Service;
use super::session_table::Registration;
use crate::balance::{NoServer, Placement, RealServer, Tried, Turn, VirtualServer, Waiting};
use crate::config::QueueLimits;
use crate::sys;

/// How often the first in the line tries for a place without having been woken, and a client is looked for of which bytes
/// are unread: its end would come behind them, unseen.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// A session that looks for a place.
pub(super) struct PlaceSeeker<'a> {
    /// The generation that is in force, as far as the session can go over to it.
    pub(super) service: Arc<Service>,
    entrance: Entrance,
    client: &'a ControlStream,
    address: IpAddr,
    registration: &'a Registration,
    /// The server that it would rather have.
    pub(super) home: Option<Arc<RealServer>>,
    /// Its turn, once it has waited, and since when.
    turn: Option<Turn>,
    since: Option<Instant>,
    /// How long it has waited for its last place.
    pub(super) queued: Option<Duration>,
}

impl<'a> PlaceSeeker<'a> {
    pub(super) fn new(
        service: Arc<Service>,
        entrance: Entrance,
        client: &'a ControlStream,
        address: IpAddr,
        registration: &'a Registration,
    ) -> Self {
        Self {
            service,
            entrance,
            client,
            address,
            registration,
            home: None,
            turn: None,
            since: None,
            queued: None,
        }
    }

    /// A place now, at its own server if it has one that takes it.
    fn choose(&self, virtual_server: &Arc<VirtualServer>, tried: &Tried) -> Result<Placement, NoServer> {
        let home = self.home.as_ref().and_then(|home| virtual_server.place_at(home, tried));
        home.map_or_else(|| virtual_server.place(now(), self.address, tried), Ok)
    }

    /// A place on a server that is not among those tried; waits where there is a queue for that. When another generation
    /// comes into force it goes over to that one, of whose servers none is tried.
    pub(super) async fn place(&mut self, tried: &mut Tried) -> Result<Placement, ApproachError> {
        loop {
            let in_force = self.service.in_force(self.entrance);
            if !Arc::ptr_eq(&in_force, &self.service) {
                self.service = in_force;
                *tried = Tried::default();
            }
            // What is known of a virtual server is not for a generation to judge that is not in force.
            if !self.service.admittance.is_superseded() {
                self.service.observe(now());
            }
            let virtual_server = &self.service.virtual_server;
            let admittance = &self.service.admittance;
            let Some(limits) = admittance.queue_limits else {
                return Ok(self.choose(virtual_server, tried)?);
            };
            if !admittance.known.queue.must_wait(self.turn) {
                match self.choose(virtual_server, tried) {
                    Err(none) if none.may_change() && virtual_server.may_make_room(tried) => {}
                    done => return Ok(done?),
                }
            }
            if let Some(placement) = self.wait(limits, tried).await? {
                return Ok(placement);
            }
        }
    }

    /// A place, or nothing when there is another generation to go over to.
    async fn wait(&mut self, limits: QueueLimits, tried: &Tried) -> Result<Option<Placement>, ApproachError> {
        let service = Arc::clone(&self.service);
        let (queue, virtual_server) = (&service.admittance.known.queue, &service.virtual_server);
        let since = *self.since.get_or_insert_with(now);
        let until = since + limits.timeout;
        let mut waiting: Option<Waiting<'_>> = None;
        let result = poll_fn(|cx| {
            let now = now();
            let is_watched = match watch(self.client, cx) {
                Client::Gone => {
                    queue.stats.left.fetch_add(1, Relaxed);
                    return Poll::Ready(Err(ApproachError::Left));
                }
                Client::Silent => true,
                Client::Spoke => false,
            };
            if service.admittance.is_superseded() && !Arc::ptr_eq(&service.in_force(self.entrance), &service)
            {
                return Poll::Ready(Ok(None));
            }
            let is_particular = !tried.is_empty() || service.admittance.is_superseded();
            let in_line = match &waiting {
                Some(in_line) => in_line,
                None => match queue.join(limits.length, self.turn, is_particular, since, cx.waker()) {
                    Ok(joined) => waiting.insert(joined),
                    Err(full) => return Poll::Ready(Err(full.into())),
                },
            };
            self.turn = Some(in_line.turn());
            let is_next = in_line.is_next(is_particular, cx.waker());
            if is_next {
                match self.choose(virtual_server, tried) {
                    Ok(placement) => return Poll::Ready(Ok(Some(placement))),
                    Err(none) if !none.may_change() || !virtual_server.may_make_room(tried) => {
                        return Poll::Ready(Err(none.into()));
                    }
                    Err(_) => {}
                }
            }
            if now >= until {
                queue.stats.timed_out.fetch_add(1, Relaxed);
                return Poll::Ready(Err(ApproachError::QueueTimeout(limits.timeout)));
            }
            let look_at = if is_next || !is_watched { until.min(now + LOOK_AFTER) } else { until };
            self.registration.set_deadline(Some(look_at));
            Poll::Pending
        })
        .await;
        // Whoever is next has its wake-up before this one's connection is made.
        drop(waiting);
        let waited = now().saturating_duration_since(since);
        if matches!(result, Ok(Some(_))) {
            queue.stats.served.fetch_add(1, Relaxed);
            queue.stats.longest_ms.fetch_max(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX), Relaxed);
        }
        self.queued = Some(waited);
        result
    }
}

/// What a client does meanwhile.
pub(super) enum Client {
    Gone,
    /// The task is woken when it speaks or goes.
    Silent,
    /// Its bytes wait for the session, and it has to be looked for.
    Spoke,
}

pub(super) fn watch(client: &ControlStream, cx: &mut Context<'_>) -> Client {
    let Some(stream) = client.tcp() else { return Client::Gone };
    let mut byte = [MaybeUninit::uninit(); 1];
    let mut buffer = ReadBuf::uninit(&mut byte);
    match TcpStream::poll_peek(stream, cx, &mut buffer) {
        Poll::Pending => Client::Silent,
        Poll::Ready(Ok(1..)) if !sys::socket::is_closed_by_peer(stream) => Client::Spoke,
        Poll::Ready(_) => Client::Gone,
    }
}
