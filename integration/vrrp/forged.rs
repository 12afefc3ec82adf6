//! Adverts that somebody has made to do harm: none is taken, each is counted by what is wrong with it, and who is master does
//! not change.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use gridfront::proto::vrrp::{
    Advertisement, ChecksumForm, GROUP_V4, IP_PROTOCOL, Password, Priority, Version, VirtualRouterId,
};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use super::balancer::{Gridfront, PASSWORD, VirtualRouter, Way};
use crate::support::netns::{Lab, Machine};
use crate::support::ownership::Watch;
use crate::support::{http_client, skip};

pub const LIMIT: Duration = Duration::from_secs(30);
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Of the virtual routers that are attacked; forged adverts would win with theirs.
pub const OURS: u8 = 200;
pub const FORGED: u8 = 250;

const V2: u8 = 52;
const V3: u8 = 53;
const UNICAST: u8 = 54;

/// In a namespace of its own.
const METRICS: &str = "127.0.0.1:9281";

/// How many adverts a flood has.
const FLOOD: u64 = 10_000;

/// One packet of the attacker's.
#[derive(Clone, Debug)]
struct Packet {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    ttl: u8,
    payload: Vec<u8>,
}

/// Sends whatever it is told, from whoever it is told.
struct Forger {
    headers: Socket,
    payloads: Socket,
}

impl Forger {
    fn new(machine: &Machine) -> Self {
        let own = machine.v4();
        machine.enter(|| {
            let open = |protocol| {
                let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(protocol)));
                let socket = socket.expect("root may have a raw socket");
                socket.set_multicast_if_v4(&own).expect("its own address");
                socket
            };
            let (headers, payloads) = (open(libc::IPPROTO_RAW), open(i32::from(IP_PROTOCOL)));
            headers.set_header_included_v4(true).expect("a raw socket takes headers");
            payloads.set_multicast_ttl_v4(255).expect("any TTL");
            Self { headers, payloads }
        })
    }

    fn send(&self, Packet { source, destination, ttl, payload }: &Packet) {
        // The kernel fills in length, identification and checksum.
        let mut bytes = vec![0x45, 0xc0, 0, 0, 0, 0, 0, 0, *ttl, IP_PROTOCOL, 0, 0];
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(payload);
        self.headers.send_to(&bytes, &SocketAddrV4::new(*destination, 0).into()).expect("the link takes it");
    }

    /// As fragments, where it is larger than the link takes.
    fn send_from_own(&self, payload: &[u8]) {
        self.payloads.send_to(payload, &SocketAddrV4::new(GROUP_V4, 0).into()).expect("the link takes it");
    }
}

/// One advert of what is forged, and the word that it is counted by; none where it is for no virtual router.
struct Row {
    name: &'static str,
    id: u8,
    word: Option<&'static str>,
    packet: Packet,
}

/// What a good one would be.
fn good(id: u8, version: Version, priority: u8) -> Advertisement {
    Advertisement {
        version,
        virtual_router_id: VirtualRouterId::new(id).unwrap(),
        priority: Priority::new(priority).unwrap(),
        interval: INTERVAL,
        addresses: vec![VirtualRouter::new(id, INTERVAL).address()],
        password: (id == V2).then(|| Password::new(PASSWORD.as_bytes()).unwrap()),
    }
}

/// With 16 bits changed, and a checksum that fits them (RFC 1624).
pub fn patched(mut bytes: Vec<u8>, at: usize, word: u16) -> Vec<u8> {
    let read = |bytes: &[u8], at: usize| u32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let sum = (!read(&bytes, 6) & 0xffff) + (!read(&bytes, at) & 0xffff) + u32::from(word);
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = u16::try_from((folded & 0xffff) + (folded >> 16)).expect("16 bits");
    bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
    bytes[6..8].copy_from_slice(&(!folded).to_be_bytes());
    bytes
}

