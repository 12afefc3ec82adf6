//! What a process has used, as the kernel counts it: CPU time, memory and system calls.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Outcome, child};

/// A process has settled when it used no CPU for this long.
const SETTLED: Duration = Duration::from_millis(8);
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// CPU time of all threads, in nanoseconds; exact while they sleep. Threads that have ended are not in it: the systems
/// under test keep theirs.
pub(crate) fn cpu_nanoseconds(pid: u32) -> Outcome<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // The first word is the time on a CPU (Documentation/scheduler/sched-stats.rst).
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split_ascii_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// As [`cpu_nanoseconds`], with the process's children and theirs; those that have ended are not in it.
fn cpu_nanoseconds_of_family(pid: u32) -> Outcome<u64> {
    let mut sum = cpu_nanoseconds(pid)?;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let children = fs::read_to_string(task?.path().join("children"))?;
        for child in children.split_ascii_whitespace() {
            // One that ends meanwhile has done its work before.
            sum += cpu_nanoseconds_of_family(child.parse()?).unwrap_or(0);
        }
    }
    Ok(sum)
}

/// Waits until the process has done what it had to do; gives its CPU time then.
pub(crate) fn settle(pid: u32) -> Outcome<u64> {
    settled(|| cpu_nanoseconds(pid))
}

/// As [`settle`], for a program with a process per session.
pub(crate) fn settle_family(pid: u32) -> Outcome<u64> {
    settled(|| cpu_nanoseconds_of_family(pid))
}

fn settled(used: impl Fn() -> Outcome<u64>) -> Outcome<u64> {
    let start = Instant::now();
    let mut last = used()?;
    loop {
        std::thread::sleep(SETTLED);
        let now = used()?;
        if now == last || start.elapsed() > SETTLE_LIMIT {
            return Ok(now);
        }
        last = now;
    }
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// All of its pages, those of the program file too.
    pub(crate) resident: u64,
    /// Heap and stacks: what its sessions add. Pages of the program file that it touches meanwhile are not in it.
    pub(crate) anonymous: u64,
}

pub(crate) fn memory(pid: u32) -> Outcome<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_ascii_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    Ok(Memory { resident: field("Rss:"), anonymous: field("Anonymous:") })
}

/// System calls the process makes while `load` runs, by name, most frequent first; counted by strace(1), which slows it down.
pub(crate) fn system_calls(
    pid: u32,
    directory: &Path,
    load: impl FnOnce() -> Outcome<()>,
) -> Outcome<Vec<(String, u64)>> {
    let counts = directory.join("system-calls");
    let mut tracer = child::dying_with_the_bench(Path::new("/usr/bin/strace"))
        .args(["-c", "-f", "-o"])
        .arg(&counts)
        .args(["-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("strace: {error}; install it"))?;
    // strace names each thread that it has attached to, and nothing else while -c collects.
    let mut attached = String::new();
    let mut said = BufReader::new(tracer.stderr.take().ok_or("strace has no stderr")?);
    said.read_line(&mut attached)?;
    let outcome = if attached.contains("attached") {
        load().and_then(|()| settle(pid).map(drop))
    } else {
        Err(format!("strace: {}", attached.trim()).into())
    };
    let tracer_pid = i32::try_from(tracer.id()).ok().and_then(Pid::from_raw).ok_or("strace has no pid")?;
    kill_process(tracer_pid, Signal::INT)?;
    tracer.wait()?;
    outcome?;
    // Each line: % time, seconds, usecs/call, calls, errors if any, name; at last a line named "total".
    let text = fs::read_to_string(&counts)?;
    let mut calls: Vec<(String, u64)> = text
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let calls = words.get(3)?.parse().ok()?;
            words.last().filter(|name| **name != "total").map(|name| ((*name).to_owned(), calls))
        })
        .collect();
    if calls.is_empty() {
        return Err("strace counted nothing".into());
    }
    calls.sort_by_key(|(_, calls)| std::cmp::Reverse(*calls));
    Ok(calls)
}
