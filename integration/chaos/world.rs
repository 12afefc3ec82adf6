//! The site and its door, and what may be done to them.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use hickory_resolver::proto::rr::rdata::A;
use hickory_resolver::proto::rr::{RData, RecordType};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::Value;

use super::bad_line::{BadLine, Trouble};
use super::log_reader::LogReader;
use super::plan::{Commands, Fault, Names, RealServer};
use super::vanishing::{self, Vanishing};
use crate::support::certificates::{Authority, Credential, set_mode};
use crate::support::deadline;
use crate::support::door::{Configuration, DIRECT_PORT, Door, RELAYED_PORT, program};
use crate::support::grid::{PORT, REAL_SERVERS, Security, Servers, Site, VIRTUAL_NAME, path_text};
use crate::support::name_server::{NameServer, Zone};
use crate::support::other_servers::{OtherServers, PROFTPD_PORT, PYFTPDLIB_PORT};

/// ProFTPD and pyftpdlib, which take data from the control connection's address only.
pub(super) const OTHERS_PORT: u16 = PROFTPD_PORT;
/// The door's that knows its real servers by one name, which is all of [`REAL_SERVERS`].
pub(super) const NAMED_PORT: u16 = 2895;
const NAME: &str = "servers.chaos.test.";
/// The machine of these two.
const OTHERS: &str = "s3";
/// Where the two bad lines begin, and the servers at their ends.
const LINES: [(&str, u16); 2] = [("s1", 2891), ("s2", 2892)];
/// What arrives at a machine on a slow network.
const SLOW: &str = "4mbit";
/// Beyond what the door serves at once.
const ADMINS: usize = 40;
/// The door's own time-outs, short so that a minute sees all of them.
pub(super) const LOGIN_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(8);
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
pub(super) const GREETING_TIMEOUT: Duration = Duration::from_secs(3);
/// Real servers of the largest virtual server: each is tried once.
pub(super) const REAL_SERVERS_AT_MOST: u32 = 4;
/// For a command to the door; some ms.
const ANSWER: Duration = Duration::from_secs(10);
/// From the last repair until every server is up. A check is made every half second; but a Globus server that was stopped first
/// starts a process for every connection that has waited meanwhile, on a busy machine one after the other.
const RECOVERY: Duration = Duration::from_secs(120);

/// See the module's text. Dropped in this order.
pub(super) struct World {
    pub(super) door: Door,
    pub(super) log_reader: LogReader,
    admins: Vec<UnixStream>,
    vanishing: Option<Vanishing>,
    vanished: usize,
    lines: Vec<BadLine>,
    names: NameServer,
    others: OtherServers,
    credentials: [Credential; 2],
    commands: Commands,
    configuration: String,
    descriptors: Rlimit,
    pub(super) site: Site,
}

impl World {
    pub(super) fn start() -> Self {
        let site = Site::start(Security::Anonymous, Servers::Three);
        let others = OtherServers::start_on(&site, &[OTHERS]);
        let lines = LINES.map(|(role, port)| {
            let machine = site.machine(role);
            BadLine::start(machine, port, SocketAddr::new(IpAddr::from(machine.v4()), PORT))
        });
        let here = site.machine("door");
        let address = SocketAddr::new(IpAddr::from(here.v4()), 53);
        let names = here.enter(|| NameServer::start_at(address, zone(&site, None)));
        let authority = Authority::new(&site.directory().join("ca"), "Chaos CA");
        let hosts = [VIRTUAL_NAME.to_owned()];
        let credentials = ["door-a", "door-b"].map(|file| authority.issue_host(file, &hosts));
        vanishing::prepare(&site.data_directory());
        let (log_reader, output) = LogReader::start(&Door::log_file(&site));
        install(&site, Some(&credentials[0]));
        let configuration = configuration(&site, names.address());
        let door = Door::start_with_output(&site, &configuration, output)
            .unwrap_or_else(|why| panic!("the door: {why}"));
        Self {
            door,
            log_reader,
            admins: Vec::new(),
            vanishing: None,
            vanished: 0,
            lines: lines.into(),
            names,
            others,
            credentials,
            commands: commands(),
            configuration: configuration.text().to_owned(),
            descriptors: getrlimit(Resource::Nofile),
            site,
        }
    }

    pub(super) fn commands(&self) -> Commands {
        self.commands
    }

    /// The certificate that clients believe.
    pub(super) fn authority_file(site: &Site) -> PathBuf {
        site.directory().join("ca/ca.pem")
    }

