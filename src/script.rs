//! Programs of the site that the daemon runs: checks, what VRRP tracks, notifications.
//!
//! tokio's `process` runs them: the runtime that waits for sockets here waits for the child by the same poll (a pidfd), so
//! that no thread waits, no SIGCHLD handler of ours is needed, and a child that is dropped is still reaped.

mod last_line;
mod security;

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

pub use self::security::{InsecureScript, examine_scripts};

use self::last_line::LastLine;
use crate::sys::process_group::ProcessGroup;

/// Scripts of one purpose that run at once; further ones wait for their turn, and their time begins with it. A balancer's
/// processors are there for its sessions.
pub(crate) const MAX_RUNNING: usize = 16;

/// How long a script waits for its turn. Those that run have an end; those that hang with their file system keep their
/// places, and whoever waits for one of these is to say so.
const PLACE_WITHIN: Duration = Duration::from_secs(60);

/// From SIGTERM to SIGKILL, as keepalived has it.
const TERMINATION_PATIENCE: Duration = Duration::from_secs(2);

/// Most that is read of a script's output once it has ended, in bytes: what a pipe holds.
const PIPE: usize = 64 * 1024;

/// The search path of scripts, whatever the door was started with.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What scripts are run for. Each purpose has places of its own: checks that hang must hold up no notification.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// Of a real server.
    Check,
    /// What the priority of a VRRP instance depends on.
    Track,
    /// Somebody is told something.
    Notify,
}

/// A script with what it is told.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// What for.
    pub purpose: Purpose,
    /// Absolute.
    pub program: PathBuf,
    /// Without the program; no shell reads them.
    pub arguments: Vec<String>,
    /// All of its environment besides PATH.
    pub environment: Vec<(&'static str, String)>,
    /// How long it may take, from when its turn has come.
    pub limit: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub end: End,
    /// The last line that it wrote with something on it.
    pub last_line: String,
    /// From when its turn had come.
    pub took: Duration,
}

/// How a script ended.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// By itself, or by a signal of somebody else.
    Status(ExitStatus),
    /// By us.
    Late,
}

static CHECKS: Semaphore = Semaphore::const_new(MAX_RUNNING);
static TRACKS: Semaphore = Semaphore::const_new(MAX_RUNNING);
static NOTIFICATIONS: Semaphore = Semaphore::const_new(MAX_RUNNING);

/// Why a script could not be asked: the door's own trouble.
#[derive(Debug, thiserror::Error)]
pub enum CannotRun {
    /// It must not be run.
    #[error(transparent)]
    Insecure(#[from] InsecureScript),
    /// The kernel refuses.
    #[error("{program}: cannot be started: {source}; see the first line of the script, and the limits of processes", program = .program.display())]
    Start {
        /// Which.
        program: Box<Path>,
        /// Why.
        source: std::io::Error,
    },
    /// Its file system does not answer.
    #[error("{program}: was not started within {limit:?}; see whether the file system that it is on hangs", program = .program.display())]
    Slow {
        /// Which.
        program: Box<Path>,
        /// For so long.
        limit: Duration,
    },
    /// Others hold all places.
    #[error("{program}: no place among {MAX_RUNNING} became free within {limit:?}; see whether the file system of a script hangs, or {mend}", program = .program.display(), mend = .purpose.makes_room())]
    NoPlace {
        /// What for.
        purpose: Purpose,
        /// Which.
        program: Box<Path>,
        /// For so long.
        limit: Duration,
    },
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

/// Runs it once. Dropped before that is done, it kills the script with all that it has started.
///
/// # Errors
///
/// See [`CannotRun`]: the script has judged nothing.
pub async fn run(invocation: Invocation) -> Result<Run, CannotRun> {
    let limit = invocation.limit;
    let begin = Begin { place_within: PLACE_WITHIN, limit };
    let program: Box<Path> = invocation.program.as_path().into();
    let purpose = invocation.purpose;
    let places = purpose.places();
    let (start, launched) = match begin.in_a_place(places, move |place| launch(&invocation, place)).await {
        Ok(begun) => begun,
        Err(NotBegun::NoPlace) => {
            return Err(CannotRun::NoPlace { purpose, program, limit: PLACE_WITHIN });
        }
        Err(NotBegun::Slow) => return Err(CannotRun::Slow { program, limit }),
    };
    let mut last_line = LastLine::default();
    let end = wait(launched?, start + limit, &mut last_line).await;
    Ok(Run { end, last_line: last_line.into_text(), took: start.elapsed() })
}

impl Purpose {
    /// What gives others a place.
    fn makes_room(self) -> &'static str {
        match self {
            Self::Check => "lower max_time or raise delay_loop of the checks",
            Self::Track => "lower timeout or raise interval in [[vrrp_script]]",
            Self::Notify => "have notify scripts end sooner",
        }
    }

    fn places(self) -> &'static Semaphore {
        match self {
            Self::Check => &CHECKS,
            Self::Track => &TRACKS,
            Self::Notify => &NOTIFICATIONS,
        }
    }
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

fn command(invocation: &Invocation, examined: &Path) -> Command {
    let mut command = Command::new(examined);
    command
        .arg0(&invocation.program)
        .args(&invocation.arguments)
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .envs(invocation.environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    command
}

fn launch(invocation: &Invocation, place: Place) -> Result<Running, CannotRun> {
    let program = invocation.program.as_path();
    let examined = security::examine(program)?;
    let mut command = command(invocation, &examined);
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

#[cfg(test)]
mod tests;
