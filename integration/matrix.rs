//! The clients of `matrix.txt`, each through the door to real servers.
//!
//! `GRIDFRONT_MATRIX_DIRECT=1` runs them without the door, straight to a real server: what fails there is not the door's fault.
//! `GRIDFRONT_MATRIX_ROWS=a,b` runs some of them only, by the first letters of their ids; that counts as left out.

mod command;
mod ordinary;
mod payload;
mod row;
mod table;
mod verdict;

use std::time::Duration;

use command::{Commands, Places};
use payload::Payload;
use row::{Mode, Operation, Path, Row};
use verdict::{Bytes, Tally};

use crate::gsi;
use crate::support::client;
use crate::support::deadline::Stopwatch;
use crate::support::door::{Configuration, Door};
use crate::support::grid::{self, Servers, Site};
use crate::support::other_servers::{self, OtherServers};
use crate::support::process::tail;
use crate::support::{interfaces, skip};

/// What a client may take. The slowest needs 2 s here; a hang must not stop the others.
const LIMIT: Duration = Duration::from_secs(60);
/// After a client's own crash. One gfal-copy in some twenty died on a machine where it crashed most.
const RETRIES: u32 = 3;
/// SIGTERM to exit, with no session left.
const STOP: Duration = Duration::from_secs(10);

/// What came of a row.
struct Line {
    row: Row,
    /// A remark for the table, or what is wrong.
    result: Result<&'static str, String>,
    elapsed: Duration,
    retries: u32,
    bytes: Bytes,
    served_by: String,
}

/// Random bytes for rows of either path.
struct Payloads {
    direct: Payload,
    relay: Payload,
}

