//! A host as a real server of Direct Routing: it has the virtual address (VIP), takes the packets that a balancer sends on to it,
//! and says nothing of that to its neighbours.
//!
//! ```text
//!   host ──▶ plan ──▶ steps ──▶ kernel, unit          listeners, gridftp ──▶ findings of `check`
//!                       └─────▶ state ──▶ undo
//! ```
//!
//! `plan`, `listeners` and `gridftp` are pure. It runs on the real server, and needs neither a daemon nor a configuration.
pub mod gridftp;
pub mod host;
pub mod listeners;
pub mod plan;
pub mod state;
mod undo;
pub mod unit;

use std::net::IpAddr;
use std::path::PathBuf;

use host::Kernel;
use plan::{Cure, Finding, Step, Wanted};
use state::{Change, State};
use unit::Unit;

pub use undo::undo;

/// Where things are kept.
#[derive(Clone, Debug)]
pub struct Places {
    /// The file of what was before.
    pub state: PathBuf,
    /// The directory of systemd's units; nothing if there is to be none.
    pub units: Option<PathBuf>,
}

/// The file of what was before, if no other is named.
pub const STATE: &str = "/var/lib/gridfront/realserver.json";

/// Makes this host fit, step by step; each is said before it is done. With `dry_run` nothing is done.
///
/// # Errors
///
/// What has to be mended by hand, and then nothing was changed; or a step that failed, and those before it are done.
pub fn setup(
    wanted: &Wanted,
    places: &Places,
    dry_run: bool,
    say: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let mut kernel = Kernel::open()?;
    let findings = plan::examine(wanted, &kernel.host()?);
    let obstacles: Vec<String> = findings.iter().filter_map(obstacle).collect();
    if !obstacles.is_empty() {
        return Err(obstacles.join("\n"));
    }
    let steps: Vec<Step> = findings.into_iter().flat_map(Finding::into_steps).collect();
    let mut state = State::load(&places.state)?.unwrap_or_default();
    state.admit(wanted)?;
    let unit = match &places.units {
        Some(directory) => Some(Unit::new(directory, &state, &places.state)?).filter(|unit| !unit.is_there),
        None => None,
    };
    if steps.is_empty() && unit.is_none() {
        say(&format!("nothing is to be done: this host is fit for {}", list(&wanted.vips)));
        return Ok(());
    }
    let will = if dry_run { "would " } else { "" };
    if !dry_run {
        steps.iter().for_each(|step| state.remember(step));
        if unit.is_some() {
            state.unit.clone_from(&places.units);
        }
        // Before anything is changed, so that whatever ends us can be undone.
        state.save(&places.state)?;
    }
    for step in &steps {
        say(&format!("{will}{step}"));
        if !dry_run {
            let done = kernel.perform(step);
            done.map_err(|error| format!("{error}; `gridfront realserver undo` takes back what is done"))?;
        }
    }
    if let Some(unit) = unit {
        unit.install(dry_run, say)?;
    }
    Ok(())
}

/// What there is to say of this host, what is wrong included.
///
/// # Errors
///
/// The kernel does not say.
pub fn check(wanted: &Wanted, port: u16, etc: &std::path::Path) -> Result<Vec<Finding>, String> {
    let mut findings = plan::examine(wanted, &Kernel::open()?.host()?);
    let listeners = host::listeners()?;
    let server = gridftp::Settings::of(&host::gridftp_files(etc)?);
    findings.extend(wanted.vips.iter().map(|vip| listeners::judge(*vip, port, &listeners, &server)));
    if server.port() == port && !server.is_empty() {
        findings.extend(server.findings(&host::announced(&server)));
    }
    Ok(findings)
}

fn obstacle(finding: &Finding) -> Option<String> {
    match &finding.cure {
        Cure::ByHand(mend) => Some(format!("{}; {mend}", finding.text)),
        Cure::Fit | Cure::Note | Cure::Steps(_) => None,
    }
}

fn list(vips: &[IpAddr]) -> String {
    vips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl State {
    fn remember(&mut self, step: &Step) {
        match step {
            Step::AddAddress(vip) if !self.addresses.contains(vip) => self.addresses.push(*vip),
            Step::AddAddress(_) => {}
            Step::Set { interface, parameter, from, to } => {
                let known = self
                    .settings
                    .iter_mut()
                    .find(|known| known.interface == *interface && known.parameter == *parameter);
                match known {
                    // What was before us counts, not what somebody made of our value.
                    Some(known) => known.after = *to,
                    None => self.settings.push(Change {
                        interface: interface.clone(),
                        parameter: *parameter,
                        before: *from,
                        after: *to,
                    }),
                }
            }
        }
    }
}
