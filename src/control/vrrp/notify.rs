//! Programs of the site that are told of states: keepalived's `notify_master` and its kin, with its arguments.
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::vrrp as config;
use crate::proto::vrrp::Role;
use crate::script::{self, End, Invocation, Purpose};

/// How long one may run. The next of the same instance waits for it, so that the last state is told last.
const NOTIFICATION_WITHIN: Duration = Duration::from_secs(60);

/// How long the daemon's end waits for them.
pub(in crate::control) const LAST_NOTIFICATIONS: Duration = Duration::from_secs(5);

/// Notifications of one instance that wait; beyond that the oldest goes. Those tell of a past that interests nobody, while the
/// last state must be told.
const MAX_WAITING: usize = 64;

/// How long whoever is in no configuration any more has a queue still: what has become of it is heard later than the
/// configuration.
const LEFT_FOR: Duration = Duration::from_secs(60);

/// Who is told of what.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    queues: BTreeMap<Subject, Queue>,
    /// Those that are in the configuration no more, until they are told of their end.
    leaving: BTreeMap<Subject, (Queue, Instant)>,
}

/// keepalived's first argument, and its second.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Subject {
    Instance(String),
    Group(String),
}

#[derive(Debug)]
struct Queue {
    notify: config::Notify,
    line: Entrance,
    worker: JoinHandle<()>,
}

/// Where they come in; dropped, nobody comes any more.
#[derive(Debug)]
struct Entrance(Arc<Line>);

/// Those that wait.
#[derive(Debug, Default)]
struct Line {
    waiting: Mutex<VecDeque<Invocation>>,
    /// Nobody comes any more.
    closed: AtomicBool,
    changed: Notify,
}

impl Notifier {
    /// From now on as this configuration has it. Those that wait are told still.
    pub(super) fn take_up(&mut self, vrrp: &config::Vrrp, now: Instant) {
        let instances = vrrp.instances.iter().map(|of| (Subject::Instance(of.name.clone()), &of.notify));
        let groups = vrrp.sync_groups.iter().map(|of| (Subject::Group(of.name.clone()), &of.notify));
        let mut before = std::mem::take(&mut self.queues);
        for (subject, notify) in instances.chain(groups) {
            let known = before.remove(&subject);
            let known = known.or_else(|| self.leaving.remove(&subject).map(|(queue, _)| queue));
            if notify.commands().next().is_none() {
                continue;
            }
            let queue = match known {
                Some(queue) => Queue { notify: notify.clone(), ..queue },
                None => Queue::start(notify.clone()),
            };
            self.queues.insert(subject, queue);
        }
        self.leaving.retain(|_, (_, since)| *since + LEFT_FOR > now);
        self.leaving.extend(before.into_iter().map(|(subject, queue)| (subject, (queue, now))));
    }

    pub(super) fn tell_of_instance(&self, name: &str, to: Role, priority: u8) {
        self.tell(&Subject::Instance(name.into()), to, priority);
    }

    pub(super) fn tell_of_group(&self, name: &str, to: Role) {
        // What keepalived says of groups.
        self.tell(&Subject::Group(name.into()), to, 0);
    }

    fn tell(&self, subject: &Subject, to: Role, priority: u8) {
        let leaving = || self.leaving.get(subject).map(|(queue, _)| queue);
        let Some(queue) = self.queues.get(subject).or_else(leaving) else { return };
        let (kind, name) = match subject {
            Subject::Instance(name) => ("INSTANCE", name),
            Subject::Group(name) => ("GROUP", name),
        };
        let notify = &queue.notify;
        let of_state = match to {
            Role::Master => &notify.master,
            Role::Backup => &notify.backup,
            Role::Fault => &notify.fault,
            Role::Initialize => &notify.stop,
        };
        let told = [kind.into(), name.clone(), to.word().into(), priority.to_string()];
        let of_state = of_state.iter().map(|command| (command, command.arguments.clone()));
        let of_any =
            notify.any.iter().map(|command| (command, [command.arguments.as_slice(), &told].concat()));
        for (command, arguments) in of_state.chain(of_any) {
            let invocation = Invocation {
                purpose: Purpose::Notify,
                program: command.program.clone(),
                arguments,
                environment: Vec::new(),
                limit: NOTIFICATION_WITHIN,
            };
            if let Some(oldest) = queue.line.0.put(invocation) {
                let program = oldest.program.display();
                tracing::error!(name, "{program}: not run: too many wait; see why it does not end");
            }
        }
    }

