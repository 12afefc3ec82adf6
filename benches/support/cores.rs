//! Which core runs what: the systems under test on one, the load and the stub servers on another.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::Outcome;

/// The cores this process may use, lowest first.
pub(crate) fn allowed() -> Outcome<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// Pins the calling thread, and with it the threads and processes that it starts later.
pub(crate) fn pin(core: usize) -> Outcome<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Does something on another core and comes back.
pub(crate) fn on<T>(core: usize, act: impl FnOnce() -> T) -> Outcome<T> {
    let before = sched_getaffinity(None)?;
    pin(core)?;
    let done = act();
    sched_setaffinity(None, &before)?;
    Ok(done)
}
