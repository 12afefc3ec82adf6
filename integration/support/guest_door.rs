//! The door itself in a guest kernel, with its admin socket there.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::deadline;
use super::door::program;
use super::process::tail;
use super::uml::{Program, Uml};

/// Ready in some 0.3 s there.
const START: Duration = Duration::from_secs(60);

/// A running `gridfront run`. It ends with its guest.
#[derive(Debug)]
pub struct GuestDoor<'guest> {
    uml: &'guest Uml,
    program: Program,
    number: u32,
}

impl<'guest> GuestDoor<'guest> {
    /// Starts it and waits until it answers `status`. `text` is its configuration but for `[global]`, of which `global` are
    /// further lines.
    ///
    /// # Panics
    /// With its log, when it does not come up.
    pub fn start(uml: &'guest Uml, global: &str, text: &str) -> Self {
        Self::start_by(uml, "", global, text)
    }

    /// The same by a program that starts it, such as setpriv(1) with its options.
    ///
    /// # Panics
    /// As [`GuestDoor::start`].
    pub fn start_by(uml: &'guest Uml, by: &str, global: &str, text: &str) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        write(uml, number, global, text);
        let door = Self { uml, program: spawn(uml, by, number), number };
        door.until_ready();
        door
    }

    /// Starts it once more, which has ended, with what its configuration says now.
    ///
    /// # Panics
    /// As [`GuestDoor::start`].
    pub fn start_again(&mut self) {
        self.program = spawn(self.uml, "", self.number);
        self.until_ready();
    }

    fn until_ready(&self) {
        let ready = deadline::until("the door's readiness", START, || {
            if self.uml.runs(&self.program) { self.status().map(drop) } else { Err("it ended".to_owned()) }
        });
        ready.unwrap_or_else(|why| {
            let text = std::fs::read_to_string(file(self.uml, self.number)).unwrap_or_default();
            panic!("{why}\n{}\n{text}", self.log())
        });
    }

    /// Waits until its status is as wanted.
    ///
    /// # Panics
    /// When it does not become so: with what it is at last, and the log.
    #[track_caller]
    pub fn until_status(&self, what: &str, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        let seen = deadline::until(what, limit, || {
            let status = self.status()?;
            if wanted(&status) { Ok(status) } else { Err(format!("{status:#}")) }
        });
        seen.unwrap_or_else(|why| panic!("{why}\n{}", self.log()))
    }

    /// Waits until packets that come in are marked, which data connections by the kernel need; sessions are relayed before.
    ///
    /// # Panics
    /// As [`GuestDoor::until_status`].
    #[track_caller]
    pub fn until_marked(&self) {
        self.until_status("a marker", START, |status| {
            status["forwarding"]["interfaces"].as_array().is_some_and(|names| !names.is_empty())
        });
    }

    /// Another configuration, which nobody reads before a reload.
    ///
    /// # Panics
    /// When the disk is full.
    pub fn write(&self, global: &str, text: &str) {
        write(self.uml, self.number, global, text);
    }

    /// `gridfront WORDS` of this daemon, in its guest: what it prints.
    ///
    /// # Errors
    /// The same with its status, when that is not 0.
    pub fn order(&self, words: &[&str]) -> Result<String, String> {
        let file = file(self.uml, self.number);
        let output = self.uml.run(&format!("'{}' {} -c {}", program(), words.join(" "), file.display()));
        if output.status == 0 { Ok(output.stdout) } else { Err(format!("{words:?}: {output}")) }
    }

    /// # Errors
    /// It does not answer.
    pub fn status(&self) -> Result<Value, String> {
        let text = self.order(&["status", "--json"])?;
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// The end of what it has said.
    ///
    /// # Panics
    /// When there is no guest any more.
    pub fn log(&self) -> String {
        tail(&self.uml.log(&self.program), 60)
    }

    /// Signals the daemon, and what it has started and is still of its group.
    ///
    /// # Panics
    /// As [`GuestDoor::log`].
    pub fn signal(&self, signal: &str) {
        self.uml.signal(&self.program, signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not.
    pub fn until_ended(&self, limit: Duration) {
        let ended = deadline::until("the end of a door", limit, || {
            if self.uml.runs(&self.program) { Err(self.log()) } else { Ok(()) }
        });
        ended.unwrap_or_else(|why| panic!("{why}"));
    }
}

fn spawn(uml: &Uml, by: &str, number: u32) -> Program {
    uml.spawn(&format!("exec {by} '{}' run -c {}", program(), file(uml, number).display()))
}

/// On both sides by the same path.
fn file(uml: &Uml, number: u32) -> PathBuf {
    uml.directory().join(format!("gridfront-{number}.toml"))
}

fn write(uml: &Uml, number: u32, global: &str, text: &str) {
    // Not in the directory that both share: a socket has no place there.
    let own = format!("router_id = \"guest\"\nadmin_socket = \"/run/gridfront-{number}.sock\"\n");
    std::fs::write(file(uml, number), format!("[global]\n{own}{global}\n{text}")).expect("our own file");
}
