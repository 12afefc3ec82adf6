//! The tables on the terminal, and this bench's part of `benches/RESULTS.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::NO_DOOR;
use crate::faults::{AFTER, Cost, FAULT, INTERVAL, NOTICEABLE, TWO_TURNS};
use crate::support::balancer::Product;
use crate::support::report::{self, limit, list, number, percent, ratio};
use crate::support::rounds::Series;
use crate::visit::{HELD_FOR, PATIENCE};

/// One line of the table of the control channel.
pub(crate) struct Row {
    metric: String,
    unit: &'static str,
    /// By product.
    values: BTreeMap<&'static str, f64>,
    /// The door's divided by theirs, by product.
    ratios: BTreeMap<&'static str, f64>,
    /// DESIGN §10, of door / mod_proxy: must and aim.
    limits: Option<(f64, f64)>,
    /// The larger A/A difference of haproxy and the door; `None` for what is counted and not timed.
    noise: Option<f64>,
}

impl Row {
    pub(crate) fn new(metric: String, unit: &'static str) -> Self {
        Self { metric, unit, values: BTreeMap::new(), ratios: BTreeMap::new(), limits: None, noise: None }
    }

    /// The medians of a series; with `less` beyond that group's.
    pub(crate) fn of(series: &Series, less: Option<&'static str>) -> Self {
        let added = if less.is_some() { " added to no door, p50" } else { "" };
        let mut row = Self::new(format!("{}{added}", series.title), series.unit);
        row.set(NO_DOOR, series.median(NO_DOOR));
        for product in Product::ALL.map(Product::name) {
            let base = less.and_then(|less| series.median(less)).unwrap_or(0.0);
            row.set(product, series.median(product).map(|value| value - base));
            let door = Product::Door.name();
            if product != door {
                row.ratios.extend(series.ratio(door, product, less).map(|ratio| (product, ratio)));
            }
        }
        row.noise = [Product::Haproxy, Product::Door]
            .iter()
            .filter_map(|product| series.noise(product.name()))
            .reduce(f64::max);
        row
    }

    pub(crate) fn set(&mut self, product: &'static str, value: Option<f64>) {
        self.values.extend(value.map(|value| (product, value)));
    }

    fn cells(&self) -> [String; 14] {
        let value = |product: &str| number(self.values.get(product).copied());
        let door = self.values.get(Product::Door.name());
        let over = |product: Product| {
            let whole = || Some(door? / self.values.get(product.name())?);
            self.ratios.get(product.name()).copied().or_else(whole)
        };
        let over_mod_proxy = over(Product::ModProxy);
        let (must, aim) = self.limits.unzip();
        [
            self.metric.clone(),
            self.unit.to_owned(),
            value(NO_DOOR),
            value(Product::Haproxy.name()),
            value(Product::NginxStream.name()),
            value(Product::ModProxy.name()),
            value(Product::Door.name()),
            ratio(over(Product::Haproxy)),
            ratio(over(Product::NginxStream)),
            ratio(over_mod_proxy),
            fraction(must),
            fraction(aim),
            percent(self.noise),
            report::verdict(over_mod_proxy, must, aim, self.noise).to_owned(),
        ]
    }
}

/// A limit below one, as the design writes it.
fn fraction(value: Option<f64>) -> String {
    value.map_or_else(|| limit(None), |value| format!("≤ 1/{:.0}", value.recip()))
}

/// Everything a run has found out.
#[derive(Default)]
pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
    pub(crate) series: Vec<Series>,
    pub(crate) costs: Vec<Cost>,
    pub(crate) notes: Vec<String>,
    /// What could not be measured, and why.
    pub(crate) missing: Vec<String>,
}

impl Results {
    /// Takes a series; the limits are must and aim of door / mod_proxy.
    pub(crate) fn compare(&mut self, series: Series, limits: Option<(f64, f64)>) {
        self.rows.push(Row { limits, ..Row::of(&series, None) });
        self.series.push(series);
    }

    pub(crate) fn table(&self) -> String {
        let heading = [
            "metric",
            "unit",
            NO_DOOR,
            "haproxy",
            "nginx stream",
            "mod_proxy",
            "door",
            "door / haproxy",
            "door / nginx",
            "door / mod_proxy",
            "must",
            "aim",
            "A/A",
            "result",
        ];
        report::table(heading, self.rows.iter().map(Row::cells))
    }

    pub(crate) fn table_of_faults(&self) -> String {
        let heading = [
            "one of three servers …",
            "in front",
            "failed",
            "of",
            "extra wait p50, ms",
            "p99, ms",
            "max, ms",
            "last affected after, s",
            "used again after, s",
            "open sessions lost",
        ];
        report::table(heading, self.costs.iter().map(Cost::cells))
    }

