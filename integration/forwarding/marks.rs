//! What the marker marks: read from the sockets that listeners accept, to which the kernel gives the mark of their SYN.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Output;
use std::time::{Duration, Instant};

use gridfront::forwarding::marker::{MarkKey, Marker, MarkerError, Marks};
use gridfront::proto::netlink::traffic_control::{Filter, Hook};
use gridfront::sys::netlink::Route;
use socket2::SockRef;

use crate::support::netns::{Lab, Machine};
use crate::support::skip;

const VIPS: [&str; 2] = ["10.77.0.100", "fd77::100"];
const CAPACITY: u32 = 1024;
/// A classic filter for tc-bpf(8).
const MATCHES_NOTHING: &str = "1,6 0 0 0,";
const WITHIN: Duration = Duration::from_secs(5);

/// A balancer with the virtual addresses, and two clients.
struct Site {
    lab: Lab,
    listeners: Vec<TcpListener>,
}

impl Site {
    fn new(what: &str) -> Option<Self> {
        if !skip::unless_present(what, &["ip", "tc"]) {
            return None;
        }
        let lab = Lab::new(&[("balancer", 11), ("client", 31), ("other", 32)]);
        let balancer = lab.machine("balancer");
        balancer.ip("addr add 10.77.0.100/32 dev eth0\naddr add fd77::100/128 dev eth0 nodad\n");
        let listeners = balancer.enter(|| {
            std::fs::write("/proc/sys/net/ipv4/tcp_fwmark_accept", "1").expect("a setting of the kernel");
            VIPS.map(|vip| TcpListener::bind((vip, 0)).expect("the address is there")).into()
        });
        Some(Self { lab, listeners })
    }

    fn balancer(&self) -> &Machine {
        self.lab.machine("balancer")
    }

    fn at(&self, vip: usize) -> SocketAddr {
        self.listeners[vip].local_addr().unwrap()
    }

    fn key(&self, vip: usize, client: Option<&str>) -> MarkKey {
        let client = client.map(|role| self.lab.machine(role).addresses()[vip]);
        MarkKey { client, address: self.at(vip).ip(), port: self.at(vip).port() }
    }

    /// The mark of a connection of this client.
    fn mark(&self, vip: usize, role: &str) -> u32 {
        let to = self.at(vip);
        let _client = self.lab.machine(role).enter(|| TcpStream::connect_timeout(&to, WITHIN).unwrap());
        let (accepted, _) = self.listeners[vip].accept().unwrap();
        SockRef::from(&accepted).mark().unwrap()
    }

    /// What the balancer does, on a thread of its own namespace.
    fn on<T: Send>(&self, work: impl FnOnce(&mut Route) -> T + Send) -> T {
        self.balancer().enter(|| work(&mut Route::open().unwrap()))
    }

    fn index(&self, name: &str) -> u32 {
        self.on(|route| route.link_named(name).unwrap().unwrap().index)
    }

    fn filters(&self, index: u32) -> Vec<Filter> {
        self.on(|route| route.filters(index, Hook::Ingress).unwrap())
    }

    fn has_clsact(&self, index: u32) -> bool {
        self.on(|route| route.qdiscs().unwrap())
            .iter()
            .any(|qdisc| qdisc.index == index && qdisc.is_at_ingress())
    }

    fn attached(&self, index: u32) -> Marker {
        self.on(|route| {
            let mut marker = Marker::load(CAPACITY).unwrap_or_else(|error| panic!("{error}"));
            marker.attach(route, index).unwrap_or_else(|error| panic!("{error}"));
            marker
        })
    }

    fn tc(&self, words: &str) {
        self.tc_with(words, &[]);
    }

    /// With words that have spaces behind the others.
    fn tc_with(&self, words: &str, more: &[&str]) {
        let mut tc = self.balancer().command(None, "tc");
        let Output { status, stderr, .. } =
            tc.args(words.split(' ')).args(more).output().expect("tc(8) runs");
        assert!(status.success(), "tc {words}: {}", String::from_utf8_lossy(&stderr));
    }
}

#[test]
fn connections_get_the_mark_of_their_entry() {
    let Some(site) = Site::new("connections_get_the_mark_of_their_entry") else { return };
    let marker = site.attached(site.index("eth0"));
    let marks = marker.marks();
    for vip in 0..VIPS.len() {
        assert_eq!(site.mark(vip, "client"), 0, "nothing is set");
        marks.set(site.key(vip, None), 21).unwrap();
        assert_eq!((site.mark(vip, "client"), site.mark(vip, "other")), (21, 21));
        marks.set(site.key(vip, Some("client")), 22).unwrap();
        assert_eq!(
            (site.mark(vip, "client"), site.mark(vip, "other")),
            (22, 21),
            "a client's own comes first"
        );
        marks.set(site.key(vip, None), 23).unwrap();
        assert_eq!(site.mark(vip, "other"), 23, "set anew");
        marks.clear(site.key(vip, None)).unwrap();
        marks.clear(site.key(vip, None)).unwrap();
        assert_eq!((site.mark(vip, "client"), site.mark(vip, "other")), (22, 0), "no client but that one");
        let MarkKey { client, address, port } = site.key(vip, Some("client"));
        marks.clear(site.key(vip, Some("client"))).unwrap();
        marks.set(MarkKey { client, address, port: port ^ 1 }, 24).unwrap();
        assert_eq!(site.mark(vip, "client"), 0, "another port");
    }
    assert_eq!(marks.get(site.key(0, None)).unwrap(), None);
}

