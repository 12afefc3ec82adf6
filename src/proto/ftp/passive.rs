//! Data addresses on the wire: what 227, 229, 127 and 129 announce and what PORT, EPRT and SPOR name.
//!
//! Replies are read by position, not by wording: servers differ in text (`227 OK (…)`, `127 PORT (…)`, a full stop
//! at the end), and some leave the parentheses out.
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::ops::Range;

/// Most addresses in one SPOR. A striped server has one a data node; the largest sites run some dozens.
pub(super) const MAX_STRIPES: usize = 1024;

/// Where a real server's data connections are reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DataAddresses {
    dialled: IpAddr,
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
    map: Vec<(IpAddr, IpAddr)>,
}

impl DataAddresses {
    /// `dialled` is the address of the control connection to the server; `public` its configured `data_addresses`
    /// (the first of each family counts); `map` replaces single addresses, 1:1.
    #[must_use]
    pub fn new(dialled: IpAddr, public: &[IpAddr], map: Vec<(IpAddr, IpAddr)>) -> Self {
        let public = || public.iter().map(IpAddr::to_canonical);
        Self {
            dialled: dialled.to_canonical(),
            v4: public().find_map(|address| if let IpAddr::V4(v4) = address { Some(v4) } else { None }),
            v6: public().find_map(|address| if let IpAddr::V6(v6) = address { Some(v6) } else { None }),
            map,
        }
    }

    /// The family of the control connection to the server, in which it listens unless it is told otherwise.
    #[must_use]
    pub fn dialled_is_ipv6(&self) -> bool {
        self.dialled.is_ipv6()
    }

    /// Whether clients can reach the server's data connections over IPv6 (or else IPv4).
    #[must_use]
    pub fn has_family(&self, ipv6: bool) -> bool {
        self.dialled.is_ipv6() == ipv6 || if ipv6 { self.v6.is_some() } else { self.v4.is_some() }
    }

    /// What clients are to be told where the server named `announced`.
    ///
    /// Only the server's own address is replaced: a striped server names its data nodes, and those pass. An address
    /// that cannot be right (unspecified, or loopback from a server elsewhere, the fruit of `127.0.1.1` in
    /// /etc/hosts) counts as its own.
    #[must_use]
    pub fn announce(&self, announced: IpAddr) -> IpAddr {
        let announced = announced.to_canonical();
        if let Some((_, public)) = self.map.iter().find(|(from, _)| from.to_canonical() == announced) {
            return *public;
        }
        let useless = self.is_useless(announced);
        if announced != self.dialled && !useless {
            return announced;
        }
        self.own(announced.is_ipv6()).unwrap_or(if useless { self.dialled } else { announced })
    }

    /// The server's address where its reply has a port only (`(|||port|)`), in the family that it listens in.
    #[must_use]
    pub fn own_address(&self, ipv6: bool) -> IpAddr {
        let own = self.own(ipv6).unwrap_or(self.dialled);
        self.map.iter().find(|(from, _)| *from == own).map_or(own, |&(_, public)| public)
    }

    /// Where the door itself connects to when the server named `announced`: exactly there, for the door stands where
    /// the server's own address is known, unless it cannot be right.
    #[must_use]
    pub fn dial(&self, announced: Option<IpAddr>) -> IpAddr {
        announced
            .map(|address| address.to_canonical())
            .filter(|&address| !self.is_useless(address))
            .unwrap_or(self.dialled)
    }

    /// Whether the server may be at this address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address == self.dialled
            || self.own(address.is_ipv6()) == Some(address)
            || self.map.iter().any(|(from, to)| [from, to].iter().any(|ip| ip.to_canonical() == address))
    }

    /// Unspecified, or loopback from a server elsewhere.
    fn is_useless(&self, announced: IpAddr) -> bool {
        announced.is_unspecified() || (announced.is_loopback() && !self.dialled.is_loopback())
    }

    fn own(&self, ipv6: bool) -> Option<IpAddr> {
        if ipv6 { self.v6.map(IpAddr::V6) } else { self.v4.map(IpAddr::V4) }
    }
}

/// What a 229 or 129 says: `(|||port|)`, or `(|1|address|port|)` (RFC 2428 section 3; the address is Globus').
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Extended {
    /// The address, where one is given.
    pub address: Option<IpAddr>,
    /// The port, never 0.
    pub port: u16,
}

