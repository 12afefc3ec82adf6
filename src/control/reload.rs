//! Another configuration for a daemon that runs: read, checked, compared, and put in force whole or not at all.
//!
//! ```text
//!   file ─▶ Model ─▶ diff ─▶ services (certificates are read) ─▶ listeners ┆─▶ real servers, listeners, probes, status
//!                    anything wrong: nothing has changed                    ┆   nothing here can fail, and nothing waits
//! ```
mod outcome;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::certificates::today;
use super::configuration_file::{examine_files, load};
use super::forwarding::Forwarding;
use super::in_force::{Configuration, InForce};
use super::names::{FIRST_ANSWERS, Naming};
use super::vrrp::{Ownership, RAISE_LIMITS};
use crate::checker::Probe;
use crate::config::{self, Effect, Model};
use crate::proxy::{FrontDoor, Generation, now};
use crate::resolver::NameWatch;
use crate::sys;
pub use outcome::{NotReloaded, Reloaded};

/// Changes that one log line names; whoever wants all of a larger rebuilding asks with `gridfront reload`.
const MAX_LOGGED_CHANGES: usize = 50;

/// How long the files of a configuration may take to be read: a file system that hangs must not keep every later reload.
/// A reload waits for them twice, and once for names, and whoever asked for it is to hear so within `RELOAD_PATIENCE`.
const FILES_WITHIN: Duration = Duration::from_secs(20);

/// Who wants a reload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReloadCause {
    /// SIGHUP.
    Signal,
    /// `gridfront reload`.
    Operator,
}

/// Why a configuration is applied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Purpose {
    /// Its file was read again.
    Reload,
    /// To say what a reload would change.
    DryRun,
    /// Names stand for other servers, and nothing else is different.
    Names,
}

/// Reloads, one at a time; whoever has a copy may ask.
#[derive(Clone, Debug)]
pub struct Reloader(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// `None` where the configuration did not come from a file.
    file: Mutex<Option<PathBuf>>,
    door: Arc<FrontDoor>,
    in_force: watch::Sender<Arc<InForce>>,
    probes: watch::Sender<Vec<Probe>>,
    /// The last reload, if it was refused.
    refused: Mutex<Option<Refused>>,
    /// Those that came into force, and those that were refused.
    reloads: [AtomicU64; 2],
    /// When a configuration last came from its file into force.
    last_success: Mutex<SystemTime>,
    turn: tokio::sync::Mutex<()>,
    names: Naming,
    ownership: Ownership,
    forwarding: Forwarding,
}

/// A reload that was refused.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) at: Instant,
    pub(super) problems: Vec<String>,
}

/// What has come of the reloads so far, those by names and dry runs left aside.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReloadRecord {
    pub(super) successes: u64,
    pub(super) failures: u64,
    /// The start is one, too.
    pub(super) last_success: SystemTime,
    /// Whether that was the last.
    pub(super) last_succeeded: bool,
}

impl Reloader {
    /// `door` has the services of this generation.
    pub(super) fn new(
        configuration: Configuration,
        generation: Generation,
        door: Arc<FrontDoor>,
        ownership: Ownership,
        forwarding: Forwarding,
    ) -> Self {
        let in_force = InForce { configuration, generation, since: now() };
        let probes = watch::Sender::new(in_force.probes());
        Self(Arc::new(Shared {
            file: Mutex::default(),
            door,
            in_force: watch::Sender::new(Arc::new(in_force)),
            probes,
            refused: Mutex::default(),
            reloads: Default::default(),
            last_success: Mutex::new(today()),
            turn: tokio::sync::Mutex::default(),
            names: Naming::default(),
            ownership,
            forwarding,
        }))
    }

    /// Where the configuration came from and comes from again.
    pub(super) fn set_file(&self, file: &Path) {
        *self.0.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(file.to_owned());
    }

    /// Who has the virtual addresses.
    pub(super) fn ownership(&self) -> &Ownership {
        &self.0.ownership
    }

    /// What the kernel carries.
    pub(super) fn forwarding(&self) -> &Forwarding {
        &self.0.forwarding
    }

