//! Signatures and chains are worked off here, so that the sessions of a thread do not wait for the login of another.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::tls::{self, Workers};

/// Most threads; one for each processor up to that. More would only make sessions wait.
const MAX_THREADS: usize = 4;

/// How long a start waits for the threads to be warm: many times what it takes, and no door stays shut for it.
const WARM_WITHIN: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce() + Send>;

/// A few threads and their queue. A session has one job in it at most.
#[derive(Debug)]
pub(in crate::proxy) struct CryptoPool {
    jobs: Sender<Job>,
}

impl CryptoPool {
    /// Begins with the threads, which have used the library once when this returns.
    pub(super) fn start() -> Self {
        Self::start_with(tls::warm_up)
    }

    fn start_with(warm_up: impl Fn() + Clone + Send + 'static) -> Self {
        let (is_warm, warm) = channel::<()>();
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let count = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        for number in 0..count {
            let (queue, warm_up, is_warm) = (Arc::clone(&queue), warm_up.clone(), is_warm.clone());
            let begun = thread::Builder::new().name(format!("crypto-{number}")).spawn(move || {
                // A panic is told by the first handshake.
                let _ = catch_unwind(AssertUnwindSafe(warm_up));
                drop(is_warm);
                work(&queue);
            });
            if let Err(error) = begun {
                tracing::error!(%error, "a crypto thread cannot be started; raise the limit of threads (TasksMax)");
            }
        }
        drop(is_warm);
        // It ends when the last thread has dropped its end.
        let _ = warm.recv_timeout(WARM_WITHIN);
        Self { jobs }
    }

    /// The result, as soon as a thread was free; `None` if the job has panicked, or no thread is there.
    pub(in crate::proxy) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (result, done) = oneshot::channel();
        let job = move || {
            // A session that is gone needs no result, nor the work for it.
            if !result.is_closed() {
                let _ = result.send(job());
            }
        };
        self.jobs.send(Box::new(job)).ok()?;
        done.await.ok()
    }
}

impl Workers for CryptoPool {
    async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        self.run(job).await
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // The session sees that there is no result, and ends.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    #[test]
    fn a_pool_that_was_started_has_threads_that_are_warm() {
        let warm = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&warm);
        let _pool = CryptoPool::start_with(move || {
            tls::warm_up();
            assert!(seen.fetch_add(1, SeqCst) > 0, "one of them has a bug");
        });
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        assert_eq!(warm.load(SeqCst), threads);
    }

    #[tokio::test]
    async fn a_job_that_panics_gives_nothing_and_the_next_is_done() {
        let pool = CryptoPool::start();
        for number in 0..8 {
            assert_eq!(pool.run(|| -> u8 { panic!("a bug") }).await, None);
            assert_eq!(pool.run(move || number).await, Some(number));
        }
    }
}
