//! systemd's view of the service (sd_notify(3), sd_watchdog_enabled(3)). Without systemd nothing happens.
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use sd_notify::NotifyState;

/// The service is up.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read anew; [`ready`] is to follow, whatever comes of it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(moment) => tell(&[NotifyState::Reloading, moment]),
        Err(error) => tracing::warn!(%error, "cannot tell systemd of a reload"),
    }
}

/// The service is ending, and may need this long for it; without that word systemd kills it after `TimeoutStopSec`.
pub fn stopping(patience: Duration) {
    // By hand, because the crate's number has 32 bits: 71 minutes.
    let extension = format!("EXTEND_TIMEOUT_USEC={}", patience.as_micros());
    tell(&[NotifyState::Stopping, NotifyState::Custom(&extension)]);
}

/// Whether there is a service manager that wants to be told.
#[must_use]
pub fn listens() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// How long the service manager waits for a sign of life before it ends the service; `None` if it does not.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero())
}

/// The sign of life.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// A line for `systemctl status`.
pub fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

fn tell(states: &[NotifyState<'_>]) {
    // Said once until it works again.
    static FAILING: AtomicBool = AtomicBool::new(false);
    let told = sd_notify::notify(states);
    let failed_before = FAILING.swap(told.is_err(), Relaxed);
    if let (Err(error), false) = (told, failed_before) {
        tracing::warn!(%error, "cannot tell systemd; check NOTIFY_SOCKET");
    }
}
