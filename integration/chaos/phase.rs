//! Whether something is wrong now.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// Even: faults. Odd: calm, the same calm as long as it is the same number.
#[derive(Debug, Default)]
pub(super) struct Phase {
    number: AtomicU64,
    over: AtomicBool,
}

/// A calm, to ask later whether it still is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calm(Option<u64>);

impl Phase {
    pub(super) fn set_calm(&self, calm: bool) {
        if (self.number.load(SeqCst) % 2 == 1) != calm {
            self.number.fetch_add(1, SeqCst);
        }
    }

    /// What is under way has an excuse: the calm that comes is another one.
    pub(super) fn disturb(&self) {
        self.number.fetch_add(2, SeqCst);
    }

    pub(super) fn calm(&self) -> Calm {
        let number = self.number.load(SeqCst);
        Calm((number % 2 == 1).then_some(number))
    }

    /// Whether there was no fault since then.
    pub(super) fn calm_since(&self, then: Calm) -> bool {
        then.0 == Some(self.number.load(SeqCst))
    }

    /// No client is to begin anything more.
    pub(super) fn finish(&self) {
        self.over.store(true, SeqCst);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }
}
