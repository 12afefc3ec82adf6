//! The trust directory of a grid site (`/etc/grid-security/certificates`), read again when something in it changes.
//!
//! A file system tells nothing reliably here (fetch-crl renames, AFS and NFS are usual), so it is looked at: names and stamps of the
//! files that count. While a change is not settled, and when the directory is gone, what was read before stays in force.
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use super::CredentialProblem;
use super::acceptor::{Stamp, stamp};
use super::credential::problem;
use crate::proto::gsi::{MAX_TRUST_FILES, TrustFile, TrustFileKind, TrustProblem, TrustStore};

/// Largest file that is read: a revocation list of the largest size that is understood, as PEM.
const MAX_TRUST_FILE: u64 = 48 * 1024 * 1024;

/// How often to look. A change is taken at the second look that sees it: a revocation has to take effect within a minute.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Files that change again and again are read in between all the same: fetch-crl takes minutes for all of its lists.
const SETTLES_WITHIN: Duration = Duration::from_secs(20);

/// What the files of a directory say, in force.
#[derive(Debug)]
pub struct TrustDirectory {
    directory: PathBuf,
    store: ArcSwap<TrustStore>,
    watched: Mutex<Watched>,
}

type Stamps = BTreeMap<String, Option<Stamp>>;

#[derive(Debug)]
struct Watched {
    /// What was read, or refused.
    taken: Option<Stamps>,
    /// What the last look has seen.
    seen: Option<Stamps>,
    looked_at: SystemTime,
    /// Since when something has changed that was not taken.
    unsettled_since: Option<SystemTime>,
    problems: Vec<TrustProblem>,
}

/// What [`TrustDirectory::look`] has found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TrustNotice {
    /// The files have changed, and what they say is in force.
    Reread {
        /// How many certificates of authorities there are.
        authorities: usize,
        /// What was not wrong before.
        problems: Vec<TrustProblem>,
    },
    /// The directory cannot be read; what was in force stays.
    Refused(CredentialProblem),
}

impl TrustDirectory {
    /// Reads a directory. What is wrong with single files comes beside, and can be had later from [`Self::problems`].
    ///
    /// # Errors
    ///
    /// When the directory cannot be read, or has no authority in it that can be used.
    pub fn open(directory: &Path, now: SystemTime) -> Result<(Self, Vec<TrustProblem>), CredentialProblem> {
        let stamps = stamps(directory)?;
        let (store, problems) = read(directory, &stamps)?;
        let watched = Watched {
            taken: Some(stamps.clone()),
            seen: Some(stamps),
            looked_at: now,
            unsettled_since: None,
            problems: problems.clone(),
        };
        let store = ArcSwap::from_pointee(store);
        Ok((Self { directory: directory.to_owned(), store, watched: Mutex::new(watched) }, problems))
    }

    /// What is in force.
    pub fn store(&self) -> Arc<TrustStore> {
        self.store.load_full()
    }

    /// Whether it was opened with this directory.
    #[must_use]
    pub fn is_of(&self, directory: &Path) -> bool {
        self.directory == directory
    }

    /// What is wrong with single files now.
    pub fn problems(&self) -> Vec<TrustProblem> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).problems.clone()
    }

    /// Takes what has changed. Blocks on files; to be called from time to time, as often as one likes, and by one at once.
    pub fn look(&self, now: SystemTime) -> Option<TrustNotice> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was put back must not stop it.
        if now.duration_since(watched.looked_at).is_ok_and(|since| since < LOOK_EVERY) {
            return None;
        }
        watched.looked_at = now;
        let seen = stamps(&self.directory);
        let settled = seen.as_ref().ok() == watched.seen.as_ref();
        watched.seen = seen.as_ref().ok().cloned();
        if watched.seen == watched.taken {
            watched.unsettled_since = None;
            return None;
        }
        let since = *watched.unsettled_since.get_or_insert(now);
        if !settled && now.duration_since(since).is_ok_and(|since| since < SETTLES_WITHIN) {
            return None;
        }
        watched.unsettled_since = None;
        watched.taken = watched.seen.clone();
        match seen.and_then(|stamps| read(&self.directory, &stamps)) {
            Ok((store, problems)) => {
                let authorities = store.authorities().len();
                self.store.store(Arc::new(store));
                let before = std::mem::replace(&mut watched.problems, problems.clone());
                let problems = problems.into_iter().filter(|problem| !before.contains(problem)).collect();
                Some(TrustNotice::Reread { authorities, problems })
            }
            Err(problem) => Some(TrustNotice::Refused(problem)),
        }
    }
}

