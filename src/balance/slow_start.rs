//! Slow start: a server that comes back gets its share of the new sessions little by little.
//!
//! Plain least connections gives such a server every new session until it holds as many as the others. Here its weight
//! grows from nothing to the whole over `slow_start`, and its share of the *new* sessions is held to what that weight
//! is of the sum of all. Once the weight is whole it goes on to grow at the same pace until the server has caught up,
//! so that the end of the time is no second stampede.
//!
//! ```text
//!   new sessions, three equal servers            sessions held
//!   |             ,---. caught up                |_________________ the others
//!   | full share /     `-----------              |           ,-'
//!   |         ,-'                                |       ,--'
//!   |      ,-'                                   |  ,---'   the one that is back
//!   +---,-'---------+-------------- time         +--'------------------- time
//!     back      slow_start
//! ```

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use super::scheduler::Load;

/// How far a server has come, in parts of [`WARM`].
pub(super) type Warmth = u32;

/// The whole weight.
pub(super) const WARM: Warmth = 1024;

/// From here on a server that still has not caught up is let go: its share is nearly everything, anyway.
pub(super) const HOT: Warmth = 16 * WARM;

/// The warmth at `now` of a server that is in service since `since`; never 0, which would be no share of anything.
pub(super) fn warmth(since: Instant, now: Instant, slow_start: Duration) -> Warmth {
    let elapsed = now.saturating_duration_since(since).as_millis();
    let parts = elapsed * u128::from(WARM) / slow_start.as_millis().max(1);
    Warmth::try_from(parts).unwrap_or(HOT).clamp(1, HOT)
}

/// A server that a scheduler may choose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) load: Load,
    /// `None` when it is warm.
    pub(super) warmth: Option<Warmth>,
}

/// A session's worth of credit.
const SESSION: i64 = 1 << 32;

/// Holds servers in slow start to their share of the new sessions: with each new session all of them earn their share of
/// it, and who has earned a whole one may be chosen. Two sessions' worth is not kept, so that quiet times are no reserve
/// for a burst.
#[derive(Debug)]
pub(super) struct Pacing {
    credits: Vec<i64>,
}

impl Pacing {
    pub(super) fn new(servers: usize) -> Self {
        Self { credits: vec![0; servers] }
    }

    /// With a new session every cold server earns its share of it. `weighs` is what the scheduler takes for a weight.
    pub(super) fn earn(&mut self, candidates: &[Option<Candidate>], weighs: fn(Load) -> u32) {
        let grown = |candidate: &Candidate| {
            u128::from(weighs(candidate.load)) * u128::from(candidate.warmth.unwrap_or(WARM))
        };
        let sum: u128 = candidates.iter().flatten().map(grown).sum();
        for (credit, candidate) in self.credits.iter_mut().zip(candidates) {
            let Some(candidate) = candidate.filter(|candidate| candidate.warmth.is_some()) else {
                *credit = 0;
                continue;
            };
            let share = i64::try_from((grown(&candidate) << 32) / sum.max(1)).unwrap_or(SESSION);
            *credit = (*credit + share).min(2 * SESSION - 1);
        }
    }

    /// Strikes those out that have not earned a session. Where that leaves nobody, because all are cold, the one that is
    /// nearest to it stays.
    pub(super) fn hold_back(&self, candidates: &mut [Option<Candidate>]) {
        let is_due = |index: usize, candidate: &Candidate| {
            candidate.warmth.is_none() || self.credits[index] >= SESSION
        };
        let fit = candidates.iter().enumerate().filter_map(|(index, known)| Some((index, (*known)?)));
        let nearest = if fit.clone().any(|(index, candidate)| is_due(index, &candidate)) {
            None
        } else {
            // The first of equals.
            fit.map(|(index, _)| index).min_by_key(|&index| Reverse(self.credits[index]))
        };
        for (index, candidate) in candidates.iter_mut().enumerate() {
            if candidate.is_some_and(|known| !is_due(index, &known)) && nearest != Some(index) {
                *candidate = None;
            }
        }
    }

    /// A server has got a session.
    pub(super) fn pay(&mut self, index: usize) {
        // Where all are cold somebody may get one on credit, but no two.
        self.credits[index] = (self.credits[index] - SESSION).max(-SESSION);
    }
}

#[cfg(test)]
mod tests;
