//! The transfer log: a line for each transfer, in the form of a Globus server's (`-log-transfer`).
//!
//! ```text
//! DATE=20261124164527.595357 HOST=lb1 PROG=gridfront NL.EVNT=FTP_INFO START=20261124164527.594845 USER=joe
//! FILE=/data/f BUFFER=0 BLOCK=0 NBYTES=100000 VOLUME=/ STREAMS=1 STRIPES=1 DEST=[192.0.2.7] TYPE=RETR CODE=226
//! TASKID=none data_path=relay dn="/DC=org/CN=Joe"
//! ```
//!
//! Accounting looks for these fields in this order, so all of them are there, with 0 for what the door cannot know. What is
//! behind TASKID it has to bear: a Globus server writes `retrans=` there. It has no field for the name in a user's certificate; where
//! GSI ends at the door, `dn` is that, in quotes for its blanks.
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::journal::Facts;
use super::relay::Moved;
use crate::proto::ftp::{DataPath, ReplyCode, TransferRecord, Verb};
use crate::sys::calendar;
use crate::sys::line_buffer::LineBuffer;

/// What stands for a transfer whose session was over before its reply: RFC 959, "connection closed; transfer aborted".
const ABORTED: u16 = 426;

/// See the module's text. It lives as long as the process; whether there is a file, and which, may change.
#[derive(Debug, Default)]
pub(crate) struct TransferLog {
    lines: Arc<LineBuffer>,
    /// What HOST is; none while there is no file.
    host: RwLock<Option<Arc<str>>>,
}

/// One line.
#[derive(Debug)]
struct Entry<'a> {
    end: SystemTime,
    start: SystemTime,
    host: &'a str,
    user: &'a str,
    file: &'a str,
    bytes: u64,
    client: IpAddr,
    verb: &'a str,
    code: u16,
    path: DataPath,
    dn: Option<&'a str>,
}

impl TransferLog {
    /// From now on lines are for `host`, or none are written.
    pub(crate) fn set_host(&self, host: Option<&str>) {
        *self.host.write().unwrap_or_else(PoisonError::into_inner) = host.map(Into::into);
    }

    /// Where its lines wait.
    pub(crate) fn lines(&self) -> &Arc<LineBuffer> {
        &self.lines
    }

    /// Lines lost so far.
    pub(crate) fn lost(&self) -> u64 {
        self.lines.lost()
    }

    /// Writes a transfer that has ended.
    pub(super) fn record(&self, facts: &Facts, record: &TransferRecord, carried: Option<&Moved>) {
        let Some(host) = self.host.read().unwrap_or_else(PoisonError::into_inner).clone() else { return };
        let end = date();
        let entry = Entry {
            end,
            start: end.checked_sub(record.duration).unwrap_or(end),
            host: &host,
            user: facts.user.as_deref().unwrap_or("none"),
            file: file(record.verb, &record.path),
            bytes: carried.map_or(0, |carried| {
                if record.verb.is_upload() { carried.to_server } else { carried.to_client }
            }),
            client: facts.client.ip().to_canonical(),
            verb: record.verb.name(),
            code: record.reply.map_or(ABORTED, ReplyCode::number),
            path: record.data_path,
            dn: facts.dn(),
        };
        self.lines.push(format!("{entry}\n").as_bytes(), false);
    }
}

impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { end, start, host, user, file, bytes, client, verb, code, path, dn } = self;
        write!(
            f,
            "DATE={} HOST={host} PROG=gridfront NL.EVNT=FTP_INFO START={} USER={} FILE={} BUFFER=0 BLOCK=0 \
             NBYTES={bytes} VOLUME=/ STREAMS=1 STRIPES=1 DEST=[{client}] TYPE={verb} CODE={code} TASKID=none \
             data_path={path}",
            Stamp(*end),
            Stamp(*start),
            Word(user),
            Line(file),
        )?;
        match dn {
            Some(dn) => write!(f, " dn=\"{}\"", Quoted(dn)),
            None => Ok(()),
        }
    }
}

/// What an argument names: partial transfers (GFD.20) have a module's name and numbers before it.
fn file(verb: Verb, argument: &str) -> &str {
    let words_before = match (verb, argument.get(..2)) {
        (Verb::Eret, Some("P " | "p ")) => 3,
        (Verb::Esto, Some("A " | "a ")) => 2,
        _ => 0,
    };
    let named = argument.splitn(words_before + 1, ' ').last();
    let named = named.filter(|name| !name.is_empty()).unwrap_or(argument);
    // As a Globus server writes `//file`, which URLs with an absolute path become.
    match named.trim_start_matches('/') {
        inner if inner.len() + 1 < named.len() => &named[named.len() - inner.len() - 1..],
        _ => named,
    }
}

