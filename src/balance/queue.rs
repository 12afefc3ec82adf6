//! Sessions that wait for a place on a real server, while all of them are full.
//!
//! ```text
//!   Placement dropped, server up, weight changed ──▶ RealServer ──▶ Queue::wake_first
//!   first in the line: place() ── a place ──▶ leaves, and wakes whoever is first then
//!                              └─ none ─────▶ sleeps on
//! ```
//!
//! First come, first served: nobody takes a place while somebody waits who came before. One place that becomes free wakes
//! one session, however many wait; whoever leaves the line, served or not, hands a wake-up on that it may have had.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, Ordering::Relaxed, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

/// The line before one virtual server.
#[derive(Debug, Default)]
pub struct Queue {
    line: Mutex<Line>,
    /// As many as the line has, for whoever only wants to know whether there is anybody.
    waiting: AtomicU32,
    /// What has become of those that waited.
    pub stats: QueueStats,
}

/// Counters of a queue, each only ever rising.
#[derive(Debug, Default)]
pub struct QueueStats {
    /// Sessions that have waited.
    pub queued: AtomicU64,
    /// Those that got a place.
    pub served: AtomicU64,
    /// Those for which none came in time.
    pub timed_out: AtomicU64,
    /// Those whose client hung up.
    pub left: AtomicU64,
    /// Sessions that found the queue full.
    pub refused: AtomicU64,
    /// The longest that anybody waited for the place that came, in milliseconds.
    pub longest_ms: AtomicU64,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    waiters: BTreeMap<u64, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    waker: Waker,
    since: Instant,
    /// It may not have every place, for it has tried servers in vain, or the configuration that it came under knows others:
    /// those behind it need not wait for it.
    is_particular: bool,
}

/// A session's number in the line; it keeps it when a server that it got a place on does not take it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Turn(u64);

/// Somebody in the line; dropped, it leaves.
#[derive(Debug)]
#[must_use = "dropped, it leaves the line"]
pub struct Waiting<'q> {
    queue: &'q Queue,
    turn: Turn,
}

/// As many wait as may.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "every real server that is up holds its max_connections, and queue_length = {length} sessions wait; raise one of them or add a server"
)]
pub struct QueueFull {
    /// How many that is.
    pub length: u32,
}

impl Queue {
    /// How many wait now.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// How long the one that has waited longest does so.
    #[must_use]
    pub fn longest_wait(&self, now: Instant) -> Duration {
        let line = self.lock();
        let since = line.waiters.values().map(|waiter| waiter.since).min();
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Whether a session has to join the line before it may take a place.
    #[must_use]
    pub fn must_wait(&self, turn: Option<Turn>) -> bool {
        self.waiting() > 0 && self.lock().is_behind(turn)
    }

    /// Joins the line, at its end or at the place that the session had. One that `is_particular` may not have every place.
    ///
    /// # Errors
    ///
    /// `length` sessions are in it. One that was in it before comes in all the same.
    pub fn join(
        &self,
        length: u32,
        turn: Option<Turn>,
        is_particular: bool,
        since: Instant,
        waker: &Waker,
    ) -> Result<Waiting<'_>, QueueFull> {
        let mut line = self.lock();
        let turn = match turn {
            Some(turn) => turn,
            None if line.len() >= length => {
                self.stats.refused.fetch_add(1, Relaxed);
                return Err(QueueFull { length });
            }
            None => {
                line.next += 1;
                self.stats.queued.fetch_add(1, Relaxed);
                Turn(line.next)
            }
        };
        line.waiters.insert(turn.0, Waiter { waker: waker.clone(), since, is_particular });
        self.waiting.store(line.len(), Relaxed);
        Ok(Waiting { queue: self, turn })
    }

    /// A place may have become free: wakes the session that is to have it.
    pub fn wake_first(&self) {
        // Whoever waits writes its name into the line and then reads the servers' counts; whoever frees a place writes the
        // count and then reads the line. Without a fence on both sides each may miss what the other has written.
        fence(Ordering::SeqCst);
        if self.waiting() > 0 {
            self.lock().wake_first();
        }
    }

    /// All is different: every one has to look for itself.
    pub fn wake_all(&self) {
        for waiter in self.lock().waiters.values() {
            waiter.waker.wake_by_ref();
        }
    }

    /// A thread that died with the lock left the line in order.
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn len(&self) -> u32 {
        u32::try_from(self.waiters.len()).unwrap_or(u32::MAX)
    }

    /// Whether somebody is before it who would take any place.
    fn is_behind(&self, turn: Option<Turn>) -> bool {
        let before = self.waiters.range(..turn.map_or(u64::MAX, |turn| turn.0));
        before.into_iter().any(|(_, waiter)| !waiter.is_particular)
    }

    fn wake_first(&self) {
        for waiter in self.waiters.values() {
            waiter.waker.wake_by_ref();
            if !waiter.is_particular {
                break;
            }
        }
    }
}

impl Waiting<'_> {
    /// Its number.
    #[must_use]
    pub fn turn(&self) -> Turn {
        self.turn
    }

    /// Whether it is this session's turn to try for a place; if not, or if it gets none, `waker` is woken when it should
    /// try again.
    #[must_use]
    pub fn is_next(&self, is_particular: bool, waker: &Waker) -> bool {
        let mut line = self.queue.lock();
        let mut lets_others_by = false;
        if let Some(waiter) = line.waiters.get_mut(&self.turn.0) {
            lets_others_by = is_particular && !waiter.is_particular;
            waiter.is_particular = is_particular;
            if !waiter.waker.will_wake(waker) {
                waiter.waker = waker.clone();
            }
        }
        if lets_others_by {
            // Whoever stands behind it has looked already, and found it before.
            line.wake_first();
        }
        let next = !line.is_behind(Some(self.turn));
        drop(line);
        // See `wake_first`.
        fence(Ordering::SeqCst);
        next
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut line = self.queue.lock();
        line.waiters.remove(&self.turn.0);
        self.queue.waiting.store(line.len(), Relaxed);
        // There may be more places, or this one was woken for one that it does not take any more.
        line.wake_first();
    }
}

#[cfg(test)]
mod tests;
