//! Mistakes in TOML itself, in an administrator's words.
use super::error::{Findings, shown};
use toml::de::Error;

/// Records what the TOML parser found: one mistake a line, and none after one that leaves open where the
/// rest belongs.
pub(super) fn record(text: &str, mut errors: Vec<Error>, findings: &Findings) {
    errors.sort_by_key(start);
    let mut reported_until = 0;
    for error in &errors {
        let at = text.floor_char_boundary(start(error));
        if at < reported_until {
            continue;
        }
        let mistake = Mistake::new(text, at, error);
        findings.error(mistake.at, mistake.what, mistake.mend);
        if mistake.confuses_the_rest {
            break;
        }
        reported_until = text[at..].find('\n').map_or(usize::MAX, |newline| at + newline + 1);
    }
}

/// Said where two things stand on one line.
const FOLLOWS: (&str, &str) =
    ("something follows the end of the value or header", "write it on a line of its own");

struct Mistake {
    at: usize,
    what: String,
    mend: String,
    confuses_the_rest: bool,
}

fn start(error: &Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

impl Mistake {
    fn new(text: &str, at: usize, error: &Error) -> Self {
        let message = error.message();
        let has = |words: &str| message.contains(words);
        let line = line_around(text, at);
        let until = error.span().map_or(at, |span| text.floor_char_boundary(span.end).max(at));
        let (token_at, token) = token_around(text, at, until);
        let plain = |what: &str, mend: &str| Self {
            at,
            what: what.to_owned(),
            mend: mend.to_owned(),
            confuses_the_rest: false,
        };

        if has("duplicate key") {
            let key = error.span().and_then(|span| text.get(span)).unwrap_or_default();
            return plain(&format!("`{}` is written twice", shown(key)), "keep one of them");
        }
        if has("cannot extend value") {
            return plain("a key that has a value already is used as a table", "keep one of the two");
        }
        if line.trim_end().ends_with('{') || line.trim() == "}" {
            let mistake = plain(
                "this looks like keepalived.conf, which this version does not read",
                "write TOML, as in docs/examples/minimal.toml",
            );
            return Self { at: at - column_of(text, at), confuses_the_rest: true, ..mistake };
        }
        if has("array table") || has("unclosed table") {
            return plain("a table's header is not closed", "end it with as many `]` as it begins with `[`");
        }
        if has("array") {
            let mistake = plain(
                "a list here or above goes wrong",
                "put commas between its values and close it with `]`",
            );
            return Self { confuses_the_rest: true, ..mistake };
        }
        if has("inline table") || has("key-value pairs") {
            let mistake = plain(
                "a table in braces here or above goes wrong",
                "put commas between its pairs and close it with `}`",
            );
            return Self { confuses_the_rest: true, ..mistake };
        }
        if has("multi-line") {
            let mistake = plain("a text in triple quotes is not closed", "close it with the same quotes");
            return Self { confuses_the_rest: true, ..mistake };
        }
        if has("basic string") || has("literal string") && !has("must be quoted") {
            return plain(
                "a quoted text is not closed",
                "end it on the same line with the quote it began with",
            );
        }
        if has("escaped value") {
            return plain("an unknown escape after `\\`", "write `\\\\` for a backslash");
        }
        if is_value_message(message) {
            if token.is_empty() {
                return plain("a value is missing here", "write one after the `=`, text in double quotes");
            }
            // `a = 1 b = 2`: the parser takes `1 b` for the value.
            if token.contains(char::is_whitespace) && text[until..].trim_start().starts_with('=') {
                return plain(FOLLOWS.0, FOLLOWS.1);
            }
            let mend = match token.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => "write `true`".into(),
                "false" | "no" | "off" => "write `false`".into(),
                _ if token.contains(['"', '\'', '“', '”']) => "put text in plain double quotes".into(),
                _ => format!("put text in double quotes: \"{}\"", shown(token)),
            };
            let mistake = plain(&format!("`{}` is not a value", shown(token)), &mend);
            return Self { at: token_at, ..mistake };
        }
        if has("key with no value") || has("unquoted key") || has("invalid key-value pair") {
            let blanks = line.len() - line.trim_start().len();
            let mistake =
                plain("this is not `key = value`", "write a key, `=` and a value; a comment begins with `#`");
            return Self { at: at - column_of(text, at) + blanks, ..mistake };
        }
        if has("unexpected key or value") {
            return plain(FOLLOWS.0, FOLLOWS.1);
        }
        plain(&format!("not TOML: {}", shown(message)), "see https://toml.io for how TOML is written")
    }
}

fn is_value_message(message: &str) -> bool {
    const VALUES: [&str; 6] = [
        "string values must be quoted",
        "invalid float",
        "invalid boolean",
        "invalid integer",
        "leading zero",
        "date",
    ];
    VALUES.iter().any(|value| message.contains(value))
}

fn column_of(text: &str, at: usize) -> usize {
    at - text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

fn line_around(text: &str, at: usize) -> &str {
    let rest = &text[at - column_of(text, at)..];
    rest.split('\n').next().unwrap_or_default()
}

/// A piece of the text with what stands beside it, up to blanks, brackets and commas, and where it begins.
fn token_around(text: &str, at: usize, until: usize) -> (usize, &str) {
    let ends = |c: char| c.is_whitespace() || "=[],{}#".contains(c);
    let start = text[..at].char_indices().rev().find(|(_, c)| ends(*c)).map_or(0, |(i, c)| i + c.len_utf8());
    let end = text[until..].find(ends).map_or(text.len(), |length| until + length);
    (start, text[start..end].trim_end())
}
