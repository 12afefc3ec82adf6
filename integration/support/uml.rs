//! A kernel of the test's own, as an ordinary process: User-Mode Linux, which has IPVS where the host has none.
//!
//! Its root is that of the host, read only; `/tmp`, `/run` and `/var/log` are empty and its own. So every program of the host
//! runs there by the same path, the one that Cargo has built as well. What else is to be seen of the host's `/tmp` has to be
//! [shared](Plan::share). One processor, a clock of 100 Hz. It boots in one second; a command takes 30 ms.

#[path = "uml/console.rs"]
mod console;

use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use tempfile::TempDir;

use self::console::{Console, Silence};
use super::certificates::set_mode;
use super::door::program;
use super::netns::{Lab, Tap, is_abandoned, v4, v6};
use super::process::{Process, tail};
use super::skip;

/// What has to be installed. Without modprobe there are no modules: no IPVS, and no IPv6.
pub const PROGRAMS: &[&str] = &["linux", "modprobe", "ip", "nsenter", "unshare", "setpriv"];

/// A second here; a loaded machine may take much longer.
const BOOT: Duration = Duration::from_secs(90);
/// For a command that has no limit of its own.
const COMMAND: Duration = Duration::from_secs(60);
/// For a command that was killed to say so.
const KILLED: Duration = Duration::from_secs(10);
/// First letters of a guest's directory; the process id follows.
const DIRECTORY: &str = "gridfront-uml-";
const INIT: &str = include_str!("uml/init.sh");
/// What is measured at boot for file systems that nobody mounts: more than half of the time.
const LEFT_OUT: &str =
    "initcall_blacklist=raid6_select_algo,jent_mod_init,init_btrfs_fs,init_zswap,zswap_init";
/// What `calibrate_delay` would find in 80 ms. Nothing here waits by counting loops.
const CALIBRATED: &str = "lpj=36000000";
/// What is to be mounted in every guest.
const MOUNTS: &str = "proc /proc proc defaults 0 0\nsysfs /sys sysfs defaults 0 0\ndevpts /dev/pts devpts X-mount.mkdir 0 0\n\
                      tmpfs /tmp tmpfs mode=1777 0 0\ntmpfs /run tmpfs mode=755 0 0\ntmpfs /var/tmp tmpfs mode=1777 0 0\n\
                      tmpfs /var/log tmpfs mode=755 0 0\ntmpfs /mnt tmpfs mode=755 0 0\n";

/// Where a guest has something of its own in place of what the host has.
const HIDDEN: [&str; 5] = ["/tmp", "/run", "/var/tmp", "/var/log", "/mnt"];

/// What a guest is to be.
#[derive(Debug)]
pub struct Plan {
    memory: u32,
    modules: Vec<String>,
    shares: String,
    tap: Option<Tap>,
    setup: String,
}

/// A running guest. Dropping it ends and removes it.
// Dropped in this order.
#[derive(Debug)]
pub struct Uml {
    process: Process,
    console: Console,
    _tap: Option<Tap>,
    commands: AtomicU32,
    directory: TempDir,
}

/// What a command came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Output {
    /// As the shell has it: 128 and the signal where it was killed.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Why a command came to nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Failure {
    /// It was killed at its limit; what it had said until then.
    TimedOut(Output),
    /// The guest is no more; its last words.
    Died(String),
}

/// A program in a guest that runs on while the test does. It ends with the guest.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its process id there, and that of its group.
    pub id: u32,
    log: String,
}

/// True when this machine can run guests. Otherwise the test is to return at once.
///
/// # Panics
/// As [`skip::unless_present`].
pub fn possible(what: &str, further: &[&str]) -> bool {
    skip::unless_present(what, &[PROGRAMS, further].concat())
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            memory: 128,
            modules: vec!["ipv6".to_owned()],
            shares: String::new(),
            tap: None,
            setup: String::new(),
        }
    }
}

