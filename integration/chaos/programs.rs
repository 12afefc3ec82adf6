//! Real clients in loops: each transfer a file of its own, compared byte for byte when the client was told that all is well.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use super::ledger::{Ledger, Outcome};
use super::phase::Phase;
use super::plan::FAULTY;
use super::world::{
    CONNECT_TIMEOUT, GREETING_TIMEOUT, IDLE_TIMEOUT, NAMED_PORT, OTHERS_PORT, REAL_SERVERS_AT_MOST, World,
};
use crate::support::certificates::set_mode;
use crate::support::client::Desk;
use crate::support::deadline::Stopwatch;
use crate::support::door::{DIRECT_PORT, RELAYED_PORT};
use crate::support::grid::{PORT, VIRTUAL_NAME, path_text};
use crate::support::other_servers::{PYTHON, script};
use crate::support::process::{Process, tail};
use crate::support::seeded::{Seeded, content};

/// What has to be installed.
pub(super) const PROGRAMS: &[&str] = &["curl", "lftp", "globus-url-copy", "ss", "tc"];
/// The client's own work, on a machine that others use as well.
const OWN_WORK: Duration = Duration::from_secs(15);
/// Between two clients of one hand, in milliseconds at most.
const PAUSE: usize = 200;
/// Largest file.
const LARGEST: usize = 2 << 20;

/// When a client that still runs hangs: a fault that began with it has ended, the door has tried every server, and
/// whatever was silent was found out.
pub(super) fn deadline() -> Duration {
    FAULTY + (CONNECT_TIMEOUT + GREETING_TIMEOUT) * REAL_SERVERS_AT_MOST + IDLE_TIMEOUT + OWN_WORK
}

/// A client that waits for what the door has ended long since.
pub(super) const LOST_RESET: &str = "the network has lost the end";

/// lftp 4.9.2 says it where it goes on with an upload that has failed. One in four then never ends, whatever its time-out: it
/// sends the 64 KiB blocks that it had read, and stands still. Seen at a server of a few lines with no door before it, 31 of
/// 120 uploads that were broken off at random places.
const ROLLED_BACK: &str = "put rolled back to";
/// That one.
const STANDS_STILL: &str = "lftp stands still in an upload that it went on with";

#[derive(Clone, Copy, Debug)]
enum Program {
    Curl,
    Lftp,
    GlobusUrlCopy,
    Ftplib,
}

/// A client and where it goes.
struct Client {
    name: &'static str,
    program: Program,
    port: u16,
    /// Options, or settings of lftp.
    words: &'static [&'static str],
}

#[rustfmt::skip]
const CLIENTS: &[Client] = &[
    Client { name: "curl",                        program: Program::Curl,          port: PORT,         words: &[] },
    Client { name: "curl --ssl-reqd",             program: Program::Curl,          port: PORT,         words: &["--ssl-reqd"] },
    Client { name: "curl, relay",                 program: Program::Curl,          port: RELAYED_PORT, words: &[] },
    Client { name: "curl, active, relay",         program: Program::Curl,          port: RELAYED_PORT, words: &["--ftp-port", "-"] },
    Client { name: "curl, other servers",         program: Program::Curl,          port: OTHERS_PORT,  words: &[] },
    Client { name: "curl, by name",               program: Program::Curl,          port: NAMED_PORT,   words: &[] },
    Client { name: "lftp",                        program: Program::Lftp,          port: PORT,         words: &["ftp:ssl-allow off"] },
    Client { name: "lftp, TLS",                   program: Program::Lftp,          port: PORT,         words: &["ftp:ssl-force on", "ftp:ssl-protect-data on"] },
    Client { name: "lftp, other servers",         program: Program::Lftp,          port: OTHERS_PORT,  words: &["ftp:ssl-allow off"] },
    Client { name: "globus-url-copy",             program: Program::GlobusUrlCopy, port: DIRECT_PORT,  words: &[] },
    Client { name: "globus-url-copy -p 4",        program: Program::GlobusUrlCopy, port: PORT,         words: &["-p", "4"] },
    Client { name: "globus-url-copy -p 4, relay", program: Program::GlobusUrlCopy, port: RELAYED_PORT, words: &["-p", "4"] },
    Client { name: "globus-url-copy, by name",    program: Program::GlobusUrlCopy, port: NAMED_PORT,   words: &[] },
    Client { name: "ftplib",                      program: Program::Ftplib,        port: RELAYED_PORT, words: &[] },
    Client { name: "ftplib, active",              program: Program::Ftplib,        port: PORT,         words: &["active"] },
    Client { name: "ftplib, TLS",                 program: Program::Ftplib,        port: PORT,         words: &["tls"] },
];

/// What the loops share.
pub(super) struct Surroundings<'a> {
    pub(super) desk: &'a Desk,
    pub(super) ledger: &'a Ledger,
    pub(super) phase: &'a Phase,
    /// For the diagnosis when one hangs.
    pub(super) world: &'a Mutex<World>,
    pub(super) data: PathBuf,
    /// The door's, in the clients' network.
    pub(super) address: String,
    pub(super) authority: PathBuf,
}

