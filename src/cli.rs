//! The command line: what an administrator types, and what comes back.
mod ban;
mod check;
mod daemon;
pub mod demo;
mod failover;
mod guardian;
mod realserver;
mod reload;
mod run;
mod status;
mod steer;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config;
use crate::control::LogFormat;

/// A command line that cannot be read ends with this code; clap uses the same.
pub const EXIT_USAGE: u8 = 2;

/// The front door for GridFTP sites: one name, one address, many real servers
#[derive(Debug, Parser)]
#[command(name = "gridfront", version, propagate_version = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients until SIGTERM
    Run(RunArgs),
    /// Say what is wrong with a configuration: 0 if it is fine, 1 if there are problems
    Check(ConfigArgs),
    /// Try the door: embedded servers on loopback, real transfers through it, and where their data went
    Demo(demo::DemoArgs),
    /// Show the running daemon: real servers, their health, their sessions
    Status(StatusArgs),
    /// Read the configuration anew: all of it comes into force, or nothing changes
    Reload(ReloadArgs),
    /// Give a real server no new sessions; idle ones end, running transfers may finish
    Drain(DrainArgs),
    /// Take a drained real server back into service
    Undrain(UndrainArgs),
    /// Give a real server another share of the sessions to come, 0 for none
    Weight(WeightArgs),
    /// Show who is kept out for failed logins
    Ban(BanArgs),
    /// Let a client in again that is kept out
    Unban(UnbanArgs),
    /// Let another host have the virtual addresses, once nothing has been under way at them for 2 s
    Failover(FailoverArgs),
    /// Keep this host from having virtual addresses (those that it has go as with failover), or not any more
    Maintenance(MaintenanceArgs),
    /// On a real server of Direct Routing: make the host fit for virtual addresses, check whether it is, undo that
    Realserver(realserver::RealserverArgs),
    /// Removes the virtual addresses of a daemon that was killed; started by that
    #[command(hide = true)]
    Guardian,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = "/etc/gridfront/gridfront.toml")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// What a log line on stderr looks like
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log: LogArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogArg {
    Text,
    Json,
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// The sessions of users that the door knows by their certificates, a line each, the oldest first
    #[arg(long)]
    sessions: bool,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
}

#[derive(Debug, Args)]
struct ReloadArgs {
    /// Only say what would change: 0 if that could be done, 1 if not
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Which daemon is meant.
#[derive(Debug, Args)]
struct DaemonArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The daemon's admin socket, where the configuration cannot be read
    #[arg(long, value_name = "SOCKET")]
    admin: Option<PathBuf>,
}

/// Which real servers are meant.
#[derive(Debug, Args)]
struct ServerArgs {
    /// The real server: every one of that name, or VIRTUAL/NAME for the one in that virtual server
    #[arg(value_name = "NAME")]
    server: String,
    #[command(flatten)]
    daemon: DaemonArgs,
}

#[derive(Debug, Args)]
struct BanArgs {
    #[command(subcommand)]
    command: BanCommand,
}

#[derive(Debug, Subcommand)]
enum BanCommand {
    /// Each client, its virtual server, and for how long still
    List {
        /// JSON instead of lines
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        daemon: DaemonArgs,
    },
}

#[derive(Debug, Args)]
struct UnbanArgs {
    /// The client's address, or any of its network
    #[arg(value_name = "ADDRESS")]
    client: IpAddr,
    #[command(flatten)]
    daemon: DaemonArgs,
}

#[derive(Debug, Args)]
struct WaitArgs {
    /// Return only when it has come to that: 0, or 1 if it has not
    #[arg(long)]
    wait: bool,
    /// Wait so long at most, such as 5m
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "wait")]
    timeout: Option<Duration>,
}

#[derive(Debug, Args)]
struct DrainArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// End what still runs after this time, such as 10m; never by default
    #[arg(long, value_name = "TIME", value_parser = duration)]
    deadline: Option<Duration>,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Args)]
struct UndrainArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Args)]
struct WeightArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// From 0 to 65535
    #[arg(value_name = "N")]
    weight: u16,
}

#[derive(Debug, Args)]
struct FailoverArgs {
    /// The VRRP instance, which has to be MASTER here; all that are where none is named
    #[arg(value_name = "INSTANCE")]
    instance: Option<String>,
    /// Take back a failover that waits still
    #[arg(long, conflicts_with_all = ["deadline", "wait"])]
    cancel: bool,
    #[command(flatten)]
    handover: HandoverArgs,
}

#[derive(Debug, Args)]
struct MaintenanceArgs {
    /// It holds until off, or until the daemon ends
    #[arg(value_name = "on|off")]
    switch: Switch,
    #[command(flatten)]
    handover: HandoverArgs,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// How addresses are to go.
#[derive(Debug, Args)]
struct HandoverArgs {
    /// Wait no longer for transfers than this, such as 10m, and end them then; `drain_timeout` by default
    #[arg(long, value_name = "TIME", value_parser = duration)]
    deadline: Option<Duration>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// A duration as the configuration has it.
fn duration(text: &str) -> Result<Duration, String> {
    config::parse_duration(text).map_err(|(what, mend)| format!("{what}; {mend}"))
}

impl From<LogArg> for LogFormat {
    fn from(arg: LogArg) -> Self {
        match arg {
            LogArg::Text => Self::Text,
            LogArg::Json => Self::Json,
        }
    }
}

/// Does what the command line says. Exit codes: 0, 1 for a problem found, 2 for a command line that cannot be read.
#[must_use]
pub fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args.config),
        Command::Demo(args) => demo::run(&args, run::start_in_background),
        Command::Status(args) => status::status(&args),
        Command::Reload(args) => reload::reload(&args),
        Command::Drain(args) => steer::drain(&args),
        Command::Undrain(args) => steer::undrain(&args),
        Command::Weight(args) => steer::weight(&args),
        Command::Ban(args) => ban::ban(&args),
        Command::Unban(args) => ban::unban(&args),
        Command::Failover(args) => failover::failover(&args),
        Command::Maintenance(args) => failover::maintenance(&args),
        Command::Realserver(args) => realserver::realserver(&args),
        Command::Guardian => guardian::guardian(),
    }
}
