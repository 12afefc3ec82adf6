//! ProFTPD and pyftpdlib on the machines of the real servers, over the same files: servers that are no part of the grid, and that
//! take data connections only from where the control connection comes from.

use std::path::{Path, PathBuf};

use super::grid::{REAL_SERVERS, Site, path_text};
use super::process::{Process, tail};
use super::server;

/// Programs and the library that they are made of.
pub const PROGRAMS: &[&str] = &["proftpd", PYTHON, "/usr/lib/python3/dist-packages/pyftpdlib/__init__.py"];

/// Debian's own: its libraries are packages. Another Python may come first on the path.
pub const PYTHON: &str = "/usr/bin/python3";

pub const PROFTPD_PORT: u16 = 2841;
pub const PYFTPDLIB_PORT: u16 = 2851;

/// One of each on every machine of [`REAL_SERVERS`]. Dropping it ends them.
#[derive(Debug)]
pub struct OtherServers {
    processes: Vec<(String, Process)>,
}

impl OtherServers {
    /// Starts them and waits until all of them greet.
    ///
    /// # Panics
    /// When one does not come up.
    pub fn start(site: &Site) -> Self {
        let mut others = Self { processes: Vec::new() };
        for role in REAL_SERVERS {
            others.launch(site, role, "proftpd", &proftpd(site, role));
            others.launch(site, role, "pyftpdlib", &pyftpdlib(site, role));
        }
        for role in REAL_SERVERS {
            for port in [PROFTPD_PORT, PYFTPDLIB_PORT] {
                server::greets(site.machine(role), port)
                    .unwrap_or_else(|why| panic!("{role}, port {port}: {why}\n{}", others.logs()));
            }
        }
        others
    }

    /// The last lines of each, for messages.
    pub fn logs(&self) -> String {
        let last =
            |(name, process): &(String, Process)| format!("--- {name}\n{}\n", tail(&process.output(), 6));
        self.processes.iter().map(last).collect()
    }

    fn launch(&mut self, site: &Site, role: &str, program: &str, words: &[String]) {
        let name = format!("{program}-{role}");
        // ProFTPD asks for its host's name before it listens.
        let mut command = site.machine(role).command(Some(&site.hosts_file()), &words[0]);
        command.args(&words[1..]);
        let log = site.directory().join(format!("log/{name}.out"));
        self.processes.push((name, Process::spawn(command, &log)));
    }
}

fn pyftpdlib(site: &Site, role: &str) -> Vec<String> {
    let script = script("pyftpdlib_server.py");
    let program = [PYTHON, &script, &path_text(&site.data_directory()), &PYFTPDLIB_PORT.to_string()];
    let addresses = site.machine(role).addresses().map(|address| address.to_string());
    program.map(str::to_owned).into_iter().chain(addresses).collect()
}

fn proftpd(site: &Site, role: &str) -> Vec<String> {
    let file = site.directory().join(format!("etc/proftpd-{role}.conf"));
    std::fs::write(&file, proftpd_configuration(site, role)).expect("our own file");
    ["proftpd", "--nodaemon", "--quiet", "--config", &path_text(&file)].map(str::to_owned).to_vec()
}

/// As in ProFTPD's own anonymous.conf; every file that it writes is the site's.
fn proftpd_configuration(site: &Site, role: &str) -> String {
    let [v4, v6] = site.machine(role).addresses();
    let root = path_text(site.directory());
    let data = path_text(&site.data_directory());
    format!(
        "ServerName \"{role}\"\nServerType standalone\nDefaultServer on\nDefaultAddress {v4} {v6}\nPort {PROFTPD_PORT}\n\
         UseIPv6 on\nUser nobody\nGroup nogroup\nUmask 022\nUseReverseDNS off\nWtmpLog off\nTransferLog none\n\
         PidFile {root}/etc/proftpd-{role}.pid\nScoreboardFile {root}/etc/proftpd-{role}.scoreboard\n\
         SystemLog {root}/log/proftpd-{role}.log\nDelayEngine off\nUseFtpUsers off\nRequireValidShell off\n\
         AllowOverwrite on\nAllowStoreRestart on\n\
         <Anonymous {data}>\n  User nobody\n  Group nogroup\n  UserAlias anonymous nobody\n  UserAlias ftp nobody\n\
         \x20 RequireValidShell off\n  MaxClients none\n  <Limit WRITE>\n    AllowAll\n  </Limit>\n</Anonymous>\n"
    )
}

/// A Python program that is committed beside this file.
pub fn script(name: &str) -> String {
    let directory: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/support");
    path_text(&directory.join(name))
}
