//! What a fault of one of three real servers costs the clients of each product.
//!
//! Every product stands in front of every fault's own three servers, and all faults come at the same moment: what
//! disturbs the machine meets all, and the run takes as long as one fault.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::support::balancer::{Balancer, Log, Product, Site};
use crate::support::interrupt;
use crate::support::real_server::{Condition, RealServers};
use crate::visit::{End, Visit, visit};
use crate::{NO_DOOR, Outcome};

/// Real servers of each fault.
pub(crate) const SERVERS: usize = 3;
/// Which of them fails.
const FAILING: usize = 1;
/// Between the beginnings of two sessions.
pub(crate) const INTERVAL: Duration = Duration::from_millis(200);
/// In which sessions taken in turn come to each server twice: nearer to the end of a fault it is not seen whether it is over.
pub(crate) const TWO_TURNS: Duration = Duration::from_millis(1200);
/// Sessions come this long before, so that those that end are as many as those that begin.
pub(crate) const BEFORE: Duration = Duration::from_secs(8);
/// haproxy's checks every 10 s notice the third failure within 30 s.
pub(crate) const FAULT: Duration = Duration::from_secs(35);
/// And the second success within 20 s.
pub(crate) const AFTER: Duration = Duration::from_secs(25);
/// A session that waited this much longer than usual was affected; twice what the machine by itself lets wait comes on
/// top, for there are two hops.
pub(crate) const NOTICEABLE: Duration = Duration::from_millis(250);

/// What happens to a server.
pub(crate) struct Fault {
    pub(crate) words: &'static str,
    condition: Condition,
}

pub(crate) const FAULTS: [Fault; 5] = [
    Fault { words: "stops: connections refused, its sessions go on", condition: Condition::Refusing },
    Fault { words: "hangs: accepts and never greets", condition: Condition::Mute },
    Fault { words: "full: greets with 421", condition: Condition::Full },
    Fault { words: "frozen: SYNs and sessions unanswered", condition: Condition::Frozen },
    Fault { words: "dies: its sessions reset, connections refused", condition: Condition::Dead },
];

/// What one fault cost the clients of one product.
pub(crate) struct Cost {
    pub(crate) fault: &'static str,
    pub(crate) product: &'static str,
    /// Sessions begun while the server failed, and how many of these did not become whole.
    pub(crate) begun: usize,
    pub(crate) failed: usize,
    /// What the others waited for their login beyond the median before the fault; shortest first.
    pub(crate) extra: Vec<Duration>,
    /// From the fault to the beginning of the last session that failed or waited noticeably.
    pub(crate) last_affected: Option<Duration>,
    /// From the server's return to the beginning of the first session that it served.
    pub(crate) used_again: Option<Duration>,
    /// Sessions on the failing server when it failed; how those that were lost learned of it.
    pub(crate) open: usize,
    pub(crate) told: usize,
    pub(crate) cut: usize,
    pub(crate) silent: usize,
}

/// Sessions of one product at one fault.
struct Stream {
    fault: &'static Fault,
    product: &'static str,
    /// The product's address; without a door those of the servers, taken in turn.
    addresses: Vec<SocketAddr>,
}

/// What all the faults cost, and how long the machine itself let clients wait.
pub(crate) struct Costs {
    pub(crate) rows: Vec<Cost>,
    pub(crate) noise: Duration,
}

impl Visit {
    /// Whether it was served by this one of its servers.
    fn is_at(&self, server: usize) -> bool {
        self.server.is_some_and(|number| number % SERVERS == server)
    }
}

