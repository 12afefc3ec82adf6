//! Whole virtual servers that the kernel balances for us: `forwarding = "dr"`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::support::deadline;
use crate::support::dr_lab::{BALANCER, DrLab, REAL_SERVERS};
use crate::support::guest_door::GuestDoor;
use crate::support::ipvs::{self, Balanced, Connections};
use crate::support::name_service::NameService;
use crate::support::uml;

const PORTS: [u16; 2] = [2811, 80];
const REPLY: u64 = 1_000_000;
/// A check every second, three further tries a tenth of a second apart, and a look of the daemon.
const OUT: Duration = Duration::from_secs(5);

/// What keepalived is told in [`Balanced::by_keepalived`], in our words.
pub(super) fn configuration(lab: &DrLab, ports: &[u16], further: &str) -> String {
    let [vip, vip6] = DrLab::vips();
    let mut text = String::new();
    for port in ports {
        text += &format!(
            "[[virtual_server]]\nname = \"of-{port}\"\nforwarding = \"dr\"\naddresses = [\"{vip}\", \"{vip6}\"]\nport = {port}\n{further}\n\
             [virtual_server.check]\ntype = \"tcp\"\ndelay_loop = \"1s\"\nretry = 3\ndelay_before_retry = \"100ms\"\n"
        );
        for (role, (v4, v6)) in REAL_SERVERS.iter().zip(addresses(lab)) {
            text += &format!(
                "[[virtual_server.real_server]]\nname = \"{role}\"\naddress = \"{v4}\"\ndata_addresses = [\"{v6}\"]\n"
            );
        }
    }
    text
}

/// Of both families of every real server.
pub(super) fn addresses(lab: &DrLab) -> Vec<(IpAddr, IpAddr)> {
    let [vip, vip6] = DrLab::vips();
    lab.real_servers(vip).into_iter().zip(lab.real_servers(vip6)).collect()
}

pub(super) fn guide(lab: &DrLab, ports: &[u16]) -> Vec<Balanced> {
    let each = DrLab::vips().into_iter().flat_map(|vip| ports.iter().map(move |port| (vip, *port)));
    each.map(|(vip, port)| Balanced { vip, port, real_servers: lab.real_servers(vip) }).collect()
}

fn possible(what: &str, further: &[&str]) -> bool {
    uml::possible(what, &[ipvs::PROGRAMS, further].concat())
}

#[test]
fn the_table_is_that_of_keepalived_and_nine_connections_are_three_for_each_server() {
    if !possible("Direct Routing by our own engine", &["keepalived"]) {
        return;
    }
    let lab = DrLab::new();
    let _names = lab.serve_names(&PORTS);
    let balancer = lab.balancer();
    let reference = ipvs::table_of_keepalived(&balancer, &guide(&lab, &PORTS));
    // Somebody else's, of which nobody has told us.
    balancer.ok("ipvsadm -A -t 10.77.0.100:8080 -s rr; ipvsadm -a -t 10.77.0.100:8080 -r 10.77.0.21:8080 -g");
    let foreign = ipvs::table(&balancer);
    let door = GuestDoor::start(&balancer, "", &configuration(&lab, &PORTS, ""));
    let both = reference + &foreign;
    let both = sorted(&both);
    let made = ipvs::until_table(&balancer, |table| sorted(table) == both);
    made.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
    for vip in DrLab::vips() {
        for port in PORTS {
            let before = (lab.passed_by_balancer(BALANCER), lab.passed("client"));
            let mut all: Vec<_> = (0..9).map(|_| lab.converse(vip, port).unwrap()).collect();
            let mut by_server: BTreeMap<&str, u32> = BTreeMap::new();
            all.iter().for_each(|one| *by_server.entry(one.server()).or_default() += 1);
            assert_eq!(by_server, REAL_SERVERS.map(|role| (role, 3)).into(), "{vip}");
            let three = Connections { active: 3, inactive: 0 };
            let counted: Vec<u32> = ipvs::connections(&balancer, SocketAddr::new(vip, port))
                .values()
                .map(|of| of.active)
                .collect();
            assert_eq!(counted, [three.active; 3]);
            all.iter_mut().for_each(|one| one.fetch(REPLY).unwrap());
            let passed = (lab.passed_by_balancer(BALANCER) - before.0, lab.passed("client") - before.1);
            assert!(passed.1.received.bytes > 9 * REPLY, "{passed:?}");
            assert!(passed.0.received.bytes < REPLY && passed.0.sent.bytes < REPLY, "{vip}: {passed:?}");
        }
    }
    let status = door.status().unwrap();
    assert_eq!(status["forwarding"]["engine"], "ipvs", "{status:#}");
    assert_eq!(status["forwarding"]["problems"], serde_json::json!([]), "{status:#}");
    println!("{}", door.order(&["status"]).unwrap());
    // At its end it takes its own services away, and nobody else's.
    door.signal("TERM");
    door.until_ended(Duration::from_secs(90));
    assert_eq!(ipvs::table(&balancer), foreign, "{}", door.log());
}

fn sorted(table: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = table.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_dead_server_leaves_within_the_time_of_its_checks_and_comes_back() {
    if !possible("checks of servers that the kernel balances", &[]) {
        return;
    }
    let lab = DrLab::new();
    let mut names = lab.serve_names(&PORTS);
    let balancer = lab.balancer();
    let door = GuestDoor::start(&balancer, "", &configuration(&lab, &PORTS, ""));
    let whole = ipvs::until_table(&balancer, |table| table.lines().count() == 16);
    let whole = whole.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
    drop(names.pop());
    let without = deadline::until("the dead server's end", OUT, || {
        let table = ipvs::table(&balancer);
        if table.lines().count() == 12 { Ok(table) } else { Err(table) }
    });
    let without = without.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
    for lost in addresses(&lab)[2..].iter().flat_map(|(v4, v6)| [v4, v6]) {
        assert!(!without.contains(&lost.to_string()), "{without}");
    }
    names.push(NameService::start(lab.machine(REAL_SERVERS[2]), &PORTS));
    let again = ipvs::until_table(&balancer, |table| table == whole);
    again.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
}
