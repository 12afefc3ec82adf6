//! A real grid site: Globus servers on machines of their own over one shared directory.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;
use tempfile::TempDir;

use super::certificates::{Authority, Credential, HostCertificates, USER, set_mode};
use super::netns::{Lab, Machine, is_abandoned};
use super::process::{Process, tail};
use super::server::{self, Role, Server};

/// Every program that a site is made of.
pub const PROGRAMS: &[&str] =
    &["ip", "nsenter", "unshare", "openssl", "globus-gridftp-server", "grid-proxy-init"];

/// The name that clients know; every host certificate carries it.
pub const VIRTUAL_NAME: &str = "gridftp.grid.test";
/// Ordinary real servers listen here.
pub const PORT: u16 = 2811;
/// The same machines again, announcing extended passive addresses (`-epsv-ip`).
pub const EXTENDED_PORT: u16 = 2821;
/// The last part of the machines' addresses.
pub const ROLES: &[(&str, u8)] =
    &[("client", 2), ("door", 10), ("s1", 11), ("s2", 12), ("s3", 13), ("front", 51), ("d1", 61), ("d2", 62)];
/// Ordinary real servers.
pub const REAL_SERVERS: [&str; 3] = ["s1", "s2", "s3"];

/// The account that transfers run under: everybody has it.
const ACCOUNT: &str = "nobody";

/// First letters of a site's temporary directory; the process id follows.
const DIRECTORY: &str = "gridfront-site-";

/// Who may log in, and with what the servers prove who they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Security {
    Anonymous,
    Gsi(HostCertificates),
}

/// Which servers are to run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Servers {
    /// `s1`, `s2`, `s3` on [`PORT`].
    Three,
    /// These, again with `-epsv-ip` on [`EXTENDED_PORT`], and the striped `front` with `d1` and `d2`.
    All,
}

/// Machines, servers and files of one site. Dropping it ends and removes all of them.
// Dropped in this order.
#[derive(Debug)]
pub struct Site {
    servers: Vec<Server>,
    lab: Lab,
    authority: Option<(Authority, PathBuf)>,
    security: Security,
    directory: TempDir,
    files: AtomicU32,
}

impl Site {
    /// Starts a site and waits until every server answers.
    ///
    /// # Panics
    /// When a program fails or a server does not come up.
    pub fn start(security: Security, servers: Servers) -> Self {
        let lab = Lab::new(ROLES);
        remove_abandoned();
        let prefix = format!("{DIRECTORY}{}-", std::process::id());
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir().expect("a directory");
        // Servers run as nobody and have to reach the data.
        set_mode(directory.path(), 0o755);
        for (name, mode) in
            [("data", 0o1777), ("client", 0o755), ("etc", 0o755), ("log", 0o755), ("ca", 0o755)]
        {
            std::fs::create_dir(directory.path().join(name)).expect("a directory of ours");
            set_mode(&directory.path().join(name), mode);
        }
        let mut site =
            Self { servers: Vec::new(), lab, authority: None, security, directory, files: AtomicU32::new(0) };
        site.write_hosts();
        let credentials = site.issue_certificates();
        site.list_servers(servers, &credentials);
        // Started together, then waited for.
        for index in 0..site.servers.len() {
            site.launch(index);
        }
        for server in &site.servers {
            server
                .ready()
                .unwrap_or_else(|why| panic!("{}: {why}\n{}", server.name, site.server_log(server)));
        }
        site
    }

    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    pub fn machine(&self, role: &str) -> &Machine {
        self.lab.machine(role)
    }

    pub fn security(&self) -> Security {
        self.security
    }

    /// The directory that all servers share; also where a login without a path begins.
    pub fn data_directory(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Files of the client machine.
    pub fn client_directory(&self) -> PathBuf {
        self.directory.path().join("client")
    }

    /// The root of it all.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The /etc/hosts of every machine of the site.
    pub fn hosts_file(&self) -> PathBuf {
        self.directory.path().join("etc/hosts")
    }

    /// A name for a file that nobody has used.
    pub fn scratch(&self, kind: &str) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        self.directory.path().join(format!("{kind}-{number}"))
    }

