//! One name of the site: who may come in, and which real server takes them.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::availability::{Availability, AvailabilityState};
use super::observation::Capabilities;
use super::real_server::{RealServer, Unfit};
use super::scheduler::{LbAlgo, Load, Scheduler, Try};

/// A virtual server with its real servers, as one configuration has it. What a new configuration must not lose is shared
/// with its successor ([`VirtualServer::succeed`]).
#[derive(Debug)]
pub struct VirtualServer {
    name: String,
    lb_algo: LbAlgo,
    max_sessions: u32,
    /// Of every configuration.
    active: Arc<AtomicU32>,
    real_servers: Box<[Arc<RealServer>]>,
    pub(super) availability: Availability,
    pub(super) state: Arc<AvailabilityState>,
    /// Held while a server is chosen and counted, a few hundred nanoseconds, never across anything that waits.
    scheduler: Arc<Mutex<Scheduler>>,
}

impl VirtualServer {
    /// A virtual server that spreads its sessions over `servers`, `max_sessions` at once at most.
    ///
    /// Which of them are to be had is as `availability` says.
    #[must_use]
    pub fn new(
        name: String,
        lb_algo: LbAlgo,
        max_sessions: u32,
        servers: Vec<Arc<RealServer>>,
        availability: Availability,
    ) -> Arc<Self> {
        Arc::new(Self::blank(name, lb_algo, max_sessions, servers, availability))
    }

