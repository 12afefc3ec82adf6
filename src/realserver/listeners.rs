//! Who listens, from `/proc/net/tcp` and `tcp6` (proc_net(5)), and whether clients of the virtual address reach it. Pure.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::gridftp::Settings;
use super::plan::Finding;

/// `TCP_LISTEN`.
const LISTENING: &str = "0A";

/// Where somebody listens.
pub type Listener = SocketAddr;

/// A line of the table; nothing if it is another socket.
pub(super) fn read(line: &str) -> Option<Listener> {
    let mut words = line.split_whitespace().skip(1);
    let (local, state) = (words.next()?, words.nth(1)?);
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of 32 bits in the byte order of the host, each of which holds the address as the network has it.
    let word = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    (state == LISTENING).then_some(SocketAddr::new(address, port))
}

/// Whether a connection to the virtual address is accepted. A listener at `[::]` takes IPv4, too, unless it says otherwise, which
/// the table does not show.
pub(super) fn judge(vip: IpAddr, port: u16, listeners: &[Listener], server: &Settings) -> Finding {
    let at_port: Vec<IpAddr> =
        listeners.iter().filter(|one| one.port() == port).map(SocketAddr::ip).collect();
    let takes = |at: &&IpAddr| {
        let at = **at;
        let at = if at.is_unspecified() { at } else { at.to_canonical() };
        at == vip || at.is_unspecified() && (at.is_ipv6() || vip.is_ipv4())
    };
    if let Some(at) = at_port.iter().find(takes) {
        return Finding::fit(format!("{vip}: {} listens", SocketAddr::new(*at, port)));
    }
    if at_port.is_empty() {
        return Finding::by_hand(
            format!("{vip}: nobody listens on port {port}"),
            "start the service, or name its port with --port",
        );
    }
    let found: Vec<String> = at_port.iter().map(|at| SocketAddr::new(*at, port).to_string()).collect();
    let mend = match server.bound_to() {
        Some((key, place)) if server.port() == port => format!("take {key} out of {place}"),
        _ => format!("let the service listen on every address, or at {vip}, too"),
    };
    Finding::by_hand(
        format!("{vip}: connections are refused, for port {port} is open at {} only", found.join(", ")),
        mend,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realserver::plan::Cure;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_the_kernels_table_are_read() {
        let rest =
            "00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0";
        let table = [
            (format!("   0: 00000000:0AFB {rest}"), Some("0.0.0.0:2811")),
            (format!("   1: 15004D0A:0AFB {rest}"), Some("10.77.0.21:2811")),
            (
                format!("   2: 0000000000000000FFFF000064004D0A:0050 {rest}")
                    .replace("00000000:0000 0A", "00000000000000000000000000000000:0000 0A"),
                Some("[::ffff:10.77.0.100]:80"),
            ),
            (format!("   3: 000077FD000000000000000000010000:0050 {rest}"), Some("[fd77::100]:80")),
            (format!("   4: 15004D0A:0AFB {rest}").replace(" 0A ", " 01 "), None),
            ("   5: 15004D0A:0AFB".to_owned(), None),
            ("   6: \u{e9}5004D0A:0AFB 0 0A".to_owned(), None),
            (String::new(), None),
        ];
        for (line, expected) in table {
            assert_eq!(read(&line), expected.map(|at| at.parse().unwrap()), "{line}");
        }
    }

    #[test]
    fn a_listener_takes_the_virtual_address_or_is_named() {
        #[rustfmt::skip]
        let table: &[(&str, &[&str], &str)] = &[
            ("10.77.0.100", &["0.0.0.0:2811"],              ""),
            ("10.77.0.100", &["[::]:2811"],                 ""),
            ("10.77.0.100", &["10.77.0.100:2811"],          ""),
            ("10.77.0.100", &["[::ffff:10.77.0.100]:2811"], ""),
            ("fd77::100",   &["[::]:2811"],                 ""),
            ("10.77.0.100", &[],                            "nobody listens on port 2811"),
            ("10.77.0.100", &["0.0.0.0:80"],                "nobody listens on port 2811"),
            ("fd77::100",   &["0.0.0.0:2811"],              "port 2811 is open at 0.0.0.0:2811 only"),
            ("10.77.0.100", &["10.77.0.21:2811", "[fd77::21]:2811"], "is open at 10.77.0.21:2811, [fd77::21]:2811 only"),
        ];
        for (vip, at, expected) in table {
            let at: Vec<Listener> = at.iter().map(|one| one.parse().unwrap()).collect();
            let finding = judge(vip.parse().unwrap(), 2811, &at, &Settings::default());
            assert_eq!(finding.cure == Cure::Fit, expected.is_empty(), "{finding:?}");
            assert!(finding.text.contains(expected), "{finding:?}");
        }
    }
}
