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
            let listed =
                |name: &String| finished.output.lines().any(|line| line.trim().trim_end_matches('/') == name);
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
    let expected = match row.path {
        _ if !with_door => through_door * SHARE < moved,
        Path::Direct => through_door * SHARE < moved,
        // In by one interface and out by another, or by the same.
        Path::Relay => through_door >= 2 * moved,
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

/// Waits until as many `sessions` have ended by the door's log since `from`, and checks what it says of them: their address family
/// (a host name leaves the choice to the client) and the path of every transfer.
pub(super) fn logged(row: &Row, site: &Site, door: &Door, from: usize, sessions: u64) -> Result<(), String> {
    let client = site.machine("client");
    let address = match row.family {
        Family::V4 => format!("client={}:", client.v4()),
        Family::V6 => format!("client=[{}]:", client.v6()),
    };
    let log = deadline::until("the log of its sessions", LOGGED, || {
        let log = door.log();
        let ended = log[from..].lines().filter(|line| line.contains("session ended")).count();
        if (ended as u64) < sessions {
            return Err(format!("{ended} of {sessions} sessions ended:\n{}", &log[from..]));
        }
        Ok(log[from..].to_owned())
    })?;
    let told = |what: &'static str| log.lines().filter(move |line| line.contains(what));
    if let Some(line) = told(" session ended ").find(|line| !line.contains(&address)) {
        return Err(format!("a session is not of {address} {line}"));
    }
    // Of a GSI session the door knows no transfers.
    if row.mode != Mode::Anonymous || !row.operation.moves_data() {
        return Ok(());
    }
    let path = format!(" data_path={} ", row.path);
    if let Some(line) = told(" transfer ").find(|line| !line.contains(&path)) {
        return Err(format!("a transfer is not of{path}{line}"));
    }
    if told(" transfer ").next().is_none() {
        return Err(format!("no transfer is logged:\n{log}"));
    }
    Ok(())
}

/// Sessions of real servers by virtual server and name, since the door started.
pub(super) type Sessions = BTreeMap<(String, String), u64>;

/// All of them now.
pub(super) fn sessions(door: &Door) -> Sessions {
    let servers = door.real_servers().unwrap_or_else(|why| panic!("{why}\n{}", door.log_tail()));
    servers
        .into_iter()
        .map(|(virtual_server, name, counts)| {
            ((virtual_server, name), counts["total_sessions"].as_u64().expect("a count of sessions"))
        })
        .collect()
}

/// Who got new ones, as `s1 s2:3`, and how many they are.
pub(super) fn served(row: &Row, before: &Sessions, after: &Sessions) -> (String, u64) {
    let (mut words, mut all) = (Vec::new(), 0);
    let ends = [row.servers, row.servers.destination()].map(super::row::ServerSet::virtual_server);
    for ((virtual_server, name), count) in after {
        let new = count - before.get(&(virtual_server.clone(), name.clone())).unwrap_or(&0);
        all += new;
        if new > 0 && ends.contains(&virtual_server.as_str()) {
            words.push(if new == 1 { name.clone() } else { format!("{name}:{new}") });
        }
    }
    (words.join(" "), all)
}
