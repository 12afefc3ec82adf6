//! What priorities depend on: scripts that are run, files that are read, virtual servers that have their quorum or not.
use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::config::vrrp::{self as config, TrackFile, VrrpScript};
use crate::control::in_force::InForce;
use crate::proto::vrrp::Condition;
use crate::script::{self, End, Invocation, Purpose};
use crate::vrrp::Vrrp;

/// How often files are read and quorums asked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long a file may take to be read: one on a file system that hangs says what it said last.
const FILE_WITHIN: Duration = Duration::from_secs(2);

/// Longest that is read of a tracked file, in bytes: a number.
const MAX_FILE: u64 = 64;

/// Watches, for ever, what the configurations track, one after the other.
pub(super) async fn watch(vrrp: &Arc<Vrrp>, mut in_force: watch::Receiver<Arc<InForce>>) {
    let (mut scripts, mut files) = (Watched::default(), Watched::default());
    loop {
        let config = in_force.borrow_and_update().configuration.said.vrrp.clone();
        let tracked = |of: fn(&config::Tracks) -> &Vec<config::Track>, name: &str| {
            let mut instances = config.instances.iter();
            instances.any(|instance| of(&instance.tracks).iter().any(|track| track.name == name))
        };
        let wanted = config.scripts.iter().filter(|script| tracked(|tracks| &tracks.scripts, &script.name));
        scripts.keep(wanted, |script| &script.name, |script| repeat(Arc::clone(vrrp), script));
        let wanted = config.track_files.iter().filter(|file| tracked(|tracks| &tracks.files, &file.name));
        files.keep(wanted, |file| &file.name, |file| read_again(Arc::clone(vrrp), file));
        let services = in_force.clone();
        tokio::select! {
            () = quorums(vrrp, &services) => {}
            other = in_force.wait_for(|in_force| in_force.configuration.said.vrrp != config) => {
                if other.is_err() {
                    return;
                }
            }
        }
    }
}

/// Tasks by the name of what they watch. What the next configuration has by the same name goes on with what is known of it: a
/// script that bears two failures has not to be down at the first one after a reload.
#[derive(Debug)]
struct Watched<T> {
    by_name: BTreeMap<String, (watch::Sender<T>, AbortHandle)>,
    tasks: JoinSet<()>,
}

impl<T> Default for Watched<T> {
    fn default() -> Self {
        Self { by_name: BTreeMap::new(), tasks: JoinSet::new() }
    }
}

impl<T: Clone + PartialEq> Watched<T> {
    fn keep<'t, F: Future<Output = ()> + Send + 'static>(
        &mut self,
        wanted: impl Iterator<Item = &'t T>,
        name: impl Fn(&T) -> &String,
        task: impl Fn(watch::Receiver<T>) -> F,
    ) where
        T: 't,
    {
        let mut before = std::mem::take(&mut self.by_name);
        for of in wanted {
            let known = before.remove(name(of)).unwrap_or_else(|| {
                let (sender, receiver) = watch::channel(of.clone());
                (sender, self.tasks.spawn(task(receiver)))
            });
            known.0.send_if_modified(|now| std::mem::replace(now, of.clone()) != *of);
            self.by_name.insert(name(of).clone(), known);
        }
        before.into_values().for_each(|(_, task)| task.abort());
        // Those that were aborted.
        while self.tasks.try_join_next().is_some() {}
    }
}

async fn repeat(vrrp: Arc<Vrrp>, mut script: watch::Receiver<VrrpScript>) {
    let mut now = script.borrow_and_update().clone();
    let mut verdict = Verdict::new(now.init_fail);
    if now.init_fail {
        vrrp.set_script(&now.name, Condition::Down);
    }
    loop {
        let mut ticks = interval(now.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                changed = script.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
            let Some((good, said)) = run(&now).await else { continue };
            if let Some(condition) = verdict.take(good, &now) {
                let name = &now.name;
                match condition {
                    Condition::Up => tracing::info!(script = name, "tracked script is up"),
                    _ => tracing::warn!(script = name, said, "tracked script is down"),
                }
                vrrp.set_script(name, condition);
            }
        }
        now = script.borrow_and_update().clone();
    }
}

/// Whether it has ended well, and its last words; nothing where that says nothing.
async fn run(script: &VrrpScript) -> Option<(bool, String)> {
    let run = script::run(Invocation {
        purpose: Purpose::Track,
        program: script.command.program.clone(),
        arguments: script.command.arguments.clone(),
        environment: Vec::new(),
        limit: script.timeout,
    });
    match run.await {
        Ok(run) => match run.end {
            // The service manager ends the whole unit so: that says nothing of what the script looks at.
            End::Status(status) if status.signal() == Some(rustix::process::Signal::TERM.as_raw()) => None,
            End::Status(status) => Some((status.success(), format!("{status} {}", run.last_line))),
            End::Late => Some((false, format!("killed after {:?}", script.timeout))),
        },
        Err(error) => Some((false, error.to_string())),
    }
}

/// Successes and failures in a row.
#[derive(Debug)]
struct Verdict {
    up: Option<bool>,
    against: u32,
}

impl Verdict {
    fn new(init_fail: bool) -> Self {
        Self { up: init_fail.then_some(false), against: 0 }
    }

    /// What it is from now on, if that is another than before. The first result counts at once, as with keepalived.
    fn take(&mut self, good: bool, script: &VrrpScript) -> Option<Condition> {
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
        if self.against < if good { script.rise } else { script.fall } {
            return None;
        }
        (self.up, self.against) = (Some(good), 0);
        Some(condition)
    }
}

async fn read_again(vrrp: Arc<Vrrp>, mut file: watch::Receiver<TrackFile>) {
    let first = file.borrow_and_update().clone();
    if let Some(number) = first.init_file {
        let path = first.file.clone();
        // One that hangs is as good as one that is there: it is asked for its number next.
        if let Ok(Ok(Err(error))) =
            timeout(FILE_WITHIN, spawn_blocking(move || write_where_missing(&path, number))).await
        {
            let path = first.file.display();
            tracing::warn!(
                file = first.name,
                "{path}: init_file is not written: {error}; until somebody writes it, it says 0"
            );
        }
    }
    let mut last = None;
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let TrackFile { name, file: path, .. } = file.borrow_and_update().clone();
        let Ok(Ok(value)) = timeout(FILE_WITHIN, spawn_blocking(move || number_in(&path))).await else {
            continue;
        };
        if last != Some(value) {
            tracing::info!(file = name, value, "tracked file");
            vrrp.set_file(&name, Condition::Value(value));
            last = Some(value);
        }
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

async fn quorums(vrrp: &Vrrp, in_force: &watch::Receiver<Arc<InForce>>) {
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
        let script = |init_fail| VrrpScript {
            name: "s".into(),
            command: config::Command { program: "/bin/true".into(), arguments: Vec::new() },
            interval: LOOK_EVERY,
            timeout: LOOK_EVERY,
            rise: 2,
            fall: 3,
            weight: 0,
            init_fail,
        };
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
            let script = script(init_fail);
            let mut verdict = Verdict::new(init_fail);
            let said: String = results
                .chars()
                .map(|result| match verdict.take(result == '1', &script) {
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
}
