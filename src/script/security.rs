//! Whether a script may be run: whoever can change it would act as the door does (keepalived.conf(5)
//! `enable_script_security`).

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::config::{CheckKind, Model};

/// A script that is not run.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}; {mend}", .path.display())]
pub struct InsecureScript {
    path: PathBuf,
    what: String,
    mend: &'static str,
}

/// Set-user-id, set-group-id, sticky: of a directory, that only owners remove what is in it.
const STICKY: u32 = 0o1000;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// Every script of a configuration that cannot be run or must not be.
#[must_use]
pub fn examine_scripts(model: &Model) -> Vec<InsecureScript> {
    let servers = model.virtual_servers.iter().flat_map(|virtual_server| {
        let own = virtual_server.written_servers().filter_map(|server| server.check.as_ref());
        std::iter::once(&virtual_server.check).chain(own)
    });
    let mut programs: Vec<&Path> = Vec::new();
    for check in servers {
        if let CheckKind::Script(script) = &check.kind
            && !programs.contains(&script.program.as_path())
        {
            programs.push(&script.program);
        }
    }
    for command in model.vrrp.commands() {
        if !programs.contains(&command.program.as_path()) {
            programs.push(&command.program);
        }
    }
    programs.into_iter().filter_map(|program| examine(program).err()).collect()
}

/// Looks at the file and at every directory that leads to it. What is run is the path that comes back, not the one that
/// is written: a link in that may lead elsewhere by then.
///
/// # Errors
///
/// It is not there, cannot be executed, or others can put something else in its place.
pub(crate) fn examine(program: &Path) -> Result<PathBuf, InsecureScript> {
    // Links are followed: what counts is what is run.
    let real = std::fs::canonicalize(program).map_err(|error| unreadable(program, &error))?;
    examine_real(program, &real)?;
    Ok(real)
}

/// The same for a path that had no link in it. From the root on: nobody can replace what lies in a directory that was found
/// to be safe.
fn examine_real(program: &Path, real: &Path) -> Result<(), InsecureScript> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut parts: Vec<&Path> = real.ancestors().collect();
    parts.reverse();
    for part in parts {
        // A link that has come there meanwhile is not followed.
        let found = std::fs::symlink_metadata(part).map_err(|error| unreadable(program, &error))?;
        if found.is_symlink() {
            return Err(refuse(part, "it has just become a link".into(), "see who does that"));
        }
        let mode = found.permissions().mode();
        let foreign = ![0, user].contains(&found.uid());
        let by_group = mode & GROUP_WRITES != 0 && ![0, group].contains(&found.gid());
        let by_others = mode & OTHERS_WRITE != 0;
        let shielded = found.is_dir() && mode & STICKY != 0;
        if foreign {
            let what = format!("it belongs to user {}, who could change what is run", found.uid());
            return Err(refuse(part, what, "chown it to root"));
        }
        if (by_group || by_others) && !shielded {
            let who = if by_others { "everybody" } else { "its group" };
            let what = format!("{who} may write to it, and so change what is run");
            return Err(refuse(part, what, "chmod go-w it"));
        }
    }
    let file = std::fs::symlink_metadata(real).map_err(|error| unreadable(program, &error))?;
    if !file.is_file() {
        return Err(refuse(program, "the script is no file".into(), "correct its path in the configuration"));
    }
    if file.permissions().mode() & 0o111 == 0 {
        return Err(refuse(program, "the script is not executable".into(), "chmod a+x it"));
    }
    Ok(())
}

fn unreadable(program: &Path, error: &std::io::Error) -> InsecureScript {
    refuse(program, format!("the script cannot be found: {error}"), "correct its path in the configuration")
}

