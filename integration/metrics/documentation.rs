//! docs/metrics.md, the alerts and the dashboard against the program.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use gridfront::control::{CATALOGUE, Kind};
use serde_json::Value;

use super::scrape::Scrape;
use super::{with_certificate, with_forwarding, with_vrrp};
use crate::support::http_client::start_with_http;
use crate::support::local_door::Setup;
use crate::support::skip;
use crate::support::stub_server::{Connection, StubServer};

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between backquotes.
fn spans(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Rows of the tables of docs/metrics.md whose first cell is the name of a metric.
fn rows() -> Vec<Vec<String>> {
    let page = read("docs/metrics.md");
    let rows =
        page.lines().filter(|line| line.starts_with("| `gridfront_") || line.starts_with("| `process_"));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// Name, type, labels.
type Described = BTreeMap<String, (String, Vec<String>)>;

#[test]
fn the_documented_metrics_are_those_of_the_program_and_of_a_scrape() {
    let kinds: BTreeSet<&str> = [Kind::Counter, Kind::Gauge, Kind::Histogram].map(Kind::word).into();
    let mut documented = Described::new();
    for row in rows().iter().filter(|row| kinds.contains(row[1].as_str())) {
        assert_eq!(row.len(), 5, "{row:?}");
        let [name, kind, labels, meaning, _use] = &row[..] else { unreachable!() };
        assert!(!meaning.is_empty(), "{name} means nothing");
        let before = documented.insert(spans(name).remove(0), (kind.clone(), spans(labels)));
        assert_eq!(before, None, "{name} is documented twice");
    }
    let of_program: Described = CATALOGUE
        .iter()
        .map(|family| {
            let labels = family.labels.iter().map(ToString::to_string).collect();
            (family.name.to_owned(), (family.kind.word().to_owned(), labels))
        })
        .collect();
    assert_eq!(documented, of_program);

    let server = StubServer::start(Connection::serve);
    let (_door, http) =
        start_with_http(with_forwarding(with_vrrp(with_certificate(Setup::of(&[server.address()])))));
    let page = Scrape::of(http);
    let types: BTreeMap<String, String> =
        documented.iter().map(|(name, (kind, _))| (name.clone(), kind.clone())).collect();
    assert_eq!(page.types, types);
    let told: BTreeSet<&str> = page.samples.iter().map(|sample| sample.family.as_str()).collect();
    for (name, (_, labels)) in &documented {
        assert!(told.contains(name.as_str()), "{name} has no sample");
        for sample in page.samples.iter().filter(|sample| sample.family == *name) {
            let names: Vec<&String> =
                sample.labels.iter().map(|(label, _)| label).filter(|label| *label != "le").collect();
            assert_eq!(names, labels.iter().collect::<Vec<_>>(), "{sample:?}");
        }
    }
}

#[test]
fn the_documented_values_of_labels_are_those_of_a_scrape() {
    let mut documented: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for row in rows().iter().filter(|row| row.len() == 3) {
        let place = (spans(&row[0]).remove(0), spans(&row[1]).remove(0));
        documented.insert(place, spans(&row[2]).into_iter().collect());
    }
    let server = StubServer::start(Connection::serve);
    let (_door, http) =
        start_with_http(with_forwarding(with_vrrp(with_certificate(Setup::of(&[server.address()])))));
    let mut told: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for sample in Scrape::of(http).samples {
        for (label, value) in sample.labels {
            if !["virtual_server", "real_server", "vrrp_instance", "version", "file", "le"]
                .contains(&label.as_str())
            {
                told.entry((sample.family.clone(), label)).or_default().insert(value);
            }
        }
    }
    assert_eq!(documented, told);
}

/// Every word of a query that looks like a metric of ours.
fn metrics_of(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("gridfront_") || word.starts_with("process_"))
}

fn assert_known(query: &str, place: &str) {
    for name in metrics_of(query) {
        let is_known = CATALOGUE.iter().any(|family| match family.kind {
            Kind::Histogram => ["_bucket", "_sum", "_count"]
                .iter()
                .any(|suffix| name.strip_suffix(suffix) == Some(family.name)),
            Kind::Counter | Kind::Gauge => name == family.name,
        });
        assert!(is_known, "{place}: there is no {name}");
    }
}

#[test]
fn every_query_of_the_dashboard_names_metrics_that_exist() {
    let dashboard: Value = serde_json::from_str(&read("docs/grafana/gridfront.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut shown = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's, too");
        let targets = panel["targets"].as_array().map_or(&[][..], Vec::as_slice);
        assert!(panel["type"] == "row" || !targets.is_empty(), "{title} has no query");
        for target in targets {
            let query = target["expr"].as_str().unwrap();
            assert_known(query, title);
            assert!(metrics_of(query).next().is_some(), "{title}: {query}");
            shown.extend(metrics_of(query).map(|name| name.trim_end_matches("_bucket").to_owned()));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        assert_known(variable["definition"].as_str().unwrap_or_default(), "a variable");
    }
    // What nobody looks at by itself.
    let beside = ["process_virtual_memory_bytes"];
    for family in CATALOGUE.iter().filter(|family| !beside.contains(&family.name)) {
        assert!(shown.contains(family.name), "{} is on no panel", family.name);
    }
}

#[test]
fn every_alert_names_metrics_that_exist_and_has_a_test() {
    let alerts = read("docs/prometheus/alerts.yml");
    let tests = read("docs/prometheus/alerts.test.yml");
    assert_known(&alerts, "alerts.yml");
    assert_known(&tests, "alerts.test.yml");
    let named: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(named.len() > 15, "{named:?}");
    for alert in named {
        assert!(
            tests.contains(&format!("alertname: {alert}\n        exp_alerts:\n")),
            "{alert}: no test in which it fires"
        );
    }
}

fn promtool(words: &[&str], directory: &Path) {
    let output = Command::new("promtool").args(words).current_dir(directory).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{words:?}:\n{}{}", said(&output.stdout), said(&output.stderr));
}

#[test]
fn promtool_accepts_the_alerts_and_their_tests_pass() {
    if !skip::unless_present("alert rules", &["promtool"]) {
        return;
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/prometheus");
    promtool(&["check", "rules", "alerts.yml"], &directory);
    promtool(&["test", "rules", "alerts.test.yml"], &directory);
}

/// As rules, with values in the place of the dashboard's variables.
#[test]
fn promtool_accepts_every_query_of_the_dashboard() {
    if !skip::unless_present("queries of the dashboard", &["promtool"]) {
        return;
    }
    let dashboard: Value = serde_json::from_str(&read("docs/grafana/gridfront.json")).unwrap();
    let targets =
        dashboard["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array());
    let mut rules = Vec::new();
    for (number, target) in targets.flatten().enumerate() {
        let query = target["expr"].as_str().unwrap();
        let query = query
            .replace("$__rate_interval", "5m")
            .replace("$instance", ".*")
            .replace("$virtual_server", ".*");
        rules.push(serde_json::json!({ "record": format!("panel:{number}"), "expr": query }));
    }
    assert!(rules.len() > 30);
    let directory = tempfile::tempdir().unwrap();
    // JSON is YAML.
    let file = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string();
    std::fs::write(directory.path().join("queries.yml"), file).unwrap();
    promtool(&["check", "rules", "queries.yml"], directory.path());
}
