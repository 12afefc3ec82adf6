//! GSI that ends at the door: the client's session, the delegated credential, and the login with it at a real server.
//!
//! ```text
//!   client ─ AUTH, ADAT ─▶ reception ─▶ 235 ─ USER ─▶ approach ─▶ tls::log_in ─ AUTH, ADAT ─▶ real server
//!                             │  ▲                                   │
//!                     crypto_pool  key_pool                     crypto_pool
//! ```
mod crypto_pool;
mod key_pool;
mod reception;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;

pub(super) use crypto_pool::CryptoPool;
pub(crate) use key_pool::KeyPool;
pub(super) use reception::{Offer, Reception, ReceptionError, receive};

use crate::config;
use crate::proto::gsi::{Delegated, DistinguishedName, ExpectedPeer, HostNames, InitiatorConfig};
use crate::tls::{self, GsiAcceptor};

/// What a virtual server that ends GSI needs.
#[derive(Debug)]
pub(crate) struct Termination {
    pub(crate) acceptor: Arc<GsiAcceptor>,
    pub(crate) workshop: Arc<Workshop>,
    /// In the order of the real servers.
    servers: Vec<Server>,
}

/// What is known of a real server before it has shown who it is.
#[derive(Debug)]
struct Server {
    /// The whole subject of its certificate, where that is configured.
    subject: Option<String>,
    name: String,
    address: IpAddr,
}

impl Termination {
    pub(super) fn new(
        config: &config::VirtualServer,
        acceptor: Arc<GsiAcceptor>,
        workshop: &Arc<Workshop>,
    ) -> Self {
        workshop.open();
        let servers = config.real_servers.iter().map(|server| Server {
            subject: server.gsi_subject.clone(),
            name: server.gsi_name.as_ref().unwrap_or(&server.name).clone(),
            address: server.address,
        });
        Self { servers: servers.collect(), acceptor, workshop: Arc::clone(workshop) }
    }

    /// Who the real server at that place has to be. With one certificate for all, it shows the name of the virtual one. The sorry
    /// server cannot be anybody.
    pub(crate) fn expected(&self, place: usize) -> ExpectedPeer {
        let Some(server) = self.servers.get(place) else { return ExpectedPeer::Host(HostNames::default()) };
        if let Some(subject) = &server.subject {
            return ExpectedPeer::Identity(subject.clone());
        }
        let names = std::iter::once(server.name.clone()).chain(self.acceptor.host_names()).collect();
        let address = server.name.parse().unwrap_or(server.address);
        ExpectedPeer::Host(HostNames { names, address: Some(address) })
    }

    /// For a login of this user at the real server of that place.
    pub(super) fn initiator(&self, place: usize, user: &User) -> InitiatorConfig {
        self.acceptor.initiator(&user.delegated, self.expected(place))
    }
}

/// The threads that do what is hard for a processor, one set for all virtual servers. They begin when they are needed first.
#[derive(Debug, Default)]
pub(crate) struct Workshop {
    threads: OnceLock<Threads>,
}

#[derive(Debug)]
struct Threads {
    crypto: CryptoPool,
    keys: KeyPool,
}

impl Workshop {
    /// Begins with the keys, so that the first users find some.
    pub(super) fn open(&self) {
        self.threads();
    }

    pub(super) fn crypto(&self) -> &CryptoPool {
        &self.threads().crypto
    }

    pub(super) fn keys(&self) -> &KeyPool {
        &self.threads().keys
    }

    /// `None` where no virtual server ends GSI.
    pub(crate) fn key_pool(&self) -> Option<&KeyPool> {
        self.threads.get().map(|threads| &threads.keys)
    }

    fn threads(&self) -> &Threads {
        self.threads.get_or_init(|| Threads { crypto: CryptoPool::start(), keys: KeyPool::start() })
    }
}

/// The date, by which certificates hold.
fn date() -> UnixTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge: the machines of GSI take the date as an argument"
    )]
    tls::calendar(SystemTime::now())
}

/// A client that has authenticated to the door.
#[derive(Debug)]
pub(super) struct User {
    pub(super) identity: DistinguishedName,
    /// The right to act in its name.
    pub(super) delegated: Delegated,
    /// From AUTH to 235.
    pub(super) handshake: Duration,
}

impl User {
    /// Why the user's data connections cannot be authenticated, which has to be said beforehand: client and server only report that
    /// it has failed. The session itself works.
    pub(super) fn why_no_data_authentication(&self) -> Option<&'static str> {
        why_no_data_authentication(self.delegated.remaining_proxies)
    }
}

/// `remaining_proxies` may follow below the credential that the door has got.
fn why_no_data_authentication(remaining_proxies: Option<u32>) -> Option<&'static str> {
    (remaining_proxies == Some(0)).then_some(
        "the path length of the user's proxy ends at the door, which can delegate no credential to the real server; \
         have proxies made with a path length of 2 or more, or without one (voms-proxy-fake makes 1 where it is told none), \
         or use data connections without authentication (DCAU N)",
    )
}

#[cfg(test)]
mod tests {
    use super::why_no_data_authentication;

    #[test]
    fn only_a_credential_that_must_not_be_handed_on_lacks_data_authentication() {
        for (remaining, lacks) in [(None, false), (Some(0), true), (Some(1), false), (Some(u32::MAX), false)]
        {
            assert_eq!(why_no_data_authentication(remaining).is_some(), lacks, "{remaining:?}");
        }
    }
}
