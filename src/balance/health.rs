//! Whether a real server is up, from checks and from what sessions see.
//!
//! ```text
//!            `fall` failures in a row (checks and greetings together)
//!        ┌──────────────────────────────────────────────────────────┐
//!        │                                                          ▼
//!       up                                                        down
//!        ▲                                                          │
//!        └──────────────────────────────────────────────────────────┘
//!            `rise` successes in a row, of checks only
//! ```
//!
//! `rise` and `fall` are the words of keepalived.conf(5) track scripts; its checkers call `fall - 1` `retry`.

use std::time::Instant;

/// Longest reason that is kept, in bytes: one line in a log and in `status`. A server's own words may be in it.
const MAX_REASON_LEN: usize = 256;

/// What a check found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CheckOutcome {
    /// It greets: fit for sessions.
    Passed,
    /// It answered 421 or 422 with these words: alive and full, so neither up nor down because of it.
    Busy(String),
    /// It does not work, for this reason.
    Failed(String),
}

/// A change to be logged, once, by whoever caused it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "the caller logs it; nobody else will"]
pub enum HealthChange {
    /// New sessions may go there again.
    Up,
    /// No new sessions, for this reason.
    Down(String),
}

/// A real server's health at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HealthSnapshot {
    /// Whether it may get sessions.
    pub up: bool,
    /// When `up` last changed; `None` while it is as it started.
    pub since: Option<Instant>,
    /// Why the last check or greeting did not pass; `None` once one has passed and the server is up.
    /// At most 256 bytes.
    pub last_error: Option<String>,
    /// Whether the last check or session was answered with 421 or 422.
    pub busy: bool,
}

/// The counters behind the two states.
#[derive(Debug)]
pub(super) struct Health {
    fall: u32,
    rise: u32,
    /// Failures in a row while up, successes in a row while down.
    in_a_row: u32,
    now: HealthSnapshot,
}

impl Health {
    /// Starts up, as keepalived does without `alpha`: a restart must not refuse everybody until the first checks are done.
    pub(super) fn new(fall: u32, rise: u32) -> Self {
        Self {
            fall: fall.max(1),
            rise: rise.max(1),
            in_a_row: 0,
            now: HealthSnapshot { up: true, since: None, last_error: None, busy: false },
        }
    }

    /// From now on so many in a row change it; what has been counted stays.
    pub(super) fn reconfigure(&mut self, fall: u32, rise: u32) {
        (self.fall, self.rise) = (fall.max(1), rise.max(1));
    }

    /// Down before anything was seen of it (`alpha`).
    pub(super) fn start_down(&mut self) {
        self.now.up = false;
        self.now.last_error = Some("not proven yet: no check has passed since the start (`alpha`)".into());
    }

    pub(super) fn snapshot(&self) -> &HealthSnapshot {
        &self.now
    }

    pub(super) fn handle_check(&mut self, now: Instant, outcome: CheckOutcome) -> Option<HealthChange> {
        self.now.busy = matches!(outcome, CheckOutcome::Busy(_));
        match outcome {
            CheckOutcome::Passed => self.pass_check(now),
            CheckOutcome::Busy(words) => {
                self.now.last_error = Some(bounded(words));
                None
            }
            CheckOutcome::Failed(reason) => self.fail(now, reason),
        }
    }

    /// A session's greeting: failures count as a check's do, success forgives them. While the server is down
    /// neither says anything: such a session was placed before, and only checks bring a server up.
    pub(super) fn handle_greeting(
        &mut self,
        now: Instant,
        greeting: Result<(), String>,
    ) -> Option<HealthChange> {
        if !self.now.up {
            return None;
        }
        self.now.busy = false;
        match greeting {
            Ok(()) => self.forgive(),
            Err(reason) => return self.fail(now, reason),
        }
        None
    }

    /// A session was answered with 421 or 422: alive and full. It is shown, and counts for nothing.
    pub(super) fn handle_busy(&mut self, words: String) {
        if self.now.up {
            self.now.busy = true;
            self.now.last_error = Some(bounded(words));
        }
    }

    fn pass_check(&mut self, now: Instant) -> Option<HealthChange> {
        if self.now.up {
            self.forgive();
            return None;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row < self.rise {
            return None;
        }
        self.now.up = true;
        self.now.since = Some(now);
        self.forgive();
        Some(HealthChange::Up)
    }

    fn fail(&mut self, now: Instant, reason: String) -> Option<HealthChange> {
        let reason = bounded(reason);
        self.now.last_error = Some(reason.clone());
        if !self.now.up {
            self.in_a_row = 0;
            return None;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row < self.fall {
            return None;
        }
        self.now.up = false;
        self.now.since = Some(now);
        self.in_a_row = 0;
        Some(HealthChange::Down(reason))
    }

    fn forgive(&mut self) {
        self.in_a_row = 0;
        self.now.last_error = None;
    }
}

/// As much of a reason as is kept.
pub(super) fn bounded(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(MAX_REASON_LEN));
    reason
}

#[cfg(test)]
mod tests;
