//! RSA keys for delegated credentials, made ahead of time: each costs a processor some 80 ms.
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use tokio::sync::{Mutex, mpsc};

use crate::proto::gsi::{PrivateKey, RsaBits};
use crate::sys;

/// Keys that lie ready: a burst of so many logins waits for none. They are made again at leisure, a dozen a second.
const READY_KEYS: usize = 64;
/// Threads that make keys; they run when nobody else wants the processor.
const MAX_THREADS: usize = 2;

/// See the module's text. A key leaves it once.
#[derive(Debug)]
pub(crate) struct KeyPool {
    ready: Mutex<mpsc::Receiver<PrivateKey>>,
    /// Keys that were given out.
    pub(crate) taken: AtomicU64,
    /// Times that there was none, and a login had to wait.
    pub(crate) waits: AtomicU64,
    depth: mpsc::WeakSender<PrivateKey>,
}

impl KeyPool {
    pub(super) fn start() -> Self {
        let (made, ready) = mpsc::channel(READY_KEYS);
        let depth = made.downgrade();
        let count = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        for number in 0..count {
            let made = made.clone();
            let begun = thread::Builder::new().name(format!("keys-{number}")).spawn(move || fill(&made));
            if let Err(error) = begun {
                tracing::error!(%error, "a key thread cannot be started; raise the limit of threads (TasksMax)");
            }
        }
        Self { ready: Mutex::new(ready), taken: AtomicU64::new(0), waits: AtomicU64::new(0), depth }
    }

    /// A key that nobody else has. Those who wait are served in the order in which they came; how long they wait is for them to bound.
    /// `None` where no key can be made.
    pub(in crate::proxy) async fn take(&self) -> Option<PrivateKey> {
        let mut ready = self.ready.lock().await;
        let key = match ready.try_recv() {
            Ok(key) => Some(key),
            Err(_) => {
                self.waits.fetch_add(1, Relaxed);
                ready.recv().await
            }
        };
        self.taken.fetch_add(1, Relaxed);
        key
    }

    /// Keys that lie ready now.
    pub(crate) fn ready(&self) -> usize {
        self.depth.upgrade().map_or(0, |made| made.max_capacity() - made.capacity())
    }
}

/// Until nobody wants keys any more.
fn fill(made: &mpsc::Sender<PrivateKey>) {
    sys::thread::yield_to_all_others();
    loop {
        match PrivateKey::generate(RsaBits::default()) {
            Ok(key) => {
                if made.blocking_send(key).is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::error!(%error, "no key can be made for delegated credentials; no GSI login will work");
                return;
            }
        }
    }
}
