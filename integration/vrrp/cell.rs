//! How long an address is nobody's when its master goes, with two balancers of a kind: ours, or keepalived's.

use std::time::Duration;

use super::balancer::{Program, VirtualRouter};
use super::pair::{FIRST, Pair, SECOND};
use crate::support::ownership::now;

/// Between two looks at who has the address.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// With shorter adverts a busy machine without real-time priorities may see another master for once, which is no fault.
const BEFORE_STALLS: Duration = Duration::from_millis(50);
const PRIORITIES: [u8; 2] = [150, 100];

/// How the master goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// `kill -9` of all its processes, but for our guardian.
    Kill,
    /// SIGTERM.
    Stop,
    /// The cable out.
    Cut,
}

impl Event {
    pub fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Stop => "SIGTERM",
            Self::Cut => "cable cut",
        }
    }
}

/// One cell of the table.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub program: Program,
    pub interval: Duration,
    pub event: Event,
}

impl Cell {
    /// All that are compared, and the one that keepalived cannot do.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for millis in [1000, 100] {
            for event in [Event::Kill, Event::Stop, Event::Cut] {
                for program in [Program::Keepalived, Program::Ours] {
                    all.push(Self { program, interval: Duration::from_millis(millis), event });
                }
            }
        }
        let interval = Duration::from_millis(10);
        all.push(Self { program: Program::Ours, interval, event: Event::Cut });
        all
    }

    /// What the protocol wants. A guardian says priority 0 for whoever was killed.
    pub fn formula(&self) -> Duration {
        let router = VirtualRouter::new(1, self.interval);
        match (self.event, self.program) {
            (Event::Stop, _) | (Event::Kill, Program::Ours) => router.skew(PRIORITIES[1]),
            (Event::Kill | Event::Cut, _) => router.down(PRIORITIES[1]),
        }
    }

    fn settle(&self, pair: &Pair) {
        if self.interval < BEFORE_STALLS {
            pair.until_alone(FIRST);
        } else {
            pair.until_settled_at(FIRST);
        }
    }

    /// Whether the address stays on the dead master, for ever: keepalived has nobody who removes it.
    pub fn is_left_behind(&self) -> bool {
        (self.event, self.program) == (Event::Kill, Program::Keepalived)
    }

    /// So many takeovers, one after the other. What each took, and how long both had the address.
    pub fn measure(&self, rounds: usize) -> Vec<(Duration, Duration)> {
        let router = VirtualRouter::new(1, self.interval);
        let mut pair = Pair::new(router, [self.program; 2], PRIORITIES, LOOK_EVERY);
        pair.start();
        self.settle(&pair);
        let measured = (0..rounds).map(|_| {
            let event = now();
            match self.event {
                Event::Cut => pair.lab.plug(FIRST, false),
                Event::Stop => pair.balancers[0].as_ref().unwrap().request_end(),
                Event::Kill => pair.balancers[0].as_mut().unwrap().kill(),
            }
            let took = pair.taken(SECOND, event, self.formula());
            match self.event {
                Event::Cut => pair.until_alone(SECOND),
                Event::Stop => pair.balancers[0].as_mut().unwrap().wait(),
                Event::Kill if self.is_left_behind() => {}
                Event::Kill => pair.until_alone(SECOND),
            }
            let overlap = pair.watch.overlap(event);
            if self.event == Event::Cut {
                pair.lab.plug(FIRST, true);
            } else {
                pair.start_one(0);
            }
            self.settle(&pair);
            (took, overlap)
        });
        measured.collect()
    }
}