impl Surroundings<'_> {
    /// One loop, until the end: all clients in both directions, in an order that changes each time.
    pub(super) fn work(&self, hand: usize, mut numbers: Seeded) {
        let mut left: Vec<(usize, bool)> = Vec::new();
        for number in 0.. {
            if self.phase.is_over() {
                return;
            }
            if left.is_empty() {
                left = (0..CLIENTS.len()).flat_map(|client| [(client, false), (client, true)]).collect();
            }
            let (client, put) = left.swap_remove(numbers.within(0..left.len()));
            let file = content(numbers.next(), numbers.size(LARGEST));
            self.transfer(&CLIENTS[client], put, &format!("real-{hand}-{number}"), &file);
            // Starting programs is most of what a hand costs.
            std::thread::park_timeout(Duration::from_millis(numbers.within(0..PAUSE) as u64));
        }
    }

    fn transfer(&self, client: &Client, put: bool, name: &str, file: &[u8]) {
        let (local, remote) = (self.desk.directory().join(name), self.data.join(name));
        let (source, copy) = if put { (&local, &remote) } else { (&remote, &local) };
        std::fs::write(source, file).expect("a file of ours");
        set_mode(source, 0o644);
        let words = self.words(client, put, &local, &remote, name);
        let output = self.desk.directory().join(format!("{name}.output"));

        let calm = self.phase.calm();
        let watch = Stopwatch::start();
        let mut process = Process::spawn(self.desk.command(&words), &output);
        let status = process.wait(deadline());
        let took = watch.elapsed();
        let calm = self.phase.calm_since(calm);
        let said = || format!("{words:?}, {} bytes\n{}", file.len(), tail(&process.output(), 24));
        let outcome = match status {
            None => {
                let world = super::lock(self.world);
                let sockets = world.sockets_of_client(process.id());
                if process.output().contains(ROLLED_BACK) && !world.has_bytes_under_way(&sockets) {
                    Outcome::Failed(STANDS_STILL.to_owned())
                } else if world.holds(&sockets) {
                    Outcome::Hung(format!("{}\n{}", said(), world.diagnosis()))
                } else {
                    Outcome::Failed(LOST_RESET.to_owned())
                }
            }
            Some(status) if status.success() => compare(file, copy, name),
            Some(status) => Outcome::Failed(format!("{status}: {}", said())),
        };
        process.kill();
        let direction = if put { "put" } else { "get" };
        self.ledger.enter(&format!("{} {direction}", client.name), outcome, calm, took);
        for file in [&local, &remote, &output] {
            let _ = std::fs::remove_file(file);
        }
    }

    fn words(&self, client: &Client, put: bool, local: &Path, remote: &Path, name: &str) -> Vec<String> {
        let (local, port) = (path_text(local), client.port);
        let url = format!("ftp://{}:{port}/{name}", self.address);
        let authority = path_text(&self.authority);
        let (mut words, last) = match client.program {
            Program::Curl => {
                // A certificate names hosts.
                let named = format!("ftp://{VIRTUAL_NAME}:{port}/{name}");
                let url = if client.words.contains(&"--ssl-reqd") { named } else { url };
                let first = texts(&["curl", "-sS", "-4", "--connect-timeout", "10", "--cacert", &authority]);
                let how = if put { "-T" } else { "-o" };
                (first, texts(&[how, &local, &url]))
            }
            Program::Lftp => {
                let settings: String = client.words.iter().map(|word| format!("set {word}; ")).collect();
                let action =
                    if put { format!("put {local} -o {name}") } else { format!("get {name} -o {local}") };
                let script = format!(
                    "set net:timeout 60; set net:max-retries 1; set cmd:fail-exit on; set ssl:ca-file {authority}; \
                     set ssl:check-hostname no; {settings}open ftp://{}:{port}; {action}; exit",
                    self.address
                );
                // With the conversation, for the diagnosis.
                return texts(&["lftp", "-d", "-c", &script]);
            }
            Program::GlobusUrlCopy => {
                let there = format!("ftp://{}:{port}{}", self.address, path_text(remote));
                let here = format!("file://{local}");
                let [from, to] = if put { [here, there] } else { [there, here] };
                (texts(&["globus-url-copy"]), vec![from, to])
            }
            Program::Ftplib => {
                let operation = if put { "put" } else { "get" };
                let first = texts(&[PYTHON, "-I", &script("ftplib_client.py")]);
                (first, texts(&[operation, &self.address, &port.to_string(), name, &local]))
            }
        };
        words.extend(client.words.iter().map(|word| (*word).to_owned()));
        words.extend(last);
        words
    }
}

/// What everybody who transfers is judged by.
pub(super) fn compare(file: &[u8], copy: &Path, name: &str) -> Outcome {
    match std::fs::read(copy) {
        Ok(bytes) => compare_bytes(file, &bytes, name),
        Err(error) => Outcome::Different(format!("{name}: {error}")),
    }
}

pub(super) fn compare_bytes(file: &[u8], copy: &[u8], name: &str) -> Outcome {
    if file == copy {
        return Outcome::Identical;
    }
    let first = file.iter().zip(copy).position(|(a, b)| a != b).unwrap_or(file.len().min(copy.len()));
    Outcome::Different(format!(
        "{name}: {} bytes of {}, the first wrong one at {first}",
        copy.len(),
        file.len()
    ))
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