impl Plan {
    /// Mebibytes; 128 unless told. The kernel keeps 25 of them.
    #[must_use]
    pub fn memory(mut self, mebibytes: u32) -> Self {
        self.memory = mebibytes;
        self
    }

    /// Kernel modules to load before anything is run. Most others come when they are needed.
    #[must_use]
    pub fn modules(mut self, names: &[&str]) -> Self {
        self.modules.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    /// Lets the guest see a directory of the host's at the same path, and write to it.
    ///
    /// A file that the guest writes is there for the host once it is closed. Sockets and FIFOs do not work there.
    #[must_use]
    pub fn share(self, directory: &Path) -> Self {
        self.mount(directory, "rw")
    }

    /// The same without writing.
    #[must_use]
    pub fn share_read_only(self, directory: &Path) -> Self {
        self.mount(directory, "ro")
    }

    /// Puts its interface `vec0` on the bridge of a lab, with the addresses that a machine of this number would have.
    ///
    /// # Panics
    /// When ip(8) fails.
    #[must_use]
    pub fn on(mut self, lab: &Lab, number: u8) -> Self {
        self.tap = Some(lab.add_tap(number));
        let (v4, v6) = (v4(number), v6(number));
        self.setup(&format!(
            "ip -batch - <<'END'\nlink set lo up\nlink set vec0 address 02:77:00:00:00:{number:02x}\n\
             addr add {v4}/24 dev vec0\naddr add {v6}/64 dev vec0 nodad\nlink set vec0 up\nEND\n"
        ))
    }

    /// Lines of bash to run there first, behind the network. The first that fails ends all.
    #[must_use]
    pub fn setup(mut self, lines: &str) -> Self {
        self.setup.push_str(lines);
        self.setup.push('\n');
        self
    }

    /// Boots it and returns when its setup is done.
    ///
    /// # Errors
    /// The kernel's last words, and those of the setup.
    ///
    /// # Panics
    /// When the host lacks what it takes.
    pub fn try_start(self) -> Result<Uml, Failure> {
        remove_abandoned();
        let prefix = format!("{DIRECTORY}{}-", std::process::id());
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir().expect("a directory");
        set_mode(directory.path(), 0o755);
        let plan = self.mount_own(directory.path());
        let at = |name: &str| directory.path().join(name);
        let lines = |words: &[String]| words.iter().map(|word| format!("{word}\n")).collect::<String>();
        for (name, text) in [
            ("init", INIT),
            ("fstab", &format!("{MOUNTS}{}", plan.shares)),
            ("modules", &lines(&plan.modules)),
            ("setup", &plan.setup),
        ] {
            std::fs::write(at(name), text).expect("our own file");
        }
        set_mode(&at("init"), 0o755);
        let (ours, theirs) = UnixStream::pair().expect("two sockets");
        let command = plan.command(directory.path());
        let process = launch(command, theirs.into(), at("log"));
        let console = Console::new(ours, process.id());
        let uml = Uml { process, console, _tap: plan.tap, commands: AtomicU32::new(0), directory };
        match uml.console.ready(BOOT) {
            Ok(0) => Ok(uml),
            Ok(status) => Err(Failure::Died(format!("its setup: status {status}\n{}", uml.last_words()))),
            Err(silence) => Err(Failure::Died(format!("its boot: {silence:?}\n{}", uml.last_words()))),
        }
    }

    /// # Panics
    /// With what [`Plan::try_start`] says.
    pub fn start(self) -> Uml {
        self.try_start().unwrap_or_else(|why| panic!("{why}"))
    }

    /// Boots a guest for one command.
    ///
    /// # Errors
    /// As [`Uml::attempt`].
    pub fn once(self, command: &str, limit: Duration) -> Result<Output, Failure> {
        self.try_start()?.attempt(command, limit)
    }

    fn mount_own(self, directory: &Path) -> Self {
        let door = Path::new(program()).parent().expect("a program in a directory");
        let hidden = HIDDEN.iter().any(|of_its_own| door.starts_with(of_its_own));
        if hidden { self.share_read_only(door) } else { self }.share(directory)
    }

    fn mount(mut self, directory: &Path, how: &str) -> Self {
        let path = directory.to_str().expect("a path of ours is text");
        assert!(!path.contains(|letter: char| letter.is_whitespace() || ",\\".contains(letter)), "{path}");
        self.shares.push_str(&format!("none {path} hostfs {how},X-mount.mkdir,{path} 0 0\n"));
        self
    }

    /// The kernel as a process. What it starts on the host is in a process namespace, which ends with the first process there,
    /// and that one with unshare(1), and that one with this test, even if it is killed.
    fn command(&self, directory: &Path) -> Command {
        let mut command = self.tap.as_ref().map_or_else(|| Command::new("env"), |tap| tap.command("env"));
        let run = directory.display();
        command
            .args(["setpriv", "--pdeathsig", "KILL"])
            .args(["unshare", "--mount-proc", "--pid", "--fork", "--kill-child"])
            // A kernel that panics aborts; nobody reads its core. The shell stays to be the first process.
            .args(["sh", "-c", "ulimit -c 0; linux \"$@\"; exit", "sh"])
            .arg(format!("mem={}M", self.memory))
            .args([
                "root=none",
                "rootfstype=hostfs",
                "rootflags=/",
                "ro",
                LEFT_OUT,
                CALIBRATED,
                "printk.time=1",
            ])
            .arg(format!("init={run}/init"))
            .arg(format!("UML_RUN={run}"))
            .arg(format!("uml_dir={run}/"))
            .args(["umid=u", "con0=null,fd:1", "con1=fd:0,fd:0", "con=null", "ssl=null"])
            .current_dir(directory);
        if let Some(tap) = &self.tap {
            // depth, gro: packets that it takes at once, and whether it joins them.
            command.arg(format!("vec0:transport=tap,ifname={},depth=128,gro=1", tap.name()));
        }
        command
    }
}

impl Uml {
    /// Runs lines of bash there and waits for them.
    ///
    /// # Panics
    /// When the guest dies, or it takes longer than a minute.
    pub fn run(&self, command: &str) -> Output {
        self.attempt(command, COMMAND).unwrap_or_else(|why| panic!("{command}: {why}"))
    }

