//! Everything goes wrong at once, by seed: real and simulated clients transfer files through the door while servers die, networks
//! break, certificates change and descriptors run out. Judged at the end: whatever a client was told is there is there, byte for
//! byte; nobody waits past the time-outs; the door gives back all that it took, and lives.
//!
//! `GRIDFRONT_SEED` repeats the faults, `GRIDFRONT_CHAOS_SECONDS` says for how long (60; an hour with `GRIDFRONT_LONG=1`), and
//! `GRIDFRONT_BINARY` names the door to be tried, where it is not the one that Cargo has built.

mod bad_line;
mod ledger;
mod log_reader;
mod phase;
mod plan;
mod probe;
mod programs;
mod simulated;
mod vanishing;
pub mod vital_signs;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use ledger::Ledger;
use phase::Phase;
use plan::{Fault, Step};
use programs::Surroundings;
use simulated::{Crowd, STRANGER};
use vital_signs::{Base, VitalSigns};
use world::World;

use crate::support::client::Desk;
use crate::support::deadline::{self, Stopwatch};
use crate::support::seeded::{Seeded, long, seed};
use crate::support::{grid, other_servers, skip};

/// Faults for [`plan::FAULTY`], repair, and calm until then.
const WINDOW: Duration = Duration::from_secs(20);
/// Calm lasts so long at least, however long the repair took.
const CALM: Duration = Duration::from_secs(3);
/// Transfers before the first fault, so that what is made once is made.
const WARM_UP: Duration = Duration::from_secs(4);
/// Real clients at once.
const HANDS: usize = 3;
/// Between two samples of memory.
const BEAT: Duration = Duration::from_millis(200);
/// What the door may keep of memory: the allocator's arenas and tables at the size of the worst moment.
const KEPT_MEMORY: u64 = 24 << 20;

#[test]
fn under_every_fault_what_is_acknowledged_is_identical_and_the_door_gives_back_all() {
    let programs = programs::PROGRAMS.iter().chain(grid::PROGRAMS).chain(other_servers::PROGRAMS);
    if !skip::unless_present("the chaos run", &programs.copied().collect::<Vec<_>>()) {
        return;
    }
    let seed = seed();
    println!("GRIDFRONT_SEED={seed}");
    let report = run(seed, length());
    println!("{report}");
    let keep = |file: &str, text: &str| {
        std::fs::write(skip::results().join(file), text).expect("target/integration takes a file");
    };
    keep("chaos.txt", &report.text);
    keep("chaos-wrongs.txt", &report.wrongs.join("\n\n"));
    assert!(
        report.wrongs.is_empty(),
        "GRIDFRONT_SEED={seed}: {} wrongs\n{}",
        report.wrongs.len(),
        report.first_lines()
    );
}

/// What the run found.
struct Report {
    text: String,
    wrongs: Vec<String>,
}

impl Report {
    /// What is wrong; the whole of it is in `chaos-wrongs.txt`.
    fn first_lines(&self) -> String {
        let shorten = |wrong: &String| wrong.lines().take(8).collect::<Vec<_>>().join("\n");
        self.wrongs.iter().map(shorten).collect::<Vec<_>>().join("\n\n")
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// `GRIDFRONT_CHAOS_SECONDS`, or a minute, or an hour.
fn length() -> Duration {
    let seconds = std::env::var("GRIDFRONT_CHAOS_SECONDS");
    let seconds = seconds.map(|text| text.parse().expect("GRIDFRONT_CHAOS_SECONDS is a number"));
    Duration::from_secs(seconds.unwrap_or(if long() { 3600 } else { 60 }))
}

/// Ends the clients' loops, also when the one who makes faults panics.
struct Finish<'a>(&'a Phase);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.finish();
    }
}

