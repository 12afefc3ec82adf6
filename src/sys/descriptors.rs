//! The limit of file descriptors (`RLIMIT_NOFILE`).
use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard one and returns what is in force.
#[must_use]
pub fn raise_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        limit.current = before;
    }
    limit.current.unwrap_or(u64::MAX)
}
