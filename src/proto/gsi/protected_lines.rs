//! The lines of a protected control channel as a stream of bytes: what arrives is put together to whole lines before it is unwrapped,
//! and what is said is wrapped line by line.
//!
//! ```text
//!   wire ─▶ receive ─▶ plain     "ENC …\r\n" or "632 …\r\n"  ─▶  "NOOP\r\n" or "200 ok\r\n"
//!   wire ◀─ send    ◀─ plain
//! ```
use super::channel::{Channel, ChannelError, MAX_WRAPPED_LINE, MAX_WRAPPED_TEXT};
use crate::proto::ftp::{ReplyFramer, ReplyLine};
use crate::proto::secret::{self, Secret};

/// From this byte on it is telnet's: clients put an interrupt before ABOR (RFC 959 section 4.1.3), outside of what is protected.
const TELNET: u8 = 0xf0;

/// Which end of the channel the door is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChannelEnd {
    /// It reads commands and says replies.
    Server,
    /// It says commands and reads replies.
    Client,
}

/// See the module's text. Between two lines it owns no buffer.
#[derive(Debug)]
pub struct ProtectedLines {
    channel: Channel,
    end: ChannelEnd,
    /// The begin of a line from the wire.
    arriving: Vec<u8>,
    /// The begin of a line that is to be said.
    leaving: Secret,
    /// Replies that are said: their last line has another code.
    framer: ReplyFramer,
}

impl ProtectedLines {
    /// Lines that `channel` protects.
    pub fn new(channel: Channel, end: ChannelEnd) -> Self {
        Self {
            channel,
            end,
            arriving: Vec::new(),
            leaving: Secret::default(),
            framer: ReplyFramer::default(),
        }
    }

    /// Most that [`ProtectedLines::receive`] appends to `plain` when these bytes come: nothing before the end of a line.
    pub fn most_plain(&self, wire: &[u8]) -> usize {
        // On the wire each line is longer than what it carries.
        if wire.contains(&b'\n') { self.arriving.len() + wire.len() } else { 0 }
    }

    /// Takes bytes from the wire and appends to `plain` what whole lines of them carry.
    ///
    /// # Errors
    /// After any of them the channel cannot be gone on with. What came before the line that is wrong is in `plain`.
    pub fn receive(&mut self, mut wire: &[u8], plain: &mut Vec<u8>) -> Result<(), ChannelError> {
        while let Some(end) = memchr::memchr(b'\n', wire) {
            let (line, rest) = wire.split_at(end + 1);
            wire = rest;
            if self.arriving.is_empty() {
                self.unwrap(line, plain)?;
            } else {
                let mut begun = std::mem::take(&mut self.arriving);
                if begun.len() + line.len() > MAX_WRAPPED_LINE {
                    return Err(ChannelError::TooLong);
                }
                begun.extend_from_slice(line);
                self.unwrap(&begun, plain)?;
            }
        }
        if self.arriving.len() + wire.len() > MAX_WRAPPED_LINE {
            return Err(ChannelError::TooLong);
        }
        self.arriving.extend_from_slice(wire);
        Ok(())
    }

    /// Takes what is to be said and appends to `wire` the whole lines of it, protected. The begin of a line is kept until the rest
    /// comes. A line feed alone ends none: it may be part of a file's name.
    ///
    /// # Errors
    /// As [`ProtectedLines::receive`].
    pub fn send(&mut self, mut plain: &[u8], wire: &mut Vec<u8>) -> Result<(), ChannelError> {
        while let Some(end) = self.line_end(plain) {
            let (line, rest) = plain.split_at(end);
            plain = rest;
            if self.leaving.is_empty() {
                self.wrap(line, wire)?;
            } else {
                let mut begun = std::mem::take(&mut self.leaving);
                secret::append(&mut begun, line);
                self.wrap(&begun, wire)?;
            }
        }
        if self.leaving.len() + plain.len() > MAX_WRAPPED_TEXT {
            return Err(ChannelError::TooLong);
        }
        secret::append(&mut self.leaving, plain);
        Ok(())
    }

    /// Behind the next CR LF, whose CR may have come before.
    fn line_end(&self, plain: &[u8]) -> Option<usize> {
        let is_end = |&feed: &usize| match feed.checked_sub(1) {
            Some(before) => plain[before] == b'\r',
            None => self.leaving.last() == Some(&b'\r'),
        };
        memchr::memchr_iter(b'\n', plain).find(is_end).map(|feed| feed + 1)
    }

    fn unwrap(&mut self, line: &[u8], plain: &mut Vec<u8>) -> Result<(), ChannelError> {
        match self.end {
            ChannelEnd::Client => self.channel.unwrap_reply(line, plain),
            ChannelEnd::Server => {
                let begin = line.iter().position(|&byte| byte < TELNET).unwrap_or(line.len());
                self.channel.unwrap_command(&line[begin..], plain)
            }
        }
    }

