use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::balance::ForwardError;

/// What the kernel has been told.
#[derive(Debug, Default)]
struct Kernel {
    ports: Mutex<HashSet<(Option<IpAddr>, SocketAddr, IpAddr)>>,
    refuses: AtomicBool,
}

impl PortSteering for Kernel {
    fn set(&self, client: Option<IpAddr>, at: SocketAddr, carrier: IpAddr) -> Result<(), ForwardError> {
        if self.refuses.load(Relaxed) {
            return Err(ForwardError::Unavailable("full".into()));
        }
        lock(&self.ports).insert((client, at, carrier));
        Ok(())
    }

    fn clear(&self, client: Option<IpAddr>, at: SocketAddr) {
        lock(&self.ports).retain(|port| (port.0, port.1) != (client, at));
    }
}

/// Two servers with one virtual address, and who answers probes.
struct Stage {
    kernel: Arc<Kernel>,
    ports: Arc<DataPorts>,
    orders: mpsc::Receiver<ProbeOrder>,
}

type Told = Arc<Mutex<Vec<Result<Passage, NoPassage>>>>;

const VIP: &str = "192.0.2.10";
const CARRIERS: [&str; 2] = ["10.0.0.11", "10.0.0.12"];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn server(number: usize) -> SocketAddr {
    SocketAddr::new(ip(CARRIERS[number]), 2811)
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(ip(VIP), port)
}

#[allow(clippy::disallowed_methods)] // time stands still but where a test moves it
fn clock() -> Instant {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now) + Duration::from_secs(LATER.with(std::cell::Cell::get))
}

