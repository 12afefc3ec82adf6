use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::super::attributes::{put, put_nested, put_u16, put_u32};
use super::super::generic::{self, Command, Family};
use super::super::ipvs::*;
use super::*;

pub(super) mod captured;

/// As in captured.txt.
const FAMILY: Family = Family { id: 28, version: 1 };

/// Everything that is read of the data of one message.
pub(super) fn read_all(data: &[u8]) {
    let _ = (Command::read(data), Family::read(data), Info::read(data));
    let _ = (Service::read(data), ListedService::read(data), Daemon::read(data));
    for family in [AddressFamily::V4, AddressFamily::V6] {
        let _ = (Destination::read(data, family), ListedDestination::read(data, family));
    }
}

fn tcp(address: &str) -> ServiceKey {
    ServiceKey::Tcp(address.parse().unwrap())
}

fn mark(mark: u32, family: AddressFamily) -> ServiceKey {
    ServiceKey::Mark { mark: NonZeroU32::new(mark).unwrap(), family }
}

fn service(key: ServiceKey, scheduler: &str) -> Service {
    Service { key, scheduler: scheduler.into(), persistence: None, other_flags: 0, engine: None }
}

fn direct(address: &str, weight: u32) -> Destination {
    Destination {
        address: address.parse().unwrap(),
        method: ForwardingMethod::DirectRoute,
        weight,
        upper_threshold: 0,
        lower_threshold: 0,
    }
}

/// The data of a message of one kind: `command`, and what `write` puts into the attribute `kind`.
fn told(command: u8, kind: u16, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut data = vec![command, 1, 0, 0];
    put_nested(&mut data, kind, write);
    data
}

/// The attributes of the one that a message is about, without those of some types.
fn without(message: &[u8], kinds: &[u16]) -> Vec<u8> {
    let command = Command::read(message).unwrap();
    let subject = Attributes::new(command.attributes).next().unwrap().unwrap();
    told(command.number, subject.kind, |bytes| {
        for attribute in subject.nested().map(|attribute| attribute.unwrap()) {
            if !kinds.contains(&attribute.kind) {
                put(bytes, attribute.kind, attribute.value);
            }
        }
    })
}

/// The data of the messages of a captured list.
fn list(name: &str) -> Vec<Vec<u8>> {
    let captured = captured::all();
    Messages::new(&captured[name]).map(|message| data(&message.unwrap()).to_vec()).collect()
}

#[test]
fn a_service_reads_back_as_the_kernel_would_take_it() {
    let clients = Some(Persistence { timeout: 60, prefix: 24 });
    let networks = Some(Persistence { timeout: 360, prefix: 64 });
    for service in [
        service(tcp("192.0.2.10:2811"), "wlc"),
        Service { persistence: clients, ..service(tcp("192.0.2.10:0"), "rr") },
        Service { persistence: networks, ..service(tcp("[2001:db8::10]:2811"), "wlc") },
        Service { other_flags: 0x38, ..service(mark(1, AddressFamily::V4), "sh") },
        Service { engine: Some("sip".into()), ..service(mark(u32::MAX, AddressFamily::V6), "rr") },
    ] {
        for request in [add_service(FAMILY, &service), edit_service(FAMILY, &service)] {
            let bytes = written(&request);
            assert_eq!(Service::read(data(&only(&bytes))), Ok(Some(service.clone())));
        }
    }
}

#[test]
#[cfg(target_endian = "little")]
fn what_the_kernel_notes_for_itself_is_not_said_to_it() {
    let listed = ListedService::read(&list("told of services")[0]).unwrap().unwrap();
    let bytes = written(&add_service(FAMILY, &Service { other_flags: 0xa, ..listed.service }));
    let read = Service::read(data(&only(&bytes))).unwrap().unwrap();
    assert_eq!((read.other_flags, read.persistence.is_some()), (8, true));
}

