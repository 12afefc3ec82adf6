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
mod record;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub(super) use crypto_pool::CryptoPool;
pub(crate) use key_pool::KeyPool;
pub(super) use reception::ReceptionError;
pub(crate) use record::{GsiOutcome, GsiRecord, PathLengthEnd};

use super::approach::within;
use super::control_stream::ControlStream;
use super::service::Service;
use super::session_table::{Listed, Registration};
use crate::balance::{IdentityRules, IdentitySession};
use crate::config::{self, BackendLogin};
use crate::proto::gsi::{Delegated, DistinguishedName, ExpectedPeer, HostNames, InitiatorConfig};
use crate::sys;
use crate::tls::{GsiAcceptor, date};
use reception::{Offer, Reception, receive};

/// What a virtual server that ends GSI needs.
#[derive(Debug)]
pub(crate) struct Termination {
    pub(crate) acceptor: Arc<GsiAcceptor>,
    pub(crate) workshop: Arc<Workshop>,
    /// In the order of the real servers.
    servers: Vec<Server>,
    pub(super) identities: IdentityRules,
    pub(crate) backend_login: BackendLogin,
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
        gsi: &config::Gsi,
        acceptor: Arc<GsiAcceptor>,
        workshop: &Arc<Workshop>,
    ) -> Self {
        let servers = config.real_servers.iter().map(|server| Server {
            subject: server.gsi_subject.clone(),
            name: server.gsi_name.as_ref().unwrap_or(&server.name).clone(),
            address: server.address,
        });
        let identities = gsi.identities.clone();
        let backend_login = gsi.backend_login.clone();
        Self {
            servers: servers.collect(),
            acceptor,
            workshop: Arc::clone(workshop),
            identities,
            backend_login,
        }
    }

    /// Whether a client logs in at the real server itself, as if GSI ended there for all.
    pub(super) fn passes(&self, client: IpAddr) -> bool {
        self.backend_login.passes(client)
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
    /// Begins with the keys, so that the first users find some; `ready_keys` is how many shall lie ready. What comes into memory from
    /// now on gets into no core dump.
    pub(super) fn open(&self, ready_keys: usize) {
        self.threads.get_or_init(|| {
            if let Err(error) = sys::process::keep_memory_private() {
                tracing::warn!(%error, "core dumps cannot be forbidden; users' keys may get into them (ulimit -c 0)");
            }
            Threads { crypto: CryptoPool::start(), keys: KeyPool::start(ready_keys) }
        });
    }

    pub(super) fn crypto(&self) -> Option<&CryptoPool> {
        self.threads.get().map(|threads| &threads.crypto)
    }

    /// `None` where no virtual server has ended GSI yet.
    pub(crate) fn keys(&self) -> Option<&KeyPool> {
        self.threads.get().map(|threads| &threads.keys)
    }
}

/// A client that has authenticated to the door, and may come in.
#[derive(Debug)]
pub(super) struct User {
    /// Its name, and its count.
    pub(super) counted: IdentitySession,
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
         use data connections without authentication (DCAU N), or write the client's network into `passthrough_networks`",
    )
}

/// Whose session it is, for as long as anything of it lasts.
#[derive(Debug)]
pub(super) struct Identified {
    pub(super) counted: IdentitySession,
    pub(super) _listed: Listed,
}

/// Receives a client, as far as its USER, which comes beside with what has come behind it.
pub(super) async fn let_in(
    client: &mut ControlStream,
    service: &Service,
    termination: &Termination,
    registration: &Registration,
) -> Result<(User, Vec<u8>), ReceptionError> {
    let limit = service.timeouts.login;
    let record = &service.lasting.gsi;
    let judge =
        |identity: &DistinguishedName| record.identities.admit(&termination.identities, identity.as_str());
    let offer = Offer { servers: &service.virtual_server, policy: &service.policy };
    let received = within(registration, limit, receive(client, termination, &offer, judge)).await;
    let Reception { delegated, handshake, counted, unread } =
        received.unwrap_or(Err(ReceptionError::TooSlow(limit)))?;
    record.count_handshake(handshake);
    let user = User { counted, delegated, handshake };
    if user.why_no_data_authentication().is_some() {
        record.count_path_length_end(PathLengthEnd::NoDataAuthentication);
    }
    Ok((user, unread))
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
