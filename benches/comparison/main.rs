//! The door beside its peers: no door at all, haproxy (tcp mode), nginx stream, ProFTPD mod_proxy. What a control
//! channel costs through each, and what a real server's faults cost the clients of each.
//!
//! `cargo bench --bench comparison [-- --quick]`; writes its part of `benches/RESULTS.md` unless quick.
//!
//! The first part is that of the bench `control_channel`, over all four: on one core, in rounds. The second has every
//! product in front of 15 stub servers, three for each of five faults; see [`faults`].
#![allow(
    clippy::disallowed_methods,
    reason = "a bench reads the clock and waits; there is no runtime to hold up"
)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table is the product, progress goes to stderr"
)]

mod cost;
mod faults;
mod results;
#[path = "../support.rs"]
mod support;
mod visit;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use results::Results;
pub(crate) use support::Outcome;
use support::balancer::{Log, Product, Site};
use support::child::first_line;
use support::fleet::{Fleet, Load, NO_DOOR};
use support::real_server::RealServers;
use support::report::{self, load_average};
use support::rounds::Bounds;
use support::{cores, interrupt, usage};

#[derive(Parser)]
struct Options {
    /// Two minutes; the control channel in few rounds: shows that the bench works, not how fast the door is
    #[arg(long)]
    quick: bool,
    /// The door to measure
    #[arg(long, default_value = env!("CARGO_BIN_EXE_gridfront"))]
    door: PathBuf,
    /// The haproxy to measure
    #[arg(long, default_value = "/usr/sbin/haproxy")]
    haproxy: PathBuf,
    /// The nginx to measure
    #[arg(long, default_value = "/usr/sbin/nginx")]
    nginx: PathBuf,
    /// The ProFTPD to measure
    #[arg(long, default_value = "/usr/sbin/proftpd")]
    proftpd: PathBuf,
    /// Where the results go; with --quick nowhere unless given
    #[arg(long)]
    output: Option<PathBuf>,
    /// Only the parts named: cpu, memory, faults
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// What cargo bench says; without it this does nothing
    #[arg(long, hide = true)]
    bench: bool,
}

/// A session through mod_proxy takes milliseconds, so samples are shorter than those of `control_channel`.
const FULL: Load = Load {
    sessions: 160,
    commands: 2000,
    bounds: Bounds { least: 9, most: 41, time: Duration::from_secs(30) },
};

const QUICK: Load = Load {
    sessions: 100,
    commands: 1000,
    bounds: Bounds { least: 3, most: 5, time: Duration::from_secs(4) },
};

fn main() -> ExitCode {
    let options = Options::parse();
    support::start("comparison", options.bench, || run(&options))
}

fn run(options: &Options) -> Outcome<()> {
    let start = Instant::now();
    let load = if options.quick { QUICK } else { FULL };
    let wanted = |part: &str| options.only.is_empty() || options.only.iter().any(|only| only == part);
    interrupt::catch()?;
    let allowed = cores::allowed()?;
    let (Some(first), Some(last)) = (allowed.first(), allowed.last()) else { return Err("no core".into()) };
    let directory = tempfile::Builder::new().prefix("gridfront-bench-").tempdir()?;
    let mut results = Results::default();
    let mut site = site(options, directory.path(), *last, &mut results);
    let peers: Vec<Product> = site.programs.keys().copied().collect();
    let ordinary: Vec<Product> =
        peers.iter().copied().filter(|product| *product != Product::CarefulHaproxy).collect();
    let mut how = circumstances(&site, *first)?;
    let progress = |part: &str| eprintln!("{:4} s  {part}", start.elapsed().as_secs());
    // Before the stub servers start, whose threads inherit it.
    cores::pin(*last)?;
    {
        let servers = RealServers::start(3)?;
        site.real_servers = servers.addresses().to_vec();
        if wanted("cpu") {
            progress("starting two of each");
            let fleet = Fleet::start(&site, &ordinary, Log::Nowhere)?;
            progress("CPU per operation, round trips");
            cost::processor(&fleet, &load, servers.addresses()[0], &mut results)?;
        }
        if wanted("memory") {
            progress("memory");
            cost::memory(&site, &ordinary, &mut results)?;
        }
    }
    if wanted("faults") {
        progress("faults");
        cores::pin(*first)?;
        let servers = RealServers::start(u8::try_from(faults::FAULTS.len() * faults::SERVERS)?)?;
        let costs = faults::measure(&site, &peers, &servers)?;
        how.push(format!("faults: the machine by itself let clients wait for up to {} ms, seen at their schedule and at servers that were well", costs.noise.as_millis()));
        results.costs = costs.rows;
    }
    progress("done");
    how.push(format!("load average {} at the end, after {} s", load_average(), start.elapsed().as_secs()));
    println!("{}\n{}", results.table(), results.table_of_faults());
    for note in results.notes.iter().chain(&results.missing).chain(&how) {
        println!("{note}");
    }
    report::publish(options.output.as_deref(), options.quick, &results.document(&how))
}

