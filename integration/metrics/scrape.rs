//! A page of metrics, read as Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::support::http_client::get;

/// One scrape.
#[derive(Debug)]
pub(super) struct Scrape {
    /// Name and type, as announced.
    pub(super) types: BTreeMap<String, String>,
    pub(super) samples: Vec<Sample>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Sample {
    /// Without the suffixes of a histogram.
    pub(super) family: String,
    pub(super) name: String,
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: String,
}

impl Scrape {
    /// # Panics
    /// When there is no page, or it is not in the format.
    pub(super) fn of(http: SocketAddr) -> Self {
        let answer = get(http, "/metrics");
        assert_eq!(answer.status, 200);
        assert!(
            answer.head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
            "{}",
            answer.head
        );
        Self::parse(&answer.body)
    }

    fn parse(text: &str) -> Self {
        let mut types = BTreeMap::new();
        let mut samples = Vec::new();
        let mut seen = BTreeSet::new();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                family = name.to_owned();
                assert!(types.insert(family.clone(), kind.to_owned()).is_none(), "{name} comes twice");
            } else if !line.starts_with("# HELP ") {
                let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
                assert!(seen.insert(series.to_owned()), "{series} comes twice");
                assert!(series.starts_with(&family), "{series} below {family}");
                let (name, labels) = series.split_once('{').map_or((series, ""), |(name, rest)| {
                    (name, rest.strip_suffix('}').expect("a brace at the end"))
                });
                let labels = labels.split_terminator("\",").map(|label| {
                    let (name, value) = label.split_once("=\"").expect("a label");
                    (name.to_owned(), value.trim_end_matches('"').to_owned())
                });
                samples.push(Sample {
                    family: family.clone(),
                    name: name.to_owned(),
                    labels: labels.collect(),
                    value: value.to_owned(),
                });
            }
        }
        Self { types, samples }
    }

    /// The value of the one series with this name and at least these labels.
    ///
    /// # Panics
    /// When there is none, or more than one.
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found: Vec<&Sample> = self.matching(name, labels).collect();
        let [sample] = &found[..] else { panic!("{name} {labels:?}: {found:?}") };
        sample.value.parse().unwrap_or_else(|_| panic!("{sample:?}"))
    }

    /// The sum over all series with this name and these labels.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value.parse::<f64>().expect("a number")).sum()
    }

    fn matching(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| {
                    sample.labels.iter().any(|(other, of_it)| other == label && of_it == value)
                })
        })
    }
}
