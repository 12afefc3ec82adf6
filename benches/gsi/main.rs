//! GSI that ends at the door, in front of a real Globus server: what a login costs beside one that goes straight to the server, what
//! a command costs beside one in clear, a burst of logins, and memory over many.
//!
//! `cargo bench --bench gsi [-- --quick]`; writes its part of `benches/RESULTS.md` unless quick. The server makes an RSA key for every
//! login, which takes it some 80 ms of a core, three times as long or a third: hence many logins, and means.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench reads the clock and waits; the table is the product, progress goes to stderr"
)]

#[path = "../../integration/support/certificates.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "the tests' own, of which this uses a part"
)]
mod certificates;
mod session;
mod site;
#[path = "../support.rs"]
mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use gridfront::proto::gsi::InitiatorConfig;

use session::Session;
use site::{Door, Site};
pub(crate) use support::Outcome;
use support::report::{self, list, load_average, number};
use support::rounds::median;
use support::usage::{cpu_nanoseconds_without, memory};
use support::{cores, interrupt};

/// Logins at once, against a pool that has just begun to fill.
const BURST: usize = 64;

#[derive(Parser)]
struct Options {
    /// A fifth of the work: shows that the bench works, not how fast the door is
    #[arg(long)]
    quick: bool,
    /// The door to measure
    #[arg(long, default_value = env!("CARGO_BIN_EXE_gridfront"))]
    door: PathBuf,
    /// Where the results go; with --quick nowhere unless given
    #[arg(long)]
    output: Option<PathBuf>,
    /// What cargo bench says; without it this does nothing
    #[arg(long, hide = true)]
    bench: bool,
}

/// One line of the table: a value, and what it must not exceed.
struct Row {
    metric: &'static str,
    unit: &'static str,
    value: f64,
    must: Option<f64>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    support::start("gsi", options.bench, || run(&options))
}

fn run(options: &Options) -> Outcome<()> {
    let start = Instant::now();
    let (logins, commands) = if options.quick { (20, 1000) } else { (200, 20_000) };
    let progress = |part: &str| eprintln!("{:4} s  {part}", start.elapsed().as_secs());
    interrupt::catch()?;
    let allowed = cores::allowed()?;
    let (Some(first), Some(last)) = (allowed.first(), allowed.last()) else { return Err("no core".into()) };
    let mut how = report::machine();
    how.push(format!(
        "core {last} for the door, with `threads = 1`; core {first} for the server and the clients, loopback"
    ));
    how.push("the door's CPU: first word of /proc/PID/task/*/schedstat, without the threads that make RSA keys, some 80 ms a login".into());
    how.push(format!("load average {} at the start", load_average()));
    cores::pin(*first)?;
    let site = Site::start(*first)?;
    let config = site.client()?;
    let mut rows = Vec::new();

    progress("a burst against a pool that has just begun to fill");
    rows.extend(burst(&site.start_door(&options.door, *last)?, &config)?);
    let door = site.start_door(&options.door, *last)?;
    progress("logins, straight and through the door in turn");
    rows.extend(measure_logins(&site, &door, &config, logins)?);
    progress("commands, in clear and under GSI");
    rows.extend(measure_commands(&door, &config, commands)?);
    progress("done");

    how.push(format!("load average {} at the end, after {} s", load_average(), start.elapsed().as_secs()));
    let cells = rows.iter().map(|row| {
        let must = row.must.map_or("–".into(), |must| format!("≤ {must}"));
        let result = row.must.map_or("–", |must| if row.value <= must { "met" } else { "missed" });
        [row.metric.to_owned(), row.unit.to_owned(), number(Some(row.value)), must, result.to_owned()]
    });
    let table = report::table(["metric", "unit", "value", "must", "result"], cells);
    println!("{table}");
    how.iter().for_each(|line| println!("{line}"));
    let mut part = report::begin("gsi") + "Written whole by that command; do not edit.\n\n";
    list(&mut part, &how);
    report::publish(options.output.as_deref(), options.quick, &format!("{part}\n## Table: GSI\n\n{table}"))
}

