//! What stands in front of the server: haproxy, the door, ProFTPD with mod_proxy; each a child process on one core.
//!
//! haproxy twice over: as sites run it, which is what the door is held against, and as fast as it can be made, beside it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::support::child::{Program, dying_with_the_bench};
use crate::support::mod_proxy;
use crate::{Outcome, client};

/// Where every one of them is reached, at an address of its own.
pub(crate) const PORT: u16 = 2811;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Product {
    /// `option splice-auto`, all else as it comes.
    Haproxy,
    /// Told to splice always, through pipes of 1 MiB.
    TunedHaproxy,
    Door,
    ModProxy,
}

impl Product {
    /// The group of its instances in a series.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::TunedHaproxy => "tuned haproxy",
            Self::Door => "door",
            Self::ModProxy => "mod_proxy",
        }
    }
}

/// What all proxies of this run have in common.
pub(crate) struct Site<'a> {
    pub(crate) haproxy: PathBuf,
    pub(crate) door: PathBuf,
    pub(crate) proftpd: PathBuf,
    pub(crate) directory: &'a Path,
    pub(crate) core: usize,
    pub(crate) server: SocketAddr,
    /// The server's passive ports; each proxy may open the same numbers at its own address.
    pub(crate) ports: RangeInclusive<u16>,
    /// What the door opens beyond them, for sessions that only wait.
    pub(crate) relay_ports: RangeInclusive<u16>,
}

/// A running proxy; it is killed when this is dropped.
pub(crate) struct Proxy {
    pub(crate) product: Product,
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    program: Program,
}

impl Proxy {
    /// Starts one at an address of its own and waits until it lets a client log in.
    pub(crate) fn start(site: &Site, product: Product, number: u8, ip: IpAddr) -> Outcome<Self> {
        let name = format!("{} {number}", product.name());
        let address = SocketAddr::new(ip, PORT);
        let stem = site.directory.join(name.replace(' ', "-"));
        let (config, log) = (stem.with_extension("conf"), stem.with_extension("log"));
        let mut command = dying_with_the_bench(match product {
            Product::Haproxy | Product::TunedHaproxy => &site.haproxy,
            Product::Door => &site.door,
            Product::ModProxy => &site.proftpd,
        });
        match product {
            Product::Haproxy | Product::TunedHaproxy => {
                fs::write(&config, haproxy_config(site, product, address))?;
                command.args(["-db", "-q", "-f"]).arg(&config);
            }
            Product::Door => {
                fs::write(&config, door_config(site, address, &stem.with_extension("sock")))?;
                command.args(["run", "-c"]).arg(&config);
            }
            Product::ModProxy => {
                let ports = format!("PassivePorts {} {}\n", site.relay_ports.start(), site.relay_ports.end());
                fs::write(&config, mod_proxy::config(address, &[site.server], &stem, &ports))?;
                command.args(["--nodaemon", "--quiet", "-c"]).arg(&config);
            }
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let program = Program::start(&mut command, site.core, &log, || client::is_served(address))?;
        Ok(Self { product, name, address, program })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.program.pid()
    }
}

/// The control port, and every passive port of the server to the same one there: a server line without a port keeps
/// that of the connection.
fn haproxy_config(site: &Site, product: Product, address: SocketAddr) -> String {
    let (ip, server) = (address.ip(), site.server);
    let (global, option) = match product {
        Product::TunedHaproxy => {
            ("    tune.pipesize 1048576\n", "option splice-request\n    option splice-response")
        }
        _ => ("", "option splice-auto"),
    };
    format!(
        "global\n    nbthread 1\n    maxconn 2000\n{global}\
         defaults\n    mode tcp\n    {option}\n    timeout connect 3s\n    timeout client 15m\n    timeout server 15m\n\
         listen control\n    bind {address}\n    server s1 {server} check inter 10s\n\
         listen data\n    bind {ip}:{}-{}\n    server s1 {}\n",
        site.ports.start(),
        site.ports.end(),
        server.ip(),
    )
}

fn door_config(site: &Site, address: SocketAddr, socket: &Path) -> String {
    format!(
        "[global]\nadmin_socket = \"{}\"\nthreads = 1\n\n\
         [[virtual_server]]\nname = \"ftp\"\naddresses = [\"{}\"]\nport = {}\ndata_path = \"relay\"\n\
         relay_ports = \"{}-{}\"\n\n[virtual_server.check]\ntype = \"ftp\"\ndelay_loop = \"10s\"\n\n\
         [[virtual_server.real_server]]\nname = \"s1\"\naddress = \"{}\"\nport = {}\n",
        socket.display(),
        address.ip(),
        address.port(),
        site.relay_ports.start(),
        site.relay_ports.end(),
        site.server.ip(),
        site.server.port(),
    )
}