    /// Lets a fault begin.
    ///
    /// # Errors
    /// When the door does what it must not: end, or answer a command wrongly.
    pub(super) fn begin(&mut self, fault: Fault) -> Result<(), String> {
        match fault {
            Fault::Kill(RealServer::Globus(role)) => self.site.kill(role),
            Fault::Kill(other) => self.others.kill(program_of(other), OTHERS),
            Fault::Pause(server) => self.signal(server, Signal::STOP),
            Fault::Unplug(role) => self.site.lab().plug(role, false),
            Fault::Throttle(role) => self.site.lab().throttle(role, Some(SLOW)),
            Fault::Reset(role) => self.reset_connections(role),
            Fault::Line(index, trouble) => self.lines[index].set(trouble),
            Fault::NewCertificate => install(&self.site, Some(&self.credentials[1])),
            Fault::BadCertificate => install(&self.site, None),
            Fault::StuckLogReader => self.log_reader.set_stuck(true),
            Fault::FewDescriptors(more) => self.allow_descriptors(more),
            Fault::FreezeDoor => self.door.signal(Signal::STOP),
            Fault::Vanish => {
                let door = IpAddr::from(self.site.machine("door").v4());
                let doors = [PORT, RELAYED_PORT].map(|port| SocketAddr::new(door, port));
                self.vanishing = Some(Vanishing::begin(self.site.machine("client"), self.vanished, doors));
                self.vanished += 1;
            }
            Fault::DawdlingAdmins => self.dawdle(),
            Fault::Reload => {
                // Other settings of every kind that a reload may change, the servers' order among them.
                let text = self.configuration.replace("lb_algo = \"wlc\"", "lb_algo = \"wrr\"");
                self.reload(&text, true)?;
            }
            Fault::BadReload => {
                let text =
                    format!("{}\n[[virtual_server]]\nname = \"gridftp\"\nport = \"x\"\n", self.configuration);
                self.reload(&text, false)?;
                self.write_configuration(&self.configuration);
            }
            Fault::Names(Names::Fail) => self.names.fail(),
            Fault::Names(Names::Silent) => self.names.fall_silent(),
            Fault::Names(Names::Without(role)) => self.names.says(zone(&self.site, Some(role))),
            Fault::Drain(name) => self.tell(&["drain", name], true)?,
            Fault::Weight(name, weight) => self.weigh(name, weight)?,
        }
        Ok(())
    }

    /// Repairs what a fault has done.
    ///
    /// # Errors
    /// As [`World::begin`].
    pub(super) fn end(&mut self, fault: Fault) -> Result<(), String> {
        match fault {
            Fault::Kill(RealServer::Globus(role)) => self.site.restart(role),
            Fault::Kill(other) => self.others.restart(&self.site, program_of(other), OTHERS),
            Fault::Pause(server) => self.signal(server, Signal::CONT),
            Fault::Unplug(role) => self.site.lab().plug(role, true),
            Fault::Throttle(role) => self.site.lab().throttle(role, None),
            Fault::Line(index, _) => self.lines[index].set(Trouble::None),
            Fault::NewCertificate | Fault::BadCertificate => install(&self.site, Some(&self.credentials[0])),
            Fault::StuckLogReader => self.log_reader.set_stuck(false),
            Fault::FewDescriptors(_) => self.set_descriptors(self.descriptors),
            Fault::FreezeDoor => self.door.signal(Signal::CONT),
            Fault::Vanish => drop(self.vanishing.take().map(Vanishing::end)),
            Fault::DawdlingAdmins => self.admins.clear(),
            Fault::Reload => self.reload(&self.configuration, true)?,
            Fault::Names(_) => self.names.says(zone(&self.site, None)),
            Fault::Drain(name) => self.tell(&["undrain", name], true)?,
            Fault::Weight(name, _) => self.weigh(name, 1)?,
            Fault::Reset(_) | Fault::BadReload => {}
        }
        Ok(())
    }

    /// Waits until the door sends sessions everywhere again.
    ///
    /// # Errors
    /// Which server it does not.
    pub(super) fn recover(&mut self) -> Result<(), String> {
        deadline::until("every server up again", RECOVERY, || {
            self.alive()?;
            let down: Vec<String> = self
                .door
                .real_servers()?
                .into_iter()
                .filter(|(.., server)| server["state"] != "up")
                .map(|(service, name, server)| format!("{service}/{name}: {server}"))
                .collect();
            if down.is_empty() { Ok(()) } else { Err(down.join("; ")) }
        })
    }

    /// # Errors
    /// How the door ended.
    pub(super) fn alive(&mut self) -> Result<(), String> {
        match self.door.ended() {
            None => Ok(()),
            Some(status) => Err(format!("THE DOOR HAS ENDED: {status}\n{}", self.door.log_tail())),
        }
    }

