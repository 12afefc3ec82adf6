//! Data that crosses the door, beside haproxy (tcp mode, splice) and ProFTPD's mod_proxy in front of the same server:
//! CPU time per GiB, throughput, system calls, pipes.
//!
//! `cargo bench --bench relay [-- --quick]`; writes its part of `benches/RESULTS.md` unless quick.
//!
//! ```text
//!                 ┌──▶ haproxy 1, 2 ─┐                rounds: haproxy 1, door 1, haproxy 2, door 2, and so on, and
//!   load ─────────┼──▶ door 1, 2    ─┼─▶ source and   again, starting one further each time; CPU time of the one in
//!   generator     ├──▶ mod_proxy    ─┤   sink, FTP    use and of its children, as the kernel counts it in
//!                 └──────────────────┘                nanoseconds
//!      core 0            core 1           core 0
//! ```
//!
//! haproxy does not understand FTP: it forwards the server's passive ports one by one, and the client takes the port
//! out of the 227 and the address of its control connection, as curl does.
#![allow(
    clippy::disallowed_methods,
    reason = "a bench reads the clock and waits; there is no runtime to hold up"
)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table is the product, progress goes to stderr"
)]

mod client;
mod flow;
mod idle;
mod measure;
mod proxies;
mod results;
mod server;
#[path = "../support.rs"]
mod support;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;

use flow::Source;
use measure::{Load, SCENARIOS, Scale};
use proxies::{PORT, Product, Proxy, Site};
use results::Results;
use server::RealServer;
pub(crate) use support::Outcome;
use support::child::first_line;
use support::report::{self, load_average};
use support::rounds::Bounds;
use support::{cores, interrupt, mod_proxy};

/// The server's passive ports: a session holds one, those of the idle relays are all open at once, and those of one burst
/// may still be when the next begins.
const PORTS: RangeInclusive<u16> = 24_000..=24_159;
const RELAY_PORTS: RangeInclusive<u16> = 25_000..=25_199;

#[derive(Parser)]
struct Options {
    /// Under a minute, an eighth of the bytes: shows that the bench works, not how fast the door is
    #[arg(long)]
    quick: bool,
    /// The door to measure
    #[arg(long, default_value = env!("CARGO_BIN_EXE_gridfront"))]
    door: PathBuf,
    /// The haproxy to measure
    #[arg(long, default_value = "/usr/sbin/haproxy")]
    haproxy: PathBuf,
    /// The ProFTPD to measure
    #[arg(long, default_value = "/usr/sbin/proftpd")]
    proftpd: PathBuf,
    /// Without these: haproxy, tuned haproxy, door, mod_proxy
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Everything on one core, the load generator too
    #[arg(long)]
    one_core: bool,
    /// Where the results go; with --quick nowhere unless given
    #[arg(long)]
    output: Option<PathBuf>,
    /// Only the parts named: cpu, calls, idle
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// What cargo bench says; without it this does nothing
    #[arg(long, hide = true)]
    bench: bool,
}

const FULL: Scale =
    Scale { file: 256 << 20, bounds: Bounds { least: 7, most: 41, time: Duration::from_secs(60) } };

const QUICK: Scale =
    Scale { file: 32 << 20, bounds: Bounds { least: 3, most: 9, time: Duration::from_secs(5) } };

fn main() -> ExitCode {
    let options = Options::parse();
    support::start("relay", options.bench, || run(&options))
}

