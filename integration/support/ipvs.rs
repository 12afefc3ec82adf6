//! The table of IPVS in a guest, in the words of ipvsadm(8): what a kernel was told, whoever told it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::deadline;
use super::uml::{Program, Uml};

/// What has to be installed.
pub const PROGRAMS: &[&str] = &["ipvsadm"];

/// keepalived reads its configuration twice and asks for everything before it writes a table.
const START: Duration = Duration::from_secs(60);
/// Many times the two seconds that it takes.
const COUNTED: Duration = Duration::from_secs(10);

/// What IPVS counts of a real server.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Connections {
    pub active: u32,
    pub inactive: u32,
}

/// The services of the kernel and their real servers, as the lines by which ipvsadm(8) would make them again, in an order that
/// does not depend on who made them, or when: `-A -t VIP:PORT -s wlc`, and behind each `-a -t VIP:PORT -r ADDRESS:PORT -g -w 1`.
///
/// # Panics
/// When ipvsadm fails.
pub fn table(uml: &Uml) -> String {
    let text = uml.ok("ipvsadm --save --numeric");
    let mut services: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut now = "";
    for line in text.lines().map(str::trim) {
        if line.starts_with("-A ") {
            now = line;
            services.entry(now).or_default();
        } else {
            assert!(line.starts_with("-a ") && !now.is_empty(), "{line:?} in\n{text}");
            services.entry(now).or_default().push(line);
        }
    }
    let mut all = String::new();
    for (service, mut real_servers) in services {
        real_servers.sort_unstable();
        for line in std::iter::once(service).chain(real_servers) {
            writeln!(all, "{line}").expect("a string takes lines");
        }
    }
    all
}

/// The connections of every real server of a TCP service.
///
/// # Panics
/// When ipvsadm fails, or says what cannot be read.
pub fn connections(uml: &Uml, service: SocketAddr) -> BTreeMap<SocketAddr, Connections> {
    let text = uml.ok(&format!("ipvsadm --list --numeric --tcp-service {service}"));
    let rows = text.lines().filter_map(|line| line.trim().strip_prefix("-> "));
    rows.filter(|row| !row.starts_with("RemoteAddress"))
        .map(|row| {
            // Address, forward, weight, active, inactive.
            let words: Vec<&str> = row.split_whitespace().collect();
            let count = |at: usize| words[at].parse().unwrap_or_else(|_| panic!("{row:?} of\n{text}"));
            let address = words[0].parse().unwrap_or_else(|_| panic!("{row:?} of\n{text}"));
            (address, Connections { active: count(3), inactive: count(4) })
        })
        .collect()
}

/// How many connections each service has had since it was made, by what ipvsadm(8) calls it.
///
/// # Panics
/// When ipvsadm fails, or says what cannot be read.
pub fn ever(uml: &Uml) -> BTreeMap<String, u64> {
    let text = uml.ok("ipvsadm --list --numeric --stats --exact");
    let rows = text.lines().filter(|line| line.starts_with("TCP ") || line.starts_with("FWM "));
    rows.map(|row| {
        let words: Vec<&str> = row.split_whitespace().collect();
        let count = words.iter().skip(2).find_map(|word| word.parse().ok());
        (words[1].to_owned(), count.unwrap_or_else(|| panic!("{row:?} of\n{text}")))
    })
    .collect()
}

/// Waits until [ever] is as wanted: the kernel adds connections up every two seconds.
///
/// # Errors
/// What it is at last.
pub fn until_ever(
    uml: &Uml,
    wanted: impl Fn(&BTreeMap<String, u64>) -> bool,
) -> Result<BTreeMap<String, u64>, String> {
    deadline::until("connections that the kernel has counted", COUNTED, || {
        let ever = ever(uml);
        if wanted(&ever) { Ok(ever) } else { Err(format!("{ever:?}")) }
    })
}

/// One service of the guide: a port of the virtual address, and the same port of every real server of its family.
#[derive(Clone, Debug)]
pub struct Balanced {
    pub vip: IpAddr,
    pub port: u16,
    pub real_servers: Vec<IpAddr>,
}

impl Balanced {
    /// Lines of bash that make it with ipvsadm(8).
    pub fn by_ipvsadm(&self) -> String {
        let service = SocketAddr::new(self.vip, self.port);
        let mut lines = format!("ipvsadm -A -t {service} -s wlc\n");
        for address in &self.real_servers {
            let server = SocketAddr::new(*address, self.port);
            writeln!(lines, "ipvsadm -a -t {service} -r {server} -g -w 1").expect("a string takes lines");
        }
        lines
    }

    /// The same in the words of keepalived.conf(5), as the guide of the Open Science Grid has it.
    pub fn by_keepalived(&self) -> String {
        let Self { vip, port, .. } = self;
        let mut text = format!(
            "virtual_server {vip} {port} {{\n  delay_loop 1\n  lb_algo wlc\n  lb_kind DR\n  protocol TCP\n"
        );
        for address in &self.real_servers {
            write!(
                text,
                "  real_server {address} {port} {{\n    TCP_CHECK {{\n      connect_timeout 3\n      connect_port {port}\n    }}\n  }}\n"
            )
            .expect("a string takes lines");
        }
        text + "}\n"
    }
}

/// keepalived in a guest, with its checks and without VRRP.
///
/// # Panics
/// As [`Uml::spawn`].
pub fn start_keepalived(uml: &Uml, services: &[Balanced]) -> Program {
    let file = uml.directory().join("keepalived.conf");
    let services: String = services.iter().map(Balanced::by_keepalived).collect();
    let text = format!("global_defs {{\n  router_id guest\n  script_user root\n}}\n{services}");
    std::fs::write(&file, text).expect("our own file");
    uml.spawn(&format!(
        "exec keepalived --dont-fork --log-detail --log-console --check --no-syslog --use-file {}",
        file.display()
    ))
}

/// The [table] that keepalived makes for these services, of which all servers answer. The guest has none afterwards.
///
/// # Panics
/// When it does not make one.
pub fn table_of_keepalived(uml: &Uml, services: &[Balanced]) -> String {
    let keepalived = start_keepalived(uml, services);
    let lines: usize = services.iter().map(|service| 1 + service.real_servers.len()).sum();
    let made = until_table(uml, |table| table.lines().count() == lines);
    let made = made.unwrap_or_else(|why| panic!("{why}\n{}", uml.log(&keepalived)));
    uml.signal(&keepalived, "TERM");
    let gone = until_table(uml, str::is_empty);
    gone.unwrap_or_else(|why| panic!("{why}\n{}", uml.log(&keepalived)));
    made
}

/// Waits until the [table] is as wanted.
///
/// # Errors
/// What it is at last.
pub fn until_table(uml: &Uml, mut wanted: impl FnMut(&str) -> bool) -> Result<String, String> {
    deadline::until("a table of IPVS", START, || {
        let table = table(uml);
        if wanted(&table) { Ok(table) } else { Err(table) }
    })
}