    fn blank(
        name: String,
        lb_algo: LbAlgo,
        max_sessions: u32,
        servers: Vec<Arc<RealServer>>,
        availability: Availability,
    ) -> Self {
        let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address()).collect();
        Self {
            name,
            lb_algo,
            max_sessions,
            active: Arc::default(),
            state: Arc::new(AvailabilityState::new(&servers)),
            real_servers: servers.into(),
            availability,
            scheduler: Arc::new(Mutex::new(Scheduler::new(lb_algo, &addresses))),
        }
    }

    /// The same virtual server as another configuration has it. Both count their sessions together, and the quorum that is
    /// lost stays lost; whose turn it is goes on where neither the servers nor the way of choosing among them have
    /// changed, and so does a sorry server that has kept its address.
    #[must_use]
    pub fn succeed(
        &self,
        lb_algo: LbAlgo,
        max_sessions: u32,
        servers: Vec<Arc<RealServer>>,
        mut availability: Availability,
    ) -> Arc<Self> {
        if let (Some(sorry), Some(before)) = (&mut availability.sorry_server, &self.availability.sorry_server)
            && sorry.address() == before.address()
        {
            *sorry = Arc::clone(before);
        }
        let mut successor = Self::blank(self.name.clone(), lb_algo, max_sessions, servers, availability);
        successor.active = Arc::clone(&self.active);
        successor.state = Arc::clone(&self.state);
        let same = |(one, other)| Arc::ptr_eq(one, other);
        if lb_algo == self.lb_algo
            && successor.real_servers.len() == self.real_servers.len()
            && successor.real_servers.iter().zip(&self.real_servers).all(same)
        {
            successor.scheduler = Arc::clone(&self.scheduler);
        }
        Arc::new(successor)
    }

    /// Its name in the configuration, the log and `status`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its real servers, in the order of the configuration.
    #[must_use]
    pub fn real_servers(&self) -> &[Arc<RealServer>] {
        &self.real_servers
    }

    /// What every server can do that sessions may get to, as far as checks have seen; `None` where none has.
    #[must_use]
    pub fn capabilities(&self) -> Option<Capabilities> {
        let fit = self.real_servers.iter().filter(|server| server.may_have_sessions());
        fit.filter_map(|server| server.capabilities())
            .map(Arc::unwrap_or_clone)
            .reduce(|shared, other| shared.shared_with(&other))
    }

    /// How it chooses among them.
    #[must_use]
    pub fn lb_algo(&self) -> LbAlgo {
        self.lb_algo
    }

    /// Sessions that it lets in at once.
    #[must_use]
    pub fn max_sessions(&self) -> u32 {
        self.max_sessions
    }

    /// Sessions admitted now.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.active.load(Relaxed)
    }

    /// Lets one session more in, for as long as the guard lives.
    ///
    /// # Errors
    ///
    /// `max_sessions` are inside.
    pub fn admit(self: &Arc<Self>) -> Result<Admission, Refused> {
        let max = self.max_sessions;
        match self.active.fetch_update(Relaxed, Relaxed, |active| (active < max).then(|| active + 1)) {
            Ok(_) => Ok(Admission { virtual_server: Arc::clone(self) }),
            Err(_) => Err(Refused { max_sessions: max }),
        }
    }

    /// Chooses a real server for this client and counts the session on it, in one step, for as long as the guard
    /// lives. `tried` are the servers that this session has tried in vain.
    ///
    /// Where no real server is to be had it is the sorry server's, if there is one.
    ///
    /// # Errors
    ///
    /// No server may get it; the error says what keeps them.
    pub fn place(
        self: &Arc<Self>,
        now: Instant,
        client: IpAddr,
        tried: &Tried,
    ) -> Result<Placement, NoServer> {
        let why = if self.state.quorum.is_there() {
            match self.place_on_real_server(now, client, tried) {
                Ok(placement) => return Ok(placement),
                // Servers that are full are no outage: their client is better off in a minute.
                Err(why) if why == NoServer::Inhibited || self.may_make_room(tried) => return Err(why),
                Err(why) => why,
            }
        } else {
            match self.why_none(tried) {
                NoServer::AllTried | NoServer::AllFull => NoServer::NoQuorum,
                why => why,
            }
        };
        let index = self.real_servers.len();
        match &self.availability.sorry_server {
            Some(sorry) if !tried.contains(index) && !sorry.is_removed() && sorry.hold() => {
                Ok(Placement { virtual_server: Arc::clone(self), index })
            }
            _ => Err(why),
        }
    }

    /// The same at the server that the session would rather have, where that may get it: it is up and has room, and was
    /// not tried in vain.
    pub fn place_at(self: &Arc<Self>, home: &Arc<RealServer>, tried: &Tried) -> Option<Placement> {
        let index = self.place_of(home).filter(|index| !tried.contains(*index))?;
        // As there: chosen and counted in one step.
        let _choosing = self.scheduler.lock().unwrap_or_else(PoisonError::into_inner);
        let may = self.state.quorum.is_there() && home.load().is_ok() && !home.standing.is_ejected();
        (may && home.hold()).then(|| Placement { virtual_server: Arc::clone(self), index })
    }

    /// Whether a server is one of these, was not tried in vain, and takes sessions, or would if it were not full.
    #[must_use]
    pub fn keeps(&self, home: &Arc<RealServer>, tried: &Tried) -> bool {
        self.place_of(home).is_some_and(|index| !tried.contains(index))
            && matches!(home.load(), Ok(_) | Err(Unfit::Full))
            && !home.standing.is_ejected()
    }

    fn place_of(&self, server: &Arc<RealServer>) -> Option<usize> {
        self.real_servers.iter().position(|own| Arc::ptr_eq(own, server))
    }

    fn place_on_real_server(
        self: &Arc<Self>,
        now: Instant,
        client: IpAddr,
        tried: &Tried,
    ) -> Result<Placement, NoServer> {
        let nth = if tried.is_empty() { Try::First } else { Try::Next };
        let slow_start = self.availability.slow_start;
        let warmth = |index: usize| self.real_servers[index].standing.pace(now, slow_start);
        let mut scheduler = self.scheduler.lock().unwrap_or_else(PoisonError::into_inner);
        // A second look is needed only when another virtual server has taken a shared server's last place
        // between our look and our count; then that server is full, so this many are enough.
        for _ in 0..=self.real_servers.len() {
            let fit = |index| self.load(index).filter(|_| !tried.contains(index));
            let in_good_standing =
                |index: usize| fit(index).filter(|_| !self.real_servers[index].standing.is_ejected());
            let chosen = scheduler.choose(client, nth, in_good_standing, warmth);
            let chosen = match chosen {
                // Those that were ejected are better than none.
                None if self.only_ejected_are_left(tried) => scheduler.choose(client, nth, fit, warmth),
                chosen => chosen,
            };
            if let Some(warmed) = scheduler.take_warmed() {
                self.real_servers[warmed].standing.end_slow_start();
            }
            let Some(index) = chosen else { return Err(self.why_none(tried)) };
            if self.is_inhibited(index) {
                return Err(NoServer::Inhibited);
            }
            if self.real_servers[index].hold() {
                return Ok(Placement { virtual_server: Arc::clone(self), index });
            }
        }
        Err(NoServer::AllFull)
    }

    /// Whether the weight that is up makes the quorum.
    #[must_use]
    pub fn has_quorum(&self) -> bool {
        self.state.quorum.is_there()
    }

    /// Whether a session that got no server may get one as soon as others end: some server that it has not tried is only
    /// full. Where the quorum is lost none may.
    #[must_use]
    pub fn may_make_room(&self, tried: &Tried) -> bool {
        if !self.state.quorum.is_there() {
            return false;
        }
        let untried = self.real_servers.iter().enumerate().filter(|(index, _)| !tried.contains(*index));
        untried.into_iter().any(|(_, server)| matches!(server.load(), Ok(_) | Err(Unfit::Full)))
    }

    /// What a scheduler weighs of a server that takes part: one that is fit, or with `sh` one that keeps its clients
    /// while it is inhibited.
    fn load(&self, index: usize) -> Option<Load> {
        let server = &self.real_servers[index];
        match server.load() {
            Ok(load) => Some(load),
            Err(Unfit::Down) if self.lb_algo == LbAlgo::Sh && self.is_inhibited(index) => {
                Some(Load { weight: server.effective_weight(), active: server.active() })
            }
            Err(_) => None,
        }
    }

    /// The reason that an operator can do something about: the one nearest to a session.
    fn why_none(&self, tried: &Tried) -> NoServer {
        let mut why = NoServer::AllDrained;
        for (index, server) in self.real_servers.iter().enumerate() {
            let this = match server.load() {
                _ if tried.contains(index) => NoServer::AllTried,
                // It has become fit since we looked: a moment ago it was full, most likely.
                Ok(_) | Err(Unfit::Full) => NoServer::AllFull,
                Err(Unfit::Down) => NoServer::AllDown,
                Err(Unfit::Drained) => NoServer::AllDrained,
            };
            why = why.max(this);
        }
        why
    }
}

