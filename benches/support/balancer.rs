//! The systems under test in front of the same real servers: haproxy, nginx stream, ProFTPD mod_proxy and the door, each
//! a child process on a core of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::child::{Program, dying_with_the_bench};
use super::client::Session;
use super::{Outcome, client, mod_proxy, usage};

/// What all are told to carry at most: the largest burst of a bench and a little more.
const MAX_SESSIONS: usize = 9500;
/// As Debian's libnginx-mod-stream installs it.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Which program stands in front of the real servers.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Product {
    Haproxy,
    /// Checks every second for the greeting, and sends a refused connection to another server.
    CarefulHaproxy,
    NginxStream,
    ModProxy,
    Door,
}

impl Product {
    pub(crate) const ALL: [Self; 5] =
        [Self::Haproxy, Self::CarefulHaproxy, Self::NginxStream, Self::ModProxy, Self::Door];

    /// The group of its instances in a series.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::CarefulHaproxy => "careful haproxy",
            Self::NginxStream => "nginx stream",
            Self::ModProxy => "mod_proxy",
            Self::Door => "door",
        }
    }

    /// What it needs besides its program, and the Debian package that has both.
    pub(crate) fn parts(self) -> (Option<&'static str>, &'static str) {
        match self {
            Self::Haproxy | Self::CarefulHaproxy => (None, "haproxy"),
            Self::NginxStream => (Some(NGINX_STREAM), "libnginx-mod-stream"),
            Self::ModProxy => (Some(mod_proxy::MODULE), "proftpd-mod-proxy"),
            Self::Door => (None, "none: cargo builds it"),
        }
    }
}

/// Where a balancer's log goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Log {
    /// The door writes its lines to /dev/null; the others have theirs off.
    Nowhere,
    /// One line per session to a file, from haproxy (`option tcplog`) and the door.
    File,
}

/// What every balancer of this run has in common.
#[derive(Clone)]
pub(crate) struct Site<'a> {
    pub(crate) programs: BTreeMap<Product, PathBuf>,
    pub(crate) directory: &'a Path,
    pub(crate) core: usize,
    pub(crate) real_servers: Vec<SocketAddr>,
}

/// A running balancer; it is killed when this is dropped.
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    product: Product,
    program: Program,
}