    /// What is in force now.
    pub(super) fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.0.in_force.borrow())
    }

    /// What is in force, for as long as the daemon runs.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<InForce>> {
        self.0.in_force.subscribe()
    }

    /// How the real servers are to be watched, for as long as the daemon runs.
    pub(super) fn probes(&self) -> watch::Receiver<Vec<Probe>> {
        self.0.probes.subscribe()
    }

    /// What is known of names, and who asks for them.
    pub(super) fn names(&self) -> &Naming {
        &self.0.names
    }

    /// The last reload, if it was refused.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.0.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn record(&self) -> ReloadRecord {
        let [successes, failures] = &self.0.reloads;
        ReloadRecord {
            successes: successes.load(Relaxed),
            failures: failures.load(Relaxed),
            last_success: *self.0.last_success.lock().unwrap_or_else(PoisonError::into_inner),
            last_succeeded: self.refused().is_none(),
        }
    }

    /// How long a drain of the door may take, by the configuration in force.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        self.in_force().configuration.said.global.drain_timeout
    }

    /// Reads the file again and puts it in force, unless it is a `dry_run`. Whoever is no longer interested in what comes of
    /// it may drop this: what has begun goes on.
    ///
    /// # Errors
    ///
    /// Nothing has changed, for these reasons.
    pub async fn reload(&self, cause: ReloadCause, dry_run: bool) -> Result<Reloaded, NotReloaded> {
        let this = self.clone();
        let reload = tokio::spawn(async move { this.take_turn(cause, dry_run).await });
        reload.await.unwrap_or_else(|_| {
            Err(NotReloaded::because("a bug in gridfront: see the log, and report it".into()))
        })
    }

    async fn take_turn(&self, cause: ReloadCause, dry_run: bool) -> Result<Reloaded, NotReloaded> {
        let _turn = self.0.turn.lock().await;
        if dry_run {
            return self.read_and_apply(true).await;
        }
        sys::service_manager::reloading();
        let outcome = self.read_and_apply(false).await;
        sys::service_manager::ready();
        let refused =
            outcome.as_ref().err().map(|error| Refused { at: now(), problems: error.problems.clone() });
        *self.0.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        self.0.reloads[usize::from(outcome.is_err())].fetch_add(1, Relaxed);
        if outcome.is_ok() {
            *self.0.last_success.lock().unwrap_or_else(PoisonError::into_inner) = today();
        }
        match &outcome {
            Ok(reloaded) => {
                let changes = logged(&reloaded.changes);
                tracing::info!(by = cause.word(), file = reloaded.file, changes, "configuration reloaded");
                reloaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            }
            Err(error) => {
                let problems = logged(&error.problems);
                tracing::error!(
                    by = cause.word(),
                    problems,
                    "configuration refused; the one before it stays in force"
                );
            }
        }
        outcome
    }

    async fn read_and_apply(&self, dry_run: bool) -> Result<Reloaded, NotReloaded> {
        let file = self.0.file.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(file) = file else {
            return Err(NotReloaded::because("this configuration did not come from a file".into()));
        };
        let reading = file.clone();
        let accepted =
            blocking(move || load(&reading).map_err(|problems| NotReloaded::of(&problems))).await?;
        let with_file = |error: NotReloaded| {
            let placed = |problem: String| {
                if problem.starts_with('/') { problem } else { format!("{}: {problem}", file.display()) }
            };
            NotReloaded { problems: error.problems.into_iter().map(placed).collect() }
        };
        let (configuration, watch, left_out) = self.resolve(accepted.model).await.map_err(with_file)?;
        let purpose = if dry_run { Purpose::DryRun } else { Purpose::Reload };
        let mut reloaded = self.apply(configuration, now(), purpose).await.map_err(with_file)?;
        if !dry_run {
            self.0.names.ask(watch);
        }
        reloaded.file = file.display().to_string();
        let warnings = accepted.warnings.iter().map(ToString::to_string).chain(left_out);
        reloaded.warnings.splice(0..0, warnings);
        Ok(reloaded)
    }

    /// What a file means now, who asks for its names from then on, and what had to be left out.
    async fn resolve(
        &self,
        said: Model,
    ) -> Result<(Configuration, Option<NameWatch>, Vec<String>), NotReloaded> {
        if said.questions().is_empty() {
            return Ok((Configuration::of(said), None, Vec::new()));
        }
        let watch = NameWatch::open_with(&said, self.0.names.known());
        let mut watch = watch.map_err(|error| NotReloaded::because(error.to_string()))?;
        watch.first_answers(FIRST_ANSWERS).await;
        let (meant, left_out) = watch.names().apply_to(&said);
        Ok((Configuration { said, meant }, Some(watch), left_out))
    }

    /// Puts in force what the names stand for now. Whether that is in force.
    pub(super) async fn follow_names(&self) -> bool {
        let _turn = self.0.turn.lock().await;
        let before = self.in_force();
        let said = before.configuration.said.clone();
        let (meant, left_out) = self.0.names.known().apply_to(&said);
        if meant == before.configuration.meant {
            return true;
        }
        left_out.iter().for_each(|line| tracing::warn!("{line}"));
        match self.apply(Configuration { said, meant }, before.since, Purpose::Names).await {
            Ok(reloaded) => {
                tracing::info!(changes = logged(&reloaded.changes), "real servers by name changed");
                true
            }
            Err(error) => {
                let problems = logged(&error.problems);
                tracing::error!(problems, "real servers by name cannot change; those before stay");
                false
            }
        }
    }

    /// Puts a configuration in force, or says what that would change. The caller has its turn: nothing else does the same
    /// meanwhile.
    async fn apply(
        &self,
        next: Configuration,
        since: Instant,
        purpose: Purpose,
    ) -> Result<Reloaded, NotReloaded> {
        let before = self.in_force();
        let changes = before.configuration.changes(&next);
        let refused: Vec<String> = changes
            .iter()
            .filter(|change| change.effect == Effect::Refused)
            .map(ToString::to_string)
            .collect();
        if !refused.is_empty() {
            return Err(NotReloaded { problems: refused });
        }
        let mut changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let forwarding = self.0.forwarding.clone();
        let (next, successor) = blocking(move || {
            // For all that is wrong with them: the next step ends at the first, and does not read what GSI goes on with. Names
            // change none of them, and what servers of other addresses need, the next step reads.
            if purpose != Purpose::Names {
                examine_files(&next.meant).map_err(|problems| NotReloaded::of(&problems))?;
            }
            let kernel = match purpose {
                Purpose::Reload => forwarding.prepare(&next.meant),
                Purpose::DryRun | Purpose::Names => forwarding.kernel(),
            };
            match before.generation.next_with(&next.meant, today(), kernel) {
                Ok(successor) => Ok((next, successor)),
                Err(problem) => Err(NotReloaded::because(problem.to_string())),
            }
        })
        .await?;
        changes.extend(successor.circumstances());
        let mut warnings: Vec<String> = successor.warnings.iter().map(ToString::to_string).collect();
        if let Err(shortage) = config::check_descriptors(&next.meant, sys::descriptors::raise_limit()) {
            warnings.push(shortage.to_string());
        }
        let dry_run = purpose == Purpose::DryRun;
        let reloaded = Reloaded { file: String::new(), changes, warnings, dry_run };
        let bind = |error: crate::proxy::BindError| NotReloaded::because(error.to_string());
        let door = &self.0.door;
        if !door.is_open() {
            return Err(NotReloaded::because("the daemon is ending".into()));
        }
        if dry_run {
            door.examine(successor.services()).map_err(bind)?;
            return Ok(reloaded);
        }
        let alteration = door.prepare(successor.services()).map_err(bind)?;
        if let Err(error) = self.0.ownership.prepare(&next.said.vrrp) {
            return Err(NotReloaded::because(format!("VRRP cannot be started: {error}; {RAISE_LIMITS}")));
        }
        // From here on nothing fails and nothing waits.
        let generation = successor.take_over(now(), door.sessions());
        door.sessions().note_places(next.said.owned_addresses());
        door.alter(alteration);
        self.0.ownership.configure(&next.said.vrrp);
        // Names change nothing of it.
        if purpose == Purpose::Reload {
            generation.say_who_misses_kernel();
        }
        let in_force = InForce { configuration: next, generation, since };
        self.0.probes.send_replace(in_force.probes());
        self.0.in_force.send_replace(Arc::new(in_force));
        Ok(reloaded)
    }
}

/// Files are read on a thread of their own: one on a file system that hangs must not stop the clock of all sessions.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NotReloaded> + Send + 'static,
) -> Result<T, NotReloaded> {
    match timeout(FILES_WITHIN, spawn_blocking(work)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(NotReloaded::because("a bug in gridfront: see the log, and report it".into())),
        Err(_) => Err(NotReloaded::because(format!(
            "the files were not read within {FILES_WITHIN:?}; see whether their file system answers"
        ))),
    }
}

/// `none`, or so many that a line stays one.
fn logged(lines: &[String]) -> String {
    if lines.is_empty() {
        return "none".into();
    }
    let mut text = lines[..lines.len().min(MAX_LOGGED_CHANGES)].join("; ");
    if lines.len() > MAX_LOGGED_CHANGES {
        text += &format!("; and {} more", lines.len() - MAX_LOGGED_CHANGES);
    }
    text
}

impl ReloadCause {
    fn word(self) -> &'static str {
        match self {
            Self::Signal => "SIGHUP",
            Self::Operator => "gridfront reload",
        }
    }
}

#[cfg(test)]
mod tests;
