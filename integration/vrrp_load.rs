//! What virtual routers cost, and what a busy machine costs them.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::support::balancer::{Balancer, PATIENCE};
use crate::support::deadline;
use crate::support::door::program;
use crate::support::http_client::get;
use crate::support::netns::Lab;
use crate::support::ownership::now;
use crate::support::process::Process;
use crate::support::seeded::long;
use crate::support::skip;

const PROGRAMS: &[&str] = &["ip", "nsenter", "sh", "setpriv"];
const MACHINES: &[(&str, u8)] = &[("lb1", 11), ("lb2", 12)];

/// How many are on one interface.
const MANY: usize = 250;
/// How long is looked at what they cost.
const LOOK: Duration = Duration::from_secs(10);
/// Of a core, in hundredths: what is promised with optimization, and several times what it takes without.
const MOST: f64 = 5.0;

const METRICS: &str = "127.0.0.1:9464";
/// Between adverts that are as frequent as they may be.
const SHORTEST: Duration = Duration::from_millis(10);

/// In clock ticks, of the process and of what it has waited for: proc_pid_stat(5), the fields 14 and 15.
fn processor_time(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
    // The name in parentheses may have anything in it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    [11, 12].iter().map(|field| fields[*field].parse::<u64>().expect("a number")).sum()
}

fn let_pass(time: Duration) {
    let until = now() + time;
    while now() < until {
        std::thread::park_timeout(until.saturating_duration_since(now()));
    }
}

