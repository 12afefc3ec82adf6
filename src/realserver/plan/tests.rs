use super::*;

const VIP: &str = "10.77.0.100";

/// What `--interface` says, values of `all`, `eth0` and `eth1`, and the steps.
type Row = (Option<&'static str>, [[u8; 3]; 3], &'static [&'static str]);

fn interface(name: &str, values: [u8; 3]) -> Interface {
    let [arp_ignore, arp_announce, rp_filter] = values;
    let values = Values { arp_ignore, arp_announce, rp_filter };
    Interface { name: name.into(), is_up: true, values, is_ipv6_disabled: false }
}

/// With lo, eth0 in the network of the VIP, and eth1 in another.
fn host(all: [u8; 3], eth0: [u8; 3], eth1: [u8; 3], addresses: &[(&str, &str, u8)]) -> Host {
    let own = [("eth0", "10.77.0.21", 24), ("eth1", "192.0.2.21", 24), ("lo", "127.0.0.1", 8)];
    let given =
        |(at, address, length): &(&str, &str, u8)| ((*at).to_owned(), address.parse().unwrap(), *length);
    Host {
        all: interface("all", all).values,
        interfaces: vec![interface("lo", [0, 0, 0]), interface("eth0", eth0), interface("eth1", eth1)],
        addresses: own.iter().chain(addresses).map(given).collect(),
        default_routes: vec!["eth0".into()],
        has_ipv6: true,
    }
}

fn wanted(vips: &[&str], interface: Option<&str>) -> Wanted {
    Wanted {
        vips: vips.iter().map(|vip| vip.parse().unwrap()).collect(),
        interface: interface.map(Into::into),
    }
}

fn steps(wanted: &Wanted, host: &Host) -> Vec<String> {
    let findings = examine(wanted, host);
    findings.into_iter().flat_map(Finding::into_steps).map(|step| step.to_string()).collect()
}

#[test]
fn settings_are_made_where_the_higher_value_asks_for_it() {
    const IGNORE: &str = "set net.ipv4.conf.all.arp_ignore: 0 → 1";
    const ANNOUNCE: &str = "set net.ipv4.conf.all.arp_announce: 0 → 2";
    #[rustfmt::skip]
    let table: &[Row] = &[
        // --interface, all,     eth0,      eth1
        (None,          [[0, 0, 0], [0, 0, 0], [0, 0, 0]], &[IGNORE, ANNOUNCE]),
        (None,          [[1, 2, 0], [0, 0, 0], [0, 0, 0]], &[]),
        (None,          [[2, 2, 0], [1, 1, 0], [8, 0, 0]], &[]),
        (None,          [[0, 0, 0], [1, 2, 0], [1, 2, 0]], &[]),
        (None,          [[0, 0, 0], [1, 2, 0], [0, 0, 0]], &[IGNORE, ANNOUNCE]),
        (None,          [[0, 1, 0], [0, 0, 0], [1, 1, 0]], &[IGNORE, "set net.ipv4.conf.all.arp_announce: 1 → 2"]),
        (None,          [[1, 2, 0], [3, 0, 0], [0, 5, 0]], &["set net.ipv4.conf.eth0.arp_ignore: 3 → 1", "set net.ipv4.conf.eth1.arp_announce: 5 → 2"]),
        (None,          [[3, 2, 0], [0, 0, 0], [0, 0, 0]], &["set net.ipv4.conf.all.arp_ignore: 3 → 1"]),
        (Some("eth0"),  [[0, 0, 0], [0, 0, 0], [0, 0, 0]], &["set net.ipv4.conf.eth0.arp_ignore: 0 → 1", "set net.ipv4.conf.eth0.arp_announce: 0 → 2"]),
        (Some("eth0"),  [[0, 0, 0], [1, 2, 0], [0, 0, 0]], &[]),
        (Some("eth0"),  [[3, 2, 0], [1, 0, 0], [0, 0, 0]], &["set net.ipv4.conf.all.arp_ignore: 3 → 1"]),
        (Some("eth0"),  [[3, 2, 0], [0, 0, 0], [0, 0, 0]], &["set net.ipv4.conf.all.arp_ignore: 3 → 1", "set net.ipv4.conf.eth0.arp_ignore: 0 → 1"]),
    ];
    for (interface, [all, eth0, eth1], expected) in table {
        let host = host(*all, *eth0, *eth1, &[("lo", VIP, 32)]);
        let steps = steps(&wanted(&[VIP], *interface), &host);
        assert_eq!(steps, *expected, "{interface:?} {all:?} {eth0:?} {eth1:?}");
    }
}

#[test]
fn strict_filtering_is_loosened_where_answers_leave_elsewhere() {
    const LOOSER: &str = "set net.ipv4.conf.eth0.rp_filter: 0 → 2";
    #[rustfmt::skip]
    let table: &[(u8, u8, &[&str], &[&str])] = &[
        // all, eth0, default routes
        (0, 0, &["eth1"],         &[]),
        (2, 1, &["eth1"],         &[]),
        (0, 2, &["eth1"],         &[]),
        (1, 0, &["eth1"],         &[LOOSER]),
        (0, 1, &["eth1"],         &["set net.ipv4.conf.eth0.rp_filter: 1 → 2"]),
        (1, 0, &["eth0"],         &[]),
        (1, 0, &["eth1", "eth0"], &[]),
        (1, 0, &[],               &[]),
    ];
    for (all, eth0, routes, expected) in table {
        let mut host = host([1, 2, *all], [0, 0, *eth0], [0, 0, 1], &[("lo", VIP, 32)]);
        host.default_routes = routes.iter().map(|&name| name.into()).collect();
        assert_eq!(steps(&wanted(&[VIP], None), &host), *expected, "{all} {eth0} {routes:?}");
    }
}

#[test]
fn an_address_is_added_behind_the_settings_that_keep_it_quiet() {
    let vips = wanted(&[VIP, "fd77::100"], None);
    let all = steps(&vips, &host([0, 0, 0], [0; 3], [0; 3], &[]));
    assert_eq!(all.len(), 4, "{all:?}");
    assert_eq!(all[2..], ["add 10.77.0.100/32 to lo", "add fd77::100/128 to lo"]);
    let v6 = steps(&wanted(&["fd77::100"], None), &host([0, 0, 1], [0; 3], [0; 3], &[]));
    assert_eq!(v6, ["add fd77::100/128 to lo"], "IPv6 needs no silence");
}

#[test]
fn what_cannot_be_done_from_here_is_named() {
    let quiet = |addresses: &[(&str, &str, u8)]| host([1, 2, 0], [0; 3], [0; 3], addresses);
    let mut without_ipv6 = quiet(&[]);
    without_ipv6.interfaces[0].is_ipv6_disabled = true;
    let mut without_outer_ipv6 = quiet(&[]);
    without_outer_ipv6.interfaces[1..].iter_mut().for_each(|one| one.is_ipv6_disabled = true);
    let mut down = quiet(&[]);
    down.interfaces[0].is_up = false;
    #[rustfmt::skip]
    let table = [
        (VIP,         None,         quiet(&[("eth0", VIP, 24)]), "eth0 has 10.77.0.100, so this host answers"),
        (VIP,         None,         quiet(&[("lo", VIP, 32), ("eth1", VIP, 32)]), "eth1 has 10.77.0.100"),
        (VIP,         None,         quiet(&[("lo", VIP, 24)]),   "lo has 10.77.0.100/24, and with it the whole network"),
        (VIP,         Some("eth9"), quiet(&[]),                  "no packet arrives at an interface eth9"),
        (VIP,         Some("lo"),   quiet(&[]),                  "no packet arrives at an interface lo"),
        (VIP,         None,         down,                        "lo is down"),
        ("fd77::100", None,         without_ipv6,                "lo has no IPv6"),
        ("fd77::100", None,         without_outer_ipv6,          "eth0 has no IPv6"),
        ("fd77::100", None,         Host { has_ipv6: false, ..quiet(&[]) }, "the kernel has no IPv6"),
    ];
    for (vip, interface, host, expected) in table {
        let findings = examine(&wanted(&[vip], interface), &host);
        let by_hand = findings.iter().find(|one| matches!(one.cure, Cure::ByHand(_))).expect(expected);
        assert!(by_hand.text.starts_with(expected), "{by_hand:?}");
    }
}

#[test]
fn after_its_steps_a_host_is_fit() {
    let values =
        || (0..=9_u8).flat_map(|ignore| (0..=3_u8).map(move |announce| [ignore, announce, ignore % 3]));
    for interface in [None, Some("eth0")] {
        for (all, eth0) in values().flat_map(|all| values().map(move |eth0| (all, eth0))) {
            let mut host = host(all, eth0, [3, 1, 1], &[]);
            host.default_routes = vec!["eth1".into()];
            let wanted = wanted(&[VIP], interface);
            for step in examine(&wanted, &host).into_iter().flat_map(Finding::into_steps) {
                apply(&step, &mut host);
            }
            let left: Vec<Finding> = examine(&wanted, &host).into_iter().filter(Finding::is_wrong).collect();
            assert!(left.is_empty(), "{interface:?} {all:?} {eth0:?}: {left:?}");
        }
    }
}

fn apply(step: &Step, host: &mut Host) {
    match step {
        Step::AddAddress(vip) => host.addresses.push((LOOPBACK.into(), *vip, prefix(*vip))),
        Step::Set { interface, parameter, from, to } => {
            let values = if interface == ALL {
                &mut host.all
            } else {
                &mut host.interfaces.iter_mut().find(|one| one.name == *interface).unwrap().values
            };
            assert_eq!(parameter.of(*values), *from);
            match parameter {
                Parameter::ArpIgnore => values.arp_ignore = *to,
                Parameter::ArpAnnounce => values.arp_announce = *to,
                Parameter::RpFilter => values.rp_filter = *to,
            }
        }
    }
}
