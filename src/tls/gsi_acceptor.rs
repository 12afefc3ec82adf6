//! The door's side of GSI: its host credential and whom it trusts, for clients and towards real servers.
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::credential::{CredentialProblem, Files, Shown, certificates, private_key, problem};
use super::kept_credential::{KeptCredential, Notice};
use super::provider;
use super::trust_directory::{TrustDirectory, TrustNotice};
use crate::config;
use crate::proto::gsi::{
    AcceptError, Acceptor, AcceptorConfig, Credential, Delegated, ExpectedPeer, HostNames, InitiatorConfig,
    PrivateKey, TrustProblem,
};

/// See the module's text.
#[derive(Debug)]
pub struct GsiAcceptor {
    host: KeptCredential<Host>,
    trust: TrustDirectory,
    /// Kept beside: whoever asks must not wait for files.
    trust_problems: AtomicUsize,
}

/// The host credential.
#[derive(Debug)]
struct Host {
    credential: Credential,
    config: AcceptorConfig,
}

impl Shown for Host {
    fn of(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        files: &Files,
    ) -> Result<Self, CredentialProblem> {
        let key = PrivateKey::from_der(&key).map_err(|error| {
            problem(&files.key, error.to_string(), "use the key with which the certificate was requested")
        })?;
        let credential = Credential::new(chain, key).map_err(|error| {
            problem(
                &files.certificate,
                error.to_string(),
                "put the host's certificate first in its file, with its own key beside it",
            )
        })?;
        Ok(Self { config: AcceptorConfig::new(provider(), &credential), credential })
    }
}

/// What [`GsiAcceptor::look`] has found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GsiNotice {
    /// There is another host certificate, and it is in force.
    Replaced(Vec<CredentialProblem>),
    /// What is in the files now cannot be used; what was in force stays.
    Refused(CredentialProblem),
    /// The host certificate in force is about to expire, or has.
    Lapsing(CredentialProblem),
    /// Of the directory of authorities.
    Trust(TrustNotice),
}

impl From<Notice> for GsiNotice {
    fn from(notice: Notice) -> Self {
        match notice {
            Notice::Replaced(warnings) => Self::Replaced(warnings),
            Notice::Refused(problem) => Self::Refused(problem),
            Notice::Lapsing(problem) => Self::Lapsing(problem),
        }
    }
}

impl GsiAcceptor {
    /// Reads the host credential and the directory of authorities; what is likely not meant comes beside.
    ///
    /// # Errors
    ///
    /// What makes them useless.
    pub fn open(
        files: &config::Gsi,
        now: SystemTime,
    ) -> Result<(Self, Vec<CredentialProblem>), CredentialProblem> {
        let (host, mut warnings) = KeptCredential::open(Files::from(files), now)?;
        let (trust, problems) = TrustDirectory::open(&files.trust_anchors, now)?;
        warnings.extend(problems.iter().map(|problem| of_directory(&files.trust_anchors, problem)));
        Ok((Self { host, trust, trust_problems: AtomicUsize::new(problems.len()) }, warnings))
    }

    /// Begins with one client.
    ///
    /// # Errors
    ///
    /// As [`Acceptor::new`].
    pub fn accept(&self, now: UnixTime) -> Result<Acceptor, AcceptError> {
        Acceptor::new(&self.host.in_force().shown.config, self.trust.store(), now)
    }

    /// For one login at a real server. A credential that must not be delegated any further is not.
    pub fn initiator(&self, user: &Delegated, expected: ExpectedPeer) -> InitiatorConfig {
        InitiatorConfig {
            provider: provider(),
            credential: user.credential.clone(),
            trust: self.trust.store(),
            expected,
            delegates: user.remaining_proxies != Some(0),
        }
    }

    /// For one check of a real server, as this robot, or as the door itself. The server gets nothing to act with.
    pub fn check_initiator(&self, robot: Option<Credential>, expected: ExpectedPeer) -> InitiatorConfig {
        InitiatorConfig {
            provider: provider(),
            credential: robot.unwrap_or_else(|| self.host.in_force().shown.credential.clone()),
            trust: self.trust.store(),
            expected,
            delegates: false,
        }
    }

    /// Whether it was opened with these files.
    #[must_use]
    pub fn is_of(&self, files: &config::Gsi) -> bool {
        self.host.is_of(&Files::from(files)) && self.trust.is_of(&files.trust_anchors)
    }

    /// The hosts that its certificate is for: the names that clients use.
    pub fn host_names(&self) -> Vec<String> {
        HostNames::of(self.host.in_force().shown.credential.leaf())
    }

    /// Takes another host certificate, or other authorities, if there are. Blocks on files; to be called from time to time,
    /// and by one at once.
    pub fn look(&self, now: SystemTime) -> Vec<GsiNotice> {
        let of_host = self.host.look(now).map(GsiNotice::from);
        let of_trust = self.trust.look(now);
        match &of_trust {
            None => {}
            Some(TrustNotice::Reread { .. }) => {
                self.trust_problems.store(self.trust.problems().len(), Relaxed);
            }
            Some(TrustNotice::Refused(_)) => {
                self.trust_problems.fetch_max(1, Relaxed);
            }
        }
        of_host.into_iter().chain(of_trust.map(GsiNotice::Trust)).collect()
    }

    /// When clients no longer take the host certificate in force: the earliest end in its chain.
    pub fn expires(&self) -> SystemTime {
        self.host.expires()
    }

    /// Where the host certificate is.
    pub fn certificate_file(&self) -> &Path {
        self.host.certificate_file()
    }

    /// Authorities that are believed.
    pub fn authorities(&self) -> usize {
        self.trust.store().authorities().len()
    }

    /// Files of the trust directory that are not used, or 1 where the directory cannot be read.
    pub fn trust_problems(&self) -> usize {
        self.trust_problems.load(Relaxed)
    }
}

/// Reads a credential from one file, as proxies are kept: certificate, key, and the certificates above it.
///
/// # Errors
///
/// What makes it useless.
pub fn read_robot_credential(file: &Path) -> Result<Credential, CredentialProblem> {
    let key = PrivateKey::from_der(&private_key(file)?).map_err(|error| {
        problem(file, error.to_string(), "put the key of the first certificate there, as PEM")
    })?;
    Credential::new(certificates(file)?, key).map_err(|error| {
        problem(file, error.to_string(), "put the robot's certificate first, then its key, then its chain")
    })
}

/// A problem with one file of the directory.
pub(super) fn of_directory(directory: &Path, found: &TrustProblem) -> CredentialProblem {
    problem(directory, found.to_string(), "install that authority anew; the others are in force")
}
