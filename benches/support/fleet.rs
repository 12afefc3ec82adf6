//! Two instances of every system under test, and what is measured in rounds over all of them: CPU time per operation,
//! and the time a round trip takes.

use std::cell::Cell;
use std::net::SocketAddr;

use super::Outcome;
use super::balancer::{Balancer, Log, Product, Site};
use super::client::{self, Script};
use super::rounds::{Bounds, Series};

/// The group of the measurements straight at a server.
pub(crate) const NO_DOOR: &str = "no door";

/// How much is done.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    /// Sessions in one sample.
    pub(crate) sessions: usize,
    /// Commands in one sample.
    pub(crate) commands: usize,
    /// Rounds of one series.
    pub(crate) bounds: Bounds,
}

/// All of them running, all idle but the one that is measured.
pub(crate) struct Fleet {
    members: Vec<(String, Product, Balancer)>,
    /// Sessions tried through mod_proxy, and those of them that it closed before the greeting.
    tried: Cell<usize>,
    ungreeted: Cell<usize>,
}

impl Fleet {
    pub(crate) fn start(site: &Site, products: &[Product], log: Log) -> Outcome<Self> {
        let mut members = Vec::new();
        for number in 1..=2 {
            for product in products {
                let name = format!("{} {number}", product.name());
                let balancer = Balancer::start(
                    site,
                    *product,
                    &format!("{name} {log:?}"),
                    log,
                    &vec![1; site.real_servers.len()],
                )?;
                members.push((name, *product, balancer));
            }
        }
        Ok(Self { members, tried: Cell::new(0), ungreeted: Cell::new(0) })
    }

    /// The first instance of a product.
    pub(crate) fn first(&self, product: Product) -> Option<&Balancer> {
        self.members.iter().find(|member| member.1 == product).map(|member| &member.2)
    }

    /// How many of the sessions through mod_proxy were closed before the greeting, and how many there were.
    pub(crate) fn ungreeted_by_mod_proxy(&self) -> (usize, usize) {
        (self.ungreeted.get(), self.tried.get())
    }

    /// CPU per session: connect, a script, and the close.
    pub(crate) fn sessions(
        &self,
        load: &Load,
        at_once: usize,
        script: Script,
        title: &str,
    ) -> Outcome<Series> {
        let count = if at_once == 1 { load.sessions / 2 } else { load.sessions };
        self.series(title, "µs of CPU per session").run(load.bounds, |place| {
            let (_, product, balancer) = &self.members[place];
            cpu_per_operation(balancer, count, || match product {
                Product::ModProxy => {
                    let ungreeted = client::try_sessions(balancer.address, at_once, count, script)?;
                    self.tried.set(self.tried.get() + count + ungreeted);
                    self.ungreeted.set(self.ungreeted.get() + ungreeted);
                    Ok(())
                }
                _ => client::run_sessions(balancer.address, at_once, count, script),
            })
        })
    }

    /// CPU per NOOP, over connections that are logged in before the count begins.
    pub(crate) fn commands(&self, load: &Load, connections: usize, title: &str) -> Outcome<Series> {
        let count = if connections == 1 { load.commands / 2 } else { load.commands };
        self.series(title, "µs of CPU per command").run(load.bounds, |place| {
            let balancer = &self.members[place].2;
            let mut held = balancer.open_sessions(connections)?;
            let cost = cpu_per_operation(balancer, count, || client::run_commands(&mut held, count))?;
            drop(held);
            balancer.settle()?;
            Ok(cost)
        })
    }

    /// The median time of a NOOP round trip, direct and through each balancer.
    pub(crate) fn round_trips(&self, load: &Load, direct: SocketAddr, title: &str) -> Outcome<Series> {
        let direct = [("no door 1", direct), ("no door 2", direct)];
        let places: Vec<(&str, &'static str, SocketAddr)> = direct
            .iter()
            .map(|(name, address)| (*name, NO_DOOR, *address))
            .chain(self.members.iter().map(|(name, product, it)| (name.as_str(), product.name(), it.address)))
            .collect();
        let series = Series::new(title, "µs p50", places.iter().map(|(name, group, _)| (*name, *group)));
        series.run(load.bounds, |place| {
            let mut held = client::open_sessions(places[place].2, 1)?;
            let session = held.first_mut().ok_or("no session")?;
            let times = client::time_commands(session, load.commands / 4)?;
            Ok(times[times.len() / 2].as_secs_f64() * 1e6)
        })
    }

    fn series(&self, title: &str, unit: &'static str) -> Series {
        Series::new(
            title,
            unit,
            self.members.iter().map(|(name, product, _)| (name.as_str(), product.name())),
        )
    }
}

fn cpu_per_operation(balancer: &Balancer, count: usize, load: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let before = balancer.settle()?;
    load()?;
    let after = balancer.settle()?;
    Ok((after as f64 - before as f64) / 1e3 / count as f64)
}
