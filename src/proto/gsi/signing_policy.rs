//! `signing_policy` files: which names an authority may sign.
//!
//! ```text
//! access_id_CA   X509    '/O=Grid/CN=CA'
//! pos_rights     globus  CA:sign
//! cond_subjects  globus  '"/O=Grid/*" "/O=Other/CN=*"'
//! ```
//!
//! The language (EACL) has more than Globus ever evaluated; what is beyond the above is an error here, never a permission.
use super::name::DistinguishedName;

/// Largest file that is read, in bytes. Real ones have some hundred.
pub const MAX_SIGNING_POLICY: usize = 64 * 1024;

/// Most patterns of one file. Authorities of several countries have a dozen.
const MAX_PATTERNS: usize = 1024;

/// What is wrong with a file, and where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct SigningPolicyError {
    /// From 1.
    pub line: usize,
    /// What is wrong and how to mend it.
    pub what: String,
}

/// The content of a file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SigningPolicy {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Entry {
    /// `None` is anybody.
    authority: Option<String>,
    subjects: Vec<Pattern>,
}

/// A name in which the last star is for one character or more. Normalized.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Pattern(String);

/// What a file says of a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SigningPolicyVerdict {
    /// The authority may sign it.
    Allowed,
    /// It may sign others.
    Forbidden,
    /// The file is not about this authority.
    Silent,
}

impl SigningPolicy {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// The first line that is not understood.
    pub fn parse(bytes: &[u8]) -> Result<Self, SigningPolicyError> {
        if bytes.len() > MAX_SIGNING_POLICY {
            return Err(wrong(1, "the file is larger than 64 KiB; it should have some lines"));
        }
        let plain = without_comments(bytes);
        let text = std::str::from_utf8(&plain).map_err(|error| {
            let line = plain[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            wrong(line, "there are bytes that are not UTF-8; write them as \\\\x and two digits")
        })?;
        let mut words = Words { rest: text, line: 1 };
        let mut policy = Self::default();
        let mut patterns = 0;
        while let Some(word) = words.next()? {
            let entry = read_entry(&word, &mut words)?;
            patterns += entry.subjects.len();
            if patterns > MAX_PATTERNS {
                return Err(wrong(words.line, "there are more than 1024 patterns"));
            }
            policy.entries.push(entry);
        }
        if policy.entries.is_empty() {
            return Err(wrong(words.line, "there is no access_id_CA; the authority may sign nothing"));
        }
        Ok(policy)
    }

    /// Whether an entry is about `issuer` by name.
    pub(super) fn names(&self, issuer: &DistinguishedName) -> bool {
        let issuer = with_one_alias(issuer.as_str());
        self.entries.iter().any(|entry| entry.authority.as_ref() == Some(&issuer))
    }

    /// Whether `issuer` may sign `subject`.
    pub fn verdict(&self, issuer: &DistinguishedName, subject: &DistinguishedName) -> SigningPolicyVerdict {
        let issuer = with_one_alias(issuer.as_str());
        let subject = normalized(subject.as_str());
        let mut verdict = SigningPolicyVerdict::Silent;
        for entry in &self.entries {
            if entry.authority.as_ref().is_none_or(|authority| *authority == issuer) {
                if entry.subjects.iter().any(|pattern| pattern.matches(&subject)) {
                    return SigningPolicyVerdict::Allowed;
                }
                verdict = SigningPolicyVerdict::Forbidden;
            }
        }
        verdict
    }
}

impl Pattern {
    fn matches(&self, subject: &str) -> bool {
        if self.0 == subject {
            return true;
        }
        // Only the last star is one: the others stand for themselves, as in Globus.
        self.0.rsplit_once('*').is_some_and(|(before, behind)| {
            subject.len() > before.len() + behind.len()
                && subject.starts_with(before)
                && subject.ends_with(behind)
        })
    }
}

fn read_entry(access: &Word<'_>, words: &mut Words<'_>) -> Result<Entry, SigningPolicyError> {
    let authority = match access.text {
        "access_id_ANYBODY" => None,
        "access_id_CA" => {
            words.required("X509", access.line)?;
            let name =
                words.next()?.ok_or_else(|| wrong(access.line, "the name of the authority is missing"))?;
            Some(with_one_alias(name.text))
        }
        other => {
            let what = format!("`{}` is not expected here; an entry begins with access_id_CA", shown(other));
            return Err(wrong(access.line, &what));
        }
    };
    let Some(rights) = words.next()? else {
        return Err(wrong(access.line, "pos_rights is missing; add `pos_rights globus CA:sign`"));
    };
    if rights.text != "pos_rights" {
        let what = format!("`{}` is not understood; only pos_rights is", shown(rights.text));
        return Err(wrong(rights.line, &what));
    }
    words.required("globus", rights.line)?;
    words.required("CA:sign", rights.line)?;
    let mut subjects = Vec::new();
    let mut conditions = 0;
    while let Some(condition) = words.next_if(|word| word.starts_with("cond_"))? {
        if condition.text != "cond_subjects" {
            let what = format!("`{}` is not understood; only cond_subjects is", shown(condition.text));
            return Err(wrong(condition.line, &what));
        }
        words.required("globus", condition.line)?;
        let list = words.next()?.ok_or_else(|| wrong(condition.line, "the names are missing"))?;
        conditions += 1;
        read_patterns(&list, &mut subjects)?;
    }
    // Conditions must all hold, and no authority has ever needed that.
    match conditions {
        1 => Ok(Entry { authority, subjects }),
        0 => Err(wrong(rights.line, "cond_subjects is missing: say which names it may sign")),
        _ => Err(wrong(rights.line, "there is more than one cond_subjects; put the names into one")),
    }
}

fn read_patterns(list: &Word<'_>, patterns: &mut Vec<Pattern>) -> Result<(), SigningPolicyError> {
    for pattern in list.text.split('"').map(str::trim_start).filter(|pattern| !pattern.is_empty()) {
        let pattern =
            unescaped(pattern).ok_or_else(|| wrong(list.line, "a backslash is followed by no character"))?;
        patterns.push(Pattern(normalized(&pattern)));
    }
    if patterns.is_empty() {
        return Err(wrong(list.line, "there are no names; write '\"/O=Grid/*\"'"));
    }
    Ok(())
}

/// A backslash makes the next character stand for itself; `\x41` is a byte.
fn unescaped(pattern: &str) -> Option<String> {
    let mut plain = Vec::with_capacity(pattern.len());
    let mut bytes = pattern.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b'x' | b'X' => {
                    let digits = [bytes.next()?, bytes.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                other => other,
            },
            other => other,
        });
    }
    // Names are ASCII: what is not matches none.
    Some(String::from_utf8_lossy(&plain).into_owned())
}

