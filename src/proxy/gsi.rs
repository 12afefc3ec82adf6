//! GSI that ends at the door: the client's session, the delegated credential, and the login with it at a real server.
//!
//! ```text
//!   client ─ AUTH, ADAT ─▶ reception ─▶ 235 ─ USER ─▶ approach ─▶ server_login ─ AUTH, ADAT ─▶ real server
//!                             │  ▲                                   │
//!                     crypto_pool  key_pool                     crypto_pool
//! ```
mod crypto_pool;
mod key_pool;
mod lines;
mod reception;
mod server_login;

use std::sync::{Arc, OnceLock};

pub(super) use crypto_pool::CryptoPool;
pub(crate) use key_pool::KeyPool;
pub(super) use reception::{Reception, ReceptionError, receive};
pub(super) use server_login::{ServerLoginError, log_in};

use crate::proto::gsi::{Delegated, DistinguishedName, ExpectedPeer};
use crate::tls::GsiAcceptor;

/// What a virtual server that ends GSI needs.
#[derive(Debug)]
pub(crate) struct Termination {
    pub(crate) acceptor: Arc<GsiAcceptor>,
    pub(crate) workshop: Arc<Workshop>,
    /// Who the real servers have to be, in their order.
    pub(super) expected: Vec<ExpectedPeer>,
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

/// A client that has authenticated to the door.
#[derive(Debug)]
pub(super) struct User {
    pub(super) identity: DistinguishedName,
    /// The right to act in its name.
    pub(super) delegated: Delegated,
}