fn burst(door: &Door, config: &InitiatorConfig) -> Outcome<Vec<Row>> {
    let begun = Instant::now();
    let failed = std::thread::scope(|scope| {
        let logins: Vec<_> = (0..BURST)
            .map(|_| {
                scope.spawn(|| Session::log_in(door.gsi, config).map(drop).map_err(|error| error.to_string()))
            })
            .collect();
        let ended = logins.into_iter().map(|login| login.join().unwrap_or_else(|_| Err("a panic".into())));
        ended.filter_map(Result::err).inspect(|error| eprintln!("        {error}")).count()
    });
    Ok(vec![
        Row {
            metric: "64 logins at once, no key ready: failed",
            unit: "logins",
            value: failed as f64,
            must: Some(0.0),
        },
        Row {
            metric: "the same: until the last was in",
            unit: "s",
            value: begun.elapsed().as_secs_f64(),
            must: None,
        },
    ])
}

fn measure_logins(site: &Site, door: &Door, config: &InitiatorConfig, count: usize) -> Outcome<Vec<Row>> {
    let timed = |address: SocketAddr| -> Outcome<f64> {
        let begun = Instant::now();
        drop(Session::log_in(address, config)?);
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    };
    // No login waits for a key, and what is made once is made.
    door.until_keys_are_ready()?;
    for address in [site.server, door.gsi] {
        timed(address)?;
    }
    let (mut straight, mut through, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    let before = memory(door.program.pid())?.anonymous;
    for _ in 0..count {
        interrupt::check()?;
        straight.push(timed(site.server)?);
        let used = own_cpu(door.program.pid())?;
        through.push(timed(door.gsi)?);
        // The end of the session is its too.
        std::thread::sleep(Duration::from_millis(10));
        cpu.push((own_cpu(door.program.pid())? - used) as f64 / 1e6);
    }
    let grown = memory(door.program.pid())?.anonymous.saturating_sub(before);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let row = |metric, unit, value, must| Row { metric, unit, value, must };
    Ok(vec![
        row("login straight to the server, mean", "ms", mean(&straight), None),
        row("login through the door, mean", "ms", mean(&through), None),
        row("through the door / straight", "ratio", mean(&through) / mean(&straight), Some(1.3)),
        row(
            "the door's CPU for a login and its end, without its key, median",
            "ms",
            median(cpu).unwrap_or(f64::NAN),
            Some(8.0),
        ),
        row("memory after all logins, more than before", "KiB", grown as f64 / 1024.0, None),
    ])
}

fn measure_commands(door: &Door, config: &InitiatorConfig, count: usize) -> Outcome<Vec<Row>> {
    const ROUNDS: usize = 11;
    let pid = door.program.pid();
    let mut clear = Session::anonymous(door.clear)?;
    let mut protected = Session::log_in(door.gsi, config)?;
    let (mut plain, mut wrapped, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        interrupt::check()?;
        let cost = |session: &mut Session| -> Outcome<f64> {
            let before = own_cpu(pid)?;
            for _ in 0..count / ROUNDS {
                session.command("NOOP", "200")?;
            }
            Ok((own_cpu(pid)? - before) as f64 / 1e3 / (count / ROUNDS) as f64)
        };
        let (one, other) = (cost(&mut clear)?, cost(&mut protected)?);
        plain.push(one);
        wrapped.push(other);
        ratios.push(other / one);
    }
    let row =
        |metric, unit, values, must| Row { metric, unit, value: median(values).unwrap_or(f64::NAN), must };
    Ok(vec![
        row("the door's CPU for a NOOP in clear", "µs", plain, None),
        row("the door's CPU for a NOOP under GSI on both sides", "µs", wrapped, None),
        row("under GSI / in clear", "ratio", ratios, Some(1.5)),
    ])
}

/// CPU time of the threads that serve, in nanoseconds.
fn own_cpu(pid: u32) -> Outcome<u64> {
    cpu_nanoseconds_without(pid, "keys-")
}
