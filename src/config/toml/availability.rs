//! The keys of `[[virtual_server]]` that say when real servers are to be had, and `[virtual_server.ejection]`.
use super::{KINDS, SHORTEST, duration};
use crate::balance::{EjectionPolicy, MAX_FAILURES, Quorum};
use crate::config::address::{self, Refusal};
use crate::config::error::shown;
use crate::config::model::{Availability, MAX_WEIGHT};
use crate::config::reader::{Kind, Section};
use std::time::Duration;

pub(super) const EJECTION: Kind = Kind {
    header: "[virtual_server.ejection]",
    keys: &["failed_logins", "failed_transfers", "time", "max_time", "max_ejected"],
};

/// Most weight that `quorum` and `hysteresis` may ask for: of a thousand servers that have all they can.
const MAX_QUORUM: u32 = 1000 * MAX_WEIGHT;

/// Longest `offline_message`, in bytes: a line of a terminal or two.
const MAX_OFFLINE_MESSAGE: usize = 200;

pub(super) fn read_availability(section: &Section<'_>) -> Availability {
    let default = Quorum::default();
    let weight = |key, lowest, default| {
        section.field(key).and_then(|field| field.number(&(lowest..=MAX_QUORUM))).unwrap_or(default)
    };
    Availability {
        alpha: section.field("alpha").and_then(|field| field.boolean()).unwrap_or(false),
        quorum: Quorum {
            quorum: weight("quorum", 1, default.quorum),
            hysteresis: weight("hysteresis", 0, default.hysteresis),
        },
        sorry_server: section.field("sorry_server").and_then(|field| field.parsed(address::parse_service)),
        offline_message: section.field("offline_message").and_then(|field| field.parsed(offline_message)),
        slow_start: duration(section, "slow_start", Duration::ZERO, Duration::ZERO),
        ejection: section
            .field("ejection")
            .and_then(|field| field.section(&EJECTION, &KINDS))
            .map(|section| read_ejection(&section)),
    }
}

fn read_ejection(section: &Section<'_>) -> EjectionPolicy {
    let default = EjectionPolicy::default();
    let failures = |key, default| {
        section.field(key).and_then(|field| field.number(&(0..=MAX_FAILURES))).unwrap_or(default)
    };
    let policy = EjectionPolicy {
        failed_logins: failures("failed_logins", default.failed_logins),
        failed_transfers: failures("failed_transfers", default.failed_transfers),
        time: duration(section, "time", SHORTEST, default.time),
        max_time: duration(section, "max_time", SHORTEST, default.max_time),
        max_ejected: section
            .field("max_ejected")
            .and_then(|field| field.parsed(percent))
            .unwrap_or(default.max_ejected),
    };
    if policy.max_time < policy.time
        && let Some(field) = section.field("max_time").or_else(|| section.field("time"))
    {
        field.error("`max_time` is shorter than `time`", "write at least the same");
    }
    policy
}

fn offline_message(text: &str) -> Result<String, Refusal> {
    let refuse = |what: &str, mend: &str| Err((format!("`offline_message` {what}"), mend.to_owned()));
    if text.trim().is_empty() {
        return refuse("is empty", "write what clients are to read, or leave the key out");
    }
    if text.len() > MAX_OFFLINE_MESSAGE {
        let mend = format!("write {MAX_OFFLINE_MESSAGE} at most");
        return Err((format!("`offline_message` has {} bytes", text.len()), mend));
    }
    if text.contains(char::is_control) {
        return refuse("has a line end or a control character", "write one line of text");
    }
    Ok(text.trim().to_owned())
}

fn percent(text: &str) -> Result<u32, Refusal> {
    let number = text.trim().strip_suffix('%').and_then(|number| number.trim_end().parse::<u32>().ok());
    number.filter(|number| (1..=100).contains(number)).ok_or_else(|| {
        (format!("`max_ejected = \"{}\"` is no share", shown(text)), "write \"1%\" to \"100%\"".into())
    })
}
