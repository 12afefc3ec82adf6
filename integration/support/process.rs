//! Programs that end with the test, whatever happens.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process_group, pidfd_open, setrlimit,
};

use super::deadline::Stopwatch;

/// A running program in a process group of its own, its output in a file. Dropping it kills the group and reaps it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts `command` with standard output and error in `output` (appended).
    ///
    /// # Panics
    /// When the program or the file cannot be opened.
    pub fn spawn(command: Command, output: &Path) -> Self {
        Self::spawn_with_input(command, Stdio::null(), output)
    }

    /// As [`Process::spawn`], with something to read.
    ///
    /// # Panics
    /// As [`Process::spawn`].
    pub fn spawn_with_input(command: Command, input: Stdio, output: &Path) -> Self {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(output)
            .unwrap_or_else(|error| panic!("{}: {error}", output.display()));
        let mut process = Self::start(command, input, file);
        output.clone_into(&mut process.output);
        process
    }

    /// Starts `command` with standard output and error going into `file`, which the caller reads, or does not.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn spawn_into(command: Command, file: File) -> Self {
        Self::start(command, Stdio::null(), file)
    }

    fn start(mut command: Command, input: Stdio, file: File) -> Self {
        let both = file.try_clone().expect("a second handle on the output");
        let child = command
            .stdin(input)
            .stdout(file)
            .stderr(both)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, output: PathBuf::new() }
    }

    /// The process id; also that of its group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for its end; none when it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let watch = Stopwatch::start();
        // A pid that was never waited for cannot belong to another process.
        let Ok(descriptor) = pidfd_open(self.pid(), PidfdFlags::empty()) else {
            return self.ended();
        };
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            let left = limit.checked_sub(watch.elapsed())?;
            let timeout = Timespec::try_from(left).expect("a limit in seconds");
            // EINTR: look again.
            let _ = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&timeout));
        }
    }

    /// Signals the whole group.
    pub fn signal(&self, signal: Signal) {
        // Gone already is as good as gone.
        let _ = kill_process_group(self.pid(), signal);
    }

    /// Kills the group at once and reaps it.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Lets this process have as many descriptors as it may, and says how many.
pub fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let in_force = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    in_force.unwrap_or(u64::MAX)
}

/// The last `lines` lines of `text`, for messages.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
