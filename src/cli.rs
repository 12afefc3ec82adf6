//! The command line: what an administrator types, and what comes back.
mod check;
pub mod demo;
mod run;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
    /// The daemon's admin socket, where the configuration cannot be read
    #[arg(long, value_name = "SOCKET")]
    admin: Option<PathBuf>,
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
    }
}
