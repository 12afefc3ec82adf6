//! RSA keys for delegated credentials, made ahead of time: each costs a processor some 80 ms.
//!
//! Those who make them at leisure get nothing where sessions keep all processors busy. So there is one that makes a key for whoever
//! waits for one, and has its share of a processor for it.
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::thread::{self, Thread};

use tokio::sync::{Mutex, mpsc};

use crate::proto::gsi::PrivateKey;
use crate::sys;

/// Threads that make keys at leisure; they run when nobody else wants the processor.
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
    wanted: usize,
    /// Logins that wait now.
    waiting: Arc<AtomicUsize>,
    /// Makes keys for them.
    in_haste: Option<Thread>,
}

/// A login that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl KeyPool {
    /// `ready_keys` lie ready: a burst of so many logins waits for none. They are made again at leisure, a dozen a second.
    pub(super) fn start(ready_keys: usize) -> Self {
        let (made, ready) = mpsc::channel(ready_keys);
        let depth = made.downgrade();
        let spawn = |name: String, work: Box<dyn FnOnce() + Send>| match thread::Builder::new()
            .name(name)
            .spawn(work)
        {
            Ok(begun) => Some(begun.thread().clone()),
            Err(error) => {
                tracing::error!(%error, "a key thread cannot be started; raise the limit of threads (TasksMax)");
                None
            }
        };
        let count = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        for number in 0..count {
            let made = made.clone();
            spawn(format!("keys-{number}"), Box::new(move || fill(&made)));
        }
        let waiting = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&waiting);
        let in_haste = spawn("keys-in-haste".into(), Box::new(move || make_in_haste(&made, &seen)));
        Self {
            ready: Mutex::new(ready),
            taken: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            depth,
            wanted: ready_keys,
            waiting,
            in_haste,
        }
    }

    /// A key that nobody else has. Those who wait are served in the order in which they came; how long they wait is for them to bound.
    /// `None` where no key can be made.
    pub(in crate::proxy) async fn take(&self) -> Option<PrivateKey> {
        let at_once = self.ready.try_lock().ok().and_then(|mut ready| ready.try_recv().ok());
        let key = match at_once {
            Some(key) => Some(key),
            None => {
                self.waits.fetch_add(1, Relaxed);
                let _waiting = Waiting::new(&self.waiting);
                if let Some(thread) = &self.in_haste {
                    thread.unpark();
                }
                self.ready.lock().await.recv().await
            }
        };
        self.taken.fetch_add(u64::from(key.is_some()), Relaxed);
        key
    }

    /// Keys that lie ready now.
    pub(crate) fn ready(&self) -> usize {
        self.depth.upgrade().map_or(0, |made| made.max_capacity() - made.capacity())
    }

    /// Keys that lie ready when nobody has taken any for a while.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted
    }
}

impl Drop for KeyPool {
    fn drop(&mut self) {
        self.ready.get_mut().close();
        if let Some(thread) = &self.in_haste {
            thread.unpark();
        }
    }
}

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// At leisure.
fn fill(made: &mpsc::Sender<PrivateKey>) {
    sys::thread::yield_to_all_others();
    while make(made) {}
}

/// As long as somebody waits. Whoever comes to wait unparks the thread after having been counted.
fn make_in_haste(made: &mpsc::Sender<PrivateKey>, waiting: &AtomicUsize) {
    loop {
        if made.is_closed() {
            return;
        } else if waiting.load(SeqCst) == 0 {
            thread::park();
        } else if !make(made) {
            return;
        }
    }
}

/// Whether to go on: not when nobody wants keys any more.
fn make(made: &mpsc::Sender<PrivateKey>) -> bool {
    match PrivateKey::generate() {
        Ok(key) => made.blocking_send(key).is_ok(),
        Err(error) => {
            tracing::error!(%error, "no key can be made for delegated credentials; no GSI login will work");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Each is another one, more come than lie ready, and those that give up leave nothing behind.
    #[tokio::test]
    async fn whoever_waits_gets_a_key_of_its_own() {
        let pool = KeyPool::start(1);
        for _ in 0..4 {
            // It is polled once.
            let _ = tokio::time::timeout(Duration::ZERO, pool.take()).await;
        }
        let before = pool.taken.load(Relaxed);
        let mut seen = Vec::new();
        let (a, b, c) = tokio::join!(pool.take(), pool.take(), pool.take());
        for key in [a, b, c] {
            let public = key.unwrap().spki().to_vec();
            assert!(!seen.contains(&public));
            seen.push(public);
        }
        assert_eq!((pool.taken.load(Relaxed), pool.waiting.load(SeqCst)), (before + 3, 0));
        assert!(pool.waits.load(Relaxed) >= 2 && pool.wanted() == 1 && pool.ready() <= 1);
    }
}
