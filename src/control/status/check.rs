//! A check of a real server.
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::balance::{CheckResult, LastCheck};

/// A check of a real server.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CheckStatus {
    /// `passed`, `busy`, `failed`, or `not run` where the door itself was in trouble.
    pub result: String,
    /// What was seen, or why it did not pass.
    pub found: String,
    /// From its start to the verdict.
    pub ms: f64,
    /// Seconds since then.
    pub ago_s: u64,
}

impl CheckStatus {
    pub(super) fn of(last: LastCheck, now: Instant) -> Self {
        let result = match last.result {
            CheckResult::Passed => "passed",
            CheckResult::Busy => "busy",
            CheckResult::Failed => "failed",
            CheckResult::NotRun => "not run",
        };
        Self {
            result: result.into(),
            found: last.found,
            ms: last.took.as_secs_f64() * 1000.0,
            ago_s: now.saturating_duration_since(last.at).as_secs(),
        }
    }
}
