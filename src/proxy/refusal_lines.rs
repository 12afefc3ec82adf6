//! Of which clients that got no session the log is told.
//!
//! A flood of clients must not become a flood of lines: one line for each client and reason in a while, with how many
//! there were in between. Counters (`Tally`) miss nothing.
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};

use super::tally::Refusal;

/// How often a client's refusals for one reason are logged.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// Clients and reasons that are kept apart; beyond it, all others share one line.
const MAX_APART: usize = 1024;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct RefusalLines {
    lines: Mutex<HashMap<(IpNet, Refusal, u8), Line>>,
}

#[derive(Debug)]
struct Line {
    said: Instant,
    unsaid: u32,
}

impl RefusalLines {
    /// One more; `detail` tells apart what is worth a line of its own within a kind. Whether it is to be logged, and then, how
    /// many were not since the last time.
    pub(super) fn handle(&self, kind: Refusal, detail: u8, client: IpNet, now: Instant) -> Option<u32> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |line: &Line| now.saturating_duration_since(line.said) >= SAID_EVERY;
        let mut key = (client, kind, detail);
        if lines.len() >= MAX_APART && !lines.contains_key(&key) {
            key = (IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)), kind, 0);
            // Looking for room costs a look at every line, so not each time.
            if lines.get(&key).is_none_or(is_old) {
                lines.retain(|_, line| !is_old(line));
                if lines.len() < MAX_APART {
                    key = (client, kind, detail);
                }
            }
        }
        match lines.get_mut(&key) {
            Some(line) if !is_old(line) => {
                line.unsaid = line.unsaid.saturating_add(1);
                None
            }
            Some(line) => {
                line.said = now;
                Some(std::mem::take(&mut line.unsaid))
            }
            None => {
                lines.insert(key, Line { said: now, unsaid: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)] // a starting point
    fn a_flood_is_one_line_in_a_while() {
        let start = Instant::now();
        let refusals = RefusalLines::default();
        let client: IpNet = "192.0.2.7/32".parse().unwrap();
        let say = |millis, kind| refusals.handle(kind, 0, client, start + Duration::from_millis(millis));
        assert_eq!(say(0, Refusal::Banned), Some(0));
        for millis in 1..1000 {
            assert_eq!(say(millis, Refusal::Banned), None);
        }
        assert_eq!(say(1000, Refusal::SessionRate), Some(0), "another reason is another line");
        assert_eq!(say(10_000, Refusal::Banned), Some(999));
        assert_eq!(say(10_001, Refusal::Banned), None);
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // a starting point
    fn a_flood_of_clients_is_bounded_in_lines_and_memory() {
        let start = Instant::now();
        let refusals = RefusalLines::default();
        let mut lines = 0;
        for number in 0..100_000u32 {
            let client = IpNet::from(std::net::IpAddr::from(Ipv4Addr::from(number)));
            let at = start + Duration::from_micros(u64::from(number) * 100);
            lines += usize::from(refusals.handle(Refusal::Denied, 0, client, at).is_some());
        }
        assert!(lines <= MAX_APART + 1, "{lines} lines in 10 s");
        assert!(refusals.lines.lock().unwrap().len() <= MAX_APART + Refusal::ALL.len());
    }
}
