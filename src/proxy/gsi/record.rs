//! What has come of GSI logins at a virtual server, and what is known of its users. It outlives configurations.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::balance::{Durations, Identities};

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct GsiRecord {
    pub(crate) identities: Arc<Identities>,
    /// From AUTH to 235, of those that got so far.
    pub(crate) handshakes: Durations,
    /// Sessions of clients that log in at the real servers themselves.
    pub(crate) passed_through: AtomicU64,
    outcomes: [AtomicU64; GsiOutcome::ALL.len()],
    path_length_ends: [AtomicU64; PathLengthEnd::ALL.len()],
}

/// What a user cannot have whose proxy's path length ends at the door.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PathLengthEnd {
    /// It ends below the door's credential: there is a session, and DCAU fails.
    NoDataAuthentication,
    /// It ends above: the door gets none.
    NoLogin,
}

impl PathLengthEnd {
    const ALL: [Self; 2] = [Self::NoDataAuthentication, Self::NoLogin];

    /// A few words for metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::NoDataAuthentication => "no data authentication",
            Self::NoLogin => "no login",
        }
    }
}

/// What came of a client that wanted in by GSI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum GsiOutcome {
    /// A session.
    Success,
    /// The door does not believe its certificates.
    Certificate,
    /// No handshake came about for another reason.
    Handshake,
    /// It has handed over no credential.
    NoDelegation,
    /// `allow_dn`, `deny_dn`.
    Denied,
    /// `max_sessions_per_dn`.
    TooManySessions,
    /// It took longer than `login_timeout`, or said too much.
    TooSlow,
    /// It went away in the midst of it.
    Abandoned,
    /// No real server lets it in.
    RefusedByServer,
    /// No real server took the session.
    NoServer,
    /// The door's own fault.
    DoorError,
}

impl GsiOutcome {
    pub(crate) const ALL: [Self; 11] = [
        Self::Success,
        Self::Certificate,
        Self::Handshake,
        Self::NoDelegation,
        Self::Denied,
        Self::TooManySessions,
        Self::TooSlow,
        Self::Abandoned,
        Self::RefusedByServer,
        Self::NoServer,
        Self::DoorError,
    ];

    /// A few words for metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Certificate => "certificate refused",
            Self::Handshake => "handshake failed",
            Self::NoDelegation => "no credential delegated",
            Self::Denied => "DN denied",
            Self::TooManySessions => "max_sessions_per_dn reached",
            Self::TooSlow => "too slow",
            Self::Abandoned => "abandoned",
            Self::RefusedByServer => "refused by every server",
            Self::NoServer => "no real server",
            Self::DoorError => "out of order",
        }
    }
}

impl GsiRecord {
    pub(in crate::proxy) fn count(&self, outcome: GsiOutcome) {
        if let Some(count) = self.outcomes.get(outcome as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(in crate::proxy) fn count_handshake(&self, took: Duration) {
        self.handshakes.count(took);
    }

    pub(in crate::proxy) fn count_path_length_end(&self, end: PathLengthEnd) {
        if let Some(count) = self.path_length_ends.get(end as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Each of the ends, with 0 where there was none.
    pub(crate) fn path_length_ends(&self) -> impl Iterator<Item = (PathLengthEnd, u64)> {
        PathLengthEnd::ALL
            .into_iter()
            .zip(&self.path_length_ends)
            .map(|(end, count)| (end, count.load(Relaxed)))
    }

    /// Every outcome, those that have not happened with them.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (GsiOutcome, u64)> {
        GsiOutcome::ALL.into_iter().zip(&self.outcomes).map(|(outcome, count)| (outcome, count.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_a_count_and_a_word_of_its_own() {
        let record = GsiRecord::default();
        for (number, outcome) in GsiOutcome::ALL.into_iter().enumerate() {
            (0..=number).for_each(|_| record.count(outcome));
        }
        let counts: Vec<u64> = record.outcomes().map(|(_, count)| count).collect();
        assert_eq!(counts, (1..=GsiOutcome::ALL.len() as u64).collect::<Vec<_>>());
        let words: std::collections::BTreeSet<_> = GsiOutcome::ALL.map(GsiOutcome::word).into();
        assert_eq!(words.len(), GsiOutcome::ALL.len());
        for (number, end) in PathLengthEnd::ALL.into_iter().enumerate() {
            (0..=number).for_each(|_| record.count_path_length_end(end));
        }
        let counts: Vec<_> = record.path_length_ends().map(|(end, count)| (end.word(), count)).collect();
        assert_eq!(counts, [("no data authentication", 1), ("no login", 2)]);
    }
}
