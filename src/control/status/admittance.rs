//! Who was not let in, who waits, and who is kept out.
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::balance::Queue;
use crate::proxy::Service;

/// Of one virtual server.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct AdmittanceStatus {
    /// Clients that got no session, by reason; none for reasons that have not occurred.
    pub refused: BTreeMap<String, u64>,
    /// Clients that are kept out now.
    pub banned: usize,
    /// Bans so far.
    pub bans: u64,
    /// Sessions that were not counted on their client, because too many clients are known.
    pub uncounted: u64,
    /// Commands that were answered in the servers' place because they are disabled.
    pub denied_commands: u64,
    /// Where there is a queue.
    pub queue: Option<QueueStatus>,
}

/// Sessions that wait while all real servers are full.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct QueueStatus {
    /// Now.
    pub waiting: u32,
    /// How long the one that has waited longest does so.
    pub longest_wait_ms: u64,
    /// Sessions that have waited.
    pub queued: u64,
    /// Those that got a place.
    pub served: u64,
    /// The longest that one of these waited.
    pub longest_served_ms: u64,
    /// Those for which none came in time.
    pub timed_out: u64,
    /// Those whose client hung up.
    pub left: u64,
    /// Sessions that found the queue full.
    pub found_full: u64,
}

impl AdmittanceStatus {
    pub(in super::super) fn of(service: &Service, now: Instant) -> Self {
        let admittance = &service.admittance;
        let known = &admittance.known;
        let refusals = service.lasting.tally.refusals().filter(|&(_, count)| count > 0);
        Self {
            refused: refusals.map(|(why, count)| (why.word().to_owned(), count)).collect(),
            banned: if admittance.bans() { known.clients.banned(now) } else { 0 },
            bans: known.clients.bans_so_far(),
            uncounted: known.clients.uncounted(),
            denied_commands: known.denied_commands.load(Relaxed),
            queue: admittance.has_queue().then(|| QueueStatus::of(&known.queue, now)),
        }
    }
}

impl QueueStatus {
    fn of(queue: &Queue, now: Instant) -> Self {
        let stats = &queue.stats;
        Self {
            waiting: queue.waiting(),
            longest_wait_ms: millis(queue.longest_wait(now)),
            queued: stats.queued.load(Relaxed),
            served: stats.served.load(Relaxed),
            longest_served_ms: stats.longest_ms.load(Relaxed),
            timed_out: stats.timed_out.load(Relaxed),
            left: stats.left.load(Relaxed),
            found_full: stats.refused.load(Relaxed),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Lines below a virtual server's table; none where there is nothing to tell.
impl fmt::Display for AdmittanceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(queue) = &self.queue {
            writeln!(
                f,
                "  queue: {} waiting, the longest for {} ms; {} served (after {} ms at most), {} timed out, {} left, \
                 {} found it full",
                queue.waiting,
                queue.longest_wait_ms,
                queue.served,
                queue.longest_served_ms,
                queue.timed_out,
                queue.left,
                queue.found_full,
            )?;
        }
        if !self.refused.is_empty() {
            let refused: Vec<String> =
                self.refused.iter().map(|(word, count)| format!("{word} {count}")).collect();
            writeln!(f, "  sessions refused: {}", refused.join(", "))?;
        }
        if self.bans > 0 {
            let (banned, bans) = (self.banned, self.bans);
            writeln!(f, "  {banned} clients banned (`gridfront ban list`), {bans} bans since the start")?;
        }
        if self.denied_commands > 0 {
            writeln!(f, "  {} disabled commands refused", self.denied_commands)?;
        }
        if self.uncounted > 0 {
            writeln!(f, "  {} sessions not counted on their client: too many clients", self.uncounted)?;
        }
        Ok(())
    }
}
