//! Rust source as far as the architecture needs it: which paths and keywords a file uses.

/// A path such as `crate::balance::LbAlgo`, with its line. A `use` tree gives one for each of its leaves; keywords and plain names are
/// paths of one word.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Path {
    pub(super) line: usize,
    pub(super) words: Vec<String>,
}

/// The product's part of a file: without the test module at its end.
pub(super) fn without_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod tests {").map_or(text, |end| &text[..end])
}

/// Every path of the text, comments and literals left out.
pub(super) fn paths(text: &str) -> Vec<Path> {
    let tokens = tokens(text);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = tree(&tokens, at, &[], &mut paths).max(at + 1);
    }
    paths
}

#[derive(Debug)]
struct Token<'t> {
    line: usize,
    text: &'t str,
}

/// Reads the path or use tree at `at` behind `prefix`, and returns the place after it.
fn tree(tokens: &[Token<'_>], mut at: usize, prefix: &[String], paths: &mut Vec<Path>) -> usize {
    let mut words = prefix.to_vec();
    let line = tokens[at].line;
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    while is_word(text(at)) {
        words.push(text(at).to_owned());
        at += 1;
        if text(at) != "::" {
            break;
        }
        at += 1;
        if text(at) == "{" {
            at += 1;
            while !["}", ""].contains(&text(at)) {
                at = tree(tokens, at, &words, paths).max(at + 1);
            }
            return at + 1;
        }
    }
    if words.len() > prefix.len() {
        paths.push(Path { line, words });
    }
    at
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (length, is_token) = if let Some(length) = skipped(rest) {
            (length, false)
        } else if word > 0 {
            (word, true)
        } else if rest.starts_with("::") {
            (2, true)
        } else {
            (first.len_utf8(), !first.is_whitespace())
        };
        if is_token {
            tokens.push(Token { line, text: &rest[..length] });
        }
        line += rest[..length].matches('\n').count();
        at += length;
    }
    tokens
}

/// The length of the comment or literal that the text begins with.
fn skipped(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    let prefix =
        ["br", "r", "b", "c"].iter().find(|prefix| rest.starts_with(**prefix)).map_or(0, |p| p.len());
    let literal = &rest[prefix..];
    let raw = rest[..prefix].contains('r');
    let hashes = literal.bytes().take_while(|&byte| byte == b'#').count();
    if raw && literal[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let from = prefix + hashes + 1;
        return Some(rest[from..].find(&end).map_or(rest.len(), |found| from + found + end.len()));
    }
    if literal.starts_with('"') {
        return Some(prefix + quoted(literal, b'"'));
    }
    // A lifetime has no closing quote after its first character.
    let mut characters = literal.chars();
    let is_character = characters.next() == Some('\'')
        && characters.next().is_some_and(|second| second == '\\' || characters.next() == Some('\''));
    is_character.then(|| prefix + quoted(literal, b'\''))
}

/// The length of a quoted literal with escapes.
fn quoted(literal: &str, quote: u8) -> usize {
    let bytes = literal.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

#[test]
fn paths_are_read_through_use_trees_and_not_out_of_literals_or_comments() {
    let text = r##"
use std::{fs, net::{self, TcpStream as Stream}};
// use std::env;
fn f<'a>(x: &'a str) { let y = "std::thread"; let z = ['\'', 'e', '"']; super::super::g::<u8>(y, r#"unsafe "#, b"unsafe") }
"##;
    let found: Vec<String> =
        paths(text).iter().map(|path| format!("{} {}", path.line, path.words.join("::"))).collect();
    for expected in ["2 std::fs", "2 std::net::self", "2 std::net::TcpStream", "4 super::super::g"] {
        assert!(found.contains(&expected.to_owned()), "{expected}: {found:?}");
    }
    for absent in ["std::env", "std::thread", "unsafe"] {
        assert!(!found.iter().any(|path| path.contains(absent)), "{absent}: {found:?}");
    }
}
