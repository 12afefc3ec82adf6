//! The owner of an address (priority 255), whose adverts come from that very address: who holds it for a while hears that the owner
//! is back, although the kernel drops what comes from an address that it has itself.

use std::time::Duration;

use super::balancer::{Balancer, Gridfront, Program, VirtualRouter};
use super::pair::{FIRST, PATIENCE, Pair, SECOND};
use crate::support::netns::Lab;
use crate::support::ownership::{Watch, now};
use crate::support::{keepalived, skip};

const TENTH: Duration = Duration::from_millis(100);
const LOOK_EVERY: Duration = Duration::from_millis(4);
const ID: u8 = 60;
const PRIORITIES: [u8; 2] = [255, 100];

/// Beyond one interval: the owner has to see its carrier, and everything here runs beside everything else.
const SLACK: Duration = Duration::from_secs(2);

/// How the owner is away: nothing passes, or its cable is out.
type Away = fn(&Lab, bool);

/// The first has the addresses of the virtual router, and none besides.
fn pair(router: VirtualRouter, owner: Program) -> Pair {
    let pair = Pair::new(router, [owner, Program::Ours], PRIORITIES, LOOK_EVERY);
    let addresses: Vec<String> =
        router.addresses().iter().map(|address| format!("addr add {address} dev eth0")).collect();
    let nodad = if router.is_ipv6 { " nodad" } else { "" };
    let lines: String = addresses.iter().map(|line| format!("{line}{nodad}\n")).collect();
    pair.lab.machine(FIRST).ip(&format!("addr flush dev eth0\n{lines}"));
    pair
}

/// Twice, by adverts of which none is heard twice or discarded.
fn who_comes_back_is_heard(router: VirtualRouter, owner: Program, away: Away) {
    let mut pair = pair(router, owner);
    pair.start_one(0);
    pair.until_alone(FIRST);
    pair.start_one(1);
    pair.until_settled_at(FIRST);
    for _ in 0..2 {
        let event = now();
        away(&pair.lab, true);
        pair.taken(SECOND, event, router.down(PRIORITIES[1]));
        let event = now();
        away(&pair.lab, false);
        pair.until_settled_at(FIRST);
        let both = pair.watch.overlap(event);
        assert!(both < router.interval + SLACK, "{owner:?} {router:?}: both for {both:?}");
    }
    let backup = pair.balancers[1].as_ref().and_then(Balancer::ours).unwrap();
    let instance = backup.instance(ID);
    assert_eq!((&instance["became_master"], &instance["discarded"]), (&2.into(), &serde_json::json!([])));
}

#[test]
fn who_holds_the_address_of_an_owner_hears_that_it_is_back() {
    if !skip::unless_present("an owner that comes back", &["ip", "nsenter"]) {
        return;
    }
    let v4 = VirtualRouter::new(ID, TENTH);
    who_comes_back_is_heard(v4, Program::Ours, |lab, away| lab.isolate(FIRST, away));
    who_comes_back_is_heard(v4, Program::Ours, |lab, away| lab.plug(FIRST, !away));
    let v6 = VirtualRouter { is_ipv6: true, ..v4 };
    who_comes_back_is_heard(v6, Program::Ours, |lab, away| lab.isolate(FIRST, away));
}

#[test]
fn who_holds_the_address_of_keepalived_hears_that_it_is_back() {
    if !skip::unless_present("an owner that comes back beside keepalived", keepalived::PROGRAMS) {
        return;
    }
    let router = VirtualRouter::new(ID, TENTH);
    who_comes_back_is_heard(router, Program::Keepalived, |lab, away| lab.isolate(FIRST, away));
}

/// RFC 9568 section 4.2: neither host has an address besides the one that it owns.
#[test]
fn two_owners_are_each_others_backups_without_further_addresses() {
    if !skip::unless_present("two owners", &["ip", "nsenter"]) {
        return;
    }
    let lab = Lab::new(&[(FIRST, 12), (SECOND, 11)]);
    let machines = [FIRST, SECOND].map(|role| lab.machine(role));
    let routers = [ID, ID + 1].map(|id| VirtualRouter::new(id, TENTH));
    let watches = routers.map(|router| Watch::start(&machines, router.address(), LOOK_EVERY));
    for (machine, router) in machines.iter().zip(&routers) {
        machine.ip(&format!("addr flush dev eth0\naddr add {}/24 dev eth0\n", router.address()));
    }
    let doors = [[255, 100], [100, 255]].into_iter().zip([machines, [machines[1], machines[0]]]);
    let doors = doors.map(|(priorities, [machine, peer])| {
        let of = |at: usize| routers[at].for_us(machine, peer, priorities[at], "");
        Gridfront::start(machine, &(of(0) + &of(1)))
    });
    let doors: Vec<Gridfront> = doors.collect();
    let until_each_has_its_own = || {
        for (watch, role) in watches.iter().zip([FIRST, SECOND]) {
            watch.until_alone(role, PATIENCE).unwrap_or_else(|why| panic!("{why}\n{}", doors[0].log()));
        }
        for (door, [owned, other]) in doors.iter().zip([[ID, ID + 1], [ID + 1, ID]]) {
            door.until(owned, "its own", PATIENCE, |instance| instance["state"] == "MASTER");
            door.until(other, "the other's", PATIENCE, |instance| instance["state"] == "BACKUP");
        }
    };
    until_each_has_its_own();
    let event = now();
    lab.plug(SECOND, false);
    watches[1].taken_after(FIRST, event, routers[1].down(100) + PATIENCE).unwrap();
    lab.plug(SECOND, true);
    until_each_has_its_own();
}
