//! What a control channel costs through each product: CPU time, round trips, memory.

use std::net::SocketAddr;
use std::time::Duration;

use crate::results::{Results, Row};
use crate::support::balancer::{Balancer, Log, Product, Site};
use crate::support::client::{self, UNTYPED};
use crate::support::fleet::{Fleet, Load};
use crate::support::rounds::Series;
use crate::support::{interrupt, usage};
use crate::{NO_DOOR, Outcome};

/// Sessions that idle at once.
const IDLE: usize = 1000;
/// The same where each is a process.
const IDLE_PROCESSES: usize = 50;
/// Processes of sessions have gone by then.
const BEFORE_BASE: Duration = Duration::from_secs(1);
const KILOBYTE: f64 = 1e3;
const MEGABYTE: f64 = 1e6;

/// CPU and round trips, in the order of the table.
pub(crate) fn processor(
    fleet: &Fleet,
    load: &Load,
    direct: SocketAddr,
    results: &mut Results,
) -> Outcome<()> {
    let (per_session, per_command) = (Some((1.0 / 25.0, 1.0 / 30.0)), Some((1.0 / 6.0, 1.0 / 8.0)));
    let title = "CPU per session (connect, login, PASV, QUIT), 16 at once";
    let sessions = fleet.sessions(load, 16, UNTYPED, title)?;
    let of_one_core = sessions_of_one_core(&sessions);
    results.compare(sessions, per_session);
    results.rows.push(of_one_core);
    let title = "CPU per session, one at a time";
    results.compare(fleet.sessions(load, 1, UNTYPED, title)?, per_session);
    let title = "CPU per command (NOOP), 32 connections";
    results.compare(fleet.commands(load, 32, title)?, per_command);
    let title = "CPU per command (NOOP), one connection";
    results.compare(fleet.commands(load, 1, title)?, per_command);
    let series = fleet.round_trips(load, direct, "Round trip (NOOP), one connection")?;
    results.rows.push(Row::of(&series, Some(NO_DOOR)));
    results.series.push(series);
    let (ungreeted, tried) = fleet.ungreeted_by_mod_proxy();
    if tried > 0 {
        results.notes.push(format!(
            "mod_proxy closed {ungreeted} of these {tried} sessions before the greeting (`selecting backend server: Operation not permitted`: its processes share an SQLite file); another took the place of each, and their cost is in it. The others closed none, or the run would have ended"
        ));
    }
    Ok(())
}

/// What a second of CPU is enough for. Not measured apart: clients and servers would run out first.
fn sessions_of_one_core(sessions: &Series) -> Row {
    let mut row = Row::new("Sessions that one core carries, by the line above".into(), "sessions per s");
    for product in Product::ALL {
        row.set(product.name(), sessions.median(product.name()).map(|microseconds| 1e6 / microseconds));
    }
    row
}

/// Fresh processes, one after the other.
pub(crate) fn memory(site: &Site, products: &[Product], results: &mut Results) -> Outcome<()> {
    let mut fresh = Row::new("Process without sessions: resident".into(), "MB");
    let mut idle = Row::new("User memory per idle session".into(), "kB");
    for product in products {
        let sessions = if *product == Product::ModProxy { IDLE_PROCESSES } else { IDLE };
        let balancer =
            Balancer::start(site, *product, &format!("idle {}", product.name()), Log::Nowhere, &[1; 3])?;
        balancer.settle()?;
        fresh.set(product.name(), Some(usage::memory(balancer.pid())?.resident as f64 / MEGABYTE));
        // What is allocated once is in the base.
        client::try_sessions(balancer.address, 16, IDLE_PROCESSES, UNTYPED)?;
        interrupt::wait(BEFORE_BASE)?;
        let base = usage::memory_of_family(balancer.pid())?.anonymous as f64;
        let held = balancer.open_sessions(sessions)?;
        balancer.settle()?;
        let full = usage::memory_of_family(balancer.pid())?.anonymous as f64;
        drop(held);
        idle.set(product.name(), Some((full - base) / sessions as f64 / KILOBYTE));
    }
    results.rows.extend([fresh, idle]);
    Ok(())
}

/// How the memory was measured, for the reader.
pub(crate) fn how_of_memory() -> String {
    format!(
        "user memory per idle session: `Pss_Anon` of /proc/PID/smaps_rollup of the process and its children, with {IDLE} sessions less without, after {IDLE_PROCESSES} have come and gone; mod_proxy, a process per session, with {IDLE_PROCESSES}; what the kernel keeps is not in it (for mod_proxy a process each: page tables, stack, descriptors)"
    )
}
