//! Commands that the administrator has disabled (`deny_commands`).
use super::command::{Command, Verb};

/// Verbs, and sub-commands of SITE, that never reach a real server.
///
/// What a line means is for each server to say: a Globus server drops bytes that are no printable ASCII, dCache looks at
/// four letters, ProFTPD takes quotes away, and pyftpdlib puts `ſ` in capitals, which is `S`. So where there is a filter, a
/// command word is letters, digits, `-` and `_`, and any other is answered with 501; and a denied verb is denied with
/// whatever follows its fourth letter, and under its older name (RFC 775).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CommandFilter {
    verbs: Box<[Box<str>]>,
    site: Box<[Box<str>]>,
}

/// What is to become of a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FilterVerdict {
    /// The filter has nothing against it.
    Passes,
    /// It is disabled.
    Denied {
        /// It reads or changes files: clients that are told 550 go on with the next.
        on_files: bool,
    },
    /// Servers could take it for one that is.
    Unclear,
}

/// Why there can be no such rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FilterError {
    /// It is no word, or more than two.
    #[error("is not a command")]
    NotACommand,
    /// Something follows a verb that has no sub-commands.
    #[error("is more than a verb; only SITE has commands of its own")]
    OnlySite,
    /// Without it there is no session.
    #[error("is needed by every session")]
    Needed,
    /// It is a part of logging in with GSI.
    #[error("is a part of what AUTH begins")]
    PartOfAuth,
}

/// RFC 775's names, which most servers still know.
const OLD_NAMES: [(&str, &str); 5] =
    [("CDUP", "XCUP"), ("CWD", "XCWD"), ("MKD", "XMKD"), ("PWD", "XPWD"), ("RMD", "XRMD")];

/// Verbs that read or change files and directories.
const ON_FILES: [&str; 22] = [
    "APPE", "CKSM", "DELE", "ERET", "ESTO", "GET", "MFCT", "MFF", "MFMT", "MKD", "PUT", "RETR", "RMD",
    "RMDA", "RNFR", "RNTO", "SIZE", "STOR", "STOU", "XMKD", "XRMD", "XCRC",
];

/// From this many letters on, some servers do not look at the rest of a word.
const SIGNIFICANT: usize = 4;

/// Verbs that FTP and GridFTP servers know, for who has mistyped one.
pub const KNOWN_VERBS: &[&str] = &[
    "ABOR", "ACCT", "ADAT", "ALLO", "APPE", "AUTH", "AVBL", "CCC", "CDUP", "CKSM", "CLNT", "CPSV", "CSID",
    "CWD", "DCAU", "DCSC", "DELE", "EPRT", "EPSV", "ERET", "ESTO", "FEAT", "GET", "HASH", "HELP", "HOST",
    "LANG", "LIST", "LPRT", "LPSV", "MD5", "MDTM", "MFCT", "MFF", "MFMT", "MKD", "MLSC", "MLSD", "MLSR",
    "MLST", "MODE", "NLST", "NOOP", "OPTS", "PASV", "PBSZ", "PORT", "PROT", "PUT", "PWD", "RANG", "REIN",
    "REST", "RETR", "RMD", "RMDA", "RNFR", "RNTO", "SBUF", "SCKS", "SITE", "SIZE", "SMNT", "SPAS", "SPOR",
    "STAT", "STOR", "STOU", "STRU", "SYST", "THMB", "TYPE", "XCRC", "XCUP", "XCWD", "XMD5", "XMKD", "XPWD",
    "XRMD", "XSHA", "XSHA1", "XSHA256", "XSHA512",
];

/// The same of what follows SITE.
pub const KNOWN_SITE_COMMANDS: &[&str] = &[
    "AUTHZ_ASSERT",
    "BUFSIZE",
    "CHGRP",
    "CHMOD",
    "CHOWN",
    "CLIENTINFO",
    "CPFR",
    "CPTO",
    "DSI",
    "EXEC",
    "FAKE",
    "GROUP",
    "GPASS",
    "HELP",
    "IDLE",
    "LINK",
    "LOADSETNETSTACK",
    "MKDIR",
    "QUOTA",
    "RDEL",
    "RETRBUFSIZE",
    "RMDIR",
    "SETNETSTACK",
    "SETDISKSTACK",
    "STORATTR",
    "STORBUFSIZE",
    "SYMLINK",
    "SYMLINKFROM",
    "SYMLINKTO",
    "TASKID",
    "TRNCFROM",
    "UMASK",
    "UPAS",
    "UPRT",
    "UTIME",
    "WHO",
    "ZIP",
];

