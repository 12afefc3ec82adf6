//! Every session that is under way: for the sweep, for drain and for `status`.
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU8, AtomicU64, fence};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::{Duration, Instant};

use dashmap::DashMap;

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

/// One session as others see it.
#[derive(Debug)]
pub(super) struct Entry {
    /// Milliseconds after the table's start at which the session's time is over; `u64::MAX` for never.
    deadline: AtomicU64,
    signal: AtomicU8,
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
    pub(super) fn new(now: Instant) -> Self {
        Self {
            start: now,
            next: AtomicU64::new(0),
            signal: AtomicU8::new(Signal::None as u8),
            sessions: DashMap::with_shard_amount(16),
            beginning: DashMap::with_shard_amount(16),
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
            signal: AtomicU8::new(Signal::None as u8),
            waker: OnceLock::new(),
        });
        self.beginning.insert(id, Arc::clone(&entry));
        self.sessions.insert(id, Arc::clone(&entry));
        // After it can be found, so that no signal falls in between.
        entry.signal.fetch_max(self.signal.load(Acquire), Release);
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
        self.signal.fetch_max(signal as u8, Release);
        for session in &self.sessions {
            session.signal.fetch_max(signal as u8, SeqCst);
            // Meets the fence in `set_waker`.
            fence(SeqCst);
            session.wake();
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Registration {
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
        match self.entry.signal.load(SeqCst) {
            0 => Signal::None,
            1 => Signal::Drain,
            _ => Signal::Shutdown,
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.has_begun();
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

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
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
}
