//! What was before, in a file, so that it can be so again.
use std::fs;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::{Parameter, Wanted};
use crate::sys::whole_file;

/// Some 100 bytes for each address and setting.
const MAX_STATE: u64 = 1 << 20;

/// The file.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// What this host is a real server for.
    pub vips: Vec<IpAddr>,
    /// At which packets arrive, if that was said.
    pub interface: Option<String>,
    /// Those of `vips` that we have added.
    pub addresses: Vec<IpAddr>,
    /// What we have set.
    pub settings: Vec<Change>,
    /// Where we have written a unit.
    pub unit: Option<PathBuf>,
    /// Directories that we have made, outer ones first.
    pub directories: Vec<PathBuf>,
}

/// A setting that was changed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "words")]
pub struct Change {
    pub interface: String,
    pub parameter: Parameter,
    pub before: u8,
    pub after: u8,
}

impl State {
    /// Nothing if there is no file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is none of ours.
    pub fn load(path: &Path) -> Result<Option<Self>, String> {
        let mut text = String::new();
        let read = fs::File::open(path).and_then(|file| file.take(MAX_STATE).read_to_string(&mut text));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", path.display())),
            Ok(_) => {}
        }
        serde_json::from_str(&text).map(Some).map_err(|error| {
            format!("{}: {error}; what was before is not known, move the file away", path.display())
        })
    }

    /// Takes on what is wanted besides.
    ///
    /// # Errors
    ///
    /// Packets of the virtual addresses of before arrive at another interface.
    pub fn admit(&mut self, wanted: &Wanted) -> Result<(), String> {
        if !self.vips.is_empty() && self.interface != wanted.interface {
            let before = self
                .interface
                .as_ref()
                .map_or("without --interface".into(), |of| format!("with --interface {of}"));
            return Err(format!("this host was set up {before}; first: gridfront realserver undo"));
        }
        self.interface.clone_from(&wanted.interface);
        for vip in &wanted.vips {
            if !self.vips.contains(vip) {
                self.vips.push(*vip);
            }
        }
        Ok(())
    }

    /// Writes the file, and makes its directory.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn save(&mut self, path: &Path) -> Result<(), String> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        let missing: Vec<&Path> =
            directory.ancestors().take_while(|one| !one.as_os_str().is_empty() && !one.exists()).collect();
        self.directories.extend(missing.iter().rev().map(|one| one.to_path_buf()));
        let write = || {
            fs::create_dir_all(directory)?;
            let text = serde_json::to_string_pretty(self)? + "\n";
            whole_file::write(path, text.as_bytes())
        };
        write().map_err(|error| format!("{}: {error}; root may write there", path.display()))
    }

    /// Removes the file, and the directories that we have made, if nobody else uses them.
    ///
    /// # Errors
    ///
    /// It cannot be removed.
    pub fn remove(&self, path: &Path) -> Result<(), String> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(format!("{}: {error}", path.display()));
            }
            _ => {}
        }
        for directory in self.directories.iter().rev() {
            // With something of others in it, it stays.
            let _ = fs::remove_dir(directory);
        }
        Ok(())
    }
}
