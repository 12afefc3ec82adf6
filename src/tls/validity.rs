//! From when to when a certificate chain holds.
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::{DateTime, Decode as _};

/// How long before its end a certificate is worth a warning: time for an authority that answers by hand.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// The part of time in which every certificate of a chain holds, and whose ends they are.
#[derive(Clone, Debug)]
pub(super) struct Validity {
    begins: Bound,
    ends: Bound,
}

#[derive(Clone, Debug)]
struct Bound {
    subject: String,
    at: DateTime,
}

/// What is to be said of it now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    Fine,
    NotYet,
    Soon,
    Expired,
}

impl Validity {
    /// # Errors
    ///
    /// The reason, when one of them is no certificate, or there is none.
    pub(super) fn of(chain: &[CertificateDer<'_>]) -> Result<Self, String> {
        let mut whole: Option<Self> = None;
        for certificate in chain {
            let certificate = Certificate::from_der(certificate).map_err(|error| error.to_string())?;
            let content = certificate.tbs_certificate();
            let bound = |at| Bound { subject: content.subject().to_string(), at };
            let begins = bound(content.validity().not_before.to_date_time());
            let ends = bound(content.validity().not_after.to_date_time());
            whole = Some(match whole {
                None => Self { begins, ends },
                Some(so_far) => Self {
                    begins: if begins.at > so_far.begins.at { begins } else { so_far.begins },
                    ends: if ends.at < so_far.ends.at { ends } else { so_far.ends },
                },
            });
        }
        whole.ok_or_else(|| "there is no certificate".to_owned())
    }

    /// The last moment in which clients take the chain.
    pub(super) fn ends(&self) -> SystemTime {
        self.ends.at.to_system_time()
    }

    pub(super) fn standing(&self, now: SystemTime) -> Standing {
        let ends = self.ends();
        if now > ends {
            Standing::Expired
        } else if now < self.begins.at.to_system_time() {
            Standing::NotYet
        } else if now + EXPIRES_SOON > ends {
            Standing::Soon
        } else {
            Standing::Fine
        }
    }

    /// What is wrong, in words; empty for [`Standing::Fine`].
    pub(super) fn words(&self, standing: Standing) -> String {
        match standing {
            Standing::Fine => String::new(),
            Standing::Expired => {
                format!("the certificate of {} has expired on {}", self.ends.subject, self.ends.at)
            }
            Standing::NotYet => {
                format!("the certificate of {} is not valid before {}", self.begins.subject, self.begins.at)
            }
            Standing::Soon => {
                format!("the certificate of {} expires on {}", self.ends.subject, self.ends.at)
            }
        }
    }
}

impl Standing {
    /// Whether clients take a certificate that stands so.
    pub(super) fn holds(self) -> bool {
        matches!(self, Self::Fine | Self::Soon)
    }
}
