//! The certificate of a real server, as its checks have seen it.
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use x509_cert::der::DateTime;

use crate::balance::{CertificateStanding, ServerCertificate};

/// See the module's text.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ServerCertificateStatus {
    /// In the slash form.
    pub subject: String,
    /// Its last second, since 1970.
    pub not_after: u64,
    /// `fine`, `expires soon` (within 14 days) or `expired`.
    pub standing: String,
    /// Whether it is for the name that clients use.
    pub carries_virtual_name: bool,
    /// That name, where it is not for it.
    pub missing_name: Option<String>,
}

impl From<ServerCertificate> for ServerCertificateStatus {
    fn from(seen: ServerCertificate) -> Self {
        let standing = match seen.standing {
            CertificateStanding::Fine => "fine",
            CertificateStanding::ExpiresSoon => "expires soon",
            CertificateStanding::Expired => "expired",
        };
        Self {
            subject: seen.subject,
            not_after: seen.not_after.as_secs(),
            standing: standing.into(),
            carries_virtual_name: seen.missing_name.is_none(),
            missing_name: seen.missing_name,
        }
    }
}

/// `certificate of /CN=s1 until 2026-12-24T10:00:00Z, carries the virtual name`.
impl fmt::Display for ServerCertificateStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certificate of {} until ", self.subject)?;
        match DateTime::from_unix_duration(Duration::from_secs(self.not_after)) {
            Ok(date) => write!(f, "{date}")?,
            Err(_) => write!(f, "{} s after 1970", self.not_after)?,
        }
        if self.standing != "fine" {
            write!(f, " ({})", self.standing)?;
        }
        match &self.missing_name {
            None => write!(f, ", carries the virtual name"),
            Some(name) => write!(f, ", does not carry the virtual name {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_a_line_that_says_what_is_wrong_with_it() {
        let seen = |standing, missing: Option<&str>| {
            ServerCertificateStatus::from(ServerCertificate {
                subject: "/CN=s1".into(),
                not_after: Duration::from_secs(1_800_000_000),
                missing_name: missing.map(str::to_owned),
                standing,
            })
            .to_string()
        };
        assert_eq!(
            seen(CertificateStanding::Fine, None),
            "certificate of /CN=s1 until 2027-01-15T08:00:00Z, carries the virtual name"
        );
        assert_eq!(
            seen(CertificateStanding::Expired, Some("gridftp.example.org")),
            "certificate of /CN=s1 until 2027-01-15T08:00:00Z (expired), does not carry the virtual name gridftp.example.org"
        );
    }
}
