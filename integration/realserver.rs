//! `gridfront realserver`: a machine becomes a real server of Direct Routing, serves the virtual address in silence, and is as it was.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use gridfront::sys::netlink::Route;
use gridfront::sys::sysctl::{self, Setting};
use tempfile::TempDir;

use crate::support::door::program;
use crate::support::netns::{Lab, Machine};
use crate::support::skip;

const VIPS: [&str; 2] = ["10.77.0.100", "fd77::100"];
const PORT: u16 = 2811;
/// A neighbour is asked three times, a second each, before it is given up.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(10);

/// A real server with files of its own, and a client beside it.
struct Site {
    lab: Lab,
    files: TempDir,
}

/// What is to be the same again.
#[derive(Debug, Eq, PartialEq)]
struct Snapshot {
    addresses: Vec<String>,
    settings: Vec<(String, Option<u8>)>,
    files: Vec<String>,
}

impl Site {
    fn new(what: &str) -> Option<Self> {
        if !skip::unless_present(what, &["ip"]) {
            return None;
        }
        let site = Self {
            lab: Lab::new(&[("server", 21), ("client", 31)]),
            files: tempfile::tempdir().expect("a directory"),
        };
        site.server().enter(|| {
            for interface in ["all", "lo", "eth0"] {
                for setting in [Setting::ArpIgnore(0), Setting::ArpAnnounce(0), Setting::ReversePathFilter(0)]
                {
                    sysctl::set(interface, setting).unwrap();
                }
            }
        });
        for directory in ["units", "etc"] {
            std::fs::create_dir(site.files.path().join(directory)).unwrap();
        }
        site.write("gridftp.conf", "data_interface 10.77.0.21\n$GLOBUS_TCP_PORT_RANGE 50000,50999\n");
        Some(site)
    }

    fn server(&self) -> &Machine {
        self.lab.machine("server")
    }

    fn client(&self) -> &Machine {
        self.lab.machine("client")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.files.path().join("etc").join(name), text).unwrap();
    }

    /// `gridfront realserver` on the server, with its own places.
    fn run(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut command = self.server().command(None, program());
        command.arg("realserver").args(words);
        let files = self.files.path();
        if words[0] == "check" {
            command.arg("--etc").arg(files.join("etc"));
        } else {
            command.arg("--state").arg(files.join("lib/gridfront/realserver.json"));
            command.arg("--units").arg(files.join("units"));
        }
        let Output { status, stdout, stderr } = command.output().expect("gridfront runs");
        (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
    }

    fn does(&self, words: &[&str]) -> String {
        let (code, text) = self.run(words);
        assert_eq!(code, Some(0), "{words:?}: {text}");
        text
    }

    fn ip(&self, machine: &Machine, words: &str) {
        let output = machine.command(None, "ip").args(words.split(' ')).output().expect("ip(8) runs");
        assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn set(&self, interface: &str, setting: Setting) {
        self.server().enter(|| sysctl::set(interface, setting).unwrap());
    }

    fn snapshot(&self) -> Snapshot {
        let (addresses, settings) = self.server().enter(|| {
            let addresses = Route::open().unwrap().addresses().unwrap();
            let settings = ["all", "default", "lo", "eth0"].into_iter().flat_map(|interface| {
                [Setting::ArpIgnore(0), Setting::ArpAnnounce(0), Setting::ReversePathFilter(0)]
                    .map(|setting| (setting.name(interface), sysctl::get(interface, setting).unwrap()))
            });
            (addresses.iter().map(|one| format!("{one:?}")).collect(), settings.collect())
        });
        let mut files = Vec::new();
        walk(self.files.path(), &mut files);
        Snapshot { addresses, settings, files }
    }

    /// A connection of the client to the server at this address.
    fn connect(&self, vip: &str) -> std::io::Result<TcpStream> {
        let to = SocketAddr::new(vip.parse().unwrap(), PORT);
        self.client().enter(|| TcpStream::connect_timeout(&to, GIVEN_UP_WITHIN))
    }

    fn listen(&self, at: &str) -> TcpListener {
        let at = SocketAddr::new(at.parse::<IpAddr>().unwrap(), PORT);
        self.server().enter(|| TcpListener::bind(at).unwrap())
    }
}

fn walk(directory: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.display().to_string());
        if path.is_dir() {
            walk(&path, found);
        }
    }
    found.sort();
}

const BOTH: [&str; 4] = ["--vip", VIPS[0], "--vip", VIPS[1]];

