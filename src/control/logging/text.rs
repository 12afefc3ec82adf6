//! A log line for people: `2026-11-23T01:21:13.890876Z  INFO transfer client=192.0.2.77:59334 path="file"`.
//!
//! The form is that of `tracing_subscriber`. Written by hand, for a line is a sixth of what the door itself does in a short
//! session, and three quarters of that went into putting numbers and quotes together piece by piece. Besides, what others
//! have said never begins a line of its own here.
use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::sys::calendar;

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// See the module's text. There are no spans.
#[derive(Debug)]
pub(super) struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        #[expect(
            clippy::disallowed_methods,
            reason = "the edge: a line bears the moment in which it is written"
        )]
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        write_timestamp(now, &mut writer)?;
        writer.write_str(match *event.metadata().level() {
            Level::ERROR => " ERROR",
            Level::WARN => "  WARN",
            Level::INFO => "  INFO",
            Level::DEBUG => " DEBUG",
            Level::TRACE => " TRACE",
        })?;
        let mut line = Line { writer, result: Ok(()) };
        event.record(&mut line);
        line.result?;
        line.writer.write_char('\n')
    }
}

/// What is said, word by word.
struct Line<'a> {
    writer: Writer<'a>,
    result: fmt::Result,
}

impl Line<'_> {
    fn say(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        let mut written = || {
            self.result?;
            self.writer.write_char(' ')?;
            let name = field.name();
            // The words of the line itself have no name.
            if name != "message" {
                self.writer.write_str(name.strip_prefix("r#").unwrap_or(name))?;
                self.writer.write_char('=')?;
            }
            Ok(())
        };
        self.result = written().and_then(|()| value(&mut self.writer));
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            return self.record_debug(field, &format_args!("{value}"));
        }
        self.say(field, |writer| {
            if !value.bytes().all(is_plain) {
                return write!(writer, "{value:?}");
            }
            writer.write_char('"')?;
            writer.write_str(value)?;
            writer.write_char('"')
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.say(field, |writer| writer.write_str(Digits::of(value).text()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.say(field, |writer| write!(OneLine(writer), "{value:?}"));
    }
}

/// Whether a byte may stand between quotes as it is.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// Lets everything pass but what would end the line, or steer the terminal that shows it.
struct OneLine<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return self.0.write_str(text);
        }
        for piece in text.split_inclusive(char::is_control) {
            let control = piece.chars().next_back().filter(|last| last.is_control());
            self.0.write_str(&piece[..piece.len() - control.map_or(0, char::len_utf8)])?;
            if let Some(control) = control {
                write!(self.0, "{}", control.escape_default())?;
            }
        }
        Ok(())
    }
}

/// A number in decimal.
struct Digits {
    bytes: [u8; 20],
    from: usize,
}

impl Digits {
    fn of(mut number: u64) -> Self {
        let mut digits = Self { bytes: [b'0'; 20], from: 20 };
        loop {
            digits.from -= 1;
            digits.bytes[digits.from] = digit(number);
            number /= 10;
            if number == 0 {
                return digits;
            }
        }
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.bytes[self.from..]).unwrap_or_default()
    }
}

/// The last digit of a number.
fn digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

/// RFC 3339 in UTC, to the microsecond, of a time since 1970.
fn write_timestamp(since_1970: Duration, writer: &mut impl fmt::Write) -> fmt::Result {
    let (days, second) = (since_1970.as_secs() / SECONDS_PER_DAY, since_1970.as_secs() % SECONDS_PER_DAY);
    let (year, month, day) = calendar::date(days);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let parts = [
        (0..4, year),
        (5..7, month),
        (8..10, day),
        (11..13, second / 3600),
        (14..16, second / 60 % 60),
        (17..19, second % 60),
        (20..26, u64::from(since_1970.subsec_micros())),
    ];
    for (place, mut number) in parts {
        for byte in text[place].iter_mut().rev() {
            *byte = digit(number);
            number /= 10;
        }
    }
    writer.write_str(str::from_utf8(&text).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[test]
    fn dates_are_those_of_the_calendar() {
        #[rustfmt::skip]
        let table = [
            (0,              "1970-01-01T00:00:00.000000Z"),
            (951_782_399,    "2000-02-28T23:59:59.000000Z"),
            (951_782_400,    "2000-02-29T00:00:00.000000Z"),
            (951_868_800,    "2000-03-01T00:00:00.000000Z"),
            (1_709_164_800,  "2024-02-29T00:00:00.000000Z"),
            (1_763_860_873,  "2025-11-23T01:21:13.000000Z"),
            (1_798_761_599,  "2026-12-31T23:59:59.000000Z"),
            (4_107_542_400,  "2100-03-01T00:00:00.000000Z"),
            (4_107_542_399,  "2100-02-28T23:59:59.000000Z"),
        ];
        for (seconds, expected) in table {
            let mut text = String::new();
            write_timestamp(Duration::from_secs(seconds), &mut text).unwrap();
            assert_eq!(text, expected);
        }
        let mut text = String::new();
        write_timestamp(Duration::from_nanos(890_876_999), &mut text).unwrap();
        assert_eq!(text, "1970-01-01T00:00:00.890876Z");
    }

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of some lines, without the time.
    fn written(speak: impl FnOnce()) -> Vec<String> {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt().with_writer(move || writer.clone()).event_format(Text).finish();
        tracing::subscriber::with_default(lines, speak);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| line[27..].to_owned()).collect()
    }

    #[test]
    fn a_line_has_the_form_that_people_and_their_scripts_know() {
        let lines = written(|| {
            let nobody: Option<&str> = None;
            let client: std::net::SocketAddr = "[2001:db8::7]:59334".parse().unwrap();
            let path = "a \"b\\";
            tracing::info!(%client, user = nobody, path, n = 0_u64, most = u64::MAX, reply = 226_u16, "transfer");
            tracing::warn!(threads = 2_usize, gone = -1, open = true, r#type = "x", "started {}", 1);
            tracing::error!(place = Some("src/x.rs:1".to_owned()), "panic");
        });
        assert_eq!(
            lines,
            [
                "  INFO transfer client=[2001:db8::7]:59334 path=\"a \\\"b\\\\\" n=0 most=18446744073709551615 reply=226",
                "  WARN started 1 threads=2 gone=-1 open=true type=\"x\"",
                " ERROR panic place=\"src/x.rs:1\"",
            ]
        );
    }

    #[test]
    fn nobodys_words_begin_a_line_or_steer_a_terminal() {
        let evil = "x\r\n2026 INFO y\u{1b}[31m\u{85}é";
        let lines = written(|| {
            tracing::info!(path = evil, error = %evil, "{evil}");
        });
        let escaped = "x\\r\\n2026 INFO y\\u{1b}[31m\\u{85}é";
        assert_eq!(lines, [format!("  INFO {escaped} path=\"{escaped}\" error={escaped}")]);
    }
}
