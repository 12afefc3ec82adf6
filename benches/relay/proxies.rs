//! What stands in front of the server: haproxy, the door, ProFTPD with mod_proxy; each a child process on one core.
//!
//! haproxy twice over: as sites run it, which is what the door is held against, and as fast as it can be made, beside it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::child::{dying_with_the_bench, last_words};
use crate::support::{cores, interrupt};
use crate::{Outcome, client};

const START_LIMIT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Where every one of them is reached, at an address of its own.
pub(crate) const PORT: u16 = 2811;
/// As Debian's proftpd-mod-proxy installs it.
pub(crate) const MOD_PROXY: &str = "/usr/lib/proftpd/mod_proxy.so";

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
    child: Child,
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
                fs::write(&config, mod_proxy_config(site, address, &stem))?;
                command.args(["--nodaemon", "--quiet", "-c"]).arg(&config);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        // The child inherits the affinity of the thread that starts it.
        let child = cores::on(site.core, || command.spawn())?
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let mut proxy = Self { product, name, address, child };
        if let Err(error) = proxy.wait_until_it_serves() {
            interrupt::check()?;
            drop(proxy);
            let said = last_words(&mut command, &log);
            return Err(format!("{} does not serve: {error}\n{said}", product.name()).into());
        }
        Ok(proxy)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_serves(&mut self) -> Outcome<()> {
        let start = Instant::now();
        loop {
            interrupt::check()?;
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("it ended with {status}").into());
            }
            if client::is_served(self.address) {
                return Ok(());
            }
            if start.elapsed() > START_LIMIT {
                return Err(format!("no login in {} s", START_LIMIT.as_secs()).into());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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

/// A reverse proxy that leaves the login to the server; everything else as it comes, less what it would log or look up.
fn mod_proxy_config(site: &Site, address: SocketAddr, stem: &Path) -> String {
    let stem = stem.display();
    format!(
        "LoadModule mod_tls.c\nLoadModule mod_proxy.c\nServerType standalone\nServerName proxy\nDefaultAddress {}\nSocketBindTight on\nPort {}\n\
         User nobody\nGroup nogroup\nUseReverseDNS off\nUseIPv6 off\nWtmpLog off\nTransferLog none\nSystemLog none\n\
         ScoreboardFile {stem}.scoreboard\nPidFile {stem}.pid\nDelayTable none\nRequireValidShell off\nMaxInstances none\n\
         PassivePorts {} {}\nProxyEngine on\nProxyRole reverse\nProxyTables {stem}-tables\nProxyReverseServers ftp://{}\n",
        address.ip(),
        address.port(),
        site.relay_ports.start(),
        site.relay_ports.end(),
        site.server,
    )
}
