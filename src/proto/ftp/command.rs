//! Commands: what of a client's line the door has to understand.
use std::borrow::Cow;

/// The commands on which the door acts; everything else is [`Verb::Other`] and passes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // the names are those of the RFCs
pub enum Verb {
    Abor,
    Acct,
    Adat,
    Appe,
    Auth,
    Ccc,
    /// ProFTPD and others: PASV with the server as the TLS client.
    Cpsv,
    Eprt,
    Epsv,
    Eret,
    Esto,
    Feat,
    /// GFD.47; dCache.
    Get,
    List,
    /// RFC 1639: an address in a form that nobody rewrites any more.
    Lprt,
    Lpsv,
    Mlsd,
    /// Globus: MLSD of a whole tree.
    Mlsr,
    Mode,
    Nlst,
    Opts,
    Pass,
    Pasv,
    Pbsz,
    Port,
    Prot,
    /// GFD.47; dCache.
    Put,
    Quit,
    Rein,
    Rest,
    Retr,
    Site,
    Spas,
    Spor,
    Stor,
    Stou,
    Type,
    User,
    /// Nothing but CR LF. Globus servers close at that.
    Empty,
    /// A line that servers read in different ways; see [`Command::parse`].
    Unclear,
    Other,
}

/// A command line as the most lenient server would read it.
#[derive(Debug)]
pub struct Command<'a> {
    /// The first word.
    pub verb: Verb,
    start: usize,
    text: Cow<'a, [u8]>,
    arguments: usize,
}

impl<'a> Command<'a> {
    /// Reads a line, with or without its CR LF.
    ///
    /// A Globus server removes telnet commands and every byte that is neither printable ASCII nor one of NUL BEL BS
    /// HT CR VT FF before it looks (so `PO\x80RT` is `PORT` to it). Rules about addresses must hold for what the
    /// server will do, so the same is done here; the bytes that are passed on stay as they were.
    ///
    /// Where servers differ in what they read, an address could slip past those rules or a reply be taken for another
    /// command's, so the line is [`Verb::Unclear`]:
    /// - CR or LF inside: vsftpd and ProFTPD end the line at LF alone, Globus joins `CR 0x80 LF` to a line end when
    ///   the bytes come in separate segments;
    /// - the bytes 251–255 (telnet's WILL WONT DO DONT IAC, never part of UTF-8) behind its beginning: a Globus server
    ///   drops the byte after them, and at the end of a segment the first of the whole line (`XPORT … 0xff`);
    /// - a word that goes on after the four letters of a verb: dCache takes `PORTx1,2,…` for `PORT 1,2,…`.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Self {
        // The LF of an unfinished line may be yet to come.
        let line = line.strip_suffix(b"\r\n").or_else(|| line.strip_suffix(b"\r")).unwrap_or(line);
        let prefix = telnet_prefix(line);
        let line = &line[prefix..];
        let seen = bytes_seen(line);
        let text = if seen & DROPPED == 0 {
            Cow::Borrowed(line)
        } else {
            Cow::Owned(line.iter().copied().filter(|&byte| CLASS[usize::from(byte)] & DROPPED == 0).collect())
        };
        let start = text.iter().position(|&byte| !is_blank(byte)).unwrap_or(text.len());
        let end = text[start..].iter().position(|&byte| is_blank(byte)).map_or(text.len(), |at| start + at);
        let verb = if seen & UNCLEAR != 0 { Verb::Unclear } else { verb(&text[start..end]) };
        let arguments =
            text[end..].iter().position(|&byte| !is_blank(byte)).map_or(text.len(), |at| end + at);
        Self { verb, start: prefix, text, arguments }
    }

    /// Where in the line the command begins, after telnet's signals. They are for the door, which is the telnet peer
    /// (RFC 959 section 4.1.3: IP and Synch come before ABOR), and are not passed on.
    #[must_use]
    pub fn start(&self) -> usize {
        self.start
    }

    /// What follows the first word, without blanks at either end.
    #[must_use]
    pub fn arguments(&self) -> &[u8] {
        let rest = &self.text[self.arguments..];
        let end = rest.iter().rposition(|&byte| !is_blank(byte)).map_or(0, |at| at + 1);
        &rest[..end]
    }

    /// The first word of the arguments and what follows it, as in `SITE verb rest` and `OPTS verb rest`.
    #[must_use]
    pub fn sub_command(&self) -> (&[u8], &[u8]) {
        let arguments = self.arguments();
        let end = arguments.iter().position(|&byte| is_blank(byte)).unwrap_or(arguments.len());
        let rest = &arguments[end..];
        let start = rest.iter().position(|&byte| !is_blank(byte)).unwrap_or(rest.len());
        (&arguments[..end], &rest[start..])
    }
}

