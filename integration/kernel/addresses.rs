//! Addresses come, last as long as they are refreshed, and go; links with a virtual MAC address, too.
use std::io::Read as _;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use gridfront::proto::netlink::address::{Address, Assignment, Lifetime};
use gridfront::proto::netlink::link::Macvlan;
use gridfront::sys::netlink::Route;
use gridfront::sys::socket::{Presence, listen};
use rustix::io::Errno;

use super::{SOON, VIRTUAL_MAC, add_macvlan, assignment, index, lab, route};
use crate::support::deadline::{self, Stopwatch};

const REFRESHED: [&str; 2] = ["10.77.0.100", "fd77::100"];
const LEFT_ALONE: [&str; 2] = ["10.77.0.101", "fd77::101"];

/// Those of a link that have this address.
fn with_address(route: &mut Route, address: &str) -> Vec<Address> {
    let address: IpAddr = address.parse().unwrap();
    let mut all = route.addresses().unwrap();
    all.retain(|one| one.address == address);
    all
}

#[test]
fn an_address_vanishes_with_its_lifetime_unless_it_is_refreshed() {
    let Some(lab) = lab("lifetimes of addresses") else { return };
    let mut route = route(lab.machine("one"));
    let eth0 = index(&mut route, "eth0");
    let refreshed = REFRESHED.map(|address| assignment(eth0, address, Some(3)));
    let since = Stopwatch::start();
    for address in LEFT_ALONE {
        route.add_address(&assignment(eth0, address, Some(3))).unwrap();
    }
    let vanished = deadline::until("both vanish", Duration::from_secs(8), || {
        let refused = route.add_addresses(&refreshed).unwrap();
        assert!(refused.is_empty(), "{refused:?}");
        let left: usize = LEFT_ALONE.map(|address| with_address(&mut route, address).len()).iter().sum();
        if left == 0 { Ok(since.elapsed()) } else { Err(format!("{left} left")) }
    });
    let after = vanished.unwrap_or_else(|why| panic!("{why}"));
    println!("addresses of 3 s vanished after {:.2} s", after.as_secs_f64());
    assert!(after >= Duration::from_secs(2), "{after:?}");
    for (address, preferred) in REFRESHED.iter().zip([Lifetime::Seconds(3), Lifetime::Seconds(0)]) {
        let found = with_address(&mut route, address);
        let [one] = found.as_slice() else { panic!("{address} is there once: {found:?}") };
        // What is left is told in whole seconds.
        assert!(matches!(one.valid, Lifetime::Seconds(2..=3)), "{one:?}");
        assert!(one.preferred == preferred || one.preferred == Lifetime::Seconds(2), "{one:?}");
        assert!(!one.is_tentative && one.is_without_prefix_route, "{one:?}");
    }
}

#[test]
fn an_address_is_replaced_and_removed_as_often_as_one_likes() {
    let Some(lab) = lab("replacing addresses") else { return };
    let mut route = route(lab.machine("one"));
    let eth0 = index(&mut route, "eth0");
    for address in REFRESHED {
        let Assignment { address: ip, prefix, .. } = assignment(eth0, address, None);
        for (seconds, expected) in
            [(None, Lifetime::Endless), (Some(100), Lifetime::Seconds(100)), (None, Lifetime::Endless)]
        {
            route.add_address(&assignment(eth0, address, seconds)).unwrap();
            let found = with_address(&mut route, address);
            assert_eq!(found.iter().map(|one| one.valid).collect::<Vec<_>>(), [expected]);
        }
        for _ in 0..2 {
            route.remove_address(eth0, ip, prefix).unwrap();
            assert!(with_address(&mut route, address).is_empty());
        }
        route.remove_address(12345, ip, prefix).expect("a link that has gone has no addresses");
    }
    let mut wrong = assignment(eth0, REFRESHED[0], None);
    wrong.prefix = 33;
    let refusal = route.add_address(&wrong).unwrap_err();
    assert_eq!(refusal.errno(), Some(Errno::INVAL));
    assert!(refusal.to_string().starts_with("the kernel refused: "), "{refusal}");
    assert!(refusal.to_string().ends_with(": ipv4: Invalid prefix length"), "{refusal}");
}