#[test]
fn what_a_killed_daemon_left_marks_until_the_next_one_takes_its_place() {
    let Some(site) = Site::new("what_a_killed_daemon_left_marks_until_the_next_one_takes_its_place") else {
        return;
    };
    let index = site.index("eth0");
    let killed = site.attached(index);
    killed.marks().set(site.key(0, None), 21).unwrap();
    // All descriptors are closed, and nothing else is done, as after SIGKILL.
    drop(killed);
    assert_eq!(site.mark(0, "client"), 21);

    let mut next = Marker::load(CAPACITY).unwrap();
    next.marks().set(site.key(0, None), 22).unwrap();
    assert_eq!(site.mark(0, "client"), 21, "not attached yet");
    for _ in 0..2 {
        site.on(|route| next.attach(route, index)).unwrap();
        assert_eq!((site.mark(0, "client"), site.filters(index).len()), (22, 1));
    }
    site.on(|route| next.detach(route, index)).unwrap();
    assert_eq!((site.mark(0, "client"), site.filters(index)), (0, vec![]));
}

#[test]
fn what_was_attached_leaves_nothing_and_what_is_foreign_stays() {
    let Some(site) = Site::new("what_was_attached_leaves_nothing_and_what_is_foreign_stays") else { return };
    let index = site.index("eth0");
    let detach = |marker: &mut Marker| site.on(|route| marker.detach(route, index)).unwrap();
    let mut marker = site.attached(index);
    detach(&mut marker);
    assert!(!site.has_clsact(index), "ours, and empty");

    site.on(|route| marker.attach(route, index)).unwrap();
    site.tc_with("filter add dev eth0 ingress protocol ip pref 5 bpf bytecode", &[MATCHES_NOTHING]);
    marker.marks().set(site.key(0, None), 21).unwrap();
    assert_eq!(site.mark(0, "client"), 21, "behind a foreign filter");
    detach(&mut marker);
    let left = site.filters(index);
    assert_eq!((left.len(), left[0].priority, site.has_clsact(index)), (1, 5, true));

    site.tc("qdisc del dev eth0 clsact");
    site.tc("qdisc add dev eth0 clsact");
    site.on(|route| marker.attach(route, index)).unwrap();
    detach(&mut marker);
    assert!(site.has_clsact(index), "not ours");
}

#[test]
fn nobody_is_driven_from_our_place() {
    let Some(site) = Site::new("nobody_is_driven_from_our_place") else { return };
    let index = site.index("eth0");
    site.tc("qdisc add dev eth0 clsact");
    let words =
        ["filter", "add", "dev", "eth0", "ingress", "protocol", "all", "pref", "28", "handle", "2811", "bpf"];
    let added = site
        .balancer()
        .command(None, "tc")
        .args(words)
        .args(["bytecode", "1,6 0 0 0,"])
        .output()
        .expect("tc(8) runs");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let before = site.filters(index);
    let mut marker = Marker::load(CAPACITY).unwrap();
    let error = site.on(|route| marker.attach(route, index)).unwrap_err();
    assert!(matches!(error, MarkerError::Taken(_)), "{error}");
    site.on(|route| marker.detach(route, index)).unwrap();
    assert_eq!(site.filters(index), before);
}

#[test]
fn links_that_no_daemon_marks_any_more_are_found() {
    let Some(site) = Site::new("links_that_no_daemon_marks_any_more_are_found") else { return };
    site.lab.add_second_network();
    let [first, second] = ["eth0", "eth1"].map(|name| site.index(name));
    drop(site.attached(first));
    drop(site.attached(second));
    let marker = site.attached(first);
    let stale = |keep: &[u32]| site.on(|route| marker.detach_stale(route, keep)).unwrap();
    assert_eq!(stale(&[second]), [0; 0]);
    assert_eq!(stale(&[]), [second]);
    assert_eq!(stale(&[]), [0; 0]);
    assert_eq!((site.filters(first).len(), site.filters(second).len()), (1, 0));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a system call is measured")]
fn an_entry_is_a_matter_of_microseconds_and_a_full_table_says_so() {
    const ENTRIES: u16 = 10_000;
    if !skip::unless_present("an_entry_is_a_matter_of_microseconds_and_a_full_table_says_so", &[]) {
        return;
    }
    let marker = Marker::load(ENTRIES.into()).unwrap();
    let marks = marker.marks();
    let address: IpAddr = VIPS[1].parse().unwrap();
    let key = |port: u16| MarkKey { client: Some(address), address, port };
    let timed = |what: &str, work: &dyn Fn(u16)| {
        let begin = Instant::now();
        (1..=ENTRIES).for_each(work);
        let each = begin.elapsed() / u32::from(ENTRIES);
        println!("{what} of {ENTRIES} entries: {each:?} each");
        each
    };
    let set = timed("setting", &|port| fill(&marks, key(port)));
    timed("setting anew", &|port| fill(&marks, key(port)));
    assert!(set < Duration::from_millis(1), "{set:?}");
    let full = marks.set(key(ENTRIES + 1), 1).unwrap_err();
    assert_eq!(full.to_string(), "the table of marks is full");
    timed("clearing", &|port| marks.clear(key(port)).unwrap());
    assert_eq!(marks.get(key(1)).unwrap(), None);
}

fn fill(marks: &Marks, key: MarkKey) {
    marks.set(key, u32::from(key.port)).unwrap();
}
