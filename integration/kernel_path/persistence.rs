//! Several ports that count together, and clients that stay on their server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::direct_routing::configuration;
use crate::support::dr_lab::{DrLab, REAL_SERVERS};
use crate::support::guest_door::GuestDoor;
use crate::support::ipvs;
use crate::support::uml;

const PORT: u16 = 2811;
/// At both ends of a range, and inside it.
const RANGE: [u16; 3] = [50_000, 50_050, 50_099];
const OUTSIDE: u16 = 50_100;
const CLIENTS: u8 = 6;

/// Addresses of clients, of the family of `vip`.
fn clients(vip: IpAddr) -> Vec<IpAddr> {
    let last = |n: u8| if vip.is_ipv6() { format!("fd78::{n:x}") } else { format!("10.78.0.{n}") };
    (0..CLIENTS).map(|n| last(100 + n).parse().unwrap()).collect()
}

fn lab() -> DrLab {
    let lab = DrLab::new();
    for vip in DrLab::vips() {
        for client in clients(vip) {
            let (length, nodad) = if client.is_ipv6() { (64, " nodad") } else { (24, "") };
            lab.machine("client").ip(&format!("addr add {client}/{length} dev eth0{nodad}\n"));
        }
    }
    lab
}

#[test]
fn a_persistent_client_has_one_server_for_all_ports_and_others_spread() {
    if !uml::possible("persistence of groups of ports", ipvs::PROGRAMS) {
        return;
    }
    let lab = lab();
    let _names = lab.serve_names(&[&[PORT, OUTSIDE], &RANGE[..]].concat());
    let balancer = lab.balancer();
    let further = "ports = [\"50000-50099\"]\npersistence_timeout = \"60s\"";
    let door = GuestDoor::start(&balancer, "", &configuration(&lab, &[PORT], further));
    // One service for each family, with three servers each.
    let table = ipvs::until_table(&balancer, |table| table.lines().count() == 8);
    let table = table.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
    assert_eq!(table.lines().filter(|line| line.starts_with("-A -f ") && line.contains("-p 60")).count(), 2);
    for vip in DrLab::vips() {
        let mut servers = BTreeMap::new();
        let mut open = Vec::new();
        for client in clients(vip) {
            let mut of_client = BTreeSet::new();
            for port in RANGE.into_iter().chain([PORT, PORT]) {
                let one = lab.converse_from(client, vip, port).unwrap_or_else(|error| {
                    panic!("{client} {vip} {port}: {error}\n{}", door.log());
                });
                of_client.insert(one.server().to_owned());
                open.push(one);
            }
            assert_eq!(of_client.len(), 1, "{client} {vip}: {of_client:?}");
            *servers.entry(of_client.pop_first().unwrap()).or_insert(0) += 1;
        }
        assert_eq!(servers, REAL_SERVERS.map(|role| (role.to_owned(), 2)).into(), "{vip}");
        assert!(lab.converse(vip, OUTSIDE).is_err(), "{OUTSIDE} is of no service");
    }
    println!("{}", door.order(&["status"]).unwrap());
}

#[test]
fn a_range_of_ports_is_spread_over_all_servers() {
    if !uml::possible("groups of ports", ipvs::PROGRAMS) {
        return;
    }
    let lab = lab();
    let _names = lab.serve_names(&[&[PORT, OUTSIDE, 443], &RANGE[..]].concat());
    let balancer = lab.balancer();
    let further = "ports = [443, \"50000-50099\"]";
    let door = GuestDoor::start(&balancer, "", &configuration(&lab, &[PORT], further));
    // Of each family 2811, 443 and the range.
    let made = ipvs::until_table(&balancer, |table| table.lines().count() == 24);
    made.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
    for vip in DrLab::vips() {
        let mut servers = BTreeMap::new();
        let mut open = Vec::new();
        for port in RANGE {
            for _ in 0..3 {
                let mut one = lab.converse(vip, port).unwrap_or_else(|error| {
                    panic!("{vip} {port}: {error}\n{}", door.log());
                });
                one.echo("again").unwrap();
                *servers.entry(one.server().to_owned()).or_insert(0) += 1;
                open.push(one);
            }
        }
        assert_eq!(servers, REAL_SERVERS.map(|role| (role.to_owned(), 3)).into(), "{vip}");
        for port in [PORT, 443] {
            lab.converse(vip, port).unwrap().echo("single").unwrap();
        }
        assert!(lab.converse(vip, OUTSIDE).is_err(), "{OUTSIDE} is of no service");
    }
}
