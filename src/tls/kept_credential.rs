//! The certificate in force, and the two files where another one may be.
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;

use super::credential::{Credential, CredentialProblem, Files, Shown};
use super::file_stamp::{Stamp, is_due, stamp};
use super::validity::Standing;

/// A credential that is replaced when its files have another one. Whoever asks what is in force never waits for files.
#[derive(Debug)]
pub(super) struct KeptCredential<T> {
    files: Files,
    in_force: ArcSwap<Credential<T>>,
    watched: Mutex<Watched>,
}

#[derive(Debug)]
struct Watched {
    /// That of the certificate in force.
    standing: Standing,
    stamps: [Option<Stamp>; 2],
    /// These files were taken or refused.
    settled: bool,
    /// Of these files, the last that was told.
    refused: Option<CredentialProblem>,
    /// When they were read last, if what was wrong may pass.
    failed_at: Option<SystemTime>,
}

/// A credential that was read and not put in force yet.
#[derive(Debug)]
pub(super) struct Reading<T> {
    credential: Credential<T>,
    stamps: [Option<Stamp>; 2],
    standing: Standing,
    is_another: bool,
}

impl<T> Reading<T> {
    /// Whether it is not the one that was in force when it was read.
    pub(super) fn is_another(&self) -> bool {
        self.is_another
    }
}

/// What a look at the files has found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notice {
    /// There is another certificate, and it is in force.
    Replaced(Vec<CredentialProblem>),
    /// What is in the files now cannot be used; the certificate that was in force stays.
    Refused(CredentialProblem),
    /// The one in force is about to expire, or has.
    Lapsing(CredentialProblem),
}

impl Watched {
    fn new(standing: Standing, stamps: [Option<Stamp>; 2]) -> Self {
        Self { standing, stamps, settled: true, refused: None, failed_at: None }
    }
}

impl<T: Shown> KeptCredential<T> {
    /// Reads certificate and key; what is likely not meant comes beside.
    ///
    /// # Errors
    ///
    /// What makes them useless. One that has expired is warned of.
    pub(super) fn open(
        files: Files,
        now: SystemTime,
    ) -> Result<(Self, Vec<CredentialProblem>), CredentialProblem> {
        let stamps = stamps(&files);
        let credential = Credential::read(&files)?;
        let warnings = credential.warnings(&files, now);
        let watched = Mutex::new(Watched::new(credential.validity.standing(now), stamps));
        Ok((Self { files, in_force: ArcSwap::from_pointee(credential), watched }, warnings))
    }

    /// Takes another certificate if there is one. Blocks on files; to be called from time to time, and by one at once.
    ///
    /// Certificate and key are two files, which nobody can replace in one step: what cannot be used is looked at twice
    /// before it is refused, and what was refused is not spoken of again until it changes.
    pub(super) fn look(&self, now: SystemTime) -> Option<Notice> {
        self.look_with(now, Credential::read)
    }

