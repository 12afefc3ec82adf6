//! What changes is heard.
use std::net::IpAddr;

use gridfront::proto::netlink::address::Assignment;
use gridfront::proto::netlink::link::Macvlan;
use gridfront::sys::netlink::{RouteEvent, RouteEvents};

use super::{SOON, VIRTUAL_MAC, assignment, index, lab, route};
use crate::support::deadline;

/// Reads until one of them is there.
fn heard(events: &mut RouteEvents, what: &str, is_it: impl Fn(&RouteEvent) -> bool) -> RouteEvent {
    let found = deadline::until(what, SOON, || {
        let all = events.read().unwrap();
        all.iter().find(|event| is_it(event)).cloned().ok_or_else(|| format!("only {all:?}"))
    });
    found.unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn changes_of_links_and_addresses_are_heard() {
    let Some(lab) = lab("events of links and addresses") else { return };
    let mut route = route(lab.machine("one"));
    let mut events = lab.machine("one").enter(|| RouteEvents::open().unwrap());
    let eth0 = index(&mut route, "eth0");
    for address in ["10.77.0.100", "fd77::100"] {
        let Assignment { address: ip, prefix, .. } = assignment(eth0, address, None);
        let is_of = |found: &IpAddr| *found == ip;
        route.add_address(&assignment(eth0, address, Some(60))).unwrap();
        let added = |event: &RouteEvent| matches!(event, RouteEvent::AddressAdded(one) if is_of(&one.address) && one.index == eth0);
        heard(&mut events, "it is added", added);
        route.remove_address(eth0, ip, prefix).unwrap();
        heard(
            &mut events,
            "it is removed",
            |event| matches!(event, RouteEvent::AddressRemoved(one) if is_of(&one.address)),
        );
    }
    let made = route.add_macvlan(&Macvlan { name: "vrrp.51", mac: VIRTUAL_MAC, parent: eth0 }).unwrap();
    heard(
        &mut events,
        "it is made",
        |event| matches!(event, RouteEvent::Link(link) if link.index == made && !link.is_up),
    );
    route.set_up(made).unwrap();
    heard(
        &mut events,
        "it is up",
        |event| matches!(event, RouteEvent::Link(link) if link.index == made && link.is_running),
    );
    // The carrier of a veth is the other end.
    lab.plug("one", false);
    for index in [eth0, made] {
        let lost = |event: &RouteEvent| matches!(event, RouteEvent::Link(link) if link.index == index && link.is_up && !link.is_running);
        heard(&mut events, "the carrier is lost", lost);
        if index == eth0 {
            // The macvlan's loss may have been in the same breath.
            lab.plug("one", true);
            let back = |event: &RouteEvent| matches!(event, RouteEvent::Link(link) if link.index == eth0 && link.is_running);
            heard(&mut events, "the carrier is back", back);
            lab.plug("one", false);
        }
    }
    route.delete_link(made).unwrap();
    heard(&mut events, "it is gone", |event| *event == RouteEvent::LinkGone(made));
}

#[test]
fn what_is_lost_is_told_and_what_comes_later_is_heard() {
    let Some(lab) = lab("lost events") else { return };
    let mut route = route(lab.machine("one"));
    let mut events = lab.machine("one").enter(|| RouteEvents::open().unwrap());
    let eth0 = index(&mut route, "eth0");
    // Each is an event, and nobody reads.
    let all: Vec<_> = (1..=250).map(|at| assignment(eth0, &format!("10.78.0.{at}"), Some(60))).collect();
    for _ in 0..20 {
        assert!(route.add_addresses(&all).unwrap().is_empty());
    }
    heard(&mut events, "an overflow", |event| *event == RouteEvent::Overflow);
    while !events.read().unwrap().is_empty() {}
    route.add_address(&assignment(eth0, "10.77.0.100", None)).unwrap();
    let ip: IpAddr = "10.77.0.100".parse().unwrap();
    heard(
        &mut events,
        "what comes later",
        |event| matches!(event, RouteEvent::AddressAdded(one) if one.address == ip),
    );
}
