//! What instances depend on, what moves with them, and who is told.
use std::path::PathBuf;
use std::time::Duration;

/// What an instance depends on besides its own interface.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tracks {
    /// Interfaces that are up.
    pub interfaces: Vec<Track>,
    /// Names of [`VrrpScript`]s.
    pub scripts: Vec<Track>,
    /// Names of [`TrackFile`]s. The number in the file times the weight is added; below -253 it is a fault. With
    /// weight 0 any number but 0 is one.
    pub files: Vec<Track>,
    /// Names of virtual servers, up while they have their quorum.
    pub virtual_servers: Vec<Track>,
}

/// One thing that is up or down.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Track {
    /// Its name.
    pub name: String,
    /// 0: a fault while it is down. Above: added to the priority while it is up. Below: added while it is down. From
    /// -253 to 253; always 0 with priority 255.
    pub weight: i16,
}

/// Programs that are told of changes of state.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Notify {
    /// On MASTER.
    pub master: Option<Command>,
    /// On BACKUP.
    pub backup: Option<Command>,
    /// On FAULT.
    pub fault: Option<Command>,
    /// When the daemon ends.
    pub stop: Option<Command>,
    /// On any, after the others, with keepalived's four arguments added.
    pub any: Option<Command>,
}

/// A program and its arguments; no shell reads them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    /// Absolute.
    pub program: PathBuf,
    /// Without the program.
    pub arguments: Vec<String>,
}

/// Instances that change their state together.
#[derive(Clone, Debug, PartialEq)]
pub struct VrrpSyncGroup {
    /// Unique in the file.
    pub name: String,
    /// Names of instances, at least one, each once.
    pub instances: Vec<String>,
    /// Who is told of the group.
    pub notify: Notify,
}

/// A program that says by its exit code whether something is up (0) or down.
#[derive(Clone, Debug, PartialEq)]
pub struct VrrpScript {
    /// Unique in the file.
    pub name: String,
    /// What is run.
    pub command: Command,
    /// From one start to the next.
    pub interval: Duration,
    /// After which it has failed.
    pub timeout: Duration,
    /// Successes in a row until it is up, at least 1.
    pub rise: u32,
    /// Failures in a row until it is down, at least 1.
    pub fall: u32,
    /// For tracks that say none.
    pub weight: i16,
    /// Whether it is down until it has succeeded.
    pub init_fail: bool,
}

/// A file with a number in it.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackFile {
    /// Unique in the file.
    pub name: String,
    /// Absolute; without the file the number is 0.
    pub file: PathBuf,
    /// For tracks that say none.
    pub weight: i16,
    /// What is written to it at the start where it is not there.
    pub init_file: Option<i32>,
}

impl Tracks {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Track> {
        let Self { interfaces, scripts, files, virtual_servers } = self;
        [interfaces, scripts, files, virtual_servers].into_iter().flatten()
    }
}

impl Notify {
    /// Every program in it.
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        let Self { master, backup, fault, stop, any } = self;
        [master, backup, fault, stop, any].into_iter().flatten()
    }
}
