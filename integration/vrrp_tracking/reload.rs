//! Another configuration for virtual routers that are at work.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use gridfront::sys::netlink::Route;
use rustix::process::Signal;

use super::{Known, MACHINES, PROGRAMS, Pair, instance, instance_on, let_pass, unbroken};
use crate::support::balancer::{Balancer, PATIENCE};
use crate::support::deadline;
use crate::support::netns::Lab;
use crate::support::ownership::{Watch, now};
use crate::support::skip;

/// One whose addresses change.
fn changing(priority: u8, interval: &str, addresses: &[&str]) -> String {
    let addresses =
        addresses.iter().map(|address| format!("\"{address}/24\"")).collect::<Vec<_>>().join(", ");
    format!(
        "\n[[vrrp_instance]]\nname = \"stays\"\ninterface = \"eth0\"\nvirtual_router_id = 101\npriority = {priority}\n\
         advert_interval = \"{interval}\"\nvirtual_addresses = [{addresses}]\ngarp_master_delay = \"1s\"\n"
    )
}

#[test]
fn what_stays_in_the_file_is_held_without_a_gap() {
    if !skip::unless_present("a reload of virtual routers", PROGRAMS) {
        return;
    }
    // `old` and `new` are addresses of the instance that stays.
    let [stays, old, new]: [Known; 3] = [("stays", 101), ("old", 102), ("new", 103)];
    let [comes, goes, moves]: [Known; 3] = [("comes", 104), ("goes", 105), ("moves", 106)];
    let lab = Lab::new(MACHINES);
    lab.add_second_network();
    let before = |priority| {
        let mut text = changing(priority, "100ms", &["10.77.0.101", "10.77.0.102"]);
        write!(text, "{}{}", instance(goes, priority, ""), instance(moves, priority, "")).unwrap();
        text
    };
    let after = |priority| {
        let mut text = changing(priority + 10, "200ms", &["10.77.0.101", "10.77.0.103"]);
        let moves = instance_on("eth1", moves, priority, "");
        write!(text, "{moves}{}", instance(comes, priority, "")).unwrap();
        text
    };
    let first = [stays, old, goes, moves];
    let pair = Pair::start(lab, [&before(110), &before(100)], &first, &[new, comes]);
    let [lb1, lb2] = &pair.balancers;
    lb2.until_instance("goes", "BACKUP", 100);
    lb1.write(&after(110));
    let listed = lb1.order(&["reload", "--dry-run"]).unwrap();
    for change in [
        "vrrp_instance stays: priority 110 → 120",
        "vrrp_instance stays: advert_interval 100ms → 200ms",
        "vrrp_instance stays: virtual_addresses 10.77.0.101/24 10.77.0.102/24 → 10.77.0.101/24 10.77.0.103/24",
        "vrrp_instance moves: interface eth0 → eth1; the instance begins anew",
        "vrrp_instance comes added",
        "vrrp_instance goes removed",
    ] {
        assert!(listed.contains(&format!("  {change}\n")), "{change}\n{listed}");
    }
    assert_eq!(pair.watch(goes).holders(), ["lb1"], "so far it was asked only");
    let reloaded = now();
    let done = lb1.order(&["reload"]).unwrap();
    let changes =
        |text: &str| text.lines().filter(|line| line.starts_with("  ")).map(str::to_owned).collect();
    let (told, asked): (Vec<String>, Vec<String>) = (changes(&done), changes(&listed));
    assert_eq!(told, asked);
    // With priority 0, so that nobody waits for three adverts.
    pair.until_all("lb2", &[goes, moves]);
    for (name, _) in [goes, moves] {
        let cause = lb2.instance(name).unwrap()["cause"].to_string();
        assert!(cause.contains("priority 0 from master 10.77.0.11"), "{name}: {cause}");
    }
    lb2.write(&after(100));
    lb2.order(&["reload"]).unwrap();
    pair.until_all("lb1", &[stays, new, comes, moves]);
    let gone = |known| {
        deadline::until("nobody has the address", PATIENCE, || {
            let holders = pair.watch(known).holders();
            if holders.is_empty() { Ok(()) } else { Err(format!("{holders:?}")) }
        })
        .unwrap_or_else(|why| panic!("{}: {why}", known.0));
    };
    gone(old);
    gone(goes);
    lb1.until_instance("stays", "MASTER", 120);
    lb1.until_instance("comes", "MASTER", 110);
    lb1.until_instance("moves", "MASTER", 110);
    assert_eq!(lb1.instance("moves").unwrap()["interface"], "eth1");
    lb2.until_instance("stays", "BACKUP", 110);
    deadline::until("the new priority is heard", PATIENCE, || {
        let master = lb2.instance("stays")?["master"].clone();
        if master["priority"] == 120 { Ok(()) } else { Err(master.to_string()) }
    })
    .unwrap();
    // What is wrong changes nothing.
    lb1.write(&after(110).replace("priority = 110", "priority = 300"));
    for words in [&["reload", "--dry-run"][..], &["reload"]] {
        let refused = lb1.order(words).unwrap_err();
        assert!(refused.contains("priority") && refused.contains("300"), "{refused}");
    }
    let_pass(Duration::from_millis(500));
    lb1.until_instance("comes", "MASTER", 110);
    unbroken(pair.watch(stays)).unwrap_or_else(|why| panic!("{why}\n{}", pair.logs()));
    let since = unbroken(pair.watch(new)).unwrap_or_else(|why| panic!("{why}\n{}", pair.logs()));
    assert!(since > reloaded);
}

