//! Typed reading of a parsed TOML tree that goes on after a mistake.
//!
//! A getter that finds something wrong records it and answers `None`, so that the caller goes on with the
//! default: whatever it then builds is thrown away, because no file with an error is accepted.
use super::error::{Findings, alternatives, did_you_mean, shown};
use super::{address, duration};
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A kind of table: its header as it is written, and every key that it may hold.
pub(super) struct Kind {
    /// Such as `[[virtual_server]]`.
    pub(super) header: &'static str,
    /// In the order in which the documentation has them.
    pub(super) keys: &'static [&'static str],
}

impl Kind {
    fn first_word(&self) -> &'static str {
        let path = self.header.trim_matches(['[', ']']);
        path.split_once('.').map_or(path, |(first, _)| first)
    }

    fn last_word(&self) -> &'static str {
        let path = self.header.trim_matches(['[', ']']);
        path.rsplit_once('.').map_or(path, |(_, last)| last)
    }
}

/// A table being read.
pub(super) struct Section<'t> {
    kind: &'static Kind,
    table: &'t DeTable<'t>,
    findings: &'t Findings,
    /// Where its header is, in bytes.
    pub(super) at: usize,
}

/// A value being read, with its key.
#[derive(Clone, Copy)]
pub(super) struct Field<'t> {
    key: &'t str,
    value: &'t DeValue<'t>,
    findings: &'t Findings,
    /// Where the value is, in bytes.
    pub(super) at: usize,
}

/// A word as long as a host name, which real and virtual servers are often called by.
const MAX_NAME_LEN: usize = 253;

/// Below are the ports of services, which a data connection must never reach.
const LOWEST_DATA_PORT: u16 = 1024;

impl<'t> Section<'t> {
    /// Starts to read a table, and names its unknown keys. `kinds` are all there are: a key in the wrong
    /// table is told its right one.
    pub(super) fn new(
        kind: &'static Kind,
        kinds: &[&Kind],
        at: usize,
        table: &'t DeTable<'t>,
        findings: &'t Findings,
    ) -> Self {
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if !kind.keys.contains(&name) {
                let (what, mend) = unknown(name, kind, kinds);
                findings.error(key.span().start, what, mend);
            }
        }
        Self { kind, table, findings, at }
    }

    /// The value of a key, if it is there.
    pub(super) fn field(&self, key: &'static str) -> Option<Field<'t>> {
        debug_assert!(self.kind.keys.contains(&key), "{key} is not declared in {}", self.kind.header);
        let (key, value) = self.table.get_key_value(key)?;
        Some(Field {
            key: key.get_ref().as_ref(),
            value: value.get_ref(),
            findings: self.findings,
            at: value.span().start,
        })
    }

    /// Where a key is, in bytes.
    pub(super) fn place_of(&self, key: &str) -> Option<usize> {
        self.table.get_key_value(key).map(|(key, _)| key.span().start)
    }

    /// The value of a key that must be there.
    pub(super) fn required(&self, key: &'static str, mend: &str) -> Option<Field<'t>> {
        let field = self.field(key);
        if field.is_none() {
            self.findings.error(self.at, format!("`{}` has no `{key}`", self.kind.header), mend);
        }
        field
    }
}

fn unknown(name: &str, kind: &Kind, kinds: &[&Kind]) -> (String, String) {
    let what = format!("unknown key `{}`", shown(name));
    let here = if kind.header.is_empty() { "at the top".into() } else { format!("in `{}`", kind.header) };
    if let Some(table) = kinds.iter().find(|other| other.last_word() == name) {
        return (format!("{what} {here}"), format!("write its header as `{}`", table.header));
    }
    // A key of the same service first: tables for other things use the word, too.
    let homes = |related: bool| -> Vec<String> {
        kinds
            .iter()
            .filter(|other| {
                other.keys.contains(&name) && (!related || other.first_word() == kind.first_word())
            })
            .map(|other| format!("`{}`", other.header))
            .collect()
    };
    let homes = Some(homes(true)).filter(|homes| !homes.is_empty()).unwrap_or_else(|| homes(false));
    if !homes.is_empty() {
        return (
            format!("{what} {here}"),
            format!("it belongs to {}: move it below that header", alternatives(&homes)),
        );
    }
    let mend = match did_you_mean(name, kind.keys) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("remove it, or use one of: {}", kind.keys.join(", ")),
    };
    (what, mend)
}