#[test]
fn many_virtual_routers_cost_little_as_master_and_as_backup() {
    if !skip::unless_present("250 virtual routers", PROGRAMS) {
        return;
    }
    let text = |priority: u8| {
        (1..=MANY).fold(String::new(), |mut text, number| {
            write!(
                text,
                "\n[[vrrp_instance]]\nname = \"V{number}\"\ninterface = \"eth0\"\nvirtual_router_id = {number}\n\
                 priority = {priority}\nvirtual_addresses = [\"10.80.0.{number}\"]\n"
            )
            .expect("a string takes text");
            text
        })
    };
    let lab = Lab::new(MACHINES);
    let mut balancers = [("lb1", 110), ("lb2", 100)]
        .map(|(role, priority)| Balancer::new(lab.machine(role), &text(priority)));
    let count = |balancer: &Balancer, wanted: &str| {
        let status = balancer.status()?;
        let all = status["vrrp"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok::<_, String>(all.iter().filter(|of| of["state"] == wanted).count())
    };
    for (balancer, state) in balancers.iter_mut().zip(["MASTER", "BACKUP"]) {
        balancer.start();
        let settled = deadline::until(&format!("all are {state}"), PATIENCE, || {
            let there = count(balancer, state)?;
            if there == MANY { Ok(()) } else { Err(format!("{there} are")) }
        });
        settled.unwrap_or_else(|why| panic!("{why}\n{}", balancer.log()));
    }
    let before = balancers.each_ref().map(|balancer| processor_time(balancer.id()));
    let from = now();
    let_pass(LOOK);
    let after = balancers.each_ref().map(|balancer| processor_time(balancer.id()));
    let took = from.elapsed();
    #[allow(clippy::cast_precision_loss, reason = "hundreds of ticks")]
    let shares = [0, 1].map(|which| {
        let ticks = (after[which] - before[which]) as f64 / rustix::param::clock_ticks_per_second() as f64;
        100.0 * ticks / took.as_secs_f64()
    });
    println!("{MANY} virtual routers: {:.1} % of a core as master, {:.1} % as backup", shares[0], shares[1]);
    for (balancer, state) in balancers.iter().zip(["MASTER", "BACKUP"]) {
        assert_eq!(count(balancer, state), Ok(MANY), "{state}\n{}", balancer.log());
    }
    assert!(shares.iter().all(|share| *share < MOST), "{shares:?}");
}

/// How often it woke so late that another one may have taken over: by two intervals, or by the next lower bound that the metric
/// has. None where the page does not say.
fn late(lab: &Lab, role: &str) -> Option<u64> {
    let address: SocketAddr = METRICS.parse().expect("an address");
    let page = lab.machine(role).enter(|| get(address, "/metrics")).body;
    let name = "gridfront_vrrp_timer_lateness_seconds";
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    let mut classes = page.lines().filter_map(|line| {
        let bound = line.strip_prefix(&format!("{name}_bucket{{le=\""))?.split('"').next()?;
        Some((bound.parse::<f64>().ok()?, value(line)?))
    });
    let in_time = classes.rfind(|(bound, _)| *bound <= 2.0 * SHORTEST.as_secs_f64())?.1;
    let all = value(page.lines().find(|line| line.starts_with(&format!("{name}_count")))?)?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    Some((all - in_time) as u64)
}

#[test]
fn adverts_of_10_ms_survive_busy_cores() {
    if !skip::unless_present("adverts of 10 ms on busy cores", PROGRAMS) {
        return;
    }
    let lab = Lab::new(MACHINES);
    let text = |priority| {
        format!(
            "http = \"{METRICS}\"\n[[vrrp_instance]]\nname = \"VI\"\ninterface = \"eth0\"\nvirtual_router_id = 77\n\
             priority = {priority}\nadvert_interval = \"10ms\"\nvirtual_addresses = [\"10.77.0.100/24\"]\n"
        )
    };
    let mut balancers = [("lb1", 110), ("lb2", 100)]
        .map(|(role, priority)| Balancer::new(lab.machine(role), &text(priority)));
    for (balancer, state) in balancers.iter_mut().zip(["MASTER", "BACKUP"]) {
        balancer.start();
        balancer.until_state(state);
    }
    let count = |which: usize, key: &str| balancers[which].instance("VI").unwrap()[key].as_u64().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let busy = [0, 1].map(|number| {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        Process::spawn(command, &directory.path().join(number.to_string()))
    });
    let (takeovers, sent, late_before) = (count(1, "became_master"), count(0, "sent"), late(&lab, "lb1"));
    let time = Duration::from_secs(if long() { 600 } else { 20 });
    let_pass(time);
    let (takeovers, sent) = (count(1, "became_master") - takeovers, count(0, "sent") - sent);
    let late = late(&lab, "lb1").zip(late_before).map(|(after, before)| after - before);
    drop(busy);
    println!("{time:?} with busy cores: {sent} adverts, {takeovers} takeovers, late {late:?} times");
    assert!(takeovers <= late.unwrap_or_default(), "{takeovers} takeovers, late {late:?} times");
    balancers[0].until_state("MASTER");
    balancers[1].until_state("BACKUP");
}

#[test]
fn a_daemon_that_is_refused_its_real_time_priority_says_so() {
    if !skip::unless_present("a daemon without CAP_SYS_NICE", PROGRAMS) {
        return;
    }
    let lab = Lab::new(MACHINES);
    let text = "\n[[vrrp_instance]]\nname = \"VI\"\ninterface = \"eth0\"\nvirtual_router_id = 77\n\
                virtual_addresses = [\"10.77.0.100/24\"]\n";
    let balancer = Balancer::new(lab.machine("lb1"), text);
    let mut command = lab.machine("lb1").command(None, "setpriv");
    command.args(["--bounding-set=-sys_nice", "--inh-caps=-sys_nice"]).arg(program());
    command.arg("run").arg("-c").arg(balancer.file());
    let process = Process::spawn(command, &balancer.directory().join("log"));
    let said = deadline::until("what was refused", PATIENCE, || {
        let output = process.output();
        output.lines().find(|line| line.contains("VRRP may be late")).map(str::to_owned).ok_or(output)
    });
    let said = said.unwrap();
    assert!(said.contains("CAP_SYS_NICE") || said.contains("LimitRTPRIO"), "{said}");
}