    /// The same of what has to succeed: its standard output.
    ///
    /// # Panics
    /// As [`Uml::run`], and when its status is not 0.
    pub fn ok(&self, command: &str) -> String {
        let output = self.run(command);
        assert!(output.status == 0, "{command}: {output}\n{}", self.last_words());
        output.stdout
    }

    /// Runs lines of bash there; several threads may do so at once. Behind `limit` they are killed, with all that they
    /// started but what has become a session of its own.
    ///
    /// # Errors
    /// That they did not end, or that the guest did.
    ///
    /// # Panics
    /// When the disk is full.
    pub fn attempt(&self, command: &str, limit: Duration) -> Result<Output, Failure> {
        let number = self.write(command);
        self.console.say(&format!("run {number}"));
        match self.console.done(number, limit) {
            Ok(status) => Ok(self.take_output(number, status)),
            Err(Silence::Ended) => Err(Failure::Died(self.last_words())),
            Err(Silence::TimeOver) => {
                self.console.say(&format!("kill {number}"));
                match self.console.done(number, KILLED) {
                    Ok(status) => Err(Failure::TimedOut(self.take_output(number, status))),
                    Err(silence) => Err(Failure::Died(format!("{silence:?}\n{}", self.last_words()))),
                }
            }
        }
    }

    /// Starts lines of bash there and does not wait. Where they are one program, begin with `exec`.
    ///
    /// # Panics
    /// As [`Uml::run`].
    pub fn spawn(&self, command: &str) -> Program {
        let number = self.write(command);
        let (log, run) = (format!("/run/uml/jobs/{number}.log"), self.directory().display());
        let id = self.ok(&format!("setsid bash {run}/{number}.sh > {log} 2>&1 & echo $!"));
        Program { id: id.trim().parse().unwrap_or_else(|_| panic!("{id:?} is no process id")), log }
    }

