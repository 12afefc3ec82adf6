//! A little network on this machine: one namespace a machine, all on one bridge.
//!
//! Loopback lies about GridFTP: a Globus data listener binds 0.0.0.0, so on one host a connection to a wrong address
//! succeeds as well. Here every machine has an address of its own and nothing else answers at it.
//!
//! Each [`Lab`] has its own bridge, so labs use the same addresses and never meet. Names carry the process id and a
//! number; what a killed test process left behind is removed by the next lab.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where ip(8) keeps named namespaces.
const NAMED: &str = "/run/netns";
/// First letters of every namespace of ours.
const OURS: &str = "gfl";
/// The namespace that has only the bridge.
const HUB: &str = "hub";

static LABS: AtomicU32 = AtomicU32::new(0);

/// The network of one test. Dropping it kills what still runs in it and removes it.
#[derive(Debug)]
pub struct Lab {
    machines: Vec<Machine>,
    hub: String,
}

/// One namespace with an interface `eth0` on the bridge, `10.77.0.N/24` and `fd77::N/64`.
#[derive(Clone, Debug)]
pub struct Machine {
    role: String,
    namespace: String,
    /// Last part of both addresses.
    number: u8,
}

/// The bridge's end of the cable of a guest kernel. Dropping it removes it.
#[derive(Debug)]
pub struct Tap {
    hub: String,
    name: String,
}

impl Tap {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs `program` where the tap is.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", Path::new(NAMED).join(&self.hub).display())).arg(program);
        command
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // Gone already where the lab is.
        let words = ["-n", &self.hub, "link", "delete", &self.name];
        let _ = Command::new("ip").args(words).stderr(Stdio::null()).status();
    }
}

impl Lab {
    /// One machine for each role, with the last part of its addresses (written the same in both: `.11` and `::11`).
    ///
    /// # Panics
    /// When ip(8) fails.
    pub fn new(roles: &[(&str, u8)]) -> Self {
        remove_abandoned();
        let prefix = format!("{OURS}{}-{}-", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let hub = format!("{prefix}{HUB}");
        // Made bit by bit, so that a failure half way removes what is there.
        let mut lab = Self { machines: Vec::new(), hub: hub.clone() };
        ip(&["netns", "add", &hub]);
        // No snooping: without a querier the bridge would lose neighbour solicitations.
        batch(&hub, "link set lo up\nlink add br0 type bridge mcast_snooping 0\nlink set br0 up\n");
        for (role, number) in roles {
            let machine =
                Machine { role: (*role).to_owned(), namespace: format!("{prefix}{role}"), number: *number };
            ip(&["netns", "add", &machine.namespace]);
            lab.machines.push(machine);
            lab.add_interface(role);
        }
        lab
    }

    /// Takes a machine's interface out, with its addresses.
    ///
    /// # Panics
    /// As [`Lab::machine`].
    pub fn remove_interface(&self, role: &str) {
        batch(&self.machine(role).namespace, "link del eth0\n");
    }

    /// Puts another one in its place, with the same addresses.
    ///
    /// # Panics
    /// As [`Lab::machine`].
    pub fn add_interface(&self, role: &str) {
        let (machine, port, hub) = (self.machine(role), self.hub_port(role), &self.hub);
        let (v4, v6) = (machine.v4(), machine.v6());
        batch(
            &machine.namespace,
            &format!(
                "link add eth0 type veth peer name {port} netns {hub}\nlink set lo up\n\
                 addr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad\nlink set eth0 up\n"
            ),
        );
        batch(hub, &format!("link set {port} master br0\nlink set {port} up\n"));
    }

    /// A command that runs `program` at the bridge's end of a machine's cable, and the name of that end.
    ///
    /// # Panics
    /// As [`Lab::machine`].
    pub fn at_port(&self, role: &str, program: &str) -> (Command, String) {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", Path::new(NAMED).join(&self.hub).display())).arg(program);
        (command, self.hub_port(role))
    }

    /// A cable between two machines, past the bridge, without addresses: to `eth0` of the first, and to this interface of the
    /// second.
    ///
    /// # Panics
    /// When ip(8) fails.
    pub fn connect(&self, role: &str, (other, interface): (&str, &str)) {
        let (from, to) = (&self.machine(role).namespace, &self.machine(other).namespace);
        batch(from, &format!("link add eth0 type veth peer name {interface} netns {to}\n"));
    }

    /// A tap on the bridge, for the interface of a guest kernel that has a machine's place.
    ///
    /// # Panics
    /// When ip(8) fails, or there is one with this number.
    pub fn add_tap(&self, number: u8) -> Tap {
        let name = format!("t{number}");
        batch(
            &self.hub,
            &format!("tuntap add dev {name} mode tap\nlink set {name} master br0\nlink set {name} up\n"),
        );
        Tap { hub: self.hub.clone(), name }
    }

    /// Runs `work` on a thread where the bridge and all its ports are.
    ///
    /// # Panics
    /// As [`Machine::enter`].
    pub fn in_hub<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        enter(&Path::new(NAMED).join(&self.hub), work)
    }

