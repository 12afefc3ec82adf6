//! The command line of each client for a row.

use std::path::Path;

use super::row::{Client, Family, Mode, Operation, Row, ServerSet};
use crate::support::door::STRIPED_PORT;
use crate::support::grid::{EXTENDED_PORT, PORT, Site, VIRTUAL_NAME, name_of, path_text};

/// A control connection's far end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Door,
    /// A real server by its role, without the door.
    Server(&'static str),
}

/// The two places that a row copies between. Listings and sums have no destination.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Below the servers' data directory, or the client's.
    pub(super) source: String,
    pub(super) destination: String,
}

/// Writes command lines for one site.
#[derive(Clone, Copy, Debug)]
pub(super) struct Commands<'a> {
    pub(super) site: &'a Site,
    /// No door: the client goes to the real server itself. It proves the rows, and shows what the door has to equal.
    pub(super) without_door: bool,
}

impl Commands<'_> {
    /// The whole command line of a row.
    pub(super) fn words(&self, row: &Row, places: &Places) -> Vec<String> {
        let client = row.client.to_string();
        let first = self.first_end(row);
        match row.client {
            Client::GlobusUrlCopy if row.operation == Operation::List => {
                [vec![client, "-list".to_owned()], vec![self.url(row, first, &places.source) + "/"]].concat()
            }
            Client::GlobusUrlCopy => {
                let tree = matches!(row.operation, Operation::GetTree | Operation::PutTree);
                // -cd: make the destination's directories.
                let create = tree.then(|| "-cd".to_owned());
                let [from, to] = self.both(row, places).map(|url| if tree { url + "/" } else { url });
                [client].into_iter().chain(row.options.clone()).chain(create).chain([from, to]).collect()
            }
            Client::GfalCopy => {
                let [from, to] = self.both(row, places);
                [vec![client, "-f".to_owned()], plugin_settings(row), vec![from, to]].concat()
            }
            Client::GfalLs => {
                [vec![client], plugin_settings(row), vec![self.url(row, first, &places.source)]].concat()
            }
            Client::GfalSum => [
                vec![client],
                plugin_settings(row),
                vec![self.url(row, first, &places.source), "ADLER32".to_owned()],
            ]
            .concat(),
            Client::Curl => self.curl(row, places),
            Client::Wget => {
                let output = path_text(&self.site.client_directory().join(&places.destination));
                ["wget", "-q", "-t", "1", "-T", "20", "-O", &output]
                    .map(str::to_owned)
                    .into_iter()
                    .chain(row.options.clone())
                    .chain([self.relative_url(row, &places.source)])
                    .collect()
            }
            Client::Lftp => self.lftp(row, places),
        }
    }

    fn curl(&self, row: &Row, places: &Places) -> Vec<String> {
        let mut words: Vec<String> = ["curl", "-sS", "-g", "--connect-timeout", "10"]
            .map(str::to_owned)
            .into_iter()
            .chain(row.options.clone())
            .collect();
        if self.without_door && row.operation != Operation::List {
            // curl sends TYPE I after EPSV, PASV and EPRT, and a Globus server counts the type that was in force then: without this it
            // corrupts binary files by itself. The door mends it.
            words.extend(["-Q".to_owned(), "TYPE I".to_owned()]);
        }
        match row.operation {
            Operation::Put => {
                words.extend(["-T".to_owned(), self.client_file(&places.source)]);
                words.push(self.relative_url(row, &places.destination));
            }
            Operation::List => {
                words.push("--list-only".to_owned());
                words.push(self.relative_url(row, &places.source) + "/");
            }
            _ => {
                words.extend(["-o".to_owned(), self.client_file(&places.destination)]);
                words.push(self.relative_url(row, &places.source));
            }
        }
        words
    }

    fn lftp(&self, row: &Row, places: &Places) -> Vec<String> {
        let mut script = String::from("set net:timeout 10; set net:max-retries 1; set cmd:fail-exit on; ");
        for option in &row.options {
            script += &format!("set ftp:{}; ", option.replace('=', " "));
        }
        script += &format!("open {}; ", self.relative_url(row, ""));
        script += &match row.operation {
            Operation::Put => format!("put {} -o {}", self.client_file(&places.source), places.destination),
            _ => format!("get {} -o {}", places.source, self.client_file(&places.destination)),
        };
        vec!["lftp".to_owned(), "-c".to_owned(), script]
    }

    /// Source and destination as URLs.
    fn both(&self, row: &Row, places: &Places) -> [String; 2] {
        let local = |path: &str| format!("file://{}", self.client_file(path));
        let (first, second) = (self.first_end(row), self.second_end(row));
        match row.operation {
            Operation::Put | Operation::PutTree => {
                [local(&places.source), self.url(row, first, &places.destination)]
            }
            Operation::ThirdParty | Operation::ThirdPartyFrom | Operation::ThirdPartyTo => {
                [self.url(row, first, &places.source), self.url(row, second, &places.destination)]
            }
            _ => [self.url(row, first, &places.source), local(&places.destination)],
        }
    }

    fn first_end(&self, row: &Row) -> End {
        match row.operation {
            _ if self.without_door && row.servers == ServerSet::Striped => End::Server("front"),
            _ if self.without_door => End::Server("s1"),
            Operation::ThirdPartyTo => End::Server("s1"),
            _ => End::Door,
        }
    }

    fn second_end(&self, row: &Row) -> End {
        match row.operation {
            _ if self.without_door => End::Server("s2"),
            Operation::ThirdPartyFrom => End::Server("s2"),
            _ => End::Door,
        }
    }

    /// An absolute URL, as the Globus family writes them.
    fn url(&self, row: &Row, end: End, path: &str) -> String {
        let scheme = if row.mode == Mode::Anonymous { "ftp" } else { "gsiftp" };
        let path = path_text(&self.site.data_directory().join(path));
        format!("{scheme}://{}{path}", self.authority(row, end))
    }

    /// A URL below the login directory, as RFC 1738 has it.
    fn relative_url(&self, row: &Row, path: &str) -> String {
        format!("ftp://{}/{path}", self.authority(row, self.first_end(row)))
    }

    fn authority(&self, row: &Row, end: End) -> String {
        let (role, port) = match (end, row.servers) {
            (End::Door, ServerSet::Striped) => ("door", STRIPED_PORT),
            (End::Door, ServerSet::Extended) => ("door", EXTENDED_PORT),
            (End::Server(role), ServerSet::Extended) => (role, EXTENDED_PORT),
            (End::Door, ServerSet::Three) => ("door", PORT),
            (End::Server(role), _) => (role, PORT),
        };
        let machine = self.site.machine(role);
        match (row.mode, row.family) {
            (Mode::Anonymous, Family::V4) => format!("{}:{port}", machine.v4()),
            (Mode::Anonymous, Family::V6) => format!("[{}]:{port}", machine.v6()),
            // A certificate names hosts, not addresses; clients with -ipv6 choose the v6 address of the name.
            _ if role == "door" => format!("{VIRTUAL_NAME}:{port}"),
            _ => format!("{}:{port}", name_of(role)),
        }
    }

    fn client_file(&self, path: &str) -> String {
        path_text(&self.site.client_directory().join(Path::new(path)))
    }
}

/// gfal2 takes settings of its plugin as `-D "GRIDFTP PLUGIN:NAME=value"`.
fn plugin_settings(row: &Row) -> Vec<String> {
    row.options
        .iter()
        .flat_map(|option| {
            if option.contains('=') {
                vec!["-D".to_owned(), format!("GRIDFTP PLUGIN:{option}")]
            } else {
                vec![option.clone()]
            }
        })
        .collect()
}
