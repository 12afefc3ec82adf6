//! Which clients a balancer serves at its virtual addresses, told to the balancers that may take these over.
//!
//! When a host dies without a word, its clients wait: whoever only reads hears nothing of it. The next owner of the address
//! knows them from here and sends each a segment that belongs to no connection ([`tcp::tickle`](super::tcp::tickle)); the
//! client answers it, and the answer is reset. An entry that is out of date does no harm: a client without such a connection
//! resets the segment.
//!
//! ```text
//!   0      4         5       6      8                  every entry:
//!   | GFS1 | version | flags | count | entries …       family, client, port, virtual address, port
//! ```
//!
//! Numbers are in network byte order. A sender tells new sessions at once and all of them from time to time, so that nothing
//! has to be confirmed.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Begins every datagram.
const MAGIC: [u8; 4] = *b"GFS1";

/// Of the format.
const VERSION: u8 = 1;

const HEADER: usize = 8;

/// Longest datagram, in bytes: it is not to be fragmented on Ethernet, with the headers of IPv6 and UDP.
pub const MAX_DATAGRAM: usize = 1452;

/// A client's control connection.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Connection {
    /// Where it comes from.
    pub client: SocketAddr,
    /// Where it came to: of the same family.
    pub reached: SocketAddr,
}

impl Connection {
    /// Whether such a client can be: no packet is to go to a group, to everybody, or to this host, whoever names it.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        let client = self.client.ip().to_canonical();
        let is_everybody = matches!(client, IpAddr::V4(address) if address.is_broadcast());
        let is_nobody = client.is_multicast() || client.is_unspecified() || client.is_loopback();
        self.client.port() != 0 && !is_everybody && !is_nobody
    }
}

/// Datagrams that tell of all these connections; those of mixed families are left out.
#[must_use]
pub fn encode(connections: &[Connection]) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    let mut datagram = Vec::new();
    let mut count = 0_u16;
    for connection in connections {
        let entry = entry(connection);
        if !datagram.is_empty() && datagram.len() + entry.len() > MAX_DATAGRAM {
            datagrams.push(finished(std::mem::take(&mut datagram), count));
            count = 0;
        }
        if entry.is_empty() {
            continue;
        }
        if datagram.is_empty() {
            datagram.extend_from_slice(&MAGIC);
            datagram.extend_from_slice(&[VERSION, 0, 0, 0]);
        }
        datagram.extend_from_slice(&entry);
        count += 1;
    }
    if count > 0 {
        datagrams.push(finished(datagram, count));
    }
    datagrams
}

/// The connections of a datagram; `None` if it is none of ours.
#[must_use]
pub fn parse(datagram: &[u8]) -> Option<Vec<Connection>> {
    let header: &[u8; HEADER] = datagram.first_chunk()?;
    if header[..4] != MAGIC || header[4] != VERSION {
        return None;
    }
    let count = u16::from_be_bytes([header[6], header[7]]);
    let mut rest = datagram.get(HEADER..)?;
    let mut connections = Vec::new();
    for _ in 0..count {
        let (&family, behind) = rest.split_first()?;
        let (client, behind) = endpoint(family, behind)?;
        let (reached, behind) = endpoint(family, behind)?;
        connections.push(Connection { client, reached });
        rest = behind;
    }
    rest.is_empty().then_some(connections)
}

fn entry(connection: &Connection) -> Vec<u8> {
    let Connection { client, reached } = connection;
    let mut bytes = Vec::new();
    match (client.ip().to_canonical(), reached.ip().to_canonical()) {
        (IpAddr::V4(client), IpAddr::V4(reached)) => {
            bytes.push(4);
            bytes.extend_from_slice(&client.octets());
            bytes.extend_from_slice(&connection.client.port().to_be_bytes());
            bytes.extend_from_slice(&reached.octets());
        }
        (IpAddr::V6(client), IpAddr::V6(reached)) => {
            bytes.push(6);
            bytes.extend_from_slice(&client.octets());
            bytes.extend_from_slice(&connection.client.port().to_be_bytes());
            bytes.extend_from_slice(&reached.octets());
        }
        _ => return bytes,
    }
    bytes.extend_from_slice(&reached.port().to_be_bytes());
    bytes
}

