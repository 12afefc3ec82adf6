//! Who may come in: networks, and what one client may take.
//!
//! ```text
//!   NetworkRules   allow, deny: the most specific network decides
//!   Clients        for each client: sessions held, when the next may come, failed logins, a ban
//!      admit ──▶ ClientSession     dropped, the client holds one less
//! ```
//!
//! A client is an IPv4 address, or an IPv6 network as one subscriber has it (`ipv6_prefix`): whoever has a /64 has as many
//! addresses as he likes. Rules are plain values, which a new configuration replaces; [`Clients`] is what is known, and
//! lives on. What is known takes a bounded amount of memory, see [`MAX_CLIENTS`].
mod networks;
mod rate;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;

pub use networks::NetworkRules;
use rate::NextArrival;
pub use rate::SessionRate;

/// Most clients that are kept in mind, by virtual server; some 100 bytes each, and 4 for each failed login.
///
/// When all are taken, those go whose time is over, and if that is not enough, those that hold no session and are not
/// banned. If every one of them holds a session or is banned, more clients come in uncounted, and are counted for
/// `status`: whoever commands so many addresses must not be able to lock all others out.
const MAX_CLIENTS: usize = 65_536;

/// Clients from which on those whose time is over are looked for.
const FIRST_SWEEP: usize = 1024;

/// How often a full table is searched for what may go; it takes about a millisecond.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// What one client may take.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientLimits {
    /// Sessions at once (`max_sessions_per_client`).
    pub max_sessions: Option<u32>,
    /// How fast sessions may begin (`session_rate_per_client`).
    pub rate: Option<SessionRate>,
    /// What failed logins lead to (`ban`).
    pub ban: Option<BanRule>,
    /// Whose failed logins do not count: the site's own hosts, behind which are many users.
    pub never_banned: Vec<IpNet>,
    /// Bits of an IPv6 address that make a client.
    pub ipv6_prefix: u8,
}

/// From how many failed logins on a client is kept out, and for how long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BanRule {
    /// Failed logins, at least 1.
    pub failed_logins: u32,
    /// The time in which they have to come.
    pub within: Duration,
    /// How long the client is kept out.
    pub time: Duration,
}

/// Why a client may not come in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClientRefusal {
    /// Its logins have failed too often.
    #[error("the client is banned for failed logins, {} s more; `gridfront unban` ends it", .left.as_secs())]
    Banned {
        /// How long still.
        left: Duration,
    },
    /// It holds as many sessions as it may.
    #[error("the client holds max_sessions_per_client = {max} sessions; raise it for clients that need more")]
    TooManySessions {
        /// The limit.
        max: u32,
    },
    /// Its sessions come too fast.
    #[error(
        "the client's sessions come faster than session_rate_per_client; raise it for clients that need more"
    )]
    TooFast,
}

/// What follows from a login that failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LoginVerdict {
    /// Nothing yet.
    MayTryAgain,
    /// With it the client is banned; the session is to end.
    Banned {
        /// Who that is.
        client: IpNet,
        /// Why.
        rule: BanRule,
    },
    /// The client was banned already; so is this session to end.
    IsBanned,
}

/// A client that is kept out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ban {
    /// Its address or network.
    pub client: IpNet,
    /// How long still.
    pub left: Duration,
}

/// What is known of clients.
#[derive(Debug)]
pub struct Clients {
    /// Held for a look into a map; once or twice a session, and not at all where there are no limits.
    table: Mutex<Table>,
    /// Sessions that came in uncounted, because the table was full.
    uncounted: AtomicU64,
    /// Bans so far.
    bans: AtomicU64,
}

#[derive(Debug)]
struct Table {
    clients: HashMap<IpNet, Client>,
    /// Times are kept as seconds after it.
    start: Instant,
    /// The number of clients at which to look for those whose time is over.
    sweep_at: usize,
    swept: Instant,
}

