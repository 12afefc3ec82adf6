//! Transfers by what they were and what became of them.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::proto::ftp::{DataPath, ReplyCode, Verb};

/// What a transfer moves, and whereto.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flow {
    /// A file to the real server.
    In,
    /// A file from it.
    Out,
    /// A listing from it.
    Listing,
}

/// What became of a transfer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The server has said 2yz.
    Complete,
    /// It has said anything else, or the door has in its place.
    Failed,
    /// The session was over before the reply.
    Cut,
}

/// Counters that only ever rise, one for each combination.
#[derive(Debug, Default)]
pub struct TransferCounts([[[AtomicU64; Outcome::ALL.len()]; PATHS.len()]; Flow::ALL.len()]);

/// Who may have carried the data.
const PATHS: [DataPath; 3] = [DataPath::Direct, DataPath::Kernel, DataPath::Relay];

impl Flow {
    const ALL: [Self; 3] = [Self::In, Self::Out, Self::Listing];

    /// What a transfer command moves.
    #[must_use]
    pub fn of(verb: Verb) -> Self {
        match verb {
            _ if verb.is_upload() => Self::In,
            _ if verb.moves_file() => Self::Out,
            _ => Self::Listing,
        }
    }

    /// A word for metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Listing => "listing",
        }
    }
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Complete, Self::Failed, Self::Cut];

    /// What a final reply, or none, says.
    #[must_use]
    pub fn of(reply: Option<ReplyCode>) -> Self {
        match reply {
            None => Self::Cut,
            Some(code) if code.is_success() => Self::Complete,
            Some(_) => Self::Failed,
        }
    }

    /// A word for metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Cut => "cut",
        }
    }
}

impl TransferCounts {
    /// Counts one transfer.
    pub fn count(&self, flow: Flow, path: DataPath, outcome: Outcome) {
        if let Some(path) = PATHS.iter().position(|&known| known == path) {
            self.0[flow as usize][path][outcome as usize].fetch_add(1, Relaxed);
        }
    }

    /// Every combination, with how many there were.
    pub fn iter(&self) -> impl Iterator<Item = (Flow, DataPath, Outcome, u64)> {
        Flow::ALL.into_iter().flat_map(move |flow| {
            PATHS.into_iter().zip(&self.0[flow as usize]).flat_map(move |(path, counts)| {
                let counts = Outcome::ALL.into_iter().zip(counts);
                counts.map(move |(outcome, count)| (flow, path, outcome, count.load(Relaxed)))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_combination_has_a_count_of_its_own() {
        let counts = TransferCounts::default();
        let mut rising = 0;
        for flow in Flow::ALL {
            for path in PATHS {
                for outcome in Outcome::ALL {
                    rising += 1;
                    (0..rising).for_each(|_| counts.count(flow, path, outcome));
                }
            }
        }
        let read: Vec<u64> = counts.iter().map(|(.., count)| count).collect();
        assert_eq!(read, (1..=27).collect::<Vec<u64>>());
    }

    #[test]
    fn every_transfer_command_has_its_direction() {
        for (verb, flow) in [
            (Verb::Stor, Flow::In),
            (Verb::Appe, Flow::In),
            (Verb::Esto, Flow::In),
            (Verb::Put, Flow::In),
            (Verb::Retr, Flow::Out),
            (Verb::Eret, Flow::Out),
            (Verb::Get, Flow::Out),
            (Verb::List, Flow::Listing),
            (Verb::Mlsd, Flow::Listing),
        ] {
            assert_eq!(Flow::of(verb), flow, "{verb:?}");
        }
    }
}
