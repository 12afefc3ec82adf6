//! What tshark says of adverts, and whether both programs tell neighbours of an address in the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::support::capture::{Frame, fields};

/// The adverts of one virtual router.
#[derive(Clone, Debug, Default)]
pub struct Adverts {
    pub valid: usize,
    /// Those with priority 0.
    pub released: usize,
    /// What is wrong with others.
    pub invalid: Vec<String>,
}

/// All adverts by the number of the virtual router; not those that an error of ICMP sends back.
pub fn adverts(capture: &[u8]) -> BTreeMap<u8, Adverts> {
    let names = [
        "vrrp.virt_rtr_id",
        "vrrp.version",
        "vrrp.type",
        "vrrp.prio",
        "vrrp.checksum.status",
        "ip.checksum.status",
        "ip.ttl",
        "ipv6.hlim",
        "ip.dsfield",
        "_ws.expert.message",
        "_ws.malformed",
    ];
    let mut all = BTreeMap::<u8, Adverts>::new();
    for frame in fields(capture, "vrrp && !icmp && !icmpv6", &names, &["ip.check_checksum:TRUE"]) {
        let [
            id,
            version,
            kind,
            priority,
            checksum,
            ip_checksum,
            ttl,
            hop_limit,
            traffic_class,
            expert,
            malformed,
        ] = frame.as_slice()
        else {
            panic!("{} fields: {frame:?}", frame.len())
        };
        let of = all.entry(id.parse().expect("a number")).or_default();
        let is_ipv4 = hop_limit.is_empty();
        let is_valid = ["2", "3"].contains(&version.as_str())
            && kind == "1"
            // 1 is good in tshark's words.
            && checksum == "1"
            && (if is_ipv4 { ttl == "255" && ip_checksum == "1" && traffic_class == "0xc0" } else { hop_limit == "255" })
            && expert.is_empty()
            && malformed.is_empty();
        if is_valid {
            of.valid += 1;
            of.released += usize::from(priority == "0");
        } else {
            of.invalid.push(frame.join(" "));
        }
    }
    all
}

/// How neighbours are told of each address: the forms of the frames, without what differs from host to host.
pub fn announcements(capture: &[u8]) -> BTreeMap<IpAddr, BTreeSet<String>> {
    let arp = [
        "arp.src.proto_ipv4",
        "eth.src",
        "arp.src.hw_mac",
        "eth.dst",
        "arp.opcode",
        "arp.dst.proto_ipv4",
        "arp.dst.hw_mac",
    ];
    let ndp = [
        "icmpv6.nd.na.target_address",
        "eth.src",
        "icmpv6.opt.linkaddr",
        "eth.dst",
        "ipv6.src",
        "ipv6.dst",
        "ipv6.hlim",
        "icmpv6.nd.na.flag.r",
        "icmpv6.nd.na.flag.s",
        "icmpv6.nd.na.flag.o",
        "icmpv6.opt.type",
        "icmpv6.checksum.status",
    ];
    // The kernel of another master answers them, which is not told to everybody.
    let told = "arp.src.proto_ipv4 == arp.dst.proto_ipv4 && eth.dst == ff:ff:ff:ff:ff:ff";
    let gratuitous = fields(capture, told, &arp, &[]);
    let unsolicited = fields(capture, "icmpv6.type == 136 && ipv6.dst == ff02::1", &ndp, &[]);
    let mut all = BTreeMap::<IpAddr, BTreeSet<String>>::new();
    for frame in gratuitous.into_iter().chain(unsolicited) {
        if let Ok(address) = frame[0].parse() {
            all.entry(address).or_default().insert(form(&frame));
        }
    }
    all
}

fn form(frame: &Frame) -> String {
    let address = &frame[0];
    // Whether a host speaks of itself, in place of who it is.
    let own = if frame[1] == frame[2] { "own MAC" } else { "another MAC" };
    let rest: Vec<&str> =
        frame.iter().skip(3).map(|field| if field == address { "the address" } else { field }).collect();
    format!("{own}: {}", rest.join(" "))
}
