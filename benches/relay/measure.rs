//! CPU time and system calls for the bytes that cross a proxy, and how fast they do.

use std::time::Duration;

use crate::client::{Kind, Session};
use crate::flow::Source;
use crate::proxies::{Product, Proxy, Site};
use crate::results::{Results, Row};
use crate::support::rounds::{Bounds, Series};
use crate::support::usage;
use crate::{Outcome, client};

const GIBIBYTE: f64 = (1_u64 << 30) as f64;
const MEBIBYTE: f64 = (1 << 20) as f64;
/// System calls rarer than this in a MiB are in the sum only.
const LISTED: f64 = 0.005;

/// How much is moved.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    /// Through a lone stream, in bytes.
    pub(crate) file: u64,
    pub(crate) bounds: Bounds,
}

impl Scale {
    /// Through each of several, which take turns less and need fewer bytes for the same certainty.
    fn through_each(self, streams: usize) -> u64 {
        if streams == 1 { self.file } else { self.file / 4 }
    }
}

/// Everything the load generator needs.
pub(crate) struct Load<'a> {
    pub(crate) source: &'a Source,
    /// Where the server itself is reached.
    pub(crate) direct: std::net::SocketAddr,
}

/// Which way, and how many at once.
pub(crate) const SCENARIOS: [(Kind, usize, &str); 4] = [
    (Kind::Get, 1, "get, one stream"),
    (Kind::Get, 8, "get, eight streams at once"),
    (Kind::Put, 1, "put, one stream"),
    (Kind::Put, 8, "put, eight streams at once"),
];

/// What one run of some streams took.
struct Taken {
    cpu: Duration,
    wall: Duration,
}

/// Rounds over all proxies, and the server without any once a round.
pub(crate) fn rates(
    proxies: &[Proxy],
    load: &Load,
    scale: Scale,
    scenario: (Kind, usize, &str),
    results: &mut Results,
) -> Outcome<()> {
    let (kind, streams, words) = scenario;
    let file = scale.through_each(streams);
    let bytes = (file * streams as u64) as f64;
    let names = proxies.iter().map(|proxy| (proxy.name.as_str(), proxy.product.name()));
    let mut speeds = Series::new(
        &format!("Throughput: {words}"),
        "MiB/s",
        names.clone().chain([("no proxy", "no proxy")]),
    );
    let cpu = Series::new(&format!("CPU: {words}"), "ms of CPU per GiB", names);
    let cpu = cpu.run(scale.bounds, |place| {
        let taken = through(&proxies[place], load, kind, streams, file)?;
        speeds.samples[place].values.push(bytes / MEBIBYTE / taken.wall.as_secs_f64());
        if place == 0 {
            let mut sessions = open(load.direct, streams)?;
            let wall = client::run(&mut sessions, kind, file, load.source)?;
            speeds.samples[proxies.len()].values.push(bytes / MEBIBYTE / wall.as_secs_f64());
        }
        Ok(taken.cpu.as_secs_f64() * 1e3 * GIBIBYTE / bytes)
    })?;
    // The first turn only warms up.
    for samples in &mut speeds.samples {
        samples.values.remove(0);
    }
    results.rows.push(Row {
        none: None,
        ratio: cpu.ratio(Product::Door.name(), Product::Haproxy.name(), None),
        over_tuned: cpu.ratio(Product::Door.name(), Product::TunedHaproxy.name(), None),
        over_mod_proxy: cpu.ratio(Product::Door.name(), Product::ModProxy.name(), None),
        must: Some(1.0),
        aim: Some(0.8),
        noise: [Product::Haproxy, Product::Door]
            .iter()
            .filter_map(|product| cpu.noise(product.name()))
            .reduce(f64::max),
        ..Row::of(&cpu)
    });
    results.rows.push(Row {
        none: speeds.median("no proxy"),
        ratio: speeds.ratio(Product::Door.name(), Product::Haproxy.name(), None),
        ..Row::of(&speeds)
    });
    results.series.extend([cpu, speeds]);
    Ok(())
}

fn open(address: std::net::SocketAddr, streams: usize) -> Outcome<Vec<Session>> {
    (0..streams).map(|_| Session::open(address)).collect()
}

/// Logins are over before the count begins, and sessions end after it: their processes, where a proxy has one for
/// each, are counted while they are there.
fn through(proxy: &Proxy, load: &Load, kind: Kind, streams: usize, file: u64) -> Outcome<Taken> {
    let mut sessions = open(proxy.address, streams)?;
    let before = usage::settle_family(proxy.pid())?;
    let wall = client::run(&mut sessions, kind, file, load.source)?;
    let after = usage::settle_family(proxy.pid())?;
    drop(sessions);
    usage::settle(proxy.pid())?;
    Ok(Taken { cpu: Duration::from_nanos(after - before), wall })
}

/// Counts system calls under strace; apart from everything else, because a process that it slows down finds more to
/// do at each turn.
pub(crate) fn system_calls(
    site: &Site,
    proxies: &[Proxy],
    load: &Load,
    scale: Scale,
    results: &mut Results,
) -> Outcome<()> {
    for (kind, streams, words) in SCENARIOS {
        let metric = format!("System calls: {words}");
        let file = scale.through_each(streams);
        let mebibytes = (file * streams as u64) as f64 / MEBIBYTE;
        let mut of = |product: Product| -> Outcome<Option<f64>> {
            let Some(proxy) = proxies.iter().find(|proxy| proxy.product == product) else { return Ok(None) };
            let mut sessions = open(proxy.address, streams)?;
            let run = || client::run(&mut sessions, kind, file, load.source).map(drop);
            let calls = usage::system_calls(proxy.pid(), site.directory, run)?;
            let rate = |calls: u64| calls as f64 / mebibytes;
            let listed: Vec<String> = calls
                .iter()
                .filter(|(_, calls)| rate(*calls) >= LISTED)
                .map(|(name, calls)| format!("{name} {:.3}", rate(*calls)))
                .collect();
            results.notes.push(format!("{metric}, {}: {}", product.name(), listed.join(", ")));
            Ok(Some(calls.iter().map(|(_, calls)| rate(*calls)).sum()))
        };
        let (haproxy, door) = (of(Product::Haproxy)?, of(Product::Door)?);
        results.rows.push(Row {
            haproxy,
            door,
            ratio: door.zip(haproxy).map(|(door, haproxy)| door / haproxy),
            ..Row::new(metric, "calls per MiB")
        });
    }
    Ok(())
}
