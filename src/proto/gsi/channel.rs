//! Commands and replies under the protection that a handshake has agreed upon (RFC 2228 section 4): each line is one token.
//!
//! Globus calls a token `ENC` and `632` when its cipher encrypts, and rustls has no others. It is one TLS stream each way: a token that
//! is lost or comes out of order ends the session.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::adat::{encode_into, without_line_end};
use super::token_stream::{TokenStream, is_whole};
use crate::proto::secret::Secret;

/// Longest command or reply under protection, in bytes as the other end reads it. With base64 it still is a line that the control
/// channel takes; `DCSC P` with a whole credential in it, and range markers of wide transfers, have some hundred kB.
pub const MAX_WRAPPED_TEXT: usize = 512 * 1024;

/// The text, and for each 16 KiB of it the 29 bytes that TLS 1.2 adds at most; at least one record.
const WRAPPED_TOKEN: usize = MAX_WRAPPED_TEXT + (MAX_WRAPPED_TEXT / (16 * 1024) + 1) * 29;

/// The same as base64.
const WRAPPED_AS_BASE64: usize = WRAPPED_TOKEN.div_ceil(3) * 4;

/// The longest line: base64, a verb or a code before it, and its end.
pub(super) const MAX_WRAPPED_LINE: usize = WRAPPED_AS_BASE64 + 16;

/// Commands that carry another one.
const COMMANDS: [&[u8]; 3] = [b"ENC", b"MIC", b"CONF"];

/// Why a line cannot be read, or not be sent. Each ends the session: the two ends are out of step, or one of them says so.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ChannelError {
    /// A command in clear after 235.
    #[error("a command in clear, where all are to be protected")]
    ClearCommand,
    /// A reply in clear after 235.
    #[error("a reply in clear, where all are to be protected")]
    ClearReply,
    /// Too long for one line, see [`MAX_WRAPPED_TEXT`].
    #[error("a protected line is longer than {MAX_WRAPPED_TEXT} bytes")]
    TooLong,
    /// Foreign characters or wrong padding.
    #[error("a protected line is not base64")]
    NotBase64,
    /// TLS refuses it: changed, lost or out of order, or the alert of the other end.
    #[error("a protected line cannot be read: {0}")]
    Tls(rustls::Error),
    /// A token that ends in the middle of a record.
    #[error("a protected line is cut off")]
    Truncated,
    /// A token that says nothing.
    #[error("a protected line says nothing")]
    Empty,
    /// A second command in a token.
    #[error("a protected command is more than one line")]
    SeveralLines,
}

/// One end of a protected control channel. Buffers live in the caller: an idle channel holds the state of TLS alone.
#[derive(Debug)]
pub struct Channel {
    stream: TokenStream,
}

impl Channel {
    pub(super) fn new(stream: TokenStream) -> Self {
        Self { stream }
    }

    /// The version of TLS and the cipher in use, for the log.
    pub fn protection(&self) -> (Option<rustls::ProtocolVersion>, Option<rustls::CipherSuite>) {
        let connection = self.stream.connection();
        (
            connection.protocol_version(),
            connection.negotiated_cipher_suite().map(|negotiated| negotiated.suite()),
        )
    }

    /// Appends to `out` the line `ENC …` that carries `command`; its CR LF is added where it is missing.
    ///
    /// # Errors
    /// When it is too long, or TLS has failed before.
    pub fn wrap_command(&mut self, command: &[u8], out: &mut Vec<u8>) -> Result<(), ChannelError> {
        self.wrap(b"ENC ", command, out)
    }

    /// Appends to `out` the line that carries one line of a reply: `632 …` where it is the last one of the reply, else `632-…`.
    ///
    /// # Errors
    /// When it is too long, or TLS has failed before.
    pub fn wrap_reply_line(
        &mut self,
        line: &[u8],
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), ChannelError> {
        self.wrap(if is_last { b"632 " } else { b"632-" }, line, out)
    }

