//! `gridfront.toml`: the tables, their keys and defaults.
mod availability;
mod check;
mod forwarding;
mod gsi;
mod limits;
mod real_server;
mod tls;
mod virtual_server;
mod vrrp;

use self::availability::EJECTION;
use self::check::SERVER_CHECK;
use self::forwarding::{FORWARDING, read_forwarding};
use self::gsi::GSI;
use self::limits::BAN;
use self::real_server::REAL_SERVER;
use self::tls::{DOOR_TLS, SERVER_TLS};
use self::virtual_server::{CHECK, VIRTUAL_SERVER, read_virtual_server};
use self::vrrp::{AUTHENTICATION, SYNC_GROUP, TRACK_FILE, VRRP_INSTANCE, VRRP_SCRIPT, read_vrrp};
use super::consistency;
use super::error::{Findings, Problem, Severity};
use super::model::{Global, Model};
use super::reader::{Field, Kind, Section};
use super::{address, syntax};
use ::toml::de::DeTable;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest file, in bytes. A thousand real servers with every key take 300 KiB.
pub const MAX_FILE_LEN: usize = 1024 * 1024;

/// An accepted file.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// What it says.
    pub model: Model,
    /// What is likely not what was meant, in file order; none of them an error.
    pub warnings: Vec<Problem>,
}

const TOP: Kind = Kind {
    header: "",
    keys: &[
        "global",
        "forwarding",
        "virtual_server",
        "vrrp_instance",
        "vrrp_sync_group",
        "vrrp_script",
        "track_file",
    ],
};

const GLOBAL: Kind = Kind {
    header: "[global]",
    keys: &[
        "router_id",
        "nameservers",
        "admin_socket",
        "http",
        "threads",
        "drain_timeout",
        "transfer_log",
        "max_sessions",
        "gsi_ready_keys",
    ],
};

/// Every table that has a header of its own.
const KINDS: [&Kind; 16] = [
    &GLOBAL,
    &FORWARDING,
    &VIRTUAL_SERVER,
    &GSI,
    &DOOR_TLS,
    &BAN,
    &CHECK,
    &EJECTION,
    &REAL_SERVER,
    &SERVER_TLS,
    &SERVER_CHECK,
    &VRRP_INSTANCE,
    &AUTHENTICATION,
    &SYNC_GROUP,
    &VRRP_SCRIPT,
    &TRACK_FILE,
];

/// Shortest of the durations that something waits for: anything less is a slip of the unit.
const SHORTEST: Duration = Duration::from_millis(1);

/// Most sessions of a virtual or real server: beyond the ports that one client address has, and the memory
/// of any balancer.
const MAX_SESSIONS: u32 = 1_000_000;

/// Most threads that carry sessions: more cores than a balancer has.
const MAX_THREADS: usize = 1024;

/// Most keys that lie ready: beyond it making them takes a quarter of an hour.
const MAX_READY_KEYS: usize = 10_000;

/// Longest path of a Unix socket, in bytes: `sun_path` of unix(7) less its final NUL.
const MAX_SOCKET_PATH_LEN: usize = 107;

/// Reads a configuration. `file` is named in the problems and not opened.
///
/// # Errors
///
/// Every problem of the text, warnings included, in file order; at least one of them is an error. Mistakes in
/// TOML itself hide all others, because they leave open what belongs where.
pub fn parse(file: &Path, text: &str) -> Result<Accepted, Vec<Problem>> {
    let findings = Findings::default();
    let model = read(text, &findings);
    let problems = findings.into_problems(file, text);
    match model {
        Some(model) if problems.iter().all(|problem| problem.severity == Severity::Warning) => {
            Ok(Accepted { model, warnings: problems })
        }
        _ => Err(problems),
    }
}

/// The `admin_socket` of a file that may have problems; the default where there is none that can be read.
#[must_use]
pub fn admin_socket(text: &str) -> PathBuf {
    let (root, _) = DeTable::parse_recoverable(text);
    let findings = Findings::default();
    let top = Section::new(&TOP, &KINDS, 0, root.get_ref(), &findings);
    let global = top.field("global").and_then(|field| field.section(&GLOBAL, &KINDS));
    global.map_or_else(Global::default, |section| read_global(&section)).admin_socket
}

/// The text of a file's bytes, for [`parse`].
///
/// # Errors
///
/// When they are not UTF-8, which TOML is always in.
pub fn decode<'b>(file: &Path, bytes: &'b [u8]) -> Result<&'b str, Problem> {
    str::from_utf8(bytes).map_err(|error| {
        let readable = str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
        let findings = Findings::default();
        findings.error(readable.len(), "this is not UTF-8", "save the file as UTF-8");
        findings.into_problems(file, readable).remove(0)
    })
}

