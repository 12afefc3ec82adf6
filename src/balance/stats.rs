//! What a real server has done since the start.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::durations::Durations;
use super::health::CheckOutcome;
use super::transfers::TransferCounts;

/// Counters of one real server, each only ever rising; written by the sessions, read by `status`.
///
/// They stand apart from each other: a reader may see a login before its session.
#[derive(Debug, Default)]
pub struct Stats {
    /// Sessions whose client was given this server's greeting.
    pub sessions: AtomicU64,
    /// Attempts that ended before a greeting: refused, timed out, closed.
    pub connect_failures: AtomicU64,
    /// Attempts answered with 421 or 422.
    pub busy: AtomicU64,
    /// How often it was ejected.
    pub ejections: AtomicU64,
    /// Logins in clear text that the server accepted.
    pub logins: AtomicU64,
    /// Logins in clear text that it refused.
    pub login_failures: AtomicU64,
    /// GSI handshakes that ended in 235.
    pub gsi_logins: AtomicU64,
    /// GSI handshakes that ended otherwise.
    pub gsi_failures: AtomicU64,
    /// How long the handshakes counted in `gsi_logins` took.
    pub handshakes: Durations,
    /// Microseconds of the longest of them.
    pub handshake_max_micros: AtomicU64,
    /// How long the logins counted in `logins` took, from USER to the reply.
    pub login_times: Durations,
    /// Transfers that ended in 2yz.
    pub transfers: AtomicU64,
    /// Transfers that ended otherwise.
    pub transfer_failures: AtomicU64,
    /// Those of both whose data crossed the door.
    pub relayed_transfers: AtomicU64,
    /// Every transfer, by what it was and what became of it.
    pub by_kind: TransferCounts,
    /// Bytes of data connections that the door has carried to this server.
    pub relayed_to_server: AtomicU64,
    /// Bytes of data connections that the door has carried from this server.
    pub relayed_to_client: AtomicU64,
    /// Data connections to this server that the door could not make.
    pub data_failures: AtomicU64,
    /// Checks that it passed.
    pub checks_passed: AtomicU64,
    /// Checks that it failed.
    pub checks_failed: AtomicU64,
    /// Checks that found it full or closed for now.
    pub checks_busy: AtomicU64,
    /// How long the checks counted in these three took.
    pub check_times: Durations,
    /// Microseconds of the last of them.
    pub check_last_micros: AtomicU64,
}

impl Stats {
    /// Counts a GSI handshake that ended in 235 and how long it took, from AUTH to 235.
    pub fn count_gsi_login(&self, handshake: Duration) {
        let micros = micros(handshake);
        self.gsi_logins.fetch_add(1, Relaxed);
        self.handshakes.count(handshake);
        self.handshake_max_micros.fetch_max(micros, Relaxed);
    }

    /// Counts a check that has come to a verdict, and how long it took until then.
    pub(super) fn count_check(&self, outcome: &CheckOutcome, took: Duration) {
        let count = match outcome {
            CheckOutcome::Passed => &self.checks_passed,
            CheckOutcome::Busy(_) => &self.checks_busy,
            CheckOutcome::Failed(_) => &self.checks_failed,
        };
        count.fetch_add(1, Relaxed);
        self.check_times.count(took);
        self.check_last_micros.store(micros(took), Relaxed);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_counts_in_the_sum_and_the_longest_stays() {
        let stats = Stats::default();
        for millis in [80, 300, 20] {
            stats.count_gsi_login(Duration::from_millis(millis));
        }
        assert_eq!(stats.gsi_logins.load(Relaxed), 3);
        assert_eq!(stats.handshakes.total(), Duration::from_millis(400));
        assert_eq!(stats.handshake_max_micros.load(Relaxed), 300_000);
    }
}