    /// The machine that has this role.
    ///
    /// # Panics
    /// When the lab was made without it.
    pub fn machine(&self, role: &str) -> &Machine {
        self.machines
            .iter()
            .find(|machine| machine.role == role)
            .unwrap_or_else(|| panic!("no machine {role}"))
    }

    /// Pulls the cable of a machine, or plugs it in again: addresses stay, nothing passes, and nobody is told.
    ///
    /// # Panics
    /// As [`Lab::machine`].
    pub fn plug(&self, role: &str, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        batch(&self.hub, &format!("link set {} {state}\n", self.hub_port(role)));
    }

    /// Takes a machine's cable off the bridge, or puts it there again: nothing passes, and the machine sees a carrier all the time.
    ///
    /// # Panics
    /// As [`Lab::machine`].
    pub fn isolate(&self, role: &str, isolated: bool) {
        let master = if isolated { "nomaster" } else { "master br0" };
        batch(&self.hub, &format!("link set {} {master}\n", self.hub_port(role)));
    }

    /// Lets no more than `rate`, in the words of tc(8), arrive at a machine; without one, whatever comes.
    ///
    /// # Panics
    /// When tc(8) fails.
    pub fn throttle(&self, role: &str, rate: Option<&str>) {
        let port = self.hub_port(role);
        let words = match rate {
            Some(rate) => format!("qdisc add dev {port} root tbf rate {rate} burst 256k latency 200ms"),
            None => format!("qdisc del dev {port} root"),
        };
        let output =
            Command::new("tc").args(["-n", &self.hub]).args(words.split(' ')).output().expect("tc(8) runs");
        assert!(output.status.success(), "tc {words}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Gives every machine an `eth1` on another bridge, `10.78.0.N/24`.
    ///
    /// # Panics
    /// When ip(8) fails.
    pub fn add_second_network(&self) {
        batch(&self.hub, "link add br1 type bridge mcast_snooping 0\nlink set br1 up\n");
        for (index, machine) in self.machines.iter().enumerate() {
            machine.ip(&format!(
                "link add eth1 type veth peer name q{index} netns {}\naddr add 10.78.0.{}/24 dev eth1\nlink set eth1 up\n",
                self.hub, machine.number
            ));
            batch(&self.hub, &format!("link set q{index} master br1\nlink set q{index} up\n"));
        }
    }

    /// As [`Lab::plug`], of the second network.
    ///
    /// # Panics
    /// As [`Lab::machine`].
    pub fn plug_second(&self, role: &str, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        batch(&self.hub, &format!("link set {} {state}\n", self.hub_port(role).replace('p', "q")));
    }

    /// The bridge's end of a machine's cable.
    fn hub_port(&self, role: &str) -> String {
        let index = self.machines.iter().position(|machine| machine.role == role);
        format!("p{}", index.unwrap_or_else(|| panic!("no machine {role}")))
    }

    /// All of them.
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let names = self.machines.iter().map(|machine| machine.namespace.as_str());
        for namespace in names.chain([self.hub.as_str()]) {
            remove(namespace);
        }
    }
}

impl Machine {
    pub fn role(&self) -> &str {
        &self.role
    }