fn finished(mut datagram: Vec<u8>, count: u16) -> Vec<u8> {
    if let Some(place) = datagram.get_mut(6..HEADER) {
        place.copy_from_slice(&count.to_be_bytes());
    }
    datagram
}

/// An address and a port, and what stands behind them.
fn endpoint(family: u8, bytes: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let (ip, rest): (IpAddr, _) = match family {
        4 => {
            let (octets, rest) = bytes.split_first_chunk::<4>()?;
            (Ipv4Addr::from(*octets).into(), rest)
        }
        6 => {
            let (octets, rest) = bytes.split_first_chunk::<16>()?;
            (Ipv6Addr::from(*octets).into(), rest)
        }
        _ => return None,
    };
    let (port, rest) = rest.split_first_chunk::<2>()?;
    Some((SocketAddr::new(ip, u16::from_be_bytes(*port)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn connection(client: &str, reached: &str) -> Connection {
        Connection { client: client.parse().unwrap(), reached: reached.parse().unwrap() }
    }

    #[test]
    fn all_connections_arrive_however_many_there_are() {
        let mut all: Vec<Connection> = (1..2000_u16)
            .map(|port| connection(&format!("198.51.100.7:{port}"), "192.0.2.10:2811"))
            .collect();
        all.push(connection("[2001:db8::7]:40000", "[2001:db8::10]:2811"));
        let datagrams = encode(&all);
        assert!(datagrams.iter().all(|datagram| datagram.len() <= MAX_DATAGRAM));
        let arrived: Vec<Connection> =
            datagrams.iter().flat_map(|datagram| parse(datagram).unwrap()).collect();
        assert_eq!(arrived, all);
        assert!(encode(&[]).is_empty());
        assert!(encode(&[connection("198.51.100.7:1", "[2001:db8::10]:2811")]).is_empty(), "mixed");
        let mapped = connection("[::ffff:198.51.100.7]:1", "[::ffff:192.0.2.10]:2811");
        assert_eq!(parse(&encode(&[mapped])[0]).unwrap(), [connection("198.51.100.7:1", "192.0.2.10:2811")]);
    }

    #[test]
    fn nobody_is_told_who_cannot_be_a_client() {
        for (client, expected) in [
            ("198.51.100.7:40000", true),
            ("[2001:db8::7]:40000", true),
            ("198.51.100.7:0", false),
            ("224.0.0.18:40000", false),
            ("255.255.255.255:40000", false),
            ("0.0.0.0:40000", false),
            ("127.0.0.1:40000", false),
            ("[::ffff:127.0.0.1]:40000", false),
            ("[::1]:40000", false),
            ("[ff02::12]:40000", false),
            ("[::]:40000", false),
        ] {
            assert_eq!(connection(client, "192.0.2.10:2811").is_plausible(), expected, "{client}");
        }
    }

    #[test]
    fn what_is_cut_or_has_more_is_not_taken() {
        let datagram = encode(&[connection("198.51.100.7:1", "192.0.2.10:2811")]).remove(0);
        for length in 0..datagram.len() {
            assert_eq!(parse(&datagram[..length]), None, "{length}");
        }
        assert_eq!(parse(&[datagram.as_slice(), &[0]].concat()), None);
        for (place, byte) in [(0, b'X'), (4, 2), (7, 2), (8, 5)] {
            let mut other = datagram.clone();
            other[place] = byte;
            assert_eq!(parse(&other), None, "{place}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes: Vec<u8>, begins in any::<bool>()) {
            let header = if begins { vec![b'G', b'F', b'S', b'1', 1, 0, 0, 9] } else { Vec::new() };
            if let Some(connections) = parse(&[header, bytes].concat()) {
                prop_assert!(connections.len() <= 9 || !begins);
            }
        }
    }
}
