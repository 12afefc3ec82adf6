//! The end of the daemon, sudden or not, while the kernel forwards.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::data_path::{Site, same};
use super::direct_routing::{addresses, configuration};
use crate::support::deadline;
use crate::support::dr_lab::{DrLab, REAL_SERVERS};
use crate::support::guest_door::GuestDoor;
use crate::support::ipvs;
use crate::support::name_service::Conversation;
use crate::support::process::Process;
use crate::support::uml::{self, Uml};

const PORT: u16 = 2811;
/// For a daemon that was killed, or has nothing to wait for.
const END: Duration = Duration::from_secs(15);
/// For what the daemon sees to every few seconds.
const SOON: Duration = Duration::from_secs(15);
/// Somebody else's service.
pub(super) const FOREIGN: &str =
    "ipvsadm -A -t 10.77.0.100:8080 -s rr; ipvsadm -a -t 10.77.0.100:8080 -r 10.77.0.21:8080 -g";

/// Connections at all virtual addresses, so many at each.
pub(super) fn begin(lab: &DrLab, each: usize) -> Vec<Conversation> {
    let all = DrLab::vips().into_iter().flat_map(|vip| (0..each).map(move |_| vip));
    all.map(|vip| lab.converse(vip, PORT).unwrap_or_else(|why| panic!("{vip}: {why}"))).collect()
}

/// Takes at most so much that a client has not read: no transfer is over for the server while it is slow.
pub(super) fn read_in_time(lab: &DrLab) {
    let write = || fs::write("/proc/sys/net/ipv4/tcp_rmem", "4096 131072 1048576");
    lab.machine("client").enter(write).unwrap();
}

#[track_caller]
pub(super) fn all_echo(all: &mut [Conversation], when: &str) {
    for (number, one) in all.iter_mut().enumerate() {
        one.echo(when).unwrap_or_else(|why| panic!("{number} of {}: {when}: {why}", one.server()));
    }
}

pub(super) fn by_server(all: &[Conversation]) -> BTreeMap<&str, usize> {
    let mut by_server = BTreeMap::new();
    all.iter().for_each(|one| *by_server.entry(one.server()).or_default() += 1);
    by_server
}

#[test]
fn a_killed_daemon_takes_no_connection_with_it_and_the_next_one_adopts_what_it_left() {
    if !uml::possible("the end of a daemon whose kernel forwards", ipvs::PROGRAMS) {
        return;
    }
    let lab = DrLab::new();
    let _names = lab.serve_names(&[PORT]);
    let balancer = lab.balancer();
    balancer.ok(FOREIGN);
    let mut door = GuestDoor::start(&balancer, "", &configuration(&lab, &[PORT], ""));
    let whole = ipvs::until_table(&balancer, |table| table.lines().count() == 10);
    let whole = whole.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
    let mut old = begin(&lab, 6);
    all_echo(&mut old, "before");
    // The kernel adds them up every two seconds.
    let ever = ipvs::until_ever(&balancer, |ever| ever.values().sum::<u64>() == 12).unwrap();
    door.signal("KILL");
    door.until_ended(END);
    all_echo(&mut old, "while it is dead");
    assert_eq!((ipvs::table(&balancer), ipvs::ever(&balancer)), (whole.clone(), ever.clone()));
    door.start_again();
    all_echo(&mut old, "afterwards");
    let status = door.until_status("a status with services", SOON, |status| {
        status["forwarding"]["services"].as_array().is_some_and(|services| services.len() == 2)
    });
    // Not made anew, and not changed either.
    assert_eq!(ipvs::table(&balancer), whole);
    assert_eq!(ipvs::ever(&balancer), ever, "{}", door.log());
    assert!(!door.log().contains("added"), "{}", door.log());
    assert_eq!(status["forwarding"]["problems"], serde_json::json!([]), "{status:#}");
    old.extend(begin(&lab, 3));
    assert_eq!(by_server(&old), REAL_SERVERS.map(|role| (role, 6)).into());
    all_echo(&mut old, "all of them");
}

/// Whole sessions by the kernel, and their data by ports that are each server's own.
fn sliced(site: &Site) -> String {
    let [vip, vip6] = DrLab::vips();
    let mut text = format!(
        "[[virtual_server]]\nname = \"gridftp\"\nforwarding = \"dr\"\naddresses = [\"{vip}\", \"{vip6}\"]\nport = {PORT}\nlb_algo = \"rr\"\n"
    );
    for (at, (role, (v4, v6))) in REAL_SERVERS.iter().zip(addresses(&site.lab)).enumerate() {
        text += &format!(
            "[[virtual_server.real_server]]\nname = \"{role}\"\naddress = \"{v4}\"\ndata_addresses = [\"{v6}\"]\ndata_ports = \"{}\"\n",
            slice(at, '-')
        );
    }
    text
}

fn slice(at: usize, between: char) -> String {
    format!("50{at}00{between}50{at}99")
}

struct Get {
    process: Process,
    to: PathBuf,
}

impl Get {
    fn begin(site: &Site, vip: IpAddr, name: &str, rate: &str) -> Self {
        let host = if vip.is_ipv6() { format!("[{vip}]") } else { vip.to_string() };
        let to = site.files.path().join(format!("got-{name}-{rate}-{}", u8::from(vip.is_ipv6())));
        let mut command = site.lab.machine("client").command(None, "curl");
        // By itself it says so behind EPSV, which is too late for a Globus server that it speaks with.
        command
            .args(["-sS", "--connect-timeout", "5", "--limit-rate", rate, "--quote", "TYPE I", "-o"])
            .arg(&to);
        command.arg(format!("ftp://{host}:{PORT}/{name}"));
        Self { process: Process::spawn(command, &to.with_extension("said")), to }
    }

