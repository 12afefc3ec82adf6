//! Every session that is under way: for the sweep, for drain and for `status`.
mod drain_deadlines;
mod identified;
mod places;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::net::TcpStream;

use super::journal;
use crate::balance::RealServer;
use crate::proto::session_sync::Connection;
use drain_deadlines::DrainDeadlines;
pub(crate) use identified::IdentifiedSession;
pub(super) use identified::Listed;
use places::{NOWHERE, Places};

/// What a session is told from outside.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub(super) enum Signal {
    None = 0,
    /// Leave as soon as it costs the client nothing.
    Drain = 1,
    /// End now.
    Shutdown = 2,
}

/// Bits of what an entry was told: both signals, that its server's drain has changed, and that it may have come to an address that
/// moves now.
const DRAIN: u8 = 1;
const SHUTDOWN: u8 = 2;
const SERVER_CHANGED: u8 = 4;
const PLACES_CHANGED: u8 = 8;

/// What a session is in the midst of, for whoever asks what a drain waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Occupation {
    /// Nothing would be lost by its end.
    Idle = 0,
    /// A command, a transfer, or an address for one.
    Busy = 1,
    /// It cannot be read: it may be transferring.
    Unread = 2,
}

/// The sessions of one real server by what they are in the midst of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Held {
    /// They end at their next command, or soon.
    pub idle: usize,
    /// With a command, a transfer, or an address for one.
    pub busy: usize,
    /// After a GSI login, or another that the door does not read: they may be transferring.
    pub unread: usize,
}

/// One session as others see it.
#[derive(Debug)]
pub(super) struct Entry {
    /// Milliseconds after the table's start at which the session's time is over; `u64::MAX` for never.
    deadline: AtomicU64,
    /// Address of its real server while it has one: a number to compare.
    server: AtomicUsize,
    /// To which address that may move the client came.
    place: AtomicU32,
    told: AtomicU8,
    occupation: AtomicU8,
    waker: OnceLock<Waker>,
}

/// See the module's text.
#[derive(Debug)]
pub struct SessionTable {
    start: Instant,
    next: AtomicU64,
    /// What a session is told that comes after everybody else was.
    signal: AtomicU8,
    sessions: DashMap<u64, Arc<Entry>>,
    /// Those of them that look for a server: few, and their time-outs are seconds.
    beginning: DashMap<u64, Arc<Entry>>,
    drain_deadlines: DrainDeadlines,
    places: Places,
    /// Whether whoever came to an address that does not move is to leave.
    drains_what_stays: AtomicBool,
    /// Those of users that the door knows by name.
    identified: DashMap<u64, IdentifiedSession>,
}

/// A session's place in the table; dropped, it is removed.
#[derive(Debug)]
pub(super) struct Registration {
    table: Arc<SessionTable>,
    id: u64,
    begins: bool,
    pub(super) entry: Arc<Entry>,
}

