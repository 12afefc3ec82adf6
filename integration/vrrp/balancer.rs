//! A balancer with one virtual router, of either program, from one description.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::deadline;
use crate::support::door::program;
use crate::support::keepalived::Keepalived;
use crate::support::netns::Machine;
use crate::support::process::{Process, tail};

/// Ready in some 10 ms; but everything here runs beside everything else.
const START: Duration = Duration::from_secs(30);
/// With nothing under way.
const STOP: Duration = Duration::from_secs(20);

/// Of version 2; keepalived cuts at eight bytes.
pub const PASSWORD: &str = "gridftp1";

/// Whose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Program {
    Ours,
    Keepalived,
}

impl Program {
    pub fn word(self) -> &'static str {
        match self {
            Self::Ours => "gridfront",
            Self::Keepalived => "keepalived",
        }
    }

    pub fn other(self) -> Self {
        match self {
            Self::Ours => Self::Keepalived,
            Self::Keepalived => Self::Ours,
        }
    }
}

/// How adverts go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    Multicast,
    Unicast,
    /// Multicast, from an interface with the virtual router's MAC address.
    VirtualMac,
    /// The same, with us alone.
    OurVirtualMac,
    /// The same, with keepalived alone.
    TheirVirtualMac,
}

/// What both programs are told, each in its own words.
#[derive(Clone, Copy, Debug)]
pub struct VirtualRouter {
    pub id: u8,
    pub version: u8,
    pub is_ipv6: bool,
    pub interval: Duration,
    pub way: Way,
    pub has_password: bool,
    pub preempt: bool,
}

impl VirtualRouter {
    /// Version 3 over IPv4 by multicast.
    pub fn new(id: u8, interval: Duration) -> Self {
        let (version, way) = (3, Way::Multicast);
        Self { id, version, is_ipv6: false, interval, way, has_password: false, preempt: true }
    }

    /// The one to watch.
    pub fn address(&self) -> IpAddr {
        if self.is_ipv6 {
            format!("fd77::1:{}", self.id).parse().expect("an address")
        } else {
            IpAddr::from([10, 77, 1, self.id])
        }
    }

    /// All of them, with their prefixes. Those of IPv6 begin with a link-local one (RFC 9568 section 5.2.9).
    pub fn addresses(&self) -> Vec<String> {
        if self.is_ipv6 {
            vec![format!("fe80::1:{}/64", self.id), format!("{}/64", self.address())]
        } else {
            vec![format!("{}/24", self.address())]
        }
    }

    /// `Skew_Time`: after priority 0 a backup takes over.
    pub fn skew(&self, priority: u8) -> Duration {
        let unit = if self.version == 2 { Duration::from_secs(1) } else { self.interval };
        unit * (256 - u32::from(priority)) / 256
    }

    /// `Active_Down_Interval`: after silence.
    pub fn down(&self, priority: u8) -> Duration {
        self.interval * 3 + self.skew(priority)
    }

    fn for_keepalived(&self, machine: &Machine, peer: &Machine, priority: u8) -> String {
        let mut text = format!(
            "vrrp_instance VI {{\n  version {}\n  state BACKUP\n  interface eth0\n  virtual_router_id {}\n  \
             priority {priority}\n  advert_int {}\n",
            self.version,
            self.id,
            self.interval.as_secs_f64()
        );
        if !self.preempt {
            text += "  nopreempt\n";
        }
        if priority == 255 && !self.is_ipv6 {
            // It takes no address for its own that is a virtual one.
            writeln!(text, "  mcast_src_ip {}", self.address()).unwrap();
        }
        if self.has_password {
            writeln!(text, "  authentication {{\n    auth_type PASS\n    auth_pass {PASSWORD}\n  }}")
                .unwrap();
        }
        match self.way {
            Way::Multicast | Way::OurVirtualMac => {}
            Way::VirtualMac | Way::TheirVirtualMac => writeln!(text, "  use_vmac vrrp.{}", self.id).unwrap(),
            Way::Unicast => {
                let [from, to] = self.ends(machine, peer);
                writeln!(text, "  unicast_src_ip {from}\n  unicast_peer {{\n    {to}\n  }}").unwrap();
            }
        }
        text += "  virtual_ipaddress {\n";
        for address in self.addresses() {
            writeln!(text, "    {address}").unwrap();
        }
        text + "  }\n}\n"
    }

    /// Its table in our configuration, with further keys.
    pub fn for_us(&self, machine: &Machine, peer: &Machine, priority: u8, keys: &str) -> String {
        let mut text = format!(
            "\n[[vrrp_instance]]\nname = \"VI_{id}\"\ninterface = \"eth0\"\nvirtual_router_id = {id}\nversion = {}\n\
             priority = {priority}\nadvert_interval = \"{}ms\"\npreempt = {}\nvirtual_addresses = {:?}\n{keys}\n",
            self.version,
            self.interval.as_millis(),
            self.preempt,
            self.addresses(),
            id = self.id
        );
        match self.way {
            Way::Multicast | Way::TheirVirtualMac => {}
            Way::VirtualMac | Way::OurVirtualMac => text += "use_vmac = true\n",
            Way::Unicast => {
                let [from, to] = self.ends(machine, peer);
                writeln!(text, "source_address = \"{from}\"\nunicast_peers = [\"{to}\"]").unwrap();
            }
        }
        if self.has_password {
            writeln!(text, "[vrrp_instance.authentication]\ntype = \"PASS\"\npassword = \"{PASSWORD}\"")
                .unwrap();
        }
        text
    }