/// Which kind of address a reply line carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddressList {
    /// `h1,h2,h3,h4,p1,p2`, as 227 and 127 do.
    HostPort,
    /// 229 and 129 on one line; `ipv6` is the family in which the server was asked to listen.
    Extended {
        /// See the variant.
        ipv6: bool,
    },
    /// One line inside a 229 or 129 of several: the answer to SPAS.
    Striped,
}

/// Rewrites the address in a reply line for clients; `None` when the line may stay as it is.
#[must_use]
pub fn rewrite_address_line(kind: AddressList, line: &[u8], addresses: &DataAddresses) -> Option<Vec<u8>> {
    let (range, text) = match kind {
        AddressList::HostPort => rewrite_host_port(line, addresses)?,
        AddressList::Extended { ipv6 } => {
            if let Some((range, found)) = find_extended(line) {
                let address = match found.address {
                    Some(announced) => addresses.announce(announced),
                    None => addresses.own_address(ipv6),
                };
                if found.address.map(|announced| announced.to_canonical()) == Some(address) {
                    return None;
                }
                (range, extended(address, found.port))
            } else if memchr::memchr(b'(', line).is_some() {
                rewrite_host_port(line, addresses)?
            } else {
                return None;
            }
        }
        AddressList::Striped => {
            let (range, announced) = find_striped(line)?;
            let public = addresses.announce(announced.ip());
            if public == announced.ip().to_canonical() {
                return None;
            }
            let text = in_form_of(&line[range.clone()], SocketAddr::new(public, announced.port()));
            (range, text)
        }
    };
    let mut rewritten = Vec::with_capacity(line.len() + text.len());
    rewritten.extend_from_slice(&line[..range.start]);
    rewritten.extend_from_slice(text.as_bytes());
    rewritten.extend_from_slice(&line[range.end..]);
    Some(rewritten)
}

fn rewrite_host_port(line: &[u8], addresses: &DataAddresses) -> Option<(Range<usize>, String)> {
    let (range, announced) = find_host_port(line)?;
    let IpAddr::V4(public) = addresses.announce(IpAddr::V4(*announced.ip())) else { return None };
    (public != *announced.ip()).then(|| (range, host_port(public, announced.port())))
}

/// The first `h1,h2,h3,h4,p1,p2` after the reply code, with or without parentheses, and where it stands.
#[must_use]
pub fn find_host_port(line: &[u8]) -> Option<(Range<usize>, SocketAddrV4)> {
    let mut at = 3.min(line.len());
    while at < line.len() {
        if line[at].is_ascii_digit() {
            let end = line[at..]
                .iter()
                .position(|&byte| !byte.is_ascii_digit() && byte != b',')
                .map_or(line.len(), |length| at + length);
            if let Some(address) = parse_host_port(&line[at..end]) {
                return Some((at..end, address));
            }
            at = end;
        } else {
            at += 1;
        }
    }
    None
}

/// The part between the parentheses of `(|||port|)` or `(|1|address|port|)`, and where it stands.
#[must_use]
pub fn find_extended(line: &[u8]) -> Option<(Range<usize>, Extended)> {
    for open in memchr::memchr_iter(b'(', line) {
        let start = open + 1;
        let length = memchr::memchr(b')', &line[start..])?;
        let inside = &line[start..start + length];
        if let Some(found) = parse_extended(inside) {
            return Some((start..start + length, found));
        }
    }
    None
}

/// The address on a line inside the answer to SPAS, and where it stands.
pub(super) fn find_striped(line: &[u8]) -> Option<(Range<usize>, SocketAddr)> {
    let start = line.iter().position(|&byte| byte != b' ')?;
    let end = line.iter().rposition(|&byte| !matches!(byte, b'\r' | b'\n' | b' '))? + 1;
    let address = parse_item(line.get(start..end)?)?;
    Some((start..end, address))
}

/// `address` written as `item` is, where its family allows it.
pub(super) fn in_form_of(item: &[u8], address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(v4) if item.first() != Some(&b'|') => host_port(v4, address.port()),
        ip => extended(ip, address.port()),
    }
}

