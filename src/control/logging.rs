//! The log: lines to stderr through a bounded buffer.
//!
//! A reader that stops reading (a stuck pipe, a full disk behind journald) costs lines, which are counted, and holds
//! up nobody. Lines are written in batches: a wake-up and a `write` for every session would cost a busy door more
//! than all it says in them. Errors are written at once.
mod text;

use std::io::{self, Write};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// What may wait for the reader, in bytes: some 7,000 lines of 300 bytes.
const MAX_WAITING: usize = 2 << 20;

/// How long lines gather before they are written.
const GATHER: Duration = Duration::from_millis(50);

/// How long the end of the process waits for a reader that does not read.
const LAST_LINES: Duration = Duration::from_millis(500);

/// How a line looks (`--log`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The log at work; dropped, it writes what waits.
#[derive(Debug)]
pub struct Logging {
    buffer: Arc<Buffer>,
    writer: Option<JoinHandle<()>>,
}

/// How many lines were lost.
#[derive(Clone, Debug, Default)]
pub struct LogLoss(Option<Arc<Buffer>>);

#[derive(Debug, Default)]
struct Buffer {
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

impl Logging {
    /// Starts the writer and makes it the process's log.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(format: LogFormat) -> io::Result<Self> {
        let logging = Self::to(io::stderr())?;
        let lines = tracing_subscriber::fmt()
            .with_writer(Lines(Arc::clone(&logging.buffer)))
            .with_ansi(false)
            .with_target(false);
        let started = match format {
            LogFormat::Text => lines.event_format(text::Text).finish().try_init(),
            LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
        };
        // Another log of this process is in place already; it stays.
        let _ = started;
        Ok(logging)
    }

    fn to(output: impl Write + Send + 'static) -> io::Result<Self> {
        let buffer = Arc::new(Buffer::default());
        let theirs = Arc::clone(&buffer);
        let writer = std::thread::Builder::new().name("log".into()).spawn(move || theirs.write_to(output))?;
        Ok(Self { buffer, writer: Some(writer) })
    }

    /// A counter that may be read as long as the process lives.
    #[must_use]
    pub fn loss(&self) -> LogLoss {
        LogLoss(Some(Arc::clone(&self.buffer)))
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let mut waiting = self.buffer.lock();
        waiting.ended = true;
        self.buffer.changed.notify_all();
        let unwritten = |waiting: &mut Waiting| waiting.writing || !waiting.bytes.is_empty();
        let outcome = self.buffer.written.wait_timeout_while(waiting, LAST_LINES, unwritten);
        let stuck = outcome.is_ok_and(|(_, timeout)| timeout.timed_out());
        // A writer whose reader is stuck ends with the process.
        if !stuck && let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl LogLoss {
    /// Lines lost so far.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.0.as_ref().map_or(0, |buffer| buffer.lost.load(Relaxed))
    }
}

impl Buffer {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that holds the lock can panic half-way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8], urgent: bool) {
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

    fn write_to(&self, mut output: impl Write) {
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
                self.written.notify_all();
                return;
            }
            // The buffer starts anew, so that a burst's memory goes back.
            let batch = std::mem::take(&mut waiting.bytes);
            waiting.urgent = false;
            waiting.writing = true;
            drop(waiting);
            if output.write_all(&batch).and_then(|()| output.flush()).is_err() {
                let lines = batch.iter().filter(|&&byte| byte == b'\n').count();
                self.lost.fetch_add(lines as u64, Relaxed);
            }
            self.lock().writing = false;
            self.written.notify_all();
        }
    }
}

/// Makes one writer for each event, as `tracing_subscriber` wants it.
struct Lines(Arc<Buffer>);

/// Takes one event's line, which `tracing_subscriber` hands over in one piece.
struct Line<'a> {
    buffer: &'a Buffer,
    urgent: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { buffer: &self.0, urgent: false }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line { buffer: &self.0, urgent: *metadata.level() == Level::ERROR }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.buffer.push(line, self.urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Takes what is written; a full channel is a reader that is stuck.
    struct Reader(mpsc::SyncSender<Vec<u8>>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_whole_and_in_order_and_the_end_waits_for_them() {
        let (sender, receiver) = mpsc::sync_channel(1000);
        let logging = Logging::to(Reader(sender)).unwrap();
        for number in 0..100 {
            logging.buffer.push(format!("line {number}\n").as_bytes(), number % 10 == 0);
        }
        drop(logging);
        let text: Vec<u8> = receiver.iter().flatten().collect();
        let expected: String = (0..100).map(|number| format!("line {number}\n")).collect();
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn a_stuck_reader_costs_counted_lines_and_stops_nobody() {
        let (sender, receiver) = mpsc::sync_channel(0);
        let logging = Logging::to(Reader(sender)).unwrap();
        let line = [b'x'; 1023].iter().chain(b"\n").copied().collect::<Vec<u8>>();
        for _ in 0..3 * MAX_WAITING / line.len() {
            logging.buffer.push(&line, false);
        }
        let lost = logging.loss().lines();
        assert!(lost >= (MAX_WAITING / line.len()) as u64, "{lost} lost");
        assert!(logging.buffer.lock().bytes.len() <= MAX_WAITING);
        drop(logging);
        drop(receiver);
    }
}
