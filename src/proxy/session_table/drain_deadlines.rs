//! When the sessions of drained servers are to be ended: one entry a server, for whoever keeps time.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::time::sleep_until;

use crate::balance::RealServer;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct DrainDeadlines {
    /// As many as there are servers at most; those that are gone go with the next change.
    waiting: Mutex<Vec<(Weak<RealServer>, Instant)>>,
    changed: Notify,
}

impl DrainDeadlines {
    /// In the place of the one that the server has; `None` if there is to be none.
    pub(super) fn set(&self, server: &Arc<RealServer>, deadline: Option<Instant>) {
        let mut waiting = self.lock();
        waiting.retain(|(other, _)| {
            other.strong_count() > 0 && !std::ptr::eq(other.as_ptr(), Arc::as_ptr(server))
        });
        waiting.extend(deadline.map(|deadline| (Arc::downgrade(server), deadline)));
        drop(waiting);
        self.changed.notify_one();
    }

    /// Waits for the next of them, for ever if there is none.
    pub(super) async fn next(&self) {
        loop {
            let next = self.lock().iter().map(|(_, deadline)| *deadline).min();
            let due = async {
                match next {
                    Some(deadline) => sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => return,
                () = self.changed.notified() => {}
            }
        }
    }

    /// Takes out those whose time has come.
    pub(super) fn take_due(&self, now: Instant) -> Vec<Arc<RealServer>> {
        let mut due = Vec::new();
        self.lock().retain(|(server, deadline)| {
            let is_due = *deadline <= now;
            if is_due {
                due.extend(server.upgrade());
            }
            !is_due
        });
        due
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Weak<RealServer>, Instant)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
