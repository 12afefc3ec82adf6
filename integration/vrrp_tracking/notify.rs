//! Programs that are told of states: of which, in which order, with which arguments.

use std::path::Path;
use std::time::Duration;

use super::{Known, MACHINES, PROGRAMS, Pair, instance};
use crate::support::balancer::{Balancer, PATIENCE};
use crate::support::deadline;
use crate::support::netns::Lab;
use crate::support::ownership::now;
use crate::support::skip;

/// Of the daemon's end with a program that hangs: it waits for that for 5 s, and 2 s for its own end.
const END: Duration = Duration::from_secs(5 + 2 + 5);

/// All the programs that may be told, each of which writes a line: its key, and what it is told.
fn telling(file: &Path) -> String {
    let keys = ["notify_master", "notify_backup", "notify_fault", "notify_stop", "notify"];
    let line = |key| {
        format!("{key} = [\"/bin/sh\", \"-c\", '''echo $0 $* >> {}''', \"{key}\", \"own\"]\n", file.display())
    };
    keys.map(line).concat()
}

fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// What is written for these states: of each the program of its own, and then the one of all.
fn told(of: &str, states: &[&str], priority: u8) -> Vec<String> {
    let lines = states.iter().flat_map(|state| {
        let own = format!("notify_{} own", state.to_lowercase());
        [own, format!("notify own {of} {state} {priority}")]
    });
    lines.collect()
}

#[test]
fn programs_are_told_of_every_state_in_order_with_the_arguments_of_keepalived() {
    if !skip::unless_present("notifications", PROGRAMS) {
        return;
    }
    let all: [Known; 2] = [("VI", 101), ("VJ", 102)];
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("well"), "").unwrap();
    let tracked = format!(
        "\n[[vrrp_script]]\nname = \"well\"\nscript = [\"/usr/bin/test\", \"-e\", \"{}\"]\ninterval = \"100ms\"\n",
        file("well").display()
    );
    let group = "\n[[vrrp_sync_group]]\nname = \"VG\"\ninstances = [\"VI\", \"VJ\"]\n";
    let text = [
        instance(all[0], 110, &format!("track_scripts = [\"well\"]\n{}", telling(&file("VI")))),
        instance(all[1], 110, &telling(&file("VJ"))),
        format!("{group}{}", telling(&file("VG"))),
        tracked,
    ]
    .concat();
    let lab = Lab::new(MACHINES);
    let mut balancer = Balancer::new(lab.machine("lb1"), &text);
    balancer.start();
    let mut states = Vec::new();
    let mut until_told = |more: &[&'static str]| {
        states.extend(more);
        for (of, name, priority) in
            [("INSTANCE VI", "VI", 110), ("INSTANCE VJ", "VJ", 110), ("GROUP VG", "VG", 0)]
        {
            let expected = told(of, &states, priority);
            let told = deadline::until("everybody is told", PATIENCE, || {
                let lines = lines(&file(name));
                if lines == expected { Ok(()) } else { Err(lines.join("\n")) }
            });
            told.unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    };
    until_told(&["BACKUP", "MASTER"]);
    std::fs::remove_file(file("well")).unwrap();
    until_told(&["FAULT"]);
    std::fs::write(file("well"), "").unwrap();
    until_told(&["BACKUP", "MASTER"]);
    balancer.stop();
    // Before the daemon has ended.
    until_told(&["STOP"]);
}

#[test]
fn a_program_that_hangs_delays_nobody_else() {
    if !skip::unless_present("a notification that hangs", PROGRAMS) {
        return;
    }
    let all: [Known; 2] = [("hangs", 101), ("tells", 102)];
    let [hangs, tells] = all;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let hanging = format!(
        "notify_master = [\"/bin/sh\", \"-c\", '''echo $$ > {0}.new; mv {0}.new {0}; exec sleep 3600''']",
        file("id").display()
    );
    let text =
        |priority| [instance(hangs, priority, &hanging), instance(tells, priority, &telling(&file("told")))];
    let others = [instance(hangs, 100, &hanging), instance(tells, 100, "")].concat();
    let mut pair = Pair::start(Lab::new(MACHINES), [&text(110).concat(), &others], &all, &[]);
    let id = deadline::until("a program that hangs", PATIENCE, || {
        std::fs::read_to_string(file("id")).map_err(|error| error.to_string())
    });
    let hung = id.unwrap().trim().to_owned();
    let [lb1, lb2] = &pair.balancers;
    lb2.until_instance("hangs", "BACKUP", 100);
    for _ in 0..2 {
        for (order, role) in [("on", "lb2"), ("off", "lb1")] {
            lb1.order(&["maintenance", order]).unwrap();
            pair.until_all(role, &all);
        }
    }
    let states = ["BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER"];
    let expected = told("INSTANCE tells", &states, 110);
    let others_told = deadline::until("the others are told", PATIENCE, || {
        let lines = lines(&file("told"));
        if lines == expected { Ok(()) } else { Err(lines.join("\n")) }
    });
    others_told.unwrap();
    let stopped = now();
    let took = pair.balancers[0].stop();
    assert!(took < END, "{took:?}");
    let gone = pair.watch(hangs).taken_after("lb2", stopped, PATIENCE).unwrap();
    assert!(gone < Duration::from_secs(2), "the addresses wait for nobody: {gone:?}");
    // Nobody need have waited for it yet.
    deadline::until("what hangs ends with the daemon", PATIENCE, || {
        let line = std::fs::read(Path::new("/proc").join(&hung).join("cmdline")).unwrap_or_default();
        if line.is_empty() { Ok(()) } else { Err(String::from_utf8_lossy(&line).into_owned()) }
    })
    .unwrap();
}
