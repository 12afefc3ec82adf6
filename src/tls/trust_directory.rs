//! The trust directory of a grid site (`/etc/grid-security/certificates`), read again when something in it changes.
//!
//! A file system tells nothing reliably here (fetch-crl renames, AFS and NFS are usual), so it is looked at: names and stamps of the
//! files that count. While a change is not settled, and when the directory is gone, what was read before stays in force.
//!
//! A directory is large (some hundred authorities and their lists), and a site has one: all who want it share it.
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use super::CredentialProblem;
use super::credential::problem;
use super::file_stamp::{Stamp, is_due, may_pass, stamp};
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
    /// Kept beside: whoever asks must not wait for files.
    problem_count: AtomicUsize,
}

/// The directories that somebody has open: whoever wants the same path gets the same one.
#[derive(Clone, Debug, Default)]
pub struct TrustDirectories(Vec<Weak<TrustDirectory>>);

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
    /// What was told last, if nothing could be read since.
    refused: Option<CredentialProblem>,
    /// When a file could last not be read, by an error that may pass.
    failed_at: Option<SystemTime>,
}

/// Why there is no content of a file.
#[derive(Debug)]
struct Unread {
    what: String,
    may_pass: bool,
}

/// What has come of reading a directory.
struct Reading {
    outcome: Result<(TrustStore, Vec<TrustProblem>), CredentialProblem>,
    /// Some file could not be read, by an error that may pass.
    may_pass: bool,
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

impl TrustDirectories {
    /// As [`TrustDirectory::open`]; of one that is open already nothing is read, and no problem told again.
    ///
    /// # Errors
    ///
    /// As [`TrustDirectory::open`].
    pub fn open(
        &mut self,
        directory: &Path,
        now: SystemTime,
    ) -> Result<(Arc<TrustDirectory>, Vec<TrustProblem>), CredentialProblem> {
        self.0.retain(|known| known.strong_count() > 0);
        let mut known = self.0.iter().filter_map(Weak::upgrade);
        if let Some(known) = known.find(|known| known.directory == directory) {
            return Ok((known, Vec::new()));
        }
        let (opened, problems) = TrustDirectory::open(directory, now)?;
        let opened = Arc::new(opened);
        self.0.push(Arc::downgrade(&opened));
        Ok((opened, problems))
    }
}

impl TrustDirectory {
    /// Reads a directory. What is wrong with single files comes beside.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read, or has no authority in it that can be used.
    pub fn open(directory: &Path, now: SystemTime) -> Result<(Self, Vec<TrustProblem>), CredentialProblem> {
        let stamps = stamps(directory)?;
        let Reading { outcome, may_pass } = read(directory, &stamps, read_file);
        let (store, problems) = outcome?;
        let watched = Watched {
            taken: Some(stamps.clone()),
            seen: Some(stamps),
            looked_at: now,
            unsettled_since: None,
            problems: problems.clone(),
            refused: None,
            failed_at: may_pass.then_some(now),
        };
        let opened = Self {
            directory: directory.to_owned(),
            store: ArcSwap::from_pointee(store),
            watched: Mutex::new(watched),
            problem_count: AtomicUsize::new(problems.len()),
        };
        Ok((opened, problems))
    }

