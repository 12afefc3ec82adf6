//! How much a thread counts beside others.
use rustix::process::setpriority_process;
use rustix::thread::gettid;

/// Lowest of all (nice(1)).
const LAST: i32 = 19;

/// The thread that calls runs when nobody else wants the processor. Where that is not allowed it goes on as it is.
pub fn yield_to_all_others() {
    // On Linux the number of a thread stands for that thread alone.
    let _ = setpriority_process(Some(gettid()), LAST);
}
