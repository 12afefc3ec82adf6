//! The table on the terminal, and this bench's part of `benches/RESULTS.md`.

use std::fmt::Write as _;

use crate::proxies::Product;
use crate::support::report::{self, describe, limit, list, number, percent, ratio};
use crate::support::rounds::{NOISE_LIMIT, Series};

/// One line of the table.
#[derive(Default)]
pub(crate) struct Row {
    pub(crate) metric: String,
    pub(crate) unit: &'static str,
    pub(crate) none: Option<f64>,
    pub(crate) haproxy: Option<f64>,
    pub(crate) tuned_haproxy: Option<f64>,
    pub(crate) mod_proxy: Option<f64>,
    pub(crate) door: Option<f64>,
    /// Door / haproxy.
    pub(crate) ratio: Option<f64>,
    pub(crate) over_tuned: Option<f64>,
    pub(crate) over_mod_proxy: Option<f64>,
    /// DESIGN §10, of the ratio; of the door's value where there is none.
    pub(crate) must: Option<f64>,
    pub(crate) aim: Option<f64>,
    /// The larger A/A difference of haproxy and the door; `None` for what is counted and not timed.
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

impl Row {
    pub(crate) fn new(metric: String, unit: &'static str) -> Self {
        Self { metric, unit, ..Self::default() }
    }

    /// The medians of a series.
    pub(crate) fn of(series: &Series) -> Self {
        Self {
            haproxy: series.median(Product::Haproxy.name()),
            tuned_haproxy: series.median(Product::TunedHaproxy.name()),
            mod_proxy: series.median(Product::ModProxy.name()),
            door: series.median(Product::Door.name()),
            ..Self::new(series.title.clone(), series.unit)
        }
    }

    fn cells(&self) -> [String; 14] {
        [
            self.metric.clone(),
            self.unit.to_owned(),
            number(self.none),
            number(self.haproxy),
            number(self.tuned_haproxy),
            number(self.mod_proxy),
            number(self.door),
            ratio(self.ratio),
            ratio(self.over_tuned),
            ratio(self.over_mod_proxy),
            limit(self.must),
            limit(self.aim),
            percent(self.noise),
            self.verdict().to_owned(),
        ]
    }

    fn verdict(&self) -> &'static str {
        let (Some(judged), Some(must)) = (self.ratio.or(self.door), self.must) else { return "–" };
        let noise = self.noise.filter(|noise| *noise >= NOISE_LIMIT).unwrap_or(0.0);
        let (best, worst) = (judged * (1.0 - noise), judged * (1.0 + noise));
        match self.aim {
            Some(aim) if worst <= aim => "met, aim too",
            _ if worst <= must => "met",
            _ if best > must => "missed",
            _ => "not counted",
        }
    }
}

impl Results {
    /// The table, as Markdown that is also readable on a terminal.
    pub(crate) fn table(&self) -> String {
        let heading = [
            "metric",
            "unit",
            "no proxy",
            "haproxy",
            "tuned haproxy",
            "mod_proxy",
            "door",
            "door / haproxy",
            "door / tuned",
            "door / mod_proxy",
            "must",
            "aim",
            "A/A",
            "result",
        ];
        let mut lines = vec![heading.map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        report::table(&lines)
    }

    /// The bench's part of the file.
    pub(crate) fn document(&self, how: &[String]) -> String {
        let mut text = report::begin("relay")
            + "Written whole by that command; do not edit. The limits are those of the project's design: `must` and `aim`\n\
               are upper bounds of door / haproxy, and of the door's own value where there is no ratio.\n\n";
        list(&mut text, how);
        let _ = write!(text, "\n## Table: relayed data\n\n{}\n", self.table());
        let _ = write!(
            text,
            "The columns of the programs are medians over all rounds and both instances. The ratios are medians of those\n\
             within each round, in which all met the same disturbances; `A/A` is the same between two instances of one\n\
             program, as a difference, the larger one of haproxy and the door. Rounds go on until it is below {:.0} %, or their\n\
             time is over; above it a ratio counts as worse by as much, and as `not counted` where it could be either.\n\n",
            NOISE_LIMIT * 100.0
        );
        list(&mut text, &self.notes);
        if !self.missing.is_empty() {
            text += "\n## Relayed data: not measured here\n\n";
            list(&mut text, &self.missing);
        }
        text += "\n## Relayed data: every round\n";
        for series in &self.series {
            describe(&mut text, series);
        }
        text
    }
}
