//! The table on the terminal, and `benches/RESULTS.md`.

use std::fmt::Write as _;
use std::process::Command;

use crate::balancer::Product;
use crate::rounds::{NOISE_LIMIT, Series, median};

/// What is held against the limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Judged {
    /// The door's value divided by haproxy's.
    Ratio,
    /// The door's value.
    Door,
}

/// One line of the table.
pub(crate) struct Row {
    pub(crate) metric: String,
    pub(crate) unit: &'static str,
    pub(crate) haproxy: Option<f64>,
    pub(crate) door: Option<f64>,
    /// Door / haproxy.
    pub(crate) ratio: Option<f64>,
    pub(crate) judged: Judged,
    /// DESIGN §10: at most this.
    pub(crate) must: Option<f64>,
    pub(crate) aim: Option<f64>,
    /// The largest A/A difference; `None` for what is counted and not timed.
    pub(crate) noise: Option<f64>,
}

/// Everything a run has found out.
#[derive(Default)]
pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
    pub(crate) series: Vec<Series>,
    pub(crate) notes: Vec<String>,
    /// What could not be measured, and why.
    pub(crate) missing: Vec<String>,
}

impl Results {
    /// Takes a series whose ratio door / haproxy has limits.
    pub(crate) fn compare(&mut self, series: Series, must: f64, aim: f64) {
        self.take(series, Some(must), Some(aim));
    }

    /// Takes a series that has no limits.
    pub(crate) fn inform(&mut self, series: Series) {
        self.take(series, None, None);
    }

    fn take(&mut self, series: Series, must: Option<f64>, aim: Option<f64>) {
        self.rows.push(Row {
            metric: series.title.clone(),
            unit: series.unit,
            haproxy: series.median(Product::Haproxy.name()),
            door: series.median(Product::Door.name()),
            ratio: series.ratio(Product::Door.name(), Product::Haproxy.name(), None),
            judged: Judged::Ratio,
            must,
            aim,
            noise: series.largest_noise(),
        });
        self.series.push(series);
    }

    /// The table, as Markdown that is also readable on a terminal.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![
            ["metric", "unit", "haproxy", "door", "door / haproxy", "must", "aim", "A/A", "result"]
                .map(str::to_owned),
        ];
        lines.extend(self.rows.iter().map(Row::cells));
        let widths: Vec<usize> = (0..9)
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

    /// The whole file.
    pub(crate) fn document(&self, how: &[String]) -> String {
        let mut text = String::from(
            "# Results of `cargo bench --bench control_channel`\n\n\
             Written whole by that command; do not edit. The limits are those of the project's design: `must` and `aim`\n\
             are upper bounds, of the ratio where both programs are compared and of the door's own value elsewhere.\n\n",
        );
        list(&mut text, how);
        let _ = write!(text, "\n## Table\n\n{}\n", self.table());
        let _ = write!(
            text,
            "The columns of the programs are medians over all rounds and both instances. `door / haproxy` is the median of\n\
             the ratios within each round, in which both met the same disturbances; `A/A` is the same between two instances\n\
             of one program, as a difference, the larger one of the programs'. `not counted` means that it stayed above\n\
             {:.0} % in all rounds there was time for: the machine was too busy. Rounds go on until it is below.\n\n",
            NOISE_LIMIT * 100.0
        );
        list(&mut text, &self.notes);
        text += "\n## Not measured here\n\n";
        list(&mut text, &self.missing);
        text += "\n## Every round\n";
        for series in &self.series {
            describe(&mut text, series);
        }
        text
    }
}

impl Row {
    fn cells(&self) -> [String; 9] {
        [
            self.metric.clone(),
            self.unit.to_owned(),
            number(self.haproxy),
            number(self.door),
            self.ratio.filter(|ratio| ratio.is_finite()).map_or("–".into(), |ratio| format!("{ratio:.3}")),
            self.must.map_or("–".into(), |must| format!("≤ {must}")),
            self.aim.map_or("–".into(), |aim| format!("≤ {}", (aim * 100.0).round() / 100.0)),
            self.noise.map_or("–".into(), |noise| format!("{:.1} %", noise * 100.0)),
            self.verdict().to_owned(),
        ]
    }

    fn verdict(&self) -> &'static str {
        let judged = match self.judged {
            Judged::Ratio => self.ratio,
            Judged::Door => self.door,
        };
        let (Some(judged), Some(must)) = (judged, self.must) else { return "–" };
        // Only a ratio near its limit depends on the last percents; a memory bound is far away or it is not met.
        if self.judged == Judged::Ratio && self.noise.is_some_and(|noise| noise >= NOISE_LIMIT) {
            return "not counted";
        }
        match self.aim {
            Some(aim) if judged <= aim => "met, aim too",
            _ if judged <= must => "met",
            _ => "missed",
        }
    }
}

fn describe(text: &mut String, series: &Series) {
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
    groups.dedup();
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

fn list(text: &mut String, items: &[String]) {
    for item in items {
        let _ = writeln!(text, "- {item}");
    }
}

/// Four significant digits or so: what the method can bear.
fn number(value: Option<f64>) -> String {
    match value {
        None => "–".into(),
        Some(value) if value.abs() >= 1000.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 100.0 => format!("{value:.1}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.2}"),
        Some(value) => format!("{value:.3}"),
    }
}

/// What a program says, first line; empty when it cannot be run.
pub(crate) fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}
