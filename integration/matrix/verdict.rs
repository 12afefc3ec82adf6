//! Whether a row is what it has to be: the files, the bytes that crossed interfaces, the sessions and the door's log of them.

use std::collections::BTreeMap;
use std::path::Path as File;
use std::time::Duration;

use super::payload::{self, Payload};
use super::row::{Family, Operation, Path, Row};
use crate::support::certificates::USER;
use crate::support::client::Finished;
use crate::support::deadline;
use crate::support::door::Door;
use crate::support::grid::Site;

/// The door's share of the data that goes round it, in parts of it.
const SHARE: u64 = 100;
/// From the client's exit to the door's line about its session.
const LOGGED: Duration = Duration::from_secs(5);

/// What was counted while a client ran.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes {
    /// Of files that it had to move.
    pub(super) moved: u64,
    /// That crossed the interfaces of the door, in both directions.
    pub(super) through_door: u64,
    /// And those of the client.
    pub(super) through_client: u64,
}

/// Whether the client did what it was told, and the copy is the source.
pub(super) fn copied(row: &Row, finished: &Finished, source: &File, copy: &File) -> Result<(), String> {
    if !finished.success() {
        return Err("the client failed".to_owned());
    }
    match row.operation {
        Operation::List => {
            let listed = |name: &String| {
                finished.output.lines().any(|line| line.trim_matches(' ').trim_end_matches('/') == name)
            };
            // What CR CR LF becomes in a client's hands.
            if !row.client.is_globus() && finished.output.lines().any(str::is_empty) {
                return Err("the listing has empty lines".to_owned());
            }
            match payload::names(source)?.iter().find(|name| !listed(name)) {
                Some(name) => Err(format!("{name} is not in the listing")),
                None => Ok(()),
            }
        }
        Operation::Sum => {
            let sum = format!("{:08x}", Payload::adler32(source));
            if finished.output.contains(&sum) { Ok(()) } else { Err(format!("the sum is {sum}")) }
        }
        Operation::Remove if source.exists() => Err(format!("{} is still there", source.display())),
        Operation::Remove => Ok(()),
        _ => payload::compare(source, copy),
    }
}

/// Whether the data went the row's way.
pub(super) fn crossed(row: &Row, bytes: Bytes, with_door: bool) -> Result<(), String> {
    if !row.operation.moves_data() {
        return Ok(());
    }
    let Bytes { moved, through_door, through_client } = bytes;
    let expected = if row.path == Path::Relay && with_door {
        // Once in, once out.
        through_door >= 2 * moved
    } else {
        through_door * SHARE < moved
    };
    if !expected {
        return Err(format!(
            "{through_door} bytes crossed the door's interfaces for {moved} of data, whose path is {}",
            row.path
        ));
    }
    // Proves the counting: a client's own files cross its interfaces, a third party's do not.
    if (through_client >= moved) != row.operation.is_two_party() {
        return Err(format!("{through_client} bytes crossed the client's interfaces for {moved} of data"));
    }
    Ok(())
}

/// Waits until every session that the door has taken has ended, by its counts and by its log: a client may be gone before the door
/// has found a server for its last connection.
pub(super) fn settled(door: &Door) -> Result<Tally, String> {
    deadline::until("the end of its sessions", LOGGED, || {
        let servers = door.real_servers()?;
        let open: u64 = servers.iter().filter_map(|(_, _, server)| server["sessions"].as_u64()).sum();
        let servers = count(servers);
        let (taken, log) = (servers.values().map(|counts| counts.sessions).sum::<u64>(), door.log());
        let ended = log.lines().filter(|line| line.contains(" session ended ")).count() as u64;
        if open == 0 && ended == taken {
            return Ok(servers);
        }
        Err(format!("{open} open, {ended} of {taken} ended"))
    })
}