impl CommandFilter {
    /// Whether nothing is denied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.verbs.is_empty() && self.site.is_empty()
    }

    /// Whether a rule says just this: a verb, or `SITE` and a word.
    #[must_use]
    pub fn denies(&self, rule: &str) -> bool {
        match rule.split_once(' ') {
            None => self.verbs.iter().any(|verb| **verb == *rule),
            Some((_, word)) => self.denies("SITE") || self.site.iter().any(|denied| **denied == *word),
        }
    }

    /// Whether a client's verb, in any case, is denied.
    #[must_use]
    pub fn denies_verb(&self, verb: &[u8]) -> bool {
        self.verbs.iter().any(|denied| verb.eq_ignore_ascii_case(denied.as_bytes()))
    }

    /// Adds a rule: `DELE`, or `SITE CHMOD`, in any case. Gives it back as it is understood.
    ///
    /// # Errors
    ///
    /// Why there can be no such rule.
    pub fn deny(&mut self, rule: &str) -> Result<String, FilterError> {
        let rule = rule.to_ascii_uppercase();
        let mut words = rule.split_ascii_whitespace();
        let (Some(verb), sub, None) = (words.next(), words.next(), words.next()) else {
            return Err(FilterError::NotACommand);
        };
        if ![Some(verb), sub].into_iter().flatten().all(|word| is_plain(word.as_bytes())) {
            return Err(FilterError::NotACommand);
        }
        match (verb, sub) {
            ("USER" | "PASS" | "QUIT", _) => Err(FilterError::Needed),
            ("ADAT" | "MIC" | "CONF" | "ENC", None) => Err(FilterError::PartOfAuth),
            ("SITE", Some(word)) => {
                add(&mut self.site, word);
                Ok(format!("SITE {word}"))
            }
            (_, Some(_)) => Err(FilterError::OnlySite),
            (verb, None) => {
                add(&mut self.verbs, verb);
                for (new, old) in OLD_NAMES {
                    if verb == new || verb == old {
                        add(&mut self.verbs, new);
                        add(&mut self.verbs, old);
                    }
                }
                Ok(verb.to_owned())
            }
        }
    }

    /// Whether a feature (RFC 2389) is one of a denied command. MLST stands for MLSD as well, RFC 3659 section 7.8.
    pub(super) fn hides_feature(&self, feature: &[u8]) -> bool {
        let (word, rest) = word(feature);
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if self.is_empty() {
            return false;
        }
        self.denies_verb(word)
            || (is("MLST") && self.denies_verb(b"MLSD"))
            || (is("SITE")
                && self.site.iter().any(|denied| rest.trim_ascii().eq_ignore_ascii_case(denied.as_bytes())))
    }

    /// Judges a line as it came, without telnet's signals before it.
    pub(super) fn judge(&self, line: &[u8], command: &Command<'_>) -> FilterVerdict {
        if self.is_empty() || matches!(command.verb, Verb::Empty | Verb::Unclear) {
            return FilterVerdict::Passes;
        }
        let (verb, rest) = word(line);
        if !is_plain(verb) {
            return FilterVerdict::Unclear;
        }
        if let Some(denied) = self.verbs.iter().find(|denied| means(verb, denied.as_bytes())) {
            return FilterVerdict::Denied { on_files: ON_FILES.contains(&&**denied) };
        }
        if command.verb == Verb::Site && !self.site.is_empty() {
            let (sub, _) = word(rest);
            if self.site.iter().any(|denied| sub.eq_ignore_ascii_case(denied.as_bytes())) {
                return FilterVerdict::Denied { on_files: false };
            }
            if !sub.is_empty() && !is_plain(sub) {
                return FilterVerdict::Unclear;
            }
        }
        FilterVerdict::Passes
    }
}

fn add(rules: &mut Box<[Box<str>]>, word: &str) {
    if !rules.iter().any(|known| **known == *word) {
        let mut all = std::mem::take(rules).into_vec();
        all.push(word.into());
        *rules = all.into();
    }
}

/// The first word and what follows it.
fn word(line: &[u8]) -> (&[u8], &[u8]) {
    let start = line.iter().position(|&byte| !is_blank(byte)).unwrap_or(line.len());
    let end = line[start..].iter().position(|&byte| is_blank(byte)).map_or(line.len(), |at| start + at);
    (&line[start..end], &line[end..])
}

/// Besides what separates words, what ends a line.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}

fn is_plain(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
}

