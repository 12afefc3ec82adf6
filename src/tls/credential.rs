//! A certificate chain and its key, from files.
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::file_stamp::may_pass;
use super::validity::{Standing, Validity};
use crate::config;
use crate::proto::secret::{Secret, Zeroizing};

/// Most that is read of one file, in bytes: a chain is some 10 kB, and a whole bundle of authorities some 300.
const MAX_PEM_LEN: u64 = 1 << 20;

/// Permission bit of those who are neither the owner nor of the group.
const READABLE_BY_OTHERS: u32 = 0o004;

/// What is wrong with a certificate, a key or a trust anchor. It reads `file: what; how to mend it`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}: {what}; {mend}", .file.display())]
pub struct CredentialProblem {
    /// Where.
    pub file: PathBuf,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub mend: String,
    /// It may be fine later without a change of the file.
    pub may_pass: bool,
}

/// Where a certificate chain and its key are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl From<&config::Tls> for Files {
    fn from(tls: &config::Tls) -> Self {
        Self { certificate: tls.certificate.clone(), key: tls.key.clone() }
    }
}

impl From<&config::Gsi> for Files {
    fn from(gsi: &config::Gsi) -> Self {
        Self { certificate: gsi.certificate.clone(), key: gsi.key.clone() }
    }
}

/// What is made of a chain and its key, to be shown.
pub(super) trait Shown: Sized {
    /// # Errors
    ///
    /// Why they are no use.
    fn of(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
        files: &Files,
    ) -> Result<Self, CredentialProblem>;
}

/// A certificate that can be shown.
#[derive(Debug)]
pub(super) struct Credential<T> {
    pub(super) shown: T,
    /// As it is in its file.
    chain: Vec<CertificateDer<'static>>,
    pub(super) validity: Validity,
    key_is_open: bool,
}

/// For TLS.
#[derive(Debug)]
pub(super) struct Certified(pub(super) Arc<CertifiedKey>);

impl Shown for Certified {
    fn of(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
        files: &Files,
    ) -> Result<Self, CredentialProblem> {
        // As `CertifiedKey::from_der` does, which would keep a copy of the key.
        let certified = rustls::crypto::aws_lc_rs::sign::any_supported_type(key).and_then(|key| {
            let certified = CertifiedKey::new(chain, key);
            match certified.keys_match() {
                Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
                Err(error) => Err(error),
            }
        });
        let certified = certified.map_err(|error| match error {
            Error::InconsistentKeys(_) => problem(
                &files.key,
                format!("the key does not belong to the certificate in {}", files.certificate.display()),
                "put the key there with which the certificate was requested; the host's own certificate comes first \
                 in its file, those of authorities behind it",
            ),
            Error::InvalidCertificate(reason) => unreadable(&files.certificate, &reason.to_string()),
            error => problem(
                &files.key,
                format!("the key cannot be used: {error}"),
                "use an RSA key of 2048 bits or more, ECDSA (P-256, P-384, P-521) or Ed25519",
            ),
        })?;
        Ok(Self(Arc::new(certified)))
    }
}

/// Reads what `tls` names, as a start would: what is likely not meant, or the reason why there could be none.
///
/// # Errors
///
/// The first thing that makes it useless.
pub fn examine(tls: &config::Tls, now: SystemTime) -> Result<Vec<CredentialProblem>, CredentialProblem> {
    let files = Files::from(tls);
    Credential::<Certified>::read(&files).map(|credential| credential.warnings(&files, now))
}

impl<T: Shown> Credential<T> {
    pub(super) fn read(files: &Files) -> Result<Self, CredentialProblem> {
        let chain = certificates(&files.certificate)?;
        let key = private_key(&files.key)?;
        let validity = Validity::of(&chain).map_err(|reason| unreadable(&files.certificate, &reason))?;
        let shown = T::of(chain.clone(), &key, files)?;
        Ok(Self { shown, chain, validity, key_is_open: is_open(&files.key) })
    }

