//! One file of the directory.
use std::fmt;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use super::Stem;
use crate::proto::gsi::{Certificate, RevocationList, SigningPolicy};

/// A file of a trust directory: its name without the directory, and what is in it, or why that could not be read.
#[derive(Clone, Copy, Debug)]
pub struct TrustFile<'a> {
    /// Such as `1a2b3c4d.0`.
    pub name: &'a str,
    /// All of it.
    pub content: Result<&'a [u8], &'a str>,
}

/// What a file is for, by its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TrustFileKind {
    /// `HASH.N`.
    Certificate,
    /// `HASH.rN`.
    RevocationList,
    /// `HASH.signing_policy`.
    SigningPolicy,
}

/// A file, or an authority, that something is wrong with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrustProblem {
    /// Name of the file, or of the authority.
    pub place: String,
    /// What is wrong and how to mend it.
    pub what: String,
}

impl TrustProblem {
    pub(super) fn new(place: &str, what: impl Into<String>) -> Self {
        Self { place: place.to_owned(), what: what.into() }
    }
}

impl fmt::Display for TrustProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.what)
    }
}

impl TrustFileKind {
    /// Hash and kind; `None` for the other files of such a directory.
    pub fn of(name: &str) -> Option<(&str, Self)> {
        let (stem, extension) = name.split_once('.')?;
        if stem.len() != 8 || !stem.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let is_number =
            |text: &str| (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let kind = match extension {
            "signing_policy" => Self::SigningPolicy,
            number if is_number(number) => Self::Certificate,
            other if other.strip_prefix('r').is_some_and(is_number) => Self::RevocationList,
            _ => return None,
        };
        Some((stem, kind))
    }
}

impl Stem {
    pub(super) fn read(
        &mut self,
        kind: TrustFileKind,
        file: TrustFile<'_>,
        problems: &mut Vec<TrustProblem>,
    ) {
        let outcome = match (file.content, kind) {
            (Err(error), _) => Err(error.to_owned()),
            (Ok(content), TrustFileKind::Certificate) => self.read_certificates(file.name, content),
            (Ok(content), TrustFileKind::RevocationList) => self.read_lists(file.name, content),
            (Ok(content), TrustFileKind::SigningPolicy) => SigningPolicy::parse(content)
                .map(|policy| self.policy = Some(policy))
                .map_err(|error| error.to_string()),
        };
        if let Err(what) = outcome {
            match kind {
                TrustFileKind::Certificate => {}
                TrustFileKind::RevocationList => self.list_unreadable = true,
                TrustFileKind::SigningPolicy => self.policy_unreadable = true,
            }
            problems.push(TrustProblem::new(file.name, what));
        }
    }

    fn read_certificates(&mut self, name: &str, content: &[u8]) -> Result<(), String> {
        let mut found = false;
        for certificate in CertificateDer::pem_slice_iter(content) {
            let certificate =
                certificate.map_err(|error| format!("it is no PEM ({error}); fetch it again"))?;
            let certificate =
                Certificate::from_der(&certificate).map_err(|error| format!("{error}; fetch it again"))?;
            self.certificates.push((name.to_owned(), certificate));
            found = true;
        }
        if found { Ok(()) } else { Err("there is no certificate in it; it should be PEM".to_owned()) }
    }

    fn read_lists(&mut self, name: &str, content: &[u8]) -> Result<(), String> {
        let mut found = false;
        for list in CertificateRevocationListDer::pem_slice_iter(content) {
            let list = list.map_err(|error| format!("it is no PEM ({error}); run fetch-crl"))?;
            let list = RevocationList::from_der(&list).map_err(|error| format!("{error}; run fetch-crl"))?;
            self.lists.push((name.to_owned(), list));
            found = true;
        }
        if found { Ok(()) } else { Err("there is no revocation list in it; run fetch-crl".to_owned()) }
    }
}