fn refuse(path: &Path, what: String, mend: &'static str) -> InsecureScript {
    InsecureScript { path: path.into(), what, mend }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn only_what_nobody_else_can_change_is_run() {
        // Modes of the script and of its directory; what is said.
        #[rustfmt::skip]
        let table: &[(u32, u32, Option<&str>)] = &[
            (0o755, 0o755,  None),
            (0o500, 0o700,  None),
            (0o644, 0o755,  Some("the script is not executable; chmod a+x it")),
            (0o757, 0o755,  Some("everybody may write to it")),
            (0o777, 0o755,  Some("everybody may write to it")),
            (0o755, 0o777,  Some("everybody may write to it")),
            (0o755, 0o1777, None),
        ];
        for &(file, directory, expected) in table {
            let site = tempfile::tempdir().unwrap();
            let script = site.path().join("check");
            std::fs::write(&script, "#!/bin/sh\n").unwrap();
            chmod(&script, file);
            chmod(site.path(), directory);
            let said = examine(&script).map(|_| ()).map_err(|error| error.to_string());
            match expected {
                None => assert_eq!(said, Ok(()), "{file:o} {directory:o}"),
                Some(words) => {
                    assert!(said.clone().unwrap_err().contains(words), "{file:o} {directory:o}: {said:?}");
                }
            }
        }
    }

    #[test]
    fn a_link_is_as_good_as_what_it_leads_to() {
        let site = tempfile::tempdir().unwrap();
        let (script, link) = (site.path().join("check"), site.path().join("link"));
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        std::os::unix::fs::symlink(&script, &link).unwrap();
        chmod(&script, 0o777);
        assert!(examine(&link).is_err());
        chmod(&script, 0o755);
        assert_eq!(examine(&link).unwrap(), std::fs::canonicalize(&script).unwrap());
        std::fs::remove_file(&script).unwrap();
        assert!(examine(&link).unwrap_err().to_string().contains("cannot be found"));
        assert!(examine(site.path()).unwrap_err().to_string().contains("no file"));
    }

    #[test]
    fn a_link_that_comes_after_the_path_was_resolved_is_not_followed() {
        let site = tempfile::tempdir().unwrap();
        let site = std::fs::canonicalize(site.path()).unwrap();
        let (directory, script) = (site.join("safe"), site.join("safe/check"));
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        chmod(&script, 0o755);
        examine_real(&script, &script).unwrap();
        // Of a directory, and of the file.
        std::os::unix::fs::symlink(&directory, site.join("swapped")).unwrap();
        std::os::unix::fs::symlink(&script, site.join("check")).unwrap();
        for path in ["swapped/check", "check"] {
            let refused = examine_real(&script, &site.join(path)).unwrap_err().to_string();
            assert!(refused.contains("it has just become a link"), "{path}: {refused}");
        }
        std::fs::remove_dir_all(&site).unwrap();
    }

    #[test]
    fn every_script_of_a_configuration_is_looked_at_once() {
        let text = "[[virtual_server]]\naddresses = ['192.0.2.10']\ncheck = { type = 'script', script = ['/no/a'] }\n\
                    [[virtual_server.real_server]]\naddress = '192.0.2.11'\ncheck = { script = ['/no/b'] }\n\
                    [[virtual_server.real_server]]\naddress = '192.0.2.12'\ncheck = { script = ['/no/a', '-v'] }\n\
                    [[virtual_server.real_server]]\naddress = 's.test'\ncheck = { script = ['/no/c'] }\n\
                    [[vrrp_instance]]\nname = 'VI_1'\ninterface = 'eth0'\nvirtual_router_id = 51\n\
                    virtual_addresses = ['192.0.2.20/24']\nnotify = ['/no/d', 'x']\nnotify_stop = ['/no/a']\n";
        let model = crate::config::toml::parse(Path::new("f"), text).unwrap().model;
        let found: Vec<String> = examine_scripts(&model).iter().map(ToString::to_string).collect();
        let line = |name| {
            format!(
                "/no/{name}: the script cannot be found: No such file or directory (os error 2); correct its path in the configuration"
            )
        };
        assert_eq!(found, ["a", "b", "c", "d"].map(line));
    }
}
