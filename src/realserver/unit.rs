//! The unit of systemd by which all this is so again after a restart.
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::STATE;
use super::state::State;
use crate::sys::whole_file;

/// Where the administrator's units are.
pub const DIRECTORY: &str = "/etc/systemd/system";
/// Its name.
pub const NAME: &str = "gridfront-realserver.service";
/// By which we know it.
const MARK: &str = "# Written by `gridfront realserver setup`; `gridfront realserver undo` removes it.";
/// Seconds for its start and stop, each some system calls, which systemctl(1) waits for.
const UNIT_WITHIN: u32 = 30;

/// It, as it is to be.
#[derive(Debug)]
pub(super) struct Unit {
    path: PathBuf,
    text: String,
    /// It is that already.
    pub(super) is_there: bool,
}

impl Unit {
    pub(super) fn new(directory: &Path, state: &State, state_file: &Path) -> Result<Self, String> {
        if !directory.is_dir() {
            return Err(format!(
                "{}: there is no such directory; where there is no systemd, take --no-unit",
                directory.display()
            ));
        }
        let path = directory.join(NAME);
        let program = std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
        let text = text(&program, state, state_file);
        let now = read(&path)?;
        if now.as_ref().is_some_and(|now| !now.starts_with(MARK)) {
            return Err(format!(
                "{}: was not written by this command; move it away, or take --no-unit",
                path.display()
            ));
        }
        let is_there = now.as_ref() == Some(&text);
        Ok(Self { path, text, is_there })
    }

    /// Writes it, and where systemd runs has it started now and with the host.
    pub(super) fn install(&self, dry_run: bool, say: &mut dyn FnMut(&str)) -> Result<(), String> {
        let will = if dry_run { "would " } else { "" };
        say(&format!("{will}write {}", self.path.display()));
        if !dry_run {
            whole_file::write(&self.path, self.text.as_bytes())
                .map_err(|error| format!("{}: {error}; or take --no-unit", self.path.display()))?;
        }
        if !is_of_running_systemd(&self.path) {
            say(&format!(
                "systemd does not run here; where it does: systemctl daemon-reload; systemctl enable --now {NAME}"
            ));
            return Ok(());
        }
        for words in [&["daemon-reload"][..], &["enable", "--now", NAME]] {
            systemctl(words, dry_run, say)?;
        }
        Ok(())
    }
}

/// Removes the unit that we have written. Where systemd runs it is stopped first, which undoes what its start has done.
pub(super) fn remove(directory: &Path, dry_run: bool, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    let path = directory.join(NAME);
    let Some(text) = read(&path)? else { return Ok(()) };
    if !text.starts_with(MARK) {
        say(&format!("{} stays: somebody else has written it", path.display()));
        return Ok(());
    }
    let is_of_systemd = is_of_running_systemd(&path);
    if is_of_systemd {
        systemctl(&["disable", "--now", NAME], dry_run, say)?;
    }
    say(&format!("{}remove {}", if dry_run { "would " } else { "" }, path.display()));
    if !dry_run {
        fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if is_of_systemd {
        systemctl(&["daemon-reload"], dry_run, say)?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<String>, String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// As sd_booted(3); and of another directory it knows nothing.
fn is_of_running_systemd(path: &Path) -> bool {
    path.parent() == Some(Path::new(DIRECTORY)) && Path::new("/run/systemd/system").is_dir()
}

fn systemctl(words: &[&str], dry_run: bool, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    let line = format!("systemctl {}", words.join(" "));
    say(&format!("{}run {line}", if dry_run { "would " } else { "" }));
    if dry_run {
        return Ok(());
    }
    let output =
        Command::new("systemctl").args(words).output().map_err(|error| format!("{line}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{line}: {}; `journalctl -u {NAME}` says more", said.lines().next().unwrap_or("failed")))
}

fn text(program: &Path, state: &State, state_file: &Path) -> String {
    let program = quoted(&program.display().to_string());
    let mut vips = String::new();
    for vip in &state.vips {
        let _ = write!(vips, " --vip {vip}");
    }
    if let Some(interface) = &state.interface {
        let _ = write!(vips, " --interface {}", quoted(interface));
    }
    let mut place = String::new();
    if state_file != Path::new(STATE) {
        let _ = write!(place, " --state {}", quoted(&state_file.display().to_string()));
    }
    format!(
        "{MARK}
[Unit]
Description=Virtual addresses of a real server of Direct Routing
# Behind what sets the same kernel settings when the host starts and brings interfaces and routes, by which rp_filter is judged;
# before what listens.
Wants=network-online.target
After=network-online.target systemd-sysctl.service
Before=globus-gridftp-server.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={program} realserver setup{vips} --no-unit{place}
ExecStop={program} realserver undo --no-unit{place}
TimeoutSec={UNIT_WITHIN}

[Install]
WantedBy=multi-user.target
"
    )
}

/// A word of a command line, systemd.service(5).
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@=".contains(c);
    if word.chars().all(is_plain) {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '%' | '$' => quoted.extend([c, c]),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_does_the_same_again_and_takes_it_back() {
        let state = State {
            vips: vec!["10.77.0.100".parse().unwrap(), "fd77::100".parse().unwrap()],
            interface: Some("eth0".into()),
            ..State::default()
        };
        let unit = text(Path::new("/opt/a $1/gridfront"), &state, Path::new(STATE));
        let program = "\"/opt/a $$1/gridfront\" realserver";
        let start = format!(
            "\nExecStart={program} setup --vip 10.77.0.100 --vip fd77::100 --interface eth0 --no-unit\n"
        );
        assert!(unit.contains(&start), "{unit}");
        assert!(unit.contains(&format!("\nExecStop={program} undo --no-unit\n")), "{unit}");
        let unit = text(Path::new("/usr/bin/gridfront"), &state, Path::new("/srv/rs.json"));
        assert!(unit.contains(" undo --no-unit --state /srv/rs.json\n"), "{unit}");
    }
}
