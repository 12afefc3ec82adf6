//! What it costs that the kernel forwards as we tell it: connections and bytes through a service of ours beside one of ipvsadm(8) in
//! the same guest kernel, and how long a session waits for an expectation.
//!
//! `cargo bench --bench kernel_path [-- --quick]`, as root; writes its part of `benches/RESULTS.md` unless quick.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench reads the clock and waits; the table is the product, progress goes to stderr"
)]

mod expectations;
mod load;
#[path = "../support.rs"]
mod measuring;
mod support;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use expectations::{Session, Spread};
use load::Sink;
use measuring::report::{self, list, load_average, number, percent, ratio, verdict};
use measuring::rounds::{Bounds, Series};
use measuring::{Outcome, interrupt};
use support::dr_lab::{DrLab, REAL_SERVERS, SECOND_BALANCER};
use support::guest_door::GuestDoor;
use support::ipvs::{self, Balanced};
use support::uml;

/// Its name, its group, its port.
type Instance = (&'static str, &'static str, u16);

/// Two of a kind each, in the order of the series.
const INSTANCES: [Instance; 4] = [
    ("ours 1", "ours", 7001),
    ("ipvsadm 1", "ipvsadm", 7002),
    ("ours 2", "ours", 7003),
    ("ipvsadm 2", "ipvsadm", 7004),
];
/// Sessions whose data go by the kernel, and straight.
const KERNEL_PORT: u16 = 2811;
const DIRECT_PORT: u16 = 2812;
/// What ours may cost beyond ipvsadm's, as a share: nothing, but for what cannot be told.
const MOST: f64 = 1.02;
/// An expectation while 10,000 are live, in microseconds.
const LONGEST: f64 = 5000.0;

#[derive(Parser)]
struct Options {
    /// A few rounds: shows that the bench works, not how fast the kernel is
    #[arg(long)]
    quick: bool,
    /// Where the results go; with --quick nowhere unless given
    #[arg(long)]
    output: Option<PathBuf>,
    /// What cargo bench says; without it this does nothing
    #[arg(long, hide = true)]
    bench: bool,
    /// In a guest: the virtual address, and where packets may go
    #[arg(long, hide = true, num_args = 1..)]
    inside: Vec<IpAddr>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    measuring::start("kernel_path", options.bench, || {
        if options.inside.is_empty() { run(&options) } else { expectations::inside(&options.inside) }
    })
}