/// Lets everything fail once. `servers` are [`SERVERS`] for each of [`FAULTS`].
pub(crate) fn measure(site: &Site, products: &[Product], servers: &RealServers) -> Outcome<Costs> {
    let mut balancers = Vec::new();
    let mut streams = Vec::new();
    for (number, (fault, group)) in FAULTS.iter().zip(servers.addresses().chunks(SERVERS)).enumerate() {
        streams.push(Stream { fault, product: NO_DOOR, addresses: group.to_vec() });
        let site = Site { real_servers: group.to_vec(), ..site.clone() };
        for product in products {
            let name = format!("fault {number} {}", product.name());
            let balancer = Balancer::start(&site, *product, &name, Log::Nowhere, &[1; SERVERS])?;
            streams.push(Stream { fault, product: product.name(), addresses: vec![balancer.address] });
            balancers.push(balancer);
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = runtime.block_on(run(&streams, servers))?;
    let visits = &run.visits;
    let noise = noise(&streams, &run);
    let rows = streams.iter().zip(visits).map(|(stream, visits)| cost(stream, &run, visits, noise)).collect();
    Ok(Costs { rows, noise })
}

/// How late sessions began, and how much longer than usual they waited for servers that were well with nothing in front.
fn noise(streams: &[Stream], run: &Run) -> Duration {
    let late = run.visits.iter().flatten().map(|visit| visit.begun.saturating_sub(visit.due));
    let straight = streams.iter().zip(&run.visits).filter(|(stream, _)| stream.product == NO_DOOR);
    let stalls = straight.flat_map(|(_, visits)| {
        let usual = usual_wait(visits, run.broken);
        let well = visits.iter().filter(|visit| visit.server.is_some() && !visit.is_at(FAILING));
        well.map(move |visit| visit.waited.saturating_sub(usual))
    });
    late.chain(stalls).max().unwrap_or_default()
}

/// What came of it.
struct Run {
    /// Each stream's sessions in the order of their beginning.
    visits: Vec<Vec<Visit>>,
    /// When the servers failed and came back.
    broken: Duration,
    mended: Duration,
}

/// Runs all streams, breaks and mends the servers.
async fn run(streams: &[Stream], servers: &RealServers) -> Outcome<Run> {
    let origin = Instant::now();
    let mut tasks = JoinSet::new();
    for (number, stream) in (0_u32..).zip(streams) {
        let addresses = stream.addresses.clone();
        // Not all at the same moment.
        let first = origin + INTERVAL * number / u32::try_from(streams.len())?;
        tasks.spawn(async move { (number, sessions(&addresses, origin, first).await) });
    }
    wait_until(origin + BEFORE).await?;
    for (number, fault) in FAULTS.iter().enumerate() {
        servers.put(number * SERVERS + FAILING, fault.condition)?;
    }
    let broken = origin.elapsed();
    wait_until(origin + BEFORE + FAULT).await?;
    for number in 0..FAULTS.len() {
        servers.put(number * SERVERS + FAILING, Condition::Well)?;
    }
    let mended = origin.elapsed();
    wait_until(origin + BEFORE + FAULT + AFTER).await?;
    let mut visits = tasks.join_all().await;
    visits.sort_unstable_by_key(|(number, _)| *number);
    Ok(Run { visits: visits.into_iter().map(|(_, visits)| visits).collect(), broken, mended })
}

/// Ctrl-C is heard meanwhile.
async fn wait_until(end: Instant) -> Outcome<()> {
    const STEP: Duration = Duration::from_millis(100);
    while Instant::now() < end {
        interrupt::check()?;
        sleep_until(end.min(Instant::now() + STEP)).await;
    }
    Ok(())
}

/// Begins a session at each interval, whether or not earlier ones have ended.
async fn sessions(addresses: &[SocketAddr], origin: Instant, first: Instant) -> Vec<Visit> {
    let mut tasks = JoinSet::new();
    let mut next = first;
    // After a delay those that are due follow at once: the rate holds.
    for address in addresses.iter().cycle() {
        if next >= origin + BEFORE + FAULT + AFTER {
            break;
        }
        sleep_until(next).await;
        tasks.spawn(visit(*address, origin, next));
        next += INTERVAL;
    }
    let mut visits = tasks.join_all().await;
    visits.sort_unstable_by_key(|visit| visit.begun);
    visits
}

fn cost(stream: &Stream, run: &Run, visits: &[Visit], noise: Duration) -> Cost {
    let (broken, mended) = (run.broken, run.mended);
    let usual = usual_wait(visits, broken);
    let during: Vec<&Visit> = visits.iter().filter(|visit| (broken..mended).contains(&visit.begun)).collect();
    let mut extra: Vec<Duration> = during
        .iter()
        .filter(|visit| visit.end == End::Whole)
        .map(|visit| visit.waited.saturating_sub(usual))
        .collect();
    extra.sort_unstable();
    let affected = |visit: &&Visit| {
        let waited = visit.begun < mended && visit.waited > usual + NOTICEABLE + 2 * noise;
        visit.begun >= broken && (visit.end != End::Whole || waited)
    };
    let open: Vec<&Visit> = visits
        .iter()
        .filter(|visit| visit.begun < broken && visit.ended > broken && visit.is_at(FAILING))
        .collect();
    let lost = |end: End| open.iter().filter(|visit| visit.end == end).count();
    Cost {
        fault: stream.fault.words,
        product: stream.product,
        begun: during.len(),
        failed: during.len() - extra.len(),
        extra,
        last_affected: visits.iter().rfind(affected).map(|visit| visit.begun - broken),
        used_again: visits
            .iter()
            .find(|visit| visit.begun >= mended && visit.is_at(FAILING))
            .map(|visit| visit.begun - mended),
        open: open.len(),
        told: lost(End::Told),
        cut: lost(End::Cut),
        silent: lost(End::Silent),
    }
}

/// The median of those logged in before anything failed.
fn usual_wait(visits: &[Visit], broken: Duration) -> Duration {
    let mut waits: Vec<Duration> = visits
        .iter()
        .filter(|visit| visit.begun + visit.waited < broken && visit.server.is_some())
        .map(|visit| visit.waited)
        .collect();
    waits.sort_unstable();
    waits.get(waits.len() / 2).copied().unwrap_or_default()
}
