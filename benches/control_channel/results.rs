//! The table on the terminal, and this bench's part of `benches/RESULTS.md`.

use std::fmt::Write as _;

use crate::support::balancer::Product;
use crate::support::report::{self, describe, limit, list, number, percent, ratio};
use crate::support::rounds::{NOISE_LIMIT, Series};

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
        let heading = ["metric", "unit", "haproxy", "door", "door / haproxy", "must", "aim", "A/A", "result"];
        report::table(heading, self.rows.iter().map(Row::cells))
    }

    /// The bench's part of the file.
    pub(crate) fn document(&self, how: &[String]) -> String {
        let mut text = report::begin("control_channel")
            + "Written whole by that command; do not edit. The limits are those of the project's design: `must` and `aim`\n\
             are upper bounds, of the ratio where both programs are compared and of the door's own value elsewhere.\n\n";
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
            ratio(self.ratio),
            limit(self.must),
            limit(self.aim),
            percent(self.noise),
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
