//! `gridfront guardian`: started by the daemon, and by nobody else.
use std::process::ExitCode;

use super::EXIT_USAGE;
use super::daemon::fail;
use crate::vrrp::guardian;

pub(super) fn guardian() -> ExitCode {
    if !guardian::is_fed_by_a_pipe() {
        let _ = fail(&"the guardian is started by `gridfront run`, which tells it by a pipe what to guard");
        return ExitCode::from(EXIT_USAGE);
    }
    match guardian::watch(std::io::stdin()) {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => fail(&problems.join("\n")),
        Err(error) => fail(&format!("guardian: {error}")),
    }
}
