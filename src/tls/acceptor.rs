//! The door's side of TLS with clients: one for a virtual server, for control and data connections alike.
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{Accept, TlsAcceptor};

use super::credential::{Credential, problem};
use super::validity::Standing;
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
    files: config::Tls,
    control: Arc<ServerConfig>,
    data: Arc<ServerConfig>,
    shown: Arc<Shown>,
    watched: Mutex<Watched>,
}

/// The certificate in force. Its lock is never held while files are read.
#[derive(Debug)]
struct Shown(RwLock<Presented>);

#[derive(Debug)]
struct Presented {
    certified: Arc<CertifiedKey>,
    expires: SystemTime,
}

impl Presented {
    fn of(credential: &Credential) -> Self {
        Self { certified: Arc::clone(&credential.certified), expires: credential.validity.ends() }
    }
}

#[derive(Debug)]
struct Watched {
    in_force: Credential,
    standing: Standing,
    stamps: [Option<Stamp>; 2],
    /// These files were taken or refused.
    settled: bool,
}

/// What of a file changes when it is written or replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    inode: (u64, u64),
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A certificate that was read and not put in force yet.
#[derive(Debug)]
pub struct Reread {
    credential: Credential,
    stamps: [Option<Stamp>; 2],
    standing: Standing,
    is_another: bool,
}

impl Reread {
    /// Whether it is not the one that was in force when it was read.
    #[must_use]
    pub fn is_another(&self) -> bool {
        self.is_another
    }
}

/// What [`Acceptor::look`] has found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notice {
    /// There is another certificate, and it is in force.
    Replaced(Vec<CredentialProblem>),
    /// What is in the files now cannot be used; the certificate that was in force stays.
    Refused(CredentialProblem),
    /// The one in force is about to expire, or has.
    Lapsing(CredentialProblem),
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
        let stamps = stamps(files);
        let in_force = Credential::read(files)?;
        let warnings = in_force.warnings(files, now);
        let shown = Arc::new(Shown(RwLock::new(Presented::of(&in_force))));
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
        let standing = in_force.validity.standing(now);
        let watched = Mutex::new(Watched { in_force, standing, stamps, settled: true });
        // A client that only sends never reads them, and closing a socket with unread bytes sends RST, which takes the end
        // of its file away. For data connections there are the tickets of the control connection.
        let mut data = config.clone();
        data.send_tls13_tickets = 0;
        let (control, data) = (Arc::new(config), Arc::new(data));
        Ok((Self { files: files.clone(), control, data, shown, watched }, warnings))
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
    ///
    /// Certificate and key are two files, which nobody can replace in one step: what cannot be used is looked at twice
    /// before it is refused, and what was refused is not spoken of again until it changes.
    pub fn look(&self, now: SystemTime) -> Option<Notice> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.files);
        let second_look = stamps == watched.stamps;
        if !(second_look && watched.settled) {
            watched.stamps = stamps;
            watched.settled = second_look;
            match self.usable(now) {
                Ok(credential) => {
                    watched.settled = true;
                    if credential.certified.cert != watched.in_force.certified.cert {
                        return Some(Notice::Replaced(self.replace(&mut watched, credential, now)));
                    }
                }
                Err(problem) if second_look => return Some(Notice::Refused(problem)),
                Err(_) => {}
            }
        }
        let standing = watched.in_force.validity.standing(now);
        let changed = std::mem::replace(&mut watched.standing, standing) != standing;
        changed.then(|| watched.in_force.date_problem(&self.files, standing)).flatten().map(Notice::Lapsing)
    }

    /// When clients no longer take what is in force: the earliest end in its chain.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.shown.0.read().unwrap_or_else(PoisonError::into_inner).expires
    }

    /// Where the certificate is.
    #[must_use]
    pub fn certificate_file(&self) -> &Path {
        &self.files.certificate
    }

    /// Whether it was opened with these files.
    #[must_use]
    pub fn is_of(&self, files: &config::Tls) -> bool {
        (&self.files.certificate, &self.files.key) == (&files.certificate, &files.key)
    }

    /// Reads its files as [`Acceptor::open`] does, for [`Acceptor::adopt`]; what is likely not meant comes beside.
    ///
    /// # Errors
    ///
    /// What makes them useless. A certificate that has expired is useless, unless it is the one that is in force: then it
    /// is warned of, as at the start.
    pub fn reread(&self, now: SystemTime) -> Result<(Reread, Vec<CredentialProblem>), CredentialProblem> {
        let stamps = stamps(&self.files);
        let credential = Credential::read(&self.files)?;
        let standing = credential.validity.standing(now);
        let is_another = !self.shows(&credential);
        if is_another {
            self.date_error(&credential, standing)?;
        }
        let warnings = credential.warnings(&self.files, now);
        Ok((Reread { credential, stamps, standing, is_another }, warnings))
    }

    /// Puts in force what was read.
    pub fn adopt(&self, reread: Reread) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shown = self.shown.0.write().unwrap_or_else(PoisonError::into_inner);
        *shown = Presented::of(&reread.credential);
        *watched = Watched {
            in_force: reread.credential,
            standing: reread.standing,
            stamps: reread.stamps,
            settled: true,
        };
    }

    fn shows(&self, credential: &Credential) -> bool {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.in_force.certified.cert == credential.certified.cert
    }

    fn date_error(&self, credential: &Credential, standing: Standing) -> Result<(), CredentialProblem> {
        match credential.date_problem(&self.files, standing) {
            Some(problem) if !standing.holds() => Err(problem),
            _ => Ok(()),
        }
    }

    fn usable(&self, now: SystemTime) -> Result<Credential, CredentialProblem> {
        let credential = Credential::read(&self.files)?;
        let standing = credential.validity.standing(now);
        self.date_error(&credential, standing).map(|()| credential)
    }

    fn replace(
        &self,
        watched: &mut Watched,
        credential: Credential,
        now: SystemTime,
    ) -> Vec<CredentialProblem> {
        let mut shown = self.shown.0.write().unwrap_or_else(PoisonError::into_inner);
        *shown = Presented::of(&credential);
        let warnings = credential.warnings(&self.files, now);
        watched.standing = credential.validity.standing(now);
        watched.in_force = credential;
        warnings
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).certified))
    }
}

fn stamps(files: &config::Tls) -> [Option<Stamp>; 2] {
    [stamp(&files.certificate), stamp(&files.key)]
}

pub(super) fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(file).ok()?;
    Some(Stamp {
        inode: (metadata.dev(), metadata.ino()),
        length: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}