/// Case does not count, and old names of types are the new ones.
fn normalized(name: &str) -> String {
    with_one_alias(name).to_ascii_lowercase()
}

/// `/Email=` and `/E=` are `/emailAddress=`, `/USERID=` is `/UID=`, as in Globus.
fn with_one_alias(name: &str) -> String {
    const ALIASES: [(&str, &str); 3] =
        [("Email=", "emailAddress="), ("E=", "emailAddress="), ("USERID=", "UID=")];
    let mut plain = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(slash) = rest.find('/') {
        let (before, behind) = rest.split_at(slash + 1);
        plain.push_str(before);
        let alias = ALIASES
            .iter()
            .find(|(old, _)| behind.get(..old.len()).is_some_and(|start| start.eq_ignore_ascii_case(old)));
        rest = behind;
        if let Some((old, new)) = alias {
            plain.push_str(new);
            rest = &behind[old.len()..];
        }
    }
    plain.push_str(rest);
    plain
}

/// Blanks in the place of comments, in which authorities write their names in whatever encoding. A number sign begins one where
/// a word could begin, and it ends with its line.
fn without_comments(bytes: &[u8]) -> Vec<u8> {
    let mut plain = bytes.to_vec();
    let mut at = 0;
    let end = |from: usize, ends: fn(u8) -> bool| {
        bytes[from..].iter().position(|byte| ends(*byte)).map_or(bytes.len(), |length| from + length)
    };
    while let Some(first) = bytes.get(at) {
        at = match first {
            b'#' => {
                let end = end(at, |byte| byte == b'\n');
                plain[at..end].fill(b' ');
                end
            }
            b'\'' => match end(at + 1, |byte| matches!(byte, b'\'' | b'\n')) {
                closed if bytes.get(closed) == Some(&b'\'') => closed + 1,
                // Refused there.
                _ => break,
            },
            blank if blank.is_ascii_whitespace() => at + 1,
            _ => end(at, |byte| byte.is_ascii_whitespace()),
        };
    }
    plain
}

struct Word<'a> {
    text: &'a str,
    line: usize,
}

/// Words between blanks, without comments; one that begins with an apostrophe ends with the next.
struct Words<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Result<Option<Word<'a>>, SigningPolicyError> {
        let trimmed = self.rest.trim_start_matches(|character: char| character.is_ascii_whitespace());
        self.line += self.rest[..self.rest.len() - trimmed.len()].matches('\n').count();
        self.rest = trimmed;
        if trimmed.is_empty() {
            return Ok(None);
        }
        let text = match trimmed.strip_prefix('\'') {
            Some(quoted) => {
                let end = quoted.find(['\'', '\n']).filter(|end| quoted.as_bytes()[*end] == b'\'');
                let Some(end) = end else {
                    return Err(wrong(self.line, "an apostrophe is not closed in its line"));
                };
                self.rest = &quoted[end + 1..];
                &quoted[..end]
            }
            None => {
                let end = trimmed.find(|character: char| character.is_ascii_whitespace());
                let (word, rest) = trimmed.split_at(end.unwrap_or(trimmed.len()));
                self.rest = rest;
                word
            }
        };
        Ok(Some(Word { text, line: self.line }))
    }

    fn next_if(&mut self, wanted: impl Fn(&str) -> bool) -> Result<Option<Word<'a>>, SigningPolicyError> {
        let before = (self.rest, self.line);
        let word = self.next()?;
        if word.as_ref().is_some_and(|word| wanted(word.text)) {
            return Ok(word);
        }
        (self.rest, self.line) = before;
        Ok(None)
    }

    fn required(&mut self, expected: &str, line: usize) -> Result<(), SigningPolicyError> {
        match self.next()? {
            Some(word) if word.text == expected => Ok(()),
            Some(word) => {
                Err(wrong(word.line, &format!("`{}` where `{expected}` is expected", shown(word.text))))
            }
            None => Err(wrong(line, &format!("`{expected}` is missing"))),
        }
    }
}

/// The beginning of a word, for a message.
fn shown(word: &str) -> String {
    word.chars().take(40).collect()
}

fn wrong(line: usize, what: &str) -> SigningPolicyError {
    SigningPolicyError { line, what: what.to_owned() }
}

#[cfg(test)]
mod tests;
