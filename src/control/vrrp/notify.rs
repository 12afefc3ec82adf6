//! Programs of the site that are told of states: keepalived's `notify_master` and its kin, with its arguments.
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::vrrp as config;
use crate::proto::vrrp::Role;
use crate::script::{self, End, Invocation, Purpose};

/// How long one may run. The next of the same instance waits for it, so that the last state is told last.
const NOTIFICATION_WITHIN: Duration = Duration::from_secs(60);

/// How long the daemon's end waits for them.
pub(in crate::control) const LAST_NOTIFICATIONS: Duration = Duration::from_secs(5);

/// Notifications of one instance that wait. One that has fallen so far behind tells of a past that interests nobody.
const MAX_WAITING: usize = 64;

/// Who is told of what.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    queues: BTreeMap<Subject, Queue>,
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
    sender: mpsc::Sender<Invocation>,
    worker: JoinHandle<()>,
}

impl Notifier {
    /// From now on as this configuration has it. Those that wait are told still.
    pub(super) fn take_up(&mut self, vrrp: &config::Vrrp) {
        let instances = vrrp.instances.iter().map(|of| (Subject::Instance(of.name.clone()), &of.notify));
        let groups = vrrp.sync_groups.iter().map(|of| (Subject::Group(of.name.clone()), &of.notify));
        let mut before = std::mem::take(&mut self.queues);
        for (subject, notify) in instances.chain(groups) {
            if notify.commands().next().is_none() {
                continue;
            }
            let queue = match before.remove(&subject) {
                Some(queue) => Queue { notify: notify.clone(), ..queue },
                None => Queue::start(notify.clone()),
            };
            self.queues.insert(subject, queue);
        }
    }

    pub(super) fn tell_of_instance(&self, name: &str, to: Role, priority: u8) {
        self.tell(&Subject::Instance(name.into()), to, priority);
    }

    pub(super) fn tell_of_group(&self, name: &str, to: Role) {
        // What keepalived says of groups.
        self.tell(&Subject::Group(name.into()), to, 0);
    }

    fn tell(&self, subject: &Subject, to: Role, priority: u8) {
        let Some(queue) = self.queues.get(subject) else { return };
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
            if queue.sender.try_send(invocation).is_err() {
                let program = command.program.display();
                tracing::error!(name, "{program}: not run: too many wait; see why it does not end");
            }
        }
    }

    /// Waits for those that are to be told still.
    pub(super) async fn finish(self) {
        let all = async {
            for Queue { sender, worker, .. } in self.queues.into_values() {
                drop(sender);
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
        let (sender, mut waiting) = mpsc::channel::<Invocation>(MAX_WAITING);
        let worker = tokio::spawn(async move {
            while let Some(invocation) = waiting.recv().await {
                run(invocation).await;
            }
        });
        Self { notify, sender, worker }
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
