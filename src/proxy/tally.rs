//! What a virtual server has done since the start, beyond what its real servers count.
//!
//! Sessions, of all threads of the door, count here: rarely in the one set of numbers, and commands, which come all the
//! time, each thread in a shard of its own. Whoever reads adds the shards up.
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::balance::NoServer;
use crate::proto::ftp::{CommandClass, CommandTally, Ending};

/// Shards of the commands; threads beyond that share them, which costs time and no count.
const SHARDS: usize = 32;

/// Counters that only ever rise.
#[derive(Debug)]
pub(crate) struct Tally {
    refusals: [AtomicU64; Refusal::ALL.len()],
    endings: [AtomicU64; Ending::ALL.len()],
    commands: Box<[Shard]>,
}

/// Why a client that has come got no session.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Refusal {
    /// Its address.
    Denied,
    /// Its logins have failed too often.
    Banned,
    /// It holds `max_sessions_per_client`.
    ClientSessions,
    /// Its sessions come faster than `session_rate_per_client`.
    SessionRate,
    /// `max_sessions` are inside, of the virtual server or of all.
    MaxSessions,
    /// Every real server is drained.
    AllDrained,
    /// Every one in service is down.
    AllDown,
    /// Too few are up.
    NoQuorum,
    /// The client's own is down and keeps its clients.
    Inhibited,
    /// Those that are up are full.
    AllFull,
    /// The same, and `queue_length` sessions wait.
    QueueFull,
    /// It has waited for `queue_timeout`.
    QueueTimeout,
    /// It hung up while it waited.
    LeftQueue,
    /// None took it.
    AllTried,
    /// The door is short of descriptors or ports.
    OutOfResources,
    /// The door is being drained.
    Draining,
    /// Its PROXY protocol header.
    ProxyHeader,
    /// The TLS handshake before the greeting.
    Handshake,
    /// GSI with the client came to nothing.
    Gsi,
    /// No real server lets the user in with GSI.
    NotLoggedIn,
}

/// The commands of one thread, by class. On cache lines of its own, so that counting waits for nobody.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard([AtomicU64; CommandClass::ALL.len()]);

impl Refusal {
    pub(crate) const ALL: [Self; 20] = [
        Self::Denied,
        Self::Banned,
        Self::ClientSessions,
        Self::SessionRate,
        Self::MaxSessions,
        Self::AllDrained,
        Self::AllDown,
        Self::NoQuorum,
        Self::Inhibited,
        Self::AllFull,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::LeftQueue,
        Self::AllTried,
        Self::OutOfResources,
        Self::Draining,
        Self::ProxyHeader,
        Self::Handshake,
        Self::Gsi,
        Self::NotLoggedIn,
    ];

    /// A few words for metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Denied => "address denied",
            Self::Banned => "banned",
            Self::ClientSessions => "max_sessions_per_client reached",
            Self::SessionRate => "session_rate_per_client exceeded",
            Self::MaxSessions => "max_sessions reached",
            Self::AllDrained => "all real servers drained",
            Self::AllDown => "all real servers down",
            Self::NoQuorum => "quorum lost",
            Self::Inhibited => "its real server inhibited",
            Self::AllFull => "all real servers full",
            Self::QueueFull => "queue full",
            Self::QueueTimeout => "queue_timeout over",
            Self::LeftQueue => "left the queue",
            Self::AllTried => "no real server took it",
            Self::OutOfResources => "out of resources",
            Self::Draining => "draining",
            Self::ProxyHeader => "PROXY protocol header",
            Self::Handshake => "TLS handshake failed",
            Self::Gsi => "GSI login failed",
            Self::NotLoggedIn => "GSI login refused by every server",
        }
    }
}

impl From<NoServer> for Refusal {
    fn from(none: NoServer) -> Self {
        match none {
            NoServer::AllDrained => Self::AllDrained,
            NoServer::AllDown => Self::AllDown,
            NoServer::NoQuorum => Self::NoQuorum,
            NoServer::Inhibited => Self::Inhibited,
            NoServer::AllFull => Self::AllFull,
            NoServer::AllTried => Self::AllTried,
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            refusals: Default::default(),
            endings: Default::default(),
            commands: (0..SHARDS).map(|_| Shard::default()).collect(),
        }
    }
}

impl Tally {
    pub(super) fn refused(&self, why: Refusal) {
        if let Some(count) = self.refusals.get(why as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn ended(&self, how: Ending) {
        if let Some(count) = self.endings.get(how as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Counts the commands that a session has taken since it last did.
    #[inline(never)]
    pub(super) fn commanded(&self, tally: &mut CommandTally) {
        let shard = &self.commands[shard()];
        tally.take(|class, count| {
            shard.0[class as usize].fetch_add(count.into(), Relaxed);
        });
    }

    /// Every reason, with how many clients it has kept out.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (Refusal, u64)> {
        Refusal::ALL.into_iter().zip(&self.refusals).map(|(why, count)| (why, count.load(Relaxed)))
    }

    /// Every way in which sessions end, with how many have.
    pub(crate) fn endings(&self) -> impl Iterator<Item = (Ending, u64)> {
        Ending::ALL.into_iter().zip(&self.endings).map(|(how, count)| (how, count.load(Relaxed)))
    }

    /// Every class of commands, with how many there were.
    pub(crate) fn commands(&self) -> impl Iterator<Item = (CommandClass, u64)> {
        CommandClass::ALL.into_iter().map(|class| {
            let shards = self.commands.iter();
            (class, shards.map(|shard| shard.0[class as usize].load(Relaxed)).sum())
        })
    }
}

/// The shard of this thread: threads are numbered as they first count.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let own = OWN.get();
    if own != usize::MAX {
        return own;
    }
    let own = NEXT.fetch_add(1, Relaxed) % SHARDS;
    OWN.set(own);
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_number() {
        for (at, why) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, at, "{why:?}");
        }
        for (at, how) in Ending::ALL.into_iter().enumerate() {
            assert_eq!(how as usize, at, "{how:?}");
        }
    }

    #[test]
    fn what_threads_count_is_added_up() {
        let tally = Tally::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| {
                    let mut session = crate::proto::ftp::Session::new(
                        std::sync::Arc::default(),
                        std::sync::Arc::new(crate::proto::ftp::ServerData {
                            addresses: crate::proto::ftp::DataAddresses::new(
                                [127, 0, 0, 1].into(),
                                &[],
                                Vec::new(),
                            ),
                            constraint: None,
                        }),
                        [127, 0, 0, 1].into(),
                    );
                    let mut out = crate::proto::ftp::Outbox::default();
                    session.handle_client(crate::proxy::now(), b"NOOP\r\nTYPE I\r\nNOOP\r\n", &mut out);
                    tally.commanded(&mut out.commands);
                    assert!(out.commands.is_empty());
                });
            }
        });
        let counted: Vec<_> = tally.commands().filter(|&(_, count)| count > 0).collect();
        let threads = 2 * SHARDS as u64;
        assert_eq!(counted, [(CommandClass::Parameter, threads), (CommandClass::Other, 2 * threads)]);
    }
}
