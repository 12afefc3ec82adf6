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
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // a starting point
    fn the_sweep_wakes_only_sessions_whose_time_is_over() {
        let start = Instant::now();
        let table = Arc::new(SessionTable::new(start));
        let (early, late, never) = (table.register(), table.register(), table.register());
        let wakes = [&early, &late, &never].map(|registration| {
            let count = Arc::new(Count(AtomicUsize::new(0)));
            registration.entry.set_waker(&Arc::clone(&count).into());
            count
        });
        early.set_deadline(Some(start + Duration::from_secs(1)));
        late.set_deadline(Some(start + Duration::from_secs(9)));
        table.sweep(start + Duration::from_secs(2));
        assert_eq!([1, 0, 0], [&wakes[0], &wakes[1], &wakes[2]].map(|count| count.0.load(Relaxed)));
        assert!(
            early.is_overdue(start + Duration::from_secs(2))
                && !late.is_overdue(start + Duration::from_secs(2))
        );

        table.signal_all(Signal::Shutdown);
        table.signal_all(Signal::Drain);
        assert_eq!(never.signal(), Signal::Shutdown, "a weaker signal does not replace a stronger one");
        table.sweep_beginning(start + Duration::from_secs(2));
        let woken = wakes[0].0.load(Relaxed);
        assert_eq!(woken, 4, "found among those that begin, too");
        let mut early = early;
        early.has_begun();
        table.sweep_beginning(start + Duration::from_secs(2));
        assert_eq!(wakes[0].0.load(Relaxed), woken, "and no more once it has begun");
        drop((early, late, never));
        assert!(table.beginning.is_empty());
        assert!(table.is_empty());
    }

    fn server(name: &str) -> Arc<RealServer> {
        Arc::new(RealServer::new(crate::balance::RealServerSpec {
            name: name.into(),
            address: SocketAddr::from(([10, 0, 0, 1], 2811)),
            weight: 1,
            max_connections: None,
            fall: 1,
            rise: 1,
        }))
    }

    #[tokio::test]
    async fn a_change_of_a_servers_drain_reaches_its_sessions_and_no_others() {
        let start = super::super::now();
        let table = Arc::new(SessionTable::new(start));
        let (ours, other) = (server("s1"), server("s2"));
        let sessions = [(&ours, Occupation::Idle), (&ours, Occupation::Busy), (&ours, Occupation::Unread)]
            .map(|(server, occupation)| {
                let session = table.register();
                session.set_server(server);
                session.set_occupation(occupation);
                session
            });
        let (beginning, elsewhere, moved) = (table.register(), table.register(), table.register());
        elsewhere.set_server(&other);
        moved.set_server(&ours);
        moved.set_server(&other);
        let reached = || {
            let mut reached = sessions.each_ref().map(Registration::take_server_change).to_vec();
            reached.extend([&beginning, &elsewhere, &moved].map(Registration::take_server_change));
            reached
        };
        let held = Held { idle: 1, busy: 1, unread: 1 };

        let deadline = start + Duration::from_millis(50);
        ours.handle_drain(start, Some(deadline));
        assert_eq!(table.handle_drain_change(&ours), held);
        assert_eq!(reached(), [true, true, true, false, false, false]);
        assert_eq!(reached(), [false; 6], "told once");
        assert_eq!(sessions[0].signal(), Signal::None, "the door is not drained");

        table.heed_drain_deadlines(deadline - Duration::from_millis(1));
        assert_eq!(reached(), [false; 6], "the deadline has not come");
        table.next_drain_deadline().await;
        table.heed_drain_deadlines(super::super::now());
        assert_eq!(reached(), [true, true, true, false, false, false]);

        ours.handle_drain(start, Some(super::super::now()));
        table.handle_drain_change(&ours);
        assert!(ours.handle_undrain());
        table.handle_drain_change(&ours);
        assert!(reached().contains(&true));
        table.heed_drain_deadlines(start + Duration::from_secs(1));
        assert_eq!(reached(), [false; 6], "undrained, it has no deadline");
        table.signal_all(Signal::Drain);
        ours.handle_drain(start, None);
        table.handle_drain_change(&ours);
        assert!(sessions[0].take_server_change());
        assert_eq!(sessions[0].signal(), Signal::Drain, "one does not take the other away");
    }

    #[test]
    fn an_address_that_may_move_from_now_on_finds_those_that_came_to_it_before() {
        let table = Arc::new(SessionTable::new(super::super::now()));
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let [moves, other]: [IpAddr; 2] = ["192.0.2.10", "192.0.2.11"].map(|text| text.parse().unwrap());
        let say = |session: &Registration, reached: &str| {
            session.set_place(at("198.51.100.7:40000"), || Some(at(reached)));
        };
        let sessions = ["192.0.2.10:2811", "192.0.2.1:2811"].map(|reached| {
            let session = table.register();
            say(&session, reached);
            (session, reached)
        });
        table.note_places([moves]);
        for (session, reached) in &sessions {
            assert!(session.take_place_change() && !session.take_place_change(), "{reached}");
            say(session, reached);
        }
        assert_eq!(table.held_at(&[moves]).idle, 1);
        assert_eq!(table.take_new_connections().len(), 1, "others hear of it");
        table.note_places([moves]);
        assert!(sessions.iter().all(|(session, _)| !session.take_place_change()), "nothing is new");
        table.note_places([moves, other]);
        let told = sessions.each_ref().map(|(session, _)| session.take_place_change());
        assert_eq!(told, [false, true], "whose place is known has no other");
        assert_eq!(table.end_at(&[moves], super::super::now()), 1);
        assert_eq!(sessions[0].0.signal(), Signal::Shutdown);
    }

    #[test]
    fn an_address_that_goes_ends_those_that_came_before_and_a_drain_spares_those_that_may_move() {
        let start = super::super::now();
        let table = Arc::new(SessionTable::new(start));
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let moves: IpAddr = "192.0.2.10".parse().unwrap();
        table.note_places([moves]);
        let come = |reached: &str| {
            let session = table.register();
            session.set_place(at("198.51.100.7:40000"), || Some(at(reached)));
            session
        };
        let (old, mapped, fixed) =
            (come("192.0.2.10:2811"), come("[::ffff:192.0.2.10]:2811"), come("192.0.2.1:2811"));
        assert_eq!(table.end_at(&[moves], start - Duration::from_secs(1)), 0, "nobody had come");
        table.drain_what_stays();
        let (new, late) = (come("192.0.2.10:2811"), come("192.0.2.1:2811"));
        let signals = || [&old, &mapped, &fixed, &new, &late].map(Registration::signal);
        assert_eq!(signals(), [Signal::None, Signal::None, Signal::Drain, Signal::None, Signal::Drain]);
        let gone = super::super::now();
        let newest = loop {
            let session = come("192.0.2.10:2811");
            if table.places.sessions_until(&[moves], gone).len() == 3 {
                break session;
            }
        };
        assert_eq!(table.end_at(&[moves], gone), 3);
        assert_eq!(table.end_at(&[moves], gone), 0, "told once");
        assert_eq!(signals()[0], Signal::Shutdown);
        assert_eq!(newest.signal(), Signal::None, "it came to the address when that was back");
    }
}
