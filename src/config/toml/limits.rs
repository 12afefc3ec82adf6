//! Keys of `[[virtual_server]]` about who may come in, how often, and what may be said; and its `ban` table.
use std::time::Duration;

use super::{KINDS, MAX_SESSIONS, SHORTEST, duration, located};
use crate::balance::{BanRule, ClientLimits, SessionRate};
use crate::config::address::{self, Refusal};
use crate::config::consistency::LimitPlaces;
use crate::config::duration as written;
use crate::config::error::{Findings, did_you_mean, shown};
use crate::config::model::{Admittance, QueueLimits};
use crate::config::reader::{Field, Kind, Section};
use crate::proto::ftp::{CommandFilter, FilterError, KNOWN_SITE_COMMANDS, KNOWN_VERBS};

pub(super) const BAN: Kind =
    Kind { header: "[virtual_server.ban]", keys: &["failed_logins", "within", "time"] };

/// Most failed logins that a ban waits for: each takes 4 bytes, of every client.
const MAX_FAILED_LOGINS: u32 = 100;

/// Shortest `within` and `time` of a ban; times are kept in seconds.
const SHORTEST_BAN: Duration = Duration::from_secs(1);

/// Most sessions of a rate or a burst; beyond it nothing is limited.
const MAX_RATE: u32 = 1_000_000;

/// The shortest prefix that makes an IPv6 client: what a site of many networks is given. Below, strangers are one client.
const SHORTEST_IPV6_PREFIX: u8 = 32;

/// Everything but `ban` that is read here.
pub(super) fn read_limits(section: &Section<'_>, findings: &Findings) -> (Admittance, LimitPlaces) {
    let default = Admittance::default();
    let networks = |key| {
        section
            .field(key)
            .map(|field| located(&field, |item| item.parsed(address::parse_network)))
            .unwrap_or_default()
    };
    let (allow, allow_places) = networks("allow");
    let (deny, deny_places) = networks("deny");
    let ban = section.field("ban").and_then(|field| field.section(&BAN, &KINDS));
    let client_limits = ClientLimits {
        max_sessions: section
            .field("max_sessions_per_client")
            .and_then(|field| field.number(&(1..=MAX_SESSIONS))),
        rate: read_rate(section),
        ban: ban.as_ref().and_then(|ban| read_ban(ban)),
        ipv6_prefix: section
            .field("ipv6_prefix")
            .and_then(|field| field.number(&(SHORTEST_IPV6_PREFIX..=128)))
            .unwrap_or(default.client_limits.ipv6_prefix),
        never_banned: Vec::new(),
    };
    let (denied_commands, denied_places) = read_filter(section, findings);
    let places = LimitPlaces {
        allow: allow_places,
        deny: deny_places,
        deny_commands: denied_places,
        queue_length: section.place_of("queue_length"),
    };
    let queue = read_queue(section, findings);
    (Admittance { allow, deny, client_limits, denied_commands, queue }, places)
}

fn read_rate(section: &Section<'_>) -> Option<SessionRate> {
    let burst = section.field("session_burst_per_client");
    let burst_value = burst.and_then(|field| field.number(&(1..=MAX_RATE)));
    let Some(field) = section.field("session_rate_per_client") else {
        if let Some(burst) = burst {
            burst.error(
                "`session_burst_per_client` without `session_rate_per_client` limits nothing",
                "add `session_rate_per_client = \"10/s\"`, or remove it",
            );
        }
        return None;
    };
    let (sessions, per) = field.parsed(rate)?;
    Some(SessionRate { sessions, per, burst: burst_value.unwrap_or(sessions) })
}

