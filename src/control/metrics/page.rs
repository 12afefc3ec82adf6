//! One scrape: a recorder that becomes the text format of Prometheus.
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::catalogue::CATALOGUE;
use crate::balance::Bounds;

/// See the module's text.
pub(super) struct Page {
    places: HashMap<&'static str, usize>,
    /// In the order of the catalogue.
    families: RefCell<Vec<Vec<Sample>>>,
}

struct Sample {
    /// As they are written, without braces.
    labels: String,
    value: Value,
}

enum Value {
    Counter(Arc<AtomicU64>),
    /// The bits of a floating-point number.
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Distribution>),
}

/// Counts below each bound and above the last, and the sum.
struct Distribution {
    bounds: Vec<f64>,
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    counts: Vec<u64>,
    sum_micros: f64,
}

impl Page {
    pub(super) fn new() -> Self {
        let places = CATALOGUE.iter().enumerate().map(|(place, family)| (family.name, place));
        let families = CATALOGUE.iter().map(|_| Vec::new());
        Self { places: places.collect(), families: RefCell::new(families.collect()) }
    }

    /// Adds a sample. What is not in the catalogue, or not as it is there, has no place on the page; a test sees it.
    fn add(&self, key: &Key, value: Value) {
        let place = self.places.get(key.name()).copied();
        let Some(place) = place.filter(|&place| {
            key.labels().map(metrics::Label::key).eq(CATALOGUE[place].labels.iter().copied())
        }) else {
            debug_assert!(false, "{key} is not in the catalogue");
            return;
        };
        let mut labels = String::new();
        for label in key.labels() {
            if !labels.is_empty() {
                labels.push(',');
            }
            let _ = write!(labels, "{}=\"{}\"", label.key(), escaped(label.value()));
        }
        self.families.borrow_mut()[place].push(Sample { labels, value });
    }

    pub(super) fn into_text(self) -> String {
        let mut text = String::new();
        for (family, samples) in CATALOGUE.iter().zip(self.families.into_inner()) {
            let (name, kind) = (family.name, family.kind.word());
            let _ = write!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n", family.help);
            for Sample { labels, value } in samples {
                match value {
                    Value::Counter(value) => line(&mut text, name, "", &labels, &value.load(Relaxed)),
                    Value::Gauge(bits) => {
                        line(&mut text, name, "", &labels, &f64::from_bits(bits.load(Relaxed)));
                    }
                    Value::Histogram(distribution) => distribution.write(&mut text, name, &labels),
                }
            }
        }
        text
    }
}

impl Recorder for Page {
    // The catalogue describes.
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let value = Arc::new(AtomicU64::new(0));
        self.add(key, Value::Counter(Arc::clone(&value)));
        Counter::from_arc(value)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let value = Arc::new(AtomicU64::new(0));
        self.add(key, Value::Gauge(Arc::clone(&value)));
        Gauge::from_arc(value)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let place = self.places.get(key.name());
        let bounds = place.map_or(Bounds::default(), |&place| CATALOGUE[place].bounds);
        let distribution = Arc::new(Distribution::new(bounds));
        self.add(key, Value::Histogram(Arc::clone(&distribution)));
        Histogram::from_arc(distribution)
    }
}

impl Distribution {
    fn new(bounds: Bounds) -> Self {
        let bounds: Vec<f64> =
            bounds.iter().map(|&bound| Duration::from_micros(bound).as_secs_f64()).collect();
        let counts = vec![0; bounds.len() + 1];
        Self { bounds, content: Mutex::new(Content { counts, sum_micros: 0.0 }) }
    }
}

impl HistogramFn for Distribution {
    fn record(&self, value: f64) {
        self.record_many(value, 1);
    }

    #[allow(clippy::cast_precision_loss)] // a sum of measured times
    fn record_many(&self, value: f64, count: usize) {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        content.counts[self.bounds.partition_point(|&bound| bound < value)] += count as u64;
        // To the microsecond, as it was counted: Prometheus takes a sum that falls by a trifle for a restart.
        content.sum_micros += (value * 1e6 * count as f64).round();
    }
}

