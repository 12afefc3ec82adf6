//! The door's side of GSI: its host credential and whom it trusts, for clients and towards real servers.
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::credential::{CredentialProblem, Files, Shown, certificates, private_key, problem};
use super::kept_credential::{KeptCredential, Notice};
use super::provider;
use super::trust_directory::{TrustDirectories, TrustDirectory};
use crate::config;
use crate::proto::gsi::{
    AcceptError, Acceptor, AcceptorConfig, Credential, Delegated, ExpectedPeer, HostNames, InitiatorConfig,
    PrivateKey, TrustProblem,
};

/// See the module's text.
#[derive(Debug)]
pub struct GsiAcceptor {
    host: KeptCredential<Host>,
    trust: Arc<TrustDirectory>,
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
        key: &PrivateKeyDer<'_>,
        files: &Files,
    ) -> Result<Self, CredentialProblem> {
        let key = PrivateKey::from_der(key).map_err(|error| {
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

impl GsiAcceptor {
    /// Reads the host credential, and the directory of authorities unless it is among those that are open; what is likely not meant
    /// comes beside.
    ///
    /// # Errors
    ///
    /// What makes them useless.
    pub fn open(
        files: &config::Gsi,
        directories: &mut TrustDirectories,
        now: SystemTime,
    ) -> Result<(Self, Vec<CredentialProblem>), CredentialProblem> {
        let (host, mut warnings) = KeptCredential::open(Files::from(files), now)?;
        let (trust, problems) = directories.open(&files.trust_anchors, now)?;
        warnings.extend(problems.iter().map(|problem| of_directory(&files.trust_anchors, problem)));
        Ok((Self { host, trust }, warnings))
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
        self.host.is_of(&Files::from(files)) && self.trust.path() == files.trust_anchors
    }

    /// The hosts that its certificate is for: the names that clients use.
    pub fn host_names(&self) -> Vec<String> {
        HostNames::of(self.host.in_force().shown.credential.leaf())
    }

    /// Takes another host certificate, if there is one. Blocks on files; to be called from time to time, and by one at once.
    pub fn look(&self, now: SystemTime) -> Option<Notice> {
        self.host.look(now)
    }

    /// The directory of authorities, which others may have too: it is to be looked at by itself.
    pub fn trust(&self) -> &Arc<TrustDirectory> {
        &self.trust
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
}

/// Reads a credential from one file, as proxies are kept: certificate, key, and the certificates above it.
///
/// # Errors
///
/// What makes it useless.
pub fn read_robot_credential(file: &Path) -> Result<Credential, CredentialProblem> {
    let key = private_key(file)?;
    let key = PrivateKey::from_der(&key).map_err(|error| {
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