#[test]
fn hundreds_are_refreshed_at_once_and_one_that_is_refused_harms_no_other() {
    let Some(lab) = lab("hundreds of addresses") else { return };
    let mut route = route(lab.machine("one"));
    let eth0 = index(&mut route, "eth0");
    let number = |number: usize| {
        if number.is_multiple_of(2) {
            format!("10.78.0.{}", number / 2 + 1)
        } else {
            format!("fd78::{number}")
        }
    };
    let mut all: Vec<_> = (0..250).map(|at| assignment(eth0, &number(at), Some(60))).collect();
    for at in [0, 100, 249] {
        all[at].index = 12345;
    }
    let refused = route.add_addresses(&all).unwrap();
    let places: Vec<_> = refused.iter().map(|refused| (refused.position, refused.error.errno())).collect();
    assert_eq!(places, [0, 100, 249].map(|at| (at, Some(Errno::NODEV))));
    for at in [0, 100, 249] {
        all[at].index = eth0;
    }
    assert!(route.add_addresses(&all).unwrap().is_empty());
    let since = Stopwatch::start();
    assert!(route.add_addresses(&all).unwrap().is_empty());
    println!("250 addresses refreshed in {:.1} ms", since.elapsed().as_secs_f64() * 1e3);
    let there = route
        .addresses()
        .unwrap()
        .iter()
        .filter(|one| all.iter().any(|of| of.address == one.address))
        .count();
    assert_eq!(there, 250);
    all[7].index = 12345;
    assert!(route.remove_addresses(&all).unwrap().is_empty(), "what is not there is no refusal");
    let left: Vec<_> = route
        .addresses()
        .unwrap()
        .into_iter()
        .filter(|one| all.iter().any(|of| of.address == one.address))
        .collect();
    assert_eq!(left.iter().map(|one| one.address).collect::<Vec<_>>(), [all[7].address]);
}

#[test]
fn a_macvlan_has_the_virtual_mac_and_is_removed_with_its_addresses() {
    let Some(lab) = lab("macvlans") else { return };
    let machine = lab.machine("one");
    let mut route = route(machine);
    let made = add_macvlan(machine, &mut route);
    let parent = index(&mut route, "eth0");
    let link = route.link_named("vrrp.51").unwrap().unwrap();
    assert_eq!((link.index, link.mac, link.parent), (made, Some(VIRTUAL_MAC), Some(parent)));
    assert_eq!(link.kind.as_deref(), Some("macvlan"));
    let up = deadline::until("the macvlan is up", SOON, || {
        let link = route.link_named("vrrp.51").unwrap().unwrap();
        if link.is_up && link.is_running && link.is_lower_up { Ok(()) } else { Err(format!("{link:?}")) }
    });
    up.unwrap_or_else(|why| panic!("{why}"));
    // It makes itself none.
    assert!(route.addresses().unwrap().iter().all(|one| one.index != made));
    let again = route.add_macvlan(&Macvlan { name: "vrrp.51", mac: VIRTUAL_MAC, parent }).unwrap_err();
    assert_eq!(again.errno(), Some(Errno::EXIST));
    for address in REFRESHED {
        route.add_address(&assignment(made, address, Some(60))).unwrap();
    }
    for _ in 0..2 {
        route.delete_link(made).unwrap();
    }
    assert!(route.link_named("vrrp.51").unwrap().is_none());
    assert!(route.addresses().unwrap().iter().all(|one| one.index != made));
    assert!(route.links().unwrap().iter().any(|link| link.name == "eth0"));
    let lo = index(&mut route, "lo");
    assert_eq!(route.delete_link(lo).unwrap_err().errno(), Some(Errno::OPNOTSUPP), "nobody made it");
}

#[test]
fn a_listener_waits_for_its_address() {
    let Some(lab) = lab("listening where the address will be") else { return };
    let (one, two) = (lab.machine("one"), lab.machine("two"));
    let mut route = route(one);
    let eth0 = index(&mut route, "eth0");
    for address in REFRESHED {
        let ip: IpAddr = address.parse().unwrap();
        let at = SocketAddr::new(ip, 2811);
        let listener = one.enter(|| {
            assert!(listen(at, Presence::Required).is_err());
            listen(at, Presence::Awaited).unwrap()
        });
        // It goes, and comes again.
        for _ in 0..2 {
            route.add_address(&assignment(eth0, address, Some(60))).unwrap();
            let mut client = two.enter(|| TcpStream::connect_timeout(&at, SOON)).unwrap();
            let accepted =
                deadline::until("the client", SOON, || listener.accept().map_err(|error| error.to_string()));
            let (mut served, _) = accepted.unwrap_or_else(|why| panic!("{why}"));
            served.set_nonblocking(false).unwrap();
            client.write_all(b"x").unwrap();
            served.read_exact(&mut [0]).unwrap();
            let Assignment { address: ip, prefix, .. } = assignment(eth0, address, None);
            route.remove_address(eth0, ip, prefix).unwrap();
        }
    }
}
