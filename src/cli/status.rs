//! `gridfront status`.
use std::io::{self, Write as _};
use std::process::ExitCode;

use super::StatusArgs;
use super::check::load;
use crate::control::admin::{Answer, Question, ask};

/// Asks the daemon and shows its answer.
pub(super) fn status(args: &StatusArgs) -> ExitCode {
    let socket = match &args.admin {
        Some(socket) => socket.clone(),
        None => match load(&args.config.config) {
            Ok(accepted) => accepted.model.global.admin_socket,
            Err(problems) => return fail(&format!("{problems}or name the daemon's socket with --admin")),
        },
    };
    let (text, code) = match ask(&socket, Question::Status {}) {
        Ok(Answer::Status(status)) if args.json => match serde_json::to_string_pretty(&status) {
            Ok(json) => (json + "\n", ExitCode::SUCCESS),
            Err(error) => return fail(&error),
        },
        Ok(Answer::Status(status)) => (status.to_string(), ExitCode::SUCCESS),
        Ok(Answer::Error(error)) => return fail(&error),
        Err(error) => return fail(&error),
    };
    // A reader that has gone away has seen enough.
    let _ = io::stdout().write_all(text.as_bytes());
    code
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "{error}");
    ExitCode::FAILURE
}
