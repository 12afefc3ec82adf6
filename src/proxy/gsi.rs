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
    /// Who the real servers have to be, in their order.
    pub(crate) expected: Vec<ExpectedPeer>,
}

impl Termination {
    pub(super) fn new(
        config: &config::VirtualServer,
        acceptor: Arc<GsiAcceptor>,
        workshop: &Arc<Workshop>,
    ) -> Self {
        workshop.open();
        // With one certificate for all, a real server shows the name of the virtual one.
        let virtual_names = acceptor.host_names();
        let expected =
            config.real_servers.iter().map(|server| match (&server.gsi_subject, &server.gsi_name) {
                (Some(subject), _) => ExpectedPeer::Identity(subject.clone()),
                (None, Some(name)) => {
                    ExpectedPeer::Host(HostNames { names: vec![name.clone()], address: None })
                }
                (None, None) => {
                    let names = [std::slice::from_ref(&server.name), &virtual_names[..]].concat();
                    ExpectedPeer::Host(HostNames { names, address: Some(server.address) })
                }
            });
        Self { expected: expected.collect(), acceptor, workshop: Arc::clone(workshop) }
    }

    /// For a login of this user at the real server of that place.
    pub(super) fn initiator(&self, place: usize, user: &User) -> InitiatorConfig {
        // The sorry server has no place, and no certificate to be known by.
        let expected = self.expected.get(place).cloned();
        let expected = expected.unwrap_or(ExpectedPeer::Host(HostNames::default()));
        self.acceptor.initiator(&user.delegated, expected)
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
