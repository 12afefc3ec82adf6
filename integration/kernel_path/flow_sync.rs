//! Two balancers with one kernel's connections: the master tells of its flows, and whoever takes its addresses has them.

use std::time::Duration;

use serde_json::Value;

use super::direct_routing::configuration;
use crate::support::deadline::{self, Stopwatch};
use crate::support::dr_lab::{BALANCER, DrLab, SECOND_BALANCER};
use crate::support::guest_door::GuestDoor;
use crate::support::ipvs;
use crate::support::name_service::Conversation;
use crate::support::uml::{self, Uml};

const PORT: u16 = 2811;
const CONNECTIONS: usize = 10;
/// The kernel tells of a connection some seconds after its third packet.
const TOLD: Duration = Duration::from_secs(30);
/// For roles and states.
const SOON: Duration = Duration::from_secs(30);
/// Three adverts and a part of a fourth, one retransmission, and what a busy machine adds. keepalived took 3.35 s with adverts of
/// a second.
const TAKEOVER: Duration = Duration::from_millis(2500);

/// What each of the two is told.
fn balancer(lab: &DrLab, priority: u8) -> String {
    let [vip, vip6] = DrLab::vips();
    format!(
        "[forwarding]\nlvs_sync_daemon = \"VI_1\"\n\
         [[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"vec0\"\nvirtual_router_id = 51\nvirtual_addresses = [\"{vip}\", \"{vip6}\"]\n\
         priority = {priority}\nadvert_interval = \"100ms\"\n{}",
        configuration(lab, &[PORT], "")
    )
}

/// Waits until a door is in this state and has this part in the flows.
fn until_role(door: &GuestDoor<'_>, state: &str, role: &str) -> Value {
    let reached = deadline::until(&format!("{state} and {role} of flows"), SOON, || {
        let status = door.status()?;
        let is = status["vrrp"][0]["state"] == state && status["forwarding"]["sync"] == role;
        if is {
            Ok(status)
        } else {
            Err(format!("{} {}", status["vrrp"][0]["state"], status["forwarding"]["sync"]))
        }
    });
    reached.unwrap_or_else(|why| panic!("{why}\n{}", door.log()))
}

/// Waits until a guest knows so many connections at which something was said.
fn until_known(uml: &Uml, count: usize, said: impl Fn()) {
    let known = deadline::until("connections that are told", TOLD, || {
        let list = uml.ok("ipvsadm --list --connection --numeric");
        let open = list.lines().filter(|line| line.contains("ESTABLISHED")).count();
        if open >= count {
            return Ok(());
        }
        said();
        Err(list)
    });
    known.unwrap_or_else(|why| panic!("{why}"));
}

/// So many with both addresses, in use.
fn converse(lab: &DrLab) -> Vec<Conversation> {
    let vips = DrLab::vips();
    let mut all: Vec<Conversation> =
        (0..CONNECTIONS).map(|at| lab.converse(vips[at % 2], PORT).unwrap()).collect();
    for round in 0..4 {
        all.iter_mut().for_each(|one| one.echo(&format!("before {round}")).unwrap());
    }
    all
}

/// Until each of them has answered once more, all asked at once; how long the slowest took.
fn answers(conversations: &mut [Conversation], word: &str) -> Duration {
    let watch = Stopwatch::start();
    std::thread::scope(|scope| {
        for one in conversations {
            scope.spawn(move || one.echo(word).unwrap());
        }
    });
    watch.elapsed()
}

fn possible(what: &str) -> bool {
    uml::possible(what, ipvs::PROGRAMS)
}

#[test]
fn connections_outlive_the_balancer_that_they_came_by() {
    if !possible("the end of a balancer whose kernel has connections") {
        return;
    }
    let lab = DrLab::new();
    let _names = lab.serve_names(&[PORT]);
    let (mut first, second) = (lab.plan(BALANCER).start(), lab.plan(SECOND_BALANCER).start());
    let door = GuestDoor::start(&first, "", &balancer(&lab, 150));
    until_role(&door, "MASTER", "master");
    let other = GuestDoor::start(&second, "", &balancer(&lab, 100));
    until_role(&other, "BACKUP", "backup");
    let mut all = converse(&lab);
    until_known(&second, CONNECTIONS, || ());
    println!("{}", door.order(&["status"]).unwrap());
    first.crash();
    let took = answers(&mut all, "after");
    println!("all {CONNECTIONS} connections answer {} ms after the crash", took.as_millis());
    assert!(took < TAKEOVER, "{took:?}\n{}", other.log());
    let status = until_role(&other, "MASTER", "master");
    assert_eq!(status["forwarding"]["problems"], serde_json::json!([]), "{status:#}");
    println!("{}", other.order(&["status"]).unwrap());
    // And new ones come by it.
    for vip in DrLab::vips() {
        lab.converse(vip, PORT).unwrap().echo("new").unwrap();
    }
}

#[test]
fn the_part_in_flows_follows_the_state_of_vrrp_back_and_forth() {
    if !possible("balancers that take over from each other") {
        return;
    }
    let lab = DrLab::new();
    let _names = lab.serve_names(&[PORT]);
    let (first, second) = (lab.plan(BALANCER).start(), lab.plan(SECOND_BALANCER).start());
    let door = GuestDoor::start(&first, "", &balancer(&lab, 150));
    until_role(&door, "MASTER", "master");
    let other = GuestDoor::start(&second, "", &balancer(&lab, 100));
    until_role(&other, "BACKUP", "backup");
    let mut before = converse(&lab);
    until_known(&second, CONNECTIONS, || ());
    for turn in 0..2 {
        door.order(&["maintenance", "on"]).unwrap();
        until_role(&other, "MASTER", "master");
        let took = answers(&mut before, "at the second");
        until_role(&door, "FAULT", "backup");
        println!("{turn}: the second one has them after {} ms", took.as_millis());
        // Those of its time are told to the first one, which takes over with them.
        let mut new = converse(&lab);
        until_known(&first, CONNECTIONS * (turn + 2), || ());
        door.order(&["maintenance", "off"]).unwrap();
        until_role(&door, "MASTER", "master");
        let took = answers(&mut before, "at the first") + answers(&mut new, "at the first");
        until_role(&other, "BACKUP", "backup");
        println!("{turn}: the first one has them after {} ms", took.as_millis());
        before.extend(new);
    }
    let logs = door.log() + &other.log();
    assert!(!logs.contains("ERROR forwarding"), "{logs}");
}
