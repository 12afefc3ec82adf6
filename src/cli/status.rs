//! `gridfront status`.
use std::process::ExitCode;

use super::StatusArgs;
use super::daemon::{fail, question, say};
use crate::control::admin::{Answer, Question};

/// Asks the daemon and shows its answer.
pub(super) fn status(args: &StatusArgs) -> ExitCode {
    let status = match question(&args.daemon, &Question::Status { sessions: args.sessions }) {
        Ok(Answer::Status(status)) => status,
        Ok(_) => return fail(&"the daemon answers another question; is it of the same version?"),
        Err(error) => return fail(&error),
    };
    let text = if args.json {
        match serde_json::to_string_pretty(&status) {
            Ok(json) => json + "\n",
            Err(error) => return fail(&error),
        }
    } else if args.sessions {
        status.sessions_table()
    } else {
        status.to_string()
    };
    say(&text);
    ExitCode::SUCCESS
}
