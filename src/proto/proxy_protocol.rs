//! The PROXY protocol: who the client is, told by a proxy in the first bytes of a connection.
//!
//! Versions 1 (a line of text) and 2 (binary) of HAProxy's `proxy-protocol.txt`; its sections are named below.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1, in bytes, its CR LF included (section 2.1).
pub const MAX_V1: usize = 107;

/// Longest header of version 2 that is read, in bytes. The addresses take 52; what a sender may add is of its own making,
/// and 536 must be possible (section 2.2). A client's certificate in it has some 2 kB.
pub const MAX_V2: usize = 4096;

/// What version 1 begins with.
pub const V1_BEGINS: &[u8; 6] = b"PROXY ";

/// What version 2 begins with (section 2.2): no line of any protocol of lines.
pub const V2_BEGINS: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Up to the length of what follows.
const V2_FIXED: usize = 16;

/// Version 2 in the upper half of byte 13, and the command in the lower.
const V2_LOCAL: u8 = 0x20;
const V2_PROXY: u8 = 0x21;

/// Byte 14: address family in the upper half, transport in the lower.
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The last assigned family (`AF_UNIX`) and transport (`SOCK_DGRAM`); others "must be rejected as invalid".
const LAST_FAMILY: u8 = 3;
const LAST_TRANSPORT: u8 = 2;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// What a header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Header {
    /// Somebody else's connection.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// Where the client has connected to.
        destination: SocketAddr,
    },
    /// The proxy's own connection (a health check), or one whose addresses it does not know or cannot tell: those of the
    /// connection itself count (LOCAL, UNKNOWN, UNSPEC, Unix sockets).
    Local,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeaderError {
    /// They begin with something else.
    #[error("there is no PROXY protocol header")]
    Missing,
    /// They begin as one.
    #[error("the PROXY protocol header is broken: {0}")]
    Broken(&'static str),
    /// Longer than the limit, or without an end.
    #[error("the PROXY protocol header is longer than {0} bytes")]
    TooLong(usize),
}

impl Header {
    /// Reads a header at the beginning of `bytes`: `None` while more of it is to come, else the header and its length.
    /// More than [`MAX_V2`] bytes are never asked for.
    ///
    /// # Errors
    ///
    /// See [`HeaderError`]; more bytes mend none of them.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeaderError> {
        if begins(bytes, V2_BEGINS) {
            return read_v2(bytes);
        }
        if begins(bytes, V1_BEGINS) {
            return read_v1(bytes);
        }
        Err(HeaderError::Missing)
    }

    /// Writes a header.
    #[must_use]
    pub fn write(self, version: Version) -> Vec<u8> {
        match version {
            Version::V1 => self.write_v1(),
            Version::V2 => self.write_v2(),
        }
    }

    fn write_v1(self) -> Vec<u8> {
        let Self::Proxied { source, destination } = self else { return b"PROXY UNKNOWN\r\n".to_vec() };
        let (source, destination) = of_one_family(source, destination);
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        format!(
            "PROXY {family} {} {} {} {}\r\n",
            source.ip(),
            destination.ip(),
            source.port(),
            destination.port()
        )
        .into_bytes()
    }

    fn write_v2(self) -> Vec<u8> {
        let mut bytes = V2_BEGINS.to_vec();
        let Self::Proxied { source, destination } = self else {
            bytes.extend([V2_LOCAL, 0, 0, 0]);
            return bytes;
        };
        let (source, destination) = of_one_family(source, destination);
        let mut addresses = Vec::with_capacity(2 * (16 + 2));
        for ip in [source.ip(), destination.ip()] {
            match ip {
                IpAddr::V4(ip) => addresses.extend(ip.octets()),
                IpAddr::V6(ip) => addresses.extend(ip.octets()),
            }
        }
        for port in [source.port(), destination.port()] {
            addresses.extend(port.to_be_bytes());
        }
        let (family, length) =
            if source.is_ipv4() { (TCP_OVER_IPV4, 12_u16) } else { (TCP_OVER_IPV6, 36_u16) };
        bytes.extend([V2_PROXY, family]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(addresses);
        bytes
    }
}

/// Whether bytes that should have been a command begin a header. Of version 2 it is enough that no client says so.
#[must_use]
pub fn is_begun(bytes: &[u8]) -> bool {
    const NO_CLIENTS: &[u8] = b"\r\n\r\n\0";
    bytes.starts_with(V1_BEGINS) || bytes.starts_with(NO_CLIENTS)
}

/// Whether a line, with its end, is one of a header, however it has arrived.
#[must_use]
pub fn is_line_of(line: &[u8]) -> bool {
    line.starts_with(V1_BEGINS) || line == b"\0\r\n"
}

/// Whether what is there of `bytes` is, or may still become, `beginning` and more.
fn begins(bytes: &[u8], beginning: &[u8]) -> bool {
    let known = bytes.len().min(beginning.len());
    bytes[..known] == beginning[..known]
}

/// A header has one family; an IPv4 address is told in IPv6 form beside an IPv6 one, and never alone.
fn of_one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    let (source, destination) = (canonical(source), canonical(destination));
    if source.is_ipv4() == destination.is_ipv4() {
        (source, destination)
    } else {
        (mapped(source), mapped(destination))
    }
}