impl<'t> Field<'t> {
    /// The key it stands for, or whose list it is in.
    pub(super) fn key(&self) -> &'t str {
        self.key
    }

    /// Whether it is a table.
    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// Whether it is a whole number.
    pub(super) fn is_number(&self) -> bool {
        matches!(self.value, DeValue::Integer(_))
    }

    /// Something wrong with the value.
    pub(super) fn error(&self, what: impl Into<String>, mend: impl Into<String>) {
        self.findings.error(self.at, what, mend);
    }

    /// Something wrong at another place that belongs to the value.
    pub(super) fn error_at(&self, at: usize, what: impl Into<String>, mend: impl Into<String>) {
        self.findings.error(at, what, mend);
    }

    fn wrong_type(&self, takes: &str, mend: impl Into<String>) {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.error(format!("`{}` takes {takes}, not {found}", self.key), mend);
    }

    /// A string.
    pub(super) fn text(&self) -> Option<&'t str> {
        if let DeValue::String(text) = self.value {
            return Some(text.as_ref());
        }
        let mend = match self.value {
            DeValue::Integer(number) => format!("write `{} = \"{}\"`", self.key, shown(&number.to_string())),
            _ => "write text in double quotes".into(),
        };
        self.wrong_type("a string", mend);
        None
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        if let DeValue::Boolean(boolean) = self.value {
            return Some(*boolean);
        }
        self.wrong_type("true or false", "write `true` or `false`, without quotes");
        None
    }

    /// A whole number in a range.
    pub(super) fn number<N>(&self, range: &RangeInclusive<N>) -> Option<N>
    where
        N: TryFrom<i128> + Copy + PartialOrd + Display,
    {
        let mend = format!("write a number from {} to {}", range.start(), range.end());
        let DeValue::Integer(number) = self.value else {
            self.wrong_type("a number", format!("{mend}, without quotes"));
            return None;
        };
        let value = i128::from_str_radix(number.as_str(), number.radix()).ok();
        let value = value.and_then(|value| N::try_from(value).ok()).filter(|value| range.contains(value));
        if value.is_none() {
            self.error(format!("`{}` is {}", self.key, shown(&number.to_string())), mend);
        }
        value
    }

    /// A duration with its unit, from `shortest` to [`duration::LONGEST`].
    pub(super) fn duration(&self, shortest: Duration) -> Option<Duration> {
        if let DeValue::Integer(number) = self.value {
            let number = shown(&number.to_string());
            let mend = format!("write for example `{} = \"{number}s\"` (units: ms, s, m, h)", self.key);
            self.error(format!("`{}` is {number}, without a unit", self.key), mend);
            return None;
        }
        let text = self.text()?;
        match duration::parse(text) {
            Ok(duration) if duration < shortest => {
                let mend = format!("write at least \"{}\"", duration::shown(shortest));
                self.error(format!("`{}` is \"{text}\", which is too short", self.key), mend);
                None
            }
            Ok(duration) => Some(duration),
            Err((what, mend)) => {
                self.error(format!("`{} = \"{}\"` {what}", self.key, shown(text)), mend);
                None
            }
        }
    }

    /// One of the words of `now`; those of `later` are understood and refused.
    pub(super) fn word<W: FromStr>(&self, now: &[&'static str], later: &[&'static str]) -> Option<W> {
        let word = self.text()?;
        if now.contains(&word) {
            return word.parse().ok();
        }
        let quoted: Vec<String> = now.iter().map(|word| format!("\"{word}\"")).collect();
        let what = format!("`{} = \"{}\"`", self.key, shown(word));
        if later.contains(&word) {
            self.error(format!("{what} is not in this version"), format!("write {}", alternatives(&quoted)));
        } else if let Some(meant) = did_you_mean(word, now) {
            self.error(format!("{what} is unknown"), format!("did you mean \"{meant}\"?"));
        } else {
            self.error(format!("{what} is unknown"), format!("write {}", alternatives(&quoted)));
        }
        None
    }

    /// A name that needs no quotes anywhere it is shown or typed: in logs, metrics, a shell.
    pub(super) fn name(&self) -> Option<String> {
        let name = self.text()?;
        if name.is_empty() || name.len() > MAX_NAME_LEN {
            let what = if name.is_empty() { "is empty" } else { "is too long" };
            self.error(format!("`{}` {what}", self.key), format!("write 1 to {MAX_NAME_LEN} characters"));
            return None;
        }
        let odd = name.chars().find(|c| !c.is_ascii_alphanumeric() && !"._:-".contains(*c));
        if let Some(odd) = odd {
            self.error(
                format!("`{} = \"{}\"` contains `{}`", self.key, shown(name), shown(&odd.to_string())),
                "use letters, digits and . _ : -",
            );
            return None;
        }
        Some(name.to_owned())
    }

    /// An address of a host.
    pub(super) fn host_address(&self) -> Option<IpAddr> {
        self.parsed(address::parse_host)
    }

    /// A string of which `parse` makes a value, or says what is wrong.
    pub(super) fn parsed<T>(&self, parse: fn(&str) -> Result<T, address::Refusal>) -> Option<T> {
        parse(self.text()?).map_err(|(what, mend)| self.error(what, mend)).ok()
    }

    /// Ports as `"52000-53000"`, none below 1024.
    pub(super) fn data_ports(&self) -> Option<RangeInclusive<u16>> {
        let text = match self.value {
            DeValue::Integer(port) => {
                let port = shown(&port.to_string());
                let mend = format!("write `{} = \"{port}-{port}\"` for one port alone", self.key);
                self.wrong_type("a range of ports", mend);
                return None;
            }
            _ => self.text()?,
        };
        let ends = text.split_once('-').and_then(|(low, high)| {
            Some((low.trim().parse::<u16>().ok()?, high.trim().parse::<u16>().ok()?))
        });
        let what = format!("`{} = \"{}\"`", self.key, shown(text));
        let Some((low, high)) = ends else {
            self.error(
                format!("{what} is not a range of ports"),
                "write the lowest and the highest, such as \"52000-53000\" (at most 65535)",
            );
            return None;
        };
        if low > high {
            self.error(format!("{what} ends before it begins"), format!("write \"{high}-{low}\""));
            return None;
        }
        if low < LOWEST_DATA_PORT {
            let mend = format!("begin at {LOWEST_DATA_PORT} or above");
            self.error(
                format!("{what} has ports below {LOWEST_DATA_PORT}, which are those of services"),
                mend,
            );
            return None;
        }
        Some(low..=high)
    }

    /// The values of a list; a value that stands alone is refused and read as a list of one.
    pub(super) fn list(&self) -> Vec<Field<'t>> {
        let DeValue::Array(items) = self.value else {
            let mend = match self.value {
                DeValue::String(text) => format!("write `{} = [\"{}\"]`", self.key, shown(text)),
                _ => format!("write `{} = [\"…\"]`", self.key),
            };
            self.wrong_type("a list", mend);
            return if matches!(self.value, DeValue::String(_)) { vec![*self] } else { Vec::new() };
        };
        items.iter().map(|item| self.item(item)).collect()
    }

    /// The values of a list, or the one value that stands alone.
    pub(super) fn one_or_more(&self, takes: &str) -> Vec<Field<'t>> {
        match self.value {
            DeValue::Array(items) => items.iter().map(|item| self.item(item)).collect(),
            DeValue::String(_) => vec![*self],
            _ => {
                self.wrong_type(takes, format!("write `{} = \"…\"`", self.key));
                Vec::new()
            }
        }
    }

    /// Whether the value is a list without values.
    pub(super) fn list_is_empty(&self) -> bool {
        matches!(self.value, DeValue::Array(items) if items.is_empty())
    }

    fn item(&self, item: &'t Spanned<DeValue<'t>>) -> Field<'t> {
        Field { value: item.get_ref(), at: item.span().start, ..*self }
    }

    /// The keys and values of a table whose keys are data, in file order, each with the place of its key.
    pub(super) fn pairs(&self) -> Vec<(&'t str, usize, Field<'t>)> {
        let DeValue::Table(table) = self.value else {
            self.wrong_type(
                "a table",
                format!("write `{} = {{ \"10.1.1.5\" = \"198.51.100.5\" }}`", self.key),
            );
            return Vec::new();
        };
        let mut pairs: Vec<_> = table
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), key.span().start, self.item(value)))
            .collect();
        pairs.sort_by_key(|(_, at, _)| *at);
        pairs
    }

    /// A table that may be there once.
    pub(super) fn section(&self, kind: &'static Kind, kinds: &[&Kind]) -> Option<Section<'t>> {
        match self.value {
            DeValue::Table(table) => Some(Section::new(kind, kinds, self.at, table, self.findings)),
            DeValue::Array(tables) if tables.iter().all(|table| table.get_ref().is_table()) => {
                let at = tables.get(1).map_or(self.at, |second| second.span().start);
                let mend = format!("write `{}` once, with one pair of brackets", kind.header);
                self.findings.error(at, format!("`{}` is not a list", self.key), mend);
                None
            }
            _ => {
                self.wrong_type("a table", format!("write a line `{}` and its keys below", kind.header));
                None
            }
        }
    }

    /// A table that may be there many times; one that is written as a single one is refused and read.
    pub(super) fn sections(&self, kind: &'static Kind, kinds: &[&Kind]) -> Vec<Section<'t>> {
        let mend = || format!("write a line `{}` and its keys below", kind.header);
        match self.value {
            DeValue::Array(tables) => tables
                .iter()
                .map(|item| self.item(item))
                .filter_map(|item| match item.value {
                    DeValue::Table(table) => Some(Section::new(kind, kinds, item.at, table, self.findings)),
                    _ => {
                        item.wrong_type("a list of tables", mend());
                        None
                    }
                })
                .collect(),
            DeValue::Table(table) => {
                let mend = format!("write `{}`, with two pairs of brackets", kind.header);
                self.error(format!("`{}` may be there many times", self.key), mend);
                vec![Section::new(kind, kinds, self.at, table, self.findings)]
            }
            _ => {
                self.wrong_type("a list of tables", mend());
                Vec::new()
            }
        }
    }
}
