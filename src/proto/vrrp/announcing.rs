//! When a master tells its link where the virtual addresses are: keepalived's schedule of gratuitous ARP and unsolicited
//! neighbour advertisements.
//!
//! What is sent at once may be lost, or come before a switch forwards to a port that has just come up; so it is sent again
//! later. After a master of lower priority was heard, its announcements may have been the last.

use std::time::{Duration, Instant};

/// How often to tell. The defaults are keepalived's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AnnouncingPolicy {
    /// `garp_master_repeat`: how many at a time.
    pub repeat: u32,
    /// `garp_master_delay`: when the same follows once more; zero for not at all.
    pub delay: Duration,
    /// `garp_master_refresh`: how often afterwards; zero for not at all.
    pub refresh: Duration,
    /// `garp_master_refresh_repeat`: how many at a time then.
    pub refresh_repeat: u32,
    /// `garp_lower_prio_repeat`: how many at a time when a master of lower priority was heard.
    pub lower_priority_repeat: u32,
    /// `garp_lower_prio_delay`: when the same follows once more; zero for not at all.
    pub lower_priority_delay: Duration,
}

impl Default for AnnouncingPolicy {
    fn default() -> Self {
        let (repeat, delay) = (5, Duration::from_secs(5));
        Self {
            repeat,
            delay,
            refresh: Duration::ZERO,
            refresh_repeat: 1,
            lower_priority_repeat: repeat,
            lower_priority_delay: delay,
        }
    }
}

/// The schedule of one instance.
#[derive(Debug)]
pub struct Announcing {
    policy: AnnouncingPolicy,
    /// None while the instance is not master.
    due: Option<Due>,
}

/// When, and how many.
type Batch = (Instant, u32);

#[derive(Clone, Copy, Debug)]
struct Due {
    at_once: Option<Batch>,
    once_more: Option<Batch>,
    refresh: Option<Batch>,
    /// The second answer to a master of lower priority.
    answer: Option<Batch>,
}

impl Due {
    fn batches(&mut self) -> [&mut Option<Batch>; 4] {
        [&mut self.at_once, &mut self.once_more, &mut self.refresh, &mut self.answer]
    }
}

impl Announcing {
    /// Nothing is due before [`Self::start`].
    #[must_use]
    pub fn new(policy: AnnouncingPolicy) -> Self {
        Self { policy, due: None }
    }

    /// From now on by another schedule; what is due already stays so.
    pub fn set_policy(&mut self, now: Instant, policy: AnnouncingPolicy) {
        let before = std::mem::replace(&mut self.policy, policy);
        if let Some(due) = &mut self.due
            && before.refresh != policy.refresh
        {
            due.refresh = after(now, policy.refresh, policy.refresh_repeat);
        }
    }

    /// The instance has become master, or its addresses have changed.
    pub fn start(&mut self, now: Instant) {
        let AnnouncingPolicy { repeat, delay, refresh, refresh_repeat, .. } = self.policy;
        self.due = Some(Due {
            at_once: Some((now, repeat)),
            once_more: after(now, delay, repeat),
            refresh: after(now, refresh, refresh_repeat),
            answer: None,
        });
    }

    /// It is no longer master.
    pub fn stop(&mut self) {
        self.due = None;
    }

    /// It has heard a master of lower priority. While the second answer to the one before is still to come, that one will
    /// do: who floods a link with advertisements shall not have us flood it, too.
    pub fn lower_priority_heard(&mut self, now: Instant) {
        let AnnouncingPolicy { lower_priority_repeat: repeat, lower_priority_delay: delay, .. } = self.policy;
        if let Some(due) = &mut self.due
            && due.answer.is_none()
        {
            let already = due.at_once.map_or(0, |(_, count)| count);
            due.at_once = Some((now, repeat.max(already)));
            due.answer = after(now, delay, repeat);
        }
    }

