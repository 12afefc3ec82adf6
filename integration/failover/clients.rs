//! Real clients while the virtual address moves.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{INTERVAL, VIRTUAL, balancer, virtual_address};
use crate::support::balancer::{Balancer, PATIENCE};
use crate::support::certificates::HostCertificates;
use crate::support::control_connection::ControlConnection;
use crate::support::deadline::{self, Stopwatch};
use crate::support::grid::{PORT, PROGRAMS, REAL_SERVERS, Security, Servers, Site, VIRTUAL_NAME, path_text};
use crate::support::ownership::Watch;
use crate::support::process::Process;
use crate::support::seeded::{content, long};
use crate::support::skip;

/// The balancers' machines, of which the second is no server here.
const BALANCERS: [&str; 2] = ["door", "front"];
/// What passes to the client, so that a transfer takes seconds.
const RATE: &str = "400mbit";
/// Of a file, without GRIDFRONT_LONG=1.
const SIZE: usize = 96 << 20;
const LONG_SIZE: usize = 1 << 30;
/// Of a takeover from a host that says nothing: three intervals and less than one more, and what a busy machine adds.
const TAKEOVER: Duration = Duration::from_millis(3 * 100 + 100 + 1500);

struct Pair {
    site: Site,
    balancers: [Balancer; 2],
    watch: Watch,
    hosts: std::path::PathBuf,
}

impl Pair {
    fn start(security: Security, data_path: &str) -> Self {
        let site = Site::start(security, Servers::Three);
        let servers = REAL_SERVERS.map(|role| {
            let [v4, v6] = site.machine(role).addresses();
            format!(
                "\n[[virtual_server.real_server]]\nname = \"{role}\"\naddress = \"{v4}\"\nport = {PORT}\n\
                 data_addresses = [\"{v4}\", \"{v6}\"]\n"
            )
        });
        let virtual_server = format!(
            "\n[[virtual_server]]\nname = \"gridftp\"\naddresses = [\"{VIRTUAL}\"]\nport = {PORT}\ndata_path = \"{data_path}\"\n{}",
            servers.concat()
        );
        let mut balancers = [(BALANCERS[0], 110), (BALANCERS[1], 100)]
            .map(|(role, priority)| balancer(site.machine(role), priority, INTERVAL, "", &virtual_server));
        balancers.iter_mut().for_each(Balancer::start);
        let machines = BALANCERS.map(|role| site.machine(role));
        let watch = Watch::start(&machines, virtual_address(), Duration::from_millis(2));
        watch
            .until_alone(BALANCERS[0], PATIENCE)
            .unwrap_or_else(|why| panic!("{why}\n{}", balancers[0].log()));
        let hosts = site.scratch("hosts");
        let text = std::fs::read_to_string(site.hosts_file()).unwrap();
        let others = text.lines().filter(|line| !line.contains(VIRTUAL_NAME));
        let text: String = others.map(|line| format!("{line}\n")).collect();
        std::fs::write(&hosts, format!("{VIRTUAL} {VIRTUAL_NAME}\n{text}")).unwrap();
        Self { site, balancers, watch, hosts }
    }

    fn copy(&self, from: &str, to: &Path) -> Process {
        let mut command = self.site.machine("client").command(Some(&self.hosts), "globus-url-copy");
        command.arg(from).arg(format!("file://{}", path_text(to)));
        command.envs(self.site.client_environment());
        Process::spawn(command, &to.with_extension("output"))
    }

    fn url(&self) -> String {
        let scheme = if self.site.security() == Security::Anonymous { "ftp" } else { "gsiftp" };
        format!("{scheme}://{VIRTUAL_NAME}:{PORT}{}/large", path_text(&self.site.data_directory()))
    }

    /// Whether somebody can log in now.
    fn greets(&self) -> Result<(), String> {
        let address = SocketAddr::new(virtual_address(), PORT);
        let within = Duration::from_millis(300);
        let client = self.site.machine("client");
        let stream = client
            .enter(|| TcpStream::connect_timeout(&address, within))
            .map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        let mut control = ControlConnection::over(stream);
        let greeting = control.line();
        if greeting.starts_with("220") { Ok(()) } else { Err(greeting) }
    }
}

fn until_some_has_arrived(file: &Path, process: &mut Process) {
    let begun = deadline::until("the transfer is under way", PATIENCE, || {
        if let Some(status) = process.ended() {
            return Err(format!("it ended: {status}: {}", process.output()));
        }
        match std::fs::metadata(file) {
            Ok(found) if found.len() > 4 << 20 => Ok(()),
            found => Err(format!("{found:?}")),
        }
    });
    begun.unwrap_or_else(|why| panic!("{why}"));
}

fn size() -> usize {
    if long() { LONG_SIZE } else { SIZE }
}

#[allow(clippy::disallowed_methods, reason = "tests measure the real clock")]
fn now() -> Instant {
    Instant::now()
}

