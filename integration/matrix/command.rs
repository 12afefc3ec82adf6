//! The command line of each client for a row: the Globus family here, the others in [`super::ordinary`].

use std::net::IpAddr;
use std::path::Path;

use super::row::{Client, Family, Mode, Operation, Row, ServerSet};
use crate::support::grid::{Site, VIRTUAL_NAME, name_of, path_text};

/// A control connection's far end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
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
            Client::GfalLs | Client::GfalRm => {
                [vec![client], plugin_settings(row), vec![self.url(row, first, &places.source)]].concat()
            }
            Client::GfalSum => [
                vec![client],
                plugin_settings(row),
                vec![self.url(row, first, &places.source), "ADLER32".to_owned()],
            ]
            .concat(),
            _ => self.ordinary(row, places),
        }
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

    pub(super) fn first_end(&self, row: &Row) -> End {
        match row.operation {
            _ if self.without_door => End::Server(row.servers.role()),
            Operation::ThirdPartyTo => End::Server("s1"),
            _ => End::Door,
        }
    }

    pub(super) fn second_end(&self, row: &Row) -> End {
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
        format!("{scheme}://{}{path}", self.authority(row, end, row.servers))
    }

    pub(super) fn authority(&self, row: &Row, end: End, servers: ServerSet) -> String {
        let (role, port) = Self::place(end, servers);
        match row.mode {
            Mode::Anonymous if row.family == Family::V6 => format!("[{}]:{port}", self.address(row, role)),
            Mode::Anonymous => format!("{}:{port}", self.address(row, role)),
            // A certificate names hosts, not addresses; clients with -ipv6 choose the v6 address of the name.
            _ if role == "door" => format!("{VIRTUAL_NAME}:{port}"),
            _ => format!("{}:{port}", name_of(role)),
        }
    }

    /// The role of a machine, and a port there.
    pub(super) fn place(end: End, servers: ServerSet) -> (&'static str, u16) {
        let [at_door, at_server] = servers.ports();
        match end {
            End::Door => ("door", at_door),
            End::Server(role) => (role, at_server),
        }
    }

    pub(super) fn address(&self, row: &Row, role: &str) -> IpAddr {
        let machine = self.site.machine(role);
        match row.family {
            Family::V4 => machine.v4().into(),
            Family::V6 => machine.v6().into(),
        }
    }

    pub(super) fn client_file(&self, path: &str) -> String {
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