/// A moment as Globus writes it: `20261124164527.595357`, UTC.
struct Stamp(SystemTime);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (year, month, day) = calendar::date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let micros = since.subsec_micros();
        write!(f, "{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}.{micros:06}")
    }
}

/// A value without blanks, so that the next field stays one.
struct Word<'a>(&'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = |c: char| if c.is_whitespace() || c.is_control() { '_' } else { c };
        self.0.chars().map(kept).try_for_each(|c| f.write_char(c))
    }
}

/// A value that may have blanks, as file names have in Globus' log, and nothing that moves a terminal's cursor.
struct Line<'a>(&'a str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = |c: char| if c.is_control() { '_' } else { c };
        self.0.chars().map(kept).try_for_each(|c| f.write_char(c))
    }
}

/// A value between quotes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = |c: char| if c.is_control() || c == '"' { '_' } else { c };
        self.0.chars().map(kept).try_for_each(|c| f.write_char(c))
    }
}

fn date() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "a log tells the date, and nothing is decided by it")]
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(user: &'a str, file: &'a str) -> Entry<'a> {
        let end = UNIX_EPOCH + Duration::from_micros(1_795_538_727_595_357);
        Entry {
            end,
            start: end - Duration::from_micros(512),
            host: "vm",
            user,
            file,
            bytes: 100_000,
            client: [127, 0, 0, 1].into(),
            verb: "RETR",
            code: 226,
            path: DataPath::Relay,
            dn: None,
        }
    }

    /// A line that globus-gridftp-server 13.24 has written, and every field that the door knows as well.
    #[test]
    fn a_line_has_the_fields_of_a_globus_server_in_their_order() {
        let theirs = "DATE=20261124164527.595357 HOST=vm PROG=globus-gridftp-server NL.EVNT=FTP_INFO \
                      START=20261124164527.594845 USER=anonymous FILE=/tmp/a file BUFFER=131072 BLOCK=262144 \
                      NBYTES=100000 VOLUME=/ STREAMS=1 STRIPES=1 DEST=[127.0.0.1] TYPE=RETR CODE=226 TASKID=none";
        let expected = theirs
            .replace("globus-gridftp-server", "gridfront")
            .replace("BUFFER=131072 BLOCK=262144", "BUFFER=0 BLOCK=0");
        assert_eq!(entry("anonymous", "/tmp/a file").to_string(), format!("{expected} data_path=relay"));
    }

    #[test]
    fn nothing_in_a_name_begins_a_line_or_another_field_of_the_user() {
        let text = entry("joe CODE=226\x1b", "/a\u{85}b\x1b[2J").to_string();
        assert!(text.contains(" USER=joe_CODE=226_ FILE=/a_b_[2J BUFFER="), "{text}");
    }

    #[test]
    fn the_name_in_a_certificate_is_the_last_field() {
        let entry = Entry { dn: Some("/O=Grid/CN=Jane \"J\" Doe"), ..entry("jane", "/f") };
        let text = entry.to_string();
        assert!(text.ends_with(" TASKID=none data_path=relay dn=\"/O=Grid/CN=Jane _J_ Doe\""), "{text}");
    }

    #[test]
    fn a_moment_is_written_in_digits_alone() {
        let moment = UNIX_EPOCH + Duration::new(1_709_164_800 + 3600 + 62, 7_000);
        assert_eq!(Stamp(moment).to_string(), "20240229010102.000007");
    }

    #[test]
    fn the_file_of_a_partial_transfer_is_its_file() {
        for (verb, argument, name) in [
            (Verb::Retr, "/a b", "/a b"),
            (Verb::Eret, "P 5 10 /a b", "/a b"),
            (Verb::Retr, "///a//b", "/a//b"),
            (Verb::List, "//", "/"),
            (Verb::Esto, "A 5 /a b", "/a b"),
            (Verb::Eret, "other=\"x\" /a", "other=\"x\" /a"),
            (Verb::Eret, "P 5", "5"),
            (Verb::Stor, "P 5 10 x", "P 5 10 x"),
            (Verb::List, "", ""),
        ] {
            assert_eq!(file(verb, argument), name, "{argument}");
        }
    }

    #[test]
    fn without_a_file_nothing_waits() {
        let log = TransferLog::default();
        assert_eq!(log.lost(), 0);
        assert!(log.host.read().unwrap().is_none());
    }
}