type Read = Result<Option<(Header, usize)>, HeaderError>;

fn read_v1(bytes: &[u8]) -> Read {
    let known = &bytes[..bytes.len().min(MAX_V1)];
    let Some(end) = memchr::memchr(b'\n', known) else {
        return if bytes.len() < MAX_V1 { Ok(None) } else { Err(HeaderError::TooLong(MAX_V1)) };
    };
    let line =
        known[..end].strip_suffix(b"\r").ok_or(HeaderError::Broken("its line does not end with CR LF"))?;
    if line.contains(&b'\r') {
        return Err(HeaderError::Broken("there is a CR inside its line"));
    }
    let header = v1_of(line.get(V1_BEGINS.len()..).unwrap_or_default())?;
    Ok(Some((header, end + 1)))
}

fn v1_of(words: &[u8]) -> Result<Header, HeaderError> {
    // Whatever follows is to be ignored, and need not be text.
    if words == b"UNKNOWN" || words.starts_with(b"UNKNOWN ") {
        return Ok(Header::Local);
    }
    let words = str::from_utf8(words).map_err(|_| HeaderError::Broken("it is no text"))?;
    let words: Vec<&str> = words.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = words[..] else {
        return Err(HeaderError::Broken("it is not a family, two addresses and two ports"));
    };
    let address: fn(&str) -> Option<IpAddr> = match family {
        "TCP4" => |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |text| text.parse::<Ipv6Addr>().ok().map(|ip| ip.to_canonical()),
        _ => return Err(HeaderError::Broken("its family is not TCP4, TCP6 or UNKNOWN")),
    };
    let address =
        |text| address(text).ok_or(HeaderError::Broken("one of its addresses is none of its family"));
    let (source, destination) = (address(source)?, address(destination)?);
    let (source_port, destination_port) = (port(source_port)?, port(destination_port)?);
    Ok(Header::Proxied {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

/// Decimal, "without heading zeroes".
fn port(text: &str) -> Result<u16, HeaderError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let port = if digits { text.parse().ok() } else { None };
    port.ok_or(HeaderError::Broken("one of its ports is none"))
}

fn read_v2(bytes: &[u8]) -> Read {
    let Some((fixed, rest)) = bytes.split_first_chunk::<V2_FIXED>() else { return Ok(None) };
    let [.., version_and_command, family_and_transport, high, low] = *fixed;
    let is_local = match version_and_command {
        V2_LOCAL => true,
        V2_PROXY => false,
        _ => return Err(HeaderError::Broken("its version is not 2, or its command neither LOCAL nor PROXY")),
    };
    if !is_local && (family_and_transport >> 4 > LAST_FAMILY || family_and_transport & 0xf > LAST_TRANSPORT) {
        return Err(HeaderError::Broken("its address family or transport does not exist"));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if V2_FIXED + length > MAX_V2 {
        return Err(HeaderError::TooLong(MAX_V2));
    }
    let Some(block) = rest.get(..length) else { return Ok(None) };
    let header = match family_and_transport {
        _ if is_local => Header::Local,
        TCP_OVER_IPV4 => v2_addresses::<4>(block)?,
        TCP_OVER_IPV6 => v2_addresses::<16>(block)?,
        // "Free to accept the connection and use the real addresses" (section 2.2).
        _ => Header::Local,
    };
    Ok(Some((header, V2_FIXED + length)))
}

/// Two addresses and two ports; what comes after them (TLV) is of no use here.
fn v2_addresses<const N: usize>(block: &[u8]) -> Result<Header, HeaderError>
where
    IpAddr: From<[u8; N]>,
{
    let addresses = || {
        let (source, rest) = block.split_first_chunk::<N>()?;
        let (destination, rest) = rest.split_first_chunk::<N>()?;
        let (source_port, rest) = rest.split_first_chunk()?;
        let (destination_port, _) = rest.split_first_chunk()?;
        let address = |ip: &[u8; N], port: &[u8; 2]| {
            SocketAddr::new(IpAddr::from(*ip).to_canonical(), u16::from_be_bytes(*port))
        };
        Some(Header::Proxied {
            source: address(source, source_port),
            destination: address(destination, destination_port),
        })
    };
    addresses().ok_or(HeaderError::Broken("its addresses are cut off"))
}

#[cfg(test)]
mod tests;