impl Verb {
    /// Whether the command moves bytes over a data connection and so stays unanswered for as long as that takes.
    #[must_use]
    pub fn is_transfer(self) -> bool {
        matches!(
            self,
            Self::Appe
                | Self::Eret
                | Self::Esto
                | Self::Get
                | Self::List
                | Self::Mlsd
                | Self::Mlsr
                | Self::Nlst
                | Self::Put
                | Self::Retr
                | Self::Stor
                | Self::Stou
        )
    }

    /// Whether the bytes moved are a file's, which the wrong TYPE would corrupt (a listing survives it).
    #[must_use]
    pub fn moves_file(self) -> bool {
        self.is_transfer() && !matches!(self, Self::List | Self::Mlsd | Self::Mlsr | Self::Nlst)
    }

    /// Whether the file goes to the server.
    #[must_use]
    pub fn is_upload(self) -> bool {
        matches!(self, Self::Appe | Self::Esto | Self::Put | Self::Stor | Self::Stou)
    }

    /// The verb as it is written on the wire; empty for [`Verb::Other`].
    #[must_use]
    pub fn name(self) -> &'static str {
        VERBS.iter().find(|(_, verb)| *verb == self).map_or("", |(name, _)| name)
    }
}

const VERBS: &[(&str, Verb)] = &[
    ("ABOR", Verb::Abor),
    ("ACCT", Verb::Acct),
    ("ADAT", Verb::Adat),
    ("APPE", Verb::Appe),
    ("AUTH", Verb::Auth),
    ("CCC", Verb::Ccc),
    ("CPSV", Verb::Cpsv),
    ("EPRT", Verb::Eprt),
    ("EPSV", Verb::Epsv),
    ("ERET", Verb::Eret),
    ("ESTO", Verb::Esto),
    ("FEAT", Verb::Feat),
    ("GET", Verb::Get),
    ("LIST", Verb::List),
    ("LPRT", Verb::Lprt),
    ("LPSV", Verb::Lpsv),
    ("MLSD", Verb::Mlsd),
    ("MLSR", Verb::Mlsr),
    ("MODE", Verb::Mode),
    ("NLST", Verb::Nlst),
    ("OPTS", Verb::Opts),
    ("PASS", Verb::Pass),
    ("PASV", Verb::Pasv),
    ("PBSZ", Verb::Pbsz),
    ("PORT", Verb::Port),
    ("PROT", Verb::Prot),
    ("PUT", Verb::Put),
    ("QUIT", Verb::Quit),
    ("REIN", Verb::Rein),
    ("REST", Verb::Rest),
    ("RETR", Verb::Retr),
    ("SITE", Verb::Site),
    ("SPAS", Verb::Spas),
    ("SPOR", Verb::Spor),
    ("STOR", Verb::Stor),
    ("STOU", Verb::Stou),
    ("TYPE", Verb::Type),
    ("USER", Verb::User),
];

/// [`VERBS`] as numbers: every command of every session is looked up.
const KEYS: [u64; VERBS.len()] = {
    let mut keys = [0; VERBS.len()];
    let mut at = 0;
    while at < keys.len() {
        keys[at] = key(VERBS[at].0.as_bytes());
        at += 1;
    }
    keys
};

/// Up to four letters as one number, whatever their case; how many they are is part of it.
const fn key(letters: &[u8]) -> u64 {
    let mut key = letters.len() as u64;
    let mut at = 0;
    while at < letters.len() {
        key = key << 8 | letters[at].to_ascii_uppercase() as u64;
        at += 1;
    }
    key
}

fn verb(word: &[u8]) -> Verb {
    if word.is_empty() {
        return Verb::Empty;
    }
    let head = &word[..word.len().min(4)];
    let wanted = key(head);
    match KEYS.iter().position(|&key| key == wanted) {
        Some(_) if word.len() > head.len() => Verb::Unclear,
        Some(at) => VERBS[at].1,
        None => Verb::Other,
    }
}

/// Whether servers may disagree about where these bytes end, or about what is left of them.
pub(super) fn has_unclear_bytes(bytes: &[u8]) -> bool {
    bytes_seen(bytes) & UNCLEAR != 0
}

/// A Globus server drops it before it reads a line.
const DROPPED: u8 = 1;
/// Servers differ in what they make of it.
const UNCLEAR: u8 = 2;

const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let kept = matches!(byte, 32..=126 | 0 | 7..=9 | 0x0b..=0x0d);
        let unclear = matches!(byte, 0x0a | 0x0d | 251..=255);
        class[byte] = (!kept as u8) * DROPPED + (unclear as u8) * UNCLEAR;
        byte += 1;
    }
    class
};

fn bytes_seen(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |seen, &byte| seen | CLASS[usize::from(byte)])
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c)
}

const IAC: u8 = 255;

