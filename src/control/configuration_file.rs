//! The configuration's file, and those that it names.
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::certificates::today;
use crate::config::toml::{Accepted, MAX_FILE_LEN, decode, parse};
use crate::config::{self, Model, report};
use crate::{script, tls};

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
    let of_tls = model.virtual_servers.iter().filter_map(|server| server.tls.as_ref());
    let of_tls = of_tls.map(|tls| tls::examine(tls, today()));
    let of_gsi = model.virtual_servers.iter().filter_map(|server| server.gsi.as_ref());
    // Held meanwhile, so that each directory is read once, and what is wrong in it told once.
    let (mut directories, mut acceptors) = (tls::TrustDirectories::default(), Vec::new());
    let of_gsi = of_gsi.map(|gsi| {
        let (acceptor, found) = tls::GsiAcceptor::open(gsi, &mut directories, today())?;
        acceptors.push(acceptor);
        Ok(found)
    });
    for examined in of_tls.chain(of_gsi) {
        match examined {
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
    for insecure in script::examine_scripts(model) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::gsi::issuing::{Request, key, name, pem};

    /// `gridfront check` says of these files what a start would.
    #[test]
    fn the_files_of_gsi_are_examined() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let text = format!(
            "[[virtual_server]]\naddresses = ['192.0.2.10']\ngsi = {{ mode = 'terminate', certificate = '{}', \
             key = '{}', trust_anchors = '{}' }}\n[[virtual_server.real_server]]\naddress = '192.0.2.11'\n",
            path("cert.pem"),
            path("key.pem"),
            path("anchors")
        );
        let model = parse(Path::new("f"), &text).unwrap().model;
        let told = examine_files(&model).unwrap_err();
        assert!(told.starts_with(&path("cert.pem")), "{told}");
        std::fs::create_dir(path("anchors")).unwrap();
        let authority = Request::authority(&name("A"), &name("A"), key(0)).sign(key(0));
        std::fs::write(path("cert.pem"), pem("CERTIFICATE", &authority)).unwrap();
        let told = examine_files(&model).unwrap_err();
        assert!(told.starts_with(&path("key.pem")), "{told}");
    }
}