    /// The bench's part of the file.
    pub(crate) fn document(&self, how: &[String]) -> String {
        let mut text = report::begin("comparison")
            + "Written whole by that command; do not edit. The limits are those of the project's design: `must` and `aim`\n\
               are upper bounds of door / mod_proxy.\n\n";
        list(&mut text, how);
        let _ = write!(text, "\n## Table: the control channel, all peers\n\n{}\n", self.table());
        text += &report::method();
        list(&mut text, &self.notes);
        let _ = write!(text, "\n## Table: what faults cost\n\n{}\n", self.table_of_faults());
        text += &reading_of_faults();
        text += "\n### Whom this is unfair to\n\n";
        list(&mut text, &UNFAIR.map(str::to_owned));
        report::conclude(&mut text, "Comparison", &self.missing, &self.series);
        text
    }
}

impl Cost {
    fn cells(&self) -> [String; 10] {
        let at = |share: usize| {
            self.extra.get((self.extra.len() * share / 100).min(self.extra.len().saturating_sub(1)))
        };
        let milliseconds = |wait: Option<&Duration>| {
            wait.map_or("–".into(), |wait| format!("{:.0}", wait.as_secs_f64() * 1e3))
        };
        let seconds = |time: Duration| format!("{:.1}", time.as_secs_f64());
        let lost: Vec<String> = [(self.told, "told 421"), (self.cut, "cut"), (self.silent, "silent")]
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, how)| format!("{count} {how}"))
            .collect();
        [
            self.fault.to_owned(),
            self.product.to_owned(),
            self.failed.to_string(),
            self.begun.to_string(),
            milliseconds(at(50)),
            milliseconds(at(99)),
            milliseconds(self.extra.last()),
            match self.last_affected {
                None => "none".into(),
                Some(time) if time.abs_diff(FAULT) <= TWO_TURNS => "as long as it lasts".into(),
                Some(time) => seconds(time),
            },
            self.used_again.map_or_else(|| format!("not in {}", seconds(AFTER)), seconds),
            if lost.is_empty() {
                format!("none of {}", self.open)
            } else {
                format!("{} of {}", lost.join(", "), self.open)
            },
        ]
    }
}

/// What the columns of the second table mean.
fn reading_of_faults() -> String {
    format!(
        "A session begins every {} ms at each, logs in, is held for {} s, says NOOP and QUIT. The fault lasts {} s. `failed`: sessions\n\
         begun meanwhile that met an error, or no greeting in {} s, or did not end in order. Extra wait: from connect to the reply\n\
         to the login, of the others, beyond the median before the fault. `last affected`: from the fault to the beginning of the\n\
         last session that failed, or waited {} ms longer and twice as much more as the machine by itself let clients wait (above).\n\
         `used again`: from the server's return to the beginning of the first session that it served. Open sessions: those logged\n\
         in at the failing server when it failed; `told 421` in FTP, `cut` without a word, `silent` when the client gave up after\n\
         {} s.\n",
        INTERVAL.as_millis(),
        HELD_FOR.as_secs(),
        FAULT.as_secs(),
        PATIENCE.as_secs(),
        NOTICEABLE.as_millis(),
        PATIENCE.as_secs(),
    )
}

const UNFAIR: [&str; 6] = [
    "haproxy: as in the other benches it checks every 10 s, which is what the door does by default; `careful haproxy` is what its manual can do for this: `check inter 1s` with `tcp-check expect rstring ^220`, and `option redispatch 1`. It costs ten times the checks",
    "nginx: the free one has no checks of its own, only `max_fails` and `fail_timeout`, at their defaults; `proxy_connect_timeout` is 3 s as everywhere here, its default is 60 s. A table of connections for 9,500 sessions is in its resident memory",
    "mod_proxy: it reads every command and carries the data too, in a process per session, which is what its costs come from and what its isolation is. `ProxyTLSEngine off` is in its favour: at its default, auto, setting TLS up takes some 20 ms of CPU more a session. `ProxyTimeoutConnect` is 3 s as everywhere here, its default is 5 s; `ProxyRetryCount` and all else at their defaults",
    "the door: a client that gives up after 5 s does not wait for its `greeting_timeout` of 10 s, nor does it see the second server that is tried then; many grid clients wait for minutes",
    "no door: the servers' addresses taken strictly in turn, as by a client of a DNS name with three; one that tries the next address by itself does better",
    "everybody with checks: a fault comes at no particular moment between two checks, so what depends on them varies by one interval from run to run",
];
