//! The clients of `matrix.txt`, each through the door to real servers.
//!
//! `GRIDFRONT_MATRIX_DIRECT=1` runs them without the door, straight to a real server: what fails there is not the door's fault.
//! `GRIDFRONT_MATRIX_ROWS=a,b` runs some of them only, by the first letters of their ids; that counts as left out.

mod command;
mod payload;
mod row;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use command::{Commands, Places};
use payload::Payload;
use row::{Family, Mode, Operation, Row};

use crate::support::client::{self, Finished};
use crate::support::deadline::{self, Stopwatch};
use crate::support::door::{Configuration, Door};
use crate::support::grid::{self, Servers, Site};
use crate::support::process::tail;
use crate::support::{interfaces, skip};

/// What a client may take. The slowest needs 2 s here; a hang must not stop the others.
const LIMIT: Duration = Duration::from_secs(60);
/// The door's share of the payload, in parts of it.
const SHARE: u64 = 100;
/// From the client's exit to the door's line about its session.
const LOGGED: Duration = Duration::from_secs(5);
/// After a client's own crash. One gfal-copy in some twenty died on a machine where it crashed most.
const RETRIES: u32 = 3;
/// SIGTERM to exit, with no session left.
const STOP: Duration = Duration::from_secs(10);

/// What came of a row.
struct Line {
    row: Row,
    result: Result<(), String>,
    elapsed: Duration,
    retries: u32,
    /// Bytes of the files, and of the door's interfaces meanwhile.
    payload: u64,
    through_door: u64,
    served_by: String,
}

#[test]
fn every_client_of_the_list_gets_its_files_through_the_door_and_the_data_goes_round_it() {
    let clients = ["globus-url-copy", "gfal-copy", "gfal-ls", "gfal-sum", "curl", "wget", "lftp"]
        .iter()
        .chain(grid::PROGRAMS);
    if !skip::unless_present("the client matrix", &clients.copied().collect::<Vec<_>>()) {
        return;
    }
    let without_door = std::env::var_os("GRIDFRONT_MATRIX_DIRECT").is_some_and(|value| value == "1");
    let listed = row::all();
    let chosen = choose(&listed);
    let payload = Payload::new();
    let watch = Stopwatch::start();
    let mut lines = Vec::new();
    for mode in Mode::ALL {
        let rows: Vec<&Row> = chosen.iter().filter(|row| row.mode == mode).collect();
        if !rows.is_empty() {
            run_mode(mode, &rows, &payload, without_door, &mut lines);
        }
    }
    let table = table(&lines, listed.len(), watch.elapsed(), without_door);
    println!("{table}");
    let name = if without_door { "matrix-direct.txt" } else { "matrix.txt" };
    std::fs::write(skip::results().join(name), &table).expect("target/integration takes a file");

    let failures: Vec<String> = lines
        .iter()
        .filter_map(|line| line.result.as_ref().err().map(|why| format!("{}: {why}", line.row.id)))
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} rows failed:\n{}",
        failures.len(),
        lines.len(),
        failures.join("\n")
    );
    assert_eq!(lines.len(), chosen.len(), "rows run and rows listed");
    if chosen.len() < listed.len() {
        skip::skipped("rows of the client matrix", "GRIDFRONT_MATRIX_ROWS chooses some");
    }
}

fn choose(listed: &[Row]) -> Vec<Row> {
    let Ok(wanted) = std::env::var("GRIDFRONT_MATRIX_ROWS") else { return listed.to_vec() };
    listed.iter().filter(|row| wanted.split(',').any(|prefix| row.id.starts_with(prefix))).cloned().collect()
}