    /// Appends to `plain` the command that the line `ENC …`, `MIC …` or `CONF …` carries, with its CR LF.
    ///
    /// # Errors
    /// When it is in clear, or cannot be read, or is not one command.
    pub fn unwrap_command(&mut self, line: &[u8], plain: &mut Vec<u8>) -> Result<(), ChannelError> {
        let encoded = wrapped_command(line).ok_or(ChannelError::ClearCommand)?;
        let start = plain.len();
        self.unwrap(encoded, plain)?;
        if plain[start..plain.len() - 2].windows(2).any(|pair| pair == b"\r\n") {
            plain.truncate(start);
            return Err(ChannelError::SeveralLines);
        }
        Ok(())
    }

    /// Appends to `plain` what a line `632 …`, `632-…`, `631…` or `633…` carries: a line of a reply, or a whole reply.
    ///
    /// # Errors
    /// When it is in clear, or cannot be read.
    pub fn unwrap_reply(&mut self, line: &[u8], plain: &mut Vec<u8>) -> Result<(), ChannelError> {
        let encoded = wrapped_reply(line).ok_or(ChannelError::ClearReply)?;
        self.unwrap(encoded, plain)
    }

    fn wrap(&mut self, prefix: &[u8], text: &[u8], out: &mut Vec<u8>) -> Result<(), ChannelError> {
        let end: &[u8] = if text.ends_with(b"\r\n") { b"" } else { b"\r\n" };
        if text.len() + end.len() > MAX_WRAPPED_TEXT {
            return Err(ChannelError::TooLong);
        }
        let mut token = Vec::with_capacity(text.len() + 64);
        // In one piece: a line is one token, and where it fits, one record.
        if end.is_empty() {
            self.stream.write(text, &mut token).map_err(ChannelError::Tls)?;
        } else {
            self.stream.write(&Secret::new([text, end].concat()), &mut token).map_err(ChannelError::Tls)?;
        }
        out.extend_from_slice(prefix);
        encode_into(&token, out);
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn unwrap(&mut self, encoded: &[u8], plain: &mut Vec<u8>) -> Result<(), ChannelError> {
        if encoded.len() > WRAPPED_AS_BASE64 {
            return Err(ChannelError::TooLong);
        }
        let token = STANDARD.decode(encoded).map_err(|_| ChannelError::NotBase64)?;
        if !is_whole(&token) {
            return Err(ChannelError::Truncated);
        }
        let start = plain.len();
        self.stream.read(&token, plain).map_err(ChannelError::Tls)?;
        if plain.len() == start {
            return Err(ChannelError::Empty);
        }
        // Some clients send the zero byte that ends the string in their memory.
        if plain.last() == Some(&0) {
            plain.pop();
        }
        if !plain[start..].ends_with(b"\r\n") {
            plain.extend_from_slice(b"\r\n");
        }
        Ok(())
    }
}

/// The base64 of a command that carries another one, whatever the case of its verb.
fn wrapped_command(line: &[u8]) -> Option<&[u8]> {
    let line = without_line_end(line);
    let blank = line.iter().position(|&byte| byte == b' ')?;
    let (verb, argument) = line.split_at(blank);
    COMMANDS.iter().any(|command| verb.eq_ignore_ascii_case(command)).then(|| &argument[1..])
}

/// The base64 of a reply that carries another one.
fn wrapped_reply(line: &[u8]) -> Option<&[u8]> {
    match without_line_end(line) {
        [b'6', b'3', b'1'..=b'3', b' ' | b'-', encoded @ ..] => Some(encoded),
        _ => None,
    }
}

#[cfg(test)]
impl Channel {
    /// A command without what [`Self::wrap_command`] adds.
    pub(super) fn wrap_as_it_is(&mut self, text: &[u8]) -> Vec<u8> {
        let mut token = Vec::new();
        self.stream.write(text, &mut token).unwrap();
        let mut line = b"ENC ".to_vec();
        encode_into(&token, &mut line);
        line
    }
}
