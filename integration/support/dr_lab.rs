//! The network of Direct Routing: requests come by the balancer, replies go past it.
//!
//! ```text
//!   client ───── router ───── bridge ───── the place of a balancer: a guest kernel, numbers 11 and 12
//!   10.78.0.2    .1    .1     10.77.0.0/24 ├ rs1 .21
//!   fd78::2      ::1   ::1    fd77::/64    ├ rs2 .22
//!                                          └ rs3 .23
//! ```
//!
//! The router is why it can be seen: without one, replies would have no other way than requests. Every real server has the
//! virtual addresses on `lo` and says nothing of them to its neighbours.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::certificates::{Authority, Credential, USER, set_mode};
use super::grid::VIRTUAL_NAME;
use super::interfaces::{self, Passed};
use super::name_service::{Conversation, NameService};
use super::netns::{Lab, Machine, v4, v6};
use super::process::{Process, tail};
use super::uml::{Plan, Uml};
use super::{deadline, server};

/// All of them.
pub const REAL_SERVERS: [&str; 3] = ["rs1", "rs2", "rs3"];
/// The number of a balancer's place.
pub const BALANCER: u8 = 11;
/// That of a second one.
pub const SECOND_BALANCER: u8 = 12;

/// Where clients are. There is no other way out: who asks the host's name server is refused at once.
const CLIENTS: &str = "10.78.0.0/24";
const CLIENTS_V6: &str = "fd78::/64";
/// The last part of the virtual addresses.
const VIRTUAL: u8 = 100;
/// A program that serves is there in some 0.1 s.
const START: Duration = Duration::from_secs(20);

/// Dropping it removes it, and ends whatever runs in it.
#[derive(Debug)]
pub struct DrLab {
    lab: Lab,
}

/// A program on a real server, with its directory. Dropping it ends it.
// Dropped in this order.
#[derive(Debug)]
pub struct Served {
    pub process: Process,
    directory: TempDir,
}

/// An authority, its user, and what servers and clients need of it.
#[derive(Debug)]
pub struct Grid {
    authority: Authority,
    proxy: PathBuf,
    directory: TempDir,
}

impl Default for DrLab {
    fn default() -> Self {
        Self::new()
    }
}

impl DrLab {
    /// # Panics
    /// When ip(8) fails.
    pub fn new() -> Self {
        let lab = Lab::new(&[("client", 2), ("router", 1), ("rs1", 21), ("rs2", 22), ("rs3", 23)]);
        lab.remove_interface("client");
        lab.connect("client", ("router", "eth1"));
        lab.machine("client")
            .ip("addr add 10.78.0.2/24 dev eth0\naddr add fd78::2/64 dev eth0 nodad\nlink set eth0 up\n\
             route add default via 10.78.0.1\nroute add default via fd78::1\n");
        let router = lab.machine("router");
        router.ip("addr add 10.78.0.1/24 dev eth1\naddr add fd78::1/64 dev eth1 nodad\nlink set eth1 up\n");
        // A way past the balancer is nothing that the router may tell anybody.
        set(router, &["ipv4/ip_forward", "ipv6/conf/all/forwarding"], "1");
        set(router, &["ipv4/conf/all/send_redirects", "ipv4/conf/eth0/send_redirects"], "0");
        let routes = format!("route add {CLIENTS} via {}\nroute add {CLIENTS_V6} via {}\n", v4(1), v6(1));
        for role in REAL_SERVERS {
            let machine = lab.machine(role);
            // IPv6 needs none of that: a neighbour is answered by the interface that has the address.
            set(machine, &["ipv4/conf/all/arp_ignore"], "1");
            set(machine, &["ipv4/conf/all/arp_announce"], "2");
            let [vip, vip6] = [v4(VIRTUAL).to_string(), v6(VIRTUAL).to_string()];
            machine.ip(&format!("{routes}addr add {vip}/32 dev lo\naddr add {vip6}/128 dev lo nodad\n"));
        }
        Self { lab }
    }

    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// As [`Lab::machine`].
    ///
    /// # Panics
    /// When it has no machine of this role.
    pub fn machine(&self, role: &str) -> &Machine {
        self.lab.machine(role)
    }

