//! What the door takes over time: memory by thousands of idle sessions, by hundreds of thousands that come and go, and
//! transfers that outlast what an operator does meanwhile.
//!
//! `GRIDFRONT_LONG=1` makes ten minutes of ten seconds, and 1 GiB of 64 MiB; `GRIDFRONT_SOAK_SECONDS` is another length.

mod sessions;
mod transfers;

use std::fmt::Write as _;
use std::fs::File;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use sessions::{Churn, Held, RealServer, UNDER_WAY};

use crate::chaos::vital_signs::{Base, VitalSigns, resident};
use crate::support::deadline::{self, Stopwatch};
use crate::support::local_door::{LocalDoor, Setup};
use crate::support::netns::Lab;
use crate::support::seeded::long;
use crate::support::skip;

/// Sessions held at once.
const IDLE: usize = 9000;
/// Most that each may take of resident memory, in bytes.
const MOST_PER_SESSION: u64 = 2048;
/// More than the process had before, once all have gone.
const MOST_KEPT: u64 = 6 << 20;
/// Sessions a second.
const RATE: usize = 1000;
/// Fewer would prove nothing; a machine that others use as well has to manage that.
const LEAST_RATE: f64 = 100.0;
/// What the straight line through the samples of memory may rise by, over the whole time: the allocator's arenas grow to the
/// size of the worst moment, which on a busy machine comes late. In ten minutes it is seven bytes a session.
const MOST_RISE: f64 = 4_194_304.0;
/// The part of the time in which tables and arenas find their size.
const SETTLING: f64 = 0.2;

/// Work in a network of its own, where no other test uses ports.
fn alone(what: &str, work: impl FnOnce() + Send) {
    if skip::unless_present(what, &["ip"]) {
        let lab = Lab::new(&[("door", 1)]);
        lab.machine("door").enter(work);
    }
}

fn start_door(server: &RealServer) -> LocalDoor {
    let nowhere = File::options().write(true).open("/dev/null").expect("it is always there");
    Setup::of(&[server.address()]).start_with_output(nowhere)
}

fn keep(file: &str, text: &str) {
    println!("{text}");
    std::fs::write(skip::results().join(file), text).expect("target/integration takes a file");
}

/// Waits until nothing is left of the sessions: neither counts nor descriptors.
fn until_as_before(door: &LocalDoor, before: &Base) {
    door.until_empty();
    before.leftovers.until_again(door);
}

#[test]
#[allow(clippy::cast_precision_loss, reason = "bytes of a process are below 2^52")]
fn nine_thousand_idle_sessions_take_2_kib_each_and_leave_nothing() {
    alone("nine thousand idle sessions", || {
        // Two descriptors a session in the door, and two in this process.
        let limit = crate::support::process::raise_descriptors();
        if limit < 2 * IDLE as u64 + 1000 {
            return skip::skipped(
                "nine thousand idle sessions",
                &format!("{limit} descriptors, see ulimit -n"),
            );
        }
        let server = RealServer::start();
        let door = start_door(&server);
        drop(Held::open(door.address(), 200));
        door.until_empty();
        let before = Base::of(door.id());
        let watch = Stopwatch::start();
        let held = Held::open(door.address(), IDLE);
        let opened_in = watch.elapsed();
        door.until("all sessions", |status| status["sessions"] == IDLE);
        let full = resident(door.id());
        let busy = door.processor_time();
        let watch = Stopwatch::start();
        std::thread::park_timeout(Duration::from_secs(2));
        let (used, idle_for) = (door.processor_time() - busy, watch.elapsed());
        drop(held);
        until_as_before(&door, &before);
        // Memory goes back with the last session, and the check of the next second.
        let kept = deadline::until("memory given back", Duration::from_secs(10), || {
            let kept = resident(door.id()).saturating_sub(before.resident);
            if kept <= MOST_KEPT { Ok(kept) } else { Err(format!("{kept} bytes kept")) }
        });
        let each = full.saturating_sub(before.resident) / IDLE as u64;
        let mut text =
            format!("{IDLE} idle sessions, opened in {:.1} s: {each} bytes each\n", opened_in.as_secs_f32());
        let mebibytes = |bytes: u64| bytes as f64 / 1_048_576.0;
        writeln!(
            text,
            "memory, MiB: {:.1} before, {:.1} with all, {:.1} once they had gone; processor {:.2} ms a second",
            mebibytes(before.resident),
            mebibytes(full),
            mebibytes(resident(door.id())),
            used.as_secs_f64() * 1e3 / idle_for.as_secs_f64(),
        )
        .expect("a string takes lines");
        keep("soak-idle.txt", &text);
        assert!(each <= MOST_PER_SESSION, "{each} bytes a session");
        kept.unwrap();
    });
}

#[test]
fn a_thousand_sessions_a_second_leave_memory_flat() {
    alone("a thousand sessions a second", || {
        let seconds = std::env::var("GRIDFRONT_SOAK_SECONDS");
        let seconds = seconds.map(|text| text.parse().expect("GRIDFRONT_SOAK_SECONDS is a number"));
        let time = Duration::from_secs(seconds.unwrap_or(if long() { 600 } else { 10 }));
        let server = RealServer::start();
        let door = start_door(&server);
        let before = Base::of(door.id());
        // As many at once as the worst moment has: arenas and tables have their size.
        drop(Held::open(door.address(), UNDER_WAY));
        let signs = Mutex::new(VitalSigns::since(door.id(), before));
        let over = AtomicBool::new(false);
        let churned = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    signs.lock().expect("no one panics").sample();
                    std::thread::park_timeout(time / 200);
                }
            });
            let churned = Churn { door: door.address(), rate: RATE, time, least: 0 }.run();
            over.store(true, SeqCst);
            churned
        });
        until_as_before(&door, &before);
        let signs = signs.into_inner().expect("no one panics");
        let (slope, noise) = signs.slope(time.mul_f64(SETTLING));
        let rise = slope * time.as_secs_f64();
        let rate = churned.whole as f64 / time.as_secs_f64();
        let text = format!(
            "{} sessions in {:.0} s, {rate:.0} a second, {} cut off by their client, {} failed\n\
             memory: {slope:+.0} bytes/s, {rise:+.0} bytes in all, standard deviation {noise:.0}; {:.1} MiB at most\n\
             MiB over time: {}\n",
            churned.whole + churned.cut,
            time.as_secs_f32(),
            churned.cut,
            churned.failed,
            signs.most_memory() / 1_048_576.0,
            signs.curve(),
        );
        keep("soak-churn.txt", &text);
        assert_eq!(churned.failed, 0, "sessions that failed");
        assert!(rate >= LEAST_RATE, "{rate:.0} sessions a second prove nothing");
        assert!(rise <= MOST_RISE, "memory rises: {text}");
        assert_eq!(door.status()["panics"], 0);
    });
}
