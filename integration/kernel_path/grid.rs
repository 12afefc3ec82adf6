//! Grid sessions that nobody reads, their data on ports of which each real server has its own.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::data_path::{random, same};
use super::direct_routing::addresses;
use crate::support::deadline;
use crate::support::dr_lab::{BALANCER, DrLab, Grid, REAL_SERVERS, Served};
use crate::support::grid::{self, VIRTUAL_NAME};
use crate::support::guest_door::GuestDoor;
use crate::support::process::Process;
use crate::support::uml;

const PORT: u16 = 2811;
const SIZE: u64 = 64 << 20;
/// A transfer through a guest kernel on a busy machine.
const TRANSFER: Duration = Duration::from_secs(120);
/// For what is counted once a second.
const SOON: Duration = Duration::from_secs(20);
/// Of each real server.
const SLICES: [(u16, u16); 3] = [(50_000, 50_099), (50_100, 50_199), (50_200, 50_299)];

/// Three servers that take grid users, each with its own ports for data.
struct GridSite {
    lab: DrLab,
    grid: Grid,
    servers: Vec<Served>,
    files: tempfile::TempDir,
}

impl GridSite {
    fn new() -> Self {
        let (lab, grid) = (DrLab::new(), Grid::new());
        let serve = |(role, (low, high)): (&&str, _)| {
            lab.serve_grid(&grid, role, PORT, &format!("port_range {low},{high}"))
        };
        let servers = REAL_SERVERS.iter().zip(SLICES).map(serve).collect();
        Self { lab, grid, servers, files: tempfile::tempdir().unwrap() }
    }

    /// `settings` are further keys of the virtual server.
    fn configuration(&self, settings: &str) -> String {
        let [vip, vip6] = DrLab::vips();
        let mut text = format!(
            "[forwarding]\n[[virtual_server]]\nname = \"gridftp\"\naddresses = [\"{vip}\", \"{vip6}\"]\nport = {PORT}\n{settings}\n"
        );
        for ((role, (v4, v6)), (low, high)) in REAL_SERVERS.iter().zip(addresses(&self.lab)).zip(SLICES) {
            text += &format!(
                "[[virtual_server.real_server]]\nname = \"{role}\"\naddress = \"{v4}\"\ndata_addresses = [\"{v6}\"]\ndata_ports = \"{low}-{high}\"\n"
            );
        }
        text
    }

    #[track_caller]
    fn copy(&self, words: &[&str], from: &str, to: &str) {
        let mut command = self.lab.machine("client").command(Some(&self.grid.hosts()), "globus-url-copy");
        command.args(words).args([from, to]).env("HOME", self.files.path());
        command.envs(self.grid.environment()).env("GLOBUS_GSSAPI_NAME_COMPATIBILITY", "STRICT_RFC2818");
        let mut client = Process::spawn(command, &self.files.path().join("said"));
        let status = client.wait(TRANSFER);
        let logs: String = self.servers.iter().map(Served::log).collect();
        assert!(
            status.is_some_and(|status| status.success()),
            "{words:?} {from} {to}: {status:?}\n{}\n{logs}",
            client.output()
        );
    }

    /// At which server a file is.
    fn holder(&self, name: &str) -> usize {
        let has = |server: &Served| server.directory().join("data").join(name).exists();
        let have: Vec<usize> = (0..3).filter(|at| has(&self.servers[*at])).collect();
        assert_eq!(have.len(), 1, "{name}: {have:?}");
        have[0]
    }
}

/// What the kernel has counted of data to a server's address.
#[derive(Clone, Copy, Debug)]
struct Counted {
    connections: u64,
    /// From clients.
    bytes: u64,
}

fn carried(status: &Value, address: IpAddr) -> Counted {
    let carriers = status["forwarding"]["carriers"].as_array().unwrap();
    let of = carriers.iter().find(|of| of["address"] == address.to_string());
    let of = of.unwrap_or_else(|| panic!("no {address}: {status:#}"));
    let count = |what: &str| of[what].as_u64().unwrap();
    Counted { connections: count("connections"), bytes: count("bytes") }
}

