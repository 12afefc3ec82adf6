//! Interfaces, scripts, files and virtual servers that weigh on a priority, or are needed.

use std::net::SocketAddr;
use std::path::Path;

use super::{Known, MACHINES, PROGRAMS, Pair, instance, plain, unbroken};
use crate::support::deadline;
use crate::support::netns::Lab;
use crate::support::skip;
use crate::support::stub_server::{Connection, StubServer};

/// A table of `[[vrrp_script]]`, the script in the words of sh(1).
fn script(name: &str, words: &str, keys: &str) -> String {
    format!("\n[[vrrp_script]]\nname = \"{name}\"\nscript = [\"/bin/sh\", \"-c\", '''{words}''']\n{keys}\n")
}

fn set(flag: &Path, is_there: bool) {
    if is_there {
        std::fs::write(flag, "").expect("a file of ours");
    } else {
        std::fs::remove_file(flag).expect("a file of ours");
    }
}

#[test]
fn a_tracked_interface_that_is_lost_moves_what_depends_on_it() {
    if !skip::unless_present("tracked interfaces", PROGRAMS) {
        return;
    }
    let all: [Known; 3] = [("loses", 101), ("gains", 102), ("needs", 103)];
    let [loses, gains, needs] = all;
    let lab = Lab::new(MACHINES);
    lab.add_second_network();
    let first = [
        instance(loses, 110, "track_interfaces = [{ name = \"eth1\", weight = -20 }]"),
        instance(gains, 90, "track_interfaces = [{ name = \"eth1\", weight = 20 }]"),
        instance(needs, 110, "track_interfaces = [\"eth1\"]"),
    ]
    .concat();
    let pair = Pair::start(lab, [&first, &plain(&all, 100)], &all, &[]);
    let [lb1, _] = &pair.balancers;
    for _ in 0..2 {
        for (name, _) in all {
            lb1.until_instance(name, "MASTER", 110);
        }
        pair.lab.plug_second("lb1", false);
        pair.until_all("lb2", &all);
        lb1.until_instance("loses", "BACKUP", 90);
        lb1.until_instance("gains", "BACKUP", 90);
        lb1.until_instance("needs", "FAULT", 110);
        for (name, _) in all {
            let complaints = lb1.instance(name).unwrap()["complaints"].to_string();
            assert!(complaints.contains("interface eth1 is down"), "{name}: {complaints}");
        }
        pair.lab.plug_second("lb1", true);
        pair.until_all("lb1", &all);
    }
    // Gone is as good as down, and it may come back.
    pair.lab.machine("lb1").ip("link set eth1 down\n");
    pair.until_all("lb2", &all);
    pair.lab.machine("lb1").ip("link set eth1 up\n");
    pair.until_all("lb1", &all);
}

#[test]
fn a_tracked_script_counts_its_runs_and_weighs_or_is_needed() {
    if !skip::unless_present("tracked scripts", PROGRAMS) {
        return;
    }
    let all: [Known; 6] =
        [("loses", 101), ("gains", 102), ("needs", 103), ("hangs", 104), ("bears", 105), ("doubts", 106)];
    let [loses, gains, needs, hangs, bears, doubts] = all;
    let directory = tempfile::tempdir().unwrap();
    let (well, proven) = (directory.path().join("well"), directory.path().join("proven"));
    let runs_of = |name: &str| directory.path().join(format!("runs-{name}"));
    let runs = |name| std::fs::read(runs_of(name)).map_or(0, |runs| runs.len());
    let test = |flag: &Path| format!("exec test -e {}", flag.display());
    let counted = |name, flag| format!("echo >> {}; {}", runs_of(name).display(), test(flag));
    set(&well, true);
    let hanging = format!("test -e {} || exec sleep 3600", well.display());
    let each = "interval = \"100ms\"";
    let first = [
        instance(loses, 110, "track_scripts = [{ name = \"weighs\", weight = -20 }]"),
        instance(gains, 90, "track_scripts = [\"weighs\"]"),
        instance(needs, 110, "track_scripts = [{ name = \"weighs\", weight = 0 }]"),
        instance(hangs, 110, "track_scripts = [\"hangs\"]"),
        instance(bears, 110, "track_scripts = [\"bears\"]"),
        instance(doubts, 110, "track_scripts = [\"doubts\"]"),
        script("weighs", &test(&well), &format!("weight = 20\n{each}")),
        script("hangs", &hanging, &format!("timeout = \"300ms\"\n{each}")),
        script("bears", &counted("bears", &well), &format!("fall = 5\n{each}")),
        script("doubts", &counted("doubts", &proven), &format!("init_fail = true\nrise = 5\n{each}")),
    ]
    .concat();
    let pair = Pair::start(lab(), [&first, &plain(&all, 100)], &all[..5], &[doubts]);
    let [lb1, _] = &pair.balancers;
    // Down until it has run well, several times in a row.
    lb1.until_instance("doubts", "FAULT", 110);
    pair.until_all("lb2", &[doubts]);
    let before = runs("doubts");
    set(&proven, true);
    pair.until_all("lb1", &[doubts]);
    // One of them may have been under way.
    assert!(runs("doubts") - before >= 4, "{} runs", runs("doubts") - before);
    for (name, _) in all {
        lb1.until_instance(name, "MASTER", 110);
    }
    let before = runs("bears");
    set(&well, false);
    pair.until_all("lb2", &all[..5]);
    assert!(runs("bears") - before >= 4, "{} runs", runs("bears") - before);
    for (name, state, priority) in [
        ("loses", "BACKUP", 90),
        ("gains", "BACKUP", 90),
        ("needs", "FAULT", 110),
        ("hangs", "FAULT", 110),
        ("bears", "FAULT", 110),
        ("doubts", "MASTER", 110),
    ] {
        lb1.until_instance(name, state, priority);
    }
    let log = lb1.whole_log();
    assert!(log.contains("killed after 300ms"), "{log}");
    set(&well, true);
    pair.until_all("lb1", &all);
}