#[test]
fn netmasks_of_ipv4_are_masks_and_those_of_ipv6_lengths() {
    #[rustfmt::skip]
    let table = [
        // key, netmask, prefix
        (tcp("192.0.2.10:1"), [0xff; 4], Ok(32)),
        (tcp("192.0.2.10:1"), [0xff, 0xff, 0xf0, 0], Ok(20)),
        (tcp("192.0.2.10:1"), [0; 4], Ok(0)),
        (tcp("192.0.2.10:1"), [0xff, 0, 0xff, 0], Ok(8)),
        (tcp("[2001:db8::10]:1"), 128_u32.to_ne_bytes(), Ok(128)),
        (tcp("[2001:db8::10]:1"), 64_u32.to_ne_bytes(), Ok(64)),
        (tcp("[2001:db8::10]:1"), 129_u32.to_ne_bytes(), Err(FormatError::Value("the netmask of a service"))),
        (tcp("[2001:db8::10]:1"), u32::MAX.to_ne_bytes(), Err(FormatError::Value("the netmask of a service"))),
    ];
    for (key, netmask, prefix) in table {
        let persistence = Some(Persistence { timeout: 60, prefix: 1 });
        let bytes = written(&add_service(FAMILY, &Service { persistence, ..service(key, "rr") }));
        let mut told = without(data(&only(&bytes)), &[9]);
        put(&mut told, 9, &netmask);
        let added = u16::try_from(told.len() - 4).unwrap().to_ne_bytes();
        told[4..6].copy_from_slice(&added);
        let read = Service::read(&told);
        assert_eq!(read.map(|read| read.unwrap().persistence.unwrap().prefix), prefix, "{netmask:?}");
    }
}

#[test]
fn what_is_about_something_else_is_nothing() {
    let service = service(tcp("192.0.2.10:2811"), "wlc");
    let destination = direct("192.0.2.21:2811", 1);
    for request in [
        remove_service(FAMILY, &service.key),
        remove_destination(FAMILY, &service.key, destination.address),
        stop_daemon(FAMILY, DaemonRole::Master),
        info(FAMILY),
        generic::family_named("IPVS"),
    ] {
        let bytes = written(&request);
        let message = only(&bytes);
        let data = data(&message);
        assert_eq!((Service::read(data), ListedService::read(data)), (Ok(None), Ok(None)));
        assert_eq!(Destination::read(data, AddressFamily::V4), Ok(None));
        assert_eq!(ListedDestination::read(data, AddressFamily::V4), Ok(None));
        assert_eq!((Daemon::read(data), Info::read(data)), (Ok(None), Ok(None)));
        assert_eq!(Family::read(data), Ok(None));
    }
}

#[test]
#[cfg(target_endian = "little")]
fn whatever_is_missing_is_named() {
    let services = list("told of services");
    for (kind, part) in [
        (1, "the family of a service"),
        (2, "the protocol of a service"),
        (3, "the address of a service"),
        (4, "the port of a service"),
        (6, "the scheduler of a service"),
        (7, "the flags of a service"),
        (8, "the timeout of a service"),
        (9, "the netmask of a service"),
    ] {
        let read = ListedService::read(&without(&services[0], &[kind]));
        assert_eq!(read, Err(FormatError::Missing(part)));
    }
    let read = ListedService::read(&without(&services[0], &[10, 12]));
    assert_eq!(read, Err(FormatError::Missing("what has gone through a service")));

    let destinations = list("told of destinations");
    for (kind, part) in [
        (1, "the address of a destination"),
        (2, "the port of a destination"),
        (3, "the forwarding method of a destination"),
        (4, "the weight of a destination"),
        (5, "the upper threshold of a destination"),
        (6, "the lower threshold of a destination"),
        (7, "the active connections of a destination"),
        (8, "the inactive connections of a destination"),
        (9, "the clients of a destination"),
    ] {
        let read = ListedDestination::read(&without(&destinations[0], &[kind]), AddressFamily::V4);
        assert_eq!(read, Err(FormatError::Missing(part)));
    }
    let daemons = list("told of daemons");
    for (kind, part) in [
        (1, "the role of a sync daemon"),
        (2, "the interface of a sync daemon"),
        (3, "the number of a sync daemon"),
    ] {
        assert_eq!(Daemon::read(&without(&daemons[0], &[kind])), Err(FormatError::Missing(part)));
    }
    // Of each, only what it is about.
    let empty = |command| [command, 1, 0, 0];
    assert_eq!(Service::read(&empty(1)), Err(FormatError::Missing("a service")));
    assert_eq!(Destination::read(&empty(5), AddressFamily::V4), Err(FormatError::Missing("a destination")));
    assert_eq!(Daemon::read(&empty(9)), Err(FormatError::Missing("a sync daemon")));
    assert_eq!(Info::read(&empty(14)), Err(FormatError::Missing("the version of IPVS")));
    assert_eq!(Family::read(&empty(1)), Err(FormatError::Missing("the number of a family")));
    assert_eq!(Service::read(&[1, 1]), Err(FormatError::Truncated("a generic message")));
}