    /// How many announcements of each address to send now.
    #[must_use]
    pub fn due(&mut self, now: Instant) -> u32 {
        let AnnouncingPolicy { refresh, refresh_repeat, .. } = self.policy;
        let Some(due) = &mut self.due else { return 0 };
        let refreshes = due.refresh.is_some_and(|(at, _)| at <= now);
        let ripe = due.batches().into_iter().filter_map(|batch| batch.take_if(|(at, _)| *at <= now));
        // What is due together says the same thing.
        let count = ripe.map(|(_, count)| count).max().unwrap_or(0);
        if refreshes {
            due.refresh = after(now, refresh, refresh_repeat);
        }
        count
    }

    /// When [`Self::due`] is to be asked next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = self.due?;
        [due.at_once, due.once_more, due.refresh, due.answer].into_iter().flatten().map(|(at, _)| at).min()
    }
}

fn after(now: Instant, delay: Duration, count: u32) -> Option<Batch> {
    (!delay.is_zero()).then(|| (now + delay, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is sent, in milliseconds from the start, when the schedule is followed up to `until`.
    fn sent(announcing: &mut Announcing, start: Instant, until: u64) -> Vec<(u128, u32)> {
        let mut sent = Vec::new();
        while let Some(at) =
            announcing.poll_timeout().filter(|at| *at <= start + Duration::from_millis(until))
        {
            sent.push(((at - start).as_millis(), announcing.due(at)));
        }
        sent
    }

    #[allow(clippy::disallowed_methods)] // a starting point in time; nothing waits
    fn started(policy: AnnouncingPolicy) -> (Announcing, Instant) {
        let (mut announcing, now) = (Announcing::new(policy), Instant::now());
        assert_eq!((announcing.poll_timeout(), announcing.due(now)), (None, 0));
        announcing.start(now);
        (announcing, now)
    }

    #[test]
    fn a_new_master_tells_five_times_and_five_times_more_after_five_seconds() {
        let (mut announcing, start) = started(AnnouncingPolicy::default());
        assert_eq!(sent(&mut announcing, start, 3_600_000), [(0, 5), (5000, 5)]);
        assert_eq!(announcing.due(start + Duration::from_secs(3600)), 0);
    }

    #[test]
    fn a_refresh_goes_on_for_as_long_as_the_master_does() {
        let (mut announcing, start) = started(AnnouncingPolicy {
            repeat: 1,
            delay: Duration::ZERO,
            refresh: Duration::from_secs(10),
            refresh_repeat: 2,
            ..AnnouncingPolicy::default()
        });
        assert_eq!(sent(&mut announcing, start, 25_000), [(0, 1), (10_000, 2), (20_000, 2)]);
        announcing.stop();
        announcing.lower_priority_heard(start + Duration::from_secs(26));
        assert_eq!(announcing.poll_timeout(), None);
    }

    #[test]
    fn what_is_due_together_is_sent_once() {
        let refresh = Duration::from_secs(5);
        let (mut announcing, start) = started(AnnouncingPolicy { refresh, ..AnnouncingPolicy::default() });
        assert_eq!(sent(&mut announcing, start, 12_000), [(0, 5), (5000, 5), (10_000, 1)]);
        // Late by far: nothing is made up for.
        assert_eq!(announcing.due(start + Duration::from_secs(33)), 1);
        assert_eq!(announcing.poll_timeout(), Some(start + Duration::from_secs(38)));
    }

    #[test]
    fn a_master_of_lower_priority_is_answered_twice_and_a_flood_of_them_no_more() {
        let (mut announcing, start) =
            started(AnnouncingPolicy { lower_priority_repeat: 3, ..AnnouncingPolicy::default() });
        assert_eq!(sent(&mut announcing, start, 6000), [(0, 5), (5000, 5)]);
        for millis in 0..4000 {
            announcing.lower_priority_heard(start + Duration::from_millis(10_000 + millis));
        }
        // All of the flood was heard before anything could be sent.
        assert_eq!(sent(&mut announcing, start, 60_000), [(10_000, 3), (15_000, 3)]);
    }
}
