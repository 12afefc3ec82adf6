//! Others who change what the kernel forwards, or have been there before.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::direct_routing::{addresses, configuration};
use super::restart::{FOREIGN, all_echo, begin};
use crate::support::deadline;
use crate::support::dr_lab::{BALANCER, DrLab, REAL_SERVERS};
use crate::support::guest_door::GuestDoor;
use crate::support::ipvs;
use crate::support::uml::{self, Uml};

const PORT: u16 = 2811;
/// What was taken away is put back within five seconds, and a look.
const BACK: Duration = Duration::from_secs(9);

fn problems(status: &Value) -> String {
    status["forwarding"]["problems"].to_string()
}

#[test]
fn a_foreign_service_in_the_place_of_ours_is_left_alone_and_named() {
    if !uml::possible("services that others have made", ipvs::PROGRAMS) {
        return;
    }
    let lab = DrLab::new();
    let _names = lab.serve_names(&[PORT]);
    let balancer = lab.balancer();
    let [vip, _] = DrLab::vips();
    let at = SocketAddr::new(vip, PORT);
    balancer.ok(&format!("ipvsadm -A -t {at} -s rr; ipvsadm -a -t {at} -r 10.77.0.21:{PORT} -g -w 7"));
    let foreign = ipvs::table(&balancer);
    let door = GuestDoor::start(&balancer, "", &configuration(&lab, &[PORT], ""));
    // That of the other family.
    let both = ipvs::until_table(&balancer, |table| table.lines().count() == 6);
    let both = both.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
    assert!(foreign.lines().all(|line| both.contains(line)), "{both}");
    let status = door.until_status("a problem", BACK, |status| problems(status) != "[]");
    let removal = format!("ipvsadm -D -t {at}");
    assert!(problems(&status).contains(&removal), "{status:#}");
    assert!(door.log().contains(&removal), "{}", door.log());
    // As long as it takes to look again.
    deadline::until("further looks", BACK, || {
        let now = door.status()?["forwarding"]["failures"].as_u64();
        if now >= status["forwarding"]["failures"].as_u64().map(|then| then + 1) {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .unwrap();
    assert_eq!(ipvs::table(&balancer), both);
    balancer.ok(&removal);
    let ours = ipvs::until_table(&balancer, |table| table.lines().count() == 8);
    ours.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
    door.until_status("no problem", BACK, |status| problems(status) == "[]");
}

/// Three servers whose names are told at the port and at one of their own.
fn with_ports(lab: &DrLab, forwarding: &str) -> String {
    let [vip, vip6] = DrLab::vips();
    let mut text = format!(
        "[forwarding]\n{forwarding}\n[[virtual_server]]\nname = \"names\"\nforwarding = \"dr\"\naddresses = [\"{vip}\", \"{vip6}\"]\nport = {PORT}\n\
         [virtual_server.check]\ntype = \"tcp\"\n"
    );
    for (at, (role, (v4, v6))) in REAL_SERVERS.iter().zip(addresses(lab)).enumerate() {
        text += &format!(
            "[[virtual_server.real_server]]\nname = \"{role}\"\naddress = \"{v4}\"\ndata_addresses = [\"{v6}\"]\ndata_ports = \"{0}-{0}\"\n",
            own_port(at)
        );
    }
    text
}

fn own_port(at: usize) -> u16 {
    50_000 + u16::try_from(at).unwrap()
}

/// Every server is reached at its own port.
#[track_caller]
fn until_reached(lab: &DrLab, door: &GuestDoor<'_>, what: &str) {
    for (at, role) in REAL_SERVERS.iter().enumerate() {
        for vip in DrLab::vips() {
            let reached = deadline::until(what, BACK, || match lab.converse(vip, own_port(at)) {
                Ok(one) if one.server() == *role => Ok(()),
                other => Err(format!("{other:?}")),
            });
            reached.unwrap_or_else(|why| panic!("{vip} {role}: {why}\n{}", door.log()));
        }
    }
}

#[track_caller]
fn until_again(balancer: &Uml, door: &GuestDoor<'_>, whole: &str) {
    let again = deadline::until("the table", BACK, || {
        let table = ipvs::table(balancer);
        if table == whole { Ok(()) } else { Err(table) }
    });
    again.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
}

#[test]
fn what_others_take_away_is_put_back() {
    if !uml::possible("what others take away", &["ipvsadm", "tc"]) {
        return;
    }
    let lab = DrLab::new();
    let _names = lab.serve_names(&[PORT, own_port(0), own_port(1), own_port(2)]);
    let balancer = lab.balancer();
    balancer.ok(FOREIGN);
    let door = GuestDoor::start(&balancer, "", &with_ports(&lab, ""));
    let whole = ipvs::until_table(&balancer, |table| table.lines().count() == 2 + 8 + 12);
    let whole = whole.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
    until_reached(&lab, &door, "a first time");
    let [_, vip6] = DrLab::vips();
    for what in [
        &format!(
            "ipvsadm -D -t [{vip6}]:2811; ipvsadm -d -t 10.77.0.100:2811 -r 10.77.0.21:2811\n\
             ipvsadm -E -t 10.77.0.100:2811 -s rr; ipvsadm -e -t 10.77.0.100:2811 -r 10.77.0.22:2811 -g -w 9"
        ),
        &format!("ipvsadm -C; {FOREIGN}"),
    ] {
        balancer.ok(what);
        until_again(&balancer, &door, &whole);
    }
    until_reached(&lab, &door, "with a table again");
    let mut old = begin(&lab, 3);
    for what in ["tc filter del dev vec0 ingress", "tc qdisc del dev vec0 clsact"] {
        balancer.ok(what);
        let port = own_port(0);
        assert!(lab.converse(DrLab::vips()[0], port).is_err(), "{what} does nothing");
        until_reached(&lab, &door, what);
    }
    all_echo(&mut old, "all the time");
    let status = door.until_status("no problem", BACK, |status| problems(status) == "[]");
    assert!(status["forwarding"]["changes"].as_u64() > Some(30), "{status:#}");
}

#[test]
fn an_interface_that_comes_back_is_marked_again() {
    if !uml::possible("an interface that comes and goes", &["ipvsadm", "tc"]) {
        return;
    }
    let lab = DrLab::new();
    let _names = lab.serve_names(&[PORT, own_port(0), own_port(1), own_port(2)]);
    // Clients come in at an interface of its own, whose link address nobody forgets.
    let balancer = lab.plan(BALANCER).setup("sysctl -qw net.ipv4.conf.all.arp_ignore=1").start();
    let take = |uml: &Uml| {
        uml.ok(&format!(
            "ip link add clients link vec0 address 02:77:00:00:01:0b type macvlan mode bridge; {}; ip link set clients up",
            DrLab::take_vips().replace("vec0", "clients")
        ));
    };
    take(&balancer);
    let door = GuestDoor::start(&balancer, "", &with_ports(&lab, "interfaces = [\"clients\"]"));
    until_reached(&lab, &door, "a first time");
    let whole = ipvs::table(&balancer);
    let index = balancer.ok("cat /sys/class/net/clients/ifindex");
    balancer.ok("ip link del clients; ipvsadm -d -t 10.77.0.100:2811 -r 10.77.0.22:2811");
    // It has looked without finding the interface.
    until_again(&balancer, &door, &whole);
    take(&balancer);
    assert_ne!(balancer.ok("cat /sys/class/net/clients/ifindex"), index);
    until_reached(&lab, &door, "at an interface that is there again");
    door.until_status("no problem", BACK, |status| problems(status) == "[]");
    // And without having looked.
    balancer.ok("ip link del clients");
    take(&balancer);
    until_reached(&lab, &door, "at an interface that is another one");
    assert!(!balancer.ok("tc qdisc show dev vec0").contains("clsact"));
}

#[test]
fn the_second_daemon_of_a_network_says_whose_ipvs_it_is_and_may_have_it_afterwards() {
    if !uml::possible("two daemons that both want IPVS", ipvs::PROGRAMS) {
        return;
    }
    let lab = DrLab::new();
    let _names = lab.serve_names(&[PORT, 80]);
    let balancer = lab.balancer();
    let first = GuestDoor::start(&balancer, "drain_timeout = \"1s\"", &configuration(&lab, &[PORT], ""));
    let table = ipvs::until_table(&balancer, |table| table.lines().count() == 8).unwrap();
    let second = GuestDoor::start(&balancer, "", &configuration(&lab, &[80], ""));
    let status = second.status().unwrap();
    let reason = status["forwarding"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("another gridfront") && reason.contains("reload"), "{status:#}");
    assert!(second.log().contains(reason), "{}", second.log());
    second.order(&["reload"]).unwrap();
    assert_eq!(ipvs::table(&balancer), table, "{}", second.log());
    first.signal("TERM");
    first.until_ended(Duration::from_secs(20));
    second.order(&["reload"]).unwrap();
    let other = ipvs::until_table(&balancer, |table| table.lines().count() == 8);
    let other = other.unwrap_or_else(|why| panic!("{why}\n{}", second.log()));
    assert_eq!(other, table.replace(":2811", ":80"), "{}", second.log());
    lab.converse(DrLab::vips()[0], 80).unwrap();
}
