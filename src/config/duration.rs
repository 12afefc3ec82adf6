//! Durations as the configuration writes them: a whole number and a unit, `10s`.
use std::time::Duration;

/// Longest duration a key takes. Nothing here waits longer than a week; a larger number is a slip.
pub(super) const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Reads `500ms`, `10s`, `15m` or `2h`.
///
/// # Errors
///
/// The reason and the mend.
pub(crate) fn parse(text: &str) -> Result<Duration, (&'static str, String)> {
    const EXAMPLE: &str = "write a whole number and a unit (ms, s, m or h), such as \"10s\"";
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(("is not a duration", EXAMPLE.into()));
    }
    let unit = unit.trim_start();
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "" => return Err(("has no unit", format!("write for example \"{number}s\" (units: ms, s, m, h)"))),
        _ => {
            return Err(match meant(unit) {
                Some(meant) => ("has a unit of another kind", format!("write \"{number}{meant}\"")),
                None => ("is not a duration", EXAMPLE.into()),
            });
        }
    };
    let too_long = || ("is too long", format!("write at most \"{}\"", shown(LONGEST)));
    let duration = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(millis))
        .map(Duration::from_millis)
        .ok_or_else(too_long)?;
    if duration > LONGEST { Err(too_long()) } else { Ok(duration) }
}

/// A duration in the largest unit that holds it exactly.
pub(super) fn shown(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".into(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    }
}

fn meant(unit: &str) -> Option<&'static str> {
    match unit.to_ascii_lowercase().as_str() {
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => Some("ms"),
        "s" | "sec" | "secs" | "second" | "seconds" => Some("s"),
        "m" | "min" | "mins" | "minute" | "minutes" => Some("m"),
        "h" | "hr" | "hrs" | "hour" | "hours" => Some("h"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_and_a_unit_is_a_duration() {
        for (text, millis) in
            [("500ms", 500), ("10s", 10_000), ("15m", 900_000), ("2h", 7_200_000), ("0s", 0), ("7 s", 7000)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same() {
        for millis in [0, 1, 999, 1000, 1500, 60_000, 61_000, 3_600_000, 5_400_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse(&shown(duration)), Ok(duration));
        }
    }

    #[test]
    fn anything_else_says_what_to_write() {
        let table = [
            ("", "is not a duration", "write a whole number and a unit (ms, s, m or h), such as \"10s\""),
            ("1.5s", "is not a duration", "write a whole number and a unit (ms, s, m or h), such as \"10s\""),
            (
                "1h30m",
                "is not a duration",
                "write a whole number and a unit (ms, s, m or h), such as \"10s\"",
            ),
            ("-1s", "is not a duration", "write a whole number and a unit (ms, s, m or h), such as \"10s\""),
            ("15", "has no unit", "write for example \"15s\" (units: ms, s, m, h)"),
            ("15 Minutes", "has a unit of another kind", "write \"15m\""),
            ("169h", "is too long", "write at most \"168h\""),
            ("99999999999999999999999h", "is too long", "write at most \"168h\""),
            ("18446744073709551615h", "is too long", "write at most \"168h\""),
        ];
        for (text, what, mend) in table {
            assert_eq!(parse(text), Err((what, mend.to_owned())), "{text}");
        }
    }
}