/// A reload of something else is no news of what is tracked: it is neither unknown again nor down, and what was counted counts.
#[test]
fn what_is_tracked_stays_known_over_a_reload() {
    if !skip::unless_present("a reload of what is tracked", PROGRAMS) {
        return;
    }
    let all: [Known; 2] = [("doubts", 101), ("bears", 102)];
    let directory = tempfile::tempdir().unwrap();
    let flag = directory.path().join("fails");
    let text = |other_priority| {
        let script = |name, words: String, keys| {
            format!(
                "\n[[vrrp_script]]\nname = \"{name}\"\nscript = [\"/bin/sh\", \"-c\", '''{words}''']\n{keys}\n"
            )
        };
        [
            instance(all[0], 110, "track_scripts = [\"doubts\"]"),
            instance(all[1], 110, "track_scripts = [\"bears\"]"),
            instance(("other", 103), other_priority, ""),
            script("doubts", "exit 0".into(), "init_fail = true\nrise = 3\ninterval = \"300ms\""),
            script("bears", format!("! test -e {}", flag.display()), "fall = 1000\ninterval = \"100ms\""),
        ]
        .concat()
    };
    let second = super::plain(&all, 100);
    let pair = Pair::start(Lab::new(MACHINES), [&text(110), &second], &all, &[]);
    let [lb1, lb2] = &pair.balancers;
    lb2.until_instance("doubts", "BACKUP", 100);
    // From now on every run of the one fails, of which it bears many.
    std::fs::write(&flag, "").unwrap();
    for other_priority in [111, 112] {
        lb1.write(&text(other_priority));
        lb1.order(&["reload"]).unwrap();
        lb1.until_instance("other", "MASTER", other_priority);
        let_pass(Duration::from_millis(700));
    }
    for known in all {
        unbroken(pair.watch(known)).unwrap_or_else(|why| panic!("{}: {why}\n{}", known.0, pair.logs()));
    }
}

/// It begins anew: nothing that the group knew of it holds, and the others go with it.
#[test]
fn a_member_of_a_group_that_begins_anew_takes_the_others_with_it() {
    if !skip::unless_present("a reload of a group", PROGRAMS) {
        return;
    }
    let [changes, follows]: [Known; 2] = [("changes", 101), ("follows", 102)];
    let group = "\n[[vrrp_sync_group]]\nname = \"both\"\ninstances = [\"changes\", \"follows\"]\n";
    let text = |priority, id: u8| {
        let changing = instance(changes, priority, "");
        let changing = changing.replace("virtual_router_id = 101", &format!("virtual_router_id = {id}"));
        [changing, instance(follows, priority, ""), group.to_owned()].concat()
    };
    let all = [changes, follows];
    let pair = Pair::start(Lab::new(MACHINES), [&text(110, 101), &text(100, 101)], &all, &[]);
    let [lb1, lb2] = &pair.balancers;
    lb2.until_instance("follows", "BACKUP", 100);
    for (balancer, priority) in [(lb1, 110), (lb2, 100)] {
        balancer.write(&text(priority, 99));
        balancer.order(&["reload"]).unwrap();
    }
    pair.until_all("lb1", &all);
    // It is still a group.
    lb1.order(&["failover", "changes", "--wait", "--timeout", "20s"]).unwrap();
    pair.until_all("lb2", &all);
    lb2.order(&["failover", "follows", "--wait", "--timeout", "20s"]).unwrap();
    pair.until_all("lb1", &all);
    // And a signal is as good as an order.
    lb1.write(&text(120, 99));
    lb1.signal(Signal::HUP);
    lb1.until_instance("changes", "MASTER", 120);
    let watch: &Watch = pair.watch(follows);
    assert_eq!(watch.holders(), ["lb1"]);
}

/// Of IPv6 the kernel knows an address without its prefix.
#[test]
fn an_address_gets_another_prefix_and_is_not_missed() {
    if !skip::unless_present("a reload with another prefix", PROGRAMS) {
        return;
    }
    let lab = Lab::new(MACHINES);
    let machine = lab.machine("lb1");
    let text = |prefixes: [u8; 2]| {
        let [four, six] = prefixes;
        instance(("VI", 101), 100, "")
            .replace("\"10.77.0.101/24\"", &format!("\"10.77.0.101/{four}\", \"fd77::101/{six}\""))
    };
    let found = || {
        let all = machine.enter(|| Route::open().unwrap().addresses().unwrap());
        let prefix_of = |address: &str| {
            let address: IpAddr = address.parse().unwrap();
            all.iter().filter(|of| of.address == address).map(|of| of.prefix).collect::<Vec<_>>()
        };
        ["10.77.0.101", "fd77::101"].map(prefix_of)
    };
    let mut lb1 = Balancer::new(machine, &text([24, 64]));
    lb1.start();
    lb1.until_instance("VI", "MASTER", 100);
    for [four, six] in [[32, 128], [24, 64], [32, 128]] {
        lb1.write(&text([four, six]));
        lb1.order(&["reload"]).unwrap();
        // Sooner than addresses are renewed, which would mend it.
        deadline::until("both with the other prefix", Duration::from_millis(500), || {
            let found = found();
            if found == [[four], [six]] { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .unwrap_or_else(|why| panic!("{why}\n{}", lb1.log()));
        let_pass(Duration::from_millis(100));
        assert!(!lb1.whole_log().contains("it is put back"), "{}", lb1.log());
    }
    assert_eq!(found(), [[32], [128]]);
}