    fn wrap(&mut self, line: &[u8], wire: &mut Vec<u8>) -> Result<(), ChannelError> {
        if self.end == ChannelEnd::Client {
            return self.channel.wrap_command(line, wire);
        }
        let is_last = !matches!(self.framer.classify(line), ReplyLine::First(_) | ReplyLine::Middle(_));
        self.channel.wrap_reply_line(line, is_last, wire)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::gsi::tests::channel;
    use crate::proto::gsi::tests::grid::Version;

    fn channels() -> (Channel, Channel) {
        channel::channels(Version::Tls13)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        /// However the wire cuts them.
        #[test]
        fn commands_and_replies_come_out_as_they_went_in(
            words in proptest::collection::vec("[A-Z]{3,4}( [!-~]{0,300})?", 1..8),
            cut in 1usize..700,
        ) {
            let (client, server) = channels();
            let mut client = ProtectedLines::new(client, ChannelEnd::Client);
            let mut server = ProtectedLines::new(server, ChannelEnd::Server);
            let said: Vec<u8> = words.iter().flat_map(|word| [word.as_bytes(), b"\r\n"].concat()).collect();
            let mut wire = Vec::new();
            for piece in said.chunks(cut) {
                client.send(piece, &mut wire).unwrap();
            }
            prop_assert!(wire.split_inclusive(|&byte| byte == b'\n').all(|line| line.starts_with(b"ENC ")));
            let mut heard = Vec::new();
            for piece in wire.chunks(cut) {
                server.receive(piece, &mut heard).unwrap();
            }
            prop_assert_eq!(&heard, &said);

            let said = b"211-Extensions\r\n SIZE\r\n 212 no end\r\n211 End.\r\n200 ok\r\n";
            let (mut wire, mut heard) = (Vec::new(), Vec::new());
            for piece in said.chunks(cut) {
                server.send(piece, &mut wire).unwrap();
            }
            let prefixes: Vec<&[u8]> = wire.split_inclusive(|&byte| byte == b'\n').map(|line| &line[..4]).collect();
            prop_assert_eq!(prefixes, [&b"632-"[..], b"632-", b"632-", b"632 ", b"632 "]);
            for piece in wire.chunks(cut) {
                client.receive(piece, &mut heard).unwrap();
            }
            prop_assert_eq!(&heard[..], &said[..]);
        }
    }

    /// As a listing has it of a file with such a name, which is not to end the reply.
    #[test]
    fn a_line_feed_alone_ends_no_line() {
        let said = b"250-Listing\r\n a\n250 End\r\n250 End\r\n200 ok\r\n";
        for cut in 1..said.len() {
            let (client, server) = channels();
            let mut client = ProtectedLines::new(client, ChannelEnd::Client);
            let mut server = ProtectedLines::new(server, ChannelEnd::Server);
            let (mut wire, mut heard) = (Vec::new(), Vec::new());
            for piece in said.chunks(cut) {
                server.send(piece, &mut wire).unwrap();
            }
            let prefixes: Vec<&[u8]> =
                wire.split_inclusive(|&byte| byte == b'\n').map(|line| &line[..4]).collect();
            assert_eq!(prefixes, [&b"632-"[..], b"632-", b"632 ", b"632 "], "pieces of {cut}");
            client.receive(&wire, &mut heard).unwrap();
            assert_eq!(heard, said, "pieces of {cut}");
        }
    }

    #[test]
    fn an_interrupt_before_a_command_is_not_part_of_it() {
        let (client, server) = channels();
        let mut client = ProtectedLines::new(client, ChannelEnd::Client);
        let mut server = ProtectedLines::new(server, ChannelEnd::Server);
        let mut wire = vec![0xff, 0xf4, 0xff, 0xf2];
        client.send(b"ABOR\r\n", &mut wire).unwrap();
        let mut heard = Vec::new();
        server.receive(&wire, &mut heard).unwrap();
        assert_eq!(heard, b"ABOR\r\n");
    }

    #[test]
    fn what_is_in_clear_or_has_no_end_ends_the_channel() {
        let (_, server) = channels();
        let mut server = ProtectedLines::new(server, ChannelEnd::Server);
        assert_eq!(server.receive(b"NOOP\r\n", &mut Vec::new()), Err(ChannelError::ClearCommand));
        let piece = vec![b'A'; MAX_WRAPPED_LINE];
        assert_eq!(server.receive(&piece, &mut Vec::new()), Ok(()));
        assert_eq!(server.receive(b"A", &mut Vec::new()), Err(ChannelError::TooLong));
        assert_eq!(
            server.send(&vec![b'A'; MAX_WRAPPED_TEXT + 1], &mut Vec::new()),
            Err(ChannelError::TooLong)
        );
    }
}