/// One site and one door for all rows of a mode.
fn run_mode(mode: Mode, rows: &[&Row], payload: &Payload, without_door: bool, lines: &mut Vec<Line>) {
    let site = Site::start(mode.security(), Servers::All);
    let door = (!without_door).then(|| {
        Door::start(&site, &Configuration::everything(&site)).unwrap_or_else(|why| panic!("the door: {why}"))
    });
    for row in rows {
        let line = run_row(row, &site, door.as_ref(), payload);
        if let Err(why) = &line.result {
            let log = door.as_ref().map(Door::log_tail).unwrap_or_default();
            println!(
                "FAILED {}: {why}\n--- the door's log\n{log}\n--- the servers'\n{}",
                row.id,
                site.logs()
            );
        }
        lines.push(line);
    }
    if let Some(door) = door {
        let log = door.log_tail();
        let status = door.stop(STOP);
        assert!(status.is_some_and(|status| status.success()), "SIGTERM: {status:?}\n{log}");
    }
}

fn run_row(row: &Row, site: &Site, door: Option<&Door>, payload: &Payload) -> Line {
    let places = Places { source: format!("{}.from", row.id), destination: format!("{}.to", row.id) };
    let (source, destination) = ends(row, site, &places);
    let tree = matches!(row.operation, Operation::GetTree | Operation::PutTree | Operation::List);
    if tree {
        payload.write_tree(&source, &row.id);
    } else {
        payload.write_file(&source, &row.id);
    }
    let commands = Commands { site, without_door: door.is_none() };
    let words = commands.words(row, &places);
    let before = door.map(sessions);
    let log_before = door.map(|door| door.log().len());
    let crossed = || ["door", "client"].map(|role| interfaces::bytes(site.machine(role)));
    let bytes_before = crossed();

    let mut retries = 0;
    let mut finished = client::run(site, site.machine("client"), &words, &[], LIMIT);
    while row.client.crashes_by_itself() && finished.crashed() && retries < RETRIES {
        retries += 1;
        payload::remove(destination.clone());
        finished = client::run(site, site.machine("client"), &words, &[], LIMIT);
    }

    let bytes_after = crossed();
    let [through_door, through_client] = [0, 1].map(|place| bytes_after[place] - bytes_before[place]);
    let served_by = match (before, door) {
        (Some(before), Some(door)) => served(row, &before, &sessions(door)),
        _ => "(no door)".to_owned(),
    };
    let result = judge(row, &finished, &source, &destination, through_door, payload.len())
        .and_then(|()| if served_by.is_empty() { Err("no real server served it".to_owned()) } else { Ok(()) })
        .and_then(|()| carried(row, through_client, payload.len()))
        .and_then(|()| door.zip(log_before).map_or(Ok(()), |(door, from)| came_by(row, site, door, from)))
        .map_err(|why| {
            format!("{why}\n  {}\n  {}\n{}", words.join(" "), finished.outcome(), tail(&finished.output, 25))
        });
    payload::remove(source);
    payload::remove(destination);
    let payload = if row.operation.moves_data() { payload.len() } else { 0 };
    Line { row: row.clone(), result, elapsed: finished.elapsed, retries, payload, through_door, served_by }
}

/// Where the source and the copy are on disk: real servers share a directory, so copies are read there.
fn ends(row: &Row, site: &Site, places: &Places) -> (std::path::PathBuf, std::path::PathBuf) {
    let (servers, client) = (site.data_directory(), site.client_directory());
    let (from, to) = match row.operation {
        Operation::Get | Operation::GetTree => (servers, client),
        Operation::Put | Operation::PutTree => (client, servers),
        _ => (servers.clone(), servers),
    };
    (from.join(&places.source), to.join(&places.destination))
}

fn judge(
    row: &Row,
    finished: &Finished,
    source: &std::path::Path,
    destination: &std::path::Path,
    through_door: u64,
    payload: u64,
) -> Result<(), String> {
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
        _ => {
            payload::compare(source, destination)?;
            if through_door * SHARE >= payload {
                return Err(format!(
                    "{through_door} bytes crossed the door's interfaces for {payload} of data"
                ));
            }
            Ok(())
        }
    }
}