/// A session inside a virtual server; dropped, it makes room for another.
#[derive(Debug)]
#[must_use = "dropped, it gives the count back"]
pub struct Admission {
    virtual_server: Arc<VirtualServer>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.virtual_server.active.fetch_sub(1, Relaxed);
    }
}

/// A session counted on a real server; dropped, the server holds one less.
#[derive(Debug)]
#[must_use = "dropped, it gives the count back"]
pub struct Placement {
    virtual_server: Arc<VirtualServer>,
    index: usize,
}

impl Placement {
    /// The server that was chosen.
    #[must_use]
    pub fn real_server(&self) -> &Arc<RealServer> {
        let real_servers = &self.virtual_server.real_servers;
        match &self.virtual_server.availability.sorry_server {
            Some(sorry) if self.index == real_servers.len() => sorry,
            _ => &real_servers[self.index],
        }
    }

    /// Its place in [`VirtualServer::real_servers`], for [`Tried::insert`]; the sorry server's is behind the last.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }
}

impl Drop for Placement {
    fn drop(&mut self) {
        self.real_server().release();
    }
}

/// The servers that one session has tried in vain, one bit each; nothing is allocated while there are none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tried(Vec<u64>);

impl Tried {
    /// Adds the server with this index, as [`Placement::index`] gives it.
    pub fn insert(&mut self, index: usize) {
        let word = index / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (index % 64);
    }

    /// Whether the server with this index was tried.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// How many were tried.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether none was tried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A virtual server is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "max_sessions = {max_sessions} sessions are inside; raise max_sessions, or find out who holds so many (`gridfront status`)"
)]
pub struct Refused {
    /// The limit that is reached.
    pub max_sessions: u32,
}

/// No real server may get a session. Where servers are unfit for different reasons, the last of these that
/// applies to one of them is told.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, thiserror::Error)]
pub enum NoServer {
    /// None is in service.
    #[error("every real server is drained or has weight 0; give one a weight")]
    AllDrained,
    /// Too few are up.
    #[error(
        "the weight of the real servers that are up does not make the `quorum`; `gridfront status` says who is down"
    )]
    NoQuorum,
    /// None of those in service is up.
    #[error("every real server in service is down; `gridfront status` says why")]
    AllDown,
    /// Those that are up hold as many sessions as they may.
    #[error("every real server that is up holds its max_connections; raise them or add a server")]
    AllFull,
    /// The client's own server is down and keeps its clients.
    #[error(
        "the client's real server (`lb_algo = \"sh\"`) is down, and `inhibit_on_failure` keeps its clients for it; mend it, or leave that key out"
    )]
    Inhibited,
    /// The session has tried all that could be.
    #[error("every real server that is fit was tried in vain; `gridfront status` says why")]
    AllTried,
}

impl NoServer {
    /// Whether it is another matter once sessions have ended; a client whose own server is down has nothing of that.
    #[must_use]
    pub fn may_change(self) -> bool {
        self != Self::Inhibited
    }
}

#[cfg(test)]
mod tests;
