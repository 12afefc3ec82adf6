//! Replies: codes, and where a reply of several lines ends (RFC 959 section 4.2).
use std::fmt;

/// A reply code: first digit 1–6 (6 is protected, RFC 2228), the others 0–9.
///
/// A newtype, not an enum: the IETF and Globus both add codes, and a proxy must carry the ones it has never heard
/// of.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub struct ReplyCode([u8; 3]);

impl ReplyCode {
    /// 426: the data connection was closed and the transfer aborted, RFC 959 section 4.2.1.
    pub(super) const CONNECTION_CLOSED: Self = Self(*b"426");

    /// The code at the start of a line, if there is one that is followed by a blank, a hyphen or the line's end.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let &[first @ b'1'..=b'6', second, third, ref rest @ ..] = line else { return None };
        if !second.is_ascii_digit() || !third.is_ascii_digit() {
            return None;
        }
        matches!(rest.first(), None | Some(b' ' | b'-' | b'\r')).then_some(Self([first, second, third]))
    }

    /// The code as a number, 100–699.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'))
    }

    /// Whether another reply to the same command will follow (1yz).
    #[must_use]
    pub fn is_preliminary(self) -> bool {
        self.0[0] == b'1'
    }

    /// Whether the command was carried out (2yz).
    #[must_use]
    pub fn is_success(self) -> bool {
        self.0[0] == b'2'
    }

    /// Whether another command is awaited to go on (3yz).
    #[must_use]
    pub fn is_intermediate(self) -> bool {
        self.0[0] == b'3'
    }

    /// Whether the command was not carried out (4yz, 5yz).
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self.0[0], b'4' | b'5')
    }
}

impl fmt::Debug for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

/// What a line from the server is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReplyLine {
    /// The first line of several.
    First(ReplyCode),
    /// A line inside a reply of several lines.
    Middle(ReplyCode),
    /// The last line of several.
    Last(ReplyCode),
    /// A reply of one line.
    Single(ReplyCode),
    /// No code, and no reply is open: the second half of a reply that echoed a CR LF (Globus does for `TYPE E`).
    Stray,
}

/// Follows replies line by line.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplyFramer {
    open: Option<ReplyCode>,
}

impl ReplyFramer {
    /// Says what the next line is. Of a long line its beginning is enough.
    pub fn classify(&mut self, line: &[u8]) -> ReplyLine {
        let line = after_negotiation(line);
        let code = ReplyCode::parse(line);
        let continues = line.get(3) == Some(&b'-');
        match (self.open, code) {
            (Some(open), Some(code)) if open == code && !continues => {
                self.open = None;
                ReplyLine::Last(code)
            }
            (Some(open), _) => ReplyLine::Middle(open),
            (None, Some(code)) if continues => {
                self.open = Some(code);
                ReplyLine::First(code)
            }
            (None, Some(code)) => ReplyLine::Single(code),
            (None, None) => ReplyLine::Stray,
        }
    }

    /// Whether a reply of several lines has begun and not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

/// A Globus server writes its answer to a telnet negotiation straight before its next reply.
fn after_negotiation(mut line: &[u8]) -> &[u8] {
    while let [255, 251..=254, _, rest @ ..] = line {
        line = rest;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> ReplyCode {
        ReplyCode::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn lines_are_classified_as_real_servers_write_them() {
        let (c211, c500, c229, c501) = (code("211"), code("500"), code("229"), code("501"));
        #[rustfmt::skip]
        let table: &[(&str, ReplyLine)] = &[
            ("220 \r\n",                                ReplyLine::Single(code("220"))),
            ("220\r\n",                                 ReplyLine::Single(code("220"))),
            ("211-Extensions supported\r\n",            ReplyLine::First(c211)),
            (" SIZE\r\n",                               ReplyLine::Middle(c211)),
            ("212 not the end\r\n",                     ReplyLine::Middle(c211)),
            ("211 End.\r\n",                            ReplyLine::Last(c211)),
            ("500-Command failed.\r\n",                 ReplyLine::First(c500)),
            ("500-globus_xio: …\r\n",                   ReplyLine::Middle(c500)),
            ("500 End.\r\n",                            ReplyLine::Last(c500)),
            ("229-Entering Striped Passive Mode.\r\n",  ReplyLine::First(c229)),
            (" 127,0,0,62,158,143\r\n",                 ReplyLine::Middle(c229)),
            ("229 End\r\n",                             ReplyLine::Last(c229)),
            ("501 'TYPE E\r\n",                         ReplyLine::Single(c501)),
            ("' unrecognized type.\r\n",                ReplyLine::Stray),
            ("2000 no code\r\n",                        ReplyLine::Stray),
            ("700 no code\r\n",                         ReplyLine::Stray),
            ("422 offline\r\n",                         ReplyLine::Single(code("422"))),
            ("632 RndNREE=\r\n",                        ReplyLine::Single(code("632"))),
            ("\r\n",                                    ReplyLine::Stray),
        ];
        let mut framer = ReplyFramer::default();
        for &(line, expected) in table {
            assert_eq!(framer.classify(line.as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn an_answer_to_a_telnet_negotiation_hides_no_reply() {
        let mut framer = ReplyFramer::default();
        assert_eq!(framer.classify(b"\xff\xfc\x01\xff\xfe\x03200 ok\r\n"), ReplyLine::Single(code("200")));
        assert_eq!(framer.classify(b"\xff\xfc"), ReplyLine::Stray);
    }

    #[test]
    fn the_first_digit_says_what_follows() {
        assert!(code("150").is_preliminary() && code("226").is_success() && code("331").is_intermediate());
        assert_eq!(code("635").number(), 635);
    }
}
