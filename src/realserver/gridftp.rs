//! What the GridFTP server of this host will announce for data connections, by its configuration (globus-gridftp-server(8)). Pure.
use std::net::IpAddr;

use super::plan::{Cure, Finding};

/// Where clients of GridFTP come.
pub const PORT: u16 = 2811;

/// A file as it was read.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Its name.
    pub path: String,
    /// Of the service: `NAME=value` of a shell, in place of `name value`.
    pub is_environment: bool,
    /// What is in it.
    pub text: String,
}

/// What the server has set, the last one of each name: key, value, file and line.
#[derive(Clone, Debug, Default)]
pub struct Settings(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    key: String,
    value: String,
    place: String,
}

/// Whom the server tells clients to connect to.
#[derive(Clone, Debug)]
pub struct Announced {
    /// As it is set.
    pub name: String,
    /// Where it is set.
    pub from: String,
    /// What that means, if anything.
    pub address: Option<IpAddr>,
}

impl Settings {
    /// What these files say; where several say it, the last one counts.
    #[must_use]
    pub fn of(files: &[ConfigFile]) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        for file in files {
            for (number, line) in file.text.lines().enumerate() {
                let Some((key, value)) = parse(line, file.is_environment) else { continue };
                entries.retain(|entry| entry.key != key);
                entries.push(Entry { key, value, place: format!("{}:{}", file.path, number + 1) });
            }
        }
        Self(entries)
    }

    /// Whether nothing is set, or nothing installed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.entry(&["port"]).and_then(|entry| entry.value.parse().ok()).unwrap_or(PORT)
    }

    /// The line that keeps it from listening on every address: what, and where.
    #[must_use]
    pub fn bound_to(&self) -> Option<(String, &str)> {
        let entry = self.entry(&["control_interface"])?;
        Some((format!("control_interface {}", entry.value), &entry.place))
    }

    /// The address or name that it was told to announce, and where.
    #[must_use]
    pub fn announced(&self) -> Option<(String, String)> {
        let entry = self.entry(&["data_interface", "hostname", "$GLOBUS_HOSTNAME"])?;
        let key = entry.key.trim_start_matches('$');
        Some((entry.value.clone(), format!("{key} in {}", entry.place)))
    }

    /// What clients will be told.
    #[must_use]
    pub fn findings(&self, announced: &Announced) -> Vec<Finding> {
        vec![judge(announced), self.ports()]
    }

    fn ports(&self) -> Finding {
        let Some(entry) = self.entry(&["port_range", "$GLOBUS_TCP_PORT_RANGE"]) else {
            let text = "data ports: any that is free, for there is no GLOBUS_TCP_PORT_RANGE; the firewall has to let all in";
            return Finding { text: text.into(), cure: Cure::Note };
        };
        let key = entry.key.trim_start_matches('$');
        let mut ends = entry.value.split([',', ' ', '-']).filter(|word| !word.is_empty());
        let range = (ends.next().map(str::parse::<u16>), ends.next().map(str::parse::<u16>), ends.next());
        match range {
            (Some(Ok(first)), Some(Ok(last)), None) if (1..=last).contains(&first) => {
                Finding::fit(format!("data ports: {first}-{last} ({key} in {})", entry.place))
            }
            _ => Finding::by_hand(
                format!("{}: {key} {} is no range of ports", entry.place, entry.value),
                "write the first and the last one: 50000,50999",
            ),
        }
    }

    fn entry(&self, keys: &[&str]) -> Option<&Entry> {
        keys.iter().find_map(|key| self.0.iter().find(|entry| entry.key == *key))
    }
}

fn judge(announced: &Announced) -> Finding {
    let Announced { name, from, address } = announced;
    let text = format!("data connections: clients are told {name} ({from})");
    let mend = "write data_interface with an address that clients reach into /etc/gridftp.conf";
    match address {
        None => Finding::by_hand(format!("{text}, which has no address of IPv4"), mend),
        Some(address) if address.is_loopback() || address.is_unspecified() => {
            Finding::by_hand(format!("{text}, which is {address}"), mend)
        }
        Some(address) if address.to_string() == *name => Finding::fit(text),
        Some(address) => Finding::fit(format!("{text}, which is {address}")),
    }
}

