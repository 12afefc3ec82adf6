//! The same over IPv6, where the kernel hands over the hop limit beside the packet and has made the checksum itself.

use std::net::{Ipv6Addr, SocketAddrV6};

use gridfront::proto::vrrp::{
    Advertisement, ChecksumForm, GROUP_V6, IP_PROTOCOL, Priority, Version, VirtualRouterId,
};
use gridfront::sys::netlink::Route;
use rustix::net::netdevice::name_to_index;
use socket2::{Domain, Protocol, Socket, Type};

use super::balancer::{Gridfront, VirtualRouter, Way};
use super::forged::{FORGED, INTERVAL, LIMIT, OURS, all_discarded, discarded, patched};
use super::pair::until_settled;
use crate::support::netns::{Lab, Machine};
use crate::support::ownership::Watch;
use crate::support::skip;

const MULTICAST: u8 = 55;
const UNICAST: u8 = 56;

/// One packet of the attacker's, and the word that it is counted by; none where it is for no virtual router.
struct Row {
    name: &'static str,
    id: u8,
    word: Option<&'static str>,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    hop_limit: u8,
    payload: Vec<u8>,
}

/// Sends headers as they are.
struct Forger {
    socket: Socket,
    index: u32,
}

impl Forger {
    fn new(machine: &Machine) -> Self {
        machine.enter(|| {
            let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)));
            let socket = socket.expect("root may have a raw socket");
            let index = name_to_index(&socket, "eth0").expect("it has an interface");
            socket.set_multicast_if_v6(index).expect("its own interface");
            Self { socket, index }
        })
    }

    fn send(&self, Row { source, destination, hop_limit, payload, .. }: &Row) {
        let length = u16::try_from(payload.len()).expect("a packet's payload").to_be_bytes();
        let mut bytes = vec![0x6c, 0, 0, 0, length[0], length[1], IP_PROTOCOL, *hop_limit];
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(payload);
        let to = SocketAddrV6::new(*destination, 0, 0, self.index);
        self.socket.send_to(&bytes, &to.into()).expect("the link takes it");
    }
}

fn link_local(machine: &Machine) -> Ipv6Addr {
    let addresses = machine.enter(|| Route::open().unwrap().addresses().unwrap());
    let mut all = addresses.iter().filter_map(|of| match of.address {
        std::net::IpAddr::V6(address) if address.is_unicast_link_local() => Some(address),
        _ => None,
    });
    all.next().expect("a link-local address")
}

fn good(router: &VirtualRouter, priority: u8) -> Advertisement {
    let addresses = router.addresses().iter().map(|text| text[..text.len() - 3].parse().unwrap()).collect();
    Advertisement {
        version: Version::V3,
        virtual_router_id: VirtualRouterId::new(router.id).unwrap(),
        priority: Priority::new(priority).unwrap(),
        interval: INTERVAL,
        addresses,
        password: None,
    }
}

fn rows(
    [ours, forger]: [Ipv6Addr; 2],
    [to_us, peer]: [Ipv6Addr; 2],
    routers: &[VirtualRouter; 2],
) -> Vec<Row> {
    let encode = |advertisement: &Advertisement, source: Ipv6Addr, destination: Ipv6Addr| {
        advertisement.encode(ChecksumForm::PseudoHeader, source.into(), destination.into())
    };
    let [multicast, unicast] = routers.map(|router| good(&router, FORGED));
    let row = |name, id, word, source, destination, hop_limit, payload| Row {
        name,
        id,
        word,
        source,
        destination,
        hop_limit,
        payload,
    };
    let of = |advertisement: &Advertisement| encode(advertisement, forger, GROUP_V6);
    let group = |name, word, payload| row(name, MULTICAST, Some(word), forger, GROUP_V6, 255, payload);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = of(&multicast);
        change(&mut bytes);
        bytes
    };
    let stray = |name, payload| row(name, MULTICAST, None, forger, GROUP_V6, 255, payload);
    let none = Advertisement { addresses: Vec::new(), ..multicast.clone() };
    let other = Advertisement { virtual_router_id: VirtualRouterId::new(99).unwrap(), ..multicast.clone() };
    vec![
        group("four bytes", "truncated", of(&multicast)[..4].to_vec()),
        group("without its last address", "length", changed(&|bytes| bytes.truncate(24))),
        group("sixteen bytes too many", "length", changed(&|bytes| bytes.extend([0; 16]))),
        group("more addresses than it has", "length", changed(&|bytes| bytes[3] = 255)),
        group("one address less than it has", "length", changed(&|bytes| bytes[3] = 1)),
        group("no address", "address_list", of(&none)),
        group("version 2, which has no IPv6", "version", changed(&|bytes| bytes[0] = 0x21)),
        group("version 15", "version", changed(&|bytes| bytes[0] = 0xf1)),
        group("type 2", "type", changed(&|bytes| bytes[0] = 0x32)),
        group("a wrong checksum", "checksum", changed(&|bytes| bytes[6] ^= 0x5a)),
        group("another priority under the checksum", "checksum", changed(&|bytes| bytes[2] = 254)),
        group("the checksum of another source", "checksum", encode(&multicast, ours, GROUP_V6)),
        group("interval 0", "interval", patched(of(&multicast), 4, 0)),
        row("hop limit 254", MULTICAST, Some("hop_limit"), forger, GROUP_V6, 254, of(&multicast)),
        row("hop limit 1", MULTICAST, Some("hop_limit"), forger, GROUP_V6, 1, of(&multicast)),
        row(
            "our own, sent back",
            MULTICAST,
            Some("reflected"),
            ours,
            GROUP_V6,
            255,
            encode(&multicast, ours, GROUP_V6),
        ),
        row(
            "unicast to multicast",
            MULTICAST,
            Some("destination"),
            forger,
            ours,
            255,
            encode(&multicast, forger, ours),
        ),
        row(
            "a stranger to unicast",
            UNICAST,
            Some("unicast_peer"),
            forger,
            to_us,
            255,
            encode(&unicast, forger, to_us),
        ),
        row("multicast to unicast", UNICAST, Some("destination"), forger, GROUP_V6, 255, of(&unicast)),
        row(
            "a peer from far away",
            UNICAST,
            Some("hop_limit"),
            peer,
            to_us,
            64,
            encode(&unicast, peer, to_us),
        ),
        stray("one byte", vec![0x31]),
        stray("a number that nobody has", of(&other)),
        stray("the number 0", changed(&|bytes| bytes[1] = 0)),
    ]
}

