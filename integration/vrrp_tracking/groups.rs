//! Who gives way to whom: preemption and its delay, and groups that move together.

use std::time::Duration;

use super::{Known, MACHINES, PROGRAMS, Pair, instance, instance_on};
use crate::support::deadline;
use crate::support::netns::Lab;
use crate::support::ownership::now;
use crate::support::skip;

#[test]
fn who_comes_back_does_not_preempt_or_waits_for_its_delay() {
    if !skip::unless_present("preemption", PROGRAMS) {
        return;
    }
    let all: [Known; 3] = [("leaves", 101), ("waits", 102), ("takes", 103)];
    let [leaves, waits, takes] = all;
    let text = |priority| {
        [
            instance(leaves, priority, "preempt = false"),
            instance(waits, priority, "preempt_delay = \"2s\""),
            instance(takes, priority, ""),
        ]
        .concat()
    };
    let mut pair = Pair::start(Lab::new(MACHINES), [&text(110), &text(100)], &all, &[]);
    pair.balancers[1].until_instance("waits", "BACKUP", 100);
    pair.balancers[0].stop();
    pair.until_all("lb2", &all);
    let back = now();
    pair.balancers[0].start();
    let taken = |known| pair.watch(known).taken_after("lb1", back, super::PATIENCE).unwrap();
    let (at_once, waited) = (taken(takes), taken(waits));
    assert!(waited - at_once >= Duration::from_millis(1900), "{at_once:?}, {waited:?}");
    let heard = pair.balancers[0].instance("leaves").unwrap();
    assert_eq!(heard["state"], "BACKUP");
    assert!(heard["received"].as_u64().unwrap() >= 10, "{heard}");
    assert_eq!(pair.watch(leaves).holders(), ["lb2"]);
    pair.balancers[1].stop();
    pair.until_all("lb1", &all);
}

#[test]
fn a_group_moves_as_one_whatever_moves_one_of_it() {
    if !skip::unless_present("sync groups", PROGRAMS) {
        return;
    }
    let all: [Known; 3] = [("outside", 101), ("inside", 102), ("alone", 103)];
    let [outside, inside, alone] = all;
    let members = &all[..2];
    let lab = Lab::new(MACHINES);
    lab.add_second_network();
    let group = "\n[[vrrp_sync_group]]\nname = \"both\"\ninstances = [\"outside\", \"inside\"]\n";
    let text = |priority| {
        let on = |interface, known| instance_on(interface, known, priority, "");
        [on("eth0", outside), on("eth1", inside), on("eth0", alone), group.to_owned()].concat()
    };
    let pair = Pair::start(lab, [&text(110), &text(100)], &all, &[]);
    let [lb1, lb2] = &pair.balancers;
    for second in [false, true] {
        let plug = |plugged| match second {
            true => pair.lab.plug_second("lb1", plugged),
            false => pair.lab.plug("lb1", plugged),
        };
        plug(false);
        // Also the one whose cable is well.
        pair.until_all("lb2", members);
        lb1.until_instance("outside", "FAULT", 110);
        lb1.until_instance("inside", "FAULT", 110);
        pair.until_all(if second { "lb1" } else { "lb2" }, &[alone]);
        plug(true);
        pair.until_all("lb1", &all);
    }
    // A failover of one is one of the group, and of nobody else.
    for (name, from, to, from_role, to_role) in
        [("inside", lb1, lb2, "lb1", "lb2"), ("outside", lb2, lb1, "lb2", "lb1")]
    {
        from.order(&["failover", name, "--wait", "--timeout", "20s"]).unwrap();
        pair.until_all(to_role, members);
        for (member, _) in members {
            deadline::until("the group has moved", super::PATIENCE, || {
                let states = [from.instance(member)?, to.instance(member)?].map(|of| of["state"].clone());
                if states == ["BACKUP", "MASTER"] { Ok(()) } else { Err(format!("{states:?}")) }
            })
            .unwrap_or_else(|why| panic!("{name} from {from_role}: {member}: {why}\n{}", pair.logs()));
        }
    }
    let tenures = pair.watch(alone).tenures();
    assert_eq!(tenures.len(), 3, "it moved with its cable, and with nothing else: {tenures:?}");
}
