//! `gridfront check`, and reading the configuration for `run`.
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use crate::config::toml::{Accepted, MAX_FILE_LEN, decode, parse};
use crate::config::{self, Model, check_descriptors, report};
use crate::control::today;
use crate::{checker, sys, tls};

/// Says what is wrong with the file and what is likely not meant.
pub(super) fn check(path: &Path) -> ExitCode {
    let (text, code) = match load(path) {
        Ok(accepted) => {
            let mut text = report(&accepted.warnings);
            if let Err(shortage) = check_descriptors(&accepted.model, sys::descriptors::raise_limit()) {
                text.push_str(&format!("{}: warning: {shortage}\n", path.display()));
            }
            let scripts = checker::examine_scripts(&accepted.model);
            let scripts: String = scripts.iter().map(|problem| format!("{problem}\n")).collect();
            match credentials(&accepted.model) {
                Ok(warnings) if !scripts.is_empty() => (text + &warnings + &scripts, ExitCode::FAILURE),
                Ok(warnings) => {
                    text.push_str(&warnings);
                    text.push_str(&format!("{}: fine\n", path.display()));
                    (text, ExitCode::SUCCESS)
                }
                Err(problems) => (text + &problems + &scripts, ExitCode::FAILURE),
            }
        }
        Err(problems) => (problems, ExitCode::FAILURE),
    };
    // A reader that has gone away has seen enough.
    let _ = io::stdout().write_all(text.as_bytes());
    code
}

/// What is likely not meant with the certificates that are named, or what makes some of them useless.
fn credentials(model: &Model) -> Result<String, String> {
    let (mut warnings, mut problems) = (String::new(), String::new());
    for tls in model.virtual_servers.iter().filter_map(|server| server.tls.as_ref()) {
        match tls::examine(tls, today()) {
            Ok(found) => {
                warnings.extend(found.iter().map(|problem| {
                    format!("{}: warning: {}; {}\n", problem.file.display(), problem.what, problem.mend)
                }));
            }
            Err(problem) => problems.push_str(&format!("{problem}\n")),
        }
    }
    for server in model.virtual_servers.iter().flat_map(config::VirtualServer::written_servers) {
        if let Some(Err(problem)) =
            server.tls.as_ref().map(|of_it| tls::Connector::open(of_it, server.address))
        {
            problems.push_str(&format!("{problem}\n"));
        }
    }
    if problems.is_empty() { Ok(warnings) } else { Err(warnings + &problems) }
}

/// Reads and checks a configuration; the error is every problem, a line each.
pub(super) fn load(path: &Path) -> Result<Accepted, String> {
    let bytes = read(path).map_err(|error| {
        format!(
            "{}: cannot be read: {error}; check that it exists and that this user may read it\n",
            path.display()
        )
    })?;
    let text = decode(path, &bytes).map_err(|problem| report(&[problem]))?;
    parse(path, text).map_err(|problems| report(&problems))
}

/// One byte more than a configuration may have is enough to refuse it.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_LEN as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