    /// What a program there has said so far.
    ///
    /// # Panics
    /// As [`Uml::run`].
    pub fn log(&self, program: &Program) -> String {
        self.ok(&format!("cat {}", program.log))
    }

    /// # Panics
    /// As [`Uml::run`].
    pub fn runs(&self, program: &Program) -> bool {
        self.run(&format!("kill -0 -- -{}", program.id)).status == 0
    }

    /// Signals a program there and all that it has started, in the word of kill(1): `KILL`. Gone already is as good as gone.
    ///
    /// # Panics
    /// As [`Uml::run`].
    pub fn signal(&self, program: &Program, signal: &str) {
        self.run(&format!("kill -{signal} -- -{}", program.id));
    }

    /// What a file there says.
    ///
    /// # Panics
    /// As [`Uml::ok`].
    pub fn read(&self, path: &str) -> String {
        self.ok(&format!("cat '{path}'"))
    }

    /// What both can write to, by the same path. A file that the guest writes is there for the host once it is closed.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The process that is the guest, for /proc and signals; the kernel itself is below it.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// `kill -9` of the whole machine: nothing is said, nothing is written back.
    pub fn crash(&mut self) {
        self.process.kill();
    }

    /// Waits for it to end by itself.
    pub fn ended(&self, limit: Duration) -> bool {
        self.console.ended(limit)
    }

    /// The end of the kernel's log, with what the setup has said; all since its panic, where it has had one.
    pub fn last_words(&self) -> String {
        let log = self.kernel_log();
        log.find("Kernel panic").map_or_else(|| tail(&log, 30), |at| log[at..].to_owned())
    }

    pub fn kernel_log(&self) -> String {
        self.process.output()
    }

    fn write(&self, command: &str) -> u32 {
        let number = self.commands.fetch_add(1, Ordering::Relaxed);
        std::fs::write(self.directory().join(format!("{number}.sh")), command).expect("our own file");
        number
    }

    fn take_output(&self, number: u32, status: i32) -> Output {
        let take = |kind: &str| {
            let file = self.directory().join(format!("{number}.{kind}"));
            let bytes = std::fs::read(&file).unwrap_or_default();
            let _ = std::fs::remove_file(file);
            String::from_utf8_lossy(&bytes).into_owned()
        };
        take("sh");
        Output { status, stdout: take("out"), stderr: take("err") }
    }
}

impl Drop for Uml {
    fn drop(&mut self) {
        // Before its end of the console closes: it would power off, which takes longer.
        self.process.kill();
    }
}

impl fmt::Display for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "status {}\n{}{}", self.status, self.stdout, self.stderr)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut(output) => write!(formatter, "it did not end: {output}"),
            Self::Died(words) => write!(formatter, "the guest ended:\n{words}"),
        }
    }
}

/// Starts a guest from a thread that lasts as long as this process: a parent death signal comes when the thread that started a
/// process ends, and tests may start guests from several.
fn launch(command: Command, input: OwnedFd, log: PathBuf) -> Process {
    type Order = (Command, OwnedFd, PathBuf, mpsc::Sender<Process>);
    static LAUNCHER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
        let (orders, taken) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (command, input, log, answer) in taken {
                let _ = answer.send(Process::spawn_with_input(command, Stdio::from(input), &log));
            }
        });
        orders
    });
    let (answer, answered) = mpsc::channel();
    LAUNCHER.send((command, input, log, answer)).expect("the launcher lasts");
    answered.recv().expect("nsenter runs")
}

/// Removes the directories of test processes that were killed; the guests ended with them.
fn remove_abandoned() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        if is_abandoned(&entry.file_name().to_string_lossy(), DIRECTORY) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
