//! Waiting for something to become true, with a limit.

use std::time::{Duration, Instant};

/// How long to leave the processors to the others between two looks. Nothing is ever assumed to be true after it.
const BETWEEN_LOOKS: Duration = Duration::from_millis(15);

/// Looks until `probe` gives a value.
///
/// # Errors
/// What was waited for, and the probe's last word on why not, once `limit` has passed.
#[allow(clippy::disallowed_methods, reason = "tests measure the real clock")]
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let end = Instant::now() + limit;
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(why) if Instant::now() >= end => {
                return Err(format!("{what}: not within {} s: {why}", limit.as_secs_f32()));
            }
            Err(_) => std::thread::park_timeout(BETWEEN_LOOKS),
        }
    }
}

/// A stopwatch for the tables.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods, reason = "tests measure the real clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