    /// Whether the door has a connection open whose other end is one of these sockets of the clients. If it has none, it has
    /// done its part: a reset is sent once, and may have been lost on a cable that was pulled.
    pub(super) fn holds(&self, clients: &[SocketAddr]) -> bool {
        let sockets = self.sockets("door");
        // What has no process any more the kernel is closing.
        sockets.lines().filter(|line| line.contains("users:")).any(|line| {
            let peer = line.split_whitespace().nth(4).and_then(parse_address);
            peer.is_some_and(|peer| clients.contains(&peer))
        })
    }

    /// Whether a byte from or to these sockets of the clients has not been read yet.
    pub(super) fn has_bytes_under_way(&self, clients: &[SocketAddr]) -> bool {
        // State, receive queue, send queue, the own address, the peer's.
        let waits = |line: &str, address: usize| {
            let words: Vec<_> = line.split_whitespace().collect();
            let known = words.get(address).and_then(|word| parse_address(word));
            known.is_some_and(|known| clients.contains(&known)) && words[1..3] != ["0", "0"]
        };
        self.sockets("client").lines().any(|line| waits(line, 3))
            || self.sockets("door").lines().any(|line| waits(line, 4))
    }

    /// The sockets of a process on the clients' machine.
    pub(super) fn sockets_of_client(&self, id: u32) -> Vec<SocketAddr> {
        let marker = format!("pid={id},");
        let sockets = self.sockets("client");
        let own = sockets.lines().filter(|line| line.contains(&marker));
        own.filter_map(|line| parse_address(line.split_whitespace().nth(3)?)).collect()
    }