fn means(word: &[u8], denied: &[u8]) -> bool {
    word.get(..denied.len()).is_some_and(|head| head.eq_ignore_ascii_case(denied))
        && (word.len() == denied.len() || denied.len() >= SIGNIFICANT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(rules: &[&str]) -> CommandFilter {
        let mut filter = CommandFilter::default();
        for rule in rules {
            filter.deny(rule).unwrap();
        }
        filter
    }

    #[test]
    fn what_any_server_could_take_for_a_denied_command_does_not_pass() {
        use FilterVerdict::{Passes, Unclear};
        const ON_FILE: FilterVerdict = FilterVerdict::Denied { on_files: true };
        const DENIED: FilterVerdict = FilterVerdict::Denied { on_files: false };
        let filter = filter(&["dele", "RMD", "site  chmod", "SITE RDEL"]);
        #[rustfmt::skip]
        let table: &[(&[u8], FilterVerdict)] = &[
            (b"DELE /a\r\n",             ON_FILE),
            (b"dElE\t/a\r\n",            ON_FILE),
            (b"  DELE /a\r\n",           ON_FILE),
            (b"DELE\r\n",                ON_FILE),
            (b"DELExyz /a\r\n",          ON_FILE),
            (b"RMD /a\r\n",              ON_FILE),
            (b"XRMD /a\r\n",             ON_FILE),
            (b"xrmd /a\r\n",             ON_FILE),
            (b"RMDA /a\r\n",             Passes),
            (b"DEL /a\r\n",              Passes),
            (b"RNFR DELE\r\n",           Passes),
            (b"SITE CHMOD 777 /a\r\n",   DENIED),
            (b"site  chmod 777 /a\r\n",  DENIED),
            (b"SITE\tChMod 777 /a\r\n",  DENIED),
            (b" SITE \x0b chmod\r\n",    DENIED),
            (b"SITE RDEL /a\r\n",        DENIED),
            (b"SITE HELP CHMOD\r\n",     Passes),
            (b"SITE CHMODE\r\n",         Passes),
            (b"SITE\r\n",                Passes),
            (b"SITE \r\n",               Passes),
            (b"NOOP\r\n",                Passes),
            (b"\r\n",                    Passes),
            (b"DE\x80LE /a\r\n",         Unclear),
            (b"\x80 DELE /a\r\n",        Unclear),
            (b"DELE\x00 /a\r\n",         Unclear),
            (b"\"DELE\" /a\r\n",         Unclear),
            (b"D\\ELE /a\r\n",           Unclear),
            (b"SITE \"CHMOD\" 777 /a\r\n", Unclear),
            (b"SITE \x80 CHMOD 7 /a\r\n", Unclear),
            (b"SITE CH\x01MOD 7 /a\r\n", Unclear),
            ("ſITE CHMOD 7 /a\r\n".as_bytes(), Unclear),
            ("RETR /größe\r\n".as_bytes(), Passes),
        ];
        for (line, verdict) in table {
            let command = Command::parse(line);
            let seen = filter.judge(&line[command.start()..], &command);
            assert_eq!(seen, *verdict, "{:?}", String::from_utf8_lossy(line));
        }
        let signal = b"\xff\xf4\xff\xf2DELE /a\r\n";
        let command = Command::parse(signal);
        assert_eq!(
            filter.judge(&signal[command.start()..], &command),
            ON_FILE,
            "telnet's signals are no disguise"
        );
    }

    #[test]
    fn without_rules_everything_passes() {
        let filter = CommandFilter::default();
        assert!(filter.is_empty());
        let line = b"\x80\"SITE\" CHMOD\r\n";
        assert_eq!(filter.judge(line, &Command::parse(line)), FilterVerdict::Passes);
    }

    #[test]
    fn site_alone_denies_all_of_it() {
        let filter = filter(&["SITE"]);
        assert!(filter.denies("SITE CHMOD") && filter.denies("SITE") && !filter.denies("DELE"));
        let line = b"SITE anything at all\r\n";
        assert_eq!(filter.judge(line, &Command::parse(line)), FilterVerdict::Denied { on_files: false });
    }

    #[test]
    fn some_rules_there_cannot_be() {
        for (rule, error) in [
            ("", FilterError::NotACommand),
            ("DELE;", FilterError::NotACommand),
            ("SITE CHMOD 777", FilterError::NotACommand),
            ("DELE /a", FilterError::NotACommand),
            ("DELE a", FilterError::OnlySite),
            ("user", FilterError::Needed),
            ("QUIT", FilterError::Needed),
            ("ADAT", FilterError::PartOfAuth),
        ] {
            assert_eq!(CommandFilter::default().deny(rule), Err(error), "{rule:?}");
        }
    }
}
