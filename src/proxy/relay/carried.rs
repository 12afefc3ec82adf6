//! Connections of a session that the kernel carries: asked for, and held.
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use crate::balance::{Expectation, KernelPath, NoPassage, Passage};
use crate::proto::ftp::{RelayAnswer, RelayId, Unexpected};

/// What one session has. Dropped, nobody is expected any more.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// There is but one set-up of a session at a time.
    passage: Option<(RelayId, Passage)>,
    /// What has come of the one that is asked for.
    asked: Option<(RelayId, AnswerSlot)>,
    /// Where clients connect to.
    at: Option<std::net::SocketAddr>,
}

/// Filled once.
type AnswerSlot = Arc<Mutex<Option<Result<Passage, NoPassage>>>>;

/// How the session's task hears that there is an answer.
pub(super) struct Call {
    pub(super) news: Arc<AtomicBool>,
    pub(super) waker: Waker,
}

impl Carried {
    /// Asks for one in place of what is there; `expected` is missing where there is no path.
    pub(super) fn expect(
        &mut self,
        id: RelayId,
        expected: Option<(Arc<dyn KernelPath>, Expectation)>,
        call: Call,
    ) {
        self.passage = None;
        let answer = Arc::new(Mutex::new(None));
        self.asked = Some((id, Arc::clone(&answer)));
        self.at = expected.as_ref().map(|(_, expectation)| expectation.at);
        let tell = move |result| {
            *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            call.news.store(true, Relaxed);
            call.waker.wake();
        };
        match expected {
            Some((path, expectation)) => path.expect(expectation, Box::new(tell)),
            None => tell(Err(NoPassage::Closed)),
        }
    }

    /// What has come of it, once.
    pub(super) fn take_answer(&mut self) -> Option<(RelayId, RelayAnswer)> {
        let (id, answer) = self.asked.as_ref()?;
        let (id, answer) = (*id, answer.lock().unwrap_or_else(PoisonError::into_inner).take()?);
        self.asked = None;
        let answer = match (answer, self.at) {
            (Ok(passage), Some(at)) => {
                self.passage = Some((id, passage));
                RelayAnswer::Expected(at)
            }
            (Err(NoPassage::PortTaken), _) => RelayAnswer::NotExpected(Unexpected::PortTaken),
            (Err(NoPassage::Closed) | Ok(_), _) => RelayAnswer::NotExpected(Unexpected::Closed),
        };
        Some((id, answer))
    }

    /// Nobody more is to come.
    pub(super) fn close(&mut self, id: RelayId) {
        self.passage.take_if(|(of, _)| *of == id);
        self.asked.take_if(|(of, _)| *of == id);
    }
}
