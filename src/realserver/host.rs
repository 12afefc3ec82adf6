//! What the kernel and the files of this host say, and steps done.
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;

use super::gridftp::{Announced, ConfigFile, Settings};
use super::listeners::{self, Listener};
use super::plan::{ALL, Host, Interface, LOOPBACK, Parameter, Step, Values, prefix};
use crate::proto::netlink::address::Assignment;
use crate::sys::netlink::Route;
use crate::sys::sysctl::{self, Setting, SysctlError};

/// Of a table of sockets or routes: listeners and default routes come first, some 150 bytes each.
const MAX_TABLE: u64 = 1 << 20;
/// Of a configuration file of a GridFTP server, which has some dozens of lines.
const MAX_CONFIG: u64 = 64 * 1024;
/// Files in its directory; a package brings one or two.
const MAX_CONFIG_FILES: usize = 100;

/// The kernel, asked and told.
#[derive(Debug)]
pub(super) struct Kernel {
    route: Route,
}

impl Kernel {
    pub(super) fn open() -> Result<Self, String> {
        Route::open().map(|route| Self { route }).map_err(|error| format!("netlink: {error}"))
    }

    pub(super) fn host(&mut self) -> Result<Host, String> {
        let links = self.route.links().map_err(|error| format!("interfaces: {error}"))?;
        let addresses = self.route.addresses().map_err(|error| format!("addresses: {error}"))?;
        let name_of =
            |index: u32| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
        let mut interfaces = Vec::new();
        for link in &links {
            // One that goes meanwhile is none.
            let Some(values) = values(&link.name)? else { continue };
            let disabled = get(&link.name, Setting::DisableIpv6(false))?;
            interfaces.push(Interface {
                name: link.name.clone(),
                is_up: link.is_up,
                values,
                is_ipv6_disabled: disabled == Some(1),
            });
        }
        Ok(Host {
            all: values(ALL)?.unwrap_or_default(),
            interfaces,
            addresses: addresses
                .iter()
                .filter_map(|one| Some((name_of(one.index)?, one.address, one.prefix)))
                .collect(),
            default_routes: default_routes(&table("/proc/net/route")?),
            has_ipv6: Path::new("/proc/sys/net/ipv6").exists(),
        })
    }

    pub(super) fn perform(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Set { interface, parameter, to, .. } => set(interface, *parameter, *to),
            Step::AddAddress(vip) => {
                let index = self.loopback()?;
                let (address, prefix) = (*vip, prefix(*vip));
                let assignment = Assignment { index, address, prefix, lifetime: None, label: None };
                self.route.add_address(&assignment).map_err(|error| format!("{vip} on lo: {error}"))
            }
        }
    }

    pub(super) fn remove_address(&mut self, vip: IpAddr) -> Result<(), String> {
        let index = self.loopback()?;
        let removed = self.route.remove_address(index, vip, prefix(vip));
        removed.map_err(|error| format!("{vip} on lo: {error}"))
    }

    fn loopback(&mut self) -> Result<u32, String> {
        match self.route.link_named(LOOPBACK) {
            Ok(Some(link)) => Ok(link.index),
            Ok(None) => Err("there is no interface lo".into()),
            Err(error) => Err(format!("lo: {error}")),
        }
    }
}

pub(super) fn set(interface: &str, parameter: Parameter, value: u8) -> Result<(), String> {
    sysctl::set(interface, parameter.setting(value)).map_err(|error| error.to_string())
}

/// Nothing if the interface has gone.
pub(super) fn current(interface: &str, parameter: Parameter) -> Result<Option<u8>, String> {
    get(interface, parameter.setting(0))
}

fn values(interface: &str) -> Result<Option<Values>, String> {
    let get = |parameter| current(interface, parameter);
    let (Some(arp_ignore), Some(arp_announce), Some(rp_filter)) =
        (get(Parameter::ArpIgnore)?, get(Parameter::ArpAnnounce)?, get(Parameter::RpFilter)?)
    else {
        return Ok(None);
    };
    Ok(Some(Values { arp_ignore, arp_announce, rp_filter }))
}

