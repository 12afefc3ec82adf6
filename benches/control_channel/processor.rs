//! CPU time per operation, and the time a round trip takes.

use std::net::SocketAddr;
use std::time::Duration;

use crate::Outcome;
use crate::results::{Judged, Results, Row};
use crate::support::balancer::{Log, Product, Site};
use crate::support::client::{TYPED, UNTYPED};
use crate::support::fleet::{Fleet, Load, NO_DOOR};
use crate::support::rounds::Bounds;

/// All of this part, in the order of the table.
pub(crate) fn measure(fleet: &Fleet, load: &Load, direct: SocketAddr, results: &mut Results) -> Outcome<()> {
    let title = "CPU per session (connect, login, PASV, QUIT), 16 at once";
    results.compare(fleet.sessions(load, 16, UNTYPED, title)?, 1.00, 0.85);
    let title = "CPU per session with TYPE I before PASV, as Globus clients do, 16 at once";
    results.compare(fleet.sessions(load, 16, TYPED, title)?, 1.00, 0.85);
    let title = "CPU per session, one at a time";
    results.compare(fleet.sessions(load, 1, UNTYPED, title)?, 0.92, 0.82);
    let title = "CPU per session with TYPE I before PASV, one at a time";
    results.compare(fleet.sessions(load, 1, TYPED, title)?, 0.92, 0.82);
    let title = "CPU per command (NOOP), 32 connections";
    results.compare(fleet.commands(load, 32, title)?, 1.00, 0.82);
    let title = "CPU per command (NOOP), one connection";
    results.compare(fleet.commands(load, 1, title)?, 0.92, 0.83);
    let series = fleet.round_trips(load, direct, "Round trip (NOOP), one connection")?;
    let added = |group| Some(series.median(group)? - series.median(NO_DOOR)?);
    results.rows.push(Row {
        metric: "Round trip added to direct, p50".into(),
        unit: series.unit,
        haproxy: added(Product::Haproxy.name()),
        door: added(Product::Door.name()),
        ratio: series.ratio(Product::Door.name(), Product::Haproxy.name(), Some(NO_DOOR)),
        judged: Judged::Ratio,
        must: Some(0.90),
        aim: Some(0.80),
        noise: series.largest_noise(),
    });
    results.series.push(series);
    Ok(())
}

/// The same sessions with a line each in a log file.
pub(crate) fn measure_logged(
    site: &Site,
    products: &[Product],
    load: &Load,
    results: &mut Results,
) -> Outcome<()> {
    let fleet = Fleet::start(site, products, Log::File)?;
    let bounds = Bounds { time: load.bounds.time.min(Duration::from_secs(20)), ..load.bounds };
    let title = "CPU per session, 16 at once, both with a log line per session in a file";
    let series = fleet.sessions(&Load { bounds, ..*load }, 16, UNTYPED, title)?;
    results.inform(series);
    Ok(())
}