/// `10/s`, `100/m`, `5/10s`.
fn rate(text: &str) -> Result<(u32, Duration), Refusal> {
    let example = || "write sessions and a time, such as \"10/s\" or \"100/m\"".to_owned();
    let not_a_rate = || (format!("`{}` is not a rate", shown(text)), example());
    let (sessions, per) = text.split_once('/').ok_or_else(not_a_rate)?;
    let sessions: u32 = sessions.trim().parse().map_err(|_| not_a_rate())?;
    if !(1..=MAX_RATE).contains(&sessions) {
        return Err((format!("`{text}` has {sessions} sessions"), format!("write 1 to {MAX_RATE} of them")));
    }
    let per = per.trim();
    let per = if per.starts_with(|c: char| c.is_ascii_digit()) { per.to_owned() } else { format!("1{per}") };
    match written::parse(&per) {
        Ok(per) if per >= SHORTEST => Ok((sessions, per)),
        Ok(_) => Err((format!("`{text}` has no time"), example())),
        Err(_) => Err(not_a_rate()),
    }
}

/// Every key has to be there: what a site takes for an attack is for the site to say.
fn read_ban(section: &Section<'_>) -> Option<BanRule> {
    let failed = section.required("failed_logins", "add `failed_logins = 5`, how many lead to a ban");
    let time = |key, mend| section.required(key, mend).and_then(|field| field.duration(SHORTEST_BAN));
    let within = time("within", "add `within = \"10m\"`, the time in which they have to come");
    let kept_out = time("time", "add `time = \"1h\"`, how long the client is kept out");
    Some(BanRule {
        failed_logins: failed?.number(&(1..=MAX_FAILED_LOGINS))?,
        within: within?,
        time: kept_out?,
    })
}

fn read_queue(section: &Section<'_>, findings: &Findings) -> Option<QueueLimits> {
    let length = section.field("queue_length").and_then(|field| field.number(&(0..=MAX_SESSIONS)));
    let timeout = duration(section, "queue_timeout", SHORTEST, QueueLimits::TIMEOUT);
    match length {
        Some(length @ 1..) => Some(QueueLimits { length, timeout }),
        _ => {
            if let Some(at) = section.place_of("queue_timeout") {
                findings.warning(
                    at,
                    "`queue_timeout` is not used without a `queue_length`: sessions are refused at once",
                    "add `queue_length = 100`, or remove it",
                );
            }
            None
        }
    }
}

fn read_filter(section: &Section<'_>, findings: &Findings) -> (CommandFilter, Option<usize>) {
    let mut filter = CommandFilter::default();
    let Some(field) = section.field("deny_commands") else { return (filter, None) };
    for item in field.list() {
        if let Some(text) = item.text() {
            deny(&mut filter, text, &item, findings);
        }
    }
    let first = field.list().first().map(|item| item.at);
    (filter, first)
}

fn deny(filter: &mut CommandFilter, text: &str, item: &Field<'_>, findings: &Findings) {
    let rule = match filter.deny(text) {
        Ok(rule) => rule,
        Err(error) => {
            let mend = match error {
                FilterError::NotACommand => {
                    "write a verb, such as \"DELE\", or SITE and one word: \"SITE CHMOD\""
                }
                FilterError::OnlySite => "write the verb alone",
                FilterError::Needed => "remove it",
                FilterError::PartOfAuth => "write \"AUTH\"",
            };
            return item.error(format!("`{}` {error}", shown(text)), mend);
        }
    };
    let (word, known, kind) = match rule.strip_prefix("SITE ") {
        Some(word) => (word, KNOWN_SITE_COMMANDS, "a SITE command"),
        None => (rule.as_str(), KNOWN_VERBS, "an FTP verb"),
    };
    if !known.contains(&word) {
        let lower: Vec<String> = known.iter().map(|name| name.to_ascii_lowercase()).collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        let mend = match did_you_mean(word, &lower) {
            Some(meant) => format!("did you mean \"{}\"?", meant.to_ascii_uppercase()),
            None => "it is denied all the same; remove it if no server knows it".into(),
        };
        findings.warning(item.at, format!("`{}` is not {kind} that is known here", shown(text)), mend);
    }
}