/// Checks what the door's log says of the row's sessions, in `log`: their address family (a host name leaves the choice to
/// the client), the path of every transfer, and the bytes of those that crossed the door.
pub(super) fn logged(row: &Row, site: &Site, moved: u64, log: &str) -> Result<(), String> {
    let client = site.machine("client");
    let address = match row.family {
        Family::V4 => format!("client={}:", client.v4()),
        Family::V6 => format!("client=[{}]:", client.v6()),
    };
    let told = |what: &'static str| log.lines().filter(move |line| line.contains(what));
    if let Some(line) = told(" session ended ").find(|line| !line.contains(&address)) {
        return Err(format!("a session is not of {address} {line}"));
    }
    if row.mode.ends_gsi()
        && let Some(line) = told(" session ended ").find(|line| !line.contains(&format!("dn=\"{USER}\"")))
    {
        return Err(format!("a session is not of {USER} {line}"));
    }
    // Of a GSI session that passes through, the door knows no transfers.
    if !row.mode.is_readable() || matches!(row.operation, Operation::Sum | Operation::Remove) {
        return Ok(());
    }
    let path = format!(" data_path={} ", row.path);
    if let Some(line) = told(" transfer ").find(|line| !line.contains(&path)) {
        return Err(format!("a transfer is not of{path}{line}"));
    }
    if told(" transfer ").next().is_none() {
        return Err(format!("no transfer is logged:\n{log}"));
    }
    // Of data that goes round it the door knows no bytes. In MODE E, which only the Globus family has, a line is written when the server
    // is done, and connections that are kept may still bring some: there the counts of `status` tell.
    let counted: u64 =
        told(" transfer ").flat_map(|line| ["bytes_in=", "bytes_out="].map(|name| number(line, name))).sum();
    let whole = row.path == Path::Direct || row.client.is_globus() || !row.operation.moves_data();
    if !whole && counted < moved {
        return Err(format!("the log counts {counted} bytes of {moved}:\n{log}"));
    }
    Ok(())
}

/// The number behind `name` in a line of the log; 0 where it is not told.
fn number(line: &str, name: &str) -> u64 {
    let word = line.split_whitespace().find_map(|word| word.strip_prefix(name));
    word.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// What a real server has had since the door started.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    sessions: u64,
    relayed: u64,
}

/// By virtual server and name.
pub(super) type Tally = BTreeMap<(String, String), Counts>;

fn count(servers: Vec<(String, String, serde_json::Value)>) -> Tally {
    let counts = |server: &serde_json::Value| {
        let number = |field: &str| server[field].as_u64().unwrap_or_else(|| panic!("{field} of {server}"));
        let relayed = number("relayed_bytes_in") + number("relayed_bytes_out");
        Counts { sessions: number("total_sessions"), relayed }
    };
    servers.into_iter().map(|(service, name, server)| ((service, name), counts(&server))).collect()
}

/// Whether `status` counts the bytes of the row's data, if they crossed the door, and none if they did not.
pub(super) fn counted(row: &Row, before: &Tally, after: &Tally, moved: u64) -> Result<(), String> {
    let sum = |servers: &Tally| servers.values().map(|counts| counts.relayed).sum::<u64>();
    let relayed = sum(after) - sum(before);
    let expected = match row.path {
        Path::Relay => relayed >= moved || !row.operation.moves_data(),
        Path::Direct => relayed == 0,
    };
    if expected { Ok(()) } else { Err(format!("status counts {relayed} relayed bytes for {moved} of data")) }
}

/// Who got new ones, as `s1 s2:3`.
pub(super) fn served(row: &Row, before: &Tally, after: &Tally) -> String {
    let mut words = Vec::new();
    let ends = [row.servers, row.servers.destination()].map(super::row::ServerSet::virtual_server);
    for ((virtual_server, name), count) in after {
        let known = before.get(&(virtual_server.clone(), name.clone())).copied().unwrap_or_default();
        let new = count.sessions - known.sessions;
        if new > 0 && ends.contains(&virtual_server.as_str()) {
            words.push(if new == 1 { name.clone() } else { format!("{name}:{new}") });
        }
    }
    words.join(" ")
}
