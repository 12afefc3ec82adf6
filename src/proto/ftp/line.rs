//! Lines of the control channel: bytes up to CR LF.
//!
//! A bare LF does not end a line (RFC 959 section 5.3.1 and what Globus servers do), so that a file name with a
//! line feed in it cannot end a reply early.

/// Longest line either side may send, in bytes. `ADAT` tokens with a delegated chain are some 20 kB, an `MLST` of
/// a long path or a range marker of a wide transfer some hundreds of kB.
pub const MAX_LINE: usize = 1 << 20;

/// How much of an unfinished line is kept, in bytes. Longer lines pass through in pieces: whatever the door acts on
/// fits in here several times (a path has at most 4 KiB, a striped address list about 24 bytes a node).
pub const HELD_LINE: usize = 8 * 1024;

/// What [`LineSplitter::next`] found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Piece<'a> {
    /// A whole line with its CR LF.
    Line(&'a [u8]),
    /// The first part, at least [`HELD_LINE`] bytes, of a line whose end has not come yet.
    Head(&'a [u8]),
    /// More of the line that a `Head` began.
    Middle(&'a [u8]),
    /// The end of that line, with its CR LF.
    Tail(&'a [u8]),
}

/// A line grew beyond [`MAX_LINE`]; the stream cannot be followed any further.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a line is longer than {MAX_LINE} bytes")]
pub struct LineTooLong;

/// Splits a byte stream into lines; between calls it keeps only an unfinished one.
#[derive(Debug, Default)]
pub struct LineSplitter {
    held: Vec<u8>,
    /// Bytes of the current line so far.
    length: usize,
    state: State,
    /// The last byte that passed in pieces was a CR.
    after_cr: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Collecting,
    /// `held` was handed out and is to be emptied.
    Spent,
    /// `held` is a whole line that was put back.
    PutBack,
    /// `held` is a `Head` that was put back.
    HeadPutBack,
    /// `held` was handed out as a `Head`; the rest passes.
    HeadSpent,
    Passing,
}

impl LineSplitter {
    /// Takes the next piece off the front of `input`; `None` when all of `input` was taken and no piece is due.
    ///
    /// # Errors
    ///
    /// [`LineTooLong`]; the connection has to be closed.
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Piece<'a>>, LineTooLong> {
        match self.state {
            State::PutBack => {
                self.state = State::Spent;
                return Ok(Some(Piece::Line(&self.held)));
            }
            State::HeadPutBack => {
                self.state = State::HeadSpent;
                return Ok(Some(Piece::Head(&self.held)));
            }
            State::Spent => {
                self.held.clear();
                self.state = State::Collecting;
            }
            State::HeadSpent => {
                self.held.clear();
                self.state = State::Passing;
            }
            State::Collecting | State::Passing => {}
        }
        if input.is_empty() {
            return Ok(None);
        }
        let end = self.end_of_line(input);
        let taken = end.unwrap_or(input.len());
        if self.length + taken > MAX_LINE {
            return Err(LineTooLong);
        }
        let (chunk, rest) = input.split_at(taken);
        *input = rest;
        if end.is_some() {
            self.length = 0;
            return Ok(Some(self.finish(chunk)));
        }
        self.length += taken;
        Ok(self.keep(chunk))
    }

    /// Gives a whole line back, to be returned again by the next call of [`LineSplitter::next`].
    pub fn put_back(&mut self, line: Vec<u8>) {
        self.held = line;
        self.state = State::PutBack;
    }

    /// Gives the `Head` that the last call of [`LineSplitter::next`] returned back, to be returned again.
    pub fn put_back_head(&mut self) {
        debug_assert_eq!(self.state, State::HeadSpent, "the last piece was no head");
        self.state = State::HeadPutBack;
    }

    /// Whether the next byte begins a line.
    #[must_use]
    pub fn at_line_start(&self) -> bool {
        self.length == 0 && self.state != State::PutBack
    }

    /// Whether a line has begun to pass in pieces and its end has not come.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self.state, State::HeadSpent | State::Passing)
    }

    /// Frees what is not needed for an unfinished line; an idle session then owns no buffer.
    pub fn release(&mut self) {
        match self.state {
            State::Spent => self.state = State::Collecting,
            State::HeadSpent => self.state = State::Passing,
            State::Collecting if self.held.is_empty() => {}
            State::Passing => {}
            State::Collecting | State::PutBack | State::HeadPutBack => return,
        }
        self.held = Vec::new();
    }

    /// The bytes of an unfinished or put-back line, for a stream that from now on is not split any more.
    #[must_use]
    pub fn into_remainder(mut self) -> Vec<u8> {
        self.release();
        self.held
    }

    /// Bytes kept of an unfinished line.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    fn end_of_line(&self, input: &[u8]) -> Option<usize> {
        let mut before = match self.state {
            State::Passing => self.after_cr,
            _ => self.held.last() == Some(&b'\r'),
        };
        let mut from = 0;
        while let Some(at) = memchr::memchr(b'\n', &input[from..]) {
            let at = from + at;
            if at > 0 {
                before = input[at - 1] == b'\r';
            }
            if before {
                return Some(at + 1);
            }
            from = at + 1;
        }
        None
    }

    fn finish<'a>(&'a mut self, chunk: &'a [u8]) -> Piece<'a> {
        if self.state == State::Passing {
            self.state = State::Collecting;
            return Piece::Tail(chunk);
        }
        if self.held.is_empty() {
            return Piece::Line(chunk);
        }
        self.held.extend_from_slice(chunk);
        self.state = State::Spent;
        Piece::Line(&self.held)
    }

    fn keep<'a>(&'a mut self, chunk: &'a [u8]) -> Option<Piece<'a>> {
        self.after_cr = chunk.last() == Some(&b'\r');
        if self.state == State::Passing {
            return Some(Piece::Middle(chunk));
        }
        self.held.extend_from_slice(chunk);
        if self.held.len() < HELD_LINE {
            return None;
        }
        self.state = State::HeadSpent;
        Some(Piece::Head(&self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lines, with pieces of long ones put together again.
    fn split(input: &[u8], chunk: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut splitter = LineSplitter::default();
        let (mut lines, mut open) = (Vec::new(), Vec::new());
        for mut part in input.chunks(chunk.max(1)) {
            while let Some(piece) = splitter.next(&mut part).unwrap() {
                match piece {
                    Piece::Line(line) => lines.push(line.to_vec()),
                    Piece::Head(bytes) | Piece::Middle(bytes) => open.extend_from_slice(bytes),
                    Piece::Tail(bytes) => {
                        open.extend_from_slice(bytes);
                        lines.push(std::mem::take(&mut open));
                    }
                }
            }
            splitter.release();
        }
        open.extend(splitter.into_remainder());
        (lines, open)
    }

    #[test]
    fn only_cr_lf_ends_a_line_however_the_bytes_arrive() {
        #[rustfmt::skip]
        type Row = (&'static str, &'static [u8], &'static [&'static [u8]], &'static [u8]);
        let table: &[Row] = &[
            ("one line", b"NOOP\r\n", &[b"NOOP\r\n"], b""),
            ("two in a segment", b"A\r\nB\r\n", &[b"A\r\n", b"B\r\n"], b""),
            ("bare LF", b"A\nB\r\n", &[b"A\nB\r\n"], b""),
            ("bare CR", b"A\rB\r\n", &[b"A\rB\r\n"], b""),
            ("CR CR LF", b"A\r\r\n", &[b"A\r\r\n"], b""),
            ("LF first", b"\nA\r\n", &[b"\nA\r\n"], b""),
            ("empty line", b"\r\n\r\n", &[b"\r\n", b"\r\n"], b""),
            ("NUL, high bytes, IAC", b"\0\x80\xff\xf4\r\n", &[b"\0\x80\xff\xf4\r\n"], b""),
            ("unfinished", b"A\r\nB\r", &[b"A\r\n"], b"B\r"),
        ];
        for &(name, input, lines, rest) in table {
            for chunk in [1, 2, 7, input.len()] {
                let (got, remainder) = split(input, chunk);
                assert_eq!(got, lines, "{name} in chunks of {chunk}");
                assert_eq!(remainder, rest, "{name} in chunks of {chunk}");
            }
        }
    }

    #[test]
    fn a_long_line_passes_in_pieces_and_a_too_long_one_is_an_error() {
        let mut line = vec![b'x'; 3 * HELD_LINE];
        line.extend_from_slice(b"\r\nNOOP\r\n");
        for chunk in [1, 1000, HELD_LINE, HELD_LINE * 3 + 1, line.len()] {
            let (lines, rest) = split(&line, chunk);
            assert_eq!(lines.len(), 2, "chunk {chunk}");
            assert_eq!(lines[1], b"NOOP\r\n");
            assert!(rest.is_empty());
        }
        let mut splitter = LineSplitter::default();
        let block = vec![b'x'; 64 * 1024];
        let mut outcome = Ok(());
        for _ in 0..=MAX_LINE / block.len() {
            let mut part = &block[..];
            while outcome.is_ok() && !part.is_empty() {
                outcome = splitter.next(&mut part).map(|_| ());
            }
        }
        assert_eq!(outcome, Err(LineTooLong));
        assert!(splitter.held.capacity() < 4 * block.len(), "a passing line is not collected");
    }

    #[test]
    fn a_line_put_back_comes_again_before_anything_else() {
        let mut splitter = LineSplitter::default();
        let mut input: &[u8] = b"A\r\nB\r\n";
        let first = match splitter.next(&mut input).unwrap() {
            Some(Piece::Line(line)) => line.to_vec(),
            other => panic!("{other:?}"),
        };
        splitter.put_back(first);
        splitter.release();
        assert_eq!(splitter.next(&mut input).unwrap(), Some(Piece::Line(b"A\r\n")));
        assert_eq!(splitter.next(&mut input).unwrap(), Some(Piece::Line(b"B\r\n")));
        assert_eq!(splitter.next(&mut input).unwrap(), None);
    }

    #[test]
    fn an_idle_splitter_owns_no_buffer() {
        let mut splitter = LineSplitter::default();
        for mut part in [&b"NO"[..], b"OP\r\n"] {
            while splitter.next(&mut part).unwrap().is_some() {}
        }
        splitter.release();
        assert_eq!(splitter.held.capacity(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_byte_is_lost_or_changed(
            input in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), any::<u8>()], 0..600),
            chunk in 1usize..40,
        ) {
            let (lines, rest) = split(&input, chunk);
            let mut all: Vec<u8> = lines.concat();
            all.extend(rest);
            prop_assert_eq!(&all, &input);
            let (whole, _) = split(&input, input.len());
            prop_assert_eq!(lines, whole);
        }
    }
}