    fn look_with(
        &self,
        now: SystemTime,
        read: impl FnOnce(&Files) -> Result<Credential<T>, CredentialProblem>,
    ) -> Option<Notice> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.files);
        let second_look = stamps == watched.stamps;
        if !second_look {
            watched.refused = None;
        }
        let again = watched.failed_at.is_some_and(|failed_at| is_due(failed_at, now));
        if !(second_look && watched.settled) || again {
            watched.stamps = stamps;
            watched.settled = second_look;
            watched.failed_at = None;
            let usable = read(&self.files).and_then(|credential| {
                self.date_error(&credential, credential.validity.standing(now)).map(|()| credential)
            });
            match usable {
                Ok(credential) => {
                    let warnings = credential.warnings(&self.files, now);
                    let is_another = !self.in_force.load().is_same(&credential);
                    *watched = Watched::new(credential.validity.standing(now), stamps);
                    if is_another {
                        self.in_force.store(Arc::new(credential));
                        return Some(Notice::Replaced(warnings));
                    }
                }
                Err(problem) => {
                    watched.failed_at = problem.may_pass.then_some(now);
                    if second_look && watched.refused.as_ref() != Some(&problem) {
                        watched.refused = Some(problem.clone());
                        return Some(Notice::Refused(problem));
                    }
                }
            }
        }
        let in_force = self.in_force.load();
        let standing = in_force.validity.standing(now);
        let changed = std::mem::replace(&mut watched.standing, standing) != standing;
        changed.then(|| in_force.date_problem(&self.files, standing)).flatten().map(Notice::Lapsing)
    }

    /// What is in force.
    pub(super) fn in_force(&self) -> Arc<Credential<T>> {
        self.in_force.load_full()
    }

    /// When clients no longer take what is in force: the earliest end in its chain.
    pub(super) fn expires(&self) -> SystemTime {
        self.in_force.load().validity.ends()
    }

    /// Where the certificate is.
    pub(super) fn certificate_file(&self) -> &Path {
        &self.files.certificate
    }

    /// Whether it was opened with these files.
    pub(super) fn is_of(&self, files: &Files) -> bool {
        self.files == *files
    }

    /// Reads its files as [`KeptCredential::open`] does, for [`KeptCredential::adopt`]; what is likely not meant comes beside.
    ///
    /// # Errors
    ///
    /// What makes them useless. A certificate that has expired is useless, unless it is the one that is in force: then it
    /// is warned of, as at the start.
    pub(super) fn reread(
        &self,
        now: SystemTime,
    ) -> Result<(Reading<T>, Vec<CredentialProblem>), CredentialProblem> {
        let stamps = stamps(&self.files);
        let credential = Credential::read(&self.files)?;
        let standing = credential.validity.standing(now);
        let is_another = !self.in_force.load().is_same(&credential);
        if is_another {
            self.date_error(&credential, standing)?;
        }
        let warnings = credential.warnings(&self.files, now);
        Ok((Reading { credential, stamps, standing, is_another }, warnings))
    }

    /// Puts in force what was read.
    pub(super) fn adopt(&self, reading: Reading<T>) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        *watched = Watched::new(reading.standing, reading.stamps);
        self.in_force.store(Arc::new(reading.credential));
    }

    fn date_error(&self, credential: &Credential<T>, standing: Standing) -> Result<(), CredentialProblem> {
        match credential.date_problem(&self.files, standing) {
            Some(problem) if !standing.holds() => Err(problem),
            _ => Ok(()),
        }
    }
}

fn stamps(files: &Files) -> [Option<Stamp>; 2] {
    [stamp(&files.certificate), stamp(&files.key)]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tls::credential::{Certified, problem};
    use crate::tls::tests::{A, B, day, files, write};

    #[test]
    fn files_that_could_not_be_read_are_read_again_without_having_changed() {
        let (_directory, tls) = files(A.0, A.1);
        let files = Files::from(&tls);
        let (kept, _) = KeptCredential::<Certified>::open(files.clone(), day(1)).unwrap();
        let at = |seconds: u64| day(1) + Duration::from_secs(seconds);
        let unread =
            |what: &str| CredentialProblem { may_pass: true, ..problem(&files.key, what.to_owned(), "wait") };
        let fails = |seconds: u64, what: &str| kept.look_with(at(seconds), |_| Err(unread(what)));
        write(&files.certificate, B.0);
        write(&files.key, B.1);
        assert_eq!(fails(0, "EMFILE"), None, "it may be half of a replacement");
        assert_eq!(fails(2, "EMFILE"), Some(Notice::Refused(unread("EMFILE"))));
        let not_now = |seconds: u64| kept.look_with(at(seconds), |_| panic!("read after {seconds} s"));
        assert_eq!([4, 61].map(not_now), [None, None]);
        assert_eq!(fails(62, "EMFILE"), None, "told once");
        assert_eq!(not_now(121), None);
        assert_eq!(fails(122, "EIO"), Some(Notice::Refused(unread("EIO"))));
        // A clock that was put back.
        assert_eq!(fails(10, "EIO"), None);
        assert_eq!(kept.look(at(70)), Some(Notice::Replaced(vec![])));
        assert_eq!(not_now(200), None);
    }
}