    fn ends(&self, machine: &Machine, peer: &Machine) -> [IpAddr; 2] {
        [machine, peer].map(|of| if self.is_ipv6 { of.v6().into() } else { of.v4().into() })
    }
}

/// The door with nothing but virtual routers. Dropping it kills it; its guardian sees to its addresses.
#[derive(Debug)]
pub struct Gridfront {
    process: Process,
    configuration: PathBuf,
    _directory: TempDir,
}

impl Gridfront {
    /// Starts it with these instances and returns when it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(machine: &Machine, instances: &str) -> Self {
        Self::launch(machine, &[], instances)
    }

    /// The same by way of another program and its arguments, which exec it.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn launch(machine: &Machine, by_way_of: &[&str], instances: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (file, socket) = (directory.path().join("gridfront.toml"), directory.path().join("admin.sock"));
        let global = format!(
            "[global]\nrouter_id = \"{}\"\nadmin_socket = \"{}\"\nthreads = 1\n",
            machine.role(),
            socket.display()
        );
        std::fs::write(&file, global + instances).expect("our own file");
        let words = [by_way_of, &[program(), "run", "-c"]].concat();
        let mut command = machine.command(None, words[0]);
        command.args(&words[1..]).arg(&file);
        let process = Process::spawn(command, &directory.path().join("log"));
        let mut door = Self { process, configuration: file, _directory: directory };
        let ready = deadline::until("gridfront's readiness", START, || {
            if let Some(status) = door.process.ended() {
                return Err(format!("it ended: {status}"));
            }
            door.instances().map(drop)
        });
        ready.unwrap_or_else(|why| panic!("{why}\n{}\n{instances}", door.log()));
        door
    }

    /// What `status --json` says of virtual routers.
    ///
    /// # Errors
    /// What it says instead.
    pub fn instances(&self) -> Result<Vec<Value>, String> {
        let mut command = Command::new(program());
        command.args(["status", "--json", "-c"]).arg(&self.configuration).stdin(Stdio::null());
        let output = command.output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let status: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        status["vrrp"].as_array().cloned().ok_or_else(|| format!("no vrrp in {status}"))
    }

    /// That of the virtual router with this number.
    ///
    /// # Panics
    /// When there is none.
    pub fn instance(&self, id: u8) -> Value {
        let instances = self.instances().unwrap_or_else(|why| panic!("{why}\n{}", self.log()));
        let found = instances.iter().find(|instance| instance["virtual_router_id"] == id);
        found.cloned().unwrap_or_else(|| panic!("no {id} in {instances:?}"))
    }

    /// Waits until `probe` holds of it.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn until(&self, id: u8, what: &str, limit: Duration, probe: impl Fn(&Value) -> bool) -> Value {
        deadline::until(what, limit, || {
            let instance = self.instance(id);
            if probe(&instance) { Ok(instance) } else { Err(instance.to_string()) }
        })
        .unwrap_or_else(|why| panic!("{why}\n{}", tail(&self.log(), 30)))
    }

    pub fn log(&self) -> String {
        self.process.output()
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }
}

/// Of either program.
#[derive(Debug)]
pub enum Balancer {
    Ours(Gridfront),
    Theirs(Keepalived),
}

impl Balancer {
    /// Starts one and returns when its virtual router is backup, or more.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn start(
        program: Program,
        machine: &Machine,
        peer: &Machine,
        router: &VirtualRouter,
        priority: u8,
    ) -> Self {
        match program {
            Program::Ours => {
                let door = Gridfront::start(machine, &router.for_us(machine, peer, priority, ""));
                door.until(router.id, "a virtual router at work", START, |instance| {
                    ["BACKUP", "MASTER"].map(Value::from).contains(&instance["state"])
                });
                Self::Ours(door)
            }
            Program::Keepalived => {
                Self::Theirs(Keepalived::start(machine, &router.for_keepalived(machine, peer, priority)))
            }
        }
    }

    /// Asks it to end, and does not wait.
    pub fn request_end(&self) {
        match self {
            Self::Ours(door) => door.process.signal(Signal::TERM),
            Self::Theirs(keepalived) => keepalived.request_end(),
        }
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait(&mut self) {
        match self {
            Self::Ours(door) => {
                let status = door.process.wait(STOP);
                assert!(status.is_some_and(|status| status.success()), "{status:?}: {}", door.log());
            }
            Self::Theirs(keepalived) => keepalived.wait(),
        }
    }

    /// `kill -9` of everything but what is there for this case.
    pub fn kill(&mut self) {
        match self {
            Self::Ours(door) => door.process.kill(),
            Self::Theirs(keepalived) => keepalived.kill(),
        }
    }

    pub fn log(&self) -> String {
        match self {
            Self::Ours(door) => door.log(),
            Self::Theirs(keepalived) => keepalived.log(),
        }
    }

    pub fn ours(&self) -> Option<&Gridfront> {
        match self {
            Self::Ours(door) => Some(door),
            Self::Theirs(_) => None,
        }
    }
}
