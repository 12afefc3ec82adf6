//! Everything as it was before.
use std::net::IpAddr;

use super::host::{self, Kernel};
use super::plan::prefix;
use super::state::{Change, State};
use super::unit::{self, Unit};
use super::{Places, list};

/// Takes back what `setup` has done: for these virtual addresses, or for all if none is named. What is common goes with the last one.
/// Without a place for units the unit stays, and what it needs to know with it.
///
/// # Errors
///
/// Something is refused; what is left to undo is still known.
pub fn undo(
    vips: &[IpAddr],
    places: &Places,
    dry_run: bool,
    say: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let nothing = "nothing is to be undone: this host was not set up by `gridfront realserver setup`";
    let Some(mut state) = State::load(&places.state)? else {
        say(nothing);
        return Ok(());
    };
    if let Some(stranger) = vips.iter().find(|vip| !state.vips.contains(vip)) {
        return Err(format!(
            "{stranger} was not set up here; this host was set up for {}",
            list(&state.vips)
        ));
    }
    let is_all = vips.is_empty() || state.vips.iter().all(|vip| vips.contains(vip));
    if is_all && let Some(directory) = state.unit.clone().filter(|_| places.units.is_some()) {
        unit::remove(&directory, dry_run, say)?;
        if !dry_run {
            // Its stop has undone what it could.
            let Some(left) = State::load(&places.state)? else { return Ok(()) };
            state = State { unit: None, ..left };
            state.save(&places.state)?;
        }
    }
    let mut kernel = Kernel::open()?;
    let is_concerned = |vip: &IpAddr| is_all || vips.contains(vip);
    // Addresses first: no neighbour hears of one that is still there.
    for vip in state.addresses.clone().into_iter().filter(is_concerned) {
        say(&format!("{}remove {vip}/{} from lo", will(dry_run), prefix(vip)));
        if !dry_run {
            kernel.remove_address(vip)?;
            state.addresses.retain(|one| *one != vip);
            state.save(&places.state)?;
        }
    }
    if !is_all {
        state.vips.retain(|vip| !vips.contains(vip));
        if !dry_run {
            state.save(&places.state)?;
        }
        return match (&state.unit, &places.units) {
            (Some(directory), Some(_)) => Unit::new(directory, &state, &places.state)?.install(dry_run, say),
            _ => Ok(()),
        };
    }
    // Last in, first out.
    for change in state.settings.clone().into_iter().rev() {
        restore(&change, dry_run, say)?;
        if !dry_run {
            state.settings.retain(|one| *one != change);
            state.save(&places.state)?;
        }
    }
    if state.unit.is_none() && !dry_run {
        state.remove(&places.state)?;
    }
    Ok(())
}

fn restore(change: &Change, dry_run: bool, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    let Change { interface, parameter, before, after } = change;
    let name = parameter.setting(*before).name(interface);
    match host::current(interface, *parameter)? {
        None => say(&format!("{name}: {interface} has gone")),
        Some(now) if now == *before => {}
        Some(now) if now != *after => say(&format!("{name} stays {now}: somebody else has set it")),
        Some(now) => {
            say(&format!("{}set {name}: {now} → {before}", will(dry_run)));
            if !dry_run {
                host::set(interface, *parameter, *before)?;
            }
        }
    }
    Ok(())
}

const fn will(dry_run: bool) -> &'static str {
    if dry_run { "would " } else { "" }
}
