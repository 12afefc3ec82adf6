//! ProFTPD and pyftpdlib on the machines of the real servers, over the same files: servers that are no part of the grid, and that
//! take data connections only from where the control connection comes from.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

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
        Self::start_on(site, &REAL_SERVERS)
    }

    /// As [`OtherServers::start`], on some of the machines.
    ///
    /// # Panics
    /// When one does not come up.
    pub fn start_on(site: &Site, roles: &[&str]) -> Self {
        let mut others = Self { processes: Vec::new() };
        for role in roles {
            others.launch(site, role, "proftpd");
            others.launch(site, role, "pyftpdlib");
        }
        for role in roles {
            others.until_greeting(site, role, "proftpd");
            others.until_greeting(site, role, "pyftpdlib");
        }
        others
    }

    /// Signals a server and its sessions.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, program: &str, role: &str, signal: Signal) {
        let name = name(program, role);
        let (_, process) = self.processes.iter().find(|(own, _)| *own == name).expect("a running server");
        process.signal(signal);
    }

    /// Kills a server and its sessions, as a crash does.
    pub fn kill(&mut self, program: &str, role: &str) {
        let name = name(program, role);
        // Dropped, it is killed.
        self.processes.retain(|(own, _)| *own != name);
    }

    /// Starts a killed server again and waits until it answers.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self, site: &Site, program: &str, role: &str) {
        self.launch(site, role, program);
        let own = name(program, role);
        let greeted = server::greets_again(site.machine(role), port(program), || {
            let process = self.processes.iter_mut().find(|(name, _)| *name == own);
            if process.is_some_and(|(_, process)| process.ended().is_some()) {
                self.kill(program, role);
                self.launch(site, role, program);
            }
        });
        greeted.unwrap_or_else(|why| panic!("{own}: {why}\n{}", self.logs()));
    }

    /// The last lines of each, for messages.
    pub fn logs(&self) -> String {
        let last =
            |(name, process): &(String, Process)| format!("--- {name}\n{}\n", tail(&process.output(), 6));
        self.processes.iter().map(last).collect()
    }

    fn until_greeting(&self, site: &Site, role: &str, program: &str) {
        server::greets(site.machine(role), port(program))
            .unwrap_or_else(|why| panic!("{program} on {role}: {why}\n{}", self.logs()));
    }

    fn launch(&mut self, site: &Site, role: &str, program: &str) {
        let name = name(program, role);
        let words = if program == "proftpd" { proftpd(site, role) } else { pyftpdlib(site, role) };
        // ProFTPD asks for its host's name before it listens.
        let mut command = site.machine(role).command(Some(&site.hosts_file()), &words[0]);
        command.args(&words[1..]);
        let log = site.directory().join(format!("log/{name}.out"));
        self.processes.push((name, Process::spawn(command, &log)));
    }
}

fn name(program: &str, role: &str) -> String {
    format!("{program}-{role}")
}

fn pyftpdlib(site: &Site, role: &str) -> Vec<String> {
    let script = script("pyftpdlib_server.py");
    let program = [PYTHON, &script, &path_text(&site.data_directory()), &PYFTPDLIB_PORT.to_string()];
    let addresses = site.machine(role).addresses().map(|address| address.to_string());
    program.map(str::to_owned).into_iter().chain(addresses).collect()
}

fn port(program: &str) -> u16 {
    if program == "proftpd" { PROFTPD_PORT } else { PYFTPDLIB_PORT }
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
