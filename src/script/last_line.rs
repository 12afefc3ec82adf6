//! What a script wrote last.

/// As much of a line as is kept, in bytes.
const MAX_LINE_LEN: usize = 160;

/// The last line with something on it, of any number of bytes.
#[derive(Debug, Default)]
pub(super) struct LastLine {
    line: Vec<u8>,
    /// The line before, should this one stay empty.
    before: Vec<u8>,
}

impl LastLine {
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                if !is_blank(&self.line) {
                    std::mem::swap(&mut self.line, &mut self.before);
                }
                self.line.clear();
            } else if self.line.len() < MAX_LINE_LEN {
                self.line.push(byte);
            }
        }
    }

    /// Without control characters.
    pub(super) fn into_text(self) -> String {
        let line = if is_blank(&self.line) { self.before } else { self.line };
        String::from_utf8_lossy(&line).trim().chars().filter(|c| !c.is_control()).collect()
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_says_something_is_kept() {
        let long = "x".repeat(10_000);
        let table: &[(&str, &str)] = &[
            ("", ""),
            ("\n\n", ""),
            ("one", "one"),
            ("one\n", "one"),
            ("one\ntwo\n\n \r\n", "two"),
            ("one\ntwo", "two"),
            (" \x1b[31mred\r\n", "[31mred"),
            (&long, &long[..MAX_LINE_LEN]),
        ];
        for (text, expected) in table {
            for chunk in [1, 3, text.len().max(1)] {
                let mut line = LastLine::default();
                text.as_bytes().chunks(chunk).for_each(|part| line.take(part));
                assert_eq!(line.into_text(), *expected, "{text:?}");
            }
        }
    }
}
