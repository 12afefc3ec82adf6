use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::balance::{RealServer, RealServerSpec};
use crate::config::{Check, CheckKind};
use crate::script::MAX_RUNNING;

/// A script of these lines, and a probe that runs it.
fn site(lines: &str, misc_dynamic: bool, max_time: Duration) -> (TempDir, Arc<Probe>) {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("check");
    std::fs::write(&program, format!("#!/bin/sh\n{lines}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let arguments = vec!["two words".into(), "$HOME".into()];
    let probe = Probe {
        virtual_server: "gridftp".into(),
        server: Arc::new(RealServer::new(RealServerSpec {
            name: "s1".into(),
            address: "192.0.2.11:2811".parse().unwrap(),
            weight: 100,
            max_connections: None,
            fall: 1,
            rise: 1,
        })),
        check: Check {
            kind: CheckKind::Script(Script { program, arguments, misc_dynamic }),
            max_time,
            ..Check::default()
        },
        greeting_timeout: Duration::from_secs(10),
        proxy_protocol: None,
        tls: None,
        gsi: None,
    };
    (directory, Arc::new(probe))
}

async fn run(probe: &Arc<Probe>) -> Finding {
    let CheckKind::Script(script) = &probe.check.kind else { panic!("no script") };
    attempt(probe, script).await
}

fn says(finding: Finding) -> (String, ScriptWeight) {
    let report = finding.unwrap();
    let text = match report.outcome {
        CheckOutcome::Passed => format!("passed: {}", report.found),
        CheckOutcome::Busy(words) => format!("busy: {words}"),
        CheckOutcome::Failed(reason) => format!("failed: {reason}"),
    };
    (text, report.weight)
}

#[tokio::test]
async fn exit_codes_are_those_of_keepalived() {
    use ScriptWeight::{AsBefore, NotAsked, Now};
    // Lines of the script; with `misc_dynamic` what is said and of which weight; and without it.
    #[rustfmt::skip]
    let table: &[(&str, &str, ScriptWeight, &str)] = &[
        ("exit 0",                       "passed: check ended with 0",   AsBefore, "passed: check ended with 0"),
        ("exit 1",                       "failed: check ended with 1; run it by hand to see more", NotAsked, "failed: check ended with 1; "),
        ("exit 2",                       "passed: check ended with 2",   Now(0),   "failed: check ended with 2; "),
        ("exit 12",                      "passed: check ended with 12",  Now(10),  "failed: check ended with 12; "),
        ("exit 255",                     "passed: check ended with 255", Now(253), "failed: check ended with 255; "),
        ("echo one; echo; echo two >&2", "passed: check ended with 0: two", AsBefore, "passed: check ended with 0: two"),
        ("echo disk full; exit 1",       "failed: check ended with 1: disk full; ", NotAsked, "failed: check ended with 1: disk full; "),
        ("kill -ABRT $$",                "failed: check was ended by signal 6; ", NotAsked, "failed: check was ended by signal 6; "),
        ("head -c 3000000 /dev/zero; echo; echo end", "passed: check ended with 0: end", AsBefore, "passed: check ended with 0: end"),
    ];
    for &(lines, with, weight, without) in table {
        let (_site, probe) = site(lines, true, Duration::from_secs(20));
        let (said, of_weight) = says(run(&probe).await);
        assert!(said.starts_with(with), "{lines}: {said}");
        assert_eq!(of_weight, weight, "{lines}");
        let (_site, probe) = site(lines, false, Duration::from_secs(20));
        let (said, of_weight) = says(run(&probe).await);
        assert!(said.starts_with(without), "{lines}: {said}");
        assert_eq!(of_weight, NotAsked, "{lines}");
    }
}

#[tokio::test]
async fn a_script_knows_its_server_and_nothing_of_the_door() {
    let lines = "printf '%s|' \"$GRIDFRONT_VIRTUAL_SERVER\" \"$GRIDFRONT_REAL_SERVER\" \"$GRIDFRONT_ADDRESS\" \"$GRIDFRONT_PORT\" \
                 \"$1\" \"$2\" \"$PWD\" \"${CARGO_MANIFEST_DIR-none}\" \"$(cat)\"\n\
                 test \"$(ps -o pgid= -p $$ | tr -d ' ')\" = $$ && echo leader";
    let (_site, probe) = site(lines, true, Duration::from_secs(20));
    let (said, _) = says(run(&probe).await);
    assert_eq!(said, "passed: check ended with 0: gridftp|s1|192.0.2.11|2811|two words|$HOME|/|none||leader");
}

/// Processes whose command line ends with this word.
fn running(word: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| line.trim_ascii_end().ends_with(format!("{word}\0").as_bytes())).count()
}

/// Children of ours that have ended and that nobody has waited for, by the name of the script.
fn zombies() -> usize {
    let own = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok());
    stats.filter(|stat| stat.contains("(check)") && stat.contains(&format!(" Z {own} "))).count()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), held).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn one_that_does_not_end_is_killed_with_all_that_it_started() {
    // What it does about SIGTERM; how long it may take then.
    for (number, (trap, seconds)) in [("true", 2), ("trap '' TERM", 4)].into_iter().enumerate() {
        let word = format!("98765{number}{}", std::process::id());
        let lines = format!("{trap}; echo begun; sleep {word} & sleep {word}; sleep {word}");
        let (_site, probe) = site(&lines, true, Duration::from_millis(500));
        let start = Instant::now();
        let (said, weight) = says(run(&probe).await);
        assert_eq!(
            said,
            "failed: check was killed after max_time = 500ms: begun; raise max_time, or let it give up sooner"
        );
        assert_eq!(weight, ScriptWeight::NotAsked);
        assert!(start.elapsed() < Duration::from_secs(seconds), "{:?}", start.elapsed());
        until("they end", || running(&word) == 0).await;
        until("they are reaped", || zombies() == 0).await;
    }
}

