//! The real server's first words, which decide whether it takes the session at all.
use super::line::{LineSplitter, Piece};
use super::reply::{ReplyCode, ReplyFramer, ReplyLine};

/// Longest greeting accepted, in bytes: a banner with a site's terms of use has a few kB.
const MAX_GREETING: usize = 64 * 1024;

/// Reads a greeting: replies up to the first that is not preliminary (`120` may come before `220`).
#[derive(Debug, Default)]
pub struct Greeting {
    bytes: Vec<u8>,
    lines: LineSplitter,
    framer: ReplyFramer,
}

/// Why a greeting is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum GreetingError {
    /// More than the limit without an end.
    #[error("its greeting is longer than {MAX_GREETING} bytes")]
    TooLong,
    /// The line does not begin with a reply code.
    #[error("it does not speak FTP: its first line has no reply code")]
    NotFtp,
}

impl Greeting {
    /// Takes bytes from the server. `Some` when the greeting is complete: its code, and how much of `input` belongs
    /// to it.
    ///
    /// # Errors
    ///
    /// [`GreetingError`]: this is no FTP server, or one that will not stop.
    pub fn handle(&mut self, input: &[u8]) -> Result<Option<(ReplyCode, usize)>, GreetingError> {
        let mut rest = input;
        loop {
            let piece = self.lines.next(&mut rest).map_err(|_| GreetingError::TooLong)?;
            let (line, whole) = match piece {
                Some(Piece::Line(line)) => (line, true),
                Some(Piece::Head(line) | Piece::Middle(line) | Piece::Tail(line)) => (line, false),
                None => break,
            };
            let kind = self.framer.classify(line);
            if kind == ReplyLine::Stray {
                return Err(GreetingError::NotFtp);
            }
            if !whole {
                return Err(GreetingError::TooLong);
            }
            if let ReplyLine::Last(code) | ReplyLine::Single(code) = kind
                && !code.is_preliminary()
            {
                let used = input.len() - rest.len();
                self.bytes.extend_from_slice(&input[..used]);
                return Ok(Some((code, used)));
            }
        }
        self.bytes.extend_from_slice(input);
        if self.bytes.len() > MAX_GREETING {
            return Err(GreetingError::TooLong);
        }
        Ok(None)
    }

    /// Everything the server said, byte for byte.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// What the server said last, for the log: the text of the last line, without control characters.
    #[must_use]
    pub fn last_line(&self) -> String {
        let text = self.bytes.strip_suffix(b"\r\n").unwrap_or(&self.bytes);
        let start = memchr::memrchr(b'\n', text).map_or(0, |at| at + 1);
        let shown = &text[start..text.len().min(start + 200)];
        String::from_utf8_lossy(shown).chars().filter(|c| !c.is_control()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], chunk: usize) -> Result<Option<(u16, Vec<u8>)>, GreetingError> {
        let mut greeting = Greeting::default();
        for part in bytes.chunks(chunk) {
            if let Some((code, _)) = greeting.handle(part)? {
                return Ok(Some((code.number(), greeting.into_bytes())));
            }
        }
        Ok(None)
    }

    #[test]
    fn the_greeting_ends_at_its_first_final_reply() {
        let busy = b"421 Service busy: Connection limit exceeded.\r\n";
        let multi = b"120 soon\r\n220-Welcome\r\n220-to the grid\r\n220 ready\r\n";
        #[rustfmt::skip]
        type Row = (&'static [u8], Result<Option<u16>, GreetingError>);
        let table: &[Row] = &[
            (b"220 \r\n", Ok(Some(220))),
            (busy, Ok(Some(421))),
            (multi, Ok(Some(220))),
            (b"220-open\r\n", Ok(None)),
            (b"120 wait\r\n", Ok(None)),
            (b"", Ok(None)),
            (b"HTTP/1.1 400 Bad\r\n", Err(GreetingError::NotFtp)),
        ];
        for &(bytes, ref expected) in table {
            for chunk in [1, 3, bytes.len().max(1)] {
                let got = read(bytes, chunk);
                assert_eq!(&got.clone().map(|r| r.map(|(code, _)| code)), expected, "{bytes:?}");
                if let Ok(Some((_, said))) = got {
                    assert_eq!(said, bytes);
                }
            }
        }
    }

    #[test]
    fn a_greeting_without_end_is_refused() {
        let line = b"220-blah blah blah\r\n".repeat(10_000);
        assert_eq!(read(&line, 1000), Err(GreetingError::TooLong));
        assert_eq!(read(&vec![b'2'; 200_000], 1000), Err(GreetingError::NotFtp));
    }

    #[test]
    fn the_last_line_is_shown_without_control_characters() {
        let mut greeting = Greeting::default();
        greeting.handle(b"421-one\r\n421 tw\x1b[31mo\r\n").unwrap();
        assert_eq!(greeting.last_line(), "421 tw[31mo");
    }
}
