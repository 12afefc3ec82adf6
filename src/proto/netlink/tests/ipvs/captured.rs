//! What ipvsadm(8) and the kernel say to each other, in captured.txt.
use super::super::captured::sections;
use super::*;

/// By its name in the file.
pub(in super::super) fn all() -> BTreeMap<&'static str, Vec<u8>> {
    sections(include_str!("captured.txt"))
}

/// What a request is about, by type, with its attributes in the order of theirs: programs differ in that.
type Subjects = BTreeMap<u16, BTreeMap<u16, Vec<u8>>>;

fn subjects(data: &[u8]) -> Subjects {
    let command = Command::read(data).unwrap();
    Attributes::new(command.attributes)
        .map(|subject| {
            let subject = subject.unwrap();
            let inner = subject.nested().map(|attribute| attribute.unwrap());
            (subject.kind, inner.map(|attribute| (attribute.kind, attribute.value.to_vec())).collect())
        })
        .collect()
}

#[test]
#[cfg(target_endian = "little")]
fn requests_are_those_of_ipvsadm() {
    let captured = all();
    let (v4, v6) = (tcp("192.0.2.10:2811"), tcp("[2001:db8::10]:2811"));
    let (mark_v4, mark_v6) = (mark(1, AddressFamily::V4), mark(3, AddressFamily::V6));
    let persistent =
        |timeout, prefix, service| Service { persistence: Some(Persistence { timeout, prefix }), ..service };
    let daemon = |role, sync_id| Daemon { role, interface: "dummy0".into(), sync_id };
    let add = |key, service: &str| add_service(FAMILY, &self::service(key, service));
    let add_direct =
        |key: &ServiceKey, address: &str, weight| add_destination(FAMILY, key, &direct(address, weight));
    let table = [
        ("asked for info", info(FAMILY)),
        ("asked to add a service", add(v4, "wlc")),
        ("asked to change a service", edit_service(FAMILY, &persistent(60, 24, service(v4, "wlc")))),
        ("asked to add a service of IPv6", add_service(FAMILY, &persistent(360, 64, service(v6, "rr")))),
        ("asked to add a mark", add_service(FAMILY, &persistent(60, 32, service(mark_v4, "wlc")))),
        (
            "asked to add a mark of IPv6",
            add_service(FAMILY, &Service { other_flags: 8, ..service(mark_v6, "sh") }),
        ),
        (
            "asked to add a service with an engine",
            add_service(
                FAMILY,
                &Service { engine: Some("sip".into()), ..service(tcp("192.0.2.10:5060"), "rr") },
            ),
        ),
        ("asked to remove a service of IPv6", remove_service(FAMILY, &v6)),
        ("asked to remove a mark of IPv6", remove_service(FAMILY, &mark_v6)),
        ("asked for services", dump_services(FAMILY)),
        ("asked to add a destination", add_direct(&v4, "192.0.2.21:2811", 100)),
        (
            "asked to add a destination with thresholds",
            add_destination(
                FAMILY,
                &v4,
                &Destination { upper_threshold: 200, lower_threshold: 150, ..direct("192.0.2.22:2811", 50) },
            ),
        ),
        (
            "asked to add a masqueraded destination",
            add_destination(
                FAMILY,
                &v4,
                &Destination { method: ForwardingMethod::Masquerade, ..direct("127.0.0.1:2811", 1000) },
            ),
        ),
        ("asked to change a destination", edit_destination(FAMILY, &v4, &direct("192.0.2.22:2811", 0))),
        ("asked to add a destination of IPv6", add_direct(&v6, "[2001:db8::21]:2811", 7)),
        ("asked to add a destination of a mark", add_direct(&mark_v4, "192.0.2.21:0", 1)),
        ("asked to add a destination of a mark of IPv6", add_direct(&mark_v6, "[2001:db8::21]:0", 1)),
        (
            "asked to remove a destination",
            remove_destination(FAMILY, &v4, "192.0.2.22:2811".parse().unwrap()),
        ),
        ("asked for destinations", dump_destinations(FAMILY, &v4)),
        ("asked for destinations of IPv6", dump_destinations(FAMILY, &v6)),
        ("asked for destinations of a mark", dump_destinations(FAMILY, &mark_v4)),
        ("asked to start a master", start_daemon(FAMILY, &daemon(DaemonRole::Master, 51))),
        ("asked to start a backup", start_daemon(FAMILY, &daemon(DaemonRole::Backup, 52))),
        ("asked to stop a backup", stop_daemon(FAMILY, DaemonRole::Backup)),
        ("asked for daemons", dump_daemons(FAMILY)),
    ];
    for (name, request) in table {
        let (ours, theirs) = (written(&request), &captured[name]);
        let header = |bytes: &[u8]| (bytes[4..8].to_vec(), bytes[16..20].to_vec());
        assert_eq!(header(&ours), header(theirs), "{name}");
        let (ours, mut theirs) = (subjects(data(&only(&ours))), subjects(data(&only(theirs))));
        let is_removal = name.contains("remove") || name.contains("stop");
        let is_of_service = theirs.contains_key(&2);
        for (kind, attributes) in &mut theirs {
            // ipvsadm describes more than the kernel needs to find a service, or what it takes away.
            if is_removal || (*kind == 1 && is_of_service) {
                attributes.retain(|attribute, _| ours[kind].contains_key(attribute));
            }
        }
        if let Some(destination) = theirs.get_mut(&2) {
            // The kind of a tunnel, with what the kernel takes anyway.
            destination
                .retain(|kind, value| !(13..=15).contains(kind) || value.iter().any(|byte| *byte != 0));
        }
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
#[cfg(target_endian = "little")]
fn what_ipvsadm_leaves_behind_an_address_of_ipv4_is_no_part_of_it() {
    let captured = all();
    let message = only(&captured["asked to add a tunnel to the other family"]);
    let tunnel = Destination { method: ForwardingMethod::Tunnel, ..direct("192.0.2.21:2811", 7) };
    assert_eq!(Destination::read(data(&message), AddressFamily::V6), Ok(Some(tunnel)));
}

#[test]
#[cfg(target_endian = "little")]
fn the_family_and_its_info_are_read() {
    let captured = all();
    let read = |name| data(&only(&captured[name])).to_vec();
    let asked = written(&generic::family_named(super::super::super::ipvs::FAMILY));
    assert_eq!(data(&only(&asked)), read("asked for the family"));
    assert_eq!(Family::read(&read("told of the family")), Ok(Some(FAMILY)));
    let info = Info { version: [1, 2, 1], table_size: 4096 };
    assert_eq!(Info::read(&read("told of info")), Ok(Some(info)));
}

#[test]
#[cfg(target_endian = "little")]
fn services_are_read_as_ipvsadm_shows_them() {
    let all: Vec<_> =
        list("told of services").iter().map(|data| ListedService::read(data).unwrap()).collect();
    // That of UDP is not ours.
    assert_eq!(all.iter().filter(|service| service.is_none()).count(), 1);
    let mut listed: Vec<_> = all.into_iter().flatten().collect();
    listed.sort_by_key(|listed| listed.service.key);
    let services: Vec<_> = listed.iter().map(|listed| listed.service.clone()).collect();
    let persistent = |timeout, prefix| Some(Persistence { timeout, prefix });
    let expected = [
        Service { persistence: persistent(60, 24), ..service(tcp("192.0.2.10:2811"), "wlc") },
        Service { engine: Some("sip".into()), ..service(tcp("192.0.2.10:5060"), "rr") },
        Service { persistence: persistent(360, 64), ..service(tcp("[2001:db8::10]:2811"), "rr") },
        Service { persistence: persistent(60, 32), ..service(mark(1, AddressFamily::V4), "wlc") },
        Service { other_flags: 8, ..service(mark(3, AddressFamily::V6), "sh") },
    ];
    assert_eq!(services, expected);
    assert_eq!(listed[0].statistics, GONE);
    assert!(listed[1..].iter().all(|listed| listed.statistics == Statistics::default()));
}

const GONE: Statistics =
    Statistics { connections: 4, packets_in: 18, packets_out: 11, bytes_in: 968, bytes_out: 648 };

#[test]
#[cfg(target_endian = "little")]
fn destinations_are_read_as_ipvsadm_shows_them() {
    let read = |name, family| -> Vec<_> {
        list(name).iter().map(|data| ListedDestination::read(data, family).unwrap().unwrap()).collect()
    };
    let idle = |destination| ListedDestination {
        destination,
        active: 0,
        inactive: 0,
        persistent: 0,
        statistics: Statistics::default(),
    };
    let local = Destination { method: ForwardingMethod::Masquerade, ..direct("127.0.0.1:2811", 1000) };
    let expected = [
        ListedDestination { active: 1, inactive: 3, persistent: 1, statistics: GONE, ..idle(local) },
        idle(direct("192.0.2.21:2811", 100)),
        // It was changed with no word of its thresholds.
        idle(direct("192.0.2.22:2811", 0)),
    ];
    let mut all = read("told of destinations", AddressFamily::V4);
    all.sort_by_key(|listed| listed.destination.address);
    assert_eq!(all, expected);
    let v6 = read("told of destinations of IPv6", AddressFamily::V6);
    assert_eq!(v6, [idle(direct("[2001:db8::21]:2811", 7))]);
    let marked = read("told of destinations of a mark", AddressFamily::V4);
    assert_eq!(marked, [idle(direct("192.0.2.21:0", 1))]);
    assert_eq!(only(&self::all()["end of the list"]).answer(), Ok(Answer::Done));
}

#[test]
#[cfg(target_endian = "little")]
fn sync_daemons_are_read_as_ipvsadm_shows_them() {
    let daemons: Vec<_> =
        list("told of daemons").iter().map(|data| Daemon::read(data).unwrap().unwrap()).collect();
    let daemon = |role, sync_id| Daemon { role, interface: "dummy0".into(), sync_id };
    assert_eq!(daemons, [daemon(DaemonRole::Master, 51), daemon(DaemonRole::Backup, 52)]);
}

#[test]
#[cfg(target_endian = "little")]
fn what_is_there_and_what_is_not_are_refused_by_different_numbers() {
    let captured = all();
    for (name, errno) in [
        ("refused to add a service", 17),
        ("refused to remove a service", 3),
        ("refused to remove a destination", 2),
        ("refused to stop a backup", 3),
        ("refused a scheduler", 2),
        ("refused to add a tunnel", 22),
    ] {
        let refusal = Refusal { errno, text: None };
        assert_eq!(only(&captured[name]).answer(), Ok(Answer::Refused(refusal)), "{name}");
    }
}
