//! CPU time per operation, and the time a round trip takes.

use std::net::SocketAddr;
use std::time::Duration;

use crate::balancer::{Balancer, Log, Product, Site};
use crate::client::{Script, TYPED, UNTYPED};
use crate::results::{Judged, Results, Row};
use crate::support::rounds::{Bounds, Series};
use crate::support::usage;
use crate::{Outcome, Scale, client};

/// Two instances of every system under test, all running, all idle but the one that is measured.
pub(crate) struct Fleet {
    members: Vec<(String, Product, Balancer)>,
}

impl Fleet {
    pub(crate) fn start(site: &Site, products: &[Product], log: Log) -> Outcome<Self> {
        let mut members = Vec::new();
        for number in 1..=2 {
            for product in products {
                let name = format!("{} {number}", product.name());
                let file = format!("{}-{number}-{log:?}", product.name());
                let balancer =
                    Balancer::start(site, *product, &file, log, &vec![1; site.real_servers.len()])?;
                members.push((name, *product, balancer));
            }
        }
        Ok(Self { members })
    }

    /// The first instance of a product.
    pub(crate) fn first(&self, product: Product) -> Option<&Balancer> {
        self.members.iter().find(|member| member.1 == product).map(|member| &member.2)
    }

    fn series(&self, title: &str, unit: &'static str) -> Series {
        Series::new(
            title,
            unit,
            self.members.iter().map(|(name, product, _)| (name.as_str(), product.name())),
        )
    }
}

/// CPU per session: connect, a script, and the close.
pub(crate) fn sessions(
    fleet: &Fleet,
    scale: &Scale,
    at_once: usize,
    script: Script,
    title: &str,
) -> Outcome<Series> {
    let count = if at_once == 1 { scale.sessions / 2 } else { scale.sessions };
    fleet.series(title, "µs of CPU per session").run(scale.bounds, |place| {
        let balancer = &fleet.members[place].2;
        cpu_per_operation(balancer, count, || client::run_sessions(balancer.address, at_once, count, script))
    })
}

/// CPU per NOOP, over connections that are logged in before the count begins.
pub(crate) fn commands(fleet: &Fleet, scale: &Scale, connections: usize, title: &str) -> Outcome<Series> {
    let count = if connections == 1 { scale.commands / 2 } else { scale.commands };
    fleet.series(title, "µs of CPU per command").run(scale.bounds, |place| {
        let balancer = &fleet.members[place].2;
        let mut held = client::open_sessions(balancer.address, connections)?;
        let cost = cpu_per_operation(balancer, count, || client::run_commands(&mut held, count))?;
        drop(held);
        usage::settle(balancer.pid())?;
        Ok(cost)
    })
}

/// The median time of a NOOP round trip, direct and through each balancer.
pub(crate) fn round_trips(fleet: &Fleet, scale: &Scale, direct: SocketAddr, title: &str) -> Outcome<Series> {
    let direct = [("direct 1", direct), ("direct 2", direct)];
    let places: Vec<(&str, &'static str, SocketAddr)> = direct
        .iter()
        .map(|(name, address)| (*name, "direct", *address))
        .chain(fleet.members.iter().map(|(name, product, it)| (name.as_str(), product.name(), it.address)))
        .collect();
    let series = Series::new(title, "µs p50", places.iter().map(|(name, group, _)| (*name, *group)));
    series.run(scale.bounds, |place| {
        let mut held = client::open_sessions(places[place].2, 1)?;
        let session = held.first_mut().ok_or("no session")?;
        let times = client::time_commands(session, scale.commands / 4)?;
        Ok(times[times.len() / 2].as_secs_f64() * 1e6)
    })
}

fn cpu_per_operation(balancer: &Balancer, count: usize, load: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let before = usage::settle(balancer.pid())?;
    load()?;
    let after = usage::settle(balancer.pid())?;
    Ok((after - before) as f64 / 1e3 / count as f64)
}

/// All of this part, in the order of the table.
pub(crate) fn measure(
    fleet: &Fleet,
    scale: &Scale,
    direct: SocketAddr,
    results: &mut Results,
) -> Outcome<()> {
    let title = "CPU per session (connect, login, PASV, QUIT), 16 at once";
    results.compare(sessions(fleet, scale, 16, UNTYPED, title)?, 1.00, 0.85);
    let title = "CPU per session with TYPE I before PASV, as Globus clients do, 16 at once";
    results.compare(sessions(fleet, scale, 16, TYPED, title)?, 1.00, 0.85);
    let title = "CPU per session, one at a time";
    results.compare(sessions(fleet, scale, 1, UNTYPED, title)?, 0.92, 0.82);
    let title = "CPU per session with TYPE I before PASV, one at a time";
    results.compare(sessions(fleet, scale, 1, TYPED, title)?, 0.92, 0.82);
    let title = "CPU per command (NOOP), 32 connections";
    results.compare(commands(fleet, scale, 32, title)?, 1.00, 0.82);
    let title = "CPU per command (NOOP), one connection";
    results.compare(commands(fleet, scale, 1, title)?, 0.92, 0.83);
    let series = round_trips(fleet, scale, direct, "Round trip (NOOP), one connection")?;
    let added = |group| Some(series.median(group)? - series.median("direct")?);
    results.rows.push(Row {
        metric: "Round trip added to direct, p50".into(),
        unit: series.unit,
        haproxy: added(Product::Haproxy.name()),
        door: added(Product::Door.name()),
        ratio: series.ratio(Product::Door.name(), Product::Haproxy.name(), Some("direct")),
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
    scale: &Scale,
    results: &mut Results,
) -> Outcome<()> {
    let fleet = Fleet::start(site, products, Log::File)?;
    let bounds = Bounds { time: scale.bounds.time.min(Duration::from_secs(20)), ..scale.bounds };
    let title = "CPU per session, 16 at once, both with a log line per session in a file";
    let series = sessions(&fleet, &Scale { bounds, ..*scale }, 16, UNTYPED, title)?;
    results.inform(series);
    Ok(())
}
