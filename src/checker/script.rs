//! `type = "script"`: a program of the site's judges the server, as keepalived's MISC_CHECK does.
//!
//! tokio's `process` runs it: the runtime that waits for sockets here waits for the child by the same poll (a pidfd), so
//! that no thread waits, no SIGCHLD handler of ours is needed, and a child that is dropped is still reaped.

mod last_line;
mod security;

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

pub use self::security::{InsecureScript, examine_scripts};

use self::last_line::LastLine;
use super::{Finding, Probe};
use crate::balance::{CheckOutcome, CheckReport, ScriptWeight};
use crate::config::Script;
use crate::sys::process_group::ProcessGroup;

/// Scripts that run at once; further ones wait for their turn, and their time begins with it. A balancer's processors
/// are there for its sessions.
const MAX_RUNNING: usize = 16;

/// How long a script waits for its turn. Those that run have an end; those that hang with their file system keep their
/// places, and whoever waits for one of these is to say so.
const PLACE_WITHIN: Duration = Duration::from_secs(60);

/// From SIGTERM to SIGKILL, as keepalived has it.
const TERMINATION_PATIENCE: Duration = Duration::from_secs(2);

/// Most that is read of a script's output once it has ended, in bytes: what a pipe holds.
const PIPE: usize = 64 * 1024;

/// The search path of scripts, whatever the door was started with.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

static PLACES: Semaphore = Semaphore::const_new(MAX_RUNNING);

/// Why a script could not be asked: the door's own trouble.
#[derive(Debug, thiserror::Error)]
pub(super) enum CannotRun {
    #[error(transparent)]
    Insecure(#[from] InsecureScript),
    #[error("{program}: cannot be started: {source}; see the first line of the script, and the limits of processes", program = .program.display())]
    Start { program: Box<Path>, source: std::io::Error },
    #[error("{program}: was not started within {limit:?}; see whether the file system that it is on hangs", program = .program.display())]
    Slow { program: Box<Path>, limit: Duration },
    #[error("{program}: no place among {MAX_RUNNING} became free within {limit:?}; see whether the file system of a script hangs, or lower max_time or raise delay_loop of the checks", program = .program.display())]
    NoPlace { program: Box<Path>, limit: Duration },
}

/// A child with what it writes.
struct Running {
    /// Before the child: once that is reaped, its number may be another's.
    group: ProcessGroup,
    child: Child,
    output: Receiver,
    _place: Place,
}

/// Of one script, from before it is looked for until it has ended.
type Place = SemaphorePermit<'static>;

/// How long a script may take to begin.
#[derive(Clone, Copy, Debug)]
struct Begin {
    place_within: Duration,
    limit: Duration,
}

/// Why it has not begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum NotBegun {
    NoPlace,
    Slow,
}

/// How a script ended.
#[derive(Clone, Copy, Debug)]
enum End {
    /// By itself, or by a signal of somebody else.
    Status(ExitStatus),
    /// By us.
    Late,
}

/// Runs it once and judges by its exit code.
pub(super) async fn attempt(probe: &Arc<Probe>, script: &Script) -> Finding {
    let limit = probe.check.max_time;
    let begin = Begin { place_within: PLACE_WITHIN, limit };
    let (asking, asked) = (Arc::clone(probe), script.clone());
    let (start, launched) = match begin.in_a_place(&PLACES, move |place| launch(&asking, &asked, place)).await
    {
        Ok(begun) => begun,
        Err(why) => {
            let program = script.program.as_path().into();
            return Err(match why {
                NotBegun::NoPlace => CannotRun::NoPlace { program, limit: PLACE_WITHIN }.into(),
                NotBegun::Slow => CannotRun::Slow { program, limit }.into(),
            });
        }
    };
    let running = launched?;
    let mut last_line = LastLine::default();
    let end = wait(running, start + limit, &mut last_line).await;
    let report = judge(script, end, &last_line.into_text(), limit);
    Ok(CheckReport { took: start.elapsed(), ..report })
}

impl Begin {
    /// Does the work on a thread that may hang, for security, fork and exec look at the disk. It has its place for as long
    /// as it hangs, also when nobody waits for it any more: else every check would bring one more thread that hangs. Beside
    /// what it gives comes when its turn began.
    async fn in_a_place<T: Send + 'static>(
        self,
        places: &'static Semaphore,
        work: impl FnOnce(Place) -> T + Send + 'static,
    ) -> Result<(Instant, T), NotBegun> {
        // The semaphore is never closed.
        let Ok(Ok(place)) = timeout(self.place_within, places.acquire()).await else {
            return Err(NotBegun::NoPlace);
        };
        let start = Instant::now();
        match timeout_at(start + self.limit, spawn_blocking(move || work(place))).await {
            Ok(Ok(done)) => Ok((start, done)),
            Ok(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            Err(_) => Err(NotBegun::Slow),
        }
    }
}