fn run(seed: u64, length: Duration) -> Report {
    let mut numbers = Seeded::new(seed);
    let world = World::start();
    let commands = world.commands();
    let windows = length.as_secs().div_ceil(WINDOW.as_secs()).max(1);
    let plan: Vec<Vec<Step>> = (0..windows).map(|_| plan::window(&mut numbers, commands)).collect();

    let (ledger, phase) = (Arc::new(Ledger::default()), Arc::new(Phase::default()));
    let id = world.door.id();
    let desk = Desk::of(&world.site, world.site.machine("client"));
    let door = world.site.machine("door").v4();
    let servers = grid::REAL_SERVERS.map(|role| (world.site.machine(role).v4(), grid::PORT).into());
    let (data, authority) = (world.site.data_directory(), World::authority_file(&world.site));
    world.site.machine("client").set_address(STRANGER, true);
    let world = Arc::new(Mutex::new(world));
    let crowd = Crowd {
        door: IpAddr::from(door),
        ledger: Arc::clone(&ledger),
        phase: Arc::clone(&phase),
        data: data.clone(),
        world: Arc::clone(&world),
    };
    let surroundings = Surroundings {
        desk: &desk,
        ledger: &ledger,
        phase: &phase,
        world: &world,
        data,
        address: door.to_string(),
        authority,
    };
    let base = Base::of(id);
    let signs = Mutex::new(VitalSigns::since(id, base));
    let mut counts = BTreeMap::new();
    phase.set_calm(true);
    std::thread::scope(|scope| {
        for hand in 0..HANDS {
            let (surroundings, numbers) = (&surroundings, Seeded::new(numbers.next()));
            scope.spawn(move || surroundings.work(hand, numbers));
        }
        let (desk, crowd, numbers) = (&desk, &crowd, Seeded::new(numbers.next()));
        scope.spawn(move || desk.machine().enter(|| crowd.run(numbers)));
        let (servers, phase_of_probe) = (&servers, &phase);
        scope.spawn(move || desk.machine().enter(|| probe::watch(servers, phase_of_probe)));
        scope.spawn(|| {
            while !phase.is_over() {
                lock(&signs).sample();
                std::thread::park_timeout(BEAT);
            }
        });
        let _finish = Finish(&phase);
        wait_until(Stopwatch::start(), WARM_UP);
        lock(&signs).base.resident = vital_signs::resident(id);
        for (number, steps) in plan.iter().enumerate() {
            if let Err(why) = window(steps, &world, &phase, &ledger, &mut counts) {
                ledger.wrong(format!("window {number}: {why}"));
                return;
            }
        }
    });
    conclude(seed, &mut lock(&world), &ledger, &lock(&signs), &counts)
}

/// The faults of a window, their repair, and calm.
fn window(
    steps: &[Step],
    world: &Mutex<World>,
    phase: &Phase,
    ledger: &Ledger,
    counts: &mut BTreeMap<&'static str, u64>,
) -> Result<(), String> {
    // What is to be done when; ends come before begins.
    let mut events: Vec<(Duration, bool, Fault)> = Vec::new();
    for step in steps {
        events.push((step.at, true, step.fault));
        events.push((step.end(), false, step.fault));
    }
    events.sort_by_key(|(at, begins, _)| (*at, *begins));
    phase.set_calm(false);
    let watch = Stopwatch::start();
    for (at, begins, fault) in events {
        wait_until(watch, at);
        let mut world = lock(world);
        let done = if begins { world.begin(fault) } else { world.end(fault) };
        world.alive()?;
        if let Err(why) = done {
            ledger.wrong(format!("{fault}, {}: {why}", if begins { "begun" } else { "ended" }));
        }
        if begins {
            *counts.entry(fault.kind()).or_default() += 1;
        }
    }
    let mut world = lock(world);
    if let Err(why) = world.recover() {
        return Err(format!("{why}\n{}", world.diagnosis()));
    }
    drop(world);
    phase.set_calm(true);
    let calm = Stopwatch::start();
    wait_until(watch, WINDOW);
    wait_until(calm, CALM);
    Ok(())
}