#[derive(Debug, Default)]
struct Client {
    sessions: u32,
    next: NextArrival,
    /// Seconds at which logins failed, oldest first.
    failures: Vec<u32>,
    /// When the oldest failure is forgotten, for the sweep, which knows no rules.
    failures_until: Option<Instant>,
    banned_until: Option<Instant>,
}

/// A session counted on its client; dropped, the client holds one less.
#[derive(Debug)]
#[must_use = "dropped, it gives the count back"]
pub struct ClientSession {
    clients: Arc<Clients>,
    client: IpNet,
}

impl ClientLimits {
    /// No limits.
    #[must_use]
    pub fn none() -> Self {
        Self { max_sessions: None, rate: None, ban: None, never_banned: Vec::new(), ipv6_prefix: 64 }
    }

    fn bans(&self, address: IpAddr) -> Option<BanRule> {
        let address = address.to_canonical();
        self.ban.filter(|_| !self.never_banned.iter().any(|network| network.contains(&address)))
    }

    /// Whose count an address belongs to.
    #[must_use]
    pub fn client(&self, address: IpAddr) -> IpNet {
        let address = address.to_canonical();
        let whole = IpNet::from(address);
        match address {
            IpAddr::V4(_) => whole,
            IpAddr::V6(_) => IpNet::new(address, self.ipv6_prefix).map_or(whole, |network| network.trunc()),
        }
    }
}

impl Clients {
    /// Nobody is known.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let table = Table { clients: HashMap::new(), start: now, sweep_at: FIRST_SWEEP, swept: now };
        Self { table: Mutex::new(table), uncounted: AtomicU64::new(0), bans: AtomicU64::new(0) }
    }

    /// Lets one session more of a client in; `None` where nothing is to be counted.
    ///
    /// # Errors
    ///
    /// Which limit it has reached. A refusal costs the client nothing of its rate.
    pub fn admit(
        self: &Arc<Self>,
        limits: &ClientLimits,
        address: IpAddr,
        now: Instant,
    ) -> Result<Option<ClientSession>, ClientRefusal> {
        let counts = limits.max_sessions.is_some() || limits.rate.is_some();
        if !counts && limits.ban.is_none() {
            return Ok(None);
        }
        let client = limits.client(address);
        let mut table = self.lock();
        if limits.bans(address).is_some()
            && let Some(left) = table.ban_left(client, now)
        {
            return Err(ClientRefusal::Banned { left });
        }
        if !counts {
            return Ok(None);
        }
        let Some(known) = table.entry(client, now) else {
            self.uncounted.fetch_add(1, Relaxed);
            return Ok(None);
        };
        if let Some(max) = limits.max_sessions
            && known.sessions >= max
        {
            return Err(ClientRefusal::TooManySessions { max });
        }
        if let Some(rate) = limits.rate
            && !known.next.arrive(rate, now)
        {
            return Err(ClientRefusal::TooFast);
        }
        known.sessions += 1;
        Ok(Some(ClientSession { clients: Arc::clone(self), client }))
    }

    /// A login has failed.
    pub fn handle_failed_login(&self, limits: &ClientLimits, address: IpAddr, now: Instant) -> LoginVerdict {
        let Some(rule) = limits.bans(address) else { return LoginVerdict::MayTryAgain };
        let client = limits.client(address);
        let mut table = self.lock();
        if table.ban_left(client, now).is_some() {
            return LoginVerdict::IsBanned;
        }
        let second = table.second(now);
        let Some(known) = table.entry(client, now) else { return LoginVerdict::MayTryAgain };
        // A failure counts for as long as `within` says: one of a second that is only just over does still.
        let oldest = second.saturating_sub(u32::try_from(rule.within.as_secs()).unwrap_or(u32::MAX));
        known.failures.retain(|&failed| failed >= oldest);
        known.failures.push(second);
        known.failures_until = Some(now + rule.within);
        if known.failures.len() < usize::try_from(rule.failed_logins).unwrap_or(usize::MAX) {
            return LoginVerdict::MayTryAgain;
        }
        known.forget_failures();
        known.banned_until = Some(now + rule.time);
        self.bans.fetch_add(1, Relaxed);
        LoginVerdict::Banned { client, rule }
    }

    /// A login that only its owner can have made: earlier failures were slips.
    pub fn handle_login(&self, limits: &ClientLimits, address: IpAddr) {
        if limits.ban.is_some()
            && let Some(known) = self.lock().clients.get_mut(&limits.client(address))
        {
            known.forget_failures();
        }
    }

    /// Who is kept out now, those that come in soonest first.
    #[must_use]
    pub fn bans(&self, now: Instant) -> Vec<Ban> {
        let table = self.lock();
        let banned = table.clients.iter().filter_map(|(&client, known)| {
            let left = known.ban_left(now)?;
            Some(Ban { client, left })
        });
        let mut banned: Vec<Ban> = banned.collect();
        banned.sort_by_key(|ban| (ban.left, ban.client));
        banned
    }

    /// How many are kept out now.
    #[must_use]
    pub fn banned(&self, now: Instant) -> usize {
        self.lock().clients.values().filter(|known| known.ban_left(now).is_some()).count()
    }

    /// Bans so far.
    #[must_use]
    pub fn bans_so_far(&self) -> u64 {
        self.bans.load(Relaxed)
    }

    /// Sessions that came in uncounted, because too many clients are known already.
    #[must_use]
    pub fn uncounted(&self) -> u64 {
        self.uncounted.load(Relaxed)
    }

    /// Lets in again whoever is banned with this address, and forgets their failures. Whether anybody was.
    pub fn unban(&self, address: IpAddr, now: Instant) -> bool {
        let address = address.to_canonical();
        let mut unbanned = false;
        for (client, known) in &mut self.lock().clients {
            if client.contains(&address) {
                unbanned |= known.ban_left(now).is_some();
                known.banned_until = None;
                known.forget_failures();
            }
        }
        unbanned
    }

    /// A thread that died with the lock left plain numbers, good at any moment.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().clients.len()
    }
}

