//! What instances depend on, what moves with them, and who is told.
use super::super::check::read_command;
use super::super::tls::absolute_path;
use super::super::{KINDS, SHORTEST, duration};
use super::interface_name;
use crate::config::consistency::{NamedPlaces, SyncGroupPlaces, TrackPlaces};
use crate::config::model::vrrp::{Command, Notify, Track, TrackFile, VrrpScript, VrrpSyncGroup};
use crate::config::reader::{Field, Kind, Section};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

pub(in super::super) const SYNC_GROUP: Kind = Kind {
    header: "[[vrrp_sync_group]]",
    keys: &["name", "instances", "notify_master", "notify_backup", "notify_fault", "notify_stop", "notify"],
};

pub(in super::super) const VRRP_SCRIPT: Kind = Kind {
    header: "[[vrrp_script]]",
    keys: &["name", "script", "interval", "timeout", "rise", "fall", "weight", "init_fail"],
};

pub(in super::super) const TRACK_FILE: Kind =
    Kind { header: "[[track_file]]", keys: &["name", "file", "weight", "init_file"] };

/// An item of a list of what is tracked.
const TRACK: Kind = Kind { header: "{ name, weight }", keys: &["name", "weight"] };

/// As in keepalived: the furthest that two priorities below 255 are apart.
const WEIGHTS: RangeInclusive<i16> = -253..=253;

/// Shortest time between two runs of a script: starting a program costs a millisecond of a core.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Most runs in a row that `rise` and `fall` ask for: at one a second, a quarter of an hour.
const MAX_RUNS: u32 = 1000;

/// What tracks take their weights from.
pub(super) struct Definitions<'d> {
    pub(super) scripts: &'d [VrrpScript],
    pub(super) files: &'d [TrackFile],
}

impl Definitions<'_> {
    /// 0 where there is none of that name, which is told later.
    pub(super) fn weight_of_script(&self, name: &str) -> i16 {
        self.scripts.iter().find(|script| script.name == name).map_or(0, |script| script.weight)
    }

    pub(super) fn weight_of_file(&self, name: &str) -> i16 {
        self.files.iter().find(|file| file.name == name).map_or(0, |file| file.weight)
    }
}

/// Items that are a name, or a table with a name and a weight.
pub(super) fn read_tracks(
    section: &Section<'_>,
    key: &'static str,
    default: &dyn Fn(&str) -> i16,
) -> (Vec<Track>, Vec<TrackPlaces>) {
    let name_of = |field: &Field<'_>| {
        if key == "track_interfaces" { field.parsed(interface_name) } else { field.name() }
    };
    let read = |item: &Field<'_>| {
        if !item.is_table() {
            let name = name_of(item)?;
            return Some((
                Track { weight: default(&name), name },
                TrackPlaces { name: item.at, weight: None },
            ));
        }
        let table = item.section(&TRACK, &KINDS)?;
        let field = table.required("name", "add `name = \"…\"`")?;
        let name = name_of(&field)?;
        let weight = table.field("weight");
        let track = Track {
            weight: weight.and_then(|field| field.number(&WEIGHTS)).unwrap_or_else(|| default(&name)),
            name,
        };
        Some((track, TrackPlaces { name: field.at, weight: weight.map(|field| field.at) }))
    };
    let items = section.field(key).map(|field| field.list()).unwrap_or_default();
    items.iter().filter_map(read).unzip()
}

pub(super) fn read_script(section: &Section<'_>) -> (VrrpScript, NamedPlaces) {
    let interval = duration(section, "interval", SHORTEST_INTERVAL, Duration::from_secs(1));
    let runs = |key| section.field(key).and_then(|field| field.number(&(1..=MAX_RUNS))).unwrap_or(1);
    let mend =
        "write the program and its arguments, such as `script = [\"/usr/libexec/check_router\", \"-4\"]`";
    let command = section.required("script", mend).and_then(|field| command(&field, mend));
    let script = VrrpScript {
        name: name(section),
        command: command.unwrap_or_else(|| Command { program: PathBuf::from("/"), arguments: Vec::new() }),
        interval,
        timeout: duration(section, "timeout", SHORTEST, interval),
        rise: runs("rise"),
        fall: runs("fall"),
        weight: weight(section, 0),
        init_fail: section.field("init_fail").and_then(|field| field.boolean()).unwrap_or(false),
    };
    (script, named_places(section))
}

pub(super) fn read_track_file(section: &Section<'_>) -> (TrackFile, NamedPlaces) {
    let file = section.required("file", "add `file = \"…\"`, the path of a file with a number in it");
    let track_file = TrackFile {
        name: name(section),
        file: file.and_then(|field| field.parsed(absolute_path)).unwrap_or_default(),
        weight: weight(section, 1),
        init_file: section.field("init_file").and_then(|field| field.number(&(i32::MIN..=i32::MAX))),
    };
    (track_file, named_places(section))
}

pub(super) fn read_sync_group(section: &Section<'_>) -> (VrrpSyncGroup, SyncGroupPlaces) {
    let mend = "add `instances = [\"…\"]`, the names of the instances that move together";
    let field = section.required("instances", mend);
    let (instances, places): (Vec<_>, Vec<_>) = field
        .map(|field| field.list())
        .unwrap_or_default()
        .iter()
        .filter_map(|item| Some((item.name()?, item.at)))
        .unzip();
    if let Some(field) = field
        && field.list_is_empty()
    {
        field.error("`instances` is empty", "write the names of the instances that move together");
    }
    let group = VrrpSyncGroup { name: name(section), instances, notify: read_notify(section) };
    (group, SyncGroupPlaces { named: named_places(section), instances: places })
}

pub(super) fn read_notify(section: &Section<'_>) -> Notify {
    let mend = "write the program and its arguments, such as [\"/usr/libexec/tell\", \"lb1\"], or remove it";
    let command = |key| section.field(key).and_then(|field| command(&field, mend));
    Notify {
        master: command("notify_master"),
        backup: command("notify_backup"),
        fault: command("notify_fault"),
        stop: command("notify_stop"),
        any: command("notify"),
    }
}

fn command(field: &Field<'_>, mend: &str) -> Option<Command> {
    read_command(field, mend).map(|(program, arguments)| Command { program, arguments })
}

/// Empty, which no name is, where there is none that can be read.
fn name(section: &Section<'_>) -> String {
    let field = section.required("name", "add `name = \"…\"`, by which others name it");
    field.and_then(|field| field.name()).unwrap_or_default()
}

fn named_places(section: &Section<'_>) -> NamedPlaces {
    NamedPlaces { header: section.at, name: section.field("name").map(|field| field.at) }
}

fn weight(section: &Section<'_>, default: i16) -> i16 {
    section.field("weight").and_then(|field| field.number(&WEIGHTS)).unwrap_or(default)
}