impl SessionTable {
    /// An empty table; `now` is any moment before the first session.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            start: now,
            next: AtomicU64::new(0),
            signal: AtomicU8::new(0),
            sessions: DashMap::with_shard_amount(16),
            beginning: DashMap::with_shard_amount(16),
            drain_deadlines: DrainDeadlines::default(),
            places: Places::default(),
            drains_what_stays: AtomicBool::new(false),
            identified: DashMap::with_shard_amount(16),
        }
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    pub(super) fn register(self: &Arc<Self>) -> Registration {
        let id = self.next.fetch_add(1, Relaxed);
        let entry = Arc::new(Entry {
            deadline: AtomicU64::new(u64::MAX),
            server: AtomicUsize::new(0),
            place: AtomicU32::new(NOWHERE),
            told: AtomicU8::new(0),
            occupation: AtomicU8::new(Occupation::Idle as u8),
            waker: OnceLock::new(),
        });
        self.beginning.insert(id, Arc::clone(&entry));
        self.sessions.insert(id, Arc::clone(&entry));
        // After it can be found, so that no signal falls in between.
        entry.told.fetch_or(self.signal.load(Acquire), Release);
        Registration { table: Arc::clone(self), id, begins: true, entry }
    }

    /// Wakes the sessions whose time is over.
    pub(super) fn sweep(&self, now: Instant) {
        self.wake_overdue(&self.sessions, now);
    }

    /// The same of those that look for a server.
    pub(super) fn sweep_beginning(&self, now: Instant) {
        self.wake_overdue(&self.beginning, now);
    }

    fn wake_overdue(&self, sessions: &DashMap<u64, Arc<Entry>>, now: Instant) {
        let now = self.millis(now);
        for session in sessions {
            if session.deadline.load(Relaxed) <= now {
                session.wake();
            }
        }
    }

    pub(super) fn signal_all(&self, signal: Signal) {
        let bits = match signal {
            Signal::None => return,
            Signal::Drain => DRAIN,
            Signal::Shutdown => SHUTDOWN,
        };
        self.signal.fetch_or(bits, Release);
        for session in &self.sessions {
            session.tell(bits);
        }
    }

    /// All but those that came to addresses that may move leave as they can; so do those to come. What is at the others is told
    /// by [`Self::signal_all`] when they have gone.
    pub(super) fn drain_what_stays(&self) {
        self.drains_what_stays.store(true, SeqCst);
        // Meets the fence in `set_place`: whoever registers either is found here, or finds that written.
        fence(SeqCst);
        for session in self.sessions.iter().filter(|session| session.place.load(Relaxed) == NOWHERE) {
            session.tell(DRAIN);
        }
    }

    /// The drain of this server has begun or ended, or has another deadline, which is kept from here on: its sessions
    /// are told to look, and are counted. The caller has changed the server before.
    pub(crate) fn handle_drain_change(&self, server: &Arc<RealServer>) -> Held {
        self.drain_deadlines.set(server, server.drain().and_then(|drain| drain.deadline));
        self.tell_those_of(server)
    }

    /// The sessions of a server now.
    pub(crate) fn held_by(&self, server: &RealServer) -> Held {
        let mut held = Held::default();
        for session in self.sessions.iter().filter(|session| session.is_of(server)) {
            held.count(&session);
        }
        held
    }

    /// These addresses may move to another host: from now on it is known which sessions came to them. Those that are there look
    /// for themselves, for only they have their socket.
    pub(crate) fn note_places(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        if !self.places.add(addresses) {
            return;
        }
        for session in self.sessions.iter().filter(|session| session.place.load(Relaxed) == NOWHERE) {
            session.tell(PLACES_CHANGED);
        }
    }

    /// The sessions that came to one of these addresses.
    pub(crate) fn held_at(&self, addresses: &[IpAddr]) -> Held {
        let mut held = Held::default();
        let numbers = self.numbers(addresses);
        for session in self.sessions.iter().filter(|session| numbers.contains(&session.place.load(Relaxed))) {
            held.count(&session);
        }
        held
    }

    /// Ends those that came until then: their packets go to another host. Returns how many there are.
    pub(crate) fn end_at(&self, addresses: &[IpAddr], until: Instant) -> usize {
        // Data connections are among them, which end with their sessions.
        let ids = self.places.sessions_until(addresses, until);
        let ours = ids.into_iter().filter_map(|id| self.sessions.get(&id));
        ours.filter(|session| session.tell(SHUTDOWN)).count()
    }

    /// All connections to addresses that may move.
    pub(crate) fn connections(&self) -> Vec<Connection> {
        self.places.connections()
    }

    /// Those that have come since this was asked last; while they are many, not all of them.
    pub(crate) fn take_new_connections(&self) -> Vec<Connection> {
        self.places.take_new()
    }

    /// A data connection of a client with an address that may move, for as long as what this returns is there.
    pub(super) fn note_data_connection(self: &Arc<Self>, client: &TcpStream) -> Option<NotedConnection> {
        if !self.places.any() {
            return None;
        }
        let (client, reached) = (client.peer_addr().ok()?, client.local_addr().ok()?);
        if self.places.number(reached.ip()) == NOWHERE {
            return None;
        }
        let id = self.next.fetch_add(1, Relaxed);
        self.places.enter(id, Connection { client, reached }, super::now());
        Some(NotedConnection { table: Arc::clone(self), id })
    }

    fn numbers(&self, addresses: &[IpAddr]) -> Vec<u32> {
        addresses
            .iter()
            .map(|address| self.places.number(*address))
            .filter(|number| *number != NOWHERE)
            .collect()
    }

    /// Waits for the next deadline of a drain; then is the time for [`SessionTable::heed_drain_deadlines`].
    pub(super) async fn next_drain_deadline(&self) {
        self.drain_deadlines.next().await;
    }

    /// Tells the sessions of servers whose drain is over, which end then by their own look at the clock.
    pub(super) fn heed_drain_deadlines(&self, now: Instant) {
        for server in self.drain_deadlines.take_due(now) {
            let held = self.tell_those_of(&server);
            let sessions = held.idle + held.busy + held.unread;
            if sessions > 0 {
                journal::drain_deadline(&server, sessions);
            }
        }
    }

    fn tell_those_of(&self, server: &RealServer) -> Held {
        // Meets the fence in `set_server`: either the session is found, or it finds the server changed.
        fence(SeqCst);
        let mut held = Held::default();
        for session in self.sessions.iter().filter(|session| session.is_of(server)) {
            held.count(&session);
            session.tell(SERVER_CHANGED);
        }
        held
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }
}

/// See [`SessionTable::note_data_connection`].
#[derive(Debug)]
pub(super) struct NotedConnection {
    table: Arc<SessionTable>,
    id: u64,
}

impl Drop for NotedConnection {
    fn drop(&mut self) {
        self.table.places.leave(self.id);
    }
}

