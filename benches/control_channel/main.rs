//! The door and haproxy (tcp mode) in front of the same real servers, on one core: CPU per operation, round trips,
//! memory, system calls, balance.
//!
//! `cargo bench --bench control_channel [-- --quick]`; writes its part of `benches/RESULTS.md` unless quick.
//!
//! ```text
//!   load generator ──▶ haproxy 1 ─┐                 rounds: haproxy 1, door 1, haproxy 2, door 2, and again,
//!                 ├──▶ haproxy 2 ─┤ stub            starting one further each time; CPU time of the one process
//!                 ├──▶ door 1    ─┼▶ FTP servers    in use, as the kernel counts it in nanoseconds
//!                 └──▶ door 2    ─┘
//! ```
//!
//! All of it runs on one core. With the system under test on another one, waking a sleeping thread over there is most
//! of what a lone command costs (on a virtual machine an exit to the hypervisor), and it varies; `--two-cores` shows.
#![allow(
    clippy::disallowed_methods,
    reason = "a bench reads the clock and waits; there is no runtime to hold up"
)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table is the product, progress goes to stderr"
)]

mod idle;
mod kernel_objects;
mod placement;
mod processor;
mod results;
#[path = "../support.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use results::Results;
use support::balancer::{Log, Product, Site};
use support::child::first_line;
use support::fleet::{Fleet, Load};
use support::real_server::RealServers;
use support::report::{self, load_average};
use support::rounds::Bounds;
use support::{cores, interrupt};

pub(crate) use support::Outcome;

/// Both ends of 9,000 sessions are in this process, and a balancer has as many: below the 20,000 that many machines
/// allow at most.
const DESCRIPTORS: u64 = 19_500;

#[derive(Parser)]
struct Options {
    /// Under a minute, a tenth of the work: shows that the bench works, not how fast the door is
    #[arg(long)]
    quick: bool,
    /// The door to measure
    #[arg(long, default_value = env!("CARGO_BIN_EXE_gridfront"))]
    door: PathBuf,
    /// The haproxy to measure
    #[arg(long, default_value = "/usr/sbin/haproxy")]
    haproxy: PathBuf,
    /// haproxy against itself only
    #[arg(long)]
    no_door: bool,
    /// Give the system under test a core to itself: every wake-up is then an interrupt to another core
    #[arg(long)]
    two_cores: bool,
    /// Where the results go; with --quick nowhere unless given
    #[arg(long)]
    output: Option<PathBuf>,
    /// Only the parts named: cpu, log, idle, calls, held
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// What cargo bench says; without it this does nothing
    #[arg(long, hide = true)]
    bench: bool,
}

/// How much is done.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) load: Load,
    /// Sessions that idle at once.
    pub(crate) idle_sessions: usize,
    /// How long they idle: one interval of the health checks, so that these count as they should.
    pub(crate) idle_window: Duration,
}

/// Many short samples rather than few long ones: what disturbs the machine lasts about as long as a sample, and a
/// median drops it.
const FULL: Scale = Scale {
    load: Load {
        sessions: 320,
        commands: 5000,
        bounds: Bounds { least: 21, most: 81, time: Duration::from_secs(40) },
    },
    idle_sessions: 9000,
    idle_window: Duration::from_secs(10),
};

const QUICK: Scale = Scale {
    load: Load {
        sessions: 320,
        commands: 5000,
        bounds: Bounds { least: 3, most: 9, time: Duration::from_secs(4) },
    },
    idle_sessions: 3000,
    idle_window: Duration::from_secs(1),
};

fn main() -> ExitCode {
    let options = Options::parse();
    support::start("control_channel", options.bench, || run(&options))
}