    pub fn v4(&self) -> Ipv4Addr {
        v4(self.number)
    }

    pub fn v6(&self) -> Ipv6Addr {
        v6(self.number)
    }

    /// Both addresses.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4().into(), self.v6().into()]
    }

    /// Gives the machine one more IPv4 address, or takes it away: what has a connection with it has vanished then, without FIN or
    /// RST.
    ///
    /// # Panics
    /// When ip(8) fails.
    pub fn set_address(&self, address: Ipv4Addr, present: bool) {
        let action = if present { "add" } else { "del" };
        batch(&self.namespace, &format!("addr {action} {address}/24 dev eth0\n"));
    }

    /// Commands of ip(8), a line each.
    ///
    /// # Panics
    /// When one fails.
    pub fn ip(&self, commands: &str) {
        batch(&self.namespace, commands);
    }

    /// A command that runs `program` on this machine, with `hosts` in place of /etc/hosts if given.
    pub fn command(&self, hosts: Option<&Path>, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.file().display()));
        if let Some(hosts) = hosts {
            // A mount namespace of the program's own; all of these exec, so the child is the program itself.
            command.args(["unshare", "--mount", "--propagation", "private", "sh", "-c"]);
            command.arg(r#"mount --bind "$0" /etc/hosts && exec "$@""#).arg(hosts);
        }
        command.arg(program);
        command
    }

    /// Runs `work` on a thread that is on this machine: sockets that it opens belong here, also after it has returned.
    ///
    /// # Panics
    /// When the namespace is gone, or `work` panics.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        enter(&self.file(), work)
    }

    fn file(&self) -> PathBuf {
        Path::new(NAMED).join(&self.namespace)
    }
}

/// What a machine of this number has on the bridge.
pub fn v4(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, number)
}

/// As [`v4`].
pub fn v6(number: u8) -> Ipv6Addr {
    // The number is read as hexadecimal, so that both addresses look alike.
    let last = u16::from_str_radix(&number.to_string(), 16).expect("decimal digits are hexadecimal");
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last)
}

fn enter<T: Send>(namespace: &Path, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let file = std::fs::File::open(namespace).expect("the namespace is there");
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may enter it");
                work()
            })
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Removes the labs of test processes that are no more.
fn remove_abandoned() {
    let Ok(entries) = std::fs::read_dir(NAMED) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_abandoned(&name, OURS) {
            remove(&name);
        }
    }
}

/// Whether a name is `prefix`, the id of a process that is no more, `-` and anything.
pub fn is_abandoned(name: &str, prefix: &str) -> bool {
    let owner = name.strip_prefix(prefix).and_then(|rest| rest.split('-').next()).map(str::parse::<u32>);
    matches!(owner, Some(Ok(owner)) if !Path::new("/proc").join(owner.to_string()).exists())
}

/// Kills what runs in a namespace and deletes it. Errors are of no use to a caller that is cleaning up.
fn remove(namespace: &str) {
    if let Ok(listed) = Command::new("ip").args(["netns", "pids", namespace]).stderr(Stdio::null()).output() {
        for line in String::from_utf8_lossy(&listed.stdout).lines() {
            if let Some(pid) = line.trim().parse().ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
    let _ = Command::new("ip").args(["netns", "delete", namespace]).stderr(Stdio::null()).status();
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip(8) runs");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Several ip(8) commands in a namespace by one call.
fn batch(namespace: &str, commands: &str) {
    use std::io::Write as _;
    let mut child = Command::new("ip")
        .args(["-n", namespace, "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ip(8) runs");
    child.stdin.take().expect("a pipe").write_all(commands.as_bytes()).expect("ip(8) reads");
    let output = child.wait_with_output().expect("ip(8) ends");
    assert!(output.status.success(), "{commands}: {}", String::from_utf8_lossy(&output.stderr));
}