    fn sockets(&self, role: &str) -> String {
        let mut command = self.site.machine(role).command(None, "ss");
        let output = command
            .args(["-tnopH", "state", "connected", "exclude", "time-wait"])
            .output()
            .expect("ss(8) runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What is known when something hangs.
    pub(super) fn diagnosis(&self) -> String {
        let sockets = |role| self.sockets(role);
        let status = self.door.status().map_or_else(|why| why, |status: Value| format!("{status:#}"));
        let servers = REAL_SERVERS.map(|role| format!("--- sockets of {role}\n{}", sockets(role))).concat();
        format!(
            "--- the door's sockets\n{}--- the clients' sockets\n{}{servers}--- status\n{status}\n--- log\n{}\n--- servers\n{}{}",
            sockets("door"),
            sockets("client"),
            self.door.log_tail(),
            self.site.logs(),
            self.others.logs(),
        )
    }

    fn signal(&self, server: RealServer, signal: Signal) {
        match server {
            RealServer::Globus(role) if signal == Signal::STOP => self.site.freeze(role),
            RealServer::Globus(role) => self.site.resume(role),
            other => self.others.signal(program_of(other), OTHERS, signal),
        }
    }

    fn reset_connections(&self, role: &str) {
        let peer = self.site.machine(role).v4().to_string();
        let mut command = self.site.machine("door").command(None, "ss");
        let status = command.args(["-K", "-tn", "dst", &peer]).stdout(Stdio::null()).status();
        assert!(status.is_ok_and(|status| status.success()), "ss -K");
    }

    fn allow_descriptors(&self, more: usize) {
        let listed = std::fs::read_dir(format!("/proc/{}/fd", self.door.id())).expect("the door runs");
        let open = listed.count() as u64;
        let limit = Rlimit { current: Some(open + more as u64), maximum: self.descriptors.maximum };
        self.set_descriptors(limit);
    }

    fn set_descriptors(&self, limit: Rlimit) {
        let pid = i32::try_from(self.door.id()).ok().and_then(Pid::from_raw);
        prlimit(pid, Resource::Nofile, limit).expect("our own child's limit");
    }

    fn dawdle(&mut self) {
        let socket = self.configuration.lines().find_map(|line| line.strip_prefix("admin_socket = "));
        let socket = socket.expect("a key of the configuration").trim_matches('"').to_owned();
        self.admins.extend((0..ADMINS).filter_map(|_| UnixStream::connect(&socket).ok()));
    }

    fn write_configuration(&self, text: &str) {
        let file = self.door.configuration();
        let new = file.with_extension("new");
        std::fs::write(&new, text).expect("a file of ours");
        std::fs::rename(&new, file).expect("a file of ours");
    }

    fn reload(&self, text: &str, good: bool) -> Result<(), String> {
        self.write_configuration(text);
        self.tell(&["reload"], good)
    }

    /// A weight belongs to a server of one virtual server.
    fn weigh(&self, name: &str, weight: usize) -> Result<(), String> {
        ["gridftp", "relayed"].into_iter().try_for_each(|service| {
            self.tell(&["weight", &format!("{service}/{name}"), &weight.to_string()], true)
        })
    }

    /// A command to the door, and whether it is to be obeyed.
    fn tell(&self, words: &[&str], good: bool) -> Result<(), String> {
        let output = self.site.scratch("command");
        let finished = crate::support::client::finish(self.door.command(words), &output, ANSWER);
        let _ = std::fs::remove_file(output);
        if finished.status.is_some() && finished.success() == good {
            Ok(())
        } else {
            Err(format!("gridfront {words:?}: {}: {}", finished.outcome(), finished.output))
        }
    }
}

/// As ss(8) writes it, where IPv4 on an IPv6 socket is IPv4.
fn parse_address(text: &str) -> Option<SocketAddr> {
    text.replace("::ffff:", "").replace(['[', ']'], "").parse().ok().or_else(|| text.parse().ok())
}

fn program_of(server: RealServer) -> &'static str {
    if server == RealServer::Proftpd { "proftpd" } else { "pyftpdlib" }
}

/// Puts certificate and key in place, both at once as they are one file; or a file that is neither.
fn install(site: &Site, credential: Option<&Credential>) {
    let file = site.directory().join("etc/door.pem");
    let text = credential.map_or_else(
        || "-----BEGIN CERTIFICATE-----\nAAAA\n".to_owned(),
        |Credential { certificate, key }| {
            let read = |path| std::fs::read_to_string(path).expect("a file of ours");
            read(certificate) + &read(key)
        },
    );
    let new = file.with_extension("new");
    std::fs::write(&new, text).expect("a file of ours");
    set_mode(&new, 0o600);
    std::fs::rename(new, file).expect("a file of ours");
}

/// What the binary in front of us knows.
fn commands() -> Commands {
    let output = Command::new(program()).arg("--help").output().expect("the door's help");
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    let knows = |word: &str| help.lines().any(|line| line.split_whitespace().next() == Some(word));
    Commands { reload: knows("reload"), drain: knows("drain") && knows("undrain"), weight: knows("weight") }
}

/// What [`NAME`] stands for.
fn zone(site: &Site, without: Option<&str>) -> Zone {
    let left = REAL_SERVERS.iter().filter(|role| Some(**role) != without);
    let addresses = left.map(|role| RData::A(A(site.machine(role).v4()))).collect();
    Zone::from([((NAME, RecordType::A), addresses)])
}

fn configuration(site: &Site, name_server: SocketAddr) -> Configuration {
    let seconds = |duration: Duration| format!("\"{}s\"", duration.as_secs());
    let settings = format!(
        "lb_algo = \"wlc\"\nlogin_timeout = {}\nidle_timeout = {}\nconnect_timeout = {}\ngreeting_timeout = {}\n",
        seconds(LOGIN_TIMEOUT),
        seconds(IDLE_TIMEOUT),
        seconds(CONNECT_TIMEOUT),
        seconds(GREETING_TIMEOUT),
    );
    let check = "delay_loop = \"500ms\"\nconnect_timeout = \"1s\"\nretry = 1\ndelay_before_retry = \"100ms\"";
    let pem = path_text(&site.directory().join("etc/door.pem"));
    let tls = format!("\n[virtual_server.tls]\ncertificate = \"{pem}\"\nkey = \"{pem}\"");
    let with_line = |all: Configuration, index: usize| {
        let (role, port) = LINES[index];
        let [v4, v6] = site.machine(role).addresses();
        let keys = format!("data_addresses = [\"{v4}\", \"{v6}\"]");
        all.real_server(&format!("{role}-line"), &v4.to_string(), port, &keys)
    };
    let mut all = Configuration::new(site).global(&format!("nameservers = [\"{name_server}\"]"));
    all = all.virtual_server("gridftp", PORT, &(settings.clone() + &tls)).check(check).three(site, PORT);
    all = with_line(all, 0);
    let direct = format!("data_path = \"direct\"\n{settings}");
    all = all.virtual_server("direct", DIRECT_PORT, &direct).check(check).three(site, PORT);
    let relayed = format!("data_path = \"relay\"\n{settings}");
    all = all.virtual_server("relayed", RELAYED_PORT, &relayed).check(check).three(site, PORT);
    all = with_line(all, 1);
    all = all.virtual_server("named", NAMED_PORT, &settings).check(check).real_server("pool", NAME, PORT, "");
    all = all.virtual_server("others", OTHERS_PORT, &settings).check(check);
    let address = site.machine(OTHERS).v4().to_string();
    for (name, port) in [("proftpd", PROFTPD_PORT), ("pyftpdlib", PYFTPDLIB_PORT)] {
        all = all.real_server(name, &address, port, "checks_data_peer = true");
    }
    debug_assert_eq!(REAL_SERVERS.len() + 1, REAL_SERVERS_AT_MOST as usize);
    all
}
