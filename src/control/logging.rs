//! The log: lines to stderr through a bounded buffer.
//!
//! A reader that stops reading (a stuck pipe, a full disk behind journald) costs lines, which are counted, and holds
//! up nobody. Lines are written in batches: a wake-up and a `write` for every session would cost a busy door more
//! than all it says in them. Errors are written at once.
mod text;

use std::io::{self, Write};
use std::sync::Arc;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::sys::line_buffer::{LineBuffer, LineOutput, LineWriter, write_whole};

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
    buffer: Arc<LineBuffer>,
    _writer: LineWriter,
}

/// How many lines were lost.
#[derive(Clone, Debug, Default)]
pub struct LogLoss(Option<Arc<LineBuffer>>);

/// Where the log goes.
struct Output<W>(W);

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
        let buffer = Arc::<LineBuffer>::default();
        let writer = LineWriter::start("log", Arc::clone(&buffer), Output(output))?;
        Ok(Self { buffer, _writer: writer })
    }

    /// A counter that may be read as long as the process lives.
    #[must_use]
    pub fn loss(&self) -> LogLoss {
        LogLoss(Some(Arc::clone(&self.buffer)))
    }
}

impl LogLoss {
    /// Lines lost so far.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.0.as_ref().map_or(0, |buffer| buffer.lost())
    }
}

impl<W: Write + Send + 'static> LineOutput for Output<W> {
    fn write_lines(&mut self, lines: &[u8]) -> u64 {
        write_whole(&mut self.0, lines).map_or_else(|torn| torn.lost(lines), |()| 0)
    }
}

/// Makes one writer for each event, as `tracing_subscriber` wants it.
struct Lines(Arc<LineBuffer>);

/// Takes one event's line, which `tracing_subscriber` hands over in one piece.
struct Line<'a> {
    buffer: &'a LineBuffer,
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
