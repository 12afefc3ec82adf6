//! A real server that is taken out of service.
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::balance::Drain;

/// A drain that is in force.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DrainStatus {
    /// Seconds since it began.
    pub since_s: u64,
    /// Seconds until what still runs is ended, 0 once that has come; `None` for never.
    pub deadline_s: Option<u64>,
    /// Sessions that the deadline has ended.
    pub ended: u32,
}

impl DrainStatus {
    pub(super) fn of(drain: Drain, now: Instant) -> Self {
        // Rounded up: 0 is the end.
        let seconds = |left: Duration| left.as_secs() + u64::from(left.subsec_nanos() > 0);
        Self {
            since_s: now.saturating_duration_since(drain.since).as_secs(),
            deadline_s: drain.deadline.map(|at| seconds(at.saturating_duration_since(now))),
            ended: drain.ended,
        }
    }
}

/// `drained 42 s ago, deadline in 558 s`.
impl fmt::Display for DrainStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "drained {} s ago", self.since_s)?;
        match self.deadline_s {
            None => write!(f, ", no deadline"),
            Some(0) => write!(f, ", the deadline is over and has ended {} sessions", self.ended),
            Some(seconds) => write!(f, ", deadline in {seconds} s"),
        }
    }
}
