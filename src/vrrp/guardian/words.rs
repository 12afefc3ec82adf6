//! The lines of the pipe between the daemon and its guardian.
use std::fmt::{self, Write as _};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::vrrp::parent_setting::ParentSetting;

/// One line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::vrrp) enum Word {
    /// The address is ours, on the interface with this index.
    Own(u32, IpNet),
    /// It is not any more.
    Disown(u32, IpNet),
    /// What is to be said when all is over, by the virtual router of this number, besides what it has said so far.
    Say(u32, LastWords),
    /// That one has nothing to say.
    Hush(u32),
    /// A kernel setting is ours, and what it was before.
    Set(ParentSetting),
    /// Those of the interface with this index are not any more.
    Unset(u32),
    /// Everything that was said so far.
    Forget,
}

/// A packet that says priority 0.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::vrrp) struct LastWords {
    /// By this interface.
    pub(in crate::vrrp) interface: u32,
    /// Its sender.
    pub(in crate::vrrp) source: IpAddr,
    /// To each of these what stands behind the IP header; over IPv4 the checksum may know the destination.
    pub(in crate::vrrp) packets: Vec<(IpAddr, Vec<u8>)>,
}

impl LastWords {
    /// One a destination: a line of the pipe has a limit.
    pub(in crate::vrrp) fn each(&self) -> impl Iterator<Item = Self> {
        self.packets.iter().map(|packet| Self { packets: vec![packet.clone()], ..*self })
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(interface, address) => writeln!(f, "own {interface} {address}"),
            Self::Disown(interface, address) => writeln!(f, "disown {interface} {address}"),
            Self::Hush(router) => writeln!(f, "hush {router}"),
            Self::Set(setting) => writeln!(f, "set {setting}"),
            Self::Unset(parent) => writeln!(f, "unset {parent}"),
            Self::Forget => writeln!(f, "forget 0"),
            Self::Say(router, LastWords { interface, source, packets }) => {
                write!(f, "say {router} {interface} {source}")?;
                for (destination, payload) in packets {
                    write!(f, " {destination} ")?;
                    payload.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                }
                f.write_char('\n')
            }
        }
    }
}

impl Word {
    /// Without its end of line.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (verb, number) = (words.next()?, words.next()?.parse().ok()?);
        let word = match verb {
            "own" => Self::Own(number, words.next()?.parse().ok()?),
            "disown" => Self::Disown(number, words.next()?.parse().ok()?),
            "hush" => Self::Hush(number),
            "set" => Self::Set(ParentSetting::parse(number, &mut words)?),
            "unset" => Self::Unset(number),
            "forget" => Self::Forget,
            "say" => {
                let interface = words.next()?.parse().ok()?;
                let source = words.next()?.parse().ok()?;
                let mut packets = Vec::new();
                while let Some(destination) = words.next() {
                    packets.push((destination.parse().ok()?, bytes(words.next()?)?));
                }
                Self::Say(number, LastWords { interface, source, packets })
            }
            _ => return None,
        };
        words.next().is_none().then_some(word)
    }
}

fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    let pairs = hexadecimal.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok().filter(|_| pair.len() == 2))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_written_is_read_and_no_other() {
        let say = LastWords {
            interface: 3,
            source: "192.0.2.1".parse().unwrap(),
            packets: vec![
                ("192.0.2.2".parse().unwrap(), vec![0x31, 0, 0xff]),
                ("192.0.2.3".parse().unwrap(), vec![0x31, 0, 0xfe]),
            ],
        };
        for word in [
            Word::Own(2, "192.0.2.10/24".parse().unwrap()),
            Word::Disown(2, "2001:db8::10/64".parse().unwrap()),
            Word::Say(7, say.clone()),
            Word::Say(7, LastWords { packets: Vec::new(), ..say }),
            Word::Hush(7),
            Word::Set(ParentSetting {
                parent: 2,
                name: "eth0.100".into(),
                setting: crate::sys::sysctl::OF_ITS_PARENT[1],
                before: 0,
            }),
            Word::Unset(2),
            Word::Forget,
        ] {
            let line = word.to_string();
            assert_eq!(line.strip_suffix('\n').and_then(Word::parse), Some(word), "{line}");
        }
        for line in [
            "",
            "own",
            "own 2",
            "own x 192.0.2.10/24",
            "own 2 192.0.2.10/33",
            "hush 2 3",
            "set 2 eth0 forwarding 0",
            "set 2 eth0 arp_ignore",
            "say 1 2 ::1 ::2",
            "say 1 2 ::1 ::2 0g",
        ] {
            assert_eq!(Word::parse(line), None, "{line}");
        }
    }
}
