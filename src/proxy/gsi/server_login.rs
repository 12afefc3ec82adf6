//! The login of the door at a real server, as the user whose credential it has.
use std::io;
use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::super::protected::Protected;
use super::lines::{self, Lines};
use super::{Termination, User, date};
use crate::proto::ftp::{ReplyCode, ReplyFramer, ReplyLine};
use crate::proto::gsi::adat::{self, AdatError, AdatReply};
use crate::proto::gsi::{ChannelEnd, Established, InitiateError, Initiator};

/// Lines of a reply that are kept; what a server says beyond is not repeated.
const MAX_REPLY_LINES: usize = 16;
/// Bytes of its words that are repeated, in the log and to the client.
const MAX_WORDS: usize = 2048;

/// Why the door is not logged in.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum ServerLoginError {
    /// The server does not want the user, or not this way: its words.
    #[error("it refuses the user's credential: {0}")]
    Refused(String),
    /// The door does not want the server.
    #[error("GSI with it: {0}")]
    Initiate(#[from] InitiateError),
    #[error("it answers AUTH GSSAPI with {0}; see whether it is a GridFTP server with GSI")]
    NoGsi(String),
    /// It knows GSI, and cannot: mostly for its own certificate.
    #[error("it cannot begin with GSI: {0}")]
    Unable(String),
    #[error("its answer cannot be read: {0}")]
    Adat(#[from] AdatError),
    #[error("connection lost in its GSI handshake: {0}")]
    Lost(#[from] io::Error),
    #[error("the door's crypto threads do not answer")]
    NoCrypto,
}

/// Brings a connection that was greeted under the protection of GSI.
pub(in crate::proxy) async fn log_in(
    mut stream: TcpStream,
    termination: &Termination,
    place: usize,
    user: &User,
) -> Result<Protected, ServerLoginError> {
    let mut lines = Lines::default();
    stream.write_all(b"AUTH GSSAPI\r\n").await?;
    let (code, text) = read_reply(&mut lines, &mut stream).await?;
    match code.number() {
        334 => {}
        530 | 535 => return Err(ServerLoginError::Unable(words(&text))),
        number => return Err(ServerLoginError::NoGsi(format!("{number} {}", words(&text)))),
    }
    let expected = termination.expected(place);
    let config = termination.acceptor.initiator(&user.delegated, expected);
    let crypto = termination.workshop.crypto().ok_or(ServerLoginError::NoCrypto)?;
    let begun = crypto.run(move || Initiator::new(config, date())).await;
    let (mut initiator, mut token) = begun.ok_or(ServerLoginError::NoCrypto)??;
    loop {
        stream.write_all(&adat::command(&token)).await?;
        let (_, text) = read_reply(&mut lines, &mut stream).await?;
        let last = text.last().map(String::as_bytes).unwrap_or_default();
        match adat::parse_reply(last)? {
            AdatReply::Continue(received) => {
                let step = move || {
                    let step = initiator.step(&received, date());
                    (initiator, step)
                };
                let (same, step) = crypto.run(step).await.ok_or(ServerLoginError::NoCrypto)?;
                initiator = same;
                token = step?;
            }
            AdatReply::Complete(received) => {
                let Established { channel, .. } = initiator.finish(received.as_deref(), date())?;
                let rest = lines.into_rest();
                return Ok(Protected::new(stream, channel, ChannelEnd::Client, &rest)?);
            }
            AdatReply::Refused => return Err(ServerLoginError::Refused(words(&text))),
        }
    }
}

/// What a reply says, on one line. Globus servers break an error into many lines with the code before each, and `End.` behind them.
fn words(lines: &[String]) -> String {
    let is_code = |start: &str| start.bytes().all(|byte| byte.is_ascii_digit());
    let said = lines.iter().map(|line| match line.split_at_checked(3) {
        Some((start, rest)) if is_code(start) => rest.trim_start_matches(['-', ' ']),
        _ => line.trim(),
    });
    let mut words = String::new();
    for part in said.filter(|part| !part.is_empty() && *part != "End.") {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(part);
    }
    if words.len() > MAX_WORDS {
        words.truncate(words.floor_char_boundary(MAX_WORDS));
        words.push('…');
    }
    words
}

/// A whole reply: its code and the begin of its lines, without their ends.
async fn read_reply(lines: &mut Lines, stream: &mut TcpStream) -> io::Result<(ReplyCode, Vec<String>)> {
    let mut framer = ReplyFramer::default();
    let mut text = Vec::new();
    loop {
        let line = lines.next(stream, lines::TOKEN).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let kind = framer.classify(&line);
        // The last line is always among them.
        if text.len() == MAX_REPLY_LINES {
            text.pop();
        }
        text.push(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
        match kind {
            ReplyLine::Last(code) | ReplyLine::Single(code) => return Ok((code, text)),
            ReplyLine::Stray => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is no reply"));
            }
            ReplyLine::First(_) | ReplyLine::Middle(_) => {}
        }
    }
}

/// Several virtual servers may have one.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Arc<Termination>>();
};

#[cfg(test)]
mod tests {
    use super::{MAX_WORDS, words};

    #[test]
    fn a_reply_of_many_lines_becomes_one_sentence() {
        let long = "é".repeat(MAX_WORDS);
        for (lines, expected) in [
            (&["530 No."][..], "No."),
            (
                &["530-globus_xio: Authentication Error", "530-", "530-     with subject: /CN=x", "530 End."],
                "globus_xio: Authentication Error with subject: /CN=x",
            ),
            (&["535-a", " 12 b", "c", "535"], "a 12 b c"),
            (&["5é"], "5é"),
            (&[], ""),
        ] {
            let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
            assert_eq!(words(&lines), expected);
        }
        let cut = words(&[long]);
        assert!(cut.ends_with("é…") && cut.len() <= MAX_WORDS + '…'.len_utf8(), "{}", cut.len());
    }
}
