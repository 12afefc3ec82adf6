//! What happens to a balancer besides the death of its master: its interface goes, its address is taken away, it may not do what
//! it has to.

use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use gridfront::sys::netlink::Route;

use super::balancer::{Balancer, Gridfront, Program, VirtualRouter, Way};
use super::pair::{FIRST, PATIENCE, Pair, SECOND};
use crate::support::netns::{Lab, Machine};
use crate::support::ownership::{Watch, now};
use crate::support::process::tail;
use crate::support::{capture, deadline, keepalived, skip};

const TENTH: Duration = Duration::from_millis(100);
const LOOK_EVERY: Duration = Duration::from_millis(4);
const ID: u8 = 60;
const PRIORITIES: [u8; 2] = [150, 100];

fn until_logged(door: &Gridfront, words: &str) {
    deadline::until(words, PATIENCE, || {
        let log = door.log();
        if log.contains(words) { Ok(()) } else { Err(tail(&log, 20)) }
    })
    .unwrap_or_else(|why| panic!("{why}"));
}

fn ip(machine: &Machine, words: &str) {
    let output = machine.command(None, "ip").args(words.split(' ')).output().expect("ip(8) runs");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_interface_that_goes_is_a_fault_and_one_that_comes_in_its_place_is_used() {
    if !skip::unless_present("an interface made anew", keepalived::PROGRAMS) {
        return;
    }
    let router = VirtualRouter::new(ID, TENTH);
    let mut pair = Pair::new(router, [Program::Ours, Program::Keepalived], PRIORITIES, LOOK_EVERY);
    pair.start();
    pair.until_settled_at(FIRST);
    for _ in 0..2 {
        let event = now();
        pair.lab.remove_interface(FIRST);
        pair.taken(SECOND, event, router.down(PRIORITIES[1]));
        let ours = pair.balancers[0].as_ref().and_then(Balancer::ours).unwrap();
        let instance = ours.until(ID, "FAULT", PATIENCE, |instance| instance["state"] == "FAULT");
        // It is set down before it goes.
        let cause = instance["cause"].as_str().unwrap_or_default();
        assert!(cause.starts_with("fault: interface eth0 is "), "{instance}");
        pair.until_alone(SECOND);
        let event = now();
        pair.lab.add_interface(FIRST);
        pair.taken(FIRST, event, router.down(PRIORITIES[0]));
        pair.until_settled_at(FIRST);
    }
}

#[test]
fn an_address_that_somebody_takes_away_is_put_back_at_once_and_told_of() {
    if !skip::unless_present("an address taken away", &["ip", "nsenter"]) {
        return;
    }
    let router = VirtualRouter::new(ID, TENTH);
    let mut pair = Pair::new(router, [Program::Ours; 2], PRIORITIES, LOOK_EVERY);
    pair.start();
    pair.until_settled_at(FIRST);
    let address = router.address();
    for _ in 0..3 {
        let event = now();
        ip(pair.lab.machine(FIRST), &format!("addr del {address}/24 dev eth0"));
        // A look may have missed that it was away.
        pair.watch.until_alone(FIRST, PATIENCE).unwrap_or_else(|why| pair.fail(&why));
        assert!(pair.watch.overlap(event).is_zero());
    }
    let ours = pair.balancers[0].as_ref().and_then(Balancer::ours).unwrap();
    until_logged(ours, "it is put back");
    pair.until_settled_at(FIRST);
    let ours = pair.balancers[0].as_ref().and_then(Balancer::ours).unwrap();
    assert_eq!(ours.instance(ID)["became_master"], 1, "{}", ours.log());
}

#[test]
fn an_address_that_is_there_at_the_start_goes_before_it_is_ours() {
    if !skip::unless_present("a stale address", &["ip", "nsenter"]) {
        return;
    }
    let router = VirtualRouter::new(ID, TENTH);
    let address = router.address();
    let lab = Lab::new(&[(FIRST, 12), (SECOND, 11)]);
    let (first, second) = (lab.machine(FIRST), lab.machine(SECOND));
    let watch = Watch::start(&[first, second], address, LOOK_EVERY);
    // Often, for the interfaces may be known before the configuration is, or after; and also by a prefix that is not ours.
    for prefix in [24, 32, 24, 32] {
        ip(first, &format!("addr add {address}/{prefix} dev eth0"));
        watch.until_alone(FIRST, PATIENCE).unwrap();
        let event = now();
        let mut door = Balancer::start(Program::Ours, first, second, &router, PRIORITIES[0]);
        watch
            .taken_after(FIRST, event, router.down(PRIORITIES[0]) + PATIENCE)
            .unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
        until_logged(
            door.ours().unwrap(),
            "virtual addresses were there at the start and are removed until they are ours",
        );
        door.request_end();
        door.wait();
        deadline::until("nobody", PATIENCE, || {
            let holders = watch.holders();
            if holders.is_empty() { Ok(()) } else { Err(format!("{holders:?}")) }
        })
        .unwrap();
    }
}

#[test]
fn two_masters_that_meet_after_a_partition_are_one_at_once() {
    if !skip::unless_present("a partition", &["ip", "nsenter"]) {
        return;
    }
    let router = VirtualRouter::new(ID, TENTH);
    let mut pair = Pair::new(router, [Program::Ours; 2], PRIORITIES, LOOK_EVERY);
    pair.start();
    pair.until_settled_at(FIRST);
    for _ in 0..3 {
        let event = now();
        pair.lab.isolate(SECOND, true);
        pair.taken(SECOND, event, router.down(PRIORITIES[1]));
        assert_eq!(pair.watch.holders().len(), 2);
        pair.lab.isolate(SECOND, false);
        pair.until_settled_at(FIRST);
    }
    let first = pair.balancers[0].as_ref().and_then(Balancer::ours).unwrap();
    assert_eq!(first.instance(ID)["became_master"], 1, "{}", first.log());
}

#[test]
fn without_its_capabilities_an_instance_is_in_fault_and_says_what_it_lacks() {
    if !skip::unless_present("VRRP without capabilities", &["ip", "nsenter", "setpriv"]) {
        return;
    }
    let router = VirtualRouter::new(ID, TENTH);
    let lab = Lab::new(&[(FIRST, 12), (SECOND, 11)]);
    let (first, second) = (lab.machine(FIRST), lab.machine(SECOND));
    let watch = Watch::start(&[first, second], router.address(), LOOK_EVERY);
    for (without, wanted) in
        [("-net_raw", "CAP_NET_RAW"), ("-net_admin", "CAP_NET_ADMIN"), ("-net_raw,-net_admin", "CAP_NET_RAW")]
    {
        let instances = router.for_us(first, second, PRIORITIES[0], "");
        let by_way_of = ["setpriv", "--bounding-set", without];
        let mut door = Gridfront::launch(first, &by_way_of, &instances);
        let instance = door.until(ID, without, PATIENCE, |instance| instance["state"] == "FAULT");
        let said = format!("{} {}", instance["cause"], instance["complaints"]);
        assert!(said.contains(wanted), "{without}: {instance}\n{}", door.log());
        assert!(!door.has_ended() && !door.log().contains("panicked"), "{}", door.log());
    }
    assert!(watch.tenures().is_empty(), "{:?}", watch.tenures());
}

#[test]
fn who_asks_for_an_address_hears_of_the_virtual_mac_and_of_no_other() {
    if !skip::unless_present("a virtual MAC", &[capture::PROGRAMS, &["ip", "nsenter"]].concat()) {
        return;
    }
    let router = VirtualRouter { way: Way::VirtualMac, ..VirtualRouter::new(ID, TENTH) };
    let address = router.address();
    let lab = Lab::new(&[(FIRST, 12), (SECOND, 11)]);
    let (first, second) = (lab.machine(FIRST), lab.machine(SECOND));
    let door = Gridfront::start(first, &router.for_us(first, second, PRIORITIES[0], ""));
    door.until(ID, "the master", PATIENCE, |instance| instance["state"] == "MASTER");
    let listening = capture::Capture::start(&lab, FIRST);
    ip(second, "route add 10.77.1.0/24 dev eth0");
    let socket = second.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let virtual_mac = format!("00:00:5e:00:01:{ID:02x}");
    for _ in 0..3 {
        ip(second, "neigh flush dev eth0");
        socket.send_to(b"who are you", (address, 9)).unwrap();
        deadline::until("an answer", PATIENCE, || {
            let words = ["neigh", "show", "dev", "eth0"];
            let output = second.command(None, "ip").args(words).output().expect("ip(8) runs");
            let known = String::from_utf8_lossy(&output.stdout).into_owned();
            if known.contains(&format!("{address} lladdr")) { Ok(()) } else { Err(known) }
        })
        .unwrap();
    }
    let answers = format!("arp.opcode == 2 && arp.src.proto_ipv4 == {address}");
    let answers = capture::fields(&listening.finish(), &answers, &["eth.src", "arp.src.hw_mac"], &[]);
    assert!(answers.len() >= 3, "{answers:?}");
    assert!(answers.iter().flatten().all(|mac| *mac == virtual_mac), "{answers:?}");
}

#[test]
fn a_virtual_mac_whose_settings_are_refused_leaves_no_interface_behind() {
    if !skip::unless_present("a virtual MAC without settings", &["ip", "nsenter", "unshare", "mount"]) {
        return;
    }
    let router = VirtualRouter { way: Way::VirtualMac, ..VirtualRouter::new(ID, TENTH) };
    let lab = Lab::new(&[(FIRST, 12), (SECOND, 11)]);
    let (first, second) = (lab.machine(FIRST), lab.machine(SECOND));
    // As in a container.
    let read_only =
        r#"mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$0" "$@""#;
    let by_way_of = ["unshare", "--mount", "--propagation", "private", "sh", "-c", read_only];
    let door = Gridfront::launch(first, &by_way_of, &router.for_us(first, second, PRIORITIES[0], ""));
    let instance = door.until(ID, "a fault", PATIENCE, |instance| instance["state"] == "FAULT");
    assert!(instance["cause"].to_string().contains("/proc/sys/net/"), "{instance}");
    let left = first.enter(|| Route::open().unwrap().link_named(&format!("vrrp.{ID}")).unwrap());
    assert_eq!(left, None);
}

/// The form of RFC 9568 is what some routers want; analysers know the other one.
#[test]
fn both_forms_of_the_checksum_are_taken_and_tshark_knows_one_of_them() {
    if !skip::unless_present("checksums", &[capture::PROGRAMS, &["ip", "nsenter"]].concat()) {
        return;
    }
    let lab = Lab::new(&[(FIRST, 12), (SECOND, 11)]);
    let (first, second) = (lab.machine(FIRST), lab.machine(SECOND));
    let forms = [(ID, "pseudo-header"), (ID + 1, "rfc9568")];
    let listening = capture::Capture::start(&lab, FIRST);
    let instances = |machine, peer, priority| {
        let of = forms.map(|(id, form)| {
            let router = VirtualRouter::new(id, TENTH);
            router.for_us(machine, peer, priority, &format!("checksum = \"{form}\""))
        });
        of.concat()
    };
    let masters = Gridfront::start(first, &instances(first, second, 150));
    for (id, _) in forms {
        masters.until(id, "the master", PATIENCE, |instance| instance["state"] == "MASTER");
    }
    // It would send the other form, and takes both.
    let swapped =
        instances(second, first, 100).replace("pseudo-header", "another").replace("rfc9568", "pseudo-header");
    let backups = Gridfront::start(second, &swapped.replace("another", "rfc9568"));
    for (id, form) in forms {
        let instance =
            backups.until(id, "adverts", PATIENCE, |instance| instance["received"].as_u64() > Some(5));
        assert_eq!(
            (&instance["state"], &instance["discarded"]),
            (&"BACKUP".into(), &serde_json::json!([])),
            "{form}"
        );
    }
    drop((masters, backups));
    let adverts = super::judge::adverts(&listening.finish());
    let (known, other) = (&adverts[&ID], &adverts[&(ID + 1)]);
    assert!(known.valid > 0 && known.invalid.is_empty(), "{known:?}");
    assert!(
        other.valid == 0 && other.invalid.iter().all(|frame| frame.contains("Bad checksum")),
        "{other:?}"
    );
    let version = Command::new("tshark").arg("--version").output().expect("tshark(1) runs").stdout;
    let version = String::from_utf8_lossy(&version).lines().next().unwrap_or_default().to_owned();
    println!("{version}: `pseudo-header` is good, `rfc9568` is `Bad checksum`");
}
