//! What priorities depend on: scripts that are run, files that are read, virtual servers that have their quorum or not.
use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::config::vrrp::{self as config, TrackFile, VrrpScript};
use crate::control::in_force::InForce;
use crate::proto::vrrp::Condition;
use crate::script::{self, CannotRun, End, Invocation, Purpose};
use crate::vrrp::Vrrp;

/// How often files are read and quorums asked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long a file may take to be read: one on a file system that hangs says what it said last.
const FILE_WITHIN: Duration = Duration::from_secs(2);

/// Longest that is read of a tracked file, in bytes: a number.
const MAX_FILE: u64 = 64;

/// What is tracked by the configuration in force. A reload lets those be that it does not change.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    scripts: BTreeMap<String, Tracked<VrrpScript>>,
    files: BTreeMap<String, Tracked<TrackFile>>,
}

/// One thing with whoever looks at it.
#[derive(Debug)]
struct Tracked<C> {
    config: C,
    /// Of a script.
    verdict: Arc<Mutex<Verdict>>,
    task: AbortHandle,
}

impl<C> Drop for Tracked<C> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tracks {
    /// For ever, unless one of them fails.
    pub(super) async fn watch(vrrp: &Arc<Vrrp>, mut in_force: watch::Receiver<Arc<InForce>>) {
        let mut tracks = Self::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(quorums(Arc::clone(vrrp), in_force.clone()));
        loop {
            let now = in_force.borrow_and_update().clone();
            tracks.take_up(vrrp, &now.configuration.said.vrrp, &mut tasks);
            loop {
                tokio::select! {
                    changed = in_force.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    Some(Err(error)) = tasks.join_next() => if error.is_panic() { return },
                }
            }
        }
    }

    fn take_up(&mut self, vrrp: &Arc<Vrrp>, config: &config::Vrrp, tasks: &mut JoinSet<()>) {
        let tracked = |of: fn(&config::Tracks) -> &Vec<config::Track>, name: &str| {
            config
                .instances
                .iter()
                .any(|instance| of(&instance.tracks).iter().any(|track| track.name == name))
        };
        let mut before = std::mem::take(&mut self.scripts);
        for script in config.scripts.iter().filter(|script| tracked(|tracks| &tracks.scripts, &script.name)) {
            let tracked = match before.remove(&script.name) {
                Some(known) if known.config == *script => known,
                known => {
                    let verdict = match known {
                        Some(known) => known.lock().changed_to(script),
                        None => {
                            if script.init_fail {
                                vrrp.set_script(&script.name, Condition::Down);
                            }
                            Verdict::new(script)
                        }
                    };
                    let verdict = Arc::new(Mutex::new(verdict));
                    let task = tasks.spawn(repeat(Arc::clone(vrrp), script.clone(), Arc::clone(&verdict)));
                    Tracked { config: script.clone(), verdict, task }
                }
            };
            self.scripts.insert(script.name.clone(), tracked);
        }
        let mut before = std::mem::take(&mut self.files);
        for file in config.track_files.iter().filter(|file| tracked(|tracks| &tracks.files, &file.name)) {
            let tracked = before.remove(&file.name).filter(|known| known.config == *file);
            let tracked = tracked.unwrap_or_else(|| Tracked {
                config: file.clone(),
                verdict: Arc::default(),
                task: tasks.spawn(read_again(Arc::clone(vrrp), file.clone())),
            });
            self.files.insert(file.name.clone(), tracked);
        }
    }
}