fn with<'w>(command: &'w str, more: &[&'w str]) -> Vec<&'w str> {
    [&[command], &BOTH[..], more].concat()
}

#[test]
fn a_server_that_is_set_up_is_fit_and_one_that_is_undone_is_as_before() {
    let Some(site) = Site::new("setting up a real server") else { return };
    let before = site.snapshot();
    let (code, text) = site.run(&with("check", &[]));
    assert_eq!(code, Some(1), "{text}");

    let text = site.does(&with("setup", &["--dry-run"]));
    for step in [
        "would set net.ipv4.conf.all.arp_ignore: 0 → 1\n",
        "would set net.ipv4.conf.all.arp_announce: 0 → 2\n",
        "would add 10.77.0.100/32 to lo\n",
        "would add fd77::100/128 to lo\n",
        "would write ",
    ] {
        assert!(text.contains(step), "{step}: {text}");
    }
    assert_eq!(site.snapshot(), before, "a dry run changes nothing");

    let text = site.does(&with("setup", &[]));
    assert!(text.contains("systemctl enable --now gridfront-realserver.service"), "{text}");
    let done = site.snapshot();
    assert_ne!(done, before);
    let text = site.does(&with("setup", &[]));
    assert_eq!(text, "nothing is to be done: this host is fit for 10.77.0.100, fd77::100\n");
    assert_eq!(site.snapshot(), done);

    let _listener = site.listen("::");
    let text = site.does(&with("check", &[]));
    for line in [
        "fit    lo has 10.77.0.100/32",
        "fit    10.77.0.100: [::]:2811 listens\n",
        "fit    data connections: clients are told 10.77.0.21 (data_interface in ",
        "fit    data ports: 50000-50999 (GLOBUS_TCP_PORT_RANGE in ",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }

    let text = site.does(&["undo", "--dry-run"]);
    assert!(text.contains("would set net.ipv4.conf.all.arp_ignore: 1 → 0\n"), "{text}");
    assert_eq!(site.snapshot(), done, "a dry run changes nothing");
    site.does(&["undo"]);
    assert_eq!(site.snapshot(), before);
    let text = site.does(&["undo"]);
    assert!(text.starts_with("nothing is to be undone"), "{text}");
}

#[test]
fn neighbours_hear_nothing_of_the_address_and_packets_sent_there_are_answered_from_it() {
    let Some(site) = Site::new("a silent virtual address") else { return };
    let _listener = site.listen("::");
    // That silence is no accident.
    site.ip(site.server(), "address add 10.77.0.100/32 dev lo");
    site.connect(VIPS[0]).expect("a host answers for any address of its own");
    site.ip(site.server(), "address del 10.77.0.100/32 dev lo");
    site.ip(site.client(), "neigh flush dev eth0");

    site.does(&with("setup", &["--interface", "eth0"]));
    for vip in VIPS {
        let error = site.connect(vip).expect_err("nobody answers for the virtual address");
        assert_eq!(error.kind(), std::io::ErrorKind::HostUnreachable, "{vip}: {error}");
    }
    let link = site.server().enter(|| Route::open().unwrap().link_named("eth0").unwrap().unwrap());
    let mac = link.mac.unwrap().map(|byte| format!("{byte:02x}")).join(":");
    for vip in VIPS {
        // As the balancer does: the virtual address, at the MAC address of the real server.
        site.ip(site.client(), &format!("neigh replace {vip} lladdr {mac} dev eth0"));
        let connection = site.connect(vip).unwrap_or_else(|error| panic!("{vip}: {error}"));
        assert_eq!(connection.peer_addr().unwrap().ip().to_string(), vip);
    }
}

#[test]
fn one_address_of_two_is_undone_and_what_others_have_set_meanwhile_stays() {
    let Some(site) = Site::new("undoing in part") else { return };
    site.does(&["setup", "--vip", VIPS[0]]);
    site.does(&["setup", "--vip", VIPS[1]]);
    let unit =
        || std::fs::read_to_string(site.files.path().join("units/gridfront-realserver.service")).unwrap();
    assert!(unit().contains(" setup --vip 10.77.0.100 --vip fd77::100 --no-unit "), "{}", unit());
    let (code, text) = site.run(&["setup", "--vip", VIPS[0], "--interface", "eth0"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("was set up without --interface; first: gridfront realserver undo"), "{text}");
    let (code, text) = site.run(&["undo", "--vip", "10.77.0.101"]);
    assert_eq!(code, Some(1), "{text}");

    // As at a stop of the unit, and its start.
    site.does(&["undo", "--no-unit"]);
    let text = site.does(&with("setup", &["--no-unit"]));
    assert!(text.contains("add fd77::100/128 to lo\n"), "{text}");

    site.does(&["undo", "--vip", VIPS[1]]);
    assert!(unit().contains(" setup --vip 10.77.0.100 --no-unit "), "{}", unit());
    site.set("all", Setting::ArpAnnounce(1));
    let text = site.does(&["undo"]);
    assert!(text.contains("net.ipv4.conf.all.arp_announce stays 1: somebody else has set it\n"), "{text}");
    assert!(text.contains("set net.ipv4.conf.all.arp_ignore: 1 → 0\n"), "{text}");
    assert!(!site.files.path().join("lib").exists(), "nothing is left");
}

#[test]
fn whatever_is_wrong_is_named_with_how_to_mend_it() {
    let Some(site) = Site::new("checking a real server") else { return };
    let listener = site.listen("0.0.0.0");
    site.does(&["setup", "--vip", VIPS[0]]);
    let check = || site.run(&["check", "--vip", VIPS[0]]);
    let wrong = |expected: &str| {
        let (code, text) = check();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("wrong")).collect();
        assert_eq!(code, Some(1), "{expected}: {text}");
        assert!(lines.len() == 1 && lines[0].contains(expected), "{expected}: {text}");
    };
    let mended = || assert_eq!(check().0, Some(0), "{}", check().1);
    mended();

    site.set("all", Setting::ArpIgnore(0));
    wrong("eth0 answers ARP for addresses of lo (arp_ignore); gridfront realserver setup --vip 10.77.0.100");
    site.set("all", Setting::ArpIgnore(1));
    site.set("all", Setting::ArpAnnounce(0));
    wrong("eth0 may ask by ARP in the name of an address of lo (arp_announce); gridfront realserver setup");
    site.set("all", Setting::ArpAnnounce(2));

    site.ip(site.server(), "address add 10.77.0.100/32 dev eth0");
    wrong("eth0 has 10.77.0.100, so this host answers for it in the balancer's place; ip address del");
    let (code, text) = site.run(&["setup", "--vip", VIPS[0]]);
    assert!(code == Some(1) && text.starts_with("eth0 has 10.77.0.100"), "{text}");
    site.ip(site.server(), "address del 10.77.0.100/32 dev eth0");
    site.ip(site.server(), "address del 10.77.0.100/32 dev lo");
    wrong("lo does not have 10.77.0.100, so its packets are not taken; gridfront realserver setup");
    site.does(&["setup", "--vip", VIPS[0]]);

    site.ip(site.server(), "link add out0 type veth peer name out1");
    site.ip(site.server(), "link set out0 up");
    site.ip(site.server(), "address add 192.0.2.21/24 dev out0");
    site.ip(site.server(), "route add default via 192.0.2.1");
    mended();
    site.set("all", Setting::ReversePathFilter(1));
    wrong("eth0: rp_filter is strict, and drops packets of clients, whose answers leave by out0; gridfront");
    site.does(&["setup", "--vip", VIPS[0]]);
    mended();

    drop(listener);
    wrong("10.77.0.100: nobody listens on port 2811; start the service");
    let listener = site.listen("10.77.0.21");
    wrong("connections are refused, for port 2811 is open at 10.77.0.21:2811 only; let the service listen");
    drop(listener);
    let _listener = site.listen("10.77.0.100");
    mended();

    site.write("gridftp.conf", "data_interface 127.0.1.1\n");
    wrong("clients are told 127.0.1.1 (data_interface in ");
    site.write("gridftp.conf", "data_interface 10.77.0.21\n$GLOBUS_TCP_PORT_RANGE 50000\n");
    wrong("GLOBUS_TCP_PORT_RANGE 50000 is no range of ports; write the first and the last one");
    site.write("gridftp.conf", "data_interface 10.77.0.21\n");
    let (code, text) = check();
    assert!(code == Some(0) && text.contains("note   data ports: any that is free"), "{text}");

    let disabled = "/proc/sys/net/ipv6/conf/lo/disable_ipv6";
    site.server().enter(|| std::fs::write(disabled, "1").unwrap());
    let (code, text) = site.run(&["check", "--vip", VIPS[1]]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("wrong  lo has no IPv6; sysctl -w net.ipv6.conf.lo.disable_ipv6=0\n"), "{text}");
}