fn run(options: &Options) -> Outcome<()> {
    let start = Instant::now();
    let scale = if options.quick { QUICK } else { FULL };
    let products: &[Product] =
        if options.no_door { &[Product::Haproxy] } else { &[Product::Haproxy, Product::Door] };
    let wanted = |part: &str| options.only.is_empty() || options.only.iter().any(|only| only == part);
    interrupt::catch()?;
    raise_descriptor_limit()?;
    let allowed = cores::allowed()?;
    let (Some(first), Some(last)) = (allowed.first(), allowed.last()) else { return Err("no core".into()) };
    let under_test = if options.two_cores { *first } else { *last };
    // Before the stub servers start, whose thread inherits it.
    cores::pin(*last)?;
    let servers = RealServers::start(3)?;
    let directory = tempfile::Builder::new().prefix("gridfront-bench-").tempdir()?;
    let site = Site {
        programs: BTreeMap::from([
            (Product::Haproxy, options.haproxy.clone()),
            (Product::Door, options.door.clone()),
        ]),
        directory: directory.path(),
        core: under_test,
        real_servers: servers.addresses().to_vec(),
    };
    let mut results = Results::default();
    let mut how = circumstances(options, under_test, *last);
    {
        let progress = |part: &str| eprintln!("{:4} s  {part}", start.elapsed().as_secs());
        progress("starting two of each");
        let fleet = Fleet::start(&site, products, Log::Nowhere)?;
        if wanted("cpu") {
            progress("CPU per operation, round trips");
            processor::measure(&fleet, &scale.load, servers.addresses()[0], &mut results)?;
        }
        if wanted("log") {
            progress("the same with a log");
            processor::measure_logged(&site, products, &scale.load, &mut results)?;
        }
        if wanted("calls") {
            progress("system calls");
            if let Err(error) = placement::measure_system_calls(&site, &fleet, &mut results) {
                interrupt::check()?;
                results.missing.push(format!("system calls: {error}"));
            }
        }
        drop(fleet);
        if wanted("held") {
            progress("held sessions");
            placement::measure_held(&site, products, &servers, &mut results)?;
        }
        if wanted("idle") {
            progress("idle sessions");
            idle::measure(&site, products, &scale, &mut results)?;
        }
        progress("done");
    }
    how.push(format!("load average {} at the end, after {} s", load_average(), start.elapsed().as_secs()));
    results.missing.extend(not_measured());
    println!("{}", results.table());
    for note in results.notes.iter().chain(&how) {
        println!("{note}");
    }
    report::publish(options.output.as_deref(), options.quick, &results.document(&how))
}

fn raise_descriptor_limit() -> Outcome<()> {
    let now = getrlimit(Resource::Nofile);
    if now.maximum.is_some_and(|maximum| maximum < DESCRIPTORS) {
        return Err(format!(
            "at most {:?} open files allowed, {DESCRIPTORS} needed: raise `ulimit -Hn`",
            now.maximum
        )
        .into());
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(DESCRIPTORS), maximum: now.maximum })?)
}

/// Where and how these numbers came about.
fn circumstances(options: &Options, under_test: usize, load: usize) -> Vec<String> {
    let haproxy = options.haproxy.to_string_lossy();
    let door = options.door.to_string_lossy();
    let mut how = report::machine();
    how.extend([
        format!("door: {}, threads = 1, data_path = \"direct\", ftp checks every 10 s, log lines to /dev/null",
            first_line(&door, &["--version"])),
        format!("haproxy: {}, mode tcp, nbthread 1, leastconn, `check inter 10s`, `option tcplog` off",
            first_line(&haproxy, &["-v"])),
        format!("core {under_test} for what is measured, core {load} for clients and stub servers"),
        "CPU: first word of /proc/PID/task/*/schedstat, in ns, user and kernel; taken when the process has gone to sleep".into(),
        "user memory: `Anonymous` of /proc/PID/smaps_rollup, full less empty after 200 sessions; resident: `Rss`".into(),
        "kernel memory: the process's sockets and epoll watches, counted in /proc/PID/fd and fdinfo, times their sizes in /proc/slabinfo; buffers in use and the table of descriptors are not in it. cgroup v1 charges the TCP socket that a connection arrives on to nobody (`__inet_accept` does it for v2 only), so sums made with it are lower by that".into(),
        "system calls: strace -c -f, apart from the rest".into(),
        format!("load average {} at the start", load_average()),
    ]);
    how
}

/// The lines of the design's table that wait for other parts of the product.
fn not_measured() -> impl Iterator<Item = String> {
    [
        "CPU per session and per command against ProFTPD mod_proxy: the bench `comparison` does",
        "direct data throughput with and without the door: data never passes the door on the direct path",
    ]
    .map(str::to_owned)
    .into_iter()
}
