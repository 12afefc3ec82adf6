//! The guest kernels themselves: what comes back of them, and that nothing stays.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::balancer;
use crate::support::deadline::{self, Stopwatch};
use crate::support::door::program;
use crate::support::netns::{Lab, v4, v6};
use crate::support::process::Process;
use crate::support::uml::{self, Failure, Plan, Uml};

/// For what happens at once.
const SOON: Duration = Duration::from_secs(20);
/// A test process with this in its environment keeps a guest until it is killed, and writes its process id to this file.
const HOLD: &str = "GRIDFRONT_HOLD_A_GUEST";

#[test]
fn a_command_gives_back_its_status_and_both_of_its_outputs() {
    if !uml::possible("commands in a guest kernel", &[]) {
        return;
    }
    let uml = Plan::default().start();
    let output = uml.run("echo said; echo complained >&2; exit 7");
    assert_eq!(
        (output.status, output.stdout.as_str(), output.stderr.as_str()),
        (7, "said\n", "complained\n")
    );
    assert_eq!(uml.run("kill -9 $BASHPID").status, 137);
    // Its kernel, not that of the host.
    assert!(uml.ok("lsmod").contains("ipv6"));
    assert!(uml.ok(&format!("{} --version", program())).starts_with("gridfront "));
    // Long, without an end of line, and with bytes that a terminal would change.
    let output = uml.ok(r"for ((n = 0; n < 20000; n++)); do printf '%s\r\t\x04\x11\x1a' $n; done");
    let expected: String = (0..20_000).map(|n| format!("{n}\r\t\u{4}\u{11}\u{1a}")).collect();
    assert!(output == expected, "{} bytes, not {}", output.len(), expected.len());
    // What a command leaves behind runs on, and keeps nobody waiting.
    let watch = Stopwatch::start();
    let left = uml.ok("sleep 1000 & echo $!");
    assert!(watch.elapsed() < SOON, "{:?}", watch.elapsed());
    assert_eq!(uml.read(&format!("/proc/{}/comm", left.trim())), "sleep\n");
}

#[test]
fn commands_run_side_by_side_and_end_at_their_limits() {
    if !uml::possible("limits of commands in a guest kernel", &[]) {
        return;
    }
    let uml = Plan::default().start();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| uml.attempt("echo begun; sleep 1000", Duration::from_secs(2)));
        for number in 0..5 {
            assert_eq!(uml.ok(&format!("echo {number}")), format!("{number}\n"));
        }
        let Err(Failure::TimedOut(output)) = slow.join().unwrap() else { panic!("it ended") };
        assert_eq!((output.status, output.stdout.as_str()), (137, "begun\n"));
    });
    assert_eq!(uml.run("pgrep sleep").status, 1, "killed with what it had started");
}

#[test]
fn programs_run_on_in_a_guest_until_they_are_killed() {
    if !uml::possible("programs in a guest kernel", &[]) {
        return;
    }
    let uml = Plan::default().start();
    let program = uml.spawn("trap 'echo ended; exit' TERM; echo begun; while :; do sleep 0.05; done");
    let says = |wanted: &str| {
        let said = || {
            let log = uml.log(&program);
            if log.ends_with(wanted) { Ok(()) } else { Err(log) }
        };
        deadline::until("what a program says", SOON, said).unwrap();
    };
    says("begun\n");
    assert!(uml.runs(&program));
    uml.signal(&program, "TERM");
    says("ended\n");
    let killed = uml.spawn("exec sleep 1000");
    uml.signal(&killed, "KILL");
    for program in [&program, &killed] {
        let gone = || if uml.runs(program) { Err("it runs".to_owned()) } else { Ok(()) };
        deadline::until("the end of a program", SOON, gone).unwrap();
    }
}

#[test]
fn a_guest_sees_of_the_hosts_files_what_it_is_given() {
    if !uml::possible("files of a guest kernel", &[]) {
        return;
    }
    let [written, read, hidden] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    for directory in [&written, &read, &hidden] {
        std::fs::write(directory.path().join("ours"), "one\n").unwrap();
    }
    let uml = Plan::default().share(written.path()).share_read_only(read.path()).start();
    for directory in [&written, &read] {
        let file = directory.path().join("ours");
        assert_eq!(uml.read(file.to_str().unwrap()), "one\n");
        // Nothing of it stays in the guest's memory.
        std::fs::write(&file, "another\n").unwrap();
        assert_eq!(uml.read(file.to_str().unwrap()), "another\n");
    }
    let write = |directory: &Path| uml.run(&format!("echo guest > {}/theirs", directory.display())).status;
    assert_eq!(write(written.path()), 0);
    assert_eq!(std::fs::read_to_string(written.path().join("theirs")).unwrap(), "guest\n");
    assert_eq!(write(read.path()), 1);
    assert_eq!(write(Path::new("/usr")), 1);
    assert_eq!(uml.run(&format!("ls {}", hidden.path().display())).status, 2);
}

