//! TLS: the certificate that the door shows to clients, and the ones that it wants to see of real servers.
//!
//! ```text
//!   certificate, key ─▶ credential ─▶ acceptor ─▶ control and data connections of clients
//!                         validity       ▲ look: another certificate in the files
//!   trust anchors ──────────────────▶ connector ─▶ control and data connections to a real server
//!   trust directory of a grid site ─▶ trust_directory ─▶ whom GSI believes
//!   gsi_acceptor: logins of clients   gsi_login: logins at real servers   protected: the stream after either
//! ```
//!
//! All cryptography is aws-lc-rs, asked for by name: rustls' process-wide choice belongs to whoever links another.
mod acceptor;
mod connector;
mod credential;
mod gsi_acceptor;
mod gsi_login;
mod protected;
mod trust_directory;
mod validity;

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

pub use acceptor::{Acceptor, Notice, Reread};
pub use connector::{Connector, SessionConnector};
pub use credential::{CredentialProblem, examine};
pub use gsi_acceptor::{GsiAcceptor, GsiNotice, calendar, read_robot_credential};
pub use gsi_login::{
    GsiLogin, GsiLoginError, LONGEST_COMMAND, LONGEST_FIRST_TOKEN, LONGEST_TOKEN, Lines, Workers, log_in,
};
pub use protected::Protected;
pub use trust_directory::{TrustDirectory, TrustNotice};

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

#[cfg(test)]
mod tests;