impl<C> Tracked<C> {
    fn lock(&self) -> MutexGuard<'_, Verdict> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn repeat(vrrp: Arc<Vrrp>, script: VrrpScript, verdict: Arc<Mutex<Verdict>>) {
    let mut ticks = interval(script.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_unasked = false;
    loop {
        ticks.tick().await;
        let run = script::run(Invocation {
            purpose: Purpose::Track,
            program: script.command.program.clone(),
            arguments: script.command.arguments.clone(),
            environment: Vec::new(),
            limit: script.timeout,
        })
        .await;
        let name = &script.name;
        if let Err(error @ (CannotRun::NoPlace { .. } | CannotRun::Slow { .. })) = &run {
            // It was not asked, which says nothing of what it looks at.
            if !std::mem::replace(&mut is_unasked, true) {
                tracing::error!(script = name, "tracked script says what it said last: {error}");
            }
            continue;
        }
        is_unasked = false;
        let (good, said) = match run {
            Ok(run) => match run.end {
                // The service manager ends the whole unit so: that says nothing of what the script looks at.
                End::Status(status) if status.signal() == Some(rustix::process::Signal::TERM.as_raw()) => {
                    continue;
                }
                End::Status(status) => (status.success(), format!("{status} {}", run.last_line)),
                End::Late => (false, format!("killed after {:?}", script.timeout)),
            },
            Err(error) => (false, error.to_string()),
        };
        let changed = verdict.lock().unwrap_or_else(PoisonError::into_inner).take(good);
        if let Some(condition) = changed {
            match condition {
                Condition::Up => tracing::info!(script = name, "tracked script is up"),
                _ => tracing::warn!(script = name, said, "tracked script is down"),
            }
            vrrp.set_script(name, condition);
        }
    }
}

/// Successes and failures in a row.
#[derive(Clone, Debug, Default)]
struct Verdict {
    rise: u32,
    fall: u32,
    up: Option<bool>,
    against: u32,
}

impl Verdict {
    fn new(script: &VrrpScript) -> Self {
        Self { rise: script.rise, fall: script.fall, up: script.init_fail.then_some(false), against: 0 }
    }

    /// What was found goes on to hold.
    fn changed_to(&self, script: &VrrpScript) -> Self {
        Self { rise: script.rise, fall: script.fall, ..self.clone() }
    }