fn run(options: &Options) -> Outcome<()> {
    let start = Instant::now();
    let scale = if options.quick { QUICK } else { FULL };
    let wanted = |part: &str| options.only.is_empty() || options.only.iter().any(|only| only == part);
    interrupt::catch()?;
    let allowed = cores::allowed()?;
    let (Some(first), Some(last)) = (allowed.first(), allowed.last()) else { return Err("no core".into()) };
    let load_core = if options.one_core { *last } else { *first };
    // Before the server starts, whose threads inherit it.
    cores::pin(load_core)?;
    let source = Arc::new(Source::new()?);
    let server = RealServer::start(SocketAddr::new(server::address(1), PORT), PORTS, Arc::clone(&source))?;
    let directory = tempfile::Builder::new().prefix("gridfront-bench-").tempdir()?;
    let site = Site {
        haproxy: options.haproxy.clone(),
        door: options.door.clone(),
        proftpd: options.proftpd.clone(),
        directory: directory.path(),
        core: *last,
        server: server.address(),
        ports: PORTS,
        relay_ports: RELAY_PORTS,
    };
    let mut results = Results::default();
    let mut how = circumstances(options, *last, load_core);
    let progress = |part: &str| eprintln!("{:4} s  {part}", start.elapsed().as_secs());
    progress("starting them");
    let proxies = start_proxies(options, &site, &mut results)?;
    let load = Load { source: &source, direct: server.address() };
    if wanted("cpu") {
        for scenario in SCENARIOS {
            progress(scenario.2);
            measure::rates(&proxies, &load, scale, scenario, &mut results)?;
        }
    }
    if wanted("calls") {
        progress("system calls");
        if let Err(error) = measure::system_calls(&site, &proxies, &load, scale, &mut results) {
            interrupt::check()?;
            results.missing.push(format!("system calls: {error}"));
        }
    }
    if wanted("idle") {
        progress("idle relays");
        idle::measure(&proxies, &mut results)?;
    }
    progress("done");
    how.push(format!("load average {} at the end, after {} s", load_average(), start.elapsed().as_secs()));
    println!("{}", results.table());
    for note in results.notes.iter().chain(&results.missing).chain(&how) {
        println!("{note}");
    }
    report::publish(options.output.as_deref(), options.quick, &results.document(&how))
}

/// Two of haproxy and of the door, one mod_proxy if it is installed.
fn start_proxies(options: &Options, site: &Site, results: &mut Results) -> Outcome<Vec<Proxy>> {
    let plan = [
        (Product::Haproxy, 1),
        (Product::Door, 1),
        (Product::Haproxy, 2),
        (Product::Door, 2),
        (Product::TunedHaproxy, 1),
        (Product::ModProxy, 1),
    ];
    let mut proxies = Vec::new();
    for (last, (product, number)) in (11..).zip(plan) {
        if options.without.iter().any(|name| name == product.name()) {
            continue;
        }
        if product == Product::ModProxy
            && !(Path::new(mod_proxy::MODULE).exists() && options.proftpd.exists())
        {
            results
                .missing
                .push("mod_proxy: proftpd-mod-proxy is not installed; integration/run installs it".into());
            continue;
        }
        proxies.push(Proxy::start(site, product, number, server::address(last))?);
    }
    Ok(proxies)
}

/// Where and how these numbers came about.
fn circumstances(options: &Options, under_test: usize, load: usize) -> Vec<String> {
    let (haproxy, door) = (options.haproxy.to_string_lossy(), options.door.to_string_lossy());
    let proftpd = options.proftpd.to_string_lossy();
    let mut how = report::machine();
    how.extend([
        format!("door: {}, threads = 1, data_path = \"relay\", log lines to /dev/null", first_line(&door, &["--version"])),
        format!("haproxy: {}, mode tcp, nbthread 1, `option splice-auto`, the server's passive ports forwarded one by one", first_line(&haproxy, &["-v"])),
        "tuned haproxy: the same, `option splice-request`, `option splice-response`, `tune.pipesize 1048576`".into(),
        format!("mod_proxy: {} with Debian's proftpd-mod-proxy, ProxyRole reverse, a process per session", first_line(&proftpd, &["-v"])),
        format!("core {under_test} for what is measured, core {load} for clients and server; 256 MiB through one stream, 64 MiB through each of eight, loopback"),
        "server and clients: sendfile(2) of a file in memory, recv(2) with MSG_TRUNC; nothing but the proxy in the middle would copy the bytes".into(),
        "CPU: first word of /proc/PID/task/*/schedstat of the process and its children, in ns, user and kernel; logins before, closing after".into(),
        "system calls: strace -c -f, apart from the rest".into(),
        format!("load average {} at the start", load_average()),
    ]);
    how
}
