//! What an advert says of time and of who sends it.
use crate::config::reader::Section;
use crate::proto::vrrp::Password;
use std::time::Duration;

/// Shortest time from one advert to the next: the field of version 3 counts hundredths of a second.
const SHORTEST_ADVERT_INTERVAL: Duration = Duration::from_millis(10);

/// What either version makes of it is for the whole table to say.
pub(super) fn read_advert_interval(section: &Section<'_>) -> Option<Duration> {
    section.field("advert_interval")?.duration(SHORTEST_ADVERT_INTERVAL)
}

pub(super) fn read_authentication(section: &Section<'_>) -> Option<Password> {
    let kind = section.required("type", "add `type = \"PASS\"`");
    if let Some(field) = kind {
        if field.text() == Some("AH") {
            field.error(
                "`type = \"AH\"` is not here: RFC 3768 took it out, and its packets pass few networks",
                "write \"PASS\", or remove the table and filter protocol 112 on the network",
            );
        } else {
            field.word::<String>(&["PASS"], &[]);
        }
    }
    let field =
        section.required("password", "add `password = \"…\"`, 1 to 8 bytes that all routers share")?;
    let text = field.text()?;
    let password = Password::new(text.as_bytes());
    if password.is_none() {
        let most = Password::LENGTH;
        if text.is_empty() {
            field.error("`password` is empty", format!("write 1 to {most} bytes that all routers share"));
        } else if text.len() <= most {
            field.error(
                "`password` ends with a zero byte, which the message has where it is over",
                "take that off",
            );
        } else {
            field.error(
                format!("`password` has {} bytes, and the message has room for {most}", text.len()),
                format!("write the first {most}: keepalived cuts a longer one there without a word"),
            );
        }
    }
    password
}
