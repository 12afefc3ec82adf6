//! What is wrong with a configuration, where, and how to mend it.
use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One thing to mend. It reads `file:line:column: what; how to mend it`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The file as it was named to us.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub mend: String,
    /// Whether it refuses the file.
    pub severity: Severity,
}

/// What a problem does to the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// Refuses it.
    Error,
    /// Does not, but is likely not what was meant.
    Warning,
}

/// The limit of file descriptors does not let every virtual server be full at once.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the limit of {limit} file descriptors is enough for {sessions} sessions, and the `max_sessions` of all \
     virtual servers together need {needed}; raise the limit (`LimitNOFILE=` in the unit, `ulimit -n` in a \
     shell) or lower `max_sessions`"
)]
pub struct TooFewDescriptors {
    /// What the process may open.
    pub limit: u64,
    /// What it may come to need.
    pub needed: u64,
    /// How many sessions the limit is enough for.
    pub sessions: u64,
}

/// All problems as `check` prints them, one a line.
#[must_use]
pub fn report(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

impl Problem {
    /// Whether it refuses the file.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, what, mend, severity } = self;
        let warning = match severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        write!(f, "{}:{line}:{column}: {warning}{what}; {mend}", file.display())
    }
}

impl std::error::Error for Problem {}

/// What the readers have found so far, in the order of finding.
///
/// They share it (`RefCell`): a section being read lends out its sub-sections, which find things too.
#[derive(Default)]
pub(super) struct Findings(RefCell<Vec<Finding>>);

struct Finding {
    at: usize,
    severity: Severity,
    what: String,
    mend: String,
}

impl Findings {
    /// Something at byte `at` of the text that refuses the file.
    pub(super) fn error(&self, at: usize, what: impl Into<String>, mend: impl Into<String>) {
        self.push(at, Severity::Error, what.into(), mend.into());
    }

    /// Something at byte `at` of the text that should be looked at.
    pub(super) fn warning(&self, at: usize, what: impl Into<String>, mend: impl Into<String>) {
        self.push(at, Severity::Warning, what.into(), mend.into());
    }

    /// How many there are, to see whether something was found meanwhile.
    pub(super) fn count(&self) -> usize {
        self.0.borrow().len()
    }

    fn push(&self, at: usize, severity: Severity, what: String, mend: String) {
        self.0.borrow_mut().push(Finding { at, severity, what, mend });
    }

    /// Everything in file order, with places as people count them.
    pub(super) fn into_problems(self, file: &Path, text: &str) -> Vec<Problem> {
        let mut findings = self.0.into_inner();
        findings.sort_by_key(|finding| finding.at);
        let mut place = Place::default();
        findings
            .into_iter()
            .map(|Finding { at, severity, what, mend }| {
                place.advance(text, at);
                Problem { file: file.into(), line: place.line, column: place.column, what, mend, severity }
            })
            .collect()
    }
}

/// A place that walks through a text once, however many problems it has.
struct Place {
    at: usize,
    line: usize,
    column: usize,
}

impl Default for Place {
    fn default() -> Self {
        Self { at: 0, line: 1, column: 1 }
    }
}

impl Place {
    fn advance(&mut self, text: &str, at: usize) {
        let at = text.floor_char_boundary(at);
        for character in text.get(self.at..at).unwrap_or_default().chars() {
            match character {
                '\n' => {
                    self.line += 1;
                    self.column = 1;
                }
                // A byte order mark is no column in any editor.
                '\u{feff}' => {}
                _ => self.column += 1,
            }
        }
        self.at = at;
    }
}

/// Longest piece of the file that a message repeats, in characters: a line of a terminal.
const MAX_SHOWN: usize = 60;

/// A piece of the file as a message may show it: on one line, without control characters, not endless.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown.replace("\\\"", "\"").replace("\\'", "'")
}

/// A list as a sentence has it: `a`, `a or b`, `a, b or c`.
pub(super) fn alternatives(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Words of the file as a sentence has them: `a`, `a and b`, `a, b and c`.
pub(super) fn enumeration(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => format!("`{only}`"),
        [first @ .., last] => format!("`{}` and `{last}`", first.join("`, `")),
    }
}

/// The word of `known` that was probably meant.
pub(crate) fn did_you_mean<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // Longer than any word of ours with room for a slip: no need to measure.
    const LONGEST: Range<usize> = 2..40;
    // From this many letters on, a beginning is enough: `max_conn`.
    const PREFIX: usize = 4;
    if !LONGEST.contains(&word.len()) {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('-', "_");
    let plain = |candidate: &str| candidate.to_ascii_lowercase().replace('-', "_");
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), *candidate))
        .filter(|(slips, candidate)| {
            *slips <= (word.len() / 3).max(1) || (word.len() >= PREFIX && plain(candidate).starts_with(&word))
        })
        .min()
        .map(|(_, candidate)| candidate)
}
