//! The time that one handshake knows: what its driver said last.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// Seconds since 1970. rustls asks it in place of the machine's clock.
#[derive(Debug)]
pub(super) struct SessionClock(AtomicU64);

impl SessionClock {
    pub(super) fn new(now: UnixTime) -> Self {
        Self(AtomicU64::new(now.as_secs()))
    }

    pub(super) fn set(&self, now: UnixTime) {
        self.0.store(now.as_secs(), Ordering::Relaxed);
    }
}

impl TimeProvider for SessionClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::Relaxed))))
    }
}
