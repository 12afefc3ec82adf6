//! Programs that do not outlive the bench.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Outcome;

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
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}
