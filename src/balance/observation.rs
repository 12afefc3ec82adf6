//! What checks have seen of a real server besides whether it is well.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most that is kept of what a server says it can do, in bytes: a Globus server's FEAT and HELP are below 1 KiB.
pub const MAX_CAPABILITIES: usize = 4096;

/// How long before its end a certificate is worth a warning: time for an authority that answers by hand.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// What a check says of one matter.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Observation<T> {
    /// This kind of check does not look at it: nothing is known any more.
    #[default]
    NotLookedAt,
    /// It could not be seen this time: what was seen before still counts.
    AsBefore,
    /// This.
    Seen(T),
}

/// The certificate with which a real server takes GSI logins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerCertificate {
    /// In the slash form.
    pub subject: String,
    /// Its last second, since 1970.
    pub not_after: Duration,
    /// The name that clients use, where the certificate is not for it.
    pub missing_name: Option<String>,
    /// How it stood when it was seen.
    pub standing: CertificateStanding,
}

/// Whether a certificate holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CertificateStanding {
    /// It does.
    Fine,
    /// Not for long any more.
    ExpiresSoon,
    /// Not any more.
    Expired,
}

impl CertificateStanding {
    /// Of what ends at `not_after`, both since 1970.
    #[must_use]
    pub fn of(not_after: Duration, now: Duration) -> Self {
        if now > not_after {
            Self::Expired
        } else if now + EXPIRES_SOON > not_after {
            Self::ExpiresSoon
        } else {
            Self::Fine
        }
    }
}

impl ServerCertificate {
    /// Whether somebody should see to it.
    #[must_use]
    pub fn is_remarkable(&self) -> bool {
        self.missing_name.is_some() || self.standing != CertificateStanding::Fine
    }
}

/// What a server says that it can do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Capabilities {
    /// Lines of FEAT (RFC 2389), without their blank.
    pub features: Vec<String>,
    /// Verbs of HELP.
    pub commands: Vec<String>,
}

impl Capabilities {
    /// Of replies, first and last line included; at most [`MAX_CAPABILITIES`] of them.
    #[must_use]
    pub fn of(features: &[String], help: &[String]) -> Self {
        let mut room = MAX_CAPABILITIES;
        let mut fits = |word: &&str| {
            let fits = word.len() <= room;
            room = room.saturating_sub(word.len());
            fits
        };
        let inner =
            |lines: &[String]| lines.get(1..lines.len().saturating_sub(1)).unwrap_or_default().to_vec();
        let is_shown = |line: &&str| !line.is_empty() && !line.chars().any(char::is_control);
        let (lines, help) = (inner(features), inner(help));
        // Some servers begin each line with the code.
        let feature = |line| -> &str { str::strip_prefix(line, "211-").unwrap_or(line).trim() };
        let is_verb =
            |word: &&str| (3..=5).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_uppercase());
        Self {
            features: lines
                .iter()
                .map(|line| feature(line))
                .filter(is_shown)
                .filter(&mut fits)
                .map(str::to_owned)
                .collect(),
            commands: help
                .iter()
                .flat_map(|line| line.split_ascii_whitespace())
                .filter(is_verb)
                .filter(&mut fits)
                .map(str::to_owned)
                .collect(),
        }
    }

    /// What both can do.
    #[must_use]
    pub fn shared_with(mut self, other: &Self) -> Self {
        self.features.retain(|feature| other.features.contains(feature));
        self.commands.retain(|command| other.commands.contains(command));
        self
    }
}

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Observed {
    certificate: Mutex<Option<ServerCertificate>>,
    capabilities: Mutex<Option<Arc<Capabilities>>>,
}

impl Observed {
    pub(super) fn take(
        &self,
        certificate: Observation<ServerCertificate>,
        capabilities: Observation<Capabilities>,
    ) {
        renew(&self.certificate, certificate, |certificate| certificate);
        renew(&self.capabilities, capabilities, Arc::new);
    }

    pub(super) fn certificate(&self) -> Option<ServerCertificate> {
        lock(&self.certificate).clone()
    }

    pub(super) fn capabilities(&self) -> Option<Arc<Capabilities>> {
        lock(&self.capabilities).clone()
    }
}

fn renew<T, K>(kept: &Mutex<Option<K>>, said: Observation<T>, keep: impl FnOnce(T) -> K) {
    match said {
        Observation::AsBefore => {}
        Observation::NotLookedAt => *lock(kept) = None,
        Observation::Seen(value) => *lock(kept) = Some(keep(value)),
    }
}

/// A thread that died with the lock left a whole value.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn capabilities_are_the_inner_lines_and_no_more_of_them_than_there_is_room_for() {
        let features = lines("211-Extensions supported\n MLST Type*;\n211-SIZE\n\n PARALLEL\n211 End.");
        let help =
            lines("214-The following commands are recognized:\n    ALLO    PWD     MKD \n  not 12\n214 End");
        let seen = Capabilities::of(&features, &help);
        assert_eq!(seen.features, ["MLST Type*;", "SIZE", "PARALLEL"]);
        assert_eq!(seen.commands, ["ALLO", "PWD", "MKD"]);
        assert_eq!(Capabilities::of(&lines("211 no features"), &[]), Capabilities::default());
        let many: Vec<String> = (0..2000).map(|number| format!(" X{number}")).collect();
        let kept = Capabilities::of(&many, &many).features.concat().len();
        assert!(kept <= MAX_CAPABILITIES && kept > MAX_CAPABILITIES - 10, "{kept}");
    }

    #[test]
    fn two_servers_share_what_both_say_in_the_same_words() {
        let of = |features: &str| Capabilities { features: lines(features), commands: lines(features) };
        assert_eq!(of("SIZE\nMLST a;b;\nUTF8").shared_with(&of("UTF8\nMLST a;\nSIZE")), of("SIZE\nUTF8"));
    }

    #[test]
    fn a_certificate_stands_by_the_date() {
        let day = |days: u64| Duration::from_secs(days * 24 * 3600);
        #[rustfmt::skip]
        let table = [
            (day(30), day(1),                          CertificateStanding::Fine),
            (day(30), day(16),                         CertificateStanding::Fine),
            (day(30), day(16) + Duration::from_secs(1), CertificateStanding::ExpiresSoon),
            (day(30), day(30),                         CertificateStanding::ExpiresSoon),
            (day(30), day(30) + Duration::from_secs(1), CertificateStanding::Expired),
        ];
        for (not_after, now, expected) in table {
            assert_eq!(CertificateStanding::of(not_after, now), expected, "{now:?}");
        }
    }

    #[test]
    fn what_was_seen_stays_until_another_is_seen_or_nobody_looks() {
        let observed = Observed::default();
        let seen = Capabilities::of(&lines("211-\n SIZE\n211 End"), &[]);
        observed.take(Observation::NotLookedAt, Observation::Seen(seen.clone()));
        observed.take(Observation::NotLookedAt, Observation::AsBefore);
        assert_eq!(observed.capabilities().as_deref(), Some(&seen));
        observed.take(Observation::NotLookedAt, Observation::NotLookedAt);
        assert_eq!(observed.capabilities(), None);
    }
}