fn rows(lab: &Lab) -> Vec<Row> {
    let [ours, peer, forger] = ["lb1", "lb2", "forger"].map(|role| lab.machine(role).v4());
    let row = |name, id, word, source: Ipv4Addr, destination: Ipv4Addr, ttl, payload| {
        let packet = Packet { source, destination, ttl, payload };
        Row { name, id, word, packet }
    };
    let encode = |advertisement: &Advertisement, source: Ipv4Addr, destination: Ipv4Addr| {
        advertisement.encode(ChecksumForm::PseudoHeader, source.into(), destination.into())
    };
    let of = |advertisement: &Advertisement| encode(advertisement, forger, GROUP_V4);
    let (v2, v3) = (good(V2, Version::V2, FORGED), good(V3, Version::V3, FORGED));
    let unicast = good(UNICAST, Version::V3, FORGED);
    // To the group, at a virtual router that takes nothing else.
    let group = |name, id, word, payload| row(name, id, Some(word), forger, GROUP_V4, 255, payload);
    let changed = |bytes: Vec<u8>, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes;
        change(&mut bytes);
        bytes
    };
    let stray = |name, payload| row(name, V3, None, forger, GROUP_V4, 255, payload);
    vec![
        group("four bytes", V3, "truncated", of(&v3)[..4].to_vec()),
        group("without its address", V3, "length", of(&v3)[..8].to_vec()),
        group("a thousand bytes too many", V3, "length", [of(&v3), vec![0; 1000]].concat()),
        group("more addresses than it has", V3, "length", changed(of(&v3), &|bytes| bytes[3] = 255)),
        group("version 1", V3, "version", changed(of(&v3), &|bytes| bytes[0] = 0x11)),
        group("version 15", V3, "version", changed(of(&v3), &|bytes| bytes[0] = 0xf1)),
        group("version 2 where 3 is", V3, "version", of(&good(V3, Version::V2, FORGED))),
        group(
            "version 3 where 2 is",
            V2,
            "version",
            of(&Advertisement { password: None, ..good(V2, Version::V3, FORGED) }),
        ),
        group("type 2", V3, "type", changed(of(&v3), &|bytes| bytes[0] = 0x32)),
        group("a wrong checksum", V3, "checksum", changed(of(&v3), &|bytes| bytes[6] ^= 0x5a)),
        group("a wrong checksum of version 2", V2, "checksum", changed(of(&v2), &|bytes| bytes[7] ^= 1)),
        group(
            "another priority under the checksum",
            V3,
            "checksum",
            changed(of(&v3), &|bytes| bytes[2] = 254),
        ),
        row("TTL 254", V3, Some("hop_limit"), forger, GROUP_V4, 254, of(&v3)),
        row("TTL 1", V2, Some("hop_limit"), forger, GROUP_V4, 1, of(&v2)),
        group("no address", V3, "address_list", of(&Advertisement { addresses: Vec::new(), ..v3.clone() })),
        group("interval 0", V3, "interval", patched(of(&v3), 4, 0)),
        group(
            "another interval of version 2",
            V2,
            "interval",
            of(&Advertisement { interval: INTERVAL * 2, ..v2.clone() }),
        ),
        group("no password", V2, "authentication", of(&Advertisement { password: None, ..v2.clone() })),
        group(
            "another password",
            V2,
            "authentication",
            of(&Advertisement { password: Password::new(b"gridftp2"), ..v2.clone() }),
        ),
        // Type 2 was for IPsec.
        group("an authentication that is none", V2, "authentication", patched(of(&v2), 4, 0x0201)),
        row("our own, sent back", V3, Some("reflected"), ours, GROUP_V4, 255, encode(&v3, ours, GROUP_V4)),
        row(
            "a stranger to unicast",
            UNICAST,
            Some("unicast_peer"),
            forger,
            ours,
            255,
            encode(&unicast, forger, ours),
        ),
        group("multicast to unicast", UNICAST, "destination", of(&unicast)),
        row("a peer from far away", UNICAST, Some("hop_limit"), peer, ours, 64, encode(&unicast, peer, ours)),
        row("unicast to multicast", V3, Some("destination"), forger, ours, 255, encode(&v3, forger, ours)),
        stray("one byte", vec![0x31]),
        stray("nothing", Vec::new()),
        stray("a number that nobody has", of(&good(99, Version::V3, FORGED))),
        stray("the number 0", changed(of(&v3), &|bytes| bytes[1] = 0)),
    ]
}

pub fn discarded(instance: &Value, word: &str) -> u64 {
    let list = instance["discarded"].as_array().into_iter().flatten();
    list.filter(|of| of["reason"] == word).filter_map(|of| of["adverts"].as_u64()).sum()
}

pub fn all_discarded(door: &Gridfront) -> u64 {
    let instances = door.instances().unwrap_or_default();
    let lists = instances.iter().filter_map(|instance| instance["discarded"].as_array());
    lists.flatten().filter_map(|of| of["adverts"].as_u64()).sum()
}

