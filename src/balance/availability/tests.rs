mod ejection;
mod quorum;
mod slow_start;

use std::net::{Ipv4Addr, SocketAddr};

use super::super::health::CheckOutcome;
use super::super::real_server::RealServerSpec;
use super::super::scheduler::LbAlgo;
use super::super::virtual_server::{NoServer, Placement};
use super::*;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 200));

#[expect(clippy::disallowed_methods, reason = "tests need some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn real_server(number: u8, weight: u32, max_connections: Option<u32>) -> RealServer {
    RealServer::new(RealServerSpec {
        name: format!("s{number}"),
        address: SocketAddr::from(([10, 0, 0, number], 2811)),
        weight,
        max_connections,
        fall: 1,
        rise: 1,
    })
}

/// Servers of these weights.
fn site(lb_algo: LbAlgo, weights: &[u32], availability: Availability) -> Arc<VirtualServer> {
    let servers = (1..).zip(weights).map(|(number, weight)| Arc::new(real_server(number, *weight, None)));
    site_of(lb_algo, servers.collect(), availability)
}

fn site_of(lb_algo: LbAlgo, servers: Vec<Arc<RealServer>>, availability: Availability) -> Arc<VirtualServer> {
    VirtualServer::new("gridftp".into(), lb_algo, 100_000, servers, availability)
}

/// Looks, as whoever places does, and places.
fn place(site: &Arc<VirtualServer>, now: Instant) -> Placement {
    let _ = site.observe(now);
    site.place(now, CLIENT, &Tried::default()).expect("somebody takes it")
}

fn held(site: &VirtualServer) -> Vec<u32> {
    site.real_servers().iter().map(|server| server.active()).collect()
}

fn fail(site: &VirtualServer, index: usize, now: Instant) {
    let _ = site.real_servers()[index].handle_check(now, CheckOutcome::Failed("refused".into()));
    assert!(!site.real_servers()[index].is_up());
}

fn pass(site: &VirtualServer, index: usize, now: Instant) {
    let _ = site.real_servers()[index].handle_check(now, CheckOutcome::Passed);
    assert!(site.real_servers()[index].is_up());
}
