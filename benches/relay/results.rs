//! The table on the terminal, and this bench's part of `benches/RESULTS.md`.

use std::fmt::Write as _;

use crate::proxies::Product;
use crate::support::report::{self, limit, list, number, percent, ratio};
use crate::support::rounds::Series;

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
            report::verdict(self.ratio.or(self.door), self.must, self.aim, self.noise).to_owned(),
        ]
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
        report::table(heading, self.rows.iter().map(Row::cells))
    }

    /// The bench's part of the file.
    pub(crate) fn document(&self, how: &[String]) -> String {
        let mut text = report::begin("relay")
            + "Written whole by that command; do not edit. The limits are those of the project's design: `must` and `aim`\n\
               are upper bounds of door / haproxy, and of the door's own value where there is no ratio.\n\n";
        list(&mut text, how);
        let _ = write!(text, "\n## Table: relayed data\n\n{}\n", self.table());
        text += &report::method();
        list(&mut text, &self.notes);
        report::conclude(&mut text, "Relayed data", &self.missing, &self.series);
        text
    }
}
