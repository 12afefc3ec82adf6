//! Hosts that cannot forward, and servers that cannot take what is forwarded: they are served all the same, and the operator is told why.

use std::time::Duration;

use serde_json::Value;

use super::data_path::{Site, paths, same};
use super::direct_routing::{addresses, configuration};
use super::restart::{all_echo, begin, by_server};
use crate::support::dr_lab::{BALANCER, DrLab, REAL_SERVERS};
use crate::support::guest_door::GuestDoor;
use crate::support::ipvs;
use crate::support::uml::{self, Plan, Uml};

const PORT: u16 = 2811;
/// Of whole sessions.
const WHOLE: u16 = 2812;
const SOON: Duration = Duration::from_secs(10);
/// Until servers are asked whether they have the virtual address, and have been silent often enough.
const ASKED: Duration = Duration::from_secs(16);

fn reason(status: &Value) -> &str {
    status["forwarding"]["reason"].as_str().unwrap_or_default()
}

/// A door for data, and one for whole sessions.
fn both(site: &Site) -> String {
    let [vip, vip6] = DrLab::vips();
    let mut text = site.configuration("auto", |_| String::new());
    text += &format!(
        "[[virtual_server]]\nname = \"whole\"\nforwarding = \"dr\"\naddresses = [\"{vip}\", \"{vip6}\"]\nport = {WHOLE}\n\
         [virtual_server.check]\ntype = \"tcp\"\n"
    );
    for (role, (v4, v6)) in REAL_SERVERS.iter().zip(addresses(&site.lab)) {
        text += &format!(
            "[[virtual_server.real_server]]\nname = \"{role}\"\naddress = \"{v4}\"\ndata_addresses = [\"{v6}\"]\n"
        );
    }
    text
}

/// How a door begins, and what it says of the kernel.
fn serves_without(what: &str, plan: impl Fn(&DrLab) -> Plan, by: &str, words: &[&str]) {
    if !uml::possible(what, &["globus-gridftp-server", "curl", "cmp"]) {
        return;
    }
    let site = Site::new(|_| String::new());
    let _names = site.lab.serve_names(&[WHOLE]);
    let file = site.provide("it", 1 << 20);
    let balancer = plan(&site.lab).setup(&DrLab::take_vips()).start();
    let door = GuestDoor::start_by(&balancer, by, "", &both(&site));
    let status = door.status().unwrap();
    assert_eq!(status["forwarding"]["engine"], Value::Null, "{status:#}");
    for word in words {
        assert!(reason(&status).contains(word), "{word}: {:?}", reason(&status));
    }
    assert!(door.log().contains(reason(&status)), "{}", door.log());
    gets_by(&site, &file, &door, "relay");
    let [vip, _] = DrLab::vips();
    site.lab.converse(vip, WHOLE).expect_err("the kernel does not forward");
    println!("{}", door.order(&["status"]).unwrap());
}

/// In both families.
#[track_caller]
fn gets_by(site: &Site, file: &std::path::Path, door: &GuestDoor<'_>, path: &str) {
    let local = site.files.path().join("local");
    for vip in DrLab::vips() {
        let host = if vip.is_ipv6() { format!("[{vip}]") } else { vip.to_string() };
        site.client(&["curl", "-sS", "-o", local.to_str().unwrap(), &format!("ftp://{host}:{PORT}/it")]);
        assert!(same(file, &local), "{vip}");
    }
    let status = door.status().unwrap();
    assert_eq!(paths(&status), [(path.to_owned(), 2)], "{status:#}\n{}", door.log());
}

#[test]
fn without_a_capability_the_door_serves_and_says_which_one_it_lacks() {
    let plan = |lab: &DrLab| lab.plan(BALANCER);
    serves_without(
        "a door without CAP_NET_ADMIN",
        plan,
        "setpriv --bounding-set=-net_admin",
        &["CAP_NET_ADMIN"],
    );
}

#[test]
fn without_ipvs_the_door_serves_and_says_which_module_it_lacks() {
    let plan = |lab: &DrLab| {
        let [(v4, v6), ..] = [("10.78.0.0/24 via 10.77.0.1", "fd78::/64 via fd77::1")];
        Plan::default().on(lab.lab(), BALANCER).setup(&format!(
            "ip route add {v4}; ip route add {v6}; echo /bin/false > /proc/sys/kernel/modprobe"
        ))
    };
    serves_without("a door without IPVS", plan, "", &["modprobe ip_vs"]);
}

