//! Who is heard, by which link.
use std::path::Path;

use super::*;
use crate::proto::vrrp::Priority;
use crate::vrrp::record::{Counts, Situation};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn configuration() -> config::Vrrp {
    let instance = |name: &str, id: u8, keys: &str| {
        format!(
            "[[vrrp_instance]]\nname = \"{name}\"\ninterface = \"eth0\"\nvirtual_router_id = {id}\n\
             virtual_addresses = [\"192.0.2.{id}/24\"]\n{keys}\n"
        )
    };
    let text = [
        instance("A", 10, ""),
        instance("B", 11, ""),
        instance("C", 12, "unicast_peers = [\"192.0.2.2\", \"192.0.2.3\"]\nsource_address = \"192.0.2.9\""),
        instance("D", 13, ""),
    ];
    crate::config::toml::parse(Path::new("test.toml"), &text.concat()).unwrap().model.vrrp
}

fn record(
    config: &config::Vrrp,
    name: &str,
    role: Role,
    origin: Option<Origin>,
    master: &str,
) -> Arc<Record> {
    let instance = config.instances.iter().find(|of| of.name == name).unwrap();
    let situation = Situation {
        role,
        since: now(),
        date: std::time::SystemTime::UNIX_EPOCH,
        cause: String::new(),
        priority: Priority::from(instance.priority),
        origin,
        master: Some((address(master), Priority::from(instance.priority))),
        complaints: Vec::new(),
    };
    Arc::new(Record::new(instance, situation, Arc::new(Counts::default())))
}

fn origin(index: u32, text: &str) -> Option<Origin> {
    Some(Origin { index, address: address(text) })
}

#[tokio::test]
async fn a_link_for_each_address_of_an_interface_and_another_when_that_is_another() {
    let config = configuration();
    let record = |name, origin| record(&config, name, Role::Backup, origin, "192.0.2.2");
    let shown = |records: &[Arc<Record>]| {
        let links = links(&config, records);
        let show = |link: &Link| {
            let members: Vec<&str> = link.members.keys().map(String::as_str).collect();
            let to: Vec<String> = link.destinations().iter().map(ToString::to_string).collect();
            format!(
                "{} {}: {} to {}",
                link.origin.index,
                link.origin.address,
                members.join(" "),
                to.join(" ")
            )
        };
        links.iter().map(show).collect::<Vec<_>>()
    };
    let mut records = vec![
        record("A", origin(2, "192.0.2.1")),
        record("B", origin(2, "192.0.2.1")),
        record("C", origin(2, "192.0.2.9")),
        record("D", None),
    ];
    assert_eq!(
        shown(&records),
        ["2 192.0.2.1: A B to 224.0.0.18:8849", "2 192.0.2.9: C to 192.0.2.2:8849 192.0.2.3:8849",]
    );
    records[1] = record("B", origin(7, "192.0.2.1"));
    assert_eq!(
        shown(&records),
        [
            "2 192.0.2.1: A to 224.0.0.18:8849",
            "2 192.0.2.9: C to 192.0.2.2:8849 192.0.2.3:8849",
            "7 192.0.2.1: B to 224.0.0.18:8849",
        ]
    );
}

#[tokio::test]
async fn only_the_master_of_an_address_tells_of_it_and_the_way_that_is_its() {
    let config = configuration();
    let same = origin(2, "192.0.2.1");
    let records = [
        record(&config, "A", Role::Backup, same, "192.0.2.2"),
        record(&config, "B", Role::Backup, same, "192.0.2.3"),
        record(&config, "C", Role::Backup, same, "192.0.2.2"),
        record(&config, "D", Role::Master, same, "192.0.2.1"),
    ];
    let links = links(&config, &records);
    let link = links.first().unwrap();
    assert_eq!(links.len(), 1);
    for (source, way, expected) in [
        ("192.0.2.2", Way::Group, "192.0.2.10"),
        ("192.0.2.3", Way::Group, "192.0.2.11"),
        ("192.0.2.2", Way::Address, "192.0.2.12"),
        // A peer, but not the master.
        ("192.0.2.3", Way::Address, ""),
        // Ourselves.
        ("192.0.2.1", Way::Group, ""),
        ("192.0.2.66", Way::Group, ""),
        ("192.0.2.66", Way::Address, ""),
    ] {
        let served = link.served_by(address(source), way, &records);
        let served: Vec<String> = served.iter().map(ToString::to_string).collect();
        assert_eq!(served.join(" "), expected, "{source} {way:?}");
    }
}