#[test]
fn a_forged_advert_over_ipv6_is_counted_by_what_is_wrong_with_it_and_changes_nothing() {
    if !skip::unless_present("forged adverts over IPv6", &["ip", "nsenter"]) {
        return;
    }
    let lab = Lab::new(&[("lb1", 12), ("lb2", 11), ("forger", 31)]);
    lab.machines().iter().for_each(until_settled);
    let [lb1, lb2, forger] = ["lb1", "lb2", "forger"].map(|role| lab.machine(role));
    let multicast = VirtualRouter { is_ipv6: true, ..VirtualRouter::new(MULTICAST, INTERVAL) };
    let unicast = VirtualRouter { is_ipv6: true, way: Way::Unicast, ..VirtualRouter::new(UNICAST, INTERVAL) };
    let routers = [multicast, unicast];
    let rows = rows([lb1, forger].map(link_local), [lb1.v6(), lb2.v6()], &routers);
    let configuration = [(multicast, ""), (unicast, "unicast_ttl_check = true")]
        .map(|(router, keys)| router.for_us(lb1, lb2, OURS, keys))
        .concat();
    let mut door = Gridfront::start(lb1, &configuration);
    let ids = [MULTICAST, UNICAST];
    for id in ids {
        door.until(id, "the master", LIMIT, |instance| instance["state"] == "MASTER");
    }
    let watch = Watch::start(&[lb1, lb2], multicast.address(), std::time::Duration::from_millis(5));
    watch.until_alone("lb1", LIMIT).unwrap();
    let forging = Forger::new(forger);
    for row in &rows {
        let (name, before, all) = (row.name, door.instance(row.id), all_discarded(&door));
        forging.send(row);
        if let Some(word) = row.word {
            let counted = discarded(&before, word) + 1;
            door.until(row.id, name, LIMIT, |instance| discarded(instance, word) == counted);
            assert_eq!(all_discarded(&door), all + 1, "{name} is counted once");
        }
        for id in ids {
            let instance = door.instance(id);
            assert_eq!(instance["state"], "MASTER", "{name}: {instance}");
            assert_eq!(instance["received"], 0, "{name} was taken: {instance}");
        }
    }
    // The link would take a good one: what came before was refused for what was wrong with it.
    let source = link_local(forger);
    let payload = good(&multicast, 1).encode(ChecksumForm::PseudoHeader, source.into(), GROUP_V6.into());
    let lower = Row {
        name: "a lower one",
        id: MULTICAST,
        word: None,
        source,
        destination: GROUP_V6,
        hop_limit: 255,
        payload,
    };
    forging.send(&lower);
    door.until(MULTICAST, "a good one", LIMIT, |instance| instance["received"] == 1);
    for id in ids {
        let instance = door.instance(id);
        let found = (&instance["state"], &instance["became_master"]);
        assert_eq!(found, (&"MASTER".into(), &1.into()), "{instance}");
    }
    let tenures = watch.tenures();
    assert!(tenures.len() == 1 && tenures[0].to.is_none(), "{tenures:?}");
    assert!(!door.has_ended() && !door.log().contains("panicked"), "{}", door.log());
}