fn command(probe: &Probe, script: &Script, examined: &Path) -> Command {
    let server = &probe.server;
    let mut command = Command::new(examined);
    command
        .arg0(&script.program)
        .args(&script.arguments)
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .env("GRIDFRONT_VIRTUAL_SERVER", &probe.virtual_server)
        .env("GRIDFRONT_REAL_SERVER", server.name())
        .env("GRIDFRONT_ADDRESS", server.address().ip().to_string())
        .env("GRIDFRONT_PORT", server.address().port().to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    command
}

fn launch(probe: &Probe, script: &Script, place: Place) -> Result<Running, CannotRun> {
    let program = script.program.as_path();
    let examined = security::examine(program)?;
    let mut command = command(probe, script, &examined);
    let start = |source| CannotRun::Start { program: program.into(), source };
    // One pipe for both, so that the last line is the last that was written.
    let (reader, writer) = std::io::pipe().map_err(start)?;
    command.stdout(writer.try_clone().map_err(start)?).stderr(writer);
    let child = command.spawn().map_err(start)?;
    let group = ProcessGroup::of(child.id().unwrap_or_default());
    let output = Receiver::from_owned_fd(reader.into()).map_err(start)?;
    Ok(Running { group, child, output, _place: place })
}

/// Waits until it ends, or ends it. Dropped before that, it kills the whole group.
async fn wait(running: Running, deadline: Instant, last_line: &mut LastLine) -> End {
    let Running { mut child, group, mut output, _place } = running;
    let by_itself = async {
        let mut open = true;
        let mut buffer = [0; 1024];
        let mut ended = std::pin::pin!(async {
            // What it leaves behind in its group would be one more at every check. A daemon has a session of its own.
            if group.leader_has_ended().await {
                group.kill();
            }
            child.wait().await
        });
        loop {
            tokio::select! {
                status = &mut ended => return status,
                read = output.read(&mut buffer), if open => match read {
                    Ok(count @ 1..) => last_line.take(&buffer[..count]),
                    _ => open = false,
                },
            }
        }
    };
    if let Ok(status) = timeout_at(deadline, by_itself).await {
        group.release();
        let mut buffer = [0; 1024];
        // What it wrote last; a daemon that it has started may hold the pipe open, and go on to write.
        for _ in 0..PIPE / buffer.len() {
            let Ok(count @ 1..) = output.try_read(&mut buffer) else { break };
            last_line.take(&buffer[..count]);
        }
        return status.map_or(End::Late, End::Status);
    }
    group.terminate();
    let _ = timeout(TERMINATION_PATIENCE, child.wait()).await;
    // Also what it has started and left behind.
    drop(group);
    // One that waits for a disk cannot even be killed; what it is good for is known all the same.
    let _ = timeout(TERMINATION_PATIENCE, child.wait()).await;
    End::Late
}

/// 0 is good, 1 is bad, any other code a weight plus 2.
fn judge(script: &Script, end: End, last_line: &str, limit: Duration) -> CheckReport {
    let name = script.program.file_name().unwrap_or_default().to_string_lossy();
    let said = if last_line.is_empty() { String::new() } else { format!(": {last_line}") };
    let by_hand = "run it by hand to see more";
    let failed =
        |what: String, mend: &str| CheckReport::from(CheckOutcome::Failed(format!("{what}; {mend}")));
    let passed = |weight, code: i32| CheckReport {
        found: format!("{name} ended with {code}{said}"),
        weight,
        ..CheckOutcome::Passed.into()
    };
    let status = match end {
        End::Late => {
            return failed(
                format!("{name} was killed after max_time = {limit:?}{said}"),
                "raise max_time, or let it give up sooner",
            );
        }
        End::Status(status) => status,
    };
    match (status.code(), script.misc_dynamic) {
        (Some(0), true) => passed(ScriptWeight::AsBefore, 0),
        (Some(0), false) => passed(ScriptWeight::NotAsked, 0),
        (Some(code @ 2..=255), true) => {
            passed(ScriptWeight::Now(u16::try_from(code - 2).unwrap_or_default()), code)
        }
        (Some(code), _) => failed(format!("{name} ended with {code}{said}"), by_hand),
        (None, _) => {
            let signal = status.signal().unwrap_or_default();
            failed(format!("{name} was ended by signal {signal}{said}"), by_hand)
        }
    }
}

#[cfg(test)]
mod tests;