#[test]
fn the_number_in_a_tracked_file_weighs_or_stops() {
    if !skip::unless_present("tracked files", PROGRAMS) {
        return;
    }
    let all: [Known; 6] =
        [("adds", 101), ("times", 102), ("stops", 103), ("sinks", 104), ("words", 105), ("begins", 106)];
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let first = [
        ("adds", "weight = 1"),
        ("times", "weight = -2"),
        ("stops", "weight = 0"),
        ("sinks", "weight = 1"),
        ("words", "weight = 1"),
        ("begins", "weight = 1\ninit_file = -20"),
    ]
    .map(|(name, keys)| {
        let known = *all.iter().find(|(known, _)| *known == name).unwrap();
        let own = instance(known, 110, &format!("track_files = [\"{name}\"]"));
        format!("{own}\n[[track_file]]\nname = \"{name}\"\nfile = \"{}\"\n{keys}\n", file(name).display())
    })
    .concat();
    let pair = Pair::start(lab(), [&first, &plain(&all, 100)], &all[..5], &all[5..]);
    let [lb1, _] = &pair.balancers;
    pair.until_all("lb2", &all[5..]);
    lb1.until_instance("begins", "BACKUP", 90);
    assert_eq!(std::fs::read_to_string(file("begins")).unwrap(), "-20\n");
    let numbers =
        [("adds", "-20\n"), ("times", " 10 "), ("stops", "-1"), ("sinks", "-254"), ("words", "many")];
    for (name, text) in numbers {
        std::fs::write(file(name), text).unwrap();
    }
    pair.until_all("lb2", &all[..4]);
    for (name, state, priority) in [
        ("adds", "BACKUP", 90),
        ("times", "BACKUP", 90),
        ("stops", "FAULT", 110),
        ("sinks", "FAULT", 110),
        ("words", "MASTER", 110),
    ] {
        lb1.until_instance(name, state, priority);
    }
    std::fs::write(file("begins"), "20").unwrap();
    lb1.until_instance("begins", "MASTER", 130);
    for (name, _) in &all[..4] {
        std::fs::remove_file(file(name)).unwrap();
    }
    pair.until_all("lb1", &all);
    unbroken(pair.watch(all[4])).unwrap();
}

#[test]
fn a_balancer_whose_real_servers_are_gone_leaves_the_address_to_one_that_has_some() {
    if !skip::unless_present("tracked virtual servers", PROGRAMS) {
        return;
    }
    let all: [Known; 2] = [("loses", 101), ("needs", 102)];
    let [loses, needs] = all;
    let tracking = |priority| {
        let virtual_server = |name, number: u8, quorum| {
            let real_servers = [3001, 3002].map(|port| {
                format!("\n[[virtual_server.real_server]]\nname = \"s{port}\"\naddress = \"127.0.0.1\"\nport = {port}\n")
            });
            format!(
                "\n[[virtual_server]]\nname = \"{name}\"\naddresses = [\"{}\"]\nport = 2811\nquorum = {quorum}\n\
                 [virtual_server.check]\ndelay_loop = \"100ms\"\nretry = 0\n{}",
                super::address(number),
                real_servers.concat()
            )
        };
        [
            instance(loses, priority, "track_virtual_servers = [{ name = \"both\", weight = -20 }]"),
            instance(needs, priority, "track_virtual_servers = [\"one\"]"),
            virtual_server("both", 101, 2),
            virtual_server("one", 102, 1),
        ]
        .concat()
    };
    let lab = lab();
    let stub = |role, port: u16| {
        let here = SocketAddr::from(([127, 0, 0, 1], port));
        lab.machine(role).enter(|| StubServer::start_at(here, Connection::serve))
    };
    let mut stubs = ["lb1", "lb2"].map(|role| [stub(role, 3001), stub(role, 3002)].map(Some));
    let lab_of_stubs = lab.machine("lb1").clone();
    let pair = Pair::start(lab, [&tracking(110), &tracking(100)], &all, &[]);
    let [lb1, lb2] = &pair.balancers;
    // Whatever depends on both has lost one, what one does for has not.
    stubs[0][1] = None;
    pair.until_all("lb2", &[loses]);
    lb1.until_instance("loses", "BACKUP", 90);
    lb1.until_instance("needs", "MASTER", 110);
    unbroken(pair.watch(needs)).unwrap();
    stubs[0][0] = None;
    pair.until_all("lb2", &[needs]);
    lb1.until_instance("needs", "FAULT", 110);
    // Nowhere any: a weight leaves the better one in office, a need nobody.
    stubs[1] = [None, None];
    lb2.until_instance("needs", "FAULT", 100);
    pair.until_all("lb1", &[loses]);
    let nobody = deadline::until("nobody has the address", super::PATIENCE, || {
        let holders = pair.watch(needs).holders();
        if holders.is_empty() { Ok(()) } else { Err(format!("{holders:?}")) }
    });
    nobody.unwrap();
    for (place, port) in [3001, 3002].into_iter().enumerate() {
        let here = SocketAddr::from(([127, 0, 0, 1], port));
        stubs[0][place] = Some(lab_of_stubs.enter(|| StubServer::start_at(here, Connection::serve)));
    }
    pair.until_all("lb1", &all);
    lb1.until_instance("loses", "MASTER", 110);
    lb1.until_instance("needs", "MASTER", 110);
}

fn lab() -> Lab {
    Lab::new(MACHINES)
}
