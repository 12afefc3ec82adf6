//! The configuration's file, and those that it names.
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::certificates::today;
use crate::config::toml::{Accepted, MAX_FILE_LEN, decode, parse};
use crate::config::{self, Model, report};
use crate::{checker, tls};

/// Reads and checks a configuration.
///
/// # Errors
///
/// Every problem, a line each.
pub fn load(path: &Path) -> Result<Accepted, String> {
    let bytes = read(path).map_err(|error| unreadable(path, &error))?;
    let text = decode(path, &bytes).map_err(|problem| report(&[problem]))?;
    parse(path, text).map_err(|problems| report(&problems))
}

/// Where the daemon with this configuration is asked: a file with problems says that still.
///
/// # Errors
///
/// The file cannot be read.
pub fn admin_socket_of(path: &Path) -> Result<PathBuf, String> {
    let bytes = read(path).map_err(|error| unreadable(path, &error))?;
    Ok(config::toml::admin_socket(&String::from_utf8_lossy(&bytes)))
}

/// Looks at the certificates and scripts that are named, as a start would: what is likely not meant with them.
///
/// # Errors
///
/// What makes some of them useless, and the rest, a line each.
pub fn examine_files(model: &Model) -> Result<String, String> {
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
    for insecure in checker::examine_scripts(model) {
        problems.push_str(&format!("{insecure}\n"));
    }
    if problems.is_empty() { Ok(warnings) } else { Err(warnings + &problems) }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!(
        "{}: cannot be read: {error}; check that it exists and that this user may read it\n",
        path.display()
    )
}

/// One byte more than a configuration may have is enough to refuse it.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_LEN as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
