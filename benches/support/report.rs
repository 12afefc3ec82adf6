//! Numbers and series as Markdown, and each bench's own part of `benches/RESULTS.md`.

use std::fmt::Write as _;
use std::path::Path;

use super::child::first_line;
use super::rounds::{NOISE_LIMIT, Series, median};
use super::{Outcome, interrupt};

/// What the first line of every part begins with; the name of the bench and a backtick follow.
const HEADING: &str = "# Results of `cargo bench --bench ";

/// The part of the bench `name`, to be continued.
pub(crate) fn begin(name: &str) -> String {
    format!("{HEADING}{name}`\n\n")
}

/// Puts a part in the place of the one of the same bench, or at the end. The other parts stay as they are.
fn write_part(file: &Path, part: &str) -> Outcome<()> {
    interrupt::check()?;
    let heading = part.lines().next().unwrap_or_default();
    let whole = std::fs::read_to_string(file).unwrap_or_default();
    let mut parts: Vec<String> = Vec::new();
    for line in whole.lines() {
        if line.starts_with(HEADING) || parts.is_empty() {
            parts.push(String::new());
        }
        if let Some(last) = parts.last_mut() {
            *last += line;
            last.push('\n');
        }
    }
    match parts.iter_mut().find(|old| old.lines().next() == Some(heading)) {
        Some(old) => part.clone_into(old),
        None => parts.push(part.to_owned()),
    }
    let trimmed: Vec<&str> = parts.iter().map(|part| part.trim_end()).collect();
    Ok(std::fs::write(file, trimmed.join("\n\n") + "\n")?)
}

/// Writes a part to `output`, or to the file of all results unless the run was a quick one.
pub(crate) fn publish(output: Option<&Path>, quick: bool, part: &str) -> Outcome<()> {
    let standard = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/RESULTS.md"));
    match output.or(if quick { None } else { Some(standard) }) {
        Some(file) => write_part(file, part),
        None => Ok(()),
    }
}

/// Where and when these numbers came about.
pub(crate) fn machine() -> Vec<String> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|words| words.1);
    let dirty =
        if first_line("git", &["status", "--porcelain", "-uno"]).is_empty() { "" } else { ", with changes" };
    vec![
        format!("commit {}{dirty}", first_line("git", &["rev-parse", "HEAD"])),
        first_line("date", &["-u", "+%F %H:%M UTC"]),
        format!("Linux {}, {}", first_line("uname", &["-rm"]), model.unwrap_or("unknown CPU")),
    ]
}

pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// A heading and rows of cells, as Markdown that is also readable on a terminal.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let lines: Vec<[String; N]> = std::iter::once(heading.map(str::to_owned)).chain(rows).collect();
    let widths: Vec<usize> = (0..N)
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text += "|\n";
        if index == 0 {
            for width in &widths {
                let _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text += "|\n";
        }
    }
    text
}

/// What ends a part: what could not be measured, and every round of every series. `subject` tells parts apart.
pub(crate) fn conclude(text: &mut String, subject: &str, missing: &[String], series: &[Series]) {
    if !missing.is_empty() {
        let _ = write!(text, "\n## {subject}: not measured here\n\n");
        list(text, missing);
    }
    let _ = write!(text, "\n## {subject}: every round\n");
    for series in series {
        describe(text, series);
    }
}

/// Every round of a series.
pub(crate) fn describe(text: &mut String, series: &Series) {
    let _ = write!(text, "\n### {}\n\nIn {}.\n\n| round |", series.title, series.unit);
    for samples in &series.samples {
        let _ = write!(text, " {} |", samples.instance);
    }
    let _ = write!(text, "\n|---|{}", "---|".repeat(series.samples.len()));
    for round in 0..series.rounds() {
        let _ = write!(text, "\n| {} |", round + 1);
        for samples in &series.samples {
            let _ = write!(text, " {} |", number(samples.values.get(round).copied()));
        }
    }
    text.push_str("\n| **median** |");
    for samples in &series.samples {
        let _ = write!(text, " **{}** |", number(median(samples.values.clone())));
    }
    text.push('\n');
    let mut groups: Vec<&str> = series.samples.iter().map(|samples| samples.group).collect();
    groups.sort_unstable();
    groups.dedup();
    let noise: Vec<String> = groups
        .iter()
        .filter_map(|group| Some(format!("{group} {:.2} %", series.noise(group)? * 100.0)))
        .collect();
    if !noise.is_empty() {
        let _ = write!(text, "\nA/A: {}.\n", noise.join(", "));
    }
}

pub(crate) fn list(text: &mut String, items: &[String]) {
    for item in items {
        let _ = writeln!(text, "- {item}");
    }
}

/// What comes of a value and its limits. Noise above what the method wants widens the value both ways.
pub(crate) fn verdict(
    judged: Option<f64>,
    must: Option<f64>,
    aim: Option<f64>,
    noise: Option<f64>,
) -> &'static str {
    let (Some(judged), Some(must)) = (judged, must) else { return "–" };
    let noise = noise.filter(|noise| *noise >= NOISE_LIMIT).unwrap_or(0.0);
    let (best, worst) = (judged * (1.0 - noise), judged * (1.0 + noise));
    match aim {
        Some(aim) if worst <= aim => "met, aim too",
        _ if worst <= must => "met",
        _ if best > must => "missed",
        _ => "not counted",
    }
}

/// How ratios and A/A come about and when a series ends, for the reader.
pub(crate) fn method() -> String {
    format!(
        "The columns of the programs are medians over all rounds and both instances. The ratios are medians of those\n\
         within each round, in which all met the same disturbances; `A/A` is the same between two instances of one\n\
         program, as a difference, the larger one of haproxy and the door. Rounds go on until it is below {:.0} %, or their\n\
         time is over; above it a ratio counts as worse by as much, and as `not counted` where it could be either.\n\n",
        NOISE_LIMIT * 100.0
    )
}

/// A cell with a ratio.
pub(crate) fn ratio(value: Option<f64>) -> String {
    value.filter(|ratio| ratio.is_finite()).map_or("–".into(), |ratio| format!("{ratio:.3}"))
}

/// A cell with an upper bound.
pub(crate) fn limit(value: Option<f64>) -> String {
    value.map_or("–".into(), |limit| format!("≤ {}", (limit * 100.0).round() / 100.0))
}

/// A cell with a difference.
pub(crate) fn percent(value: Option<f64>) -> String {
    value.map_or("–".into(), |share| format!("{:.1} %", share * 100.0))
}

/// Four significant digits or so: what the method can bear.
pub(crate) fn number(value: Option<f64>) -> String {
    match value {
        None => "–".into(),
        Some(value) if value.abs() >= 1000.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 100.0 => format!("{value:.1}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.2}"),
        Some(value) => format!("{value:.3}"),
    }
}