fn run(options: &Options) -> Outcome<()> {
    if !uml::possible("the kernel path beside ipvsadm", &["ipvsadm", "globus-gridftp-server"]) {
        return Ok(());
    }
    let start = Instant::now();
    interrupt::catch()?;
    let (bounds, connections, mebibytes, replies) = if options.quick {
        (Bounds { least: 2, most: 2, time: Duration::from_secs(5) }, 50, 16, 50)
    } else {
        (Bounds { least: 9, most: 41, time: Duration::from_secs(40) }, 200, 128, 1000)
    };
    let mut how = report::machine();
    how.push(format!(
        "one guest (User-Mode Linux, one processor, no JIT for BPF), IPv4, wlc over three servers: {connections} connections one after the other, \
         each to its end, or {mebibytes} MiB from the client in one"
    ));
    if cfg!(debug_assertions) {
        how.push("the door and this program without optimisation (`--profile dev`): what they take themselves is less".into());
    }
    how.push(format!("load average {} at the start", load_average()));

    let lab = DrLab::new();
    let [vip, _] = DrLab::vips();
    let client = lab.machine("client");
    let mut sinks = Vec::new();
    for role in REAL_SERVERS {
        for (.., port) in INSTANCES {
            sinks.push(Sink::start(lab.machine(role), port)?);
        }
    }
    let _globus = lab.serve_globus(REAL_SERVERS[0], KERNEL_PORT, "");
    let balancer = lab.balancer();
    let real_servers = lab.real_servers(vip);
    let door = GuestDoor::start(&balancer, "", &configuration(vip, &real_servers, of("ours")));
    let theirs = of("ipvsadm").map(|(.., port)| Balanced { vip, port, real_servers: real_servers.clone() });
    // It asks the kernel even for that.
    how.push(balancer.ok("ipvsadm --version").lines().next().unwrap_or_default().to_owned());
    balancer.ok(&theirs.map(|of| of.by_ipvsadm()).collect::<String>());
    // Each with three servers.
    ipvs::until_table(&balancer, |table| {
        INSTANCES.iter().all(|(.., port)| table.matches(&format!("-a -t {vip}:{port} ")).count() == 3)
    })?;
    let series =
        |title: &str, unit| Series::new(title, unit, INSTANCES.map(|(name, group, _)| (name, group)));
    let at = |place: usize| SocketAddr::new(vip, INSTANCES[place].2);
    eprintln!("{:4} s  connections", start.elapsed().as_secs());
    let rate = series("Connections", "connections a second").run(bounds, |place| {
        interrupt::check()?;
        load::rate(client, at(place), connections)
    })?;
    eprintln!("{:4} s  bytes", start.elapsed().as_secs());
    let bulk = series("Bytes", "MiB/s").run(bounds, |place| {
        interrupt::check()?;
        load::bulk(client, at(place), mebibytes)
    })?;
    eprintln!("{:4} s  replies to PASV", start.elapsed().as_secs());
    let mut by_kernel = Session::open(client, SocketAddr::new(vip, KERNEL_PORT), vip)?;
    let mut by_direct = Session::open(client, SocketAddr::new(vip, DIRECT_PORT), real_servers[0])?;
    let spreads = expectations::replies(&mut by_kernel, &mut by_direct, replies);
    let (kernel, direct) = spreads.map_err(|error| format!("{error}\n{}", door.log()))?;
    eprintln!("{:4} s  expectations", start.elapsed().as_secs());
    // A guest of its own: a kernel has one engine.
    let other = lab.plan(SECOND_BALANCER).start();
    let set = expectations::in_guest(&other, &lab)?;
    how.push(format!("load average {} at the end, after {} s", load_average(), start.elapsed().as_secs()));

    let compared = [&rate, &bulk].map(compare);
    let head = ["metric", "unit", "ipvsadm", "ours", "ipvsadm / ours", "must", "A/A", "result"];
    let throughput = report::table(head, compared.into_iter());
    let waits = report::table(
        ["metric", "p50, µs", "p99, µs", "most, µs", "must", "result"],
        [
            row("An expectation set, 10,000 live ones, in the guest", set, Some(LONGEST)),
            row("PASV until 227, data by the kernel", kernel, None),
            row("PASV until 227, data straight", direct, None),
        ]
        .into_iter(),
    );
    println!("{throughput}\n{waits}");
    how.iter().for_each(|line| println!("{line}"));
    let mut part = report::begin("kernel_path") + "Written whole by that command; do not edit.\n\n";
    list(&mut part, &how);
    part += &format!(
        "\n## Table: a service of ours beside one of ipvsadm\n\n{throughput}\n\
         The columns of the programs are medians over all rounds and both instances, the ratio that of those within each round;\n\
         `A/A` is the same between two services of one program, the larger difference. Above 2 % a ratio counts as worse by as\n\
         much, and as `not counted` where it could be either.\n\n\
         ## Table: what a session waits for\n\n{waits}\n\
         The difference of the last two at p50, {} µs, is what a 227 is later by the kernel path. It holds what is asked of the engine,\n\
         and the message from there to the session's thread.\n",
        number(Some(kernel.p50 - direct.p50))
    );
    report::conclude(
        &mut part,
        "The kernel path",
        &["hardware: all of it is one processor of a guest".to_owned()],
        &[rate, bulk],
    );
    report::publish(options.output.as_deref(), options.quick, &part)
}

/// What the door has in the guest: services of the kernel at these ports, and two ways for data.
fn configuration(vip: IpAddr, real_servers: &[IpAddr], ours: impl Iterator<Item = Instance>) -> String {
    let mut text = "[forwarding]\n".to_owned();
    for (.., port) in ours {
        text += &format!(
            "[[virtual_server]]\nname = \"of-{port}\"\nforwarding = \"dr\"\naddresses = [\"{vip}\"]\nport = {port}\n\
             [virtual_server.check]\ntype = \"tcp\"\ndelay_loop = \"1h\"\n"
        );
        for address in real_servers {
            text += &format!("[[virtual_server.real_server]]\naddress = \"{address}\"\n");
        }
    }
    for (name, port) in [("kernel", KERNEL_PORT), ("direct", DIRECT_PORT)] {
        text += &format!(
            "[[virtual_server]]\nname = \"{name}\"\naddresses = [\"{vip}\"]\nport = {port}\ndata_path = \"{name}\"\n\
             [virtual_server.check]\ntype = \"tcp\"\ndelay_loop = \"1h\"\n\
             [[virtual_server.real_server]]\naddress = \"{}\"\nport = {KERNEL_PORT}\n",
            real_servers[0]
        );
    }
    text
}

/// The ports of a group.
fn of(group: &'static str) -> impl Iterator<Item = Instance> {
    INSTANCES.into_iter().filter(move |(_, of, _)| *of == group)
}

fn compare(series: &Series) -> [String; 8] {
    let (slower, noise) = (series.ratio("ipvsadm", "ours", None), series.largest_noise());
    [
        series.title.clone(),
        series.unit.to_owned(),
        number(series.median("ipvsadm")),
        number(series.median("ours")),
        ratio(slower),
        report::limit(Some(MOST)),
        percent(noise),
        verdict(slower, Some(MOST), None, noise).to_owned(),
    ]
}

fn row(metric: &str, spread: Spread, must: Option<f64>) -> [String; 6] {
    let Spread { p50, p99, most } = spread;
    [
        metric.to_owned(),
        number(Some(p50)),
        number(Some(p99)),
        number(Some(most)),
        report::limit(must),
        verdict(Some(p99), must, None, None).to_owned(),
    ]
}
