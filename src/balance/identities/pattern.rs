//! Patterns of distinguished names.
use std::fmt;

/// A name in which `*` stands for any text, with `/` in it or not. All other characters stand for themselves, in their case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamePattern(Box<str>);

impl NamePattern {
    /// Any text is a pattern.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether a name is of this form; takes time by the product of both lengths at most.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut pieces = self.0.split('*');
        let Some(rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else { return false };
        let Some(last) = pieces.next_back() else { return rest.is_empty() };
        let Some(mut rest) = rest.strip_suffix(last) else { return false };
        // The first place of each is the best: it leaves the most to the others.
        for piece in pieces {
            let Some((_, behind)) = rest.split_once(piece) else { return false };
            rest = behind;
        }
        true
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_row_by_row() {
        for (pattern, name, matches) in [
            ("/CN=a", "/CN=a", true),
            ("/CN=a", "/CN=ab", false),
            ("/CN=a", "/cn=a", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "/anything at all", true),
            ("/DC=org/*", "/DC=org/CN=a", true),
            ("/DC=org/*", "/DC=organic/CN=a", false),
            ("*/CN=a", "/DC=org/CN=a", true),
            ("*/CN=a", "/DC=org/CN=a/CN=b", false),
            ("/DC=*/CN=*", "/DC=org/OU=x/CN=a", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a**b", "ab", true),
            ("a*b*c", "a-c-b", false),
            ("*é*", "/CN=José", true),
        ] {
            assert_eq!(NamePattern::new(pattern).matches(name), matches, "{pattern} {name}");
        }
    }

    /// As it is defined, letter by letter.
    fn by_definition(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|skipped| by_definition(rest, &name[skipped..])),
            Some((letter, rest)) => name.first() == Some(letter) && by_definition(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_means_what_its_definition_says(pattern in "[ab*]{0,8}", name in "[ab]{0,10}") {
            let expected = by_definition(pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(NamePattern::new(&pattern).matches(&name), expected);
        }
    }
}
