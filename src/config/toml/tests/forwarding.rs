//! What the kernel forwards.
use std::time::Duration;

use super::{SOUND, accepted, assert_told};
use crate::config::{CheckKind, DirectRouting, Engine, LvsSync, Persistence};

const DR: &str = "[[virtual_server]]\nforwarding = 'dr'\naddresses = ['192.0.2.10', '2001:db8::10']\n";
const SERVERS: &str = "[[virtual_server.real_server]]\naddress = '192.0.2.11'\ndata_addresses = ['2001:db8::11']\n\
                       [[virtual_server.real_server]]\naddress = '2001:db8::12'\ndata_addresses = ['192.0.2.12']\n";

fn dr(lines: &str) -> String {
    format!("{DR}{lines}\n{SERVERS}")
}

#[test]
fn a_virtual_server_of_the_kernel_has_its_ports_and_servers_of_both_families() {
    let model = accepted(&dr("port = 80\nports = [443, '50000-50999']\nlb_algo = 'wlc'")).model;
    let server = &model.virtual_servers[0];
    let routing = server.direct_routing.clone().unwrap();
    assert_eq!(
        routing,
        DirectRouting { ports: vec![443..=443, 50_000..=50_999], persistence: None, fallback: false }
    );
    // The port of its servers and the check follow.
    assert!(server.real_servers.iter().all(|real| real.port == 80));
    assert_eq!(server.check.kind, CheckKind::Tcp);
    let families =
        |ipv6| server.real_servers.iter().map(move |real| real.address_of_family(ipv6).unwrap().to_string());
    assert_eq!(families(false).collect::<Vec<_>>(), ["192.0.2.11", "192.0.2.12"]);
    assert_eq!(families(true).collect::<Vec<_>>(), ["2001:db8::11", "2001:db8::12"]);
    assert_eq!(model.wanted_forwarding(), Some(crate::config::Forwarding::default()));
    let model =
        accepted(&dr("persistence_timeout = '5m'\npersistence_granularity = 24\nfallback = 'proxy'")).model;
    let server = &model.virtual_servers[0];
    assert_eq!(server.check.kind, CheckKind::Ftp);
    let persistence = Persistence { timeout: Duration::from_secs(300), prefix: 24, prefix_ipv6: 128 };
    assert_eq!(
        server.direct_routing,
        Some(DirectRouting { ports: vec![], persistence: Some(persistence), fallback: true })
    );
}

#[test]
fn an_engine_is_wanted_where_something_needs_one() {
    for (text, wanted) in [
        (SOUND.to_owned(), false),
        (format!("[forwarding]\n{SOUND}"), true),
        (SOUND.replacen("addresses", "data_path = 'kernel'\naddresses", 1), true),
        (SOUND.replacen("addresses", "data_path = 'relay'\naddresses", 1), false),
        (format!("{SOUND}data_ports = '50000-50999'\n"), true),
    ] {
        assert_eq!(accepted(&text).model.wanted_forwarding().is_some(), wanted, "{text}");
    }
    let text = format!(
        "[forwarding]\nengine = 'ipvs'\ninterfaces = ['eth0', 'eth1']\nlvs_sync_daemon = 'VI_1'\nlvs_sync_id = 7\n\
         [[vrrp_instance]]\nname = 'VI_1'\ninterface = 'eth0'\nvirtual_router_id = 1\nvirtual_addresses = ['192.0.2.10/24']\n{SOUND}"
    );
    let forwarding = accepted(&text).model.forwarding.unwrap();
    assert_eq!(
        (forwarding.engine, &forwarding.interfaces[..]),
        (Engine::Ipvs, &["eth0".into(), "eth1".into()][..])
    );
    assert_eq!(forwarding.sync, Some(LvsSync { instance: "VI_1".into(), interface: None, id: Some(7) }));
}