/// Key and value of a line. Variables of the environment, which either form can set, begin with `$`.
fn parse(line: &str, is_environment: bool) -> Option<(String, String)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let (key, value) = if is_environment {
        let (key, value) = line.strip_prefix("export ").unwrap_or(line).trim().split_once('=')?;
        (format!("${key}"), value)
    } else {
        let (key, value) = line.split_once(char::is_whitespace)?;
        (key.to_owned(), value)
    };
    let value = value.trim();
    let value = value.strip_prefix(['"', '\'']).map_or(value, |inner| inner.trim_end_matches(['"', '\'']));
    Some((key, value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and texts.
    type Files = &'static [(&'static str, &'static str)];

    fn settings(files: &[(&str, &str)]) -> Settings {
        let file = |(path, text): &(&str, &str)| ConfigFile {
            path: (*path).to_owned(),
            is_environment: path.starts_with("default"),
            text: (*text).to_owned(),
        };
        Settings::of(&files.iter().map(file).collect::<Vec<_>>())
    }

    #[test]
    fn the_range_of_ports_is_found_wherever_it_is_set() {
        #[rustfmt::skip]
        let table: &[(Files, &str, bool)] = &[
            (&[("gridftp.conf", "port 2811\n$GLOBUS_TCP_PORT_RANGE 50000,50999")], "data ports: 50000-50999 (GLOBUS_TCP_PORT_RANGE in gridftp.conf:2)", false),
            (&[("gridftp.conf", "$GLOBUS_TCP_PORT_RANGE \"50000 50999\"")],        "data ports: 50000-50999 (GLOBUS_TCP_PORT_RANGE in gridftp.conf:1)", false),
            (&[("default", "export GLOBUS_TCP_PORT_RANGE='50000,50999'")],         "data ports: 50000-50999 (GLOBUS_TCP_PORT_RANGE in default:1)", false),
            (&[("default", "GLOBUS_TCP_PORT_RANGE=1,2"), ("gridftp.conf", "$GLOBUS_TCP_PORT_RANGE 50000,50999")], "data ports: 50000-50999 (GLOBUS_TCP_PORT_RANGE in gridftp.conf:1)", false),
            (&[("gridftp.conf", "# $GLOBUS_TCP_PORT_RANGE 1,2")],                  "data ports: any that is free", false),
            (&[("gridftp.conf", "$GLOBUS_TCP_PORT_RANGE 50000")],                  "gridftp.conf:1: GLOBUS_TCP_PORT_RANGE 50000 is no range of ports", true),
            (&[("gridftp.conf", "$GLOBUS_TCP_PORT_RANGE 50999,50000")],            "is no range of ports", true),
            (&[("gridftp.conf", "port_range 0,70000")],                            "gridftp.conf:1: port_range 0,70000 is no range of ports", true),
        ];
        for (files, expected, is_wrong) in table {
            let finding = settings(files).ports();
            assert!(finding.text.contains(expected), "{finding:?}");
            assert_eq!(finding.is_wrong(), *is_wrong, "{finding:?}");
        }
    }

    #[test]
    fn an_address_that_no_client_reaches_is_wrong() {
        let table = [
            (
                "10.77.0.21",
                Some("10.77.0.21"),
                "are told 10.77.0.21 (data_interface in gridftp.conf:1)",
                false,
            ),
            ("s1.example.org", Some("127.0.1.1"), "which is 127.0.1.1", true),
            ("0.0.0.0", Some("0.0.0.0"), "which is 0.0.0.0", true),
            (
                "s1.example.org",
                Some("192.0.2.11"),
                "(data_interface in gridftp.conf:1), which is 192.0.2.11",
                false,
            ),
            ("s1.example.org", None, "which has no address", true),
        ];
        for (name, address, expected, is_wrong) in table {
            let settings = settings(&[("gridftp.conf", &format!("data_interface {name}\nhostname other"))]);
            let (name, from) = settings.announced().unwrap();
            let address = address.map(|address| address.parse().unwrap());
            let finding = judge(&Announced { name, from, address });
            assert!(finding.text.contains(expected), "{finding:?}");
            assert_eq!(finding.is_wrong(), is_wrong, "{finding:?}");
        }
    }
}
