//! Lines on their way to a file that may not take them.
//!
//! To write is to wait for whoever reads: a pipe that nobody empties, a full disk, a file server that hangs. So whoever has
//! something to say puts it into a buffer, and one thread writes. What does not fit is lost, and counted.
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What may wait for the reader, in bytes: some 7,000 lines of 300 bytes.
const MAX_WAITING: usize = 2 << 20;

/// How long lines gather before they are written.
const GATHER: Duration = Duration::from_millis(50);

/// How long the end of the process waits for a reader that does not read.
const LAST_LINES: Duration = Duration::from_millis(500);

/// See the module's text.
#[derive(Debug, Default)]
pub struct LineBuffer {
    waiting: Mutex<Waiting>,
    /// Something waits, or the end has come.
    changed: Condvar,
    /// All is written.
    written: Condvar,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    urgent: bool,
    writing: bool,
    ended: bool,
}

/// Takes lines, many at a time.
pub trait LineOutput: Send + 'static {
    /// Writes whole lines, and waits as long as that takes. Returns how many of them did not arrive whole.
    fn write_lines(&mut self, lines: &[u8]) -> u64;
}

/// What was written before it failed, in bytes, and why it did.
#[derive(Debug)]
pub struct Torn {
    /// Bytes that have arrived.
    pub written: usize,
    /// Why no more have.
    pub error: io::Error,
}

/// The thread that writes; dropped, it writes what waits.
#[derive(Debug)]
pub struct LineWriter {
    buffer: Arc<LineBuffer>,
    thread: Option<JoinHandle<()>>,
}

impl LineBuffer {
    /// Lines lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Puts a line in, with its line end; an urgent one is not kept waiting for others.
    pub fn push(&self, line: &[u8], urgent: bool) {
        let mut waiting = self.lock();
        if waiting.bytes.len() + line.len() > MAX_WAITING {
            self.lost.fetch_add(1, Relaxed);
            return;
        }
        let wake = waiting.bytes.is_empty() || (urgent && !waiting.urgent);
        waiting.bytes.extend_from_slice(line);
        waiting.urgent |= urgent;
        drop(waiting);
        if wake {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that holds the lock can panic half-way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, output: &mut impl LineOutput) {
        loop {
            let mut waiting = self.lock();
            while waiting.bytes.is_empty() && !waiting.ended {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            let gathering = |waiting: &mut Waiting| !waiting.urgent && !waiting.ended;
            waiting = match self.changed.wait_timeout_while(waiting, GATHER, gathering) {
                Ok((waiting, _)) => waiting,
                Err(poisoned) => poisoned.into_inner().0,
            };
            if waiting.bytes.is_empty() {
                // A writer that comes after this one finds the buffer as new.
                waiting.ended = false;
                self.written.notify_all();
                return;
            }
            // The buffer starts anew, so that a burst's memory goes back.
            let batch = std::mem::take(&mut waiting.bytes);
            waiting.urgent = false;
            waiting.writing = true;
            drop(waiting);
            let lost = output.write_lines(&batch);
            self.lost.fetch_add(lost, Relaxed);
            self.lock().writing = false;
            self.written.notify_all();
        }
    }
}

impl LineWriter {
    /// Starts a thread of this name that writes what the buffer gets.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(name: &str, buffer: Arc<LineBuffer>, mut output: impl LineOutput) -> io::Result<Self> {
        let theirs = Arc::clone(&buffer);
        let thread =
            std::thread::Builder::new().name(name.into()).spawn(move || theirs.write_to(&mut output))?;
        Ok(Self { buffer, thread: Some(thread) })
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        let mut waiting = self.buffer.lock();
        waiting.ended = true;
        self.buffer.changed.notify_all();
        let unwritten = |waiting: &mut Waiting| waiting.writing || !waiting.bytes.is_empty();
        let outcome = self.buffer.written.wait_timeout_while(waiting, LAST_LINES, unwritten);
        let stuck = outcome.is_ok_and(|(_, timeout)| timeout.timed_out());
        // A writer whose reader is stuck ends with the process.
        if !stuck && let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// As `write_all` and `flush`, but tells how far it has come.
///
/// # Errors
///
/// Those of the writer, with what was written before.
pub fn write_whole(output: &mut impl Write, bytes: &[u8]) -> Result<(), Torn> {
    let mut written = 0;
    while written < bytes.len() {
        match output.write(&bytes[written..]) {
            Ok(0) => return Err(Torn { written, error: io::ErrorKind::WriteZero.into() }),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Torn { written, error }),
        }
    }
    output.flush().map_err(|error| Torn { written, error })
}

impl Torn {
    /// How many lines have not arrived whole.
    #[must_use]
    pub fn lost(&self, lines: &[u8]) -> u64 {
        lines[self.written..].iter().filter(|&&byte| byte == b'\n').count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Takes what is written; a full channel is a reader that is stuck.
    struct Reader(mpsc::SyncSender<Vec<u8>>);

    impl LineOutput for Reader {
        fn write_lines(&mut self, lines: &[u8]) -> u64 {
            self.0.send(lines.to_vec()).map_or(1, |()| 0)
        }
    }

    /// Takes so many bytes and no more.
    struct Disk(usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0).min(5);
            self.0 -= taken;
            if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_whole_and_in_order_and_the_end_waits_for_them() {
        let (sender, receiver) = mpsc::sync_channel(1000);
        let buffer = Arc::<LineBuffer>::default();
        let writer = LineWriter::start("test", Arc::clone(&buffer), Reader(sender)).unwrap();
        for number in 0..100 {
            buffer.push(format!("line {number}\n").as_bytes(), number % 10 == 0);
        }
        drop(writer);
        let text: Vec<u8> = receiver.iter().flatten().collect();
        let expected: String = (0..100).map(|number| format!("line {number}\n")).collect();
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn a_stuck_reader_costs_counted_lines_and_stops_nobody() {
        let (sender, receiver) = mpsc::sync_channel(0);
        let buffer = Arc::<LineBuffer>::default();
        let writer = LineWriter::start("test", Arc::clone(&buffer), Reader(sender)).unwrap();
        let line = [b'x'; 1023].iter().chain(b"\n").copied().collect::<Vec<u8>>();
        for _ in 0..3 * MAX_WAITING / line.len() {
            buffer.push(&line, false);
        }
        let lost = buffer.lost();
        assert!(lost >= (MAX_WAITING / line.len()) as u64, "{lost} lost");
        assert!(buffer.lock().bytes.len() <= MAX_WAITING);
        drop(writer);
        drop(receiver);
    }

    #[test]
    fn what_a_full_disk_has_not_taken_is_counted_by_the_line() {
        let lines = b"one\ntwo\nthree\n";
        for (room, lost) in [(0, 3), (3, 3), (4, 2), (9, 1), (13, 1)] {
            let torn = write_whole(&mut Disk(room), lines).unwrap_err();
            assert_eq!((torn.written, torn.lost(lines)), (room, lost));
        }
        assert!(write_whole(&mut Disk(14), lines).is_ok());
    }
}
