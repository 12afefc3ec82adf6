//! The schedulers, in the words of ipvsadm(8) `-s`: who is next among the servers that are fit.
//!
//! To add one: a variant of [`LbAlgo`] with its word, a state below with a `choose`, and rows in `tests.rs`.

mod source_hash;

use std::cmp::{Ordering, Reverse};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use self::source_hash::SourceHash;
use super::slow_start::{Candidate, HOT, Pacing, WARM, Warmth};
use crate::proto::ftp::UnknownWord;

/// How sessions are spread over the real servers (`lb_algo`, as in keepalived.conf(5)).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum LbAlgo {
    /// Least sessions held per weight.
    #[default]
    Wlc,
    /// Least sessions held, whatever the weights.
    Lc,
    /// In turn, as often as the weights say, interleaved.
    Wrr,
    /// In turn.
    Rr,
    /// By the client's address, as often as the weights say.
    Sh,
}

impl FromStr for LbAlgo {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "wlc" => Ok(Self::Wlc),
            "lc" => Ok(Self::Lc),
            "wrr" => Ok(Self::Wrr),
            "rr" => Ok(Self::Rr),
            "sh" => Ok(Self::Sh),
            _ => Err(UnknownWord { word: word.into(), choices: "wlc, lc, wrr, rr, sh" }),
        }
    }
}

impl fmt::Display for LbAlgo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wlc => "wlc",
            Self::Lc => "lc",
            Self::Wrr => "wrr",
            Self::Rr => "rr",
            Self::Sh => "sh",
        })
    }
}

/// What is known of a server that is fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Never 0: such a server is not fit.
    pub(super) weight: u32,
    /// Sessions held now.
    pub(super) active: u32,
}

/// The memory of one virtual server's scheduler. Servers are known by their index.
#[derive(Debug)]
pub(super) struct Scheduler {
    state: State,
    pacing: Pacing,
    /// What is known of each server now; kept for its memory.
    candidates: Vec<Option<Candidate>>,
    /// A server that is through its slow start, until somebody asks.
    warmed: Option<usize>,
}

#[derive(Debug)]
enum State {
    LeastConnection(LeastConnection),
    WeightedRoundRobin(WeightedRoundRobin),
    RoundRobin(RoundRobin),
    SourceHash(SourceHash),
}

impl Scheduler {
    /// For the servers at these addresses, in the order of their indexes.
    pub(super) fn new(algo: LbAlgo, addresses: &[SocketAddr]) -> Self {
        let servers = addresses.len();
        let state = match algo {
            LbAlgo::Wlc => State::LeastConnection(LeastConnection::new(true, servers)),
            LbAlgo::Lc => State::LeastConnection(LeastConnection::new(false, servers)),
            LbAlgo::Wrr => State::WeightedRoundRobin(WeightedRoundRobin::new(servers)),
            LbAlgo::Rr => State::RoundRobin(RoundRobin { servers, next: 0 }),
            LbAlgo::Sh => State::SourceHash(SourceHash::new(addresses)),
        };
        Self { state, pacing: Pacing::new(servers), candidates: vec![None; servers], warmed: None }
    }

    /// The next server for this client; `load` says what is known of a server, `None` when it is not fit, and
    /// is asked once for each: counts move while we look. `warmth` says how far a server that is fit has come in its slow
    /// start. With `Try::Next` it is another server for the same session, which was counted before.
    pub(super) fn choose(
        &mut self,
        client: IpAddr,
        nth: Try,
        load: impl Fn(usize) -> Option<Load>,
        warmth: impl Fn(usize) -> Option<Warmth>,
    ) -> Option<usize> {
        let mut some_are_cold = false;
        for (index, candidate) in self.candidates.iter_mut().enumerate() {
            *candidate = load(index).map(|load| Candidate { load, warmth: warmth(index) });
            some_are_cold |= candidate.is_some_and(|known| known.warmth.is_some());
        }
        if some_are_cold {
            self.slow_down(nth);
        }
        let candidates = self.candidates.iter().enumerate();
        let fit = candidates.filter_map(|(index, known)| Some((index, (*known)?.load)));
        let chosen = match &mut self.state {
            State::LeastConnection(state) => state.choose(fit),
            State::WeightedRoundRobin(state) => state.choose(fit),
            State::RoundRobin(state) => state.choose(fit),
            State::SourceHash(state) => state.choose(client, fit),
        };
        if let Some(index) = chosen
            && self.candidates[index].is_some_and(|known| known.warmth.is_some())
        {
            self.pacing.pay(index);
        }
        chosen
    }

    /// A server whose slow start is over, each once.
    pub(super) fn take_warmed(&mut self) -> Option<usize> {
        self.warmed.take()
    }

    /// Servers in slow start get less than their weight. Where sessions are counted, or weights not looked at, they are
    /// held back until it is their turn; elsewhere they take part with a smaller weight.
    fn slow_down(&mut self, nth: Try) {
        self.warmed = (0..self.candidates.len()).find(|&index| self.is_through(index));
        if let Some(warmed) = self.warmed.and_then(|index| self.candidates[index].as_mut()) {
            warmed.warmth = None;
        }
        let weighs: fn(Load) -> u32 = match &self.state {
            State::LeastConnection(state) if state.weighted => |load| load.weight,
            State::LeastConnection(_) | State::RoundRobin(_) => |_| 1,
            State::WeightedRoundRobin(_) | State::SourceHash(_) => {
                for Candidate { load, warmth } in self.candidates.iter_mut().flatten() {
                    load.weight = load.weight.saturating_mul(warmth.map_or(WARM, |warmth| warmth.min(WARM)));
                }
                return;
            }
        };
        if nth == Try::First {
            self.pacing.earn(&self.candidates, weighs);
        }
        self.pacing.hold_back(&mut self.candidates);
    }