    /// Waits for those that are to be told still.
    pub(super) async fn finish(self) {
        let all = async {
            let leaving = self.leaving.into_values().map(|(queue, _)| queue);
            let all = self.queues.into_values().chain(leaving);
            // Before the first is waited for, so that all end.
            let workers: Vec<JoinHandle<()>> = all.map(|queue| queue.worker).collect();
            for worker in workers {
                // One that has panicked was reported.
                let _ = worker.await;
            }
        };
        if timeout(LAST_NOTIFICATIONS, all).await.is_err() {
            tracing::warn!("notifications still run while the daemon ends, and are killed");
        }
    }
}

impl Queue {
    fn start(notify: config::Notify) -> Self {
        let line = Arc::<Line>::default();
        let waiting = Arc::clone(&line);
        let worker = tokio::spawn(async move {
            while let Some(invocation) = waiting.next().await {
                run(invocation).await;
            }
        });
        Self { notify, line: Entrance(line), worker }
    }
}

/// What waits is told still.
impl Drop for Entrance {
    fn drop(&mut self) {
        self.0.closed.store(true, Relaxed);
        self.0.changed.notify_one();
    }
}

impl Line {
    /// The oldest if there are too many now.
    fn put(&self, invocation: Invocation) -> Option<Invocation> {
        let mut waiting = self.lock();
        waiting.push_back(invocation);
        self.changed.notify_one();
        if waiting.len() > MAX_WAITING { waiting.pop_front() } else { None }
    }

    /// Nothing when nobody waits, or comes, any more.
    async fn next(&self) -> Option<Invocation> {
        loop {
            if let Some(next) = self.lock().pop_front() {
                return Some(next);
            }
            if self.closed.load(Relaxed) {
                return None;
            }
            self.changed.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Invocation>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(invocation: Invocation) {
    let program = invocation.program.display().to_string();
    match script::run(invocation).await {
        Ok(run) => match run.end {
            End::Status(status) if status.success() => {}
            End::Status(status) => {
                tracing::warn!(last_line = run.last_line, "{program}: notification ended with {status}");
            }
            End::Late => {
                tracing::warn!("{program}: notification killed after {NOTIFICATION_WITHIN:?}");
            }
        },
        Err(error) => tracing::error!("notification: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(number: usize) -> Invocation {
        Invocation {
            purpose: Purpose::Notify,
            program: "/bin/true".into(),
            arguments: vec![number.to_string()],
            environment: Vec::new(),
            limit: NOTIFICATION_WITHIN,
        }
    }

    #[tokio::test]
    async fn the_last_states_are_told_in_order_when_too_many_wait() {
        let line = Arc::<Line>::default();
        for number in 0..MAX_WAITING {
            assert!(line.put(invocation(number)).is_none());
        }
        let lost: Vec<String> = (0..3)
            .filter_map(|more| line.put(invocation(MAX_WAITING + more)))
            .flat_map(|of| of.arguments)
            .collect();
        assert_eq!(lost, ["0", "1", "2"]);
        drop(Entrance(Arc::clone(&line)));
        for number in 3..MAX_WAITING + 3 {
            assert_eq!(line.next().await.map(|of| of.arguments), Some(vec![number.to_string()]));
        }
        assert!(line.next().await.is_none());
    }

    #[tokio::test]
    async fn an_instance_that_was_removed_is_told_of_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let told = directory.path().join("told");
        let command =
            config::Command { program: "/usr/bin/touch".into(), arguments: vec![told.display().to_string()] };
        let mut instance = config::VrrpInstance::new("VI".into(), "eth0".into(), std::num::NonZeroU8::MIN);
        instance.notify.stop = Some(command);
        let with = config::Vrrp { instances: vec![instance], ..config::Vrrp::default() };
        let without = config::Vrrp::default();
        let now = crate::proxy::now();
        let mut notifier = Notifier::default();
        notifier.take_up(&with, now);
        notifier.take_up(&without, now);
        notifier.take_up(&without, now + LEFT_FOR / 2);
        notifier.tell_of_instance("VI", Role::Initialize, 100);
        notifier.take_up(&without, now + LEFT_FOR);
        assert!(notifier.leaving.is_empty(), "not for ever");
        notifier.take_up(&with, now);
        notifier.tell_of_instance("VI", Role::Master, 100);
        notifier.finish().await;
        let heard = async {
            while !told.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), heard).await.expect("notify_stop has run");
    }
}