#[test]
#[cfg(target_endian = "little")]
fn kernels_that_know_less_are_understood() {
    // Before 4.1 there were no sums of 64 bits, before 3.18 no families of destinations.
    let [new, old] = [&[][..], &[11, 12]].map(|kinds| {
        ListedDestination::read(&without(&list("told of destinations")[0], kinds), AddressFamily::V4)
    });
    assert_eq!((&old, new.is_ok()), (&new, true));
    let destinations = list("told of destinations of IPv6");
    let old = ListedDestination::read(&without(&destinations[0], &[11, 12]), AddressFamily::V6);
    assert_eq!(old.unwrap().unwrap().destination.address, "[2001:db8::21]:2811".parse().unwrap());
    let [new, old] =
        [&[][..], &[12]].map(|kinds| ListedService::read(&without(&list("told of services")[0], kinds)));
    assert_eq!((&old, new.is_ok()), (&new, true));
}

#[test]
fn a_destination_has_the_family_that_it_says() {
    let tunnel = Destination { method: ForwardingMethod::Tunnel, ..direct("192.0.2.21:2811", 7) };
    let bytes = written(&add_destination(FAMILY, &tcp("[2001:db8::10]:2811"), &tunnel));
    // What a message is about comes first: the service of a request is not in an answer.
    let message = only(&bytes);
    assert_eq!(Destination::read(data(&message), AddressFamily::V6), Ok(Some(tunnel)));
    let short = told(5, 2, |bytes| {
        put_u16(bytes, 11, 10);
        put(bytes, 1, &[192, 0, 2, 21]);
        for kind in 3..10 {
            put_u32(bytes, kind, 0);
        }
    });
    let read = Destination::read(&short, AddressFamily::V4);
    assert_eq!(read, Err(FormatError::Truncated("the address of a destination")));
}

fn addresses() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        any::<(Ipv4Addr, u16)>().prop_map(SocketAddr::from),
        any::<(Ipv6Addr, u16)>().prop_map(SocketAddr::from),
    ]
}

fn keys() -> impl Strategy<Value = ServiceKey> {
    let family = prop_oneof![Just(AddressFamily::V4), Just(AddressFamily::V6)];
    prop_oneof![
        addresses().prop_map(ServiceKey::Tcp),
        (any::<NonZeroU32>(), family).prop_map(|(mark, family)| ServiceKey::Mark { mark, family }),
    ]
}

prop_compose! {
    fn services()(
        key in keys(),
        scheduler in "[a-z]{1,15}",
        persistence in prop::option::of(any::<(u32, u8)>()),
        flags: u32,
        engine in prop::option::of("[a-z]{1,15}"),
    ) -> Service {
        let bits = if key.family() == AddressFamily::V4 { 33 } else { 129 };
        let persistence = persistence.map(|(timeout, prefix)| Persistence { timeout, prefix: prefix % bits });
        Service { key, scheduler, persistence, other_flags: flags & !3, engine }
    }
}

prop_compose! {
    fn destinations()(
        address in addresses(),
        method in prop::sample::select(vec![
            ForwardingMethod::Masquerade,
            ForwardingMethod::Local,
            ForwardingMethod::Tunnel,
            ForwardingMethod::DirectRoute,
            ForwardingMethod::Bypass,
        ]),
        [weight, upper_threshold, lower_threshold]: [u32; 3],
    ) -> Destination {
        Destination { address, method, weight, upper_threshold, lower_threshold }
    }
}

proptest! {
    #[test]
    fn any_service_reads_back(service in services()) {
        let bytes = written(&add_service(FAMILY, &service));
        prop_assert_eq!(Service::read(data(&only(&bytes))), Ok(Some(service)));
    }

    #[test]
    fn any_destination_reads_back(key in keys(), destination in destinations()) {
        let bytes = written(&edit_destination(FAMILY, &key, &destination));
        for family in [AddressFamily::V4, AddressFamily::V6] {
            prop_assert_eq!(Destination::read(data(&only(&bytes)), family), Ok(Some(destination)));
        }
    }

    #[test]
    fn any_daemon_reads_back(is_master: bool, interface in "[a-z0-9.]{1,15}", sync_id: u8) {
        let role = if is_master { DaemonRole::Master } else { DaemonRole::Backup };
        let daemon = Daemon { role, interface, sync_id };
        let bytes = written(&start_daemon(FAMILY, &daemon));
        prop_assert_eq!(Daemon::read(data(&only(&bytes))), Ok(Some(daemon)));
    }
}
