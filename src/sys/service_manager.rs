//! systemd's view of the service (sd_notify(3)). Without systemd nothing happens.
use std::time::Duration;

use sd_notify::NotifyState;

/// The service is up.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The service is ending, and may need this long for it; without that word systemd kills it after `TimeoutStopSec`.
pub fn stopping(patience: Duration) {
    // By hand, because the crate's number has 32 bits: 71 minutes.
    let extension = format!("EXTEND_TIMEOUT_USEC={}", patience.as_micros());
    tell(&[NotifyState::Stopping, NotifyState::Custom(&extension)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell systemd; check NOTIFY_SOCKET");
    }
}
