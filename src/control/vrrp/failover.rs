//! A planned change of the master: what is under way may finish first.
//!
//! Until then the virtual address is here, so new sessions are served as ever; whoever turned them away would be the outage
//! that a failover is to spare. It moves in the first moment in which nothing is under way, or at the deadline.
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::proxy::{Held, SessionTable, now};

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long nothing has to be under way: clients that fetch file after file pause between two.
const QUIET_FOR: Duration = Duration::from_secs(2);

/// An operator's wish that is not fulfilled yet.
#[derive(Clone, Debug)]
pub(in crate::control) struct Pending {
    pub(super) since: Instant,
    /// When it happens whatever is under way.
    pub(super) deadline: Instant,
}

/// The same for whoever asks.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PendingStatus {
    /// Seconds since it was asked for.
    pub since_s: u64,
    /// Seconds until it happens whatever is under way.
    pub deadline_s: u64,
}

impl Pending {
    pub(super) fn status(&self, now: Instant) -> PendingStatus {
        PendingStatus {
            since_s: now.saturating_duration_since(self.since).as_secs(),
            deadline_s: self.deadline.saturating_duration_since(now).as_secs(),
        }
    }
}

/// How long sessions may take over their last line, before the address goes, without which nothing of that arrives, or before the
/// door closes.
pub(in crate::control) const LAST_WORDS: Duration = Duration::from_secs(1);

/// Ends what there is at these addresses, politely.
pub(in crate::control) async fn take_leave(sessions: &SessionTable, addresses: &[IpAddr]) {
    let begun = now();
    sessions.end_at(addresses, begun);
    let until = begun + LAST_WORDS;
    while sessions.held_at(addresses) != Held::default() && now() < until {
        sleep(LOOK_EVERY / 10).await;
    }
}

/// Returns when nothing is under way at these addresses, the deadline has come, or there are none any more; what is under way
/// then.
pub(in crate::control) async fn until_quiet(
    sessions: &SessionTable,
    addresses: impl Fn() -> Vec<IpAddr>,
    deadline: Instant,
) -> Held {
    let mut quiet_since = None;
    loop {
        let (now, held) = (now(), sessions.held_at(&addresses()));
        if now >= deadline || held == Held::default() {
            return held;
        }
        if held.busy + held.unread > 0 {
            quiet_since = None;
        } else if now >= *quiet_since.get_or_insert(now) + QUIET_FOR {
            return held;
        }
        sleep(LOOK_EVERY).await;
    }
}