#[test]
fn a_forged_advert_is_counted_by_what_is_wrong_with_it_and_changes_nothing() {
    if !skip::unless_present("forged adverts", &["ip", "nsenter"]) {
        return;
    }
    let lab = Lab::new(&[("lb1", 12), ("lb2", 11), ("forger", 31)]);
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let v2 = VirtualRouter { version: 2, has_password: true, ..VirtualRouter::new(V2, INTERVAL) };
    let v3 = VirtualRouter::new(V3, INTERVAL);
    let unicast = VirtualRouter { way: Way::Unicast, ..VirtualRouter::new(UNICAST, INTERVAL) };
    let configuration = [(v2, ""), (v3, ""), (unicast, "unicast_ttl_check = true")]
        .map(|(router, keys)| router.for_us(lb1, lb2, OURS, keys))
        .concat();
    // Behind the last key of `[global]`.
    let mut door = Gridfront::start(lb1, &format!("http = \"{METRICS}\"\n{configuration}"));
    let ids = [V2, V3, UNICAST];
    for id in ids {
        door.until(id, "the master", LIMIT, |instance| instance["state"] == "MASTER");
    }
    let watch = Watch::start(&[lb1, lb2], v3.address(), Duration::from_millis(5));
    watch.until_alone("lb1", LIMIT).unwrap();
    let forger = Forger::new(lab.machine("forger"));

    let all = rows(&lab);
    let reflected = all.iter().filter(|row| row.word == Some("reflected"));
    // Once more where the kernel takes packets from an address of its own: not twice.
    for (Row { name, id, word, packet }, accept_local) in
        all.iter().map(|row| (row, "0")).chain(reflected.map(|row| (row, "1")))
    {
        let setting = "/proc/sys/net/ipv4/conf/eth0/accept_local";
        lb1.enter(|| std::fs::write(setting, accept_local)).unwrap();
        let before = door.instance(*id);
        let all = all_discarded(&door);
        forger.send(packet);
        if let Some(word) = *word {
            let counted = discarded(&before, word) + 1;
            door.until(*id, name, LIMIT, |instance| discarded(instance, word) == counted);
            assert_eq!(all_discarded(&door), all + 1, "{name} is counted once");
        }
        for id in ids {
            let instance = door.instance(id);
            assert_eq!(instance["state"], "MASTER", "{name}: {instance}");
            assert_eq!(instance["received"], 0, "{name} was taken: {instance}");
        }
    }
    // Larger than anything that is read, in fragments.
    forger.send_from_own(&[[0x31, V3].to_vec(), vec![FORGED; 30_000]].concat());

    // What is well formed and says that we are to stay what we are: each may be answered, none may do more.
    let lower = good(V3, Version::V3, 1);
    let payload =
        lower.encode(ChecksumForm::PseudoHeader, lab.machine("forger").v4().into(), GROUP_V4.into());
    let packet = Packet { source: lab.machine("forger").v4(), destination: GROUP_V4, ttl: 255, payload };
    for _ in 0..FLOOD {
        forger.send(&packet);
    }
    // Behind the flood, so that it was taken when this one is.
    let last = good(V2, Version::V2, 1);
    let source = lab.machine("forger").v4();
    let payload = last.encode(ChecksumForm::PseudoHeader, source.into(), GROUP_V4.into());
    let before = door.instance(V2)["received"].as_u64().unwrap();
    forger.send(&Packet { source, destination: GROUP_V4, ttl: 255, payload });
    door.until(V2, "the last of the flood", LIMIT, |instance| instance["received"].as_u64() > Some(before));
    let flooded = door.instance(V3);
    let received = flooded["received"].as_u64().unwrap();
    assert!((1..=FLOOD).contains(&received), "{flooded}");
    println!("a flood of {FLOOD}: {received} taken, {} sent, {flooded}", flooded["sent"]);

    // One whose addresses are others is not refused, so that two masters never come of a slip; it is lower all the same.
    let other = Advertisement { addresses: vec![[10, 77, 1, 99].into()], ..good(V3, Version::V3, 2) };
    let payload = other.encode(ChecksumForm::PseudoHeader, source.into(), GROUP_V4.into());
    forger.send(&Packet { source, destination: GROUP_V4, ttl: 255, payload });
    door.until(V3, "another list", LIMIT, |instance| instance["received"].as_u64() > Some(received));

    let page = lb1.enter(|| http_client::get(METRICS.parse().unwrap(), "/metrics").body);
    for line in [
        "gridfront_vrrp_stray_adverts_total{reason=\"truncated\"} 2",
        "gridfront_vrrp_stray_adverts_total{reason=\"virtual_router_id\"} 2",
        "gridfront_vrrp_adverts_discarded_total{vrrp_instance=\"VI_53\",reason=\"checksum\"} 2",
        "gridfront_vrrp_other_addresses_total{vrrp_instance=\"VI_53\"} 1",
    ] {
        assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
    }
    for id in ids {
        let instance = door.instance(id);
        assert_eq!(
            (&instance["state"], &instance["became_master"]),
            (&"MASTER".into(), &1.into()),
            "{instance}"
        );
    }
    let tenures = watch.tenures();
    assert!(tenures.len() == 1 && tenures[0].to.is_none(), "{tenures:?}");
    assert!(!door.has_ended() && !door.log().contains("panicked"), "{}", door.log());
}
