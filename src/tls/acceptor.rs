//! The door's side of TLS with clients: one for a virtual server, for control and data connections alike.
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{Accept, TlsAcceptor};

use super::credential::{Certified, Files, problem};
use super::kept_credential::{KeptCredential, Notice, Reading};
use super::{CredentialProblem, provider};
use crate::config;

/// TLS 1.2 sessions that are kept for clients without tickets, some 200 bytes each. Clients with tickets keep theirs
/// themselves.
const MAX_KEPT_SESSIONS: usize = 4096;

/// Ends TLS of clients.
///
/// There is one store of sessions, because servers that want the data connection to resume the control connection's
/// session have taught clients to try, and it outlives the certificate, so that a reload breaks no transfer.
#[derive(Debug)]
pub struct Acceptor {
    control: Arc<ServerConfig>,
    data: Arc<ServerConfig>,
    shown: Arc<KeptCredential<Certified>>,
}

/// A certificate that was read and not put in force yet.
#[derive(Debug)]
pub struct Reread(Reading<Certified>);

impl Reread {
    /// Whether it is not the one that was in force when it was read.
    #[must_use]
    pub fn is_another(&self) -> bool {
        self.0.is_another()
    }
}

impl Acceptor {
    /// Reads certificate and key; what is likely not meant comes beside.
    ///
    /// # Errors
    ///
    /// What makes them useless.
    pub fn open(
        files: &config::Tls,
        now: SystemTime,
    ) -> Result<(Self, Vec<CredentialProblem>), CredentialProblem> {
        let (shown, warnings) = KeptCredential::open(Files::from(files), now)?;
        let shown = Arc::new(shown);
        let failed = |error: rustls::Error| {
            problem(&files.certificate, format!("TLS cannot be set up: {error}"), "please report this")
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(failed)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.session_storage = ServerSessionMemoryCache::new(MAX_KEPT_SESSIONS);
        // Without it a TLS 1.3 session could be resumed once for each ticket, and clients open many data connections.
        config.ticketer = Ticketer::new().map_err(failed)?;
        // A client that only sends never reads them, and closing a socket with unread bytes sends RST, which takes the end
        // of its file away. For data connections there are the tickets of the control connection.
        let mut data = config.clone();
        data.send_tls13_tickets = 0;
        let (control, data) = (Arc::new(config), Arc::new(data));
        Ok((Self { control, data, shown }, warnings))
    }

    /// The handshake with a client on a control connection.
    pub fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Accept<S> {
        TlsAcceptor::from(Arc::clone(&self.control)).accept(stream)
    }

    /// The same on a data connection.
    pub fn accept_data<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Accept<S> {
        TlsAcceptor::from(Arc::clone(&self.data)).accept(stream)
    }

    /// Takes another certificate if there is one. Blocks on files; to be called from time to time, and by one at once.
    pub fn look(&self, now: SystemTime) -> Option<Notice> {
        self.shown.look(now)
    }

    /// When clients no longer take what is in force: the earliest end in its chain.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.shown.expires()
    }

    /// Where the certificate is.
    #[must_use]
    pub fn certificate_file(&self) -> &Path {
        self.shown.certificate_file()
    }

    /// Whether it was opened with these files.
    #[must_use]
    pub fn is_of(&self, files: &config::Tls) -> bool {
        self.shown.is_of(&Files::from(files))
    }

    /// Reads its files as [`Acceptor::open`] does, for [`Acceptor::adopt`]; what is likely not meant comes beside.
    ///
    /// # Errors
    ///
    /// What makes them useless. A certificate that has expired is useless, unless it is the one that is in force: then it
    /// is warned of, as at the start.
    pub fn reread(&self, now: SystemTime) -> Result<(Reread, Vec<CredentialProblem>), CredentialProblem> {
        self.shown.reread(now).map(|(reading, warnings)| (Reread(reading), warnings))
    }

    /// Puts in force what was read.
    pub fn adopt(&self, reread: Reread) {
        self.shown.adopt(reread.0);
    }
}

impl ResolvesServerCert for KeptCredential<Certified> {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.in_force().shown.0))
    }
}
