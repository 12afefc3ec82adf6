//! The second console of a guest: lines to its init and back.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::support::deadline::Stopwatch;

/// Our end of it. Dropping it tells the guest that the test is over.
#[derive(Debug)]
pub struct Console {
    stream: UnixStream,
    heard: Arc<Heard>,
    reader: Option<JoinHandle<()>>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Silence {
    /// There is no guest any more.
    Ended,
    TimeOver,
}

#[derive(Debug, Default)]
struct Heard {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    /// How the setup ended.
    ready: Option<i32>,
    /// How commands ended that nobody has asked for yet.
    done: HashMap<u32, i32>,
    ended: bool,
}

impl Console {
    /// What comes by `stream` until the process has ended.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn new(stream: UnixStream, guest: u32) -> Self {
        stream.set_nonblocking(true).expect("a socket of ours");
        let guest = Pid::from_raw(guest.cast_signed()).expect("a process id");
        let guest = pidfd_open(guest, PidfdFlags::empty()).expect("a child that nobody has waited for");
        let heard = Arc::<Heard>::default();
        let (mut input, told) = (stream.try_clone().expect("a second handle"), Arc::clone(&heard));
        let reader = std::thread::spawn(move || {
            let mut pending = Vec::new();
            let mut open = true;
            while open {
                let mut both = [PollFd::new(&input, PollFlags::IN), PollFd::new(&guest, PollFlags::IN)];
                // EINTR: look again.
                let _ = poll(&mut both, None);
                // What was said last is read before the end is believed.
                open = both[1].revents().is_empty();
                open &= read(&mut input, &mut pending);
                while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = pending.drain(..=end).collect();
                    told.note(&String::from_utf8_lossy(&line));
                }
            }
            told.lock().ended = true;
            told.more.notify_all();
        });
        Self { stream, heard, reader: Some(reader) }
    }

    /// Says one line. A guest that is no more does not hear it.
    pub fn say(&self, line: &str) {
        let _ = (&self.stream).write_all(format!("{line}\n").as_bytes());
    }

    /// Waits for the end of the guest's setup; its status.
    pub fn ready(&self, limit: Duration) -> Result<i32, Silence> {
        self.heard.wait(limit, |lines| lines.ready)
    }

    /// Waits for the end of a command; its status.
    pub fn done(&self, number: u32, limit: Duration) -> Result<i32, Silence> {
        self.heard.wait(limit, |lines| lines.done.remove(&number))
    }

    /// Waits for the guest's end.
    pub fn ended(&self, limit: Duration) -> bool {
        self.heard.wait(limit, |_| None::<()>) == Err(Silence::Ended)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Heard {
    fn note(&self, line: &str) {
        let mut lines = self.lock();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["ready", status] => lines.ready = status.parse().ok(),
            ["done", number, status] => {
                if let (Ok(number), Ok(status)) = (number.parse(), status.parse()) {
                    lines.done.insert(number, status);
                }
            }
            // A kernel that dies may say anything; its log has that, too.
            _ => {}
        }
        self.more.notify_all();
    }

    fn wait<T>(&self, limit: Duration, mut look: impl FnMut(&mut Lines) -> Option<T>) -> Result<T, Silence> {
        let watch = Stopwatch::start();
        let mut lines = self.lock();
        loop {
            if let Some(found) = look(&mut lines) {
                return Ok(found);
            }
            if lines.ended {
                return Err(Silence::Ended);
            }
            let Some(left) = limit.checked_sub(watch.elapsed()) else { return Err(Silence::TimeOver) };
            lines = self.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes what is there; false at its end.
fn read(input: &mut UnixStream, pending: &mut Vec<u8>) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match input.read(&mut bytes) {
            Ok(0) => return false,
            Ok(count) => pending.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}