#[test]
fn what_direct_routing_cannot_do_is_told() {
    let slices = |one: &str, other: &str| {
        format!(
            "[[virtual_server]]\naddresses = ['192.0.2.10']\n\
             [[virtual_server.real_server]]\naddress = '192.0.2.11'\ndata_ports = '{one}'\n\
             [[virtual_server.real_server]]\naddress = '192.0.2.12'\ndata_ports = '{other}'\n"
        )
    };
    #[rustfmt::skip]
    let table: Vec<(String, &str)> = vec![
        (dr("").replace("'192.0.2.10'", "'0.0.0.0'"), "f:3:14: `forwarding = \"dr\"` cannot be for every address of the host, as `0.0.0.0` is; write the virtual addresses"),
        (format!("{}port = 2812\n", dr("")), "f:11:8: real server `2001:db8::12` has port 2812: Direct Routing changes no port; let it listen on 2811, as the virtual server does, or remove `port`"),
        (dr("").replace("data_addresses = ['2001:db8::11']\n", "").replace("'2001:db8::12'", "'192.0.2.13'").replace("data_addresses = ['192.0.2.12']\n", ""), "f:3:28: no real server of `gridftp` has an IPv6 address; add their IPv6 addresses to their `data_addresses`"),
        (dr("").replace("data_addresses = ['2001:db8::11']\n", ""), "f:5:1: warning: real server `192.0.2.11` has no IPv6 address: it gets no IPv6 connections; add its IPv6 address to its `data_addresses`"),
        (dr("ports = [80, '70-90']"), "f:4:1: `ports` 70-90 are there twice, or hold `port`; keep one of them: `port` is one of the ports without being written there"),
        (dr("ports = ['http']"), "f:4:10: `http` in `ports` is no port and no range; write a number such as 80, or a range such as \"50000-50999\""),
        (dr("ports = ['90-80']"), "f:4:10: `90-80` in `ports` is no port and no range; write a number such as 80, or a range such as \"50000-50999\""),
        (dr("persistence_timeout = '1500ms'"), "f:4:1: `persistence_timeout` is no whole number of seconds; write for example \"360s\""),
        (dr("persistence_granularity = 24"), "f:4:1: warning: `persistence_granularity` without `persistence_timeout`: no client stays on its server; add `persistence_timeout`, or remove this"),
        (dr("data_path = 'relay'"), "f:4:1: warning: `data_path` is not used with `forwarding = \"dr\"`: the kernel does not read what passes; remove it, or write `fallback = \"proxy\"` for hosts without a kernel that forwards"),
        (SOUND.replacen("addresses", "fallback = 'proxy'\naddresses", 1), "f:2:1: warning: `fallback` is not used with `forwarding = \"proxy\"`; remove it, or write `forwarding = \"dr\"`"),
        (slices("50000-50999", "50500-51500"), "f:8:14: `data_ports` 50500-51500 overlap those of real server `192.0.2.11`, 50000-50999; a port of the virtual address is one server's: choose ranges apart, here and in its GLOBUS_TCP_PORT_RANGE"),
        (slices("50000-50999", "51000-51999"), ""),
        (slices("2000-2999", "51000-51999"), "f:5:14: `data_ports` 2000-2999 of real server `192.0.2.11` hold a port of virtual server `gridftp`; choose a range without it"),
        (slices("50000-50999", "51000-51999").replace("192.0.2.10", "0.0.0.0").replace("data_ports = '51000-51999'\n", ""), "f:5:14: warning: `data_ports` of `192.0.2.11` are not carried: which address is virtual is not written; write the virtual addresses in `addresses`"),
        (format!("[forwarding]\nengine = 'ebpf'\n{SOUND}"), "f:2:10: `engine = \"ebpf\"` is not in this version; write \"auto\" or \"ipvs\""),
        (format!("[forwarding]\nlvs_sync_daemon = 'VI_1'\n{SOUND}"), "f:2:19: there is no `[[vrrp_instance]]` named `VI_1`; write the name of the instance whose master tells the others of its connections"),
        (format!("[forwarding]\nlvs_sync_id = 1\n{SOUND}"), "f:2:1: `lvs_sync_id` without `lvs_sync_daemon`; add it, or remove this"),
    ];
    for (text, expected) in table {
        let expected = Some(expected).filter(|text| !text.is_empty());
        assert_told(&text, expected.as_slice());
    }
}