    /// The authority, when the site has certificates.
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref().map(|(authority, _)| authority)
    }

    /// What a grid user has in the environment.
    pub fn client_environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = vec![
            // A client that listens announces the address of its own host name.
            ("GLOBUS_HOSTNAME", name_of("client")),
            ("GFAL_PYTHONBIN", "/usr/bin/python3".to_owned()),
            ("HOME", path_text(&self.client_directory())),
            ("LC_ALL", "C".to_owned()),
            ("GSI_AUTHZ_CONF", "/dev/null".to_owned()),
            ("GLOBUS_GSSAPI_NAME_COMPATIBILITY", "STRICT_RFC2818".to_owned()),
        ];
        if let Some((authority, proxy)) = &self.authority {
            environment.push(("X509_CERT_DIR", path_text(&authority.anchors())));
            environment.push(("X509_USER_PROXY", path_text(proxy)));
        }
        environment
    }

    /// Kills a server and its sessions, as a crash does.
    ///
    /// # Panics
    /// When the site has no server of this name.
    pub fn kill(&mut self, name: &str) {
        let server =
            self.servers.iter_mut().find(|server| server.name == name).expect("a server of the site");
        if let Some(mut process) = server.process.take() {
            process.kill();
        }
    }

    /// Stops a server with SIGSTOP: its kernel still accepts, nobody answers. `resume` wakes it.
    pub fn freeze(&self, name: &str) {
        self.signal(name, Signal::STOP);
    }

    /// Wakes a frozen server.
    pub fn resume(&self, name: &str) {
        self.signal(name, Signal::CONT);
    }

    /// Covers the shared directory with an empty one for this running server alone: a file system that is not mounted any
    /// more, on a server that is otherwise well. [`Site::uncover_data`] mends it.
    ///
    /// # Panics
    /// When the site has no such server, or mount(8) fails.
    pub fn cover_data(&self, name: &str) {
        self.in_mounts_of(
            name,
            &["mount", "-t", "tmpfs", "-o", "mode=1777", "nothing", &path_text(&self.data_directory())],
        );
    }

    /// # Panics
    /// As [`Site::cover_data`].
    pub fn uncover_data(&self, name: &str) {
        self.in_mounts_of(name, &["umount", &path_text(&self.data_directory())]);
    }

    /// Every server has a mount namespace of its own.
    fn in_mounts_of(&self, name: &str, command: &[&str]) {
        let server = self.servers.iter().find(|server| server.name == name).expect("a server of the site");
        let id = server.process.as_ref().expect("a running server").id().to_string();
        let output = Command::new("nsenter").args(["--mount", "--target", &id]).args(command).output();
        let output = output.expect("nsenter runs");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts a killed server again and waits until it answers.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self, name: &str) {
        self.restart_with(name, &[]);
    }

    /// As [`Site::restart`], with further variables in its environment.
    pub fn restart_with(&mut self, name: &str, environment: &[(&'static str, String)]) {
        let index = self.servers.iter().position(|server| server.name == name).expect("a server of the site");
        self.servers[index].environment = environment.to_vec();
        self.launch(index);
        let (machine, port) = (self.servers[index].machine.clone(), self.servers[index].port);
        let greeted = server::greets_again(&machine, port, || {
            let process = self.servers[index].process.as_mut();
            if process.is_some_and(|process| process.ended().is_some()) {
                self.launch(index);
            }
        });
        greeted.unwrap_or_else(|why| panic!("{name}: {why}\n{}", self.server_log(&self.servers[index])));
    }

    /// Restarts a server with another certificate.
    ///
    /// # Panics
    /// As [`Site::restart`].
    pub fn present(&mut self, name: &str, credential: Credential) {
        self.kill(name);
        let server =
            self.servers.iter_mut().find(|server| server.name == name).expect("a server of the site");
        server.credential = Some(credential);
        self.restart(name);
    }

    /// The last lines of every server, for messages.
    pub fn logs(&self) -> String {
        self.servers
            .iter()
            .map(|server| format!("--- {}\n{}\n", server.name, self.server_log(server)))
            .collect()
    }

    /// A line for every transfer that a server has called complete, in order: `TYPE=STOR`, `FILE=…`, `NBYTES=…`.
    pub fn completed(&self, name: &str) -> Vec<String> {
        let file = self.directory.path().join(format!("log/{name}.transfers"));
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().filter(|line| line.contains("CODE=226")).map(str::to_owned).collect()
    }

    fn signal(&self, name: &str, signal: Signal) {
        let server = self.servers.iter().find(|server| server.name == name).expect("a server of the site");
        server.process.as_ref().expect("a running server").signal(signal);
    }

    fn write_hosts(&self) {
        let mut text = String::from("127.0.0.1 localhost\n::1 localhost\n");
        for machine in self.lab.machines() {
            let name =
                if machine.role() == "door" { VIRTUAL_NAME.to_owned() } else { name_of(machine.role()) };
            for address in machine.addresses() {
                writeln!(text, "{address} {name}").expect("a string takes lines");
            }
        }
        std::fs::write(self.hosts_file(), text).expect("our own file");
    }

    /// Host certificates by role; none for an anonymous site.
    fn issue_certificates(&mut self) -> Vec<(&'static str, Credential)> {
        let Security::Gsi(style) = self.security else { return Vec::new() };
        let authority = Authority::new(&self.directory.path().join("ca"), "Test CA");
        let roles = ROLES.iter().map(|(role, _)| *role).filter(|role| !["client", "door"].contains(role));
        let credentials = match style {
            HostCertificates::Shared => {
                let mut names = vec![VIRTUAL_NAME.to_owned()];
                names.extend(roles.clone().map(name_of));
                let credential = authority.issue_host("host", &names);
                roles.map(|role| (role, credential.clone())).collect()
            }
            HostCertificates::Own => roles
                .map(|role| (role, authority.issue_host(role, &[name_of(role), VIRTUAL_NAME.to_owned()])))
                .collect(),
        };
        let proxy = authority.issue_user("user", USER);
        std::fs::write(self.directory.path().join("etc/grid-mapfile"), format!("\"{USER}\" {ACCOUNT}\n"))
            .expect("our own file");
        self.authority = Some((authority, proxy));
        credentials
    }

    fn list_servers(&mut self, servers: Servers, credentials: &[(&'static str, Credential)]) {
        let mut add = |name: String, role: &str, port, extended, kind| {
            let credential = credentials.iter().find(|(owner, _)| *owner == role).map(|(_, own)| own.clone());
            let machine = self.lab.machine(role).clone();
            self.servers.push(Server {
                name,
                machine,
                port,
                extended,
                role: kind,
                credential,
                environment: Vec::new(),
                process: None,
            });
        };
        for role in REAL_SERVERS {
            add(role.to_owned(), role, PORT, false, Role::Plain);
        }
        if servers == Servers::All {
            for role in REAL_SERVERS {
                add(format!("{role}-extended"), role, EXTENDED_PORT, true, Role::Plain);
            }
            add("d1".to_owned(), "d1", PORT, false, Role::DataNode);
            add("d2".to_owned(), "d2", PORT, false, Role::DataNode);
            add("front".to_owned(), "front", PORT, false, Role::Front);
        }
    }

    fn launch(&mut self, index: usize) {
        let configuration = self.directory.path().join(format!("etc/{}.conf", self.servers[index].name));
        std::fs::write(&configuration, self.configuration(&self.servers[index])).expect("our own file");
        let server = &self.servers[index];
        let mut command = server.machine.command(Some(&self.hosts_file()), "globus-gridftp-server");
        command.arg("-c").arg(configuration);
        if server.extended {
            command.arg("-epsv-ip");
        }
        command
            .env_remove("X509_USER_PROXY")
            .env("GSI_AUTHZ_CONF", "/dev/null")
            .env("GLOBUS_GSSAPI_NAME_COMPATIBILITY", "STRICT_RFC2818")
            .env("GRIDMAP", self.directory.path().join("etc/grid-mapfile"))
            // A server that listens on everything announces the address of its host name.
            .env("GLOBUS_HOSTNAME", name_of(server.machine.role()));
        if let (Some((authority, _)), Some(credential)) = (&self.authority, &server.credential) {
            command
                .env("X509_CERT_DIR", authority.anchors())
                .env("X509_USER_CERT", &credential.certificate)
                .env("X509_USER_KEY", &credential.key);
        }
        command.envs(server.environment.iter().map(|(name, value)| (name, value)));
        let process =
            Process::spawn(command, &self.directory.path().join(format!("log/{}.out", server.name)));
        self.servers[index].process = Some(process);
    }

    fn configuration(&self, server: &Server) -> String {
        let root = path_text(self.directory.path());
        let name = &server.name;
        let mut text = format!(
            "port {}\nlog_level ERROR,WARN,INFO\nlog_single \"{root}/log/{name}.log\"\nlog_transfer \"{root}/log/{name}.transfers\"\nhome_dir \"{root}/data\"\n\
             connections_max 1000\nallow_disabled_login 1\n",
            server.port
        );
        if self.security == Security::Anonymous {
            let group =
                if std::fs::read_to_string("/etc/group").is_ok_and(|groups| groups.contains("\nnogroup:")) {
                    "nogroup"
                } else {
                    ACCOUNT
                };
            writeln!(text, "allow_anonymous 1\nanonymous_user {ACCOUNT}\nanonymous_group {group}")
                .expect("a string takes lines");
        }
        // Front-end and data nodes talk in clear text here: it is not what the tests are about.
        match server.role {
            Role::Plain => {}
            Role::DataNode => text.push_str("data_node 1\nsecure_ipc 0\nipc_auth_mode none\nauth_level 0\n"),
            Role::Front => {
                let nodes = ["d1", "d2"].map(|node| format!("{}:{PORT}", self.machine(node).v4())).join(",");
                writeln!(text, "remote_nodes {nodes}\nsecure_ipc 0\nipc_auth_mode none").expect("a string");
            }
        }
        text
    }

    fn server_log(&self, server: &Server) -> String {
        let read = |kind| {
            let file = self.directory.path().join(format!("log/{}.{kind}", server.name));
            std::fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
        };
        // Nobody resolves addresses backwards here, and every session says so.
        let text = read("out") + &read("log");
        let telling: Vec<&str> = text
            .lines()
            .filter(|line| {
                line.starts_with('[') && !line.contains("resolve hostname") && !line.contains("local contact")
            })
            .collect();
        tail(&telling.join("\n"), 6)
    }
}

/// Removes the directories of test processes that were killed; their servers went with their labs.
fn remove_abandoned() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        if is_abandoned(&entry.file_name().to_string_lossy(), DIRECTORY) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The host name of a machine.
pub fn name_of(role: &str) -> String {
    format!("{role}.grid.test")
}

/// A path of ours as text.
pub fn path_text(path: &Path) -> String {
    path.to_str().expect("temporary directories have plain names").to_owned()
}