impl Table {
    fn second(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.start).as_secs()).unwrap_or(u32::MAX)
    }

    fn ban_left(&self, client: IpNet, now: Instant) -> Option<Duration> {
        self.clients.get(&client)?.ban_left(now)
    }

    /// What is known of a client, or a blank page; `None` when there is no room for one.
    fn entry(&mut self, client: IpNet, now: Instant) -> Option<&mut Client> {
        if self.clients.len() >= self.sweep_at && !self.clients.contains_key(&client) {
            self.sweep(now);
            if self.clients.len() >= MAX_CLIENTS {
                return None;
            }
        }
        Some(self.clients.entry(client).or_default())
    }

    /// Forgets those whose time is over; in a table that stays full, also those that hold nothing.
    fn sweep(&mut self, now: Instant) {
        let full = self.clients.len() >= MAX_CLIENTS;
        if full && now < self.swept + SWEEP_PAUSE {
            return;
        }
        self.swept = now;
        self.clients.retain(|_, known| known.matters(now));
        if full && self.clients.len() > MAX_CLIENTS - MAX_CLIENTS / 8 {
            self.clients.retain(|_, known| known.sessions > 0 || known.ban_left(now).is_some());
        }
        self.sweep_at = (2 * self.clients.len()).clamp(FIRST_SWEEP, MAX_CLIENTS);
        if self.clients.capacity() > 4 * self.sweep_at {
            self.clients.shrink_to(self.sweep_at);
        }
    }
}

impl Client {
    fn ban_left(&self, now: Instant) -> Option<Duration> {
        self.banned_until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Whether the client would be treated differently if nothing were known of it.
    fn matters(&self, now: Instant) -> bool {
        self.sessions > 0
            || self.ban_left(now).is_some()
            || self.failures_until.is_some_and(|until| until > now)
            || self.next.matters(now)
    }

    fn forget_failures(&mut self) {
        self.failures = Vec::new();
        self.failures_until = None;
    }
}

impl Drop for ClientSession {
    fn drop(&mut self) {
        if let Some(known) = self.clients.lock().clients.get_mut(&self.client) {
            known.sessions = known.sessions.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests;