    /// The virtual addresses, of both families.
    pub fn vips() -> [IpAddr; 2] {
        [v4(VIRTUAL).into(), v6(VIRTUAL).into()]
    }

    /// The addresses of all real servers in the family of `vip`.
    pub fn real_servers(&self, vip: IpAddr) -> Vec<IpAddr> {
        let machines = REAL_SERVERS.iter().map(|role| self.machine(role).addresses());
        machines.flatten().filter(|address| address.is_ipv4() == vip.is_ipv4()).collect()
    }

    /// A guest in a balancer's place: IPVS, routes, and no virtual address.
    #[must_use]
    pub fn plan(&self, number: u8) -> Plan {
        Plan::default().modules(&["ip_vs", "ip_vs_wlc"]).on(&self.lab, number).setup(&format!(
            "ip route add {CLIENTS} via {}; ip route add {CLIENTS_V6} via {}",
            v4(1),
            v6(1)
        ))
    }

    /// The balancer: has the virtual addresses.
    ///
    /// # Panics
    /// As [`Plan::start`].
    pub fn balancer(&self) -> Uml {
        self.plan(BALANCER).setup(&Self::take_vips()).start()
    }

    /// The command that gives a guest the virtual addresses. The router knows nothing of it, if it has asked before.
    pub fn take_vips() -> String {
        format!(
            "ip addr add {}/32 dev vec0; ip addr add {}/128 dev vec0 nodad preferred_lft 0",
            v4(VIRTUAL),
            v6(VIRTUAL)
        )
    }

    /// What a guest's interface has passed.
    ///
    /// # Panics
    /// When there is no guest in this place.
    pub fn passed_by_balancer(&self, number: u8) -> Passed {
        interfaces::passed_by_guest(&self.lab, number)
    }

    /// What the only interface of the client or of a real server has passed; of the router, that to the bridge.
    ///
    /// # Panics
    /// As [`DrLab::machine`].
    pub fn passed(&self, role: &str) -> Passed {
        interfaces::passed(self.machine(role), "eth0")
    }

    /// A service that says its name, on each of the real servers, in their order.
    ///
    /// # Panics
    /// When a port is taken.
    pub fn serve_names(&self, ports: &[u16]) -> Vec<NameService> {
        REAL_SERVERS.iter().map(|role| NameService::start(self.machine(role), ports)).collect()
    }

