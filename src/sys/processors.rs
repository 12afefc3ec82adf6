//! The processors that this process may use.
use std::num::NonZeroUsize;

/// How many processors are in the affinity mask; 1 when it cannot be read.
#[must_use]
pub fn count() -> NonZeroUsize {
    let mask = rustix::thread::sched_getaffinity(None).ok();
    let count = mask.map_or(1, |mask| mask.count() as usize);
    NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)
}
