//! What moves virtual routers between two balancers besides a loss: what they track, their groups, a reload, a daemon that stands
//! still; and whoever is told of it.

mod groups;
mod lifetime;
mod notify;
mod owners;
mod parents;
mod reload;
mod tracked;

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::support::balancer::{Balancer, PATIENCE};
use crate::support::netns::{Lab, Machine};
use crate::support::ownership::{Watch, now};

const PROGRAMS: &[&str] = &["ip", "nsenter", "sh", "test", "sleep"];
const MACHINES: &[(&str, u8)] = &[("lb1", 11), ("lb2", 12)];

/// A virtual router: its name, and the number that is its id and the last part of its address.
type Known = (&'static str, u8);

/// Of the virtual router with this number.
fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, number)
}

/// Its table, on `eth0` with adverts of 100 ms.
fn instance((name, number): Known, priority: u8, keys: &str) -> String {
    instance_on("eth0", (name, number), priority, keys)
}

fn instance_on(interface: &str, (name, number): Known, priority: u8, keys: &str) -> String {
    let address = address(number);
    format!(
        "\n[[vrrp_instance]]\nname = \"{name}\"\ninterface = \"{interface}\"\nvirtual_router_id = {number}\n\
         priority = {priority}\nadvert_interval = \"100ms\"\nvirtual_addresses = [\"{address}/24\"]\n{keys}\n"
    )
}

/// All of them with this priority and no more.
fn plain(all: &[Known], priority: u8) -> String {
    all.iter().fold(String::new(), |mut text, known| {
        write!(text, "{}", instance(*known, priority, "")).expect("a string takes text");
        text
    })
}

/// Two balancers, and who has each of the addresses.
struct Pair {
    /// The first is meant to be master.
    balancers: [Balancer; 2],
    watches: Vec<(Known, Watch)>,
    lab: Lab,
}

impl Pair {
    /// The first is master of these before the second is started.
    fn start(lab: Lab, texts: [&str; 2], masters: &[Known], others: &[Known]) -> Self {
        let machines = MACHINES.iter().map(|(role, _)| lab.machine(role)).collect::<Vec<&Machine>>();
        let watch = |known: &Known| {
            (*known, Watch::start(&machines, address(known.1).into(), Duration::from_millis(5)))
        };
        let watches = masters.iter().chain(others).map(watch).collect();
        let balancers = [0, 1].map(|which| Balancer::new(machines[which], texts[which]));
        let mut pair = Self { balancers, watches, lab };
        pair.balancers[0].start();
        pair.until_all("lb1", masters);
        pair.balancers[1].start();
        pair
    }

    fn watch(&self, (name, _): Known) -> &Watch {
        let found = self.watches.iter().find(|((known, _), _)| *known == name);
        &found.unwrap_or_else(|| panic!("{name} is watched")).1
    }

    /// Waits until this machine has all of these addresses, and the other none of them.
    fn until_all(&self, role: &str, all: &[Known]) {
        for known in all {
            let alone = self.watch(*known).until_alone(role, PATIENCE);
            alone.unwrap_or_else(|why| panic!("{}: {why}\n{}", known.0, self.logs()));
        }
    }

    fn logs(&self) -> String {
        self.balancers.each_ref().map(Balancer::log).join("\n---\n")
    }
}

/// Lets time pass, where what is tried is that nothing happens in it.
fn let_pass(time: Duration) {
    let until = now() + time;
    while now() < until {
        std::thread::park_timeout(until.saturating_duration_since(now()));
    }
}

/// How long one machine had the address, without another one and without a pause, and has it.
fn unbroken(watch: &Watch) -> Result<Instant, String> {
    match watch.tenures().as_slice() {
        [only] if only.to.is_none() => Ok(only.from),
        all => Err(format!("{all:?}")),
    }
}
