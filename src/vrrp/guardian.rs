//! The guardian: a process of its own that outlives the daemon by milliseconds.
//!
//! A daemon that is killed leaves its virtual addresses on the interface, and the kernel goes on to answer for them beside
//! the next master. Their lifetime ends that within seconds; the guardian ends it at once: it holds the other end of a pipe,
//! and when that closes with no word before, it removes the addresses and says priority 0 in the daemon's name, so that a
//! backup takes over after its skew time.
//!
//! The pipe carries lines of text ([`Word`]); what each says stays the case until another line changes it.
mod estate;
mod words;

use std::io::{self, BufRead as _, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use self::estate::Estate;
pub(super) use self::words::{LastWords, Word};
use crate::sys;

/// Longest line of the pipe, in bytes: a payload of 255 addresses of IPv6 in hexadecimal, and the rest.
const MAX_LINE: u64 = 16 * 1024;

/// What the command line calls it.
pub const SUBCOMMAND: &str = "guardian";

/// This program once more. A unit test's program would be the tests: they would run again, with its output open after its end.
const PROGRAM: (&str, &[&str]) =
    if cfg!(test) { ("/bin/cat", &[]) } else { ("/proc/self/exe", &[SUBCOMMAND]) };

/// After one that has ended by itself; whoever ends it again and again is not to cost a processor.
pub(super) const START_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A guardian that runs, and the end of its pipe that is the daemon's.
#[derive(Debug)]
pub(super) struct Guardian {
    pub(super) child: Child,
    pub(super) pipe: OwnedFd,
}

impl Guardian {
    /// Starts this program once more.
    ///
    /// # Errors
    ///
    /// As fork(2), execve(2) and pipe(2).
    pub(super) fn start() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let (program, arguments) = PROGRAM;
        let mut command = Command::new(program);
        command
            .arg0("gridfront")
            .args(arguments)
            .env_clear()
            .current_dir("/")
            // Not in the daemon's group: what ends that from a terminal must not end both at once.
            .process_group(0)
            .stdin(Stdio::from(reader))
            .stdout(Stdio::null());
        let child = command.spawn()?;
        rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK)?;
        Ok(Self { child, pipe: writer.into() })
    }
}

/// The guardian's life: reads until the pipe closes, then does what is left to be done. Returns what could not be done.
///
/// # Errors
///
/// The pipe cannot be read, or carries what this program does not know.
pub fn watch(pipe: impl Read) -> io::Result<Vec<String>> {
    sys::signals::ignore_requests_to_end();
    // A millisecond may matter, and it does nothing else. Refused, it is what it is.
    let _ = sys::real_time::set_priority(super::REAL_TIME_PRIORITY);
    let mut estate = Estate::open()?;
    let mut pipe = BufReader::new(pipe);
    let mut line = String::new();
    loop {
        line.clear();
        if pipe.by_ref().take(MAX_LINE).read_line(&mut line)? == 0 {
            return Ok(estate.wind_up());
        }
        // A line that was cut off by the daemon's end is not said.
        if let Some(said) = line.strip_suffix('\n') {
            match Word::parse(said) {
                Some(word) => estate.hear(word),
                None => return Err(io::Error::new(io::ErrorKind::InvalidData, said.to_owned())),
            }
        }
    }
}

/// For the command line: whether somebody started it by hand.
#[must_use]
pub fn is_fed_by_a_pipe() -> bool {
    rustix::fs::fstat(io::stdin())
        .is_ok_and(|found| rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::Fifo)
        && Path::new("/proc/self/exe").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_unit_tests_guardian_is_not_the_tests_once_more_and_ends_with_its_pipe() {
        assert_ne!(PROGRAM.0, "/proc/self/exe", "this test would start itself for ever");
        let Guardian { mut child, pipe } = Guardian::start().unwrap();
        assert_eq!(std::fs::read_to_string(format!("/proc/{}/comm", child.id().unwrap())).unwrap(), "cat\n");
        drop(pipe);
        assert!(child.wait().await.unwrap().success());
    }
}