impl Balancer {
    /// Starts a balancer and waits until it greets. `name` is unique in this run; `weights` are those of the real
    /// servers, in their order; nginx and mod_proxy take them as equal.
    pub(crate) fn start(
        site: &Site,
        product: Product,
        name: &str,
        log: Log,
        weights: &[u32],
    ) -> Outcome<Self> {
        let address = free_address()?;
        let stem = site.directory.join(name.replace(' ', "-"));
        let (config, log_file) = (stem.with_extension("conf"), stem.with_extension("log"));
        let program =
            site.programs.get(&product).ok_or_else(|| format!("no program for {}", product.name()))?;
        let mut command = dying_with_the_bench(program);
        let servers = &site.real_servers;
        let text = match product {
            Product::Haproxy | Product::CarefulHaproxy => {
                command.args(["-db", "-q", "-f"]);
                haproxy_config(address, servers, weights, log, product == Product::CarefulHaproxy)
            }
            Product::NginxStream => {
                command.arg("-e").arg(&log_file).arg("-p").arg(site.directory).arg("-c");
                nginx_config(address, servers, &stem)
            }
            Product::ModProxy => {
                command.args(["--nodaemon", "--quiet", "-c"]);
                // Setting TLS up for servers that have none would be nine tenths of a session's cost.
                let more =
                    "ProxyTLSEngine off\nProxyReverseConnectPolicy LeastConns\nProxyTimeoutConnect 3\n";
                mod_proxy::config(address, servers, &stem, more)
            }
            Product::Door => {
                command.args(["run", "-c"]);
                door_config(address, servers, weights, &stem.with_extension("sock"))
            }
        };
        fs::write(&config, text)?;
        command.arg(&config);
        let output = || match log {
            Log::Nowhere => Ok(Stdio::null()),
            Log::File => File::options().append(true).create(true).open(&log_file).map(Stdio::from),
        };
        command.stdout(output()?).stderr(output()?);
        let program = Program::start(&mut command, site.core, &log_file, || client::is_greeted(address))?;
        Ok(Self { address, product, program })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Opens `count` sessions and leaves them logged in.
    pub(crate) fn open_sessions(&self, count: usize) -> Outcome<Vec<Session>> {
        match self.product {
            // Of sessions that begin at the same moment it loses some: its processes choose servers in one SQLite file.
            Product::ModProxy => client::open_sessions_singly(self.address, count),
            _ => client::open_sessions(self.address, count),
        }
    }

    /// Waits until it has done what it had to do; gives the CPU time in nanoseconds that it has used by then.
    pub(crate) fn settle(&self) -> Outcome<u64> {
        usage::settle_family(self.pid())
    }
}

/// Nobody listens there now.
pub(crate) fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A plain configuration of the kind sites run; the same servers, checks and time-outs as the door's.
fn haproxy_config(
    address: SocketAddr,
    servers: &[SocketAddr],
    weights: &[u32],
    log: Log,
    careful: bool,
) -> String {
    let (global, defaults) = match log {
        Log::Nowhere => ("", ""),
        Log::File => ("    log stdout format raw local0\n", "    log global\n    option tcplog\n"),
    };
    let (backend, check) = if careful {
        let greeted = "    option redispatch 1\n    option tcp-check\n    tcp-check expect rstring ^220\n    tcp-check send QUIT\\r\\n\n";
        (greeted, "check inter 1s")
    } else {
        ("", "check inter 10s")
    };
    let mut text = format!(
        "global\n    nbthread 1\n    maxconn {MAX_SESSIONS}\n{global}\
         defaults\n    mode tcp\n{defaults}    timeout connect 3s\n    timeout client 15m\n    timeout server 15m\n\
         frontend ftp\n    bind {address}\n    default_backend servers\n\
         backend servers\n    balance leastconn\n{backend}"
    );
    for (index, (server, weight)) in servers.iter().zip(weights).enumerate() {
        text += &format!("    server s{} {server} weight {weight} {check}\n", index + 1);
    }
    text
}

/// `max_fails=1 fail_timeout=10s` and `proxy_next_upstream on` are its defaults; free nginx has no checks of its own.
/// One process, the worker's loop in it, so that nothing stays behind when the bench dies.
fn nginx_config(address: SocketAddr, servers: &[SocketAddr], stem: &Path) -> String {
    let stem = stem.display();
    let connections = 2 * MAX_SESSIONS + 100;
    let mut text = format!(
        "load_module {NGINX_STREAM};\ndaemon off;\nmaster_process off;\npid {stem}.pid;\nerror_log /dev/null crit;\n\
         worker_rlimit_nofile {connections};\nevents {{ worker_connections {connections}; }}\n\
         stream {{\n  access_log off;\n  server {{\n    listen {address};\n    proxy_pass servers;\n\
         \x20   proxy_connect_timeout 3s;\n    proxy_timeout 15m;\n  }}\n  upstream servers {{\n    least_conn;\n"
    );
    for server in servers {
        text += &format!("    server {server};\n");
    }
    text + "  }\n}\n"
}

/// The door's: data straight between client and server, as haproxy leaves it, and one thread, as haproxy has.
fn door_config(address: SocketAddr, servers: &[SocketAddr], weights: &[u32], socket: &Path) -> String {
    let mut text = format!(
        "[global]\nadmin_socket = \"{}\"\nthreads = 1\n\n\
         [[virtual_server]]\nname = \"ftp\"\naddresses = [\"{}\"]\nport = {}\nlb_algo = \"wlc\"\ndata_path = \"direct\"\n\
         max_sessions = {MAX_SESSIONS}\n\n[virtual_server.check]\ntype = \"ftp\"\ndelay_loop = \"10s\"\n",
        socket.display(),
        address.ip(),
        address.port(),
    );
    for (index, (server, weight)) in servers.iter().zip(weights).enumerate() {
        text += &format!(
            "\n[[virtual_server.real_server]]\nname = \"s{}\"\naddress = \"{}\"\nport = {}\nweight = {weight}\n",
            index + 1,
            server.ip(),
            server.port(),
        );
    }
    text
}