    /// A client's connection with such a service.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn converse(&self, address: IpAddr, port: u16) -> std::io::Result<Conversation> {
        Conversation::begin(self.machine("client"), address, port)
    }

    /// The same from this address, which the client's machine has been given.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn converse_from(&self, source: IpAddr, address: IpAddr, port: u16) -> std::io::Result<Conversation> {
        Conversation::begin_from(self.machine("client"), source, address, port)
    }

    /// A Globus server that takes anybody, with further lines of its configuration. Its files are in `data` of its directory.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn serve_globus(&self, role: &str, port: u16, settings: &str) -> Served {
        let group = if fs::read_to_string("/etc/group").is_ok_and(|groups| groups.contains("\nnogroup:")) {
            "nogroup"
        } else {
            "nobody"
        };
        let anybody =
            format!("allow_anonymous 1\nanonymous_user nobody\nanonymous_group {group}\n{settings}");
        self.serve(role, port, &anybody, &format!("{role}.grid.test"), &[])
    }

    /// The same that takes the users of `grid` and nobody else. As what it announces for data it takes the virtual addresses, by
    /// the virtual name.
    ///
    /// # Panics
    /// As [`DrLab::serve_globus`].
    pub fn serve_grid(&self, grid: &Grid, role: &str, port: u16, settings: &str) -> Served {
        let Credential { certificate, key } =
            grid.authority.issue_host(role, &[format!("{role}.grid.test"), VIRTUAL_NAME.to_owned()]);
        let environment = [
            ("X509_CERT_DIR", grid.authority.anchors()),
            ("X509_USER_CERT", certificate),
            ("X509_USER_KEY", key),
            ("GRIDMAP", grid.mapfile()),
        ];
        self.serve(role, port, settings, VIRTUAL_NAME, &environment)
    }

    fn serve(
        &self,
        role: &str,
        port: u16,
        settings: &str,
        announced: &str,
        environment: &[(&str, PathBuf)],
    ) -> Served {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().display();
        set_mode(directory.path(), 0o755);
        fs::create_dir(directory.path().join("data")).expect("a directory of ours");
        set_mode(&directory.path().join("data"), 0o1777);
        let configuration = format!(
            "port {port}\nlog_level ERROR,WARN,INFO\nlog_single \"{root}/log\"\nhome_dir \"{root}/data\"\nconnections_max 1000\nallow_disabled_login 1\n\
             banner \"{role}\"\n{settings}\n"
        );
        let (file, hosts) = (directory.path().join("gridftp.conf"), directory.path().join("hosts"));
        fs::write(&file, configuration).expect("our own file");
        // Nobody answers questions for names here, and it asks for its own.
        let machine = self.machine(role);
        let own = machine.addresses().map(|address| format!("{address} {role}.grid.test\n")).concat();
        fs::write(&hosts, hosts_with(&own)).expect("our own file");
        let mut command = machine.command(Some(&hosts), "globus-gridftp-server");
        command.arg("-c").arg(file).env_remove("X509_USER_PROXY").env("GSI_AUTHZ_CONF", "/dev/null");
        command.env("GLOBUS_GSSAPI_NAME_COMPATIBILITY", "STRICT_RFC2818").env("GLOBUS_HOSTNAME", announced);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let process = Process::spawn(command, &directory.path().join("output"));
        let served = Served { process, directory };
        let greeted = server::greets(machine, port);
        greeted.unwrap_or_else(|why| panic!("{role}: {why}\n{}", tail(&served.log(), 20)));
        served
    }

    /// An iperf3 server.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn serve_iperf(&self, role: &str, port: u16) -> Served {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = self.machine(role).command(None, "iperf3");
        command.args(["--server", "--forceflush", "--port", &port.to_string()]);
        let process = Process::spawn(command, &directory.path().join("output"));
        let served = Served { process, directory };
        let ready = deadline::until("iperf3", START, || {
            let said = served.process.output();
            if said.contains("Server listening") { Ok(()) } else { Err(said) }
        });
        ready.unwrap_or_else(|why| panic!("{role}: {why}"));
        served
    }
}

impl Default for Grid {
    fn default() -> Self {
        Self::new()
    }
}

impl Grid {
    /// # Panics
    /// When openssl(1) or grid-proxy-init(1) fails.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        set_mode(directory.path(), 0o755);
        let authority = Authority::new(&directory.path().join("ca"), "Test CA");
        let proxy = authority.issue_user("user", USER);
        let grid = Self { authority, proxy, directory };
        fs::write(grid.mapfile(), format!("\"{USER}\" nobody\n")).expect("our own file");
        fs::write(grid.hosts(), hosts_with("")).expect("our own file");
        grid
    }

    /// The /etc/hosts of a client.
    pub fn hosts(&self) -> PathBuf {
        self.directory.path().join("hosts")
    }

    /// What a user has in the environment.
    pub fn environment(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("X509_CERT_DIR", self.authority.anchors()),
            ("X509_USER_PROXY", self.proxy.clone()),
            ("GSI_AUTHZ_CONF", "/dev/null".into()),
        ]
    }

    fn mapfile(&self) -> PathBuf {
        self.directory.path().join("grid-mapfile")
    }
}

/// A hosts file with the virtual name, and further lines.
fn hosts_with(lines: &str) -> String {
    let [vip, vip6] = DrLab::vips();
    format!("127.0.0.1 localhost\n::1 localhost\n{vip} {VIRTUAL_NAME}\n{vip6} {VIRTUAL_NAME}\n{lines}")
}

impl Served {
    /// All that it has said.
    pub fn log(&self) -> String {
        let log = fs::read(self.directory().join("log")).unwrap_or_default();
        self.process.output() + &String::from_utf8_lossy(&log)
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// Settings below /proc/sys/net of a machine.
fn set(machine: &Machine, names: &[&str], value: &str) {
    machine.enter(|| {
        for name in names {
            fs::write(Path::new("/proc/sys/net").join(name), value)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    });
}
