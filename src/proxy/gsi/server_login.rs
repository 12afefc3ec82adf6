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
    if code.number() != 334 {
        return Err(ServerLoginError::NoGsi(text.join(" ")));
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
            AdatReply::Refused => return Err(ServerLoginError::Refused(text.join(" "))),
        }
    }
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