/// The length of the telnet signals (RFC 854) at the start of a line, such as IAC IP IAC DM before ABOR. The DM is sent
/// as urgent data and may be missing. Negotiations are no signals: servers answer them in the middle of their replies.
fn telnet_prefix(line: &[u8]) -> usize {
    let mut at = 0;
    while line.get(at) == Some(&IAC) {
        match line.get(at + 1) {
            Some(240..=250) => at += 2,
            Some(251..=255) => break,
            _ => return at + 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_is_read_as_the_most_lenient_server_reads_it() {
        #[rustfmt::skip]
        let table: &[(&[u8], Verb, &[u8])] = &[
            (b"NOOP\r\n",                       Verb::Other, b""),
            (b"RETR /a b\r\n",                  Verb::Retr,  b"/a b"),
            (b"retr  /a\r\n",                   Verb::Retr,  b"/a"),
            (b"PORT 1,2,3,4,5,6 \r\n",          Verb::Port,  b"1,2,3,4,5,6"),
            (b"PO\x80RT 1,2,3,4,5,6\r\n",       Verb::Port,  b"1,2,3,4,5,6"),
            (b"\xff\xf4\xff\xf2ABOR\r\n",       Verb::Abor,  b""),
            (b"\xff\xf4\xffabor\r\n",           Verb::Abor,  b""),
            (b"\xff\xf1PORT 1\r\n",             Verb::Port,  b"1"),
            (b"\xf2ABOR\r\n",                   Verb::Abor,  b""),
            (b"P\0RT 1\r\n",                    Verb::Other, b"1"),
            (b"STATX 1\r\n",                    Verb::Other, b"1"),
            (b"GETS 1\r\n",                     Verb::Other, b"1"),
            (b"\tPORT\t1\r\n",                  Verb::Port,  b"1"),
            (b"\r\n",                           Verb::Empty, b""),
            (b"",                               Verb::Empty, b""),
            (b"   \r\n",                        Verb::Empty, b""),
            (b"get path=/a;pasv;\r\n",          Verb::Get,   b"path=/a;pasv;"),
        ];
        for &(line, verb, arguments) in table {
            let command = Command::parse(line);
            let shown = String::from_utf8_lossy(line);
            assert_eq!(command.verb, verb, "{shown:?}");
            assert_eq!(command.arguments(), arguments, "{shown:?}");
        }
    }

    #[test]
    fn a_line_that_servers_read_in_different_ways_is_unclear() {
        #[rustfmt::skip]
        let table: &[&[u8]] = &[
            b"PO\nRT 1,2,3,4,5,6\r\n", b"NOOP\nPORT 1,2,3,4,5,6\r\n", b"\nNOOP\r\n", b"NOOP\r\r\n", b"NOOP\r\x80\nPORT 1\r\n",
            b"NOOP\rPORT 1\r\n", b"\xff\xfd\x01NOOP\r\n", b"\xff\xfdPPORT 1\r\n", b"\xff\xf4\xfb\x01NOOP\r\n", b"\xff\xffPORT\r\n",
            b"XPORT 1,2,3,4,5,6 \xff\r\n", b"PO\xfbXRT 1\r\n", b"PO\xffXRT 1\r\n", b"NOOP\xff\xfd\r\n", b"NOOP\xfc\r\n",
            b"PORTx1,2,3,4,5,6\r\n", b"port|1\r\n", b"EPRT,|1|\r\n", b"USERxanonymous\r\n", b"USER\x01anonymous\r\n", b"AUTH:TLS\r\n",
        ];
        for line in table {
            assert_eq!(Command::parse(line).verb, Verb::Unclear, "{:?}", String::from_utf8_lossy(line));
        }
        assert_eq!(Command::parse("RETR /größe/名".as_bytes()).verb, Verb::Retr, "UTF-8 passes");
    }

    #[test]
    fn telnet_signals_before_a_command_are_not_part_of_it() {
        for (line, start) in [
            (&b"\xff\xf4\xff\xf2ABOR\r\n"[..], 4),
            (b"\xff\xf4\xffABOR\r\n", 3),
            (b"ABOR\r\n", 0),
            (b"\xff\xf4\r\n", 2),
        ] {
            assert_eq!(Command::parse(line).start(), start);
        }
    }

    #[test]
    fn sub_commands_of_site_and_opts() {
        let site = Command::parse(b"SITE  CLIENTINFO appname=\"x y\";\r\n");
        assert_eq!(site.sub_command(), (&b"CLIENTINFO"[..], &b"appname=\"x y\";"[..]));
        assert_eq!(Command::parse(b"SITE\r\n").sub_command(), (&b""[..], &b""[..]));
    }

    #[test]
    fn every_verb_but_two_has_a_name() {
        assert_eq!(Verb::Retr.name(), "RETR");
        assert_eq!(Verb::Other.name(), "");
        assert!(VERBS.iter().all(|(name, _)| name.len() <= 4));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_are_read_without_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let command = Command::parse(&line);
            let (sub, rest) = command.sub_command();
            prop_assert!(sub.len() + rest.len() <= command.arguments().len());
        }
    }
}
