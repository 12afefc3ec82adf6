//! What sessions cost that do nothing: memory while they are there, memory kept after them, CPU.

use std::time::Duration;

use crate::kernel_objects::{KernelObjects, Sizes};
use crate::results::{Judged, Results, Row};
use crate::support::balancer::{Balancer, Log, Product, Site};
use crate::support::rounds::Series;
use crate::support::{client, interrupt, usage};
use crate::{Outcome, Scale};

/// How long after the last close the kept memory is read (DESIGN: 1.5 s).
const AFTER_CLOSE: Duration = Duration::from_millis(1500);
/// Sessions that come and go first, so that what is allocated once is in the base.
const WARM_UP: usize = 200;
/// What the opening leaves to do later is done by then, and not counted as idling.
const BEFORE_WINDOW: Duration = Duration::from_secs(1);
const MEGABYTE: f64 = 1e6;

/// What one process showed.
struct Idle {
    base_resident: f64,
    user_per_session: f64,
    /// With all of the sessions there.
    kernel: KernelObjects,
    cpu_per_second: f64,
    kept: f64,
}

/// Fresh processes, two of a kind, one after the other.
pub(crate) fn measure(
    site: &Site,
    products: &[Product],
    scale: &Scale,
    results: &mut Results,
) -> Outcome<()> {
    let plan: Vec<(String, Product)> = (1..=2)
        .flat_map(|number| {
            products.iter().map(move |product| (format!("{} {number}", product.name()), *product))
        })
        .collect();
    let names = || plan.iter().map(|(name, product)| (name.as_str(), product.name()));
    let sessions = scale.idle_sessions;
    let mut base = Series::new("Process without sessions: resident", "MB", names());
    let mut user =
        Series::new(&format!("User memory per idle session, {sessions} sessions"), "bytes", names());
    let mut whole = Series::new(
        &format!("User and kernel memory per idle session, {sessions} sessions"),
        "bytes",
        names(),
    );
    let mut charged =
        Series::new("The same less the accepted socket, as cgroup v1 charges it", "bytes", names());
    let mut kept = Series::new(&format!("Resident 1.5 s after {sessions} sessions closed"), "MB", names());
    let mut cpu = Series::new(&format!("CPU with {sessions} idle sessions"), "ms per s", names());
    let sizes = Sizes::read();
    for (place, (name, product)) in plan.iter().enumerate() {
        let idle = measure_one(site, *product, &format!("idle-{}", name.replace(' ', "-")), scale)?;
        base.samples[place].values.push(idle.base_resident / MEGABYTE);
        user.samples[place].values.push(idle.user_per_session);
        if let Some(sizes) = sizes {
            let KernelObjects { sockets, watches } = idle.kernel;
            let bytes = idle.user_per_session + idle.kernel.bytes(sizes) / sessions as f64;
            whole.samples[place].values.push(bytes);
            charged.samples[place].values.push(bytes - sizes.tcp as f64);
            results.notes.push(format!(
                "{name} with {sessions} idle sessions: {sockets} sockets of {} bytes in the kernel, {watches} epoll watches of {}",
                sizes.socket, sizes.watch
            ));
        }
        kept.samples[place].values.push(idle.kept / MEGABYTE);
        cpu.samples[place].values.push(idle.cpu_per_second);
    }
    let aim_kept = base.median(Product::Door.name()).map(|base| base + 3.0);
    for (series, must, aim) in [
        (user, 2048.0, Some(600.0)),
        (whole, 7500.0, Some(6200.0)),
        (charged, 7500.0, Some(6200.0)),
        (kept, 20.0, aim_kept),
        (base, 8.0, Some(3.0)),
        (cpu, 1.0, Some(0.1)),
    ] {
        results.rows.push(Row {
            metric: series.title.clone(),
            unit: series.unit,
            haproxy: series.median(Product::Haproxy.name()),
            door: series.median(Product::Door.name()),
            ratio: series.ratio(Product::Door.name(), Product::Haproxy.name(), None),
            judged: Judged::Door,
            must: Some(must),
            aim,
            noise: series.largest_noise(),
        });
        results.series.push(series);
    }
    Ok(())
}

fn measure_one(site: &Site, product: Product, name: &str, scale: &Scale) -> Outcome<Idle> {
    let count = scale.idle_sessions;
    let per_session = |before: u64, after: u64| (after as f64 - before as f64) / count as f64;
    let balancer = Balancer::start(site, product, name, Log::Nowhere, &vec![1; site.real_servers.len()])?;
    let pid = balancer.pid();
    usage::settle(pid)?;
    let fresh = usage::memory(pid)?;
    client::run_sessions(balancer.address, 16, WARM_UP, client::UNTYPED)?;
    usage::settle(pid)?;
    let base = usage::memory(pid)?;
    let held = client::open_sessions(balancer.address, count)?;
    usage::settle(pid)?;
    let full = usage::memory(pid)?;
    let kernel = KernelObjects::of(pid)?;
    interrupt::wait(BEFORE_WINDOW)?;
    let busy = usage::cpu_nanoseconds(pid)?;
    interrupt::wait(scale.idle_window)?;
    let idle = usage::cpu_nanoseconds(pid)?;
    drop(held);
    interrupt::wait(AFTER_CLOSE)?;
    Ok(Idle {
        base_resident: fresh.resident as f64,
        user_per_session: per_session(base.anonymous, full.anonymous),
        kernel,
        cpu_per_second: (idle - busy) as f64 / 1e6 / scale.idle_window.as_secs_f64(),
        kept: usage::memory(pid)?.resident as f64,
    })
}