/// What has crossed the door itself, whichever way.
fn relayed(status: &Value) -> u64 {
    let servers = status["virtual_servers"][0]["real_servers"].as_array().unwrap().iter();
    servers
        .map(|of| of["relayed_bytes_in"].as_u64().unwrap() + of["relayed_bytes_out"].as_u64().unwrap())
        .sum()
}

/// Gets and puts with both families: what is got is what there is, and its data come by the virtual address.
fn data_goes_by_the_kernel(settings: &str) {
    let site = GridSite::new();
    let ours = site.files.path().join("ours");
    random(&ours, SIZE);
    for server in &site.servers {
        fs::copy(&ours, server.directory().join("data/big")).unwrap();
    }
    let local = site.files.path().join("local");
    let file = |path: &Path| format!("file://{}", path.display());
    let balancer = site.lab.balancer();
    let door = GuestDoor::start(&balancer, "", &site.configuration(settings));
    let counts = |vip: IpAddr| -> Vec<Counted> {
        let status = door.status().unwrap();
        assert_eq!(relayed(&status), 0, "{status:#}");
        site.lab.real_servers(vip).into_iter().map(|address| carried(&status, address)).collect()
    };
    // The kernel is asked once a second.
    let until = |vip: IpAddr, wanted: &dyn Fn(&[Counted]) -> bool| {
        let counted = deadline::until("what the kernel has counted", SOON, || {
            let counts = counts(vip);
            if wanted(&counts) { Ok(counts) } else { Err(format!("{counts:?}")) }
        });
        counted.unwrap_or_else(|why| panic!("{vip}: {why}\n{}", door.log()))
    };
    for (vip, words) in DrLab::vips().into_iter().zip([&[][..], &["-ipv6"]]) {
        let remote = |name: &str| format!("gsiftp://{VIRTUAL_NAME}:{PORT}/~/{name}");
        let before = (site.lab.passed_by_balancer(BALANCER), counts(vip));
        for _ in REAL_SERVERS {
            site.copy(words, &remote("big"), &file(&local));
            assert!(same(&ours, &local), "{words:?}\n{}", door.log());
            fs::remove_file(&local).unwrap();
        }
        let passed = site.lab.passed_by_balancer(BALANCER) - before.0;
        // One of each server, at its own ports.
        let of_each = |counts: &[Counted]| {
            counts.iter().zip(&before.1).all(|(after, before)| after.connections - before.connections == 1)
        };
        until(vip, &of_each);
        assert!(
            passed.received.bytes < SIZE / 10 && passed.sent.bytes < SIZE / 10,
            "replies cross the balancer: {passed:?}"
        );
        for more in [&[][..], &["-p", "4"]] {
            let before = (site.lab.passed_by_balancer(BALANCER), counts(vip));
            let name = format!("put-{}-{}", u8::from(vip.is_ipv6()), more.len());
            site.copy(&[words, more].concat(), &file(&ours), &remote(&name));
            let holder = site.holder(&name);
            let uploaded = site.servers[holder].directory().join("data").join(&name);
            assert!(same(&ours, &uploaded), "{words:?} {more:?}\n{}", door.log());
            fs::remove_file(uploaded).unwrap();
            let passed = site.lab.passed_by_balancer(BALANCER) - before.0;
            assert!(
                passed.received.bytes > SIZE && passed.sent.bytes > SIZE,
                "{words:?} {more:?}: {passed:?}"
            );
            // All to that server and nobody else.
            until(vip, &|counts| {
                let of = |at: usize| counts[at].bytes - before.1[at].bytes;
                (0..3).all(|at| if at == holder { of(at) > SIZE } else { of(at) == 0 })
            });
        }
    }
    println!("{}", door.order(&["status"]).unwrap());
}

fn possible(what: &str) -> bool {
    uml::possible(what, &[grid::PROGRAMS, &["globus-url-copy", "cmp"]].concat())
}

#[test]
fn sessions_that_pass_through_have_their_data_carried_by_slices() {
    if possible("GSI that passes through over slices of ports") {
        data_goes_by_the_kernel("lb_algo = \"rr\"");
    }
}

#[test]
fn whole_grid_sessions_go_by_the_kernel_and_data_by_slices() {
    if possible("GSI by Direct Routing over slices of ports") {
        data_goes_by_the_kernel("lb_algo = \"rr\"\nforwarding = \"dr\"");
    }
}
