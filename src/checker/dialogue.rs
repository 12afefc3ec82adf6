//! Commands and replies of a probe, one after the other.

use std::borrow::Cow;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::conversation::READ_SIZE;
use super::{Setback, failed};
use crate::balance::CheckOutcome;
use crate::proto::ftp::{LineSplitter, Piece, ReplyCode, ReplyFramer, ReplyLine};

/// Longest reply that is read, in bytes, markers before it included: a site's welcome is some lines.
const MAX_REPLY: usize = 64 * 1024;

/// As much of a reply's last line as is kept, in bytes.
const MAX_WORDS: usize = 160;

/// Lines of a reply that are kept where they are wanted: FEAT of a Globus server has some thirty. A reply is bounded as a whole.
const MAX_KEPT_LINES: usize = 200;

/// One end of a control connection after its greeting.
#[derive(Debug)]
pub(super) struct Dialogue<'s, S> {
    stream: &'s mut S,
    buffer: Vec<u8>,
    lines: LineSplitter,
    framer: ReplyFramer,
    /// Bytes since the last reply.
    heard: usize,
    /// The first line of a reply of several.
    first: Option<String>,
    /// The lines of the reply, where they are wanted.
    kept: Option<Vec<String>>,
    /// What would come next, and what to do when it does not.
    awaited: (Cow<'static, str>, &'static str),
}

/// What a server answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Reply {
    pub(super) code: u16,
    /// Its last line that says something, code included, without control characters.
    pub(super) words: String,
}

impl Reply {
    pub(super) fn is_preliminary(&self) -> bool {
        self.code < 200
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// 421 and 422, which may come at any time: alive, not now.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.code, 421 | 422)
    }
}

impl<'s, S: AsyncRead + AsyncWrite + Unpin> Dialogue<'s, S> {
    pub(super) fn new(stream: &'s mut S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            lines: LineSplitter::default(),
            framer: ReplyFramer::default(),
            heard: 0,
            first: None,
            kept: None,
            awaited: ("".into(), ""),
        }
    }

    /// Says a command and returns its final reply. Only the verb is repeated in reasons.
    pub(super) async fn ask(&mut self, command: &str) -> Result<Reply, Setback> {
        self.say(command).await?;
        loop {
            let reply = self.reply().await?;
            if !reply.is_preliminary() {
                return Ok(reply);
            }
        }
    }

    /// Says a command and returns the begin of its reply, line by line, if that is a success.
    pub(super) async fn ask_for_lines(&mut self, command: &str) -> Result<Option<Vec<String>>, Setback> {
        self.kept = Some(Vec::new());
        let reply = self.ask(command).await;
        let lines = self.kept.take().unwrap_or_default();
        Ok(reply?.is_success().then_some(lines))
    }

    /// Says a command.
    pub(super) async fn say(&mut self, command: &str) -> Result<(), Setback> {
        let verb = command.split(' ').next().unwrap_or_default().to_owned();
        self.await_now(format!("reply to {verb}"), "see the server's load and its log, or raise max_time");
        let line = format!("{command}\r\n");
        let sent = async {
            self.stream.write_all(line.as_bytes()).await?;
            self.stream.flush().await
        };
        let sent = sent.await;
        sent.map_err(|error| self.lost(&format!("the connection broke: {error}")))
    }

    /// The next reply of any kind. May be dropped and asked again: nothing is lost.
    pub(super) async fn reply(&mut self) -> Result<Reply, Setback> {
        loop {
            if let Some(reply) = self.take_reply()? {
                return Ok(reply);
            }
            let mut buffer = [0; READ_SIZE];
            match self.stream.read(&mut buffer).await {
                Ok(0) => return Err(self.lost("it closed the connection")),
                Err(error) => return Err(self.lost(&format!("the connection broke: {error}"))),
                Ok(count) => self.buffer.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// What is waited for from now on, for [`silence`](Self::silence).
    pub(super) fn await_now(&mut self, what: impl Into<Cow<'static, str>>, mend: &'static str) {
        self.awaited = (what.into(), mend);
    }

    /// It did not come in time.
    pub(super) fn silence(&self, max_time: Duration) -> Setback {
        let (what, mend) = &self.awaited;
        failed(&format!("no {what} within max_time = {max_time:?}"), mend)
    }

    fn lost(&self, what: &str) -> Setback {
        failed(&format!("{what}, no {} came", self.awaited.0), "see the server's log")
    }

    fn take_reply(&mut self) -> Result<Option<Reply>, Setback> {
        let Self { buffer, lines, framer, heard, first, kept, .. } = self;
        let mut rest = &buffer[..];
        let mut found = None;
        let mut too_long = false;
        while found.is_none() && !too_long {
            let before = rest.len();
            let line = match lines.next(&mut rest) {
                Ok(None) => break,
                Ok(Some(Piece::Line(line) | Piece::Head(line))) => Some(line),
                Ok(Some(Piece::Middle(_) | Piece::Tail(_))) => None,
                Err(_) => {
                    too_long = true;
                    None
                }
            };
            *heard += before - rest.len();
            let Some(line) = line else { continue };
            if let Some(kept) = kept.as_mut().filter(|kept| kept.len() < MAX_KEPT_LINES) {
                kept.push(String::from_utf8_lossy(line).trim_end().to_owned());
            }
            match framer.classify(line) {
                ReplyLine::First(code) => *first = Some(words(code, line)),
                ReplyLine::Last(code) | ReplyLine::Single(code) => {
                    let last = words(code, line);
                    // A Globus server ends every reply of several lines so, and has said it before.
                    let words = first.take().filter(|_| last[3..].trim() == "End.").unwrap_or(last);
                    found = Some(Reply { code: code.number(), words });
                }
                ReplyLine::Middle(_) | ReplyLine::Stray => {}
            }
        }
        let used = buffer.len() - rest.len();
        buffer.drain(..used);
        if found.is_some() {
            *heard = 0;
        } else if too_long || *heard > MAX_REPLY {
            return Err(failed(
                &format!("the {} is longer than {MAX_REPLY} bytes", self.awaited.0),
                "is `port` that of a GridFTP server?",
            ));
        }
        Ok(found)
    }
}

/// The reply as a reason shows it; what a Globus server writes before the code is left out.
fn words(code: ReplyCode, line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let number = code.to_string();
    let from = text.find(&number).unwrap_or_default();
    let mut words: String = text[from..].chars().filter(|c| !c.is_control()).collect();
    words.truncate(words.floor_char_boundary(MAX_WORDS));
    words
}

/// A reply that was not wanted: busy, or a fault with this mend.
pub(super) fn refusal(reply: &Reply, what: &str, mend: &str) -> Setback {
    if reply.is_busy() {
        CheckOutcome::Busy(reply.words.clone()).into()
    } else {
        failed(&format!("{what}: `{}`", reply.words), mend)
    }
}
