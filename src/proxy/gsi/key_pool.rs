//! RSA keys for delegated credentials, made ahead of time: each costs a processor some 80 ms.
//!
//! Those who make them at leisure get nothing where sessions keep all processors busy. So there is one that makes a key for whoever
//! waits for one, and has its share of a processor for it. A thread that cannot make a key (no memory left, no randomness) tries again
//! after a while, and so do its logins, as long as they wait at all.
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};

use crate::proto::gsi::{KeyError, PrivateKey};
use crate::sys;

/// Threads that make keys at leisure; they run when nobody else wants the processor.
const MAX_THREADS: usize = 2;

/// How long a thread waits that could not make a key; twice as long each time, so that a host without memory has its rest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// And no longer than that: logins come in again soon after there is memory.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

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
        Self::start_with(ready_keys, PrivateKey::generate)
    }

    fn start_with(
        ready_keys: usize,
        generate: impl Fn() -> Result<PrivateKey, KeyError> + Clone + Send + 'static,
    ) -> Self {
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
        let maker = Maker { made, generate, in_trouble: Arc::default(), pause: FIRST_PAUSE };
        for number in 0..count {
            let maker = maker.clone();
            spawn(format!("keys-{number}"), Box::new(move || fill(maker)));
        }
        let waiting = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&waiting);
        let in_haste = spawn("keys-in-haste".into(), Box::new(move || make_in_haste(maker, &seen)));
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
    /// `None` where there is no thread that makes keys.
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

/// What a thread makes keys with.
#[derive(Clone)]
struct Maker<G> {
    made: mpsc::Sender<PrivateKey>,
    generate: G,
    /// The last key of any thread could not be made. One for all, so that it is told once.
    in_trouble: Arc<AtomicBool>,
    /// After the next failure.
    pause: Duration,
}

impl<G: Fn() -> Result<PrivateKey, KeyError>> Maker<G> {
    /// Makes a key, or waits if that has failed. Whether to go on: not when nobody wants keys any more.
    fn make(&mut self) -> bool {
        match (self.generate)() {
            Ok(key) => {
                self.pause = FIRST_PAUSE;
                if self.in_trouble.swap(false, Relaxed) {
                    tracing::info!("keys for delegated credentials are made again");
                }
                self.made.blocking_send(key).is_ok()
            }
            Err(error) => {
                if !self.in_trouble.swap(true, Relaxed) {
                    tracing::error!(
                        %error,
                        "no key can be made for delegated credentials; GSI logins wait until one can: see the memory of the host"
                    );
                }
                thread::park_timeout(self.pause);
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                !self.made.is_closed()
            }
        }
    }
}

/// At leisure.
fn fill(mut maker: Maker<impl Fn() -> Result<PrivateKey, KeyError>>) {
    sys::thread::yield_to_all_others();
    while maker.make() {}
}

/// As long as somebody waits. Whoever comes to wait unparks the thread after having been counted.
fn make_in_haste(mut maker: Maker<impl Fn() -> Result<PrivateKey, KeyError>>, waiting: &AtomicUsize) {
    loop {
        if maker.made.is_closed() {
            return;
        } else if waiting.load(SeqCst) == 0 {
            thread::park();
        } else if !maker.make() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_cannot_make_keys_waits_longer_each_time_and_goes_on() {
        let (made, mut ready) = mpsc::channel(1);
        let failures = AtomicUsize::new(2);
        let generate = || match failures.fetch_sub(1, SeqCst) {
            0 => PrivateKey::generate(),
            _ => Err(KeyError::NotMade),
        };
        let mut maker = Maker { made, generate, in_trouble: Arc::default(), pause: FIRST_PAUSE };
        // Whoever comes to wait lets it try at once.
        thread::current().unpark();
        assert!(maker.make() && maker.in_trouble.load(Relaxed));
        assert_eq!(maker.pause, FIRST_PAUSE * 2);
        thread::current().unpark();
        assert!(maker.make());
        assert_eq!(maker.pause, FIRST_PAUSE * 4);
        assert!(maker.make() && !maker.in_trouble.load(Relaxed), "it works again");
        assert_eq!(maker.pause, FIRST_PAUSE);
        assert!(ready.try_recv().is_ok());
        failures.store(99, SeqCst);
        maker.pause = LONGEST_PAUSE;
        ready.close();
        thread::current().unpark();
        assert!(!maker.make(), "nobody wants keys any more");
        assert_eq!(maker.pause, LONGEST_PAUSE);
    }

    #[tokio::test]
    async fn logins_that_wait_while_no_key_can_be_made_get_theirs_when_one_can() {
        let failures = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&failures);
        let pool = KeyPool::start_with(1, move || match seen.fetch_add(1, SeqCst) {
            0..4 => Err(KeyError::NotMade),
            _ => PrivateKey::generate(),
        });
        let (a, b) = tokio::join!(pool.take(), pool.take());
        assert!(a.is_some() && b.is_some());
        assert!(failures.load(SeqCst) > 4);
    }

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