fn get(interface: &str, setting: Setting) -> Result<Option<u8>, String> {
    match sysctl::get(interface, setting) {
        Ok(value) => Ok(value),
        Err(SysctlError { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(SysctlError { path, error }) => Err(format!("{path}: {error}")),
    }
}

/// Interfaces of the default route that is used: of several it is that with the lowest metric, and of that reverse paths are judged.
fn default_routes(table: &[String]) -> Vec<String> {
    let routes: Vec<(u32, String)> = table.iter().filter_map(|line| default_route(line)).collect();
    let best = routes.iter().map(|(metric, _)| *metric).min();
    routes.into_iter().filter(|(metric, _)| Some(*metric) == best).map(|(_, name)| name).collect()
}

/// Metric and interface of a default route that is up and no refusal (route(8), flags U and !).
fn default_route(line: &str) -> Option<(u32, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let flags = u32::from_str_radix(words.get(3)?, 16).ok()?;
    let is_default = words.get(1) == Some(&"00000000") && words.get(7) == Some(&"00000000");
    let metric = words.get(6)?.parse().ok()?;
    (is_default && flags & 0x201 == 1).then(|| words.first().map(|name| (metric, (*name).to_owned())))?
}

/// Sockets of TCP that listen, of either family.
pub(super) fn listeners() -> Result<Vec<Listener>, String> {
    let mut found = Vec::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // They come before all that are connected, of which there may be many.
        found.extend(table(path)?.iter().skip(1).map_while(|line| listeners::read(line)));
    }
    Ok(found)
}

/// The lines of a table of the kernel; none where it has none.
fn table(path: &str) -> Result<Vec<String>, String> {
    match fs::File::open(path) {
        Ok(file) => BufReader::new(file.take(MAX_TABLE))
            .lines()
            .collect::<Result<_, _>>()
            .map_err(|error| format!("{path}: {error}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("{path}: {error}")),
    }
}

/// The files that a Globus GridFTP server takes its settings from, in its order: the environment that the service sets, then
/// its own.
pub(super) fn gridftp_files(etc: &Path) -> Result<Vec<ConfigFile>, String> {
    let mut paths: Vec<_> =
        ["sysconfig/globus-gridftp-server", "default/globus-gridftp-server", "gridftp.conf"]
            .iter()
            .map(|name| (etc.join(name), name.contains('/')))
            .collect();
    if let Ok(entries) = fs::read_dir(etc.join("gridftp.d")) {
        let mut directory: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        directory.retain(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            path.is_file() && !name.starts_with('.') && !name.ends_with('~')
        });
        directory.sort();
        paths.extend(directory.into_iter().take(MAX_CONFIG_FILES).map(|path| (path, false)));
    }
    let mut files = Vec::new();
    for (path, is_environment) in paths {
        let mut bytes = Vec::new();
        match fs::File::open(&path).and_then(|file| file.take(MAX_CONFIG).read_to_end(&mut bytes)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("{}: {error}", path.display())),
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        files.push(ConfigFile { path: path.display().to_string(), is_environment, text });
    }
    Ok(files)
}

/// What the server will announce by its settings, names looked up as it would.
pub(super) fn announced(settings: &Settings) -> Announced {
    let (name, from) = settings.announced().unwrap_or_else(|| {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        (name, "the host's name".into())
    });
    let addresses = (name.as_str(), 0).to_socket_addrs();
    let address = addresses.ok().and_then(|mut list| list.find(SocketAddr::is_ipv4)).map(|one| one.ip());
    Announced { name, from, address }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_route_is_one_to_everything() {
        let table = [
            ("eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0", Some((100, "eth0"))),
            ("eth0\t0000A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0", None),
            ("*\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0", None),
            ("Iface\tDestination\tGateway", None),
            ("", None),
        ];
        for (line, expected) in table {
            let found = default_route(line);
            assert_eq!(found.as_ref().map(|(metric, name)| (*metric, name.as_str())), expected, "{line}");
        }
    }

    #[test]
    fn of_several_default_routes_those_with_the_lowest_metric_are_used() {
        let table = |metrics: &[(&str, u32)]| {
            let line = |(name, metric): &(&str, u32)| {
                format!("{name}\t00000000\t0101A8C0\t0003\t0\t0\t{metric}\t00000000\t0\t0\t0")
            };
            default_routes(&metrics.iter().map(line).collect::<Vec<_>>())
        };
        assert_eq!(table(&[("eth1", 200), ("eth0", 100)]), ["eth0"]);
        assert_eq!(table(&[("eth0", 0), ("eth1", 0)]), ["eth0", "eth1"]);
        assert_eq!(table(&[]), [""; 0]);
    }
}
