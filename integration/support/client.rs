//! A client program on its machine, with a deadline.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use super::deadline::Stopwatch;
use super::grid::Site;
use super::netns::Machine;
use super::process::Process;

/// What became of a run.
#[derive(Debug)]
pub struct Finished {
    /// None: it was killed at the deadline.
    pub status: Option<ExitStatus>,
    /// Standard output and error together.
    pub output: String,
    pub elapsed: Duration,
}

impl Finished {
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Whether it died of its own memory errors: abort of the C library's heap checks, or a bad address.
    pub fn crashed(&self) -> bool {
        let signal = self.status.and_then(|status| status.signal());
        signal.is_some_and(|signal| [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS].contains(&signal))
    }

    /// `exit status: 1`, `signal: 6`, or that it was killed.
    pub fn outcome(&self) -> String {
        self.status.map_or_else(|| "killed at its deadline".to_owned(), |status| status.to_string())
    }
}

/// Runs `words` on `machine` as a grid user: trust anchors, proxy certificate, host names of the site.
///
/// # Panics
/// When the program cannot be started.
pub fn run(
    site: &Site,
    machine: &Machine,
    words: &[String],
    environment: &[(&str, &str)],
    limit: Duration,
) -> Finished {
    let output = site.scratch("output");
    let mut command = Desk::of(site, machine).command(words);
    command.envs(environment.iter().copied());
    let finished = finish(command, &output, limit);
    let _ = std::fs::remove_file(output);
    finished
}

/// Runs `command` with all that it prints in a file.
///
/// # Panics
/// When the program cannot be started.
pub fn finish(command: Command, output: &Path, limit: Duration) -> Finished {
    let watch = Stopwatch::start();
    let mut process = Process::spawn(command, output);
    let status = process.wait(limit);
    let elapsed = watch.elapsed();
    process.kill();
    Finished { status, output: process.output(), elapsed }
}

/// Where a grid user sits, apart from the site, which others may be changing: the machine and what is set up there.
#[derive(Clone, Debug)]
pub struct Desk {
    machine: Machine,
    hosts: PathBuf,
    directory: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Desk {
    pub fn of(site: &Site, machine: &Machine) -> Self {
        Self {
            machine: machine.clone(),
            hosts: site.hosts_file(),
            directory: site.client_directory(),
            environment: site.client_environment(),
        }
    }

    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Files of the client machine.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A command that runs here: trust anchors, proxy certificate, host names of the site.
    pub fn command(&self, words: &[String]) -> Command {
        let mut command = self.machine.command(Some(&self.hosts), &words[0]);
        command.args(&words[1..]).current_dir(&self.directory);
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        // A proxy of the machine that the tests run on is not there in the namespace.
        for name in ["http_proxy", "ftp_proxy", "all_proxy", "HTTP_PROXY", "FTP_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command
    }
}
