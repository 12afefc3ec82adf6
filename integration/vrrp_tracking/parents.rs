//! Kernel settings of the interface below VMACs, which others depend on as well: they are as before when the last VMAC has gone.

use rustix::process::Signal;

use super::{Known, MACHINES, PROGRAMS, instance};
use crate::support::balancer::{Balancer, PATIENCE};
use crate::support::deadline;
use crate::support::netns::{Lab, Machine};
use crate::support::skip;

const ONE: Known = ("one", 101);
const OTHER: Known = ("other", 102);

/// As VMACs need them, `arp_ignore` and `arp_announce`.
const OURS: [u8; 2] = [1, 2];
/// As the operator has them.
const BEFORE: [u8; 2] = [0, 1];

fn with_vmacs(all: &[Known]) -> String {
    all.iter().map(|known| instance(*known, 110, "use_vmac = true")).collect()
}

fn path(key: &str) -> String {
    format!("/proc/sys/net/ipv4/conf/eth0/{key}")
}

fn settings(machine: &Machine) -> [u8; 2] {
    machine.enter(|| {
        ["arp_ignore", "arp_announce"].map(|key| {
            let text = std::fs::read_to_string(path(key)).expect("a setting of eth0");
            text.trim().parse().expect("a number")
        })
    })
}

fn set(machine: &Machine, key: &str, value: u8) {
    machine.enter(|| std::fs::write(path(key), value.to_string())).expect("root may change it");
}

fn until(machine: &Machine, expected: [u8; 2], lb1: &Balancer) {
    deadline::until(&format!("settings {expected:?}"), PATIENCE, || {
        let found = settings(machine);
        if found == expected { Ok(()) } else { Err(format!("{found:?}\n{}", lb1.log())) }
    })
    .unwrap_or_else(|why| panic!("{why}"));
}

#[test]
fn what_vmacs_need_of_their_interface_is_put_back_when_the_last_has_gone() {
    if !skip::unless_present("settings below a VMAC", PROGRAMS) {
        return;
    }
    let lab = Lab::new(MACHINES);
    let machine = lab.machine("lb1");
    set(machine, "arp_announce", BEFORE[1]);
    assert_eq!(settings(machine), BEFORE);
    let mut lb1 = Balancer::new(machine, &with_vmacs(&[ONE, OTHER]));
    let at_work = |lb1: &Balancer, names: &[&str]| {
        names.iter().for_each(|name| lb1.until_instance(name, "MASTER", 110));
        assert_eq!(settings(machine), OURS, "{}", lb1.log());
    };
    let reload = |lb1: &Balancer, text: &str| {
        lb1.write(text);
        lb1.order(&["reload"]).unwrap();
    };

    lb1.start();
    at_work(&lb1, &["one", "other"]);
    reload(&lb1, &with_vmacs(&[ONE]));
    deadline::until("an instance less", PATIENCE, || {
        let left = machine.command(None, "ip").args(["link", "show", "vrrp.102"]).output();
        if left.is_ok_and(|output| output.status.success()) {
            Err("vrrp.102 is there".into())
        } else {
            Ok(())
        }
    })
    .unwrap();
    at_work(&lb1, &["one"]);
    reload(&lb1, &instance(ONE, 110, ""));
    until(machine, BEFORE, &lb1);

    reload(&lb1, &with_vmacs(&[ONE]));
    until(machine, OURS, &lb1);
    at_work(&lb1, &["one"]);
    lb1.stop();
    assert_eq!(settings(machine), BEFORE, "the daemon has ended");

    lb1.start();
    at_work(&lb1, &["one"]);
    lb1.signal(Signal::KILL);
    until(machine, BEFORE, &lb1);
    lb1.process = None;

    // What somebody has changed meanwhile is theirs.
    lb1.start();
    at_work(&lb1, &["one"]);
    set(machine, "arp_ignore", 8);
    lb1.stop();
    assert_eq!(settings(machine), [8, BEFORE[1]]);
}
