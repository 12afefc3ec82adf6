//! The systems under test: haproxy and the door, each a child process on a core of its own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::child::{dying_with_the_bench, last_words};
use crate::support::cores;
use crate::{Outcome, client};

/// How long a balancer may take until a client is greeted through it.
const START_LIMIT: Duration = Duration::from_secs(10);
/// What both are told to carry at most: the largest burst of this bench and a little more.
const MAX_SESSIONS: usize = 9500;
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Which program stands in front of the real servers.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Product {
    Haproxy,
    Door,
}

impl Product {
    /// The group of its instances in a series.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Door => "door",
        }
    }
}

/// Where a balancer's log goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Log {
    /// The door writes its lines to /dev/null; haproxy has `option tcplog` off.
    Nowhere,
    /// One line per session to a file, from both.
    File,
}

/// What every balancer of this run has in common.
pub(crate) struct Site<'a> {
    pub(crate) haproxy: PathBuf,
    pub(crate) door: PathBuf,
    pub(crate) directory: &'a Path,
    pub(crate) core: usize,
    pub(crate) real_servers: Vec<SocketAddr>,
}

/// A running balancer; it is killed when this is dropped.
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Balancer {
    /// Starts a balancer and waits until it greets. `name` is unique in this run; `weights` are those of the real
    /// servers, in their order.
    pub(crate) fn start(
        site: &Site,
        product: Product,
        name: &str,
        log: Log,
        weights: &[u32],
    ) -> Outcome<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let config = site.directory.join(format!("{name}.conf"));
        let log_file = site.directory.join(format!("{name}.log"));
        let mut command = dying_with_the_bench(match product {
            Product::Haproxy => &site.haproxy,
            Product::Door => &site.door,
        });
        match product {
            Product::Haproxy => {
                fs::write(&config, haproxy_config(address, &site.real_servers, weights, log))?;
                command.args(["-db", "-q", "-f"]).arg(&config);
            }
            Product::Door => {
                let socket = site.directory.join(format!("{name}.sock"));
                fs::write(&config, door_config(address, &site.real_servers, weights, &socket))?;
                command.args(["run", "-c"]).arg(&config);
            }
        }
        let output = || match log {
            Log::Nowhere => Ok(Stdio::null()),
            Log::File => File::options().append(true).create(true).open(&log_file).map(Stdio::from),
        };
        command.stdin(Stdio::null()).stdout(output()?).stderr(output()?).process_group(0);
        // The child inherits the affinity of the thread that starts it.
        let child = cores::on(site.core, || command.spawn())?
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let mut balancer = Self { address, child };
        if let Err(error) = balancer.wait_until_it_greets() {
            crate::support::interrupt::check()?;
            drop(balancer);
            return Err(format!(
                "{} does not serve: {error}\n{}",
                product.name(),
                last_words(&mut command, &log_file)
            )
            .into());
        }
        Ok(balancer)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_greets(&mut self) -> Outcome<()> {
        let start = Instant::now();
        loop {
            crate::support::interrupt::check()?;
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("it ended with {status}").into());
            }
            if client::is_greeted(self.address) {
                return Ok(());
            }
            if start.elapsed() > START_LIMIT {
                return Err(format!("no greeting in {} s", START_LIMIT.as_secs()).into());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A plain configuration of the kind sites run; the same servers, checks and time-outs as the door's.
pub(crate) fn haproxy_config(
    address: SocketAddr,
    servers: &[SocketAddr],
    weights: &[u32],
    log: Log,
) -> String {
    let (global, defaults) = match log {
        Log::Nowhere => ("", ""),
        Log::File => ("    log stdout format raw local0\n", "    log global\n    option tcplog\n"),
    };
    let mut text = format!(
        "global\n    nbthread 1\n    maxconn {MAX_SESSIONS}\n{global}\
         defaults\n    mode tcp\n{defaults}    timeout connect 3s\n    timeout client 15m\n    timeout server 15m\n\
         frontend ftp\n    bind {address}\n    default_backend servers\n\
         backend servers\n    balance leastconn\n"
    );
    for (index, (server, weight)) in servers.iter().zip(weights).enumerate() {
        text += &format!("    server s{} {server} weight {weight} check inter 10s\n", index + 1);
    }
    text
}

/// The door's: data straight between client and server, as haproxy leaves it, and one thread, as haproxy has.
pub(crate) fn door_config(
    address: SocketAddr,
    servers: &[SocketAddr],
    weights: &[u32],
    socket: &Path,
) -> String {
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