#[tokio::test]
async fn a_check_that_is_given_up_leaves_nothing_behind() {
    let word = format!("87654{}", std::process::id());
    let (_site, probe) = site(&format!("sleep {word} & sleep {word}"), true, Duration::from_secs(20));
    let attempt = tokio::spawn(async move { run(&probe).await });
    until("it runs", || running(&word) == 2).await;
    attempt.abort();
    assert!(attempt.await.unwrap_err().is_cancelled());
    until("it ends", || running(&word) == 0).await;
}

#[tokio::test]
async fn a_script_that_ends_leaves_nothing_behind_in_its_group() {
    for (number, code) in [0, 1].into_iter().enumerate() {
        let word = format!("65432{number}{}", std::process::id());
        let both = format!("ps -e -o args= | grep -c '^sleep {word}$'");
        let lines = format!(
            "trap '' HUP TERM; sleep {word} & (sleep {word} &)\nuntil test \"$({both})\" = 2; do :; done\nexit {code}"
        );
        let (_site, probe) = site(&lines, true, Duration::from_secs(20));
        let (said, _) = says(run(&probe).await);
        assert!(said.contains(&format!("check ended with {code}")), "{said}");
        until("they end", || running(&word) == 0).await;
    }
}

#[tokio::test]
async fn a_daemon_that_keeps_the_output_open_holds_nobody_up_and_lives_on() {
    let word = format!("76543{}", std::process::id());
    let lines = format!(
        "setsid sleep {word} &\nuntil test \"$(ps -o pgid= -p $! | tr -d ' ')\" = $!; do :; done\necho $!"
    );
    let (_site, probe) = site(&lines, true, Duration::from_secs(20));
    let start = Instant::now();
    let (said, _) = says(run(&probe).await);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    until("it runs", || running(&word) == 1).await;
    let child =
        said.rsplit(' ').next().and_then(|id| id.parse().ok()).and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(child.unwrap(), rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn what_cannot_be_run_is_the_doors_own_trouble() {
    let (directory, probe) = site("exit 0", true, Duration::from_secs(20));
    let program = directory.path().join("check");
    let trouble = |finding: Finding| finding.unwrap_err().to_string();
    std::fs::write(&program, "#!/no/such/shell\n").unwrap();
    assert!(trouble(run(&probe).await).contains("cannot be started: No such file"));
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(trouble(run(&probe).await).contains("everybody may write to it"));
    std::fs::remove_file(&program).unwrap();
    assert!(trouble(run(&probe).await).contains("cannot be found"));
}

#[tokio::test]
async fn only_so_many_run_at_once() {
    let (_site, probe) = site("sleep 0.3", true, Duration::from_secs(20));
    let start = Instant::now();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..=2 * MAX_RUNNING {
        let probe = Arc::clone(&probe);
        all.spawn(async move { run(&probe).await });
    }
    while let Some(finding) = all.join_next().await {
        assert_eq!(finding.unwrap().unwrap().outcome, CheckOutcome::Passed);
    }
    assert!(start.elapsed() >= Duration::from_millis(900), "three rounds: {:?}", start.elapsed());
}

#[tokio::test]
async fn what_was_examined_is_run_and_not_the_link_that_led_to_it() {
    let (directory, probe) = site("echo \"$0\"", true, Duration::from_secs(20));
    let CheckKind::Script(script) = &probe.check.kind else { panic!("no script") };
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&script.program, &link).unwrap();
    let linked = Script { program: link, ..script.clone() };
    let (said, _) = says(attempt(&probe, &linked).await);
    let real = std::fs::canonicalize(&script.program).unwrap();
    assert_eq!(said, format!("passed: link ended with 0: {}", real.display()));
}