/// Names and stamps of the files that count.
fn stamps(directory: &Path) -> Result<Stamps, CredentialProblem> {
    let unreadable = |error: std::io::Error| {
        problem(
            directory,
            format!("the trust directory cannot be read: {error}"),
            "install the authorities' certificates there, readable for the door",
        )
    };
    let mut stamps = Stamps::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if TrustFileKind::of(&name).is_some() {
            stamps.insert(name, stamp(&entry.path()));
        }
        // One more than is read, so that it is told.
        if stamps.len() > MAX_TRUST_FILES {
            break;
        }
    }
    Ok(stamps)
}

fn read(directory: &Path, stamps: &Stamps) -> Result<(TrustStore, Vec<TrustProblem>), CredentialProblem> {
    let contents: Vec<(&str, Result<Vec<u8>, String>)> =
        stamps.keys().map(|name| (name.as_str(), read_file(&directory.join(name)))).collect();
    let files = contents
        .iter()
        .map(|(name, content)| TrustFile { name, content: content.as_deref().map_err(String::as_str) });
    let (store, problems) = TrustStore::from_files(files);
    if store.authorities().is_empty() {
        let first = problems.first().map(|problem| format!(" ({problem})")).unwrap_or_default();
        return Err(problem(
            directory,
            format!("there is no authority that could be trusted{first}"),
            "install certificates as HASH.0 with HASH.signing_policy, as `openssl rehash` and the IGTF packages do",
        ));
    }
    Ok((store, problems))
}