    /// Whether clients see no difference.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.chain == other.chain
    }

    /// What is likely not meant.
    pub(super) fn warnings(&self, files: &Files, now: SystemTime) -> Vec<CredentialProblem> {
        let mut warnings = Vec::new();
        if self.key_is_open {
            warnings.push(problem(
                &files.key,
                "everybody on this host can read the private key".into(),
                "take that away: chmod o-r",
            ));
        }
        warnings.extend(self.date_problem(files, self.validity.standing(now)));
        warnings
    }

    pub(super) fn date_problem(&self, files: &Files, standing: Standing) -> Option<CredentialProblem> {
        let mend = match standing {
            Standing::Fine => return None,
            Standing::NotYet => "see whether the clock of this host is right; clients refuse it until then",
            Standing::Soon => "renew it; a new one in the file is taken without a restart",
            Standing::Expired => {
                "clients refuse it: renew it; a new one in the file is taken without a restart"
            }
        };
        let found = problem(&files.certificate, self.validity.words(standing), mend);
        Some(CredentialProblem { may_pass: standing == Standing::NotYet, ..found })
    }
}

/// The certificates of a PEM file, at least one.
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialProblem> {
    let bytes = read(file)?;
    let chain: Vec<CertificateDer<'static>> = rustls_pemfile::certs(&mut &bytes[..])
        .collect::<io::Result<_>>()
        .map_err(|error| unreadable(file, &error.to_string()))?;
    if chain.is_empty() {
        let what = "there is no certificate in it".into();
        return Err(problem(file, what, "put it there as PEM, with a line BEGIN CERTIFICATE"));
    }
    Ok(chain)
}

pub(super) fn private_key(file: &Path) -> Result<Zeroizing<PrivateKeyDer<'static>>, CredentialProblem> {
    let bytes = read(file)?;
    let encrypted = || bytes.windows(b"ENCRYPTED".len()).any(|window| window == b"ENCRYPTED");
    match rustls_pemfile::private_key(&mut &bytes[..]) {
        Ok(Some(key)) => Ok(Zeroizing::new(key)),
        // PKCS #8 has a heading of its own for such keys, the older form a line inside that is no base64.
        Ok(None) | Err(_) if encrypted() => Err(problem(
            file,
            "the private key is encrypted, and nobody can be asked for its passphrase at a start".into(),
            "decrypt it: openssl pkey -in FILE -out NEW, with permissions for the daemon alone",
        )),
        Ok(None) => Err(problem(
            file,
            "there is no private key in it".into(),
            "put it there as PEM, with a line BEGIN PRIVATE KEY",
        )),
        Err(error) => Err(unreadable(file, &error.to_string())),
    }
}

/// A key may be in it, whoever asks.
fn read(file: &Path) -> Result<Secret, CredentialProblem> {
    let result = File::open(file).and_then(|opened| {
        // As large as it will be: growing would leave copies behind. One more, for the read that finds the end.
        let length = usize::try_from(opened.metadata()?.len().min(MAX_PEM_LEN)).unwrap_or(0) + 1;
        let mut bytes = Secret::new(Vec::with_capacity(length));
        opened.take(MAX_PEM_LEN).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    match result {
        Ok(bytes) => Ok(bytes),
        Err(error) => {
            let mend = "check that it exists and that the daemon's user may read it";
            let found = problem(file, format!("cannot be read: {error}"), mend);
            Err(CredentialProblem { may_pass: may_pass(&error), ..found })
        }
    }
}

/// Whether it is for more eyes than it should be; a file that cannot be asked is found by reading it.
fn is_open(key: &Path) -> bool {
    std::fs::metadata(key).is_ok_and(|metadata| metadata.mode() & READABLE_BY_OTHERS != 0)
}

fn unreadable(file: &Path, reason: &str) -> CredentialProblem {
    problem(
        file,
        format!("cannot be understood: {reason}"),
        "see what `openssl x509 -text -in` or `openssl pkey -in` make of it",
    )
}

pub(super) fn problem(file: &Path, what: String, mend: &str) -> CredentialProblem {
    CredentialProblem { file: file.to_owned(), what, mend: mend.to_owned(), may_pass: false }
}