/// Proves the counting: a client's own files cross its interfaces, a third party's do not.
fn carried(row: &Row, through_client: u64, payload: u64) -> Result<(), String> {
    let expected =
        matches!(row.operation, Operation::Get | Operation::GetTree | Operation::Put | Operation::PutTree);
    if (through_client >= payload) == expected {
        return Ok(());
    }
    Err(format!("{through_client} bytes crossed the client's interfaces for {payload} of data"))
}

/// Whether the client's sessions were of the row's address family, by the log since `from`: a host name leaves the choice to the client.
fn came_by(row: &Row, site: &Site, door: &Door, from: usize) -> Result<(), String> {
    let client = site.machine("client");
    let address = match row.family {
        Family::V4 => format!("client={}:", client.v4()),
        Family::V6 => format!("client=[{}]:", client.v6()),
    };
    deadline::until("the log of its sessions", LOGGED, || {
        let log = door.log();
        let mut ended = log[from..].lines().filter(|line| line.contains("session ended")).peekable();
        if ended.peek().is_none() {
            return Err(format!("no session ended:\n{}", &log[from..]));
        }
        match ended.find(|line| !line.contains(&address)) {
            Some(line) => Err(format!("a session is not of {address} {line}")),
            None => Ok(()),
        }
    })
}

/// Sessions so far: by virtual server and real server.
fn sessions(door: &Door) -> BTreeMap<(String, String), u64> {
    let servers = door.real_servers().unwrap_or_else(|why| panic!("{why}\n{}", door.log_tail()));
    servers
        .into_iter()
        .map(|(virtual_server, name, counts)| {
            ((virtual_server, name), counts["total_sessions"].as_u64().expect("a count of sessions"))
        })
        .collect()
}

/// Who got new sessions, as `s1 s2:3`.
fn served(
    row: &Row,
    before: &BTreeMap<(String, String), u64>,
    after: &BTreeMap<(String, String), u64>,
) -> String {
    let mut words = Vec::new();
    for ((virtual_server, name), count) in after {
        let new = count - before.get(&(virtual_server.clone(), name.clone())).unwrap_or(&0);
        if new > 0 && virtual_server == row.servers.virtual_server() {
            words.push(if new == 1 { name.clone() } else { format!("{name}:{new}") });
        }
    }
    words.join(" ")
}

fn table(lines: &[Line], listed: usize, elapsed: Duration, without_door: bool) -> String {
    let mut text = format!(
        "{:<21} {:<46} {:<3} {:<17} {:<10} {:<9} {:<12} {:>6} {:>8} {:>7} {:>5}  result\n",
        "row", "client", "IP", "operation", "mode", "servers", "served by", "MiB", "door kB", "door %", "s"
    );
    let mut retries = 0;
    for line in lines {
        let row = &line.row;
        let client = [vec![row.client.to_string()], row.options.clone()].concat().join(" ");
        // Hundredths of a per cent, in integers.
        let percent = (line.through_door * 10_000)
            .checked_div(line.payload)
            .map_or_else(|| "-".to_owned(), |parts| format!("{}.{:02}", parts / 100, parts % 100));
        retries += line.retries;
        writeln!(
            text,
            "{:<21} {:<46} {:<3} {:<17} {:<10} {:<9} {:<12} {:>6} {:>8} {:>7} {:>5.1}  {}{}",
            row.id,
            client,
            row.family,
            row.operation,
            row.mode,
            row.servers,
            line.served_by,
            line.payload >> 20,
            line.through_door / 1000,
            percent,
            line.elapsed.as_secs_f32(),
            if line.result.is_ok() { "ok" } else { "FAILED" },
            if line.retries > 0 { format!(", retries: {}", line.retries) } else { String::new() }
        )
        .expect("a string takes lines");
    }
    let good = lines.iter().filter(|line| line.result.is_ok()).count();
    writeln!(
        text,
        "{} rows listed, {} run, {good} ok, {retries} retries after a crash of gfal, {:.0} s{}",
        listed,
        lines.len(),
        elapsed.as_secs_f32(),
        if without_door { ", WITHOUT the door" } else { "" }
    )
    .expect("a string takes lines");
    text
}