fn read(text: &str, findings: &Findings) -> Option<Model> {
    if text.len() > MAX_FILE_LEN {
        findings.error(
            0,
            format!("the file has {} bytes", text.len()),
            format!("it may have {MAX_FILE_LEN}: name the right file"),
        );
        return None;
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        syntax::record(text, errors, findings);
        return None;
    }
    let top = Section::new(&TOP, &KINDS, 0, root.get_ref(), findings);
    let global = top.field("global").and_then(|field| field.section(&GLOBAL, &KINDS));
    let place_of_http = global.as_ref().and_then(|section| section.field("http")).map(|field| field.at);
    let global = global.map_or_else(Global::default, |section| read_global(&section));

    let sections =
        top.field("virtual_server").map_or_else(Vec::new, |field| field.sections(&VIRTUAL_SERVER, &KINDS));
    // Whoever only owns addresses has none.
    if sections.is_empty() && top.field("vrrp_instance").is_none() {
        findings.error(
            0,
            "there is no virtual server",
            "add a `[[virtual_server]]` with `addresses` and a `[[virtual_server.real_server]]`",
        );
    }
    let (virtual_servers, places): (Vec<_>, Vec<_>) =
        sections.iter().map(|section| read_virtual_server(section, findings)).unzip();
    consistency::examine(&virtual_servers, &places, findings);
    if let Some((http, at)) = global.http.zip(place_of_http) {
        consistency::examine_http(http, at, &virtual_servers, findings);
    }
    let (vrrp, places) = read_vrrp(&top, findings);
    consistency::examine_vrrp(&vrrp, &places, &virtual_servers, findings);
    let forwarding = top.field("forwarding").and_then(|field| field.section(&FORWARDING, &KINDS));
    let forwarding = forwarding.map(|section| read_forwarding(&section, &vrrp, findings));
    Some(Model { global, virtual_servers, vrrp, forwarding })
}

fn read_global(section: &Section<'_>) -> Global {
    let default = Global::default();
    Global {
        router_id: section.field("router_id").and_then(|field| field.name()),
        nameservers: section
            .field("nameservers")
            .map(|field| located(&field, |item| item.parsed(address::parse_nameserver)).0)
            .unwrap_or_default(),
        admin_socket: section
            .field("admin_socket")
            .and_then(|field| field.parsed(socket_path))
            .unwrap_or(default.admin_socket),
        threads: section
            .field("threads")
            .and_then(|field| field.number(&(1..=MAX_THREADS)))
            .and_then(NonZeroUsize::new),
        drain_timeout: duration(section, "drain_timeout", Duration::ZERO, default.drain_timeout),
        http: section.field("http").and_then(|field| field.parsed(address::parse_socket)),
        transfer_log: section.field("transfer_log").and_then(|field| field.parsed(log_path)),
        max_sessions: section.field("max_sessions").and_then(|field| field.number(&(1..=MAX_SESSIONS))),
        gsi_ready_keys: section
            .field("gsi_ready_keys")
            .and_then(|field| field.number(&(1..=MAX_READY_KEYS)))
            .unwrap_or(default.gsi_ready_keys),
    }
}

/// The items of a list that could be read, and their places.
fn located<'t, T>(field: &Field<'t>, read: impl Fn(&Field<'t>) -> Option<T>) -> (Vec<T>, Vec<usize>) {
    located_in(&field.list(), read)
}

fn located_in<'t, T>(items: &[Field<'t>], read: impl Fn(&Field<'t>) -> Option<T>) -> (Vec<T>, Vec<usize>) {
    items.iter().filter_map(|item| Some((read(item)?, item.at))).unzip()
}

fn duration(section: &Section<'_>, key: &'static str, shortest: Duration, default: Duration) -> Duration {
    section.field(key).and_then(|field| field.duration(shortest)).unwrap_or(default)
}

/// A port; 0, which none has, where it cannot be read, so that it is like no other.
fn port(section: &Section<'_>, default: u16) -> u16 {
    section.field("port").map_or(default, |field| field.number(&(1..=u16::MAX)).unwrap_or(0))
}

fn socket_path(text: &str) -> Result<PathBuf, address::Refusal> {
    if !text.starts_with('/') || text.contains('\0') {
        return Err((
            "`admin_socket` is not an absolute path".into(),
            "write one such as \"/run/gridfront/admin.sock\"".into(),
        ));
    }
    if text.len() > MAX_SOCKET_PATH_LEN {
        return Err((
            format!("`admin_socket` has {} bytes", text.len()),
            format!("a Unix socket's path may have {MAX_SOCKET_PATH_LEN}: choose a shorter one"),
        ));
    }
    Ok(PathBuf::from(text))
}

fn log_path(text: &str) -> Result<PathBuf, address::Refusal> {
    if !text.starts_with('/') || text.ends_with('/') || text.contains('\0') {
        return Err((
            "`transfer_log` is not the absolute path of a file".into(),
            "write one such as \"/var/log/gridfront/transfer.log\"".into(),
        ));
    }
    Ok(PathBuf::from(text))
}

#[cfg(test)]
mod tests;
