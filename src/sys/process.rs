//! What the process has used, as the kernel counts it, and who may look into it.
use std::io;
use std::time::Duration;

use rustix::process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior};
use rustix::time::{ClockId, clock_gettime};

/// See the module's text. What the kernel does not tell is 0.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Processor time of all threads.
    pub processor: Duration,
    /// Bytes in memory.
    pub resident: u64,
    /// Bytes of address space.
    pub address_space: u64,
    /// Descriptors that are open.
    pub descriptors: u64,
    /// How many may be.
    pub max_descriptors: u64,
}

/// Asks the kernel.
#[must_use]
pub fn usage() -> Usage {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let pages = memory_pages().unwrap_or_default();
    let page = rustix::param::page_size() as u64;
    Usage {
        processor: Duration::new(
            time.tv_sec.try_into().unwrap_or_default(),
            time.tv_nsec.try_into().unwrap_or_default(),
        ),
        resident: pages.1 * page,
        address_space: pages.0 * page,
        descriptors: open_descriptors().unwrap_or_default(),
        max_descriptors: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
    }
}

/// From now on there are no core dumps, and only root may look into the process's memory (PR_SET_DUMPABLE, prctl(2)). Most of
/// /proc/self belongs to root then; what [`usage`] reads stays readable.
///
/// # Errors
///
/// As prctl(2).
pub fn keep_memory_private() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Of the address space and in memory: the first two numbers of /proc/self/statm, proc(5).
fn memory_pages() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// Linux says how many there are since 6.2, and before that size of the directory is 0: there they are counted, which with
/// tens of thousands takes some milliseconds.
fn open_descriptors() -> io::Result<u64> {
    let counted = std::fs::metadata("/proc/self/fd")?.len();
    if counted > 0 {
        return Ok(counted);
    }
    // The directory itself is one of them.
    let entries = std::fs::read_dir("/proc/self/fd")?.count();
    Ok((entries as u64).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_everything_even_of_memory_that_is_private() {
        keep_memory_private().unwrap();
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let usage = usage();
        assert!(usage.resident > 1 << 20 && usage.address_space >= usage.resident, "{usage:?}");
        assert!((3..=usage.max_descriptors).contains(&usage.descriptors), "{usage:?}");
        assert!(usage.processor > Duration::ZERO);
    }
}
