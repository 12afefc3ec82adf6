//! Two balancers before real servers, and what clients notice when one is lost or steps down.

mod clients;
mod groups;
mod guardian;
mod random;
mod sync;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::support::balancer::Balancer;
use crate::support::netns::Machine;

/// On no machine of its own.
const VIRTUAL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
/// Of adverts, where the time that a takeover takes does not matter.
const INTERVAL: Duration = Duration::from_millis(100);

/// `more` is the rest of its configuration.
fn balancer(machine: &Machine, priority: u8, interval: Duration, keys: &str, more: &str) -> Balancer {
    let text = format!(
        "\n[[vrrp_instance]]\nname = \"VI\"\ninterface = \"eth0\"\nvirtual_router_id = 77\npriority = {priority}\n\
         advert_interval = \"{}ms\"\nvirtual_addresses = [\"{VIRTUAL}/24\"]\n{keys}\n{more}",
        interval.as_millis()
    );
    Balancer::new(machine, &text)
}

fn virtual_address() -> IpAddr {
    VIRTUAL.into()
}
