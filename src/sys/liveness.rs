//! Whether the parts of the daemon still turn: each is asked, and answers when it has its turn.
use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{Notify, watch};

/// Whoever asks. Nobody is woken until it does.
#[derive(Debug)]
pub struct Liveness {
    round: watch::Sender<u64>,
    parts: Mutex<Vec<Weak<Part>>>,
    answered: Arc<Notify>,
}

/// The side of the part that is asked; dropped, it is asked no more.
#[derive(Debug)]
pub struct Pulse {
    part: Arc<Part>,
    round: watch::Receiver<u64>,
    answered: Arc<Notify>,
}

#[derive(Debug)]
struct Part {
    name: String,
    /// The last round that it has answered.
    answered: AtomicU64,
}

impl Default for Liveness {
    fn default() -> Self {
        Self { round: watch::Sender::new(0), parts: Mutex::default(), answered: Arc::default() }
    }
}

impl Liveness {
    /// One part more, to be asked from the next round on.
    #[must_use]
    pub fn pulse(&self, name: String) -> Pulse {
        let part = Arc::new(Part { name, answered: AtomicU64::new(*self.round.borrow()) });
        let mut parts = self.lock();
        parts.retain(|part| part.strong_count() > 0);
        parts.push(Arc::downgrade(&part));
        Pulse { part, round: self.round.subscribe(), answered: Arc::clone(&self.answered) }
    }

    /// Asks every part.
    pub fn ask(&self) {
        self.round.send_modify(|round| *round += 1);
    }

    /// Returns when every part has answered what was asked last. Parts that have ended are no longer waited for: that is
    /// for whoever has started them to notice.
    pub async fn until_answered(&self) {
        loop {
            // From before the look on: whoever asks beside us may be woken by the same answer.
            let mut answered = pin!(self.answered.notified());
            answered.as_mut().enable();
            if self.silent().is_empty() {
                return;
            }
            answered.await;
        }
    }

    /// Which parts have not answered.
    #[must_use]
    pub fn silent(&self) -> Vec<String> {
        let round = *self.round.borrow();
        let parts = self.lock();
        let parts = parts.iter().filter_map(Weak::upgrade);
        parts.filter(|part| part.answered.load(SeqCst) < round).map(|part| part.name.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Part>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pulse {
    /// Answers, for ever. It may be dropped at any moment and begun anew.
    pub async fn answer(&mut self) -> Infallible {
        loop {
            if self.round.changed().await.is_err() {
                // Nobody will ask any more.
                std::future::pending::<()>().await;
            }
            self.part.answered.store(*self.round.borrow_and_update(), SeqCst);
            self.answered.notify_waiters();
        }
    }

    /// Answers, for ever, each time for a part that is asked in turn and is no task: once that has had its turn.
    pub async fn answer_for<F: Future<Output = ()>>(mut self, turn: impl Fn() -> F) -> Infallible {
        loop {
            if self.round.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            let round = *self.round.borrow_and_update();
            turn().await;
            self.part.answered.store(round, SeqCst);
            self.answered.notify_waiters();
        }
    }

    /// Does the work, and answers from inside the same task.
    pub async fn beside<F: Future>(mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        tokio::select! {
            output = &mut work => output,
            never = self.answer() => match never {},
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        // It may have been the last that was waited for.
        self.part.answered.store(u64::MAX, SeqCst);
        self.answered.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_is_named_until_it_does() {
        let liveness = Liveness::default();
        let (runs, stands) = (liveness.pulse("runs".into()), liveness.pulse("stands".into()));
        let runs = tokio::spawn(runs.beside(std::future::pending::<()>()));
        timeout(Duration::from_secs(1), liveness.until_answered()).await.expect("nothing was asked");
        liveness.ask();
        let waited = timeout(Duration::from_secs(1), liveness.until_answered()).await;
        assert!(waited.is_err());
        assert_eq!(liveness.silent(), ["stands"]);
        let stands = tokio::spawn(stands.beside(std::future::pending::<()>()));
        timeout(Duration::from_secs(1), liveness.until_answered()).await.expect("it turns again");
        // One that has ended is not waited for.
        stands.abort();
        let _ = stands.await;
        liveness.ask();
        timeout(Duration::from_secs(1), liveness.until_answered()).await.expect("the other answers");
        runs.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn two_that_ask_at_once_both_hear_of_every_answer() {
        let liveness = Liveness::default();
        let parts = ["a", "b", "c"]
            .map(|name| tokio::spawn(liveness.pulse(name.into()).beside(std::future::pending::<()>())));
        for _ in 0..10 {
            liveness.ask();
            let both = async { tokio::join!(liveness.until_answered(), liveness.until_answered()) };
            timeout(Duration::from_secs(1), both).await.expect("each returns");
        }
        parts.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_beside_and_its_end_is_the_end() {
        let liveness = Liveness::default();
        let work = tokio::spawn(liveness.pulse("work".into()).beside(async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            42
        }));
        liveness.ask();
        liveness.until_answered().await;
        assert_eq!(work.await.unwrap(), 42);
        liveness.ask();
        liveness.until_answered().await;
    }
}