    /// What is in force.
    pub fn store(&self) -> Arc<TrustStore> {
        self.store.load_full()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Files that are not used now, or 1 where the directory cannot be read.
    pub fn problem_count(&self) -> usize {
        self.problem_count.load(Relaxed)
    }

    /// Takes what has changed. Blocks on files; to be called from time to time, as often as one likes, and by one at once.
    ///
    /// Where a file could not be read by an error that may pass, everything is read again from time to time, and what is new
    /// is told.
    pub fn look(&self, now: SystemTime) -> Option<TrustNotice> {
        self.look_with(now, read_file)
    }

    fn look_with(
        &self,
        now: SystemTime,
        read_file: impl Fn(&Path) -> Result<Vec<u8>, Unread>,
    ) -> Option<TrustNotice> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was put back must not stop it.
        if now.duration_since(watched.looked_at).is_ok_and(|since| since < LOOK_EVERY) {
            return None;
        }
        watched.looked_at = now;
        let seen = stamps(&self.directory);
        let settled = seen.as_ref().ok() == watched.seen.as_ref();
        watched.seen = seen.as_ref().ok().cloned();
        let has_changed = watched.seen != watched.taken;
        if has_changed {
            let since = *watched.unsettled_since.get_or_insert(now);
            if !settled && now.duration_since(since).is_ok_and(|since| since < SETTLES_WITHIN) {
                return None;
            }
        }
        watched.unsettled_since = None;
        if !has_changed && !watched.failed_at.is_some_and(|failed_at| is_due(failed_at, now)) {
            return None;
        }
        watched.taken = watched.seen.clone();
        let Reading { outcome, may_pass } = match seen {
            Ok(stamps) => read(&self.directory, &stamps, read_file),
            // The next look tries that again.
            Err(problem) => Reading { outcome: Err(problem), may_pass: false },
        };
        watched.failed_at = may_pass.then_some(now);
        match outcome {
            Ok((store, problems)) => {
                let authorities = store.authorities().len();
                self.store.store(Arc::new(store));
                let was_refused = watched.refused.take().is_some();
                self.problem_count.store(problems.len(), Relaxed);
                let before = std::mem::replace(&mut watched.problems, problems.clone());
                if !has_changed && !was_refused && before == problems {
                    return None;
                }
                let problems = problems.into_iter().filter(|problem| !before.contains(problem)).collect();
                Some(TrustNotice::Reread { authorities, problems })
            }
            Err(problem) => {
                self.problem_count.fetch_max(1, Relaxed);
                let before = watched.refused.replace(problem.clone());
                let is_news = has_changed || before.as_ref() != Some(&problem);
                is_news.then_some(TrustNotice::Refused(problem))
            }
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

fn read(directory: &Path, stamps: &Stamps, read_file: impl Fn(&Path) -> Result<Vec<u8>, Unread>) -> Reading {
    let contents: Vec<(&str, Result<Vec<u8>, Unread>)> =
        stamps.keys().map(|name| (name.as_str(), read_file(&directory.join(name)))).collect();
    let may_pass = contents.iter().any(|(_, content)| content.as_ref().is_err_and(|unread| unread.may_pass));
    let files = contents.iter().map(|(name, content)| TrustFile {
        name,
        content: content.as_deref().map_err(|unread| unread.what.as_str()),
    });
    let (store, problems) = TrustStore::from_files(files);
    if !store.authorities().is_empty() {
        return Reading { outcome: Ok((store, problems)), may_pass };
    }
    let first = problems.first().map(|problem| format!(" ({problem})")).unwrap_or_default();
    let none = problem(
        directory,
        format!("there is no authority that could be trusted{first}"),
        "install certificates as HASH.0 with HASH.signing_policy, as `openssl rehash` and the IGTF packages do",
    );
    Reading { outcome: Err(none), may_pass }
}

fn read_file(file: &Path) -> Result<Vec<u8>, Unread> {
    let failed = |error: std::io::Error| Unread {
        what: format!("it cannot be read: {error}"),
        may_pass: may_pass(&error),
    };
    let useless = |what: &str| Unread { what: what.to_owned(), may_pass: false };
    // Opening a pipe would wait for ever.
    if !std::fs::metadata(file).map_err(failed)?.is_file() {
        return Err(useless("it is no file"));
    }
    let mut content = Vec::new();
    let file = std::fs::File::open(file).map_err(failed)?;
    file.take(MAX_TRUST_FILE + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_TRUST_FILE {
        return Err(useless("it is larger than 48 MiB"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests;
