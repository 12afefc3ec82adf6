//! Signatures and chains are worked off here, so that the sessions of a thread do not wait for the login of another.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use crate::tls::Workers;

/// Most threads; one for each processor up to that. More would only make sessions wait.
const MAX_THREADS: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// A few threads and their queue. A session has one job in it at most.
#[derive(Debug)]
pub(in crate::proxy) struct CryptoPool {
    jobs: Sender<Job>,
}

impl CryptoPool {
    pub(super) fn start() -> Self {
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let count = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        for number in 0..count {
            let queue = Arc::clone(&queue);
            let begun = thread::Builder::new().name(format!("crypto-{number}")).spawn(move || work(&queue));
            if let Err(error) = begun {
                tracing::error!(%error, "a crypto thread cannot be started; raise the limit of threads (TasksMax)");
            }
        }
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
    use super::*;

    #[tokio::test]
    async fn a_job_that_panics_gives_nothing_and_the_next_is_done() {
        let pool = CryptoPool::start();
        for number in 0..8 {
            assert_eq!(pool.run(|| -> u8 { panic!("a bug") }).await, None);
            assert_eq!(pool.run(move || number).await, Some(number));
        }
    }
}
