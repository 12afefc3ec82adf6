//! How fast sessions may begin: a token bucket, kept as the one moment at which it is full again.
use std::time::{Duration, Instant};

/// So many sessions in so much time, and as many at once as the burst says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SessionRate {
    /// At least 1.
    pub sessions: u32,
    /// The time in which that many may begin.
    pub per: Duration,
    /// Sessions that may come at once after a pause, at least 1.
    pub burst: u32,
}

/// When the bucket is full again (the “theoretical arrival time” of ITU-T I.371); never, or in the past: it is full.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NextArrival(Option<Instant>);

impl SessionRate {
    /// From one session to the next. Rounded up: never more than was said.
    fn interval(self) -> Duration {
        let sessions = u128::from(self.sessions.max(1));
        let nanos = self.per.as_nanos().div_ceil(sessions);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl NextArrival {
    /// Takes a token; false when there is none.
    pub(super) fn arrive(&mut self, rate: SessionRate, now: Instant) -> bool {
        let interval = rate.interval();
        let full_at = self.0.map_or(now, |at| at.max(now));
        if full_at.duration_since(now) > interval.saturating_mul(rate.burst.max(1) - 1) {
            return false;
        }
        self.0 = full_at.checked_add(interval);
        true
    }

    pub(super) fn matters(self, now: Instant) -> bool {
        self.0.is_some_and(|full_at| full_at > now)
    }
}