fn read_file(file: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("it cannot be read: {error}");
    // Opening a pipe would wait for ever.
    if !std::fs::metadata(file).map_err(failed)?.is_file() {
        return Err("it is no file".to_owned());
    }
    let mut content = Vec::new();
    let file = std::fs::File::open(file).map_err(failed)?;
    file.take(MAX_TRUST_FILE + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_TRUST_FILE {
        return Err("it is larger than 48 MiB".to_owned());
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::proto::gsi::issuing::{NOW, Request, Revocations, key, name, pem};
    use crate::proto::gsi::{Reason, verify};
    use rustls::pki_types::{CertificateDer, UnixTime};

    const POLICY: &str =
        "access_id_CA X509 '/O=Grid/CN=A'\npos_rights globus CA:sign\ncond_subjects globus '\"/O=Grid/*\"'\n";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW + seconds)
    }

    fn site() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let authority = Request::authority(&name("A"), &name("A"), key(0)).sign(key(0));
        fs::write(directory.path().join("0000000a.0"), pem("CERTIFICATE", &authority)).unwrap();
        fs::write(directory.path().join("0000000a.signing_policy"), POLICY).unwrap();
        directory
    }

    fn revoke(directory: &Path, serial: u8) {
        let list = Revocations::new(&name("A"), &[&[serial]]).sign(key(0));
        // As fetch-crl does it.
        fs::write(directory.join("new"), pem("X509 CRL", &list)).unwrap();
        fs::rename(directory.join("new"), directory.join("0000000a.r0")).unwrap();
    }

    fn login(directory: &TrustDirectory) -> Result<(), Reason> {
        let user = Request::end_entity(&name("A"), &name("User"), key(2)).sign(key(0));
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
        verify(&[CertificateDer::from(user)], &directory.store(), now)
            .map(|_| ())
            .map_err(|error| error.reason)
    }

    #[test]
    fn a_revocation_takes_effect_at_the_second_look_that_sees_it() {
        let site = site();
        let (directory, problems) = TrustDirectory::open(site.path(), at(0)).unwrap();
        assert_eq!((problems, login(&directory)), (Vec::new(), Ok(())));
        assert_eq!(directory.look(at(5)), None, "nothing has changed");
        revoke(site.path(), 77);
        assert_eq!(directory.look(at(6)), None, "it has just been looked at");
        assert_eq!(directory.look(at(10)), None, "it may be half written");
        assert_eq!(login(&directory), Ok(()));
        assert_eq!(
            directory.look(at(15)),
            Some(TrustNotice::Reread { authorities: 1, problems: Vec::new() })
        );
        assert_eq!(login(&directory), Err(Reason::Revoked));
        assert_eq!(directory.look(at(20)), None);
        // A clock that was put back by an hour.
        revoke(site.path(), 78);
        let looks: Vec<_> = [0, 5]
            .into_iter()
            .map(|seconds| directory.look(at(seconds) - Duration::from_secs(3600)))
            .collect();
        assert!(matches!(looks[1], Some(TrustNotice::Reread { .. })), "{looks:?}");
        assert_eq!(login(&directory), Ok(()));
    }

    #[test]
    fn a_directory_that_never_comes_to_rest_is_read_all_the_same() {
        let site = site();
        let (directory, _) = TrustDirectory::open(site.path(), at(0)).unwrap();
        let mut taken = Vec::new();
        for second in (5..=60).step_by(5) {
            // One list after the other, as fetch-crl does it.
            revoke(site.path(), u8::try_from(second).unwrap());
            if directory.look(at(second)).is_some() {
                taken.push(second);
            }
        }
        assert_eq!(taken, [25, 50]);
    }

    #[test]
    fn what_is_wrong_is_told_once_and_a_directory_that_is_gone_leaves_all_in_force() {
        let site = site();
        let (directory, _) = TrustDirectory::open(site.path(), at(0)).unwrap();
        let looks = |from: u64| {
            [directory.look(at(from)), directory.look(at(from + 5)), directory.look(at(from + 10))]
        };
        fs::write(site.path().join("0000000b.0"), "?").unwrap();
        let [None, Some(TrustNotice::Reread { authorities: 1, problems }), None] = looks(10) else {
            panic!("no notice")
        };
        assert!(problems[0].to_string().starts_with("0000000b.0: there is no certificate"), "{problems:?}");
        fs::write(site.path().join("0000000c.info"), "of no concern").unwrap();
        assert_eq!(looks(30), [None, None, None]);
        fs::create_dir(site.path().join("0000000d.r0")).unwrap();
        let [None, Some(TrustNotice::Reread { problems, .. }), None] = looks(50) else { panic!("no notice") };
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["0000000d.r0: it is no file"]);
        assert_eq!(directory.problems().len(), 2);
        let away = site.path().with_extension("away");
        fs::rename(site.path(), &away).unwrap();
        let [None, Some(TrustNotice::Refused(refused)), None] = looks(70) else { panic!("no notice") };
        assert!(refused.to_string().contains("the trust directory cannot be read"), "{refused}");
        assert_eq!(login(&directory), Ok(()));
        fs::rename(&away, site.path()).unwrap();
        assert!(matches!(looks(90), [None, Some(TrustNotice::Reread { .. }), None]));
    }

    #[test]
    fn a_directory_without_an_authority_is_refused_with_a_reason() {
        let empty = tempfile::tempdir().unwrap();
        let error = TrustDirectory::open(empty.path(), at(0)).unwrap_err().to_string();
        assert!(error.contains("there is no authority that could be trusted"), "{error}");
        fs::write(empty.path().join("0000000a.0"), "?").unwrap();
        let error = TrustDirectory::open(empty.path(), at(0)).unwrap_err().to_string();
        assert!(error.contains("0000000a.0: there is no certificate in it"), "{error}");
        assert!(TrustDirectory::open(&empty.path().join("none"), at(0)).is_err());
    }
}
