//! Where sessions go, and how many system calls it takes to carry them.

use std::collections::BTreeMap;

use crate::Outcome;
use crate::results::{Judged, Results, Row};
use crate::support::balancer::{Balancer, Log, Product, Site};
use crate::support::fleet::Fleet;
use crate::support::real_server::RealServers;
use crate::support::{client, usage};

/// Sessions held at once.
const HELD: usize = 90;
/// System calls rarer than this per operation are in the sum only.
const LISTED: f64 = 0.05;

/// Holds sessions over equal servers and over weights 2:1:1, and counts them at the real servers.
pub(crate) fn measure_held(
    site: &Site,
    products: &[Product],
    servers: &RealServers,
    results: &mut Results,
) -> Outcome<()> {
    for (weights, shares) in [([1, 1, 1], [30.0, 30.0, 30.0]), ([2, 1, 1], [45.0, 22.5, 22.5])] {
        let mut farthest = BTreeMap::new();
        for product in products {
            let name = format!("held-{}-{}", product.name(), weights[0]);
            let balancer = Balancer::start(site, *product, &name, Log::Nowhere, &weights)?;
            let before = servers.held();
            let held = client::open_sessions(balancer.address, HELD)?;
            let counts: Vec<usize> =
                servers.held().iter().zip(before).map(|(now, then)| now - then).collect();
            drop(held);
            let distance = counts.iter().zip(shares).map(|(count, share)| (*count as f64 - share).abs());
            farthest.extend(distance.reduce(f64::max).map(|distance| (*product, distance)));
            results
                .notes
                .push(format!("{HELD} held sessions, weights {weights:?}, {}: {counts:?}", product.name()));
            usage::settle(balancer.pid())?;
        }
        results.rows.push(Row {
            metric: format!(
                "Held sessions per server, {HELD} over weights {weights:?}: farthest from the share"
            ),
            unit: "sessions",
            haproxy: farthest.get(&Product::Haproxy).copied(),
            door: farthest.get(&Product::Door).copied(),
            ratio: None,
            judged: Judged::Door,
            must: Some(1.0),
            aim: Some(1.0),
            noise: None,
        });
    }
    Ok(())
}

/// Counts system calls under strace; apart from everything else, because it slows the process down, and a process that
/// is slower finds more to do at each turn.
pub(crate) fn measure_system_calls(site: &Site, fleet: &Fleet, results: &mut Results) -> Outcome<()> {
    let per_operation = |calls: Vec<(String, u64)>, count: usize| {
        calls.into_iter().map(|(name, calls)| (name, calls as f64 / count as f64)).collect()
    };
    let sessions = |balancer: &Balancer, at_once, count| {
        let load = || client::run_sessions(balancer.address, at_once, count, client::UNTYPED);
        Ok(per_operation(usage::system_calls(balancer.pid(), site.directory, load)?, count))
    };
    let commands = |balancer: &Balancer, connections, count| {
        let mut held = client::open_sessions(balancer.address, connections)?;
        let load = || client::run_commands(&mut held, count);
        Ok(per_operation(usage::system_calls(balancer.pid(), site.directory, load)?, count))
    };
    let plan: [(&str, Option<f64>, Option<f64>, &Count); 4] = [
        ("System calls per session, 16 at once", Some(44.0), Some(20.0), &|it| sessions(it, 16, 320)),
        ("System calls per session, one at a time", None, None, &|it| sessions(it, 1, 100)),
        ("System calls per command, 32 connections", Some(4.8), Some(2.0), &|it| commands(it, 32, 3200)),
        ("System calls per command, one connection", None, None, &|it| commands(it, 1, 500)),
    ];
    for (metric, must, aim, count) in plan {
        let mut of = |product: Product| -> Outcome<Option<f64>> {
            let Some(calls) = fleet.first(product).map(count).transpose()? else { return Ok(None) };
            let listed: Vec<String> = calls
                .iter()
                .filter(|(_, calls)| *calls >= LISTED)
                .map(|(name, calls)| format!("{name} {calls:.2}"))
                .collect();
            results.notes.push(format!("{metric}, {}: {}", product.name(), listed.join(", ")));
            Ok(Some(calls.iter().map(|(_, calls)| calls).sum()))
        };
        let (haproxy, door) = (of(Product::Haproxy)?, of(Product::Door)?);
        results.rows.push(Row {
            metric: metric.into(),
            unit: "calls",
            haproxy,
            door,
            ratio: door.zip(haproxy).map(|(door, haproxy)| door / haproxy),
            judged: Judged::Door,
            must,
            aim,
            noise: None,
        });
    }
    Ok(())
}

/// Calls per operation, by name.
type Count<'a> = dyn Fn(&Balancer) -> Outcome<Vec<(String, f64)>> + 'a;
