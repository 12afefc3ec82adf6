//! `gridfront reload`.
use std::process::ExitCode;

use super::ReloadArgs;
use super::daemon::{fail, question, say};
use crate::control::admin::{Answer, Question};

/// Lets the daemon read its configuration anew, and shows what that has changed, or every problem.
pub(super) fn reload(args: &ReloadArgs) -> ExitCode {
    match question(&args.daemon, &Question::Reload { dry_run: args.dry_run }) {
        Ok(Answer::Reloaded(reloaded)) => {
            say(&reloaded.to_string());
            ExitCode::SUCCESS
        }
        Ok(Answer::NotReloaded(refused)) => fail(&refused.problems.join("\n")),
        Ok(_) => fail(&"the daemon answers another question; is it of the same version?"),
        Err(error) => fail(&error),
    }
}
