//! What clients were told and what is true, by client.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One client's account.
#[derive(Clone, Debug, Default)]
struct Account {
    tried: u64,
    acknowledged: u64,
    identical: u64,
    failed: u64,
    /// Begun and ended while nothing was wrong.
    calm: u64,
    longest: Duration,
}

/// How one attempt ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// Told that all is well, and the file is the same.
    Identical,
    /// Told that all is well, and it is not: what is wrong.
    Different(String),
    /// Told that it failed.
    Failed(String),
    /// Told nothing in time.
    Hung(String),
}

/// All accounts, and everything that must not be.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    accounts: BTreeMap<String, Account>,
    wrongs: Vec<String>,
}

impl Ledger {
    /// `calm`: nothing was wrong from begin to end, so that there is no excuse.
    pub(super) fn enter(&self, client: &str, outcome: Outcome, calm: bool, took: Duration) {
        let mut inner = self.lock();
        let account = inner.accounts.entry(client.to_owned()).or_default();
        account.tried += 1;
        account.calm += u64::from(calm);
        account.longest = account.longest.max(took);
        let wrong = match outcome {
            Outcome::Identical => {
                account.acknowledged += 1;
                account.identical += 1;
                None
            }
            Outcome::Different(why) => {
                account.acknowledged += 1;
                Some(format!("ACKNOWLEDGED AND DIFFERENT: {why}"))
            }
            Outcome::Failed(why) => {
                account.failed += 1;
                calm.then(|| format!("failed while nothing was wrong: {why}"))
            }
            Outcome::Hung(why) => {
                account.failed += 1;
                Some(format!("hung: {why}"))
            }
        };
        if let Some(wrong) = wrong {
            inner.wrongs.push(format!("{client}, {:.1} s: {wrong}", took.as_secs_f32()));
        }
    }

    /// What must not be, and is no transfer's.
    pub(super) fn wrong(&self, what: String) {
        self.lock().wrongs.push(what);
    }

    pub(super) fn wrongs(&self) -> Vec<String> {
        self.lock().wrongs.clone()
    }

    /// Files that are whole, of all clients, and how many attempts nothing disturbed.
    pub(super) fn totals(&self) -> (u64, u64) {
        let inner = self.lock();
        let sum = |of: fn(&Account) -> u64| inner.accounts.values().map(of).sum();
        (sum(|account| account.identical), sum(|account| account.calm))
    }

    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "{:<34} {:>7} {:>12} {:>9} {:>7} {:>9} {:>10}\n",
            "client", "tried", "acknowledged", "identical", "failed", "in calm", "longest, s"
        );
        for (client, account) in &self.lock().accounts {
            let Account { tried, acknowledged, identical, failed, calm, longest } = account;
            writeln!(
                text,
                "{client:<34} {tried:>7} {acknowledged:>12} {identical:>9} {failed:>7} {calm:>9} {:>10.1}",
                longest.as_secs_f32()
            )
            .expect("a string takes lines");
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[test]
fn only_what_has_an_excuse_is_forgiven() {
    let why = || "reason".to_owned();
    #[rustfmt::skip]
    let table = [
        (Outcome::Identical,         false, 0),
        (Outcome::Identical,         true,  0),
        (Outcome::Failed(why()),     false, 0),
        (Outcome::Failed(why()),     true,  1),
        (Outcome::Different(why()),  false, 1),
        (Outcome::Different(why()),  true,  1),
        (Outcome::Hung(why()),       false, 1),
    ];
    for (outcome, calm, wrongs) in table {
        let ledger = Ledger::default();
        ledger.enter("client", outcome.clone(), calm, Duration::ZERO);
        assert_eq!(ledger.wrongs().len(), wrongs, "{outcome:?}, calm: {calm}");
    }
}
