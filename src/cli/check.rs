//! `gridfront check`.
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use crate::config::{check_descriptors, report};
use crate::control::{examine_files, load};
use crate::sys;

/// Says what is wrong with the file and what is likely not meant.
pub(super) fn check(path: &Path) -> ExitCode {
    let (text, code) = match load(path) {
        Ok(accepted) => {
            let mut text = report(&accepted.warnings);
            if let Err(shortage) = check_descriptors(&accepted.model, sys::descriptors::raise_limit()) {
                text.push_str(&format!("{}: warning: {shortage}\n", path.display()));
            }
            match examine_files(&accepted.model) {
                Ok(warnings) => {
                    text.push_str(&warnings);
                    text.push_str(&format!("{}: fine\n", path.display()));
                    (text, ExitCode::SUCCESS)
                }
                Err(problems) => (text + &problems, ExitCode::FAILURE),
            }
        }
        Err(problems) => (problems, ExitCode::FAILURE),
    };
    // A reader that has gone away has seen enough.
    let _ = io::stdout().write_all(text.as_bytes());
    code
}