/// Everything that is installed; what is not is said at once, and in the results.
fn site<'a>(options: &Options, directory: &'a Path, core: usize, results: &mut Results) -> Site<'a> {
    let mut programs = std::collections::BTreeMap::new();
    for product in Product::ALL {
        let program = match product {
            Product::Haproxy | Product::CarefulHaproxy => &options.haproxy,
            Product::NginxStream => &options.nginx,
            Product::ModProxy => &options.proftpd,
            Product::Door => &options.door,
        };
        let (module, package) = product.parts();
        let lacks =
            std::iter::once(program.as_path()).chain(module.map(Path::new)).find(|file| !file.exists());
        match lacks {
            Some(file) => {
                let words = format!(
                    "{}: {} is not there; Debian's package {package} has it, `integration/run --bench` installs it",
                    product.name(),
                    file.display()
                );
                eprintln!("WITHOUT {words}");
                results.missing.push(words);
            }
            None => drop(programs.insert(product, program.clone())),
        }
    }
    Site { programs, directory, core, real_servers: Vec::new() }
}

/// Where and how these numbers came about.
fn circumstances(site: &Site, first: usize) -> Outcome<Vec<String>> {
    let version = |product: Product, flag: &str| {
        site.programs
            .get(&product)
            .map_or("not here".into(), |program| first_line(&program.to_string_lossy(), &[flag]))
    };
    let (exact, summed) = usage::ended_children_are_counted()?;
    let mut how = report::machine();
    how.extend([
        format!("door: {}, threads = 1, data_path = \"direct\", ftp checks every 10 s, log lines to /dev/null", version(Product::Door, "--version")),
        format!("haproxy: {}, mode tcp, nbthread 1, leastconn, `check inter 10s`", version(Product::Haproxy, "-v")),
        "careful haproxy, at the faults: besides `check inter 1s`, `tcp-check expect rstring ^220`, `option redispatch 1`".into(),
        format!("nginx stream: {}, least_conn, one process (`master_process off`), `access_log off`", version(Product::NginxStream, "-v")),
        format!("mod_proxy: {} with Debian's proftpd-mod-proxy, ProxyRole reverse, ProxyReverseConnectPolicy LeastConns, ProxyTLSEngine off, a process per session", version(Product::ModProxy, "-v")),
        format!("control channel: core {0} for what is measured, core {0} for clients and stub servers; faults: clients and servers on core {first}", site.core),
        format!("CPU: first word of /proc/PID/task/*/schedstat, in ns, user and kernel, of the process and its children; of children that have ended `cutime` and `cstime` of /proc/PID/stat, in 10 ms. Looked at here: 200 short children used {exact:.1} ms by the one and {summed:.0} ms by the other"),
        cost::how_of_memory(),
        format!("load average {} at the start", load_average()),
    ]);
    Ok(how)
}