#[test]
fn without_bpf_whole_sessions_are_forwarded_and_data_is_relayed() {
    if !uml::possible("a door without CAP_BPF", &["globus-gridftp-server", "curl", "cmp", "ipvsadm"]) {
        return;
    }
    let site = Site::new(|_| String::new());
    let _names = site.lab.serve_names(&[WHOLE]);
    let file = site.provide("it", 1 << 20);
    let balancer = site.lab.balancer();
    let door = GuestDoor::start_by(&balancer, "setpriv --bounding-set=-bpf,-sys_admin", "", &both(&site));
    let status = door
        .until_status("a problem", SOON, |status| status["forwarding"]["problems"] != serde_json::json!([]));
    let problems = status["forwarding"]["problems"].to_string();
    assert!(problems.contains("CAP_BPF"), "{status:#}");
    assert_eq!(status["forwarding"]["engine"], "ipvs", "{status:#}");
    gets_by(&site, &file, &door, "relay");
    for vip in DrLab::vips() {
        site.lab.converse(vip, WHOLE).unwrap_or_else(|why| panic!("{vip}: {why}\n{}", door.log()));
    }
    println!("{}", door.order(&["status"]).unwrap());
}

fn lose(lab: &DrLab, role: &str, lost: bool) {
    let [vip, vip6] = DrLab::vips();
    let action = if lost { "del" } else { "add" };
    lab.machine(role).ip(&format!(
        "addr {action} {vip}/32 dev lo\naddr {action} {vip6}/128 dev lo{}\n",
        if lost { "" } else { " nodad" }
    ));
}

fn until_weights(balancer: &Uml, door: &GuestDoor<'_>, weight: u32) {
    let end = format!(" -w {weight}");
    let table = crate::support::deadline::until("weights", ASKED, || {
        let table = ipvs::table(balancer);
        let of_it: Vec<_> =
            table.lines().filter(|line| line.contains(".21:2811") || line.contains("::21]:2811")).collect();
        if of_it.len() == 2 && of_it.iter().all(|line| line.ends_with(&end)) { Ok(()) } else { Err(table) }
    });
    table.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
}

#[test]
fn a_server_that_loses_the_virtual_address_gets_no_connections_until_it_has_it_again() {
    if !uml::possible("a server that loses the virtual address", ipvs::PROGRAMS) {
        return;
    }
    let lab = DrLab::new();
    let _names = lab.serve_names(&[PORT]);
    let balancer = lab.balancer();
    let door = GuestDoor::start(&balancer, "", &configuration(&lab, &[PORT], ""));
    ipvs::until_table(&balancer, |table| table.lines().count() == 8).unwrap();
    let mut old = begin(&lab, 3);
    lose(&lab, "rs1", true);
    until_weights(&balancer, &door, 0);
    assert_eq!(by_server(&begin(&lab, 2)), [("rs2", 2), ("rs3", 2)].into());
    let status = door.status().unwrap();
    let probes = status["forwarding"]["probes"].to_string();
    assert!(probes.contains("gridfront realserver check --vip"), "{status:#}");
    assert!(door.log().contains("gridfront realserver check --vip"), "{}", door.log());
    lose(&lab, "rs1", false);
    until_weights(&balancer, &door, 1);
    // Even those that it had.
    all_echo(&mut old, "afterwards");
    assert!(
        begin(&lab, 1).iter().any(|one| one.server() == "rs1")
            || begin(&lab, 2).iter().any(|one| one.server() == "rs1")
    );
    let status = door.status().unwrap();
    assert!(!status["forwarding"]["probes"].to_string().contains("check --vip"), "{status:#}");
}

#[test]
fn data_of_a_server_without_the_virtual_address_is_relayed_and_the_reason_told() {
    if !uml::possible(
        "data of a server without the virtual address",
        &["globus-gridftp-server", "curl", "cmp"],
    ) {
        return;
    }
    let site = Site::new(|_| String::new());
    let file = site.provide("it", 1 << 20);
    let balancer = site.lab.balancer();
    REAL_SERVERS.iter().for_each(|role| lose(&site.lab, role, true));
    let door = GuestDoor::start(&balancer, "", &site.configuration("auto", |_| String::new()));
    gets_by(&site, &file, &door, "relay");
    let status = door.status().unwrap();
    let probes = status["forwarding"]["probes"].as_array().unwrap();
    assert!(probes.iter().all(|probe| probe["answered"] == false), "{status:#}");
    assert!(
        status["forwarding"]["probes"].to_string().contains("gridfront realserver check --vip"),
        "{status:#}"
    );
    assert!(door.log().contains("gridfront realserver check --vip"), "{}", door.log());
}
