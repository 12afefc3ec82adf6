//! `gridfront demo`: three embedded real servers over one temporary directory, the door in front, real transfers
//! through it, and a table of where the data went. Nothing to install, nothing left behind.

mod address;
mod client;
mod content;
mod extended_block_mode;
mod journal;
mod server;
mod stage;
mod stream_mode;
mod table;
mod temporary_directory;

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use client::{Client, Failure};
use stage::Stage;
use table::{Row, write_head, write_row};

use crate::proto::ftp::DataPath;

/// Where the demo's door listens when `--listen` does not say otherwise.
const DEFAULT_LISTEN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2811);
/// Bytes of each file: enough that nobody takes the control channel for the data, and done in milliseconds.
const FILE_BYTES: usize = 4 << 20;
/// Sessions held at once for the balance: three for each server.
const HELD_SESSIONS: usize = 9;
/// What the file for the admin's own attempts is made of.
const SAMPLE_LINE: &[u8] = b"a line of the sample file of gridfront demo\n";
/// How long the door may take to notice that the sessions of the transfers have ended.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Try the door: embedded servers on loopback, real transfers through it, and where their data went
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// End after the transfers: 0 if every file arrived identical and on its path, 1 otherwise
    #[arg(long)]
    pub once: bool,
    /// Address and port of the door; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value_t = DEFAULT_LISTEN)]
    pub listen: SocketAddrV4,
}

/// The running door, as far as the demo needs it.
pub trait Door {
    /// Sessions that the door holds now.
    fn sessions(&self) -> u32;
    /// Ends the door and its sessions.
    fn stop(self: Box<Self>);
}

/// Runs the demo; `start_door` gets the configuration file (path and text) that the demo has written.
///
/// Both `start_door` and [`Door::stop`] are called outside of any tokio runtime. Exit code: 0 when every file arrived
/// identical and on its path and sessions were spread evenly, 1 otherwise.
pub fn run(
    args: &DemoArgs,
    start_door: impl FnOnce(&Path, &str) -> Result<Box<dyn Door>, String>,
) -> ExitCode {
    match perform(args, start_door, &mut io::stdout()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            // a closed stderr leaves nobody to tell
            let _ = writeln!(io::stderr(), "{problem}");
            ExitCode::FAILURE
        }
    }
}

fn perform(
    args: &DemoArgs,
    start_door: impl FnOnce(&Path, &str) -> Result<Box<dyn Door>, String>,
    out: &mut impl Write,
) -> Result<bool, String> {
    let unwritten = |error: io::Error| format!("standard output: {error}; give the demo a place to write to");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("tokio runtime: {error}; check the limit of open files (ulimit -n)"))?;
    // before the directory is made, so that no signal can leave it behind
    let mut signals = {
        let _context = runtime.enter();
        Signals::listen().map_err(|error| format!("signals: {error}; check what the container permits"))?
    };
    let stage = Stage::set_up(args.listen, start_door)?;
    introduce(&stage, out).map_err(unwritten)?;
    let shown = runtime.block_on(async {
        tokio::select! {
            shown = show(&stage, out) => shown.map(Some),
            () = signals.next() => Ok(None),
        }
    });
    let Some(sound) = shown.map_err(unwritten)? else {
        return Err("demo: ended by a signal before the transfers were done; start it again".to_owned());
    };
    if !args.once {
        fs::write(stage.files().join("sample"), SAMPLE_LINE.repeat(FILE_BYTES / SAMPLE_LINE.len()))
            .map_err(|error| format!("{}: {error}; free some space there", stage.files().display()))?;
        invite(&stage, out).map_err(unwritten)?;
        runtime.block_on(signals.next());
    }
    Ok(sound)
}

fn introduce(stage: &Stage, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "The door: {}. Behind it, over one directory:", stage.door())?;
    for server in stage.servers() {
        writeln!(out, "  {}  {}", server.name(), server.address())?;
    }
    writeln!(out)?;
    write_head(out)
}

/// Does all transfers and prints them; whether all is as it should be.
async fn show(stage: &Stage, out: &mut impl Write) -> io::Result<bool> {
    let client = Client::new(stage.door(), stage.files(), stage.journal(), FILE_BYTES);
    let mut written = Ok(());
    let rows = client
        .transfers(|row| {
            let line = write_row(out, row).and_then(|()| out.flush());
            written = std::mem::replace(&mut written, Ok(())).and(line);
        })
        .await;
    written?;
    writeln!(out)?;
    summarise(&rows, out)?;
    let even = match spread(stage, &client).await {
        Ok(counts) => {
            let servers = stage.servers().iter().map(server::Server::name);
            let text: Vec<String> =
                servers.zip(&counts).map(|(name, count)| format!("{name} {count}")).collect();
            writeln!(out, "{HELD_SESSIONS} sessions held at once: {}", text.join(", "))?;
            counts.iter().max().zip(counts.iter().min()).is_some_and(|(most, least)| most - least <= 1)
        }
        Err(failure) => {
            writeln!(out, "{HELD_SESSIONS} sessions held at once: {failure}")?;
            false
        }
    };
    Ok(even && rows.iter().all(Row::is_sound))
}

fn summarise(rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    let identical = rows.iter().filter(|row| row.identical).count();
    writeln!(out, "{identical} of {} files identical.", rows.len())?;
    let (direct, relayed): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.path == DataPath::Direct);
    let sum = |rows: &[&Row], of: fn(&Row) -> u64| rows.iter().map(|row| of(row)).sum::<u64>();
    let (bytes, through_door) = (sum(&direct, |row| row.bytes), sum(&direct, |row| row.through_door));
    // thousandths of a percent, so that a small share is not shown as 0
    let share = (through_door * 100_000).checked_div(bytes).unwrap_or(0);
    writeln!(
        out,
        "Clients of the Globus family: {bytes} bytes of files, {through_door} bytes through the door: {}.{:03} %.",
        share / 1000,
        share % 1000,
    )?;
    let bytes = sum(&relayed, |row| row.bytes);
    writeln!(out, "Clients that need one address for all: {bytes} bytes of files, relayed by the door.")
}

/// Sessions per server, in the order of the servers, while all are held.
async fn spread(stage: &Stage, client: &Client<'_>) -> Result<Vec<u32>, Failure> {
    let settled = async {
        while stage.sessions() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // the count is judged below, and tells if something is still held
    let _ = tokio::time::timeout(SETTLE_TIMEOUT, settled).await;
    let spread = client.hold(HELD_SESSIONS).await?;
    Ok(stage.servers().iter().map(|server| spread.on(server.name())).collect())
}

fn invite(stage: &Stage, out: &mut impl Write) -> io::Result<()> {
    let (door, directory) = (stage.door(), stage.directory().display());
    let program =
        std::env::current_exe().map_or_else(|_| "gridfront".into(), |path| path.display().to_string());
    write!(
        out,
        "
The door stays open. Try it from another terminal:

  {program} status --admin {directory}/admin.sock
  curl -o copy ftp://{door}/sample
  curl -T copy ftp://{door}/mine
  GLOBUS_HOSTNAME=127.0.0.1 globus-url-copy -p 4 ftp://{door}/sample file://$PWD/copy
  globus-url-copy ftp://{door}/sample ftp://{door}/third-party

Files: {directory}/files    Configuration: {directory}/gridfront.toml
Ctrl-C ends the demo and removes the directory.
"
    )?;
    out.flush()
}

/// What ends the demo: Ctrl-C, a polite kill, the terminal going away.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests;