#[test]
fn every_client_of_the_list_gets_its_files_and_each_byte_goes_the_way_that_its_row_says() {
    let clients = [
        "globus-url-copy",
        "gfal-copy",
        "gfal-ls",
        "gfal-sum",
        "gfal-rm",
        "curl",
        "wget",
        "lftp",
        "tnftp",
        "ncftpget",
        "ncftpput",
    ];
    let programs = clients.iter().chain(grid::PROGRAMS).chain(other_servers::PROGRAMS);
    if !skip::unless_present("the client matrix", &programs.copied().collect::<Vec<_>>()) {
        return;
    }
    let without_door = std::env::var_os("GRIDFRONT_MATRIX_DIRECT").is_some_and(|value| value == "1");
    let listed = row::all();
    let chosen = choose(&listed);
    let payloads = Payloads { direct: Payload::new(Path::Direct), relay: Payload::new(Path::Relay) };
    let watch = Stopwatch::start();
    let mut lines = Vec::new();
    // The anonymous rows take as long as all others.
    let (anonymous, others) = Mode::ALL.split_at(1);
    std::thread::scope(|scope| {
        let worlds = [anonymous, others].map(|modes| {
            let (chosen, payloads) = (&chosen, &payloads);
            scope.spawn(move || run_modes(modes, chosen, payloads, without_door))
        });
        for world in worlds {
            lines.extend(world.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    let table = table::table(&lines, listed.len(), watch.elapsed(), without_door);
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

fn run_modes(modes: &[Mode], chosen: &[Row], payloads: &Payloads, without_door: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    for &mode in modes {
        let rows: Vec<&Row> = chosen.iter().filter(|row| row.mode == mode).collect();
        if !rows.is_empty() {
            run_mode(mode, &rows, payloads, without_door, &mut lines);
        }
    }
    lines
}

/// One site and one door for all rows of a mode.
fn run_mode(mode: Mode, rows: &[&Row], payloads: &Payloads, without_door: bool, lines: &mut Vec<Line>) {
    let site = Site::start(mode.security(), Servers::All);
    let settings = if mode.ends_gsi() { gsi::termination(&site) } else { String::new() };
    let mut configuration = Configuration::everything(&site, &settings);
    // They know nothing of GSI.
    let others = (mode == Mode::Anonymous).then(|| OtherServers::start(&site));
    if others.is_some() {
        configuration = configuration.other_servers(&site);
    }
    let door = (!without_door)
        .then(|| Door::start(&site, &configuration).unwrap_or_else(|why| panic!("the door: {why}")));
    let mut known = Tally::new();
    for row in rows {
        let payload = match row.path {
            Path::Direct => &payloads.direct,
            Path::Relay => &payloads.relay,
        };
        let line = run_row(row, &site, door.as_ref(), payload, &mut known);
        if let Err(why) = &line.result {
            let log = door.as_ref().map(Door::log_tail).unwrap_or_default();
            println!(
                "FAILED {}: {why}\n--- the door's log\n{log}\n--- the servers'\n{}{}",
                row.id,
                site.logs(),
                others.as_ref().map(OtherServers::logs).unwrap_or_default()
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

/// `known` is what the real servers have had in all rows before, and then in this one, too.
fn run_row(row: &Row, site: &Site, door: Option<&Door>, payload: &Payload, known: &mut Tally) -> Line {
    let places = Places { source: format!("{}.from", row.id), destination: format!("{}.to", row.id) };
    let (source, destination) = ends(row, site, &places);
    let tree = matches!(row.operation, Operation::GetTree | Operation::PutTree | Operation::List);
    if tree {
        payload.write_tree(&source, &row.id);
    } else {
        payload.write_file(&source, &row.id);
        if row.operation == Operation::Remove {
            payload::give_to_servers(&source);
        }
    }
    let mut moved = payload.len();
    if row.operation.is_rest() {
        moved = Payload::write_half(&source, &destination);
    }
    let commands = Commands { site, without_door: door.is_none() };
    let words = commands.words(row, &places);
    let from = door.map_or(0, |door| door.log().len());
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
    let bytes = Bytes { moved, through_door, through_client };
    let (served_by, logged) = match door {
        // Waited for whatever the client did, or a late line would count as the next row's.
        Some(door) => match verdict::settled(door) {
            Ok(now) => {
                let served_by = verdict::served(row, known, &now);
                let counted = verdict::counted(row, known, &now, moved);
                *known = now;
                let logged = verdict::logged(row, site, moved, &door.log()[from..]);
                let served =
                    if served_by.is_empty() { Err("no real server served it".to_owned()) } else { Ok(()) };
                (served_by, served.and(logged).and(counted))
            }
            Err(why) => (String::new(), Err(why)),
        },
        None => ("(no door)".to_owned(), Ok(())),
    };
    let known = door.is_none() && row.fails_without_door();
    let result = match verdict::copied(row, &finished, &source, &destination) {
        Ok(()) if known => Err("it works without the door, too".to_owned()),
        Err(_) if known => Ok("fails, as known"),
        copied => {
            copied.and_then(|()| verdict::crossed(row, bytes, door.is_some())).and(logged).map(|()| "ok")
        }
    };
    let result = result.map_err(|why| {
        format!("{why}\n  {}\n  {}\n{}", words.join(" "), finished.outcome(), tail(&finished.output, 25))
    });
    payload::remove(source);
    payload::remove(destination);
    Line { row: row.clone(), result, elapsed: finished.elapsed, retries, bytes, served_by }
}

/// Where the source and the copy are on disk: real servers share a directory, so copies are read there.
fn ends(row: &Row, site: &Site, places: &Places) -> (std::path::PathBuf, std::path::PathBuf) {
    let (servers, client) = (site.data_directory(), site.client_directory());
    let (from, to) = match row.operation {
        Operation::Get | Operation::GetTree | Operation::GetRest => (servers, client),
        Operation::Put | Operation::PutTree | Operation::PutRest => (client, servers),
        _ => (servers.clone(), servers),
    };
    (from.join(&places.source), to.join(&places.destination))
}
