//! The address forms of the demo's own servers and client (RFC 959 §4.1.2, RFC 2428), IPv4 only.
//!
//! Kept apart from `proto::ftp` on purpose: the demo looks at the door from outside, with its own eyes.

use std::net::{Ipv4Addr, SocketAddrV4};

/// `h1,h2,h3,h4,p1,p2` as PORT, PASV and SPAS write it.
pub(super) fn comma_form(address: SocketAddrV4) -> String {
    let [a, b, c, d] = address.ip().octets();
    let [high, low] = address.port().to_be_bytes();
    format!("{a},{b},{c},{d},{high},{low}")
}

/// Reads `h1,h2,h3,h4,p1,p2`; `None` for anything else.
pub(super) fn parse_comma_form(text: &str) -> Option<SocketAddrV4> {
    let mut numbers = text.split(',').map(|number| number.trim().parse::<u8>().ok());
    let mut octets = [0u8; 6];
    for octet in &mut octets {
        *octet = numbers.next()??;
    }
    if numbers.next().is_some() {
        return None;
    }
    let [a, b, c, d, high, low] = octets;
    Some(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))
}

/// What `|1|address|port|` says, with any delimiter (RFC 2428 §2).
#[derive(Debug, PartialEq)]
pub(super) enum BarForm {
    /// `|1|address|port|`
    Full(SocketAddrV4),
    /// `|||port|`, as a 229 reply writes it (RFC 2428 §3)
    PortOnly(u16),
    /// a protocol other than 1
    OtherProtocol,
}

/// Reads `|1|address|port|` or `|||port|`; `None` for anything else.
pub(super) fn parse_bar_form(text: &str) -> Option<BarForm> {
    let delimiter = text.chars().next()?;
    let parts: Vec<&str> = text.split(delimiter).collect();
    let ["", protocol, address, port, ""] = parts[..] else { return None };
    let port = port.parse().ok()?;
    match (protocol, address) {
        ("", "") => Some(BarForm::PortOnly(port)),
        ("1", _) => Some(BarForm::Full(SocketAddrV4::new(address.parse().ok()?, port))),
        _ => Some(BarForm::OtherProtocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        let address = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 11), 0x89_99);
        assert_eq!(comma_form(address), "127,0,0,11,137,153");
        assert_eq!(parse_comma_form("127,0,0,11,137,153"), Some(address));
        for wrong in ["", "1,2,3,4,5", "1,2,3,4,5,6,7", "256,0,0,1,1,1", "a,0,0,1,1,1"] {
            assert_eq!(parse_comma_form(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn bar_form_table() {
        let full = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 1), 5000);
        let table = [
            ("|1|127.0.0.1|5000|", Some(BarForm::Full(full))),
            ("!1!127.0.0.1!5000!", Some(BarForm::Full(full))),
            ("|||5000|", Some(BarForm::PortOnly(5000))),
            ("|2|::1|5000|", Some(BarForm::OtherProtocol)),
            ("|1||5000|", None),
            ("|1|127.0.0.1|70000|", None),
            ("", None),
            ("|", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_bar_form(text), expected, "{text}");
        }
    }
}