/// The argument of PORT (RFC 959 section 4.1.2): six numbers, nothing around them, and no leading zeros, which some
/// take for octal.
#[must_use]
pub fn parse_port(arguments: &[u8]) -> Option<SocketAddr> {
    if arguments.split(|&byte| byte == b',').any(|number| number.len() > 1 && number[0] == b'0') {
        return None;
    }
    parse_host_port(arguments).map(SocketAddr::V4)
}

/// The argument of EPRT (RFC 2428 section 2): `|1|address|port|` with any delimiter.
#[must_use]
pub fn parse_eprt(arguments: &[u8]) -> Option<SocketAddr> {
    let Extended { address, port } = parse_extended(arguments)?;
    Some(SocketAddr::new(address?, port))
}

/// The arguments of SPOR (GFD.20): a list of either form, separated by blanks.
///
/// `None` when one of them cannot be read, or there are none or more than any site has.
#[must_use]
pub fn parse_spor(arguments: &[u8]) -> Option<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for item in arguments.split(|&byte| byte == b' ').filter(|item| !item.is_empty()) {
        if addresses.len() == MAX_STRIPES {
            return None;
        }
        addresses.push(parse_item(item)?);
    }
    (!addresses.is_empty()).then_some(addresses)
}

fn parse_item(item: &[u8]) -> Option<SocketAddr> {
    if item.first()?.is_ascii_digit() { parse_port(item) } else { parse_eprt(item) }
}

fn parse_host_port(text: &[u8]) -> Option<SocketAddrV4> {
    let mut numbers = [0u8; 6];
    let mut parts = text.split(|&byte| byte == b',');
    for number in &mut numbers {
        *number = parse_number(parts.next()?, 3).and_then(|value| u8::try_from(value).ok())?;
    }
    if parts.next().is_some() {
        return None;
    }
    let [a, b, c, d, high, low] = numbers;
    let port = u16::from_be_bytes([high, low]);
    (port != 0).then(|| SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port))
}

fn parse_extended(text: &[u8]) -> Option<Extended> {
    let &delimiter = text.first()?;
    // Any but letters and digits (RFC 2428 section 2), and the parentheses, which stand around it in a reply.
    if !delimiter.is_ascii_punctuation() || matches!(delimiter, b'(' | b')') {
        return None;
    }
    let mut fields = text.split(|&byte| byte == delimiter);
    let (before, protocol, address, port, after) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let known = matches!(protocol, b"" | b"1" | b"2");
    if !known || !before.is_empty() || !after.is_empty() || fields.next().is_some() {
        return None;
    }
    let port = parse_number(port, 5).and_then(|value| u16::try_from(value).ok()).filter(|&port| port != 0)?;
    let address = if address.is_empty() {
        None
    } else {
        let address: IpAddr = std::str::from_utf8(address).ok()?.parse().ok()?;
        // The family must be the one named; `|2|::ffff:a.b.c.d|` occurs and is IPv6 on the wire.
        match (protocol, address) {
            (b"1" | b"", IpAddr::V4(_)) | (b"2" | b"", IpAddr::V6(_)) => Some(address.to_canonical()),
            _ => return None,
        }
    };
    Some(Extended { address, port })
}

fn parse_number(digits: &[u8], most: usize) -> Option<u32> {
    if digits.is_empty() || digits.len() > most {
        return None;
    }
    digits
        .iter()
        .try_fold(0u32, |value, &digit| digit.is_ascii_digit().then(|| value * 10 + u32::from(digit - b'0')))
}

/// `h1,h2,h3,h4,p1,p2`.
pub(super) fn host_port(address: Ipv4Addr, port: u16) -> String {
    let [a, b, c, d] = address.octets();
    let [high, low] = port.to_be_bytes();
    format!("{a},{b},{c},{d},{high},{low}")
}

/// `|1|address|port|`, or with 2 for IPv6.
pub(super) fn extended(address: IpAddr, port: u16) -> String {
    let mut text = String::with_capacity(56);
    let protocol = if address.is_ipv4() { 1 } else { 2 };
    // Writing to a String cannot fail.
    let _ = write!(text, "|{protocol}|{address}|{port}|");
    text
}

#[cfg(test)]
#[path = "passive/tests.rs"]
mod tests;
