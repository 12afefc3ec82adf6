use std::num::NonZeroU8;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use super::*;
use crate::config::vrrp::VrrpInstance;
use crate::proto::netlink::address::{Address, Lifetime, Scope};
use crate::proto::netlink::link::Link;
use crate::vrrp::record_of;

/// The loopback, as if adverts could be sent by it.
fn loopback() -> Report {
    let link = Link {
        index: 1,
        name: "lo".into(),
        is_up: true,
        is_running: true,
        is_lower_up: true,
        operational: None,
        carrier: None,
        mac: None,
        mtu: None,
        kind: None,
        parent: None,
    };
    let address = Address {
        index: 1,
        address: "127.0.0.1".parse().unwrap(),
        prefix: 8,
        scope: Scope::Host,
        valid: Lifetime::Endless,
        preferred: Lifetime::Endless,
        is_tentative: false,
        is_duplicate: false,
        is_deprecated: false,
        is_without_prefix_route: false,
        label: None,
    };
    Report::Surveyed { links: vec![link], addresses: vec![address] }
}

/// It has to open a raw socket to begin at all, as root or with CAP_NET_RAW.
#[test]
fn what_is_told_with_the_end_lets_nobody_begin() {
    let instance = VrrpInstance {
        virtual_addresses: vec!["192.0.2.10/32".parse().unwrap()],
        ..VrrpInstance::new("VI_1".into(), "lo".into(), NonZeroU8::MIN)
    };
    let (sender, inbox) = channel();
    let plan = Plan {
        records: vec![Arc::new(record_of(&instance, None))],
        instances: vec![instance],
        groups: Vec::new(),
    };
    for input in [Input::Configure(plan), Input::Report(loopback()), Input::Stop] {
        sender.send(input).unwrap();
    }
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    let wake = Arc::new(Wake::new().unwrap());
    wake.wake();
    let parts = Parts {
        events: RouteEvents::open().unwrap(),
        holdings: Holdings::start(|_| ()).unwrap(),
        inbox,
        wake,
        shared: Arc::new(Shared::new(Vec::new())),
        tell: Box::new(move |event| told.lock().unwrap().push(event)),
    };
    Engine::new(parts).run();
    let events = events.lock().unwrap();
    assert!(events.is_empty(), "{events:?}");
}
