//! Routers that own their addresses (priority 255): those are the host's, with and without the daemon.

use std::net::IpAddr;
use std::time::Duration;

use gridfront::proto::netlink::address::Lifetime;
use gridfront::sys::netlink::Route;

use super::{MACHINES, PROGRAMS, address, let_pass};
use crate::support::balancer::Balancer;
use crate::support::netns::{Lab, Machine};
use crate::support::skip;

/// Many times what it takes to claim an address, or to find one missing.
const SETTLED: Duration = Duration::from_millis(500);

/// An owner of these, which eth0 has as well.
fn owner(numbers: &[u8]) -> String {
    let addresses: Vec<String> = numbers.iter().map(|number| format!("{}/24", address(*number))).collect();
    format!(
        "\n[[vrrp_instance]]\nname = \"owner\"\ninterface = \"eth0\"\nvirtual_router_id = 101\npriority = 255\n\
         advert_interval = \"100ms\"\nvirtual_addresses = {addresses:?}\n"
    )
}

fn lifetime(machine: &Machine, number: u8) -> Option<Lifetime> {
    let all = machine.enter(|| Route::open().unwrap().addresses().unwrap());
    all.iter().find(|of| of.address == IpAddr::from(address(number))).map(|of| of.valid)
}

#[test]
fn what_an_owners_host_has_without_it_a_reload_neither_takes_nor_misses() {
    if !skip::unless_present("an owner's reload", PROGRAMS) {
        return;
    }
    let lab = Lab::new(MACHINES);
    let machine = lab.machine("lb1");
    machine.ip("addr add 10.77.0.101/24 dev eth0\naddr add 10.77.0.102/24 dev eth0\n");
    let mut lb1 = Balancer::new(machine, &owner(&[101]));
    lb1.start();
    lb1.until_instance("owner", "MASTER", 255);
    let reload = |numbers: &[u8]| {
        lb1.write(&owner(numbers));
        lb1.order(&["reload"]).unwrap();
        let_pass(SETTLED);
        lb1.until_instance("owner", "MASTER", 255);
    };
    for numbers in [&[101, 102][..], &[101]] {
        reload(numbers);
        for number in [101, 102] {
            assert_eq!(lifetime(machine, number), Some(Lifetime::Endless), "{number}: {}", lb1.log());
        }
    }
    machine.ip("addr del 10.77.0.102/24 dev eth0\n");
    let_pass(SETTLED);
    lb1.until_instance("owner", "MASTER", 255);
    assert_eq!(lb1.instance("owner").unwrap()["complaints"], serde_json::json!([]), "{}", lb1.log());
    lb1.stop();
    assert_eq!(lifetime(machine, 101), Some(Lifetime::Endless));
}
