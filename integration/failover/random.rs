//! Cuts, kills, stops and failures of a tracked script at random, by seed: at most one owner outside of takeovers, and always one
//! while any balancer is well.
//!
//! `GRIDFRONT_FAILOVER_SECONDS` says for how long (60; a quarter of an hour with `GRIDFRONT_LONG=1`), `GRIDFRONT_SEED` repeats it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{INTERVAL, balancer, virtual_address};
use crate::support::balancer::{Balancer, PATIENCE};
use crate::support::netns::Lab;
use crate::support::ownership::Watch;
use crate::support::seeded::{Seeded, long, seed};
use crate::support::skip;

const ROLES: [&str; 2] = ["lb1", "lb2"];
/// After an event: three intervals, skew, a script's interval and its time, the address' lifetime where nothing else ends it, and
/// what a busy machine adds.
const WINDOW: Duration = Duration::from_millis(5500);
/// How long things stay as they are after it, so that there is something to judge.
const CALM: Duration = Duration::from_millis(1500);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Event {
    Cut(usize),
    Plug(usize),
    Kill(usize),
    Stop(usize),
    Start(usize),
    ScriptFails(usize),
    ScriptWorks(usize),
}

#[derive(Clone, Copy, Debug, Default)]
struct Health {
    is_cut: bool,
    is_down: bool,
    script_fails: bool,
}

impl Health {
    fn is_well(self) -> bool {
        !self.is_cut && !self.is_down && !self.script_fails
    }
}

struct Course {
    at: Instant,
    event: Event,
    /// Whether an owner is to be expected from then on.
    any_well: bool,
}

#[allow(clippy::disallowed_methods, reason = "tests measure the real clock")]
fn now() -> Instant {
    Instant::now()
}

fn seconds() -> u64 {
    let asked = std::env::var("GRIDFRONT_FAILOVER_SECONDS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(if long() { 900 } else { 60 })
}

fn choose(random: &mut Seeded, health: &[Health; 2]) -> Event {
    let which = random.within(0..2);
    let now = health[which];
    match random.within(0..4) {
        _ if now.is_down => Event::Start(which),
        0 if now.is_cut => Event::Plug(which),
        0 => Event::Cut(which),
        1 => Event::Kill(which),
        2 => Event::Stop(which),
        _ if now.script_fails => Event::ScriptWorks(which),
        _ => Event::ScriptFails(which),
    }
}

#[test]
fn there_is_one_owner_whatever_happens_to_the_other() {
    if !skip::unless_present("random failovers", &["ip", "nsenter", "test"]) {
        return;
    }
    let seed = seed();
    println!("GRIDFRONT_SEED={seed}");
    let mut random = Seeded::new(seed);
    let lab = Lab::new(&[(ROLES[0], 11), (ROLES[1], 12)]);
    let flags = tempfile::tempdir().unwrap();
    let flag = |which: usize| flags.path().join(format!("well-{which}"));
    let keys = "track_scripts = [\"well\"]\n";
    let mut balancers = [0, 1].map(|which| {
        std::fs::write(flag(which), "").unwrap();
        let script = format!(
            "\n[[vrrp_script]]\nname = \"well\"\nscript = [\"/usr/bin/test\", \"-e\", \"{}\"]\ninterval = \"200ms\"\n",
            flag(which).display()
        );
        let priority = [110, 100][which];
        balancer(lab.machine(ROLES[which]), priority, INTERVAL, keys, &script)
    });
    balancers.iter_mut().for_each(Balancer::start);
    let watch =
        Watch::start(&ROLES.map(|role| lab.machine(role)), virtual_address(), Duration::from_millis(2));
    watch.until_alone(ROLES[0], PATIENCE).unwrap_or_else(|why| panic!("{why}\n{}", balancers[0].log()));

    let begun = now();
    let mut health = [Health::default(); 2];
    let mut course: Vec<Course> = Vec::new();
    while begun.elapsed() < Duration::from_secs(seconds()) {
        let event = choose(&mut random, &health);
        let at = now();
        match event {
            Event::Cut(which) => {
                lab.plug(ROLES[which], false);
                health[which].is_cut = true;
            }
            Event::Plug(which) => {
                lab.plug(ROLES[which], true);
                health[which].is_cut = false;
            }
            Event::Kill(which) => {
                let process = balancers[which].process.take();
                health[which].is_down = process.is_some_and(|mut process| {
                    process.signal(Signal::KILL);
                    process.wait(PATIENCE).is_some()
                });
            }
            Event::Stop(which) => {
                let process = balancers[which].process.take();
                health[which].is_down = process.is_some_and(|mut process| {
                    process.signal(Signal::TERM);
                    process.wait(PATIENCE).is_some()
                });
            }
            Event::Start(which) => {
                balancers[which].start();
                health[which].is_down = false;
            }
            Event::ScriptFails(which) => {
                std::fs::remove_file(flag(which)).unwrap();
                health[which].script_fails = true;
            }
            Event::ScriptWorks(which) => {
                std::fs::write(flag(which), "").unwrap();
                health[which].script_fails = false;
            }
        }
        course.push(Course { at, event, any_well: health.iter().any(|health| health.is_well()) });
        let until = now() + WINDOW + CALM + Duration::from_millis(random.within(0..500) as u64);
        while now() < until {
            std::thread::park_timeout(until.saturating_duration_since(now()));
        }
    }
    let (report, wrongs) = judge(begun, &course, &watch);
    println!("{report}");
    std::fs::write(skip::results().join("failover-random.txt"), format!("seed {seed}\n{report}")).unwrap();
    let logs = balancers.each_ref().map(Balancer::log).join("\n---\n");
    assert!(wrongs.is_empty(), "{}\n{logs}", wrongs.join("\n"));
}

/// Looks at every calm: from a window after an event to the next event.
fn judge(begun: Instant, course: &[Course], watch: &Watch) -> (String, Vec<String>) {
    let (tenures, end) = (watch.tenures(), now());
    let (mut report, mut wrongs) = (String::new(), Vec::new());
    for (number, step) in course.iter().enumerate() {
        let (from, to) = (step.at + WINDOW, course.get(number + 1).map_or(end, |next| next.at));
        let mut moments = vec![from];
        let edges = tenures.iter().flat_map(|tenure| [Some(tenure.from), tenure.to]).flatten();
        moments.extend(edges.filter(|at| (from..to).contains(at)));
        let owners_at = |at: Instant| {
            let holds =
                tenures.iter().filter(|tenure| tenure.from <= at && tenure.to.is_none_or(|to| at < to));
            holds.map(|tenure| tenure.role.as_str()).collect::<Vec<_>>()
        };
        let last = owners_at(from);
        for moment in moments {
            let owners = owners_at(moment);
            if owners.len() > 1 || owners.is_empty() == step.any_well {
                wrongs.push(format!(
                    "{:.3} s, {:.3} s after {:?}: {owners:?} own the address, and {} is well",
                    (moment - begun).as_secs_f64(),
                    (moment - step.at).as_secs_f64(),
                    step.event,
                    if step.any_well { "somebody" } else { "nobody" }
                ));
            }
        }
        writeln!(
            report,
            "{:8.3} s  {:<16} owner {last:?}",
            (step.at - begun).as_secs_f64(),
            format!("{:?}", step.event)
        )
        .expect("a string takes lines");
    }
    let changes = tenures.len();
    writeln!(report, "{} events, {changes} tenures, {} wrongs", course.len(), wrongs.len())
        .expect("a string takes lines");
    (report, wrongs)
}