/// By every path that data takes: where it does not cross the balancer the client only reads, and hears of the loss from the next
/// owner alone.
#[test]
fn a_client_of_a_host_that_dies_ends_at_once_and_its_next_try_is_whole() {
    if !skip::unless_present("a balancer that is lost", PROGRAMS) {
        return;
    }
    for (security, data_path) in [
        (Security::Anonymous, "direct"),
        (Security::Anonymous, "relay"),
        (Security::Gsi(HostCertificates::Shared), "auto"),
    ] {
        let pair = Pair::start(security, data_path);
        let file = content(5, size());
        std::fs::write(pair.site.data_directory().join("large"), &file).unwrap();
        let case = format!("{security:?} {data_path}");
        pair.site.lab().throttle("client", Some(RATE));
        let first = pair.site.client_directory().join("first");
        let mut copying = pair.copy(&pair.url(), &first);
        until_some_has_arrived(&first, &mut copying);
        // The other balancer knows the session by now, or a moment later.
        std::thread::park_timeout(Duration::from_millis(500));
        pair.site.lab().plug(BALANCERS[0], false);
        let (cut, watch) = (now(), Stopwatch::start());
        let taken =
            pair.watch.taken_after(BALANCERS[1], cut, PATIENCE).unwrap_or_else(|why| panic!("{case}: {why}"));
        let status = copying.wait(PATIENCE);
        let ended = watch.elapsed();
        let status =
            status.unwrap_or_else(|| panic!("{case}: the client hangs\n{}", pair.balancers[1].log()));
        assert!(!status.success(), "{case}: {}", copying.output());
        let greeted = deadline::until("a new login", PATIENCE, || pair.greets());
        greeted.unwrap_or_else(|why| panic!("{case}: {why}"));
        let served = watch.elapsed();
        println!(
            "{case}: taken over after {taken:?}, the client ended after {ended:?}, a new one was greeted after {served:?}"
        );
        assert!(taken < TAKEOVER && ended < taken + TAKEOVER, "{case}: {taken:?} {ended:?}");
        pair.site.lab().throttle("client", None);
        let second = pair.site.client_directory().join("second");
        let mut again = pair.copy(&pair.url(), &second);
        let status = again.wait(PATIENCE);
        assert!(status.is_some_and(|status| status.success()), "{case}: {status:?} {}", again.output());
        assert!(std::fs::read(&second).unwrap() == file, "{case}: another file");
    }
}

#[test]
fn a_planned_failover_waits_for_the_transfer_and_no_client_notices() {
    if !skip::unless_present("a balancer that steps down", PROGRAMS) {
        return;
    }
    let pair = Pair::start(Security::Gsi(HostCertificates::Shared), "auto");
    let file = content(6, size());
    std::fs::write(pair.site.data_directory().join("large"), &file).unwrap();
    pair.site.lab().throttle("client", Some(RATE));
    let here = pair.site.client_directory().join("here");
    let mut copying = pair.copy(&pair.url(), &here);
    until_some_has_arrived(&here, &mut copying);
    let asked = now();
    let said = pair.balancers[0].order(&["failover", "VI"]).unwrap();
    assert!(said.contains("to hand over"), "{said}");
    pair.greets().expect("served as ever meanwhile");
    let status = copying.wait(PATIENCE);
    let ended = now();
    assert!(status.is_some_and(|status| status.success()), "{status:?} {}", copying.output());
    assert!(std::fs::read(&here).unwrap() == file, "another file");
    let taken = pair.watch.taken_after(BALANCERS[1], asked, PATIENCE).unwrap_or_else(|why| panic!("{why}"));
    assert!(asked + taken > ended, "the address moved before the transfer was over");
    pair.watch.until_alone(BALANCERS[1], PATIENCE).unwrap();
    deadline::until("a new login", PATIENCE, || pair.greets()).unwrap();
    // Though its priority is higher, it leaves the other in office; back comes it when that one steps down.
    pair.balancers[0].until_state("BACKUP");
    pair.balancers[1].order(&["failover", "--wait", "--timeout", "20s"]).unwrap();
    pair.watch
        .until_alone(BALANCERS[0], PATIENCE)
        .unwrap_or_else(|why| panic!("{why}\n{}", pair.balancers[0].log()));
    // Maintenance: not master, whatever happens to the other.
    pair.balancers[0].order(&["maintenance", "on", "--wait", "--timeout", "20s"]).unwrap();
    pair.watch.until_alone(BALANCERS[1], PATIENCE).unwrap();
    pair.balancers[0].until_state("FAULT");
    pair.balancers[0].order(&["maintenance", "off"]).unwrap();
    pair.watch
        .until_alone(BALANCERS[0], PATIENCE)
        .unwrap_or_else(|why| panic!("{why}\n{}", pair.balancers[0].log()));
}
