//! What has come of a reload, for who asked for it.
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a reload has changed, or would.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Reloaded {
    /// The file.
    pub file: String,
    /// In the order of the file, a line each; empty when nothing is different.
    pub changes: Vec<String>,
    /// What is likely not what was meant, a line each.
    pub warnings: Vec<String>,
    /// Nothing was put in force, because that was not asked for.
    pub dry_run: bool,
}

/// Why nothing has changed: every problem, a line each.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct NotReloaded {
    /// As `check` would say them.
    pub problems: Vec<String>,
}

/// For people.
impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "{warning}")?;
        }
        let outcome = match (self.dry_run, self.changes.is_empty()) {
            (false, true) => "reloaded; nothing is different",
            (false, false) => "reloaded",
            (true, true) => "fine; nothing would change",
            (true, false) => "fine; this would change",
        };
        writeln!(f, "{}: {outcome}", self.file)?;
        self.changes.iter().try_for_each(|change| writeln!(f, "  {change}"))
    }
}

impl NotReloaded {
    pub(super) fn of(lines: &str) -> Self {
        Self { problems: lines.lines().map(str::to_owned).collect() }
    }

    pub(super) fn because(problem: String) -> Self {
        Self { problems: vec![problem] }
    }
}
