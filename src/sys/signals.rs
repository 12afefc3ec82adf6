//! Signals that a process does not heed.
#![allow(unsafe_code, reason = "no crate of ours ignores a signal without a handler")]

/// Whoever ends the service by a signal to all of its processes means the daemon: from now on this one is not ended by
/// SIGTERM, SIGINT, SIGHUP or SIGQUIT.
pub fn ignore_requests_to_end() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: SIG_IGN is no function that could be called at a bad moment; the signals exist, so nothing fails.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
