//! What a check found, and what is kept of it for whoever asks.

use std::time::{Duration, Instant};

use super::health::{CheckOutcome, bounded};
use super::observation::{Capabilities, Observation, ServerCertificate};

/// Stands for a server whose checks say nothing about its weight; no weight is that large.
pub(super) const NO_SCRIPT_WEIGHT: u32 = u32::MAX;

/// What one check found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckReport {
    /// What it means for the server's health.
    pub outcome: CheckOutcome,
    /// What was seen of a server that passed, such as `220 s1 ready.`; the others say it in their outcome.
    pub found: String,
    /// What it means for the server's weight.
    pub weight: ScriptWeight,
    /// The certificate for GSI.
    pub certificate: Observation<ServerCertificate>,
    /// What it says that it can do before a login.
    pub capabilities: Observation<Capabilities>,
    /// From the connection or the script's start to the verdict.
    pub took: Duration,
}

/// What a check says of a server's share (keepalived.conf(5) `misc_dynamic`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ScriptWeight {
    /// This kind of check has no say in it: the configured weight counts.
    #[default]
    NotAsked,
    /// A script's code that leaves the weight as an earlier one has set it.
    AsBefore,
    /// This one, until another is said; 0 gives it no new sessions.
    Now(u16),
}

/// Whether a check passed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CheckResult {
    /// It did.
    Passed,
    /// The server is full or closed for now.
    Busy,
    /// It did not.
    Failed,
    /// The door could not ask.
    NotRun,
}

/// The last check of a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LastCheck {
    /// Whether it passed.
    pub result: CheckResult,
    /// What was seen, or why not; at most 256 bytes.
    pub found: String,
    /// From the connection or the script's start to the verdict.
    pub took: Duration,
    /// When that was.
    pub at: Instant,
}

impl From<CheckOutcome> for CheckReport {
    /// With nothing to say besides.
    fn from(outcome: CheckOutcome) -> Self {
        Self {
            outcome,
            found: String::new(),
            weight: ScriptWeight::NotAsked,
            certificate: Observation::NotLookedAt,
            capabilities: Observation::NotLookedAt,
            took: Duration::ZERO,
        }
    }
}

impl LastCheck {
    pub(super) fn of(at: Instant, report: &CheckReport) -> Self {
        let (result, found) = match &report.outcome {
            CheckOutcome::Passed => (CheckResult::Passed, &report.found),
            CheckOutcome::Busy(words) => (CheckResult::Busy, words),
            CheckOutcome::Failed(reason) => (CheckResult::Failed, reason),
        };
        Self { result, found: bounded(found.clone()), took: report.took, at }
    }

    pub(super) fn not_run(at: Instant, reason: String) -> Self {
        Self { result: CheckResult::NotRun, found: bounded(reason), took: Duration::ZERO, at }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RealServer, RealServerSpec};
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[allow(clippy::disallowed_methods, reason = "some moment")]
    fn moment() -> Instant {
        Instant::now()
    }

    fn server(weight: u32) -> RealServer {
        RealServer::new(RealServerSpec {
            name: "s1".into(),
            address: "192.0.2.11:2811".parse().unwrap(),
            weight,
            max_connections: None,
            fall: 1,
            rise: 1,
        })
    }

    #[test]
    fn the_weight_that_counts_is_the_scripts_unless_an_operator_gives_none() {
        use ScriptWeight::{AsBefore, NotAsked, Now};
        // The weight as configured; what checks say one after the other; what counts.
        #[rustfmt::skip]
        let table: &[(u32, &[ScriptWeight], u32)] = &[
            (100, &[],                          100),
            (100, &[AsBefore],                  100),
            (100, &[Now(10)],                   10),
            (100, &[Now(10), AsBefore],         10),
            (100, &[Now(10), Now(253)],         253),
            (100, &[Now(0)],                    0),
            (100, &[Now(10), NotAsked],         100),
            (0,   &[Now(10)],                   0),
        ];
        let now = moment();
        for &(weight, said, expected) in table {
            let server = server(weight);
            for &weight in said {
                let report = CheckReport { weight, ..CheckOutcome::Passed.into() };
                let _ = server.handle_report(now, report);
            }
            assert_eq!(server.effective_weight(), expected, "{weight} {said:?}");
            assert_eq!(server.weight(), weight, "what is configured stays");
            assert_eq!(server.load().is_ok(), expected > 0, "{weight} {said:?}");
        }
    }

    #[test]
    fn the_last_check_is_kept_and_all_are_counted() {
        let server = server(1);
        let now = moment();
        assert_eq!(server.last_check(), None);
        let outcomes = [
            (CheckOutcome::Passed, CheckResult::Passed, "220 ready"),
            (CheckOutcome::Busy("421 full".into()), CheckResult::Busy, "421 full"),
            (CheckOutcome::Failed("x".repeat(300)), CheckResult::Failed, &"x".repeat(256)),
        ];
        for (number, (outcome, result, found)) in (1..).zip(outcomes) {
            let took = Duration::from_millis(number);
            let _ =
                server.handle_report(now, CheckReport { found: "220 ready".into(), took, ..outcome.into() });
            let expected = LastCheck { result, found: found.into(), took, at: now };
            assert_eq!(server.last_check(), Some(expected));
        }
        let stats = &server.stats;
        let counts = [&stats.checks_passed, &stats.checks_busy, &stats.checks_failed];
        assert_eq!(counts.map(|count| count.load(Relaxed)), [1, 1, 1]);
        assert_eq!(
            (stats.check_times.total().as_micros(), stats.check_last_micros.load(Relaxed)),
            (6000, 3000)
        );

        let health = server.health();
        server.handle_unchecked(now, "no place for it".into());
        assert_eq!(server.last_check().map(|last| last.result), Some(CheckResult::NotRun));
        assert_eq!(server.health(), health, "the server is as it was");
        assert_eq!(stats.checks_failed.load(Relaxed), 1);
    }
}
