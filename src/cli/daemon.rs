//! Asking the running daemon.
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use super::DaemonArgs;
use crate::control::admin::{Answer, Question, ask};
use crate::control::admin_socket_of;

/// The socket of the daemon that is meant.
pub(super) fn socket(args: &DaemonArgs) -> Result<PathBuf, String> {
    match &args.admin {
        Some(socket) => Ok(socket.clone()),
        None => admin_socket_of(&args.config.config)
            .map_err(|problem| format!("{problem}or name the daemon's socket with --admin")),
    }
}

/// What the daemon answers; its refusal is an error like any other.
pub(super) fn question(args: &DaemonArgs, question: &Question) -> Result<Answer, String> {
    match ask(&socket(args)?, question) {
        Ok(Answer::Error(error)) => Err(error),
        Ok(answer) => Ok(answer),
        Err(error) => Err(error.to_string()),
    }
}

/// For standard output.
pub(super) fn say(text: &str) {
    // A reader that has gone away has seen enough.
    let _ = io::stdout().write_all(text.as_bytes());
}

pub(super) fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "{error}");
    ExitCode::FAILURE
}
