//! What a process has used, as the kernel counts it: CPU time, memory and system calls.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::{Outcome, child};

/// A process has settled when it used no CPU for this long.
const SETTLED: Duration = Duration::from_millis(8);
const SETTLE_LIMIT: Duration = Duration::from_secs(5);
/// Linux says `USER_HZ` is 100 to every program, in nanoseconds.
const UNIT_OF_ENDED: u64 = 10_000_000;

/// CPU time of all threads, in nanoseconds; exact while they sleep. Threads that have ended are not in it: the systems
/// under test keep theirs.
pub(crate) fn cpu_nanoseconds(pid: u32) -> Outcome<u64> {
    cpu_nanoseconds_of_threads(pid, |_| Ok(true))
}

/// As [`cpu_nanoseconds`], without threads whose name begins so.
pub(crate) fn cpu_nanoseconds_without(pid: u32, threads: &str) -> Outcome<u64> {
    cpu_nanoseconds_of_threads(pid, |task| Ok(!fs::read_to_string(task.join("comm"))?.starts_with(threads)))
}

fn cpu_nanoseconds_of_threads(pid: u32, counts: impl Fn(&Path) -> Outcome<bool>) -> Outcome<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        if !counts(&task)? {
            continue;
        }
        // The first word is the time on a CPU (Documentation/scheduler/sched-stats.rst).
        let text = fs::read_to_string(task.join("schedstat"))?;
        sum += text.split_ascii_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// As [`cpu_nanoseconds`], with the process's children and theirs, also those that have ended.
///
/// These are in the sums of /proc/PID/stat, in units of 10 ms, which the kernel makes from nanoseconds and not from ticks
/// ([`ended_children_are_counted`] looks); their two parts are cut off at a unit each.
fn cpu_nanoseconds_of_family(pid: u32) -> Outcome<u64> {
    let mut sum = cpu_nanoseconds(pid)? + cpu_nanoseconds_of_ended(pid)?;
    for child in children(pid)? {
        // One that ends meanwhile is in its parent's sum at the next look.
        sum += cpu_nanoseconds_of_family(child).unwrap_or(0);
    }
    Ok(sum)
}

/// `cutime` and `cstime`: what children had used when the process took note of their end (proc_pid_stat(5)).
fn cpu_nanoseconds_of_ended(pid: u32) -> Outcome<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may have blanks. The state behind it is field 3; these are fields 16 and 17.
    let fields = text.rsplit_once(')').ok_or("no name in /proc/PID/stat")?.1.split_ascii_whitespace();
    let units: u64 = fields.skip(13).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    Ok(units * UNIT_OF_ENDED)
}

/// A process and its descendants.
fn family(pid: u32) -> Outcome<Vec<u32>> {
    let mut members = vec![pid];
    for child in children(pid)? {
        members.extend(family(child).unwrap_or_default());
    }
    Ok(members)
}

fn children(pid: u32) -> Outcome<Vec<u32>> {
    let mut pids = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("children"))?;
        pids.extend(text.split_ascii_whitespace().filter_map(|word| word.parse::<u32>().ok()));
    }
    Ok(pids)
}

/// Whether the sums of children that have ended are good enough: what many short ones used, in nanoseconds while they
/// were still in the table, beside what this process's own `cutime` and `cstime` grew by. In milliseconds.
pub(crate) fn ended_children_are_counted() -> Outcome<(f64, f64)> {
    const CHILDREN: usize = 200;
    let own = std::process::id();
    let before = cpu_nanoseconds_of_ended(own)?;
    let mut exact = 0;
    for _ in 0..CHILDREN {
        let mut child = Command::new("/bin/true").spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("a child has no pid")?;
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
        exact += cpu_nanoseconds(child.id())?;
        child.wait()?;
    }
    let summed = cpu_nanoseconds_of_ended(own)? - before;
    Ok((exact as f64 / 1e6, summed as f64 / 1e6))
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
    memory_in(pid, "Rss:", "Anonymous:")
}

/// As [`memory`], of a process and its descendants; what several have in common is shared out among them (`Pss`).
pub(crate) fn memory_of_family(pid: u32) -> Outcome<Memory> {
    let mut sum = memory_in(pid, "Pss:", "Pss_Anon:")?;
    for member in family(pid)?.into_iter().skip(1) {
        // One that has ended meanwhile has none.
        let Ok(share) = memory_in(member, "Pss:", "Pss_Anon:") else { continue };
        sum.resident += share.resident;
        sum.anonymous += share.anonymous;
    }
    Ok(sum)
}

fn memory_in(pid: u32, resident: &str, anonymous: &str) -> Outcome<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_ascii_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    Ok(Memory { resident: field(resident), anonymous: field(anonymous) })
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