    /// What it is from now on, if that is another than before. The first result counts at once, as with keepalived.
    fn take(&mut self, good: bool) -> Option<Condition> {
        let condition = if good { Condition::Up } else { Condition::Down };
        let Some(up) = self.up else {
            self.up = Some(good);
            return Some(condition);
        };
        if up == good {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if self.against < if good { self.rise } else { self.fall } {
            return None;
        }
        (self.up, self.against) = (Some(good), 0);
        Some(condition)
    }
}

async fn read_again(vrrp: Arc<Vrrp>, file: TrackFile) {
    let path = file.file.clone();
    if let Some(number) = file.init_file {
        let made = path.clone();
        // One that hangs is as good as one that is there: it is asked for its number next.
        let written = timeout(FILE_WITHIN, spawn_blocking(move || write_where_missing(&made, number))).await;
        if let Ok(Ok(Err(error))) = written {
            let (file, path) = (&file.name, path.display());
            tracing::warn!(
                file,
                "{path}: init_file is not written: {error}; until somebody writes it, it says 0"
            );
        }
    }
    let mut reading = Reading::default();
    let mut last = None;
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let path = path.clone();
        let Some(value) = reading.within(FILE_WITHIN, move || number_in(&path)).await else { continue };
        if last != Some(value) {
            tracing::info!(file = file.name, value, "tracked file");
            vrrp.set_file(&file.name, Condition::Value(value));
            last = Some(value);
        }
    }
}

/// What has begun on another thread. While it hangs nothing more begins: the threads are few, and others need them.
#[derive(Debug, Default)]
struct Reading(Option<JoinHandle<i32>>);

impl Reading {
    async fn within(&mut self, limit: Duration, read: impl FnOnce() -> i32 + Send + 'static) -> Option<i32> {
        let begun = self.0.get_or_insert_with(|| spawn_blocking(read));
        let ended = timeout(limit, begun).await.ok()?;
        self.0 = None;
        ended.ok()
    }
}

fn write_where_missing(path: &Path, number: i32) -> io::Result<()> {
    use std::io::Write as _;
    match std::fs::File::create_new(path) {
        Ok(mut file) => writeln!(file, "{number}"),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// 0 where there is no file, or no number in it: as keepalived has it.
fn number_in(path: &Path) -> i32 {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
    read.ok().and_then(|_| text.trim().parse().ok()).unwrap_or_default()
}

async fn quorums(vrrp: Arc<Vrrp>, in_force: watch::Receiver<Arc<InForce>>) {
    let mut last: BTreeMap<String, bool> = BTreeMap::new();
    let mut ticks = interval(LOOK_EVERY);
    loop {
        let _: Instant = ticks.tick().await;
        let now = in_force.borrow().clone();
        for service in now.services() {
            let (name, up) = (service.virtual_server.name(), service.virtual_server.has_quorum());
            if last.get(name) != Some(&up) {
                vrrp.set_virtual_server(name, if up { Condition::Up } else { Condition::Down });
                last.insert(name.to_owned(), up);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rise_and_fall_are_counted_in_a_row_and_the_first_result_counts_at_once() {
        let verdict =
            |init_fail: bool| Verdict { rise: 2, fall: 3, up: init_fail.then_some(false), against: 0 };
        // Whether it begins as down; results, `-` for no change, `u` for up and `d` for down.
        #[rustfmt::skip]
        let table = [
            (false, "1",          "u"),
            (false, "0",          "d"),
            (false, "1000",       "u--d"),
            (false, "10010001",   "u-----d-"),
            (false, "00110101",   "d--u----"),
            (true,  "11",         "-u"),
            (true,  "0101",       "----"),
        ];
        for (init_fail, results, expected) in table {
            let mut verdict = verdict(init_fail);
            let said: String = results
                .chars()
                .map(|result| match verdict.take(result == '1') {
                    Some(Condition::Up) => 'u',
                    Some(_) => 'd',
                    None => '-',
                })
                .collect();
            assert_eq!(said, expected, "{init_fail} {results}");
        }
    }

    #[test]
    fn a_tracked_file_without_a_number_says_0() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("weight");
        assert_eq!(number_in(&file), 0);
        for (text, expected) in [("-20\n", -20), (" 7 ", 7), ("", 0), ("many", 0), ("99999999999", 0)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(number_in(&file), expected, "{text:?}");
        }
    }

    #[test]
    fn an_init_file_is_written_only_where_none_is() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("weight");
        write_where_missing(&file, -20).unwrap();
        write_where_missing(&file, 7).unwrap();
        assert_eq!(number_in(&file), -20);
        assert!(write_where_missing(&directory.path().join("none/weight"), 7).is_err());
    }

    #[tokio::test]
    async fn a_file_that_hangs_occupies_one_thread_however_often_it_is_looked_at() {
        let (lets_go, hangs) = std::sync::mpsc::channel::<()>();
        let begun = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let hangs = Arc::new(Mutex::new(hangs));
        let mut reading = Reading::default();
        let mut look = async |limit| {
            let (begun, hangs) = (Arc::clone(&begun), Arc::clone(&hangs));
            let read = move || {
                begun.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let _ = hangs.lock().unwrap().recv();
                7
            };
            reading.within(limit, read).await
        };
        for _ in 0..5 {
            assert_eq!(look(Duration::from_millis(10)).await, None);
        }
        drop(lets_go);
        assert_eq!(look(Duration::from_secs(20)).await, Some(7));
        assert_eq!(begun.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert_eq!(look(Duration::from_secs(20)).await, Some(7));
    }

    fn tracking(text: &str) -> config::Vrrp {
        let text = format!(
            "[[vrrp_instance]]\nname = \"VI\"\ninterface = \"eth0\"\nvirtual_router_id = 51\n\
             virtual_addresses = [\"192.0.2.10/24\"]\ntrack_scripts = [\"s\"]\n\
             [[vrrp_script]]\nname = \"s\"\nscript = [\"/bin/true\"]\n{text}"
        );
        config_of(&text)
    }

    fn config_of(text: &str) -> config::Vrrp {
        crate::config::toml::parse(Path::new("test.toml"), text).unwrap().model.vrrp
    }

    #[tokio::test]
    async fn a_reload_lets_scripts_be_and_keeps_the_verdict_of_one_that_it_changes() {
        let (vrrp, _events) = Vrrp::start().unwrap();
        let vrrp = Arc::new(vrrp);
        let (mut tracks, mut tasks) = (Tracks::default(), JoinSet::new());
        let first = tracking("interval = \"60s\"\nfall = 3\ninit_fail = true\n");
        tracks.take_up(&vrrp, &first, &mut tasks);
        assert_eq!(tracks.scripts["s"].lock().up, Some(false), "at its first appearance");
        tracks.scripts["s"].lock().up = Some(true);
        let task = tracks.scripts["s"].task.id();
        let mut other = first.clone();
        other.instances[0].priority = std::num::NonZeroU8::MIN;
        tracks.take_up(&vrrp, &other, &mut tasks);
        assert_eq!(tracks.scripts["s"].task.id(), task, "nothing of it has changed");
        other.scripts[0].fall = 2;
        tracks.take_up(&vrrp, &other, &mut tasks);
        assert_ne!(tracks.scripts["s"].task.id(), task);
        let verdict = tracks.scripts["s"].lock().clone();
        assert_eq!((verdict.up, verdict.fall), (Some(true), 2));
        other.instances[0].tracks.scripts.clear();
        tracks.take_up(&vrrp, &other, &mut tasks);
        assert!(tracks.scripts.is_empty());
    }
}
