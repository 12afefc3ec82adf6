//! Programs that do not outlive the bench.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{Outcome, cores, interrupt};

/// How long a program may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running program; it is killed with its children when this is dropped.
pub(crate) struct Program {
    child: Child,
}

impl Program {
    /// Starts a program on a core and waits until it serves. What it says in vain it writes to `log` when it does not.
    pub(crate) fn start(
        command: &mut Command,
        core: usize,
        log: &Path,
        serves: impl Fn() -> bool,
    ) -> Outcome<Self> {
        let name = command.get_args().find(|word| word.as_encoded_bytes().starts_with(b"/"));
        let name = name.unwrap_or(command.get_program()).display().to_string();
        command.stdin(Stdio::null()).process_group(0);
        // The child inherits the affinity of the thread that starts it.
        let child = cores::on(core, || command.spawn())?.map_err(|error| format!("{name}: {error}"))?;
        let mut program = Self { child };
        if let Err(error) = program.wait_until(serves) {
            interrupt::check()?;
            drop(program);
            return Err(format!("{name} does not serve: {error}\n{}", last_words(command, log)).into());
        }
        Ok(program)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until(&mut self, serves: impl Fn() -> bool) -> Outcome<()> {
        let start = Instant::now();
        loop {
            interrupt::check()?;
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("it ended with {status}").into());
            }
            if serves() {
                return Ok(());
            }
            if start.elapsed() > START_LIMIT {
                return Err(format!("in vain for {} s", START_LIMIT.as_secs()).into());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It leads a group of its own: processes of sessions that have not noticed their end go too.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// A command whose process the kernel kills when this one dies without having dropped it; setpriv(1) execs, so the
/// pid is the program's own.
pub(crate) fn dying_with_the_bench(program: &Path) -> Command {
    if Path::new("/usr/bin/setpriv").exists() {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        return command;
    }
    Command::new(program)
}

/// What a program says when it is started once more with its output in a file.
pub(crate) fn last_words(command: &mut Command, file: &Path) -> String {
    const TIME_TO_SPEAK: Duration = Duration::from_secs(1);
    let mut spoken = || -> Outcome<String> {
        let output = File::create(file)?;
        let mut child = command.stdout(output.try_clone()?).stderr(output).spawn()?;
        std::thread::sleep(TIME_TO_SPEAK);
        child.kill()?;
        child.wait()?;
        Ok(fs::read_to_string(file)?)
    };
    spoken().unwrap_or_else(|error| error.to_string())
}

/// What a program says, first line; empty when it cannot be run.
pub(crate) fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    // nginx says its version on stderr.
    let said = output.map(|output| if output.stdout.is_empty() { output.stderr } else { output.stdout });
    let text = said.map(|said| String::from_utf8_lossy(&said).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}
