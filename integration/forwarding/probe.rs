//! What the probe says of servers that are made ready for Direct Routing, and of those that are not.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use gridfront::forwarding::probe::{Verdict, probe};

use crate::support::netns::Lab;
use crate::support::skip;

const VIPS: [&str; 2] = ["10.77.0.100", "fd77::100"];
const PORT: u16 = 50000;
/// Longer than the kernel looks for a neighbour: three times, a second each.
const WITHIN: Duration = Duration::from_secs(5);
/// What is not answered takes all of it.
const BRIEFLY: Duration = Duration::from_millis(300);

/// A balancer that holds the virtual addresses, and a server that does if it is told to.
struct Site(Lab);

impl Site {
    fn new(what: &str) -> Option<Self> {
        if !skip::unless_present(what, &["ip"]) {
            return None;
        }
        let site = Self(Lab::new(&[("balancer", 11), ("server", 21)]));
        site.0.machine("balancer").ip(&addresses("add", "eth0"));
        Some(site)
    }

    fn set_on_server(&self, action: &str) {
        self.0.machine("server").ip(&addresses(action, "lo"));
    }

    fn server(&self, family: usize) -> IpAddr {
        self.0.machine("server").addresses()[family]
    }

    fn listen(&self, at: IpAddr) -> TcpListener {
        let listener = self.0.machine("server").enter(|| TcpListener::bind((at, PORT)).unwrap());
        listener.set_nonblocking(true).unwrap();
        listener
    }

    fn probe(&self, server: IpAddr, family: usize, within: Duration) -> Verdict {
        let target = SocketAddr::new(vip(family), PORT);
        self.0.machine("balancer").enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(probe(server, target, within))
        })
    }
}

fn addresses(action: &str, interface: &str) -> String {
    let nodad = if action == "add" { " nodad" } else { "" };
    format!(
        "addr {action} {}/32 dev {interface}\naddr {action} {}/128 dev {interface}{nodad}\n",
        VIPS[0], VIPS[1]
    )
}

fn vip(family: usize) -> IpAddr {
    VIPS[family].parse().unwrap()
}

#[test]
fn a_server_answers_where_it_holds_the_address_and_listens() {
    let Some(site) = Site::new("a_server_answers_where_it_holds_the_address_and_listens") else { return };
    for family in 0..2 {
        let server = site.server(family);
        site.set_on_server("add");
        assert_eq!(site.probe(server, family, WITHIN), Verdict::Refused, "nobody listens");
        let own = site.listen(server);
        assert_eq!(site.probe(server, family, WITHIN), Verdict::Refused, "another address");
        drop(own);
        let listener = site.listen(vip(family));
        assert_eq!(site.probe(server, family, WITHIN), Verdict::Answered);
        // What was begun there is ended: nobody is left to be accepted.
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        site.set_on_server("del");
        assert_eq!(site.probe(server, family, BRIEFLY), Verdict::Silent, "without the address");
    }
}

#[test]
fn a_server_that_is_not_on_the_link_is_not_asked() {
    let Some(site) = Site::new("a_server_that_is_not_on_the_link_is_not_asked") else { return };
    site.0
        .machine("balancer")
        .ip("route add 192.0.2.0/24 via 10.77.0.21\nroute add 2001:db8::/64 via fd77::21\n");
    for (family, [routed, unknown, none]) in
        [["192.0.2.21", "10.77.0.99", "198.51.100.1"], ["2001:db8::21", "fd77::99", "2001:db8:1::1"]]
            .into_iter()
            .enumerate()
    {
        let verdict = |server: &str| site.probe(server.parse().unwrap(), family, WITHIN);
        assert_eq!(verdict(routed), Verdict::NotOnLink);
        assert_eq!(verdict(none), Verdict::NotOnLink, "no route");
        assert_eq!(verdict(VIPS[family]), Verdict::NotOnLink, "our own");
        assert_eq!(verdict(unknown), Verdict::NoNeighbour);
    }
}