    /// Whether nothing is left of a server's slow start: its weight is whole, and it holds as much as one that is warm; where
    /// none is, as much as any. That another cold one has as little says nothing.
    fn is_through(&self, index: usize) -> bool {
        let Some(Candidate { load, warmth: Some(warmth) }) = self.candidates[index] else { return false };
        let State::LeastConnection(state) = &self.state else { return warmth >= WARM };
        if !(WARM..HOT).contains(&warmth) {
            return warmth >= HOT;
        }
        let others = || {
            let others = self.candidates.iter().enumerate().filter(|&(other, _)| other != index);
            others.filter_map(|(_, known)| *known)
        };
        let holds_as_much = |other: Candidate| state.shares(other.load, load).is_le();
        let mut warm = others().filter(|other| other.warmth.is_none()).peekable();
        if warm.peek().is_some() { warm.any(holds_as_much) } else { others().all(holds_as_much) }
    }
}

/// Whether a server is chosen for a session for the first time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Try {
    First,
    /// Others were tried in vain.
    Next,
}

/// `wlc` and `lc`. Ties go to the higher weight, so that 2:1:1 holds from the first session on, and then to the
/// server chosen longest ago, so that short sessions go round instead of all to the first.
#[derive(Debug)]
struct LeastConnection {
    weighted: bool,
    turn: u64,
    last_turns: Vec<u64>,
}

impl LeastConnection {
    fn new(weighted: bool, servers: usize) -> Self {
        Self { weighted, turn: 0, last_turns: vec![0; servers] }
    }

    fn choose(&mut self, fit: impl Iterator<Item = (usize, Load)>) -> Option<usize> {
        let (chosen, _) = fit.min_by(|one, other| {
            self.compare(one.1, other.1).then_with(|| self.last_turns[one.0].cmp(&self.last_turns[other.0]))
        })?;
        self.turn += 1;
        self.last_turns[chosen] = self.turn;
        Some(chosen)
    }

    fn compare(&self, one: Load, other: Load) -> Ordering {
        let by_weight = || Reverse(one.weight).cmp(&Reverse(other.weight));
        self.shares(one, other).then_with(|| if self.weighted { by_weight() } else { Ordering::Equal })
    }

    /// Who holds less of what it should.
    fn shares(&self, one: Load, other: Load) -> Ordering {
        if !self.weighted {
            return one.active.cmp(&other.active);
        }
        // active / weight by cross-multiplication: exact, and 64 bits hold any product of two 32s.
        let one_share = u64::from(one.active) * u64::from(other.weight);
        let other_share = u64::from(other.active) * u64::from(one.weight);
        one_share.cmp(&other_share)
    }
}

/// `wrr`, the smooth kind: everybody's credit grows by the weight, the highest is chosen and pays for all.
/// In each round of (sum of weights) sessions a server comes exactly `weight` times, well spread.
#[derive(Debug)]
struct WeightedRoundRobin {
    turn: u64,
    accounts: Vec<Account>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    weight: i64,
    credit: i64,
    /// The last turn in which the server was fit.
    turn: u64,
}

impl WeightedRoundRobin {
    fn new(servers: usize) -> Self {
        Self { turn: 0, accounts: vec![Account::default(); servers] }
    }

    fn choose(&mut self, fit: impl Iterator<Item = (usize, Load)>) -> Option<usize> {
        self.turn += 1;
        let mut sum = 0;
        for (index, load) in fit {
            let account = &mut self.accounts[index];
            account.weight = i64::from(load.weight);
            account.turn = self.turn;
            sum += account.weight;
        }
        let mut chosen: Option<usize> = None;
        for index in 0..self.accounts.len() {
            let account = &mut self.accounts[index];
            if account.turn != self.turn {
                continue;
            }
            // Among the same servers credit never gets beyond the sum of weights. What was earned beside a
            // server of weight 65535 that has left, or by a weight that has changed, would take as many rounds to spend.
            account.credit = account.credit.clamp(-sum, sum) + account.weight;
            let credit = account.credit;
            if chosen.is_none_or(|best| credit > self.accounts[best].credit) {
                chosen = Some(index);
            }
        }
        self.accounts[chosen?].credit -= sum;
        chosen
    }
}

/// `rr`: the first fit server after the one chosen last.
#[derive(Debug)]
struct RoundRobin {
    servers: usize,
    next: usize,
}

impl RoundRobin {
    fn choose(&mut self, fit: impl Iterator<Item = (usize, Load)>) -> Option<usize> {
        let (servers, next) = (self.servers, self.next);
        let (chosen, _) = fit.min_by_key(|&(index, _)| (index + servers - next) % servers)?;
        self.next = (chosen + 1) % servers;
        Some(chosen)
    }
}

#[cfg(test)]
mod tests;
