//! How long an address is nobody's when its master goes: two of this program beside two of keepalived, each on a link of its own in
//! namespaces, at the same time.
//!
//! `cargo bench --bench vrrp [-- --quick]`, as root; writes its part of `benches/RESULTS.md` unless quick.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench reads the clock and waits; the table is the product, progress goes to stderr"
)]

#[path = "../support.rs"]
mod measuring;
mod pairs;
mod support;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use measuring::report::{self, list, load_average, number};
use measuring::rounds::median;
use measuring::{Outcome, interrupt};
use pairs::balancer::Program;
use pairs::cell::Cell;
use support::{keepalived, skip};

/// What ours may take beyond keepalived's, in milliseconds.
const MARGIN: f64 = 10.0;
/// At the median, for adverts every 10 ms, which keepalived's takeovers are not compared with.
const SHORTEST: f64 = 50.0;

#[derive(Parser)]
struct Options {
    /// Two rounds: shows that the bench works, not how fast takeovers are
    #[arg(long)]
    quick: bool,
    /// Where the results go; with --quick nowhere unless given
    #[arg(long)]
    output: Option<PathBuf>,
    /// What cargo bench says; without it this does nothing
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    measuring::start("vrrp", options.bench, || run(&options))
}

fn run(options: &Options) -> Outcome<()> {
    if !skip::unless_present("takeovers beside keepalived", keepalived::PROGRAMS) {
        return Ok(());
    }
    let (start, rounds) = (Instant::now(), if options.quick { 2 } else { 12 });
    interrupt::catch()?;
    let mut how = report::machine();
    how.push(
        measuring::child::first_line("keepalived", &["--version"])
            + ", priorities 150 and 100, version 3, IPv4, multicast",
    );
    how.push(format!(
        "from the event until the other machine's kernel has the address, by rtnetlink every 2 ms; {rounds} takeovers each"
    ));
    how.push(format!("load average {} at the start", load_average()));
    let mut rows = Vec::new();
    let mut cells = Cell::all();
    while let Some(cell) = cells.first().copied() {
        interrupt::check()?;
        eprintln!("{:4} s  {cell:?}", start.elapsed().as_secs());
        let is_same = |other: &Cell| (other.interval, other.event) == (cell.interval, cell.event);
        let beside: Vec<Cell> = cells.iter().copied().filter(is_same).collect();
        cells.retain(|other| !is_same(other));
        rows.push(measure(&beside, rounds)?);
    }
    how.push(format!("load average {} at the end, after {} s", load_average(), start.elapsed().as_secs()));
    let head = [
        "adverts",
        "the master's end",
        "formula, ms",
        "keepalived, ms",
        "gridfront, ms",
        "slowest",
        "must",
        "result",
    ];
    let table = report::table(head, rows.into_iter());
    println!("{table}");
    how.iter().for_each(|line| println!("{line}"));
    let mut part = report::begin("vrrp") + "Written whole by that command; do not edit.\n\n";
    list(&mut part, &how);
    report::publish(
        options.output.as_deref(),
        options.quick,
        &format!("{part}\n## Table: takeovers, medians\n\n{table}"),
    )
}

/// One row: the same event for each program, at the same time.
fn measure(beside: &[Cell], rounds: usize) -> Outcome<[String; 8]> {
    let measured: Vec<Vec<(Duration, Duration)>> = std::thread::scope(|scope| {
        let running: Vec<_> = beside.iter().map(|cell| scope.spawn(move || cell.measure(rounds))).collect();
        running
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a takeover failed"))
            .collect::<Result<_, _>>()
    })?;
    let of = |program| {
        let place = beside.iter().position(|cell| cell.program == program)?;
        Some(measured[place].iter().map(|(took, _)| took.as_secs_f64() * 1e3).collect::<Vec<f64>>())
    };
    let ours = of(Program::Ours).ok_or("nothing of ours")?;
    let theirs = of(Program::Keepalived).and_then(median);
    let mut formulas: Vec<String> =
        beside.iter().map(|cell| number(Some(cell.formula().as_secs_f64() * 1e3))).collect();
    // A guardian's priority 0 makes one of them shorter.
    formulas.dedup();
    let slowest = ours.iter().copied().fold(0.0, f64::max);
    let (took, must) =
        (median(ours).ok_or("no takeover")?, theirs.map_or(SHORTEST, |theirs| theirs + MARGIN));
    let cell = beside.first().ok_or("no cell")?;
    Ok([
        format!("{} ms", cell.interval.as_millis()),
        cell.event.word().to_owned(),
        formulas.join(", "),
        number(theirs),
        number(Some(took)),
        number(Some(slowest)),
        format!("≤ {}", number(Some(must))),
        if took <= must { "met" } else { "missed" }.to_owned(),
    ])
}
