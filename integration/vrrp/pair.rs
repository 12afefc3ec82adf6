//! Two balancers on one link, of which the first is preferred.

use std::time::{Duration, Instant};

use gridfront::sys::netlink::Route;

use super::balancer::{Balancer, Gridfront, Program, VirtualRouter};
use crate::support::deadline;
use crate::support::netns::{Lab, Machine};
use crate::support::ownership::{Watch, now};
use crate::support::process::tail;

/// The preferred one. Its addresses are the higher ones.
pub const FIRST: &str = "lb1";
pub const SECOND: &str = "lb2";

/// Beyond what the protocol takes: everything here runs beside everything else.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// See the module's text.
#[derive(Debug)]
pub struct Pair {
    pub router: VirtualRouter,
    programs: [Program; 2],
    priorities: [u8; 2],
    /// Those that run.
    pub balancers: [Option<Balancer>; 2],
    pub watch: Watch,
    pub lab: Lab,
}

impl Pair {
    /// A link with nobody on it yet.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(
        router: VirtualRouter,
        programs: [Program; 2],
        priorities: [u8; 2],
        look_every: Duration,
    ) -> Self {
        let lab = Lab::new(&[(FIRST, 12), (SECOND, 11)]);
        if router.is_ipv6 {
            lab.machines().iter().for_each(until_settled);
        }
        let machines = [lab.machine(FIRST), lab.machine(SECOND)];
        let watch = Watch::start(&machines, router.address(), look_every);
        Self { router, programs, priorities, balancers: [None, None], watch, lab }
    }

    /// Starts the first, waits until it is master, and starts the second. How long the first has taken.
    ///
    /// # Panics
    /// When the first does not become master.
    pub fn start(&mut self) -> Duration {
        let begun = now();
        self.start_one(0);
        let took = self.taken(FIRST, begun, self.router.down(self.priorities[0]));
        self.start_one(1);
        took
    }

    /// Starts one of them, in the place of one that has ended.
    ///
    /// # Panics
    /// When it does not begin to work.
    pub fn start_one(&mut self, which: usize) {
        let roles = [FIRST, SECOND];
        let (machine, peer) = (self.lab.machine(roles[which]), self.lab.machine(roles[1 - which]));
        let (program, priority) = (self.programs[which], self.priorities[which]);
        self.balancers[which] = Some(Balancer::start(program, machine, peer, &self.router, priority));
    }

    /// How long after `event` the machine takes the address, for which the protocol wants `formula`.
    ///
    /// # Panics
    /// When it does not.
    pub fn taken(&self, role: &str, event: Instant, formula: Duration) -> Duration {
        let taken = self.watch.taken_after(role, event, formula + PATIENCE);
        taken.unwrap_or_else(|why| self.fail(&why))
    }

    /// Waits until a machine has the address and no other.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn until_alone(&self, role: &str) {
        let limit = self.router.down(1) + PATIENCE;
        self.watch.until_alone(role, limit).unwrap_or_else(|why| self.fail(&why));
    }

    /// Waits for some adverts of the master, during which nobody gains or loses the address.
    ///
    /// # Panics
    /// When somebody does, or no advert comes.
    pub fn until_settled_at(&self, role: &str) {
        self.until_alone(role);
        let before = self.watch.tenures().len();
        if let Some(ours) = self.ours() {
            let adverts = || {
                let instance = ours.instance(self.router.id);
                instance["sent"].as_u64().unwrap_or(0) + instance["received"].as_u64().unwrap_or(0)
            };
            let enough = adverts() + 4;
            deadline::until("adverts", self.router.interval * 4 + PATIENCE, || {
                let so_far = adverts();
                if so_far >= enough { Ok(()) } else { Err(format!("{so_far} of {enough}")) }
            })
            .unwrap_or_else(|why| self.fail(&why));
        }
        let is_as_before = self.watch.tenures().len() == before && self.watch.holders() == [role];
        if !is_as_before {
            self.fail(&format!("{role} was to stay the master: {:?}", self.watch.tenures()));
        }
    }

    fn ours(&self) -> Option<&Gridfront> {
        self.balancers.iter().flatten().find_map(Balancer::ours)
    }

    /// Ends the test with what both have said.
    ///
    /// # Panics
    /// Always.
    pub fn fail(&self, why: &str) -> ! {
        let logs: Vec<String> = self
            .balancers
            .iter()
            .map(|balancer| balancer.as_ref().map_or_else(String::new, |of| tail(&of.log(), 25)))
            .collect();
        panic!(
            "{:?} {:?}: {why}\n--- {FIRST}\n{}\n--- {SECOND}\n{}",
            self.programs, self.router, logs[0], logs[1]
        )
    }
}

/// Waits until the kernel has given the interface its link-local address.
pub fn until_settled(machine: &Machine) {
    let mut route = machine.enter(|| Route::open().expect("a socket of rtnetlink"));
    deadline::until("a link-local address", PATIENCE, || {
        let list = route.addresses().map_err(|error| error.to_string())?;
        let is_usable = list.iter().any(|known| {
            known.address.to_string().starts_with("fe80:") && !known.is_tentative && known.index > 1
        });
        if is_usable { Ok(()) } else { Err(format!("{list:?}")) }
    })
    .unwrap_or_else(|why| panic!("{why}"));
}
