//! TLS: the certificate that the door shows to clients, and the ones that it wants to see of real servers.
//!
//! ```text
//!   certificate, key ─▶ credential ─▶ acceptor ─▶ control and data connections of clients
//!                         validity       ▲ look: another certificate in the files
//!   trust anchors ──────────────────▶ connector ─▶ control and data connections to a real server
//!   trust directory of a grid site ─▶ trust_directory ─▶ whom GSI believes
//! ```
//!
//! All cryptography is aws-lc-rs, asked for by name: rustls' process-wide choice belongs to whoever links another.
mod acceptor;
mod connector;
mod credential;
mod gsi_acceptor;
mod trust_directory;
mod validity;

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

pub use acceptor::{Acceptor, Notice, Reread};
pub use connector::{Connector, SessionConnector};
pub use credential::{CredentialProblem, examine};
pub use gsi_acceptor::{GsiAcceptor, GsiNotice, calendar};
pub use trust_directory::{TrustDirectory, TrustNotice};

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

#[cfg(test)]
mod tests;
