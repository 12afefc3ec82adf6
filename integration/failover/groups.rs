//! A sync group moves when nothing is under way at the addresses of any of its members.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::{INTERVAL, VIRTUAL, balancer};
use crate::support::balancer::PATIENCE;
use crate::support::control_connection::ControlConnection;
use crate::support::deadline::{self, Stopwatch};
use crate::support::grid::{PORT, PROGRAMS, REAL_SERVERS, Security, Servers, Site};
use crate::support::skip;

/// Of the second member.
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 101);
/// Beyond the pause that an idle address waits for.
const LONG_ENOUGH: Duration = Duration::from_secs(4);

#[test]
fn a_group_waits_for_what_is_under_way_at_any_member_until_it_is_taken_back() {
    if !skip::unless_present("a sync group that steps down", PROGRAMS) {
        return;
    }
    let site = Site::start(Security::Anonymous, Servers::Three);
    let [v4, _] = site.machine(REAL_SERVERS[0]).addresses();
    let more = format!(
        "[[vrrp_instance]]\nname = \"VJ\"\ninterface = \"eth0\"\nvirtual_router_id = 78\n\
         advert_interval = \"{}ms\"\nvirtual_addresses = [\"{OTHER}/24\"]\n\n\
         [[vrrp_sync_group]]\nname = \"G\"\ninstances = [\"VI\", \"VJ\"]\n\n\
         [[virtual_server]]\nname = \"gridftp\"\naddresses = [\"{VIRTUAL}\", \"{OTHER}\"]\nport = {PORT}\n\
         [[virtual_server.real_server]]\nname = \"s\"\naddress = \"{v4}\"\nport = {PORT}\n",
        INTERVAL.as_millis()
    );
    let mut balancer = balancer(site.machine("door"), 100, INTERVAL, "", &more);
    balancer.start();
    balancer.until_state("MASTER");
    let address = SocketAddr::new(OTHER.into(), PORT);
    let connected = deadline::until("a client of the other member", PATIENCE, || {
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300));
        site.machine("client").enter(connect).map_err(|error| error.to_string())
    });
    let stream = connected.unwrap_or_else(|why| panic!("{why}\n{}", balancer.log()));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut control = ControlConnection::over(stream);
    assert!(control.line().starts_with("220"));
    control.send(b"USER anonymous\r\nPASS x\r\nPASV\r\n");
    // An address for a transfer is something under way.
    while !control.line().starts_with("227") {}
    let waits = |instance: usize| balancer.status().unwrap()["vrrp"][instance]["failover"].is_object();
    let waited = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| balancer.order(&["failover", "--wait", "VI"]));
        deadline::until("a failover", PATIENCE, || if waits(0) { Ok(()) } else { Err("none".into()) })
            .unwrap();
        let watch = Stopwatch::start();
        while watch.elapsed() < LONG_ENOUGH {
            let status = balancer.status().unwrap();
            for instance in [0, 1] {
                let of = &status["vrrp"][instance];
                assert_eq!(of["state"], "MASTER", "{status}");
                assert!(of["failover"].is_object(), "{status}");
            }
        }
        balancer.order(&["failover", "--cancel", "VJ"]).unwrap();
        waiting.join().unwrap().unwrap_err()
    });
    assert!(waited.contains("exit status: 1") && waited.contains("it was taken back"), "{waited}");
    assert!(balancer.status().unwrap()["vrrp"][0].get("failover").is_none());
    let again = balancer.order(&["failover", "--cancel"]).unwrap_err();
    assert!(again.contains("nothing to take back"), "{again}");
}
