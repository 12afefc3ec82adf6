//! `gridfront realserver`.
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::daemon::{fail, say};
use crate::realserver::gridftp::PORT;
use crate::realserver::plan::{Cure, Finding, Wanted};
use crate::realserver::{self, Places, STATE, unit};

#[derive(Debug, Args)]
pub(super) struct RealserverArgs {
    #[command(subcommand)]
    command: RealserverCommand,
}

#[derive(Debug, Subcommand)]
enum RealserverCommand {
    /// Give this host the virtual addresses, unheard by its neighbours, now and after each start
    Setup {
        #[command(flatten)]
        wanted: WantedArgs,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        places: PlacesArgs,
    },
    /// Say whether this host is fit: 0, or 1 with what is wrong and how to mend it
    Check {
        #[command(flatten)]
        wanted: WantedArgs,
        /// Where clients of the virtual addresses come
        #[arg(long, value_name = "N", default_value_t = PORT)]
        port: u16,
        /// Where the configuration of the GridFTP server is
        #[arg(long, value_name = "DIRECTORY", default_value = "/etc", hide = true)]
        etc: PathBuf,
    },
    /// Take back what setup has done, for all virtual addresses or for those that are named
    Undo {
        /// The virtual address; may be given several times
        #[arg(long = "vip", value_name = "ADDR", value_parser = vip)]
        vips: Vec<IpAddr>,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        places: PlacesArgs,
    },
}

#[derive(Debug, Args)]
struct WantedArgs {
    /// The virtual address; may be given several times
    #[arg(long = "vip", value_name = "ADDR", value_parser = vip, required = true)]
    vips: Vec<IpAddr>,
    /// The interface at which the balancer's packets arrive; otherwise any may be it
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
}

#[derive(Debug, Args)]
struct PlacesArgs {
    /// Leave systemd alone: what is done lasts until the host restarts
    #[arg(long)]
    no_unit: bool,
    /// The file of what was before
    #[arg(long, value_name = "FILE", default_value = STATE)]
    state: PathBuf,
    /// Where the unit is written
    #[arg(long, value_name = "DIRECTORY", default_value = unit::DIRECTORY, hide = true)]
    units: PathBuf,
}

/// One that clients can reach.
fn vip(text: &str) -> Result<IpAddr, String> {
    let vip: IpAddr =
        text.parse().map_err(|_| "no address; write it like 192.0.2.10 or 2001:db8::10".to_owned())?;
    let is_broadcast = matches!(vip, IpAddr::V4(vip) if vip.is_broadcast());
    if vip.is_loopback() || vip.is_unspecified() || vip.is_multicast() || is_broadcast {
        return Err("nobody is reached at it; name the address that clients use".into());
    }
    Ok(vip.to_canonical())
}

impl From<&WantedArgs> for Wanted {
    fn from(args: &WantedArgs) -> Self {
        let mut vips: Vec<IpAddr> = Vec::new();
        for vip in &args.vips {
            if !vips.contains(vip) {
                vips.push(*vip);
            }
        }
        Self { vips, interface: args.interface.clone() }
    }
}

impl From<&PlacesArgs> for Places {
    fn from(args: &PlacesArgs) -> Self {
        let units = (!args.no_unit).then(|| args.units.clone());
        Self { state: args.state.clone(), units }
    }
}

pub(super) fn realserver(args: &RealserverArgs) -> ExitCode {
    let mut tell = |line: &str| say(&format!("{line}\n"));
    let done = match &args.command {
        RealserverCommand::Setup { wanted, dry_run, places } => {
            realserver::setup(&wanted.into(), &places.into(), *dry_run, &mut tell)
        }
        RealserverCommand::Undo { vips, dry_run, places } => {
            realserver::undo(vips, &places.into(), *dry_run, &mut tell)
        }
        RealserverCommand::Check { wanted, port, etc } => return check(wanted, *port, etc),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn check(args: &WantedArgs, port: u16, etc: &std::path::Path) -> ExitCode {
    let wanted = Wanted::from(args);
    let findings = match realserver::check(&wanted, port, etc) {
        Ok(findings) => findings,
        Err(error) => return fail(&error),
    };
    let mut setup = String::from("gridfront realserver setup");
    wanted.vips.iter().for_each(|vip| setup.push_str(&format!(" --vip {vip}")));
    wanted.interface.iter().for_each(|interface| setup.push_str(&format!(" --interface {interface}")));
    for finding in &findings {
        let text = &finding.text;
        say(&match &finding.cure {
            Cure::Fit => format!("fit    {text}\n"),
            Cure::Note => format!("note   {text}\n"),
            Cure::Steps(_) => format!("wrong  {text}; {setup}\n"),
            Cure::ByHand(mend) => format!("wrong  {text}; {mend}\n"),
        });
    }
    if findings.iter().any(Finding::is_wrong) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