impl Registration {
    /// All sessions.
    pub(super) fn table(&self) -> Arc<SessionTable> {
        Arc::clone(&self.table)
    }

    /// When the sweep shall wake the session; never for `None`.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        // One more, so that a deadline is over when its millisecond is.
        let millis = deadline.map_or(u64::MAX, |at| self.table.millis(at).saturating_add(1));
        self.entry.deadline.store(millis, Relaxed);
    }

    /// The session has its server, or will not get one.
    pub(super) fn has_begun(&mut self) {
        if std::mem::take(&mut self.begins) {
            self.table.beginning.remove(&self.id);
        }
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.entry.deadline.load(Relaxed) <= self.table.millis(now)
    }

    pub(super) fn signal(&self) -> Signal {
        match self.entry.told.load(SeqCst) {
            told if told & SHUTDOWN != 0 => Signal::Shutdown,
            told if told & DRAIN != 0 => Signal::Drain,
            _ => Signal::None,
        }
    }

    /// The session is this server's from now on. Whether the server is drained is to be asked after this: whoever
    /// drains it later finds the session.
    pub(super) fn set_server(&self, server: &RealServer) {
        self.entry.server.store(identity(server), SeqCst);
        fence(SeqCst);
    }

    /// The session has no server any more.
    pub(super) fn clear_server(&self) {
        self.entry.server.store(0, SeqCst);
    }

    /// Whether the session was told, since it was asked last, to look at its server's drain. The server knows what is
    /// the case: what was told may have been meant for one that the session has left.
    pub(super) fn take_server_change(&self) -> bool {
        self.take(SERVER_CHANGED)
    }

    /// Whether, since it was asked last, the session was told to say again where its client came to.
    pub(super) fn take_place_change(&self) -> bool {
        self.take(PLACES_CHANGED)
    }

    fn take(&self, bit: u8) -> bool {
        let told = &self.entry.told;
        // Nearly always there is nothing, and then nothing is written.
        told.load(SeqCst) & bit != 0 && told.fetch_and(!bit, SeqCst) & bit != 0
    }

    /// Where the client came to; asked only where that may move.
    pub(super) fn set_place(&self, client: SocketAddr, reached: impl FnOnce() -> Option<SocketAddr>) {
        let places = &self.table.places;
        if places.any()
            && let Some(reached) = reached()
        {
            let number = places.number(reached.ip());
            if number != NOWHERE {
                self.entry.place.store(number, Relaxed);
                places.enter(self.id, Connection { client, reached }, super::now());
                return;
            }
        }
        // Where one socket is for all addresses of the host, clients go on to come to those that stay.
        fence(SeqCst);
        if self.table.drains_what_stays.load(SeqCst) {
            self.entry.tell(DRAIN);
        }
    }

    /// What the session is in the midst of while it waits.
    pub(super) fn set_occupation(&self, occupation: Occupation) {
        self.entry.occupation.store(occupation as u8, Relaxed);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.has_begun();
        if self.entry.place.load(Relaxed) != NOWHERE {
            self.table.places.leave(self.id);
        }
        self.table.sessions.remove(&self.id);
    }
}

impl Entry {
    /// The session's task; set once, for a task keeps its waker.
    pub(super) fn set_waker(&self, waker: &Waker) {
        if self.waker.get().is_none() {
            let _ = self.waker.set(waker.clone());
            // The task goes on to read its signal, and whoever signals goes on to read the waker: each writes one and
            // reads the other. Without a fence on both sides each may miss what the other has written, and the session
            // would sleep through the signal. Once a session; later signals find the waker.
            fence(SeqCst);
        }
    }

    /// What wakes the session, once its task has run.
    pub(super) fn waker(&self) -> Option<&Waker> {
        self.waker.get()
    }

    /// Whether it was not told before.
    fn tell(&self, bits: u8) -> bool {
        let is_new = self.told.fetch_or(bits, SeqCst) & bits != bits;
        // Meets the fence in `set_waker`.
        fence(SeqCst);
        self.wake();
        is_new
    }

    fn is_of(&self, server: &RealServer) -> bool {
        self.server.load(Relaxed) == identity(server)
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }
}

/// A number for a server that no other has as long as a session holds this one.
fn identity(server: &RealServer) -> usize {
    std::ptr::from_ref(server).addr()
}

impl Held {
    fn count(&mut self, session: &Entry) {
        match session.occupation.load(Relaxed) {
            idle if idle == Occupation::Idle as u8 => self.idle += 1,
            busy if busy == Occupation::Busy as u8 => self.busy += 1,
            _ => self.unread += 1,
        }
    }
}

/// How often to sweep, so that time-outs come no more than an eighth late and 9,000 idle sessions cost next to
/// nothing.
#[must_use]
pub(super) fn sweep_interval(shortest_timeout: Duration) -> Duration {
    (shortest_timeout / 8).clamp(Duration::from_millis(100), Duration::from_secs(5))
}

#[cfg(test)]
mod tests;