#[test]
fn guests_of_one_lab_reach_each_other_and_its_machines() {
    if !uml::possible("guest kernels in a lab", &[]) {
        return;
    }
    // Another lab has the same addresses.
    let labs = [Lab::new(&[("client", 2)]), Lab::new(&[("client", 2)])];
    let start = |lab: &Lab, number| Plan::default().on(lab, number).start();
    let [one, two, other] = std::thread::scope(|scope| {
        [(0, 31), (0, 32), (1, 31)]
            .map(|(lab, number)| {
                let lab = &labs[lab];
                scope.spawn(move || start(lab, number))
            })
            .map(|thread| thread.join().unwrap())
    });
    // Where nobody listens, a machine that is there says so.
    let answers = |uml: &Uml, address: String| {
        uml.run(&format!("timeout 10 bash -c ': < /dev/tcp/{address}/9'"))
            .stderr
            .contains("Connection refused")
    };
    // The threads that have started them have ended, and they have not.
    for (from, to) in [(&one, 32), (&two, 31), (&one, 2), (&other, 2)] {
        assert!(answers(from, v4(to).to_string()) && answers(from, v6(to).to_string()), "to {to}");
    }
    assert!(!answers(&other, v4(32).to_string()), "that one is in another lab");
}

#[test]
fn a_guest_that_dies_leaves_its_last_words() {
    if !uml::possible("the end of a guest kernel", &[]) {
        return;
    }
    let uml = Plan::default().start();
    let Err(Failure::Died(words)) = uml.attempt("echo c > /proc/sysrq-trigger", SOON) else {
        panic!("it lives")
    };
    assert!(words.contains("Kernel panic - not syncing: sysrq triggered crash"), "{words}");
    assert!(uml.ended(SOON));
    assert!(matches!(uml.attempt("true", SOON), Err(Failure::Died(_))));

    let mut uml = Plan::default().start();
    uml.crash();
    assert!(matches!(uml.attempt("true", SOON), Err(Failure::Died(_))));

    let Err(Failure::Died(words)) = Plan::default().setup("echo in vain >&2; false").try_start() else {
        panic!("it started")
    };
    assert!(words.contains("status 1") && words.contains("in vain"), "{words}");
    let once = Plan::default().once("echo once; exit 3", SOON).unwrap();
    assert_eq!((once.status, once.stdout.as_str()), (3, "once\n"));
}

#[test]
fn nothing_of_a_guest_is_left_when_it_is_dropped() {
    if !uml::possible("what a guest kernel leaves", &[]) {
        return;
    }
    let lab = Lab::new(&[]);
    let uml = Plan::default().on(&lab, 31).start();
    uml.spawn("exec sleep 1000");
    let directory = uml.directory().to_owned();
    assert!(!processes_of(&directory).is_empty() && has_tap(&lab));
    drop(uml);
    assert!(!directory.exists() && !has_tap(&lab));
    until_no_processes(&directory);
}

#[test]
fn a_guest_ends_with_the_test_that_is_killed() {
    if let Some(file) = std::env::var_os(HOLD) {
        let lab = Lab::new(&[]);
        let uml = Plan::default().on(&lab, 31).start();
        std::fs::write(file, uml.directory().to_str().unwrap()).unwrap();
        uml.run("sleep 1000");
        return;
    }
    if !uml::possible("a guest kernel of a test that is killed", &[]) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("directory");
    let mut command = Command::new(std::env::current_exe().unwrap());
    let (_, module) = module_path!().split_once("::").unwrap();
    command
        .args(["--exact", &format!("{module}::a_guest_ends_with_the_test_that_is_killed")])
        .env(HOLD, &file)
        .stdin(Stdio::null());
    let mut holder = Process::spawn(command, &scratch.path().join("output"));
    let directory = deadline::until("a guest of another process", SOON, || {
        let directory = std::fs::read_to_string(&file).unwrap_or_default();
        if directory.is_empty() { Err(holder.output()) } else { Ok(directory) }
    });
    let directory = directory.unwrap();
    assert!(!processes_of(Path::new(&directory)).is_empty());
    // It alone, not its group.
    balancer::signal(holder.id(), Signal::KILL);
    assert!(holder.wait(SOON).is_some());
    until_no_processes(Path::new(&directory));
    // The next lab and the next guest take away what is no process.
    drop(Plan::default().on(&Lab::new(&[]), 31).start());
    assert!(!Path::new(&directory).exists());
    let prefix = format!("gfl{}-", holder.id());
    let namespaces = std::fs::read_dir("/run/netns").unwrap().flatten();
    let left: Vec<_> = namespaces.map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(&prefix)), "{left:?}");
}

fn has_tap(lab: &Lab) -> bool {
    let table = lab.in_hub(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    table.contains("t31:")
}

/// Processes of the host that belong to the guest with this directory.
fn processes_of(directory: &Path) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(directory.to_str().unwrap()))
        .collect()
}

fn until_no_processes(directory: &Path) {
    let none = || {
        let left = processes_of(directory);
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    };
    deadline::until("the end of all processes of a guest", SOON, none).unwrap();
}
