//! What holds for any text.
use super::super::{KINDS, TOP, parse};
use super::{EVERY_KEY, SOUND};
use crate::config::{Problem, report};
use proptest::prelude::*;
use std::path::Path;

/// Pieces that reach deep: keys, values of every type, headers, and what belongs nowhere.
fn piece() -> impl Strategy<Value = String> {
    let keys: Vec<&str> = KINDS.iter().chain(&[&TOP]).flat_map(|kind| kind.keys).copied().collect();
    let values = [
        "'192.0.2.1'",
        "'::1'",
        "['::1', 5]",
        "[]",
        "{}",
        "[{}]",
        "-1",
        "1.5",
        "true",
        "1979-05-27",
        "'10s'",
        "''",
        "0xffffffffffffffffffffffffffffffffff",
        "{ '::1' = '::2' }",
        "'1024-65535'",
        "'wlc'",
        "\"\\u0000é\"",
    ];
    let headers: Vec<&str> = KINDS.iter().map(|kind| kind.header).collect();
    prop_oneof![
        (proptest::sample::select(keys), proptest::sample::select(values.to_vec()))
            .prop_map(|(key, value)| format!("{key} = {value}\n")),
        proptest::sample::select(headers).prop_map(|header| format!("{header}\n")),
        "[ -~é🌍\n\r\t\u{0}]{0,12}",
    ]
}

fn assert_sane(text: &str) {
    if let Err(problems) = parse(Path::new("f"), text) {
        assert!(problems.iter().any(Problem::is_error), "refused without a reason: {text:?}");
        for problem in &problems {
            let line = text.split('\n').nth(problem.line - 1);
            let width = line.map_or(0, |line| line.chars().count());
            assert!(problem.column <= width + 1, "{problem} is outside of {text:?}");
            assert!(!problem.to_string().contains(char::is_control), "{problem:?}");
        }
        assert!(problems.is_sorted_by_key(|problem| (problem.line, problem.column)), "{}", report(&problems));
    }
}

proptest! {
    #[test]
    fn any_text_is_accepted_or_refused_with_a_place(text in "\\PC{0,200}|[\\x00-\\x7f]{0,200}") {
        assert_sane(&text);
    }

    #[test]
    fn any_mixture_of_keys_and_values_is_accepted_or_refused_with_a_place(
        pieces in proptest::collection::vec(piece(), 0..40),
    ) {
        assert_sane(&pieces.concat());
        assert_sane(&format!("{SOUND}{}", pieces.concat()));
    }

    #[test]
    fn a_mutated_file_is_accepted_or_refused_with_a_place(
        at in any::<proptest::sample::Index>(), removed in 0_usize..40, inserted in piece(),
    ) {
        let text = EVERY_KEY;
        let start = text.floor_char_boundary(at.index(text.len()));
        let end = text.floor_char_boundary((start + removed).min(text.len()));
        assert_sane(&format!("{}{inserted}{}", &text[..start], &text[end.max(start)..]));
    }
}