fn wait_until(watch: Stopwatch, at: Duration) {
    while let Some(left) = at.checked_sub(watch.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// Nobody is there any more: what is left is judged.
fn conclude(
    seed: u64,
    world: &mut World,
    ledger: &Ledger,
    signs: &VitalSigns,
    counts: &BTreeMap<&'static str, u64>,
) -> Report {
    let id = world.door.id();
    let quiet = deadline::until("no session, no relay port, no descriptor left", quiet_within(), || {
        world.alive()?;
        let status = world.door.status()?;
        let left = leftovers(&status);
        if !left.is_empty() {
            return Err(left.join("; "));
        }
        let now = crate::support::leftovers::Leftovers::of_process(id);
        if now.returned_to(signs.base.leftovers) {
            Ok(status)
        } else {
            Err(format!("{now:?}, before {:?}", signs.base.leftovers))
        }
    });
    let expect = |what: &str, holds: bool| {
        if !holds {
            ledger.wrong(format!("{what}\n{}", world.door.log_tail()));
        }
    };
    let status = quiet.unwrap_or_else(|why| {
        ledger.wrong(format!("{why}\n{}", world.diagnosis()));
        world.door.status().unwrap_or_default()
    });
    expect(&format!("panics: {}", status["panics"]), status["panics"] == 0);
    expect(&format!("another process: {}", status["pid"]), status["pid"] == id);
    let (identical, calm) = ledger.totals();
    expect(&format!("{identical} whole files, {calm} attempts in calm: no test"), identical > 0 && calm > 0);
    let end = Base::of(id);
    let grown = end.resident.saturating_sub(signs.base.resident);
    expect(&format!("memory grew by {grown} bytes"), grown <= KEPT_MEMORY);

    let mut text = format!("Chaos of {:.0} s, GRIDFRONT_SEED={seed}\n\n", signs.elapsed().as_secs_f32());
    for (kind, count) in counts {
        writeln!(text, "{count:>5}  {kind}").expect("a string takes lines");
    }
    let mebibytes = |bytes: f64| bytes / 1_048_576.0;
    #[allow(clippy::cast_precision_loss, reason = "bytes of a process are below 2^52")]
    write!(
        text,
        "{:>5}  in all\n\n{}\nmemory, MiB: {:.1} after the warm-up, {:.1} at most, {:.1} at the end\n\
         descriptors: {} at the start, {} at most, {} at the end\nlog lines lost: {}\n",
        counts.values().sum::<u64>(),
        ledger.table(),
        mebibytes(signs.base.resident as f64),
        mebibytes(signs.most_memory()),
        mebibytes(end.resident as f64),
        signs.base.descriptors,
        signs.most_descriptors(),
        end.descriptors,
        status["log_lines_lost"],
    )
    .expect("a string takes lines");
    let wrongs = ledger.wrongs();
    if wrongs.is_empty() {
        text.push_str("every acknowledged file is identical\n");
    } else {
        writeln!(text, "{} WRONGS, see chaos-wrongs.txt", wrongs.len()).expect("a string takes lines");
    }
    Report { text, wrongs }
}

/// A transfer that stalls has been ended, then its session, and the descriptors of all have been closed. Longest, and rarely,
/// takes what a server has sent before it died to a client that has vanished: two minutes (`STALLED_FOR`).
fn quiet_within() -> Duration {
    Duration::from_secs(120) + world::IDLE_TIMEOUT * 2 + Duration::from_secs(20)
}

/// What `status` counts that is nobody's.
fn leftovers(status: &Value) -> Vec<String> {
    let mut left = Vec::new();
    let mut check = |what: String, value: &Value| {
        if *value != 0 {
            left.push(format!("{what}: {value}"));
        }
    };
    check("sessions".into(), &status["sessions"]);
    for service in status["virtual_servers"].as_array().into_iter().flatten() {
        check(format!("{} sessions", service["name"]), &service["sessions"]);
        check(format!("{} relay ports", service["name"]), &service["relay"]["ports_in_use"]);
        for server in service["real_servers"].as_array().into_iter().flatten() {
            check(format!("{} {} sessions", service["name"], server["name"]), &server["sessions"]);
        }
    }
    left
}

/// What a thread that panicked has left is still of use.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