impl Distribution {
    fn write(&self, text: &mut String, name: &str, labels: &str) {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        let comma = if labels.is_empty() { "" } else { "," };
        let ends = self.bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        let mut below = 0;
        for (end, count) in ends.zip(&content.counts) {
            below += count;
            line(text, name, "_bucket", &format!("{labels}{comma}le=\"{end}\""), &below);
        }
        line(text, name, "_sum", labels, &(content.sum_micros / 1e6));
        line(text, name, "_count", labels, &below);
    }
}

fn line(text: &mut String, name: &str, suffix: &str, labels: &str, value: &dyn std::fmt::Display) {
    let _ = match labels {
        "" => writeln!(text, "{name}{suffix} {value}"),
        _ => writeln!(text, "{name}{suffix}{{{labels}}} {value}"),
    };
}

/// A label's value as the text format wants it.
fn escaped(value: &str) -> std::borrow::Cow<'_, str> {
    if value.contains(['\\', '"', '\n']) {
        value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into()
    } else {
        value.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Durations;

    #[test]
    fn a_page_has_every_family_once_and_its_samples_below_it() {
        let page = Page::new();
        metrics::with_local_recorder(&page, || {
            metrics::gauge!("gridfront_sessions", "virtual_server" => "b").set(2.0);
            metrics::gauge!("gridfront_build_info", "version" => "\"\\\n").set(1.0);
            metrics::gauge!("process_cpu_seconds_total").set(0.25);
            metrics::gauge!("gridfront_sessions", "virtual_server" => "a").set(1.5);
        });
        let text = page.into_text();
        for family in CATALOGUE {
            assert_eq!(text.matches(&format!("# TYPE {} ", family.name)).count(), 1, "{}", family.name);
        }
        assert!(text.contains(
            "# HELP process_cpu_seconds_total Processor time used, user and system.\n\
             # TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 0.25\n# HELP "
        ));
        assert!(text.contains(
            "# TYPE gridfront_sessions gauge\ngridfront_sessions{virtual_server=\"b\"} 2\n\
             gridfront_sessions{virtual_server=\"a\"} 1.5\n# HELP "
        ));
        assert!(text.contains("gridfront_build_info{version=\"\\\"\\\\\\n\"} 1\n"));
    }

    /// Prometheus takes a counter that falls for one that began anew.
    #[test]
    fn a_sum_never_falls() {
        let durations = Durations::default();
        let mut last = 0.0;
        for micros in (200..400).cycle().step_by(7).take(2000) {
            durations.count(Duration::from_micros(micros));
            let distribution = Distribution::new(Durations::OF_SESSIONS);
            for class in durations.classes() {
                distribution.record_many(class.mean, usize::try_from(class.count).unwrap());
            }
            let sum = distribution.content.lock().unwrap().sum_micros;
            assert!(sum > last, "{sum} after {last}");
            last = sum;
        }
    }

    #[test]
    fn a_histogram_is_cumulative_and_its_sum_is_exact() {
        let page = Page::new();
        metrics::with_local_recorder(&page, || {
            let labels = [("virtual_server", "v"), ("real_server", "r")];
            let histogram = metrics::histogram!("gridfront_check_duration_seconds", &labels);
            histogram.record_many(0.005, 3);
            histogram.record(0.75);
            histogram.record(60.0);
        });
        let text = page.into_text();
        for line in [
            "_bucket{virtual_server=\"v\",real_server=\"r\",le=\"0.005\"} 3",
            "_bucket{virtual_server=\"v\",real_server=\"r\",le=\"0.5\"} 3",
            "_bucket{virtual_server=\"v\",real_server=\"r\",le=\"1\"} 4",
            "_bucket{virtual_server=\"v\",real_server=\"r\",le=\"30\"} 4",
            "_bucket{virtual_server=\"v\",real_server=\"r\",le=\"+Inf\"} 5",
            "_sum{virtual_server=\"v\",real_server=\"r\"} 60.765",
            "_count{virtual_server=\"v\",real_server=\"r\"} 5",
        ] {
            assert!(text.contains(&format!("\ngridfront_check_duration_seconds{line}\n")), "{line}\n{text}");
        }
    }

    #[test]
    #[should_panic(expected = "not in the catalogue")]
    fn a_metric_with_a_label_that_is_not_its_own_is_noticed() {
        let page = Page::new();
        metrics::with_local_recorder(&page, || {
            metrics::gauge!("gridfront_sessions", "user" => "joe").set(1.0);
        });
    }
}
