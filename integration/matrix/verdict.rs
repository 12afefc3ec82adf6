//! Whether a row is what it has to be: the files, the bytes that crossed interfaces, the sessions and the door's log of them.

use std::collections::BTreeMap;
use std::path::Path as File;
use std::time::Duration;

use super::payload::{self, Payload};
use super::row::{Family, Mode, Operation, Path, Row};
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
pub(super) fn settled(door: &Door) -> Result<Sessions, String> {
    deadline::until("the end of its sessions", LOGGED, || {
        let servers = door.real_servers()?;
        let open: u64 = servers.iter().filter_map(|(_, _, server)| server["sessions"].as_u64()).sum();
        let sessions = count(servers);
        let (taken, log) = (sessions.values().sum::<u64>(), door.log());
        let ended = log.lines().filter(|line| line.contains(" session ended ")).count() as u64;
        if open == 0 && ended == taken {
            return Ok(sessions);
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
    // Of a GSI session the door knows no transfers.
    if row.mode != Mode::Anonymous || row.operation == Operation::Sum {
        return Ok(());
    }
    let path = format!(" data_path={} ", row.path);
    if let Some(line) = told(" transfer ").find(|line| !line.contains(&path)) {
        return Err(format!("a transfer is not of{path}{line}"));
    }
    if told(" transfer ").next().is_none() {
        return Err(format!("no transfer is logged:\n{log}"));
    }
    // Of data that goes round it the door knows no bytes.
    let counted: u64 =
        told(" transfer ").flat_map(|line| ["bytes_in=", "bytes_out="].map(|name| number(line, name))).sum();
    if row.path == Path::Relay && row.operation.moves_data() && counted < moved {
        return Err(format!("the log counts {counted} bytes of {moved}:\n{log}"));
    }
    Ok(())
}

/// The number behind `name` in a line of the log; 0 where it is not told.
fn number(line: &str, name: &str) -> u64 {
    let word = line.split_whitespace().find_map(|word| word.strip_prefix(name));
    word.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Sessions of real servers by virtual server and name, since the door started.
pub(super) type Sessions = BTreeMap<(String, String), u64>;

fn count(servers: Vec<(String, String, serde_json::Value)>) -> Sessions {
    let total = |counts: &serde_json::Value| counts["total_sessions"].as_u64().expect("a count of sessions");
    servers.into_iter().map(|(service, name, counts)| ((service, name), total(&counts))).collect()
}

/// Who got new ones, as `s1 s2:3`.
pub(super) fn served(row: &Row, before: &Sessions, after: &Sessions) -> String {
    let mut words = Vec::new();
    let ends = [row.servers, row.servers.destination()].map(super::row::ServerSet::virtual_server);
    for ((virtual_server, name), count) in after {
        let new = count - before.get(&(virtual_server.clone(), name.clone())).unwrap_or(&0);
        if new > 0 && ends.contains(&virtual_server.as_str()) {
            words.push(if new == 1 { name.clone() } else { format!("{name}:{new}") });
        }
    }
    words.join(" ")
}
