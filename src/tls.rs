//! TLS: the certificate that the door shows to clients, and the ones that it wants to see of real servers.
//!
//! ```text
//!   certificate, key ─▶ credential ─▶ kept_credential ─▶ acceptor ─▶ control and data connections of clients
//!                         validity       ▲ look: another certificate in the files (file_stamp)
//!   trust anchors ──────────────────▶ connector ─▶ control and data connections to a real server
//!   trust directory of a grid site ─▶ trust_directory ─▶ whom GSI believes
//!   gsi_acceptor: logins of clients   gsi_login: logins at real servers   protected: the stream after either
//! ```
//!
//! All cryptography is aws-lc-rs, asked for by name: rustls' process-wide choice belongs to whoever links another.
mod acceptor;
mod connector;
mod credential;
mod file_stamp;
mod gsi_acceptor;
mod gsi_login;
mod kept_credential;
mod protected;
mod trust_directory;
mod validity;

use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;

use crate::proto::gsi::ciphers;

pub use acceptor::{Acceptor, Reread};
pub use connector::{Connector, SessionConnector};
pub use credential::{CredentialProblem, examine};
pub use gsi_acceptor::{GsiAcceptor, read_robot_credential};
pub use gsi_login::{
    GsiLogin, GsiLoginError, LONGEST_COMMAND, LONGEST_FIRST_TOKEN, LONGEST_TOKEN, Lines, Workers, log_in,
};
pub use kept_credential::Notice;
pub use protected::Protected;
pub use trust_directory::{TrustDirectories, TrustDirectory, TrustNotice};

/// The same for TLS and for GSI.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(ciphers);
    Arc::clone(&PROVIDER)
}

/// Does on this thread once what each handshake begins with. The library gathers its randomness at the first use, some 50 ms of a
/// process, which the first users would wait for.
pub fn warm_up() {
    for group in &provider().kx_groups {
        if let Ok(own) = group.start() {
            let public = own.pub_key().to_vec();
            // Whatever comes of it: a handshake says what is wrong.
            let _ = own.complete(&public);
        }
    }
}

/// The date as GSI reads it, by which certificates hold.
#[must_use]
pub fn date() -> UnixTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge: the machines of GSI take the date as an argument"
    )]
    let now = SystemTime::now();
    UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
pub(crate) mod tests;