    fn bytes(&self) -> u64 {
        fs::metadata(&self.to).map_or(0, |file| file.len())
    }

    #[track_caller]
    fn until(&mut self, bytes: u64, door: &GuestDoor<'_>) {
        let grown = deadline::until("the growth of a file", SOON, || {
            if self.bytes() >= bytes { Ok(()) } else { Err(format!("{} bytes", self.bytes())) }
        });
        let said = self.process.output();
        grown.unwrap_or_else(|why| panic!("{why}\n{said}\n{}", door.log()));
    }

    #[track_caller]
    fn until_same(mut self, file: &Path, door: &GuestDoor<'_>) {
        let status = self.process.wait(Duration::from_secs(60));
        let said = self.process.output();
        assert!(status.is_some_and(|status| status.success()), "{status:?}\n{said}\n{}", door.log());
        assert!(same(file, &self.to), "{}", self.to.display());
    }
}

#[test]
fn transfers_by_slices_of_ports_outlive_the_daemon_and_begin_while_it_is_dead() {
    let programs = ["globus-gridftp-server", "curl", "cmp", "ipvsadm"];
    if !uml::possible("transfers by the kernel while the daemon is dead", &programs) {
        return;
    }
    let site = Site::new(|at| format!("port_range {}", slice(at, ',')));
    read_in_time(&site.lab);
    let (big, small) = (site.provide("big", 32 << 20), site.provide("small", 1 << 20));
    let balancer = site.lab.balancer();
    let mut door = GuestDoor::start(&balancer, "", &sliced(&site));
    // Services of two families, and carriers of three servers in each.
    ipvs::until_table(&balancer, |table| table.lines().count() == 8 + 12).unwrap();
    let mut gets = DrLab::vips().map(|vip| Get::begin(&site, vip, "big", "6M"));
    gets.iter_mut().for_each(|get| get.until(2 << 20, &door));
    let of_carriers = |ever: &BTreeMap<String, u64>| -> u64 {
        ever.iter().filter(|(name, _)| !name.contains(':')).map(|(_, count)| count).sum()
    };
    let ever = ipvs::until_ever(&balancer, |ever| of_carriers(ever) == 2);
    let ever = ever.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
    door.signal("KILL");
    door.until_ended(END);
    gets.iter_mut().for_each(|get| get.until(get.bytes() + (4 << 20), &door));
    for vip in DrLab::vips() {
        Get::begin(&site, vip, "small", "100M").until_same(&small, &door);
    }
    door.start_again();
    let status = door.until_status("carriers", SOON, |status| {
        let forwarding = &status["forwarding"];
        forwarding["services"].as_array().is_some_and(|services| services.len() == 2)
            && forwarding["interfaces"] == serde_json::json!(["vec0"])
    });
    for get in gets {
        get.until_same(&big, &door);
    }
    for vip in DrLab::vips() {
        for _ in REAL_SERVERS {
            Get::begin(&site, vip, "small", "100M").until_same(&small, &door);
        }
    }
    let now = ipvs::until_ever(&balancer, |ever| of_carriers(ever) == 2 + 2 + 6);
    let now = now.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
    assert!(ever.iter().all(|(service, count)| now[service] >= *count), "{ever:?}\n{now:?}");
    assert_eq!(status["forwarding"]["problems"], serde_json::json!([]), "{status:#}");
}

fn until_empty(balancer: &Uml, door: &GuestDoor<'_>) {
    let gone = ipvs::until_table(balancer, str::is_empty);
    gone.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
}

#[test]
fn a_daemon_that_stops_waits_for_the_connections_of_the_kernel_and_then_takes_all_away() {
    if !uml::possible("the stop of a daemon whose kernel forwards", ipvs::PROGRAMS) {
        return;
    }
    let lab = DrLab::new();
    let _names = lab.serve_names(&[PORT]);
    let balancer = lab.balancer();
    let text = configuration(&lab, &[PORT], "");
    let mut door = GuestDoor::start(&balancer, "drain_timeout = \"60s\"", &text);
    let made = ipvs::until_table(&balancer, |table| table.lines().count() == 8);
    made.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
    let mut old = begin(&lab, 3);
    door.signal("TERM");
    let refused = deadline::until("a refusal", SOON, || match lab.converse(DrLab::vips()[0], PORT) {
        Err(error) => Ok(error),
        Ok(_) => Err("it was taken".into()),
    });
    assert_eq!(refused.unwrap().kind(), std::io::ErrorKind::ConnectionRefused, "{}", door.log());
    for vip in DrLab::vips() {
        let error = lab.converse(vip, PORT).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{vip}: {error}");
    }
    all_echo(&mut old, "while it waits");
    assert!(!ipvs::table(&balancer).is_empty());
    drop(old);
    door.until_ended(END);
    until_empty(&balancer, &door);
    assert!(!balancer.ok("tc qdisc show dev vec0").contains("clsact"));

    // And it does not wait for ever.
    door.write("drain_timeout = \"2s\"", &text);
    door.start_again();
    ipvs::until_table(&balancer, |table| table.lines().count() == 8).unwrap();
    let mut old = begin(&lab, 1);
    door.signal("TERM");
    all_echo(&mut old, "while it waits");
    door.until_ended(END);
    until_empty(&balancer, &door);
    let ended = old[0].echo("too late").expect_err("the service is gone");
    assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset, "{ended}");
}