thread_local! {
    static LATER: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

impl Stage {
    fn new() -> Self {
        LATER.set(0);
        let kernel = Arc::new(Kernel::default());
        let (ports, orders) = DataPorts::new(Arc::clone(&kernel) as _, clock);
        let routes = (0..2).map(|number| ((server(number), ip(VIP)), ip(CARRIERS[number]))).collect();
        ports.set_routes(routes, []);
        Self { kernel, ports, orders }
    }

    fn expect(&self, of: usize, client: &str, port: u16) -> Told {
        let told = Told::default();
        let answer = {
            let told = Arc::clone(&told);
            move |result| lock(&told).push(result)
        };
        let expectation = Expectation { server: server(of), client: Some(ip(client)), at: at(port) };
        Arc::clone(&self.ports).expect(expectation, Box::new(answer));
        told
    }

    /// The one server that is asked for.
    fn probed(&mut self) -> ProbeOrder {
        let order = self.orders.try_recv().unwrap();
        assert!(self.orders.try_recv().is_err(), "one at a time");
        order
    }

    fn proven(of: usize) -> Self {
        let mut stage = Self::new();
        let told = stage.expect(of, "198.51.100.1", 50_999);
        let order = stage.probed();
        stage.ports.handle_verdict(order, Verdict::Answered);
        drop(told);
        stage
    }

    fn set(&self) -> usize {
        lock(&self.kernel.ports).len()
    }
}

fn carried(told: &Told) -> bool {
    let told = lock(told);
    assert_eq!(told.len(), 1, "one answer");
    told[0].is_ok()
}

#[test]
fn a_server_is_probed_once_before_anybody_is_sent_there() {
    let mut stage = Stage::new();
    let told = [stage.expect(0, "198.51.100.1", 50_000), stage.expect(0, "198.51.100.2", 50_001)];
    assert!(told.iter().all(|told| lock(told).is_empty()) && stage.set() == 0);
    let order = stage.probed();
    assert_eq!(order, ProbeOrder { carrier: ip(CARRIERS[0]), at: at(50_000) });
    stage.ports.handle_verdict(order, Verdict::Answered);
    assert!(told.iter().all(carried) && stage.set() == 2 && stage.ports.live() == 2);
    // From then on at once.
    assert!(carried(&stage.expect(0, "198.51.100.3", 50_002)) && stage.orders.try_recv().is_err());
    drop(told);
    assert_eq!((stage.set(), stage.ports.live()), (0, 0));
    assert_eq!(stage.ports.counts.carried.load(Relaxed), 3);
}

#[test]
fn a_server_that_does_not_answer_is_left_alone_for_a_while() {
    let mut stage = Stage::new();
    assert!(stage.ports.is_open(server(0), ip(VIP)));
    let told = stage.expect(0, "198.51.100.1", 50_000);
    let order = stage.probed();
    stage.ports.handle_verdict(order, Verdict::Silent);
    assert!(!carried(&told) && !stage.ports.is_open(server(0), ip(VIP)));
    assert!(!carried(&stage.expect(0, "198.51.100.1", 50_000)) && stage.orders.try_recv().is_err());
    // Of the other one nothing is known.
    assert!(stage.ports.is_open(server(1), ip(VIP)));
    LATER.set(31);
    assert!(stage.ports.is_open(server(0), ip(VIP)));
    let told = stage.expect(0, "198.51.100.1", 50_000);
    let order = stage.probed();
    stage.ports.handle_verdict(order, Verdict::Answered);
    assert!(carried(&told));
    assert_eq!(stage.ports.verdicts().len(), 1);
}

#[test]
fn a_server_that_was_fit_goes_on_to_be_served_while_it_is_asked_again() {
    let mut stage = Stage::proven(0);
    LATER.set(31);
    assert!(carried(&stage.expect(0, "198.51.100.1", 50_000)));
    let order = stage.probed();
    assert!(carried(&stage.expect(0, "198.51.100.1", 50_000)) && stage.orders.try_recv().is_err());
    stage.ports.handle_verdict(order, Verdict::Silent);
    assert!(!carried(&stage.expect(0, "198.51.100.1", 50_000)));
}

#[test]
fn two_servers_at_one_port_are_told_apart_by_the_client_or_not_at_all() {
    let mut stage = Stage::proven(0);
    let other = stage.expect(1, "198.51.100.9", 51_000);
    let order = stage.probed();
    stage.ports.handle_verdict(order, Verdict::Answered);
    let one = stage.expect(0, "198.51.100.1", 50_000);
    assert!(carried(&one) && carried(&other));
    assert!(carried(&stage.expect(1, "198.51.100.2", 50_000)));
    let told = stage.expect(1, "198.51.100.1", 50_000);
    assert!(matches!(lock(&told)[..], [Err(NoPassage::PortTaken)]));
    drop(one);
    assert!(carried(&stage.expect(1, "198.51.100.1", 50_000)));
}

#[test]
fn what_the_kernel_refuses_is_not_expected() {
    let stage = Stage::proven(0);
    stage.kernel.refuses.store(true, Relaxed);
    assert!(!carried(&stage.expect(0, "198.51.100.1", 50_000)));
    assert_eq!(stage.ports.live(), 0);
}

#[test]
fn what_goes_with_a_route_or_into_a_slice_is_cleared_exactly() {
    let stage = Stage::proven(0);
    let told = stage.expect(0, "198.51.100.1", 50_000);
    // The server has another address now; what was expected at the old one is cleared there.
    stage.ports.set_routes(HashMap::from([((server(0), ip(VIP)), ip("10.0.0.99"))]), []);
    assert_eq!(stage.set(), 1);
    drop(told);
    assert_eq!(stage.set(), 0);
    let stage = Stage::proven(0);
    let told = stage.expect(0, "198.51.100.1", 50_000);
    let routes = Routes::clone(&stage.ports.routes.load());
    stage.ports.set_routes(routes, [(ip(CARRIERS[1]), ip(VIP), 50_000..=50_009)]);
    assert_eq!((stage.set(), stage.ports.live()), (0, 0));
    drop(told);
    // A port of its own slice needs no entry.
    let routes = Routes::clone(&stage.ports.routes.load());
    stage.ports.set_routes(routes, [(ip(CARRIERS[0]), ip(VIP), 50_000..=50_009)]);
    let told = stage.expect(0, "198.51.100.1", 50_000);
    assert!(carried(&told) && stage.set() == 0);
}

#[test]
fn a_session_that_has_gone_before_the_answer_leaves_nothing() {
    let mut stage = Stage::new();
    let told = stage.expect(0, "198.51.100.1", 50_000);
    let order = stage.probed();
    // Its answer goes where nobody keeps it.
    drop(told);
    stage.ports.handle_verdict(order, Verdict::Answered);
    assert_eq!(stage.ports.live(), 0);
}
