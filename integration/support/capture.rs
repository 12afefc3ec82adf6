//! What a machine sends, as tcpdump(8) takes it from its cable and tshark(1) judges it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::deadline;
use super::netns::Lab;
use super::process::Process;

/// What has to be installed.
pub const PROGRAMS: &[&str] = &["tcpdump", "tshark"];

/// Adverts, and what tells neighbours where an address is.
const FILTER: &str = "ip proto 112 or ip6 proto 112 or arp or icmp6";
/// For either program.
const LIMIT: Duration = Duration::from_secs(60);
/// The head of a file of libpcap, in bytes.
const FILE_HEAD: usize = 24;

/// A capture under way. Dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    directory: TempDir,
}

impl Capture {
    /// Takes what the machine sends from now on.
    ///
    /// # Panics
    /// When tcpdump(8) does not begin.
    pub fn start(lab: &Lab, role: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (mut command, port) = lab.at_port(role, "tcpdump");
        command.args(["-i", &port, "-Q", "in", "-U", "--immediate-mode", "-n", "-Z", "root", "-w"]);
        command.arg(directory.path().join("pcap")).arg(FILTER);
        let mut process = Process::spawn(command, &directory.path().join("log"));
        deadline::until("a capture", LIMIT, || {
            let log = process.output();
            match (log.contains("listening on"), process.ended()) {
                (true, None) => Ok(()),
                (_, ended) => Err(format!("{ended:?} {log}")),
            }
        })
        .unwrap_or_else(|why| panic!("{why}"));
        Self { process, directory }
    }

    /// The file, once all of it is written.
    ///
    /// # Panics
    /// When tcpdump(8) does not end.
    pub fn finish(mut self) -> Vec<u8> {
        self.process.signal(Signal::TERM);
        assert!(self.process.wait(LIMIT).is_some(), "tcpdump does not end: {}", self.process.output());
        std::fs::read(self.directory.path().join("pcap")).expect("a capture")
    }
}

/// One file of many.
pub fn joined(files: &[Vec<u8>]) -> Vec<u8> {
    let mut files = files.iter();
    let first = files.next().cloned().unwrap_or_default();
    files.fold(first, |mut all, file| {
        all.extend_from_slice(file.get(FILE_HEAD..).unwrap_or_default());
        all
    })
}

/// A frame by the fields that were asked for.
pub type Frame = Vec<String>;

/// What tshark(1) reads in a capture, of the frames that `filter` takes.
///
/// # Panics
/// When tshark(1) fails.
pub fn fields(capture: &[u8], filter: &str, names: &[&str], settings: &[&str]) -> Vec<Frame> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(capture).expect("it takes the capture");
    let mut command = reading(file.path(), filter);
    command.args(["-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=,"]);
    for name in names {
        command.args(["-e", name]);
    }
    for setting in settings {
        command.args(["-o", setting]);
    }
    let output = command.output().expect("tshark(1) runs");
    assert!(output.status.success(), "tshark {names:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn reading(file: &Path, filter: &str) -> Command {
    let mut command = Command::new("tshark");
    let home: PathBuf = std::env::temp_dir();
    // No settings of whoever runs the tests.
    command.env("HOME", home).stdin(Stdio::null()).args(["-n", "-Y", filter, "-r"]).arg(file);
    command
}
