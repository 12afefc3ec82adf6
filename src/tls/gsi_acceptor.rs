//! The door's side of GSI: its host credential and whom it trusts, for clients and towards real servers.
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::pki_types::UnixTime;

use super::acceptor::{Stamp, stamp};
use super::credential::{CredentialProblem, certificates, is_open, private_key, problem};
use super::provider;
use super::trust_directory::{TrustDirectory, TrustNotice};
use super::validity::Validity;
use crate::config;
use crate::proto::gsi::{
    AcceptError, Acceptor, AcceptorConfig, Credential, Delegated, ExpectedPeer, HostNames, InitiatorConfig,
    PrivateKey, TrustProblem,
};

/// See the module's text.
#[derive(Debug)]
pub struct GsiAcceptor {
    files: config::Gsi,
    shown: ArcSwap<Shown>,
    trust: TrustDirectory,
    stamps: Mutex<[Option<Stamp>; 2]>,
    /// Kept beside: whoever asks must not wait for files.
    trust_problems: AtomicUsize,
}

/// The host credential in force.
#[derive(Debug)]
struct Shown {
    credential: Credential,
    config: AcceptorConfig,
    expires: SystemTime,
}

impl Shown {
    fn new(credential: Credential, validity: &Validity) -> Self {
        let expires = validity.ends();
        Self { config: AcceptorConfig::new(provider(), &credential), credential, expires }
    }
}

/// What [`GsiAcceptor::look`] has found.
#[derive(Debug)]
pub enum GsiNotice {
    /// There is another host certificate, and it is in force.
    Replaced,
    /// What is in the files now cannot be used; what was in force stays.
    Refused(CredentialProblem),
    /// Of the directory of authorities.
    Trust(TrustNotice),
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
        let stamps = stamps(files);
        let (shown, mut warnings) = read(files, now)?;
        let (trust, problems) = TrustDirectory::open(&files.trust_anchors, now)?;
        warnings.extend(problems.iter().map(|problem| of_directory(&files.trust_anchors, problem)));
        let acceptor = Self {
            files: files.clone(),
            shown: ArcSwap::from_pointee(shown),
            trust,
            stamps: Mutex::new(stamps),
            trust_problems: AtomicUsize::new(problems.len()),
        };
        Ok((acceptor, warnings))
    }

    /// Begins with one client.
    ///
    /// # Errors
    ///
    /// As [`Acceptor::new`].
    pub fn accept(&self, now: UnixTime) -> Result<Acceptor, AcceptError> {
        Acceptor::new(&self.shown.load().config, self.trust.store(), now)
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
            credential: robot.unwrap_or_else(|| self.shown.load().credential.clone()),
            trust: self.trust.store(),
            expected,
            delegates: false,
        }
    }

    /// Whether it was opened with these files.
    #[must_use]
    pub fn is_of(&self, files: &config::Gsi) -> bool {
        let config::Gsi { certificate, key, trust_anchors, identities: _ } = files;
        let own = &self.files;
        (&own.certificate, &own.key, &own.trust_anchors) == (certificate, key, trust_anchors)
    }

    /// The hosts that its certificate is for: the names that clients use.
    pub fn host_names(&self) -> Vec<String> {
        HostNames::of(self.shown.load().credential.leaf())
    }

    /// Takes another host certificate, or other authorities, if there are. Blocks on files; to be called from time to time.
    pub fn look(&self, now: SystemTime) -> Vec<GsiNotice> {
        let mut notices = Vec::new();
        let mut known = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.files);
        if *known != stamps {
            *known = stamps;
            match read(&self.files, now) {
                Ok((shown, _)) => {
                    self.shown.store(Arc::new(shown));
                    notices.push(GsiNotice::Replaced);
                }
                Err(problem) => notices.push(GsiNotice::Refused(problem)),
            }
        }
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
        notices.extend(of_trust.map(GsiNotice::Trust));
        notices
    }

    /// When clients no longer take the host certificate in force: the earliest end in its chain.
    pub fn expires(&self) -> SystemTime {
        self.shown.load().expires
    }

    /// Where the host certificate is.
    pub fn certificate_file(&self) -> &Path {
        &self.files.certificate
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

fn stamps(files: &config::Gsi) -> [Option<Stamp>; 2] {
    [stamp(&files.certificate), stamp(&files.key)]
}

fn read(files: &config::Gsi, now: SystemTime) -> Result<(Shown, Vec<CredentialProblem>), CredentialProblem> {
    let chain = certificates(&files.certificate)?;
    let validity = Validity::of(&chain).map_err(|reason| {
        problem(
            &files.certificate,
            format!("cannot be understood: {reason}"),
            "see what `openssl x509 -text -in` makes of it",
        )
    })?;
    let key = PrivateKey::from_der(&private_key(&files.key)?).map_err(|error| {
        problem(&files.key, error.to_string(), "use the key with which the certificate was requested")
    })?;
    let credential = Credential::new(chain, key).map_err(|error| {
        problem(
            &files.certificate,
            error.to_string(),
            "put the host's certificate first in its file, with its own key beside it",
        )
    })?;
    let mut warnings = Vec::new();
    if is_open(&files.key) {
        let what = "everybody on this host can read the private key".to_owned();
        warnings.push(problem(&files.key, what, "take that away: chmod o-r"));
    }
    let standing = validity.standing(now);
    if !matches!(standing, super::validity::Standing::Fine) {
        let mend = "renew it; a new one in the file is taken without a restart";
        warnings.push(problem(&files.certificate, validity.words(standing), mend));
    }
    Ok((Shown::new(credential, &validity), warnings))
}
