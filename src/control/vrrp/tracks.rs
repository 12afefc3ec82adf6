//! What priorities depend on: scripts that are run, files that are read, virtual servers that have their quorum or not.
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
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

/// What is tracked by one configuration.
pub(super) struct Tracks;

impl Tracks {
    /// For ever.
    pub(super) async fn watch(vrrp: &Arc<Vrrp>, mut in_force: watch::Receiver<Arc<InForce>>) {
        loop {
            let now = in_force.borrow_and_update().clone();
            let config = now.configuration.said.vrrp.clone();
            let services = in_force.clone();
            tokio::select! {
                () = Self::all(vrrp, &config, &services) => {}
                other = in_force.wait_for(|in_force| in_force.configuration.said.vrrp != config) => {
                    if other.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn all(vrrp: &Arc<Vrrp>, config: &config::Vrrp, in_force: &watch::Receiver<Arc<InForce>>) {
        let tracked = |of: fn(&config::Tracks) -> &Vec<config::Track>, name: &str| {
            config
                .instances
                .iter()
                .any(|instance| of(&instance.tracks).iter().any(|track| track.name == name))
        };
        let mut tasks = JoinSet::new();
        for script in config.scripts.iter().filter(|script| tracked(|tracks| &tracks.scripts, &script.name)) {
            tasks.spawn(repeat(Arc::clone(vrrp), script.clone()));
        }
        for file in config.track_files.iter().filter(|file| tracked(|tracks| &tracks.files, &file.name)) {
            tasks.spawn(read_again(Arc::clone(vrrp), file.clone()));
        }
        tasks.spawn(quorums(Arc::clone(vrrp), in_force.clone()));
        // None of them ends.
        while tasks.join_next().await.is_some() {}
    }
}

async fn repeat(vrrp: Arc<Vrrp>, script: VrrpScript) {
    let mut verdict = Verdict::new(&script);
    if script.init_fail {
        vrrp.set_script(&script.name, Condition::Down);
    }
    let mut ticks = interval(script.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
        if let Some(condition) = verdict.take(good) {
            let name = &script.name;
            match condition {
                Condition::Up => tracing::info!(script = name, "tracked script is up"),
                _ => tracing::warn!(script = name, said, "tracked script is down"),
            }
            vrrp.set_script(name, condition);
        }
    }
}

/// Successes and failures in a row.
#[derive(Debug)]
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
    let mut last = None;
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let path = file.file.clone();
        let Ok(Ok(value)) = timeout(FILE_WITHIN, spawn_blocking(move || number_in(&path))).await else {
            continue;
        };
        if last != Some(value) {
            tracing::info!(file = file.name, value, "tracked file");
            vrrp.set_file(&file.name, Condition::Value(value));
            last = Some(value);
        }
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
}
