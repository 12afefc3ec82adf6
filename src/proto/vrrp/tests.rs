//! Several routers on links that lose, delay and part: who is master, by seed.

mod link;

use super::*;
use link::{Network, Seeded};

/// How many seeds a run tries; `GRIDFRONT_LONG=1` tries a hundred times as many, `GRIDFRONT_SEED` repeats one.
const SEEDS: u64 = 300;

fn for_each_seed(mut run: impl FnMut(u64)) {
    let is_long = std::env::var_os("GRIDFRONT_LONG").is_some_and(|value| value == "1");
    match std::env::var("GRIDFRONT_SEED") {
        Ok(seed) => run(seed.parse().expect("GRIDFRONT_SEED is a number")),
        Err(_) => (0..SEEDS * if is_long { 100 } else { 1 }).for_each(run),
    }
}

/// Whatever has gone wrong: a master within a master-down interval of the last fault while anybody is well, and one alone
/// once the links have been whole for as long.
#[test]
fn there_is_one_master_soon_after_the_last_fault_and_always_one() {
    for_each_seed(|seed| {
        let mut random = Seeded(seed);
        let routers = 2 + random.below(2);
        let mut network = Network::new(seed, routers, 1, false);
        network.go_wrong(60);
        network.mend();
        network.settle();
        network.check_one_master();
    });
}

/// The same of sync groups, and that they come to rest: all members at one router. Two routers do even where each has the
/// better priority on one link, against [`SyncGroup::priority`].
#[test]
fn sync_groups_come_to_rest_at_one_router() {
    for is_opposed in [false, true] {
        for_each_seed(|seed| {
            let mut random = Seeded(seed);
            let routers = if is_opposed { 2 } else { 2 + random.below(2) };
            let mut network = Network::new(seed, routers, 2, is_opposed);
            network.go_wrong(60);
            network.mend();
            network.settle();
            network.check_one_master();
        });
    }
}

/// Two masters meet when a link is mended: the better one stays, the other gives way with the first advertisement.
#[test]
fn of_two_masters_that_meet_the_better_one_stays() {
    for_each_seed(|seed| {
        let mut network = Network::new(seed, 2, 1, false);
        network.part();
        network.run_for(10);
        assert_eq!(network.masters(0), [0, 1], "GRIDFRONT_SEED={seed}");
        network.mend();
        // An interval, and the way there.
        network.run_for(2);
        network.check_one_master();
        assert_eq!(network.masters(0), [network.best()], "GRIDFRONT_SEED={seed}");
    });
}

#[test]
fn a_virtual_router_has_an_ethernet_address_for_each_family() {
    let id = VirtualRouterId::new(51).unwrap();
    assert_eq!(virtual_mac(Family::Ipv4, id), [0, 0, 0x5e, 0, 1, 51]);
    assert_eq!(virtual_mac(Family::Ipv6, id), [0, 0, 0x5e, 0, 2, 51]);
    assert_eq!(VirtualRouterId::new(0), None);
    assert_eq!(Priority::new(0), None);
}

#[test]
fn what_has_crossed_a_router_is_not_believed_unless_a_unicast_peer_may() {
    use std::net::IpAddr;
    let address = |text: &str| -> IpAddr { text.parse().unwrap() };
    let peer = address("192.0.2.12");
    let (ours, group) = (address("192.0.2.11"), IpAddr::from(GROUP_V4));
    let multicast = Reception::default();
    let unicast = Reception { unicast_peers: vec![peer], checks_unicast_hop_limit: false };
    let strict = Reception { checks_unicast_hop_limit: true, ..unicast.clone() };
    let stranger = address("192.0.2.99");
    let rows = [
        (&multicast, peer, group, 255, Ok(())),
        (&multicast, peer, group, 254, Err(Discard::HopLimit(254))),
        (&multicast, peer, group, 1, Err(Discard::HopLimit(1))),
        (&multicast, peer, ours, 255, Err(Discard::Destination(ours))),
        (&unicast, peer, ours, 64, Ok(())),
        (&unicast, stranger, ours, 255, Err(Discard::UnknownPeer(stranger))),
        (&unicast, peer, group, 255, Err(Discard::Destination(group))),
        (&strict, peer, ours, 255, Ok(())),
        (&strict, peer, ours, 64, Err(Discard::HopLimit(64))),
    ];
    for (reception, source, destination, hop_limit, expected) in rows {
        let result = reception.check(source, destination, hop_limit);
        assert_eq!(result, expected, "{source} {destination} {hop_limit}");
    }
}
