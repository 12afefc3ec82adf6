//! One row of the list, read.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use crate::support::certificates::HostCertificates;
use crate::support::door::{DIRECT_PORT, RELAYED_PORT, RELAYED_STRIPED_PORT, STRIPED_PORT};
use crate::support::grid::{EXTENDED_PORT, PORT, Security};
use crate::support::other_servers::{PROFTPD_PORT, PYFTPDLIB_PORT};

/// A client, what it is told to do, and where.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) client: Client,
    pub(super) options: Vec<String>,
    pub(super) family: Family,
    pub(super) operation: Operation,
    pub(super) mode: Mode,
    pub(super) servers: ServerSet,
    pub(super) path: Path,
}

/// The fields of a row that have a fixed set of words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(super) enum $name { $($variant),+ }

        impl FromStr for $name {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    other => Err(format!("{other:?} is none of {:?}", [$($word),+])),
                }
            }
        }

        impl Display for $name {
            fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
                formatter.pad(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

words! { Client { GlobusUrlCopy = "globus-url-copy", GfalCopy = "gfal-copy", GfalLs = "gfal-ls", GfalSum = "gfal-sum",
GfalRm = "gfal-rm", Curl = "curl", Wget = "wget", Lftp = "lftp", Ftplib = "ftplib", Tnftp = "tnftp", Ncftp = "ncftp" } }
words! { Family { V4 = "v4", V6 = "v6" } }
words! { Operation { Get = "get", Put = "put", GetTree = "get-tree", PutTree = "put-tree", List = "list", Sum = "sum", Remove = "remove",
GetRest = "get-rest", PutRest = "put-rest",
ThirdParty = "third-party", ThirdPartyFrom = "third-party-from", ThirdPartyTo = "third-party-to" } }
words! { Mode { Anonymous = "anon", GsiShared = "gsi-shared", GsiOwn = "gsi-own", EndedShared = "ended-shared",
EndedOwn = "ended-own" } }
words! { ServerSet { Three = "three", Extended = "extended", Striped = "striped", Direct = "direct", Relayed = "relayed",
RelayedStriped = "relayed-striped", ProFtpd = "proftpd", Pyftpdlib = "pyftpdlib", ToProFtpd = "to-proftpd" } }
words! {
    /// Who carries the file data of a row's transfers.
    Path { Direct = "direct", Relay = "relay" }
}

impl Mode {
    pub(super) const ALL: [Self; 5] =
        [Self::Anonymous, Self::GsiShared, Self::GsiOwn, Self::EndedShared, Self::EndedOwn];

    pub(super) fn security(self) -> Security {
        match self {
            Self::Anonymous => Security::Anonymous,
            Self::GsiShared | Self::EndedShared => Security::Gsi(HostCertificates::Shared),
            Self::GsiOwn | Self::EndedOwn => Security::Gsi(HostCertificates::Own),
        }
    }

    /// Whether GSI ends at the door.
    pub(super) fn ends_gsi(self) -> bool {
        matches!(self, Self::EndedShared | Self::EndedOwn)
    }

    /// Whether the door reads what the client says.
    pub(super) fn is_readable(self) -> bool {
        self == Self::Anonymous || self.ends_gsi()
    }
}

impl Client {
    /// Whether it knows that it talks to a GridFTP server.
    pub(super) fn is_globus(self) -> bool {
        matches!(self, Self::GlobusUrlCopy | Self::GfalCopy | Self::GfalLs | Self::GfalSum | Self::GfalRm)
    }

    /// gfal 2.21 corrupts its own heap now and then, also without a door: `free(): invalid pointer`, `munmap_chunk(): invalid pointer`.
    pub(super) fn crashes_by_itself(self) -> bool {
        matches!(self, Self::GfalCopy | Self::GfalLs | Self::GfalSum | Self::GfalRm)
    }
}

impl ServerSet {
    /// Its virtual server in the door's configuration.
    pub(super) fn virtual_server(self) -> &'static str {
        match self {
            Self::Three | Self::ToProFtpd => "gridftp",
            Self::Extended => "extended",
            Self::Striped => "striped",
            Self::Direct => "direct",
            Self::Relayed => "relayed",
            Self::RelayedStriped => "relayed-striped",
            Self::ProFtpd => "proftpd",
            Self::Pyftpdlib => "pyftpdlib",
        }
    }

    /// Where it is served: the ports at the door and at a real server itself.
    pub(super) fn ports(self) -> [u16; 2] {
        match self {
            Self::Three | Self::ToProFtpd => [PORT, PORT],
            Self::Extended => [EXTENDED_PORT, EXTENDED_PORT],
            Self::Striped => [STRIPED_PORT, PORT],
            Self::Direct => [DIRECT_PORT, PORT],
            Self::Relayed => [RELAYED_PORT, PORT],
            Self::RelayedStriped => [RELAYED_STRIPED_PORT, PORT],
            Self::ProFtpd => [PROFTPD_PORT, PROFTPD_PORT],
            Self::Pyftpdlib => [PYFTPDLIB_PORT, PYFTPDLIB_PORT],
        }
    }

    /// Whose virtual server a third-party transfer writes to.
    pub(super) fn destination(self) -> Self {
        if self == Self::ToProFtpd { Self::ProFtpd } else { self }
    }

    /// The role of the real servers that a client without the door goes to.
    pub(super) fn role(self) -> &'static str {
        if matches!(self, Self::Striped | Self::RelayedStriped) { "front" } else { "s1" }
    }

    /// Whether the data comes from, or goes to, a globus-gridftp-server alone.
    pub(super) fn is_globus(self) -> bool {
        !matches!(self, Self::ProFtpd | Self::Pyftpdlib)
    }
}

impl Operation {
    /// Whether file data flows, so that the door's share of it can be judged.
    pub(super) fn moves_data(self) -> bool {
        !matches!(self, Self::List | Self::Sum | Self::Remove)
    }

    /// Whether half of the copy is there already.
    pub(super) fn is_rest(self) -> bool {
        matches!(self, Self::GetRest | Self::PutRest)
    }

    /// Whether the client's own files are one end.
    pub(super) fn is_two_party(self) -> bool {
        matches!(self, Self::Get | Self::GetTree | Self::GetRest | Self::Put | Self::PutTree | Self::PutRest)
    }
}

impl Row {
    /// Rows that no server gets right without the door; `matrix.txt` says why.
    pub(super) fn fails_without_door(&self) -> bool {
        match self.client {
            Client::Curl => self.servers.is_globus(),
            Client::Ftplib => self.servers.is_globus() && self.operation == Operation::List,
            Client::Lftp if self.operation.is_two_party() => {
                self.servers.is_globus() && self.operation == Operation::GetTree
            }
            Client::Lftp => self.servers == ServerSet::ProFtpd,
            _ => false,
        }
    }
}

impl FromStr for Row {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [id, client, options, family, operation, mode, servers, path] = fields[..] else {
            return Err(format!("{line:?} has {} fields, not 8", fields.len()));
        };
        let options = if options == "-" { "" } else { options };
        Ok(Self {
            id: id.to_owned(),
            client: client.parse()?,
            options: options.split_whitespace().map(str::to_owned).collect(),
            family: family.parse()?,
            operation: operation.parse()?,
            mode: mode.parse()?,
            servers: servers.parse()?,
            path: path.parse()?,
        })
    }
}

/// Every row of the committed list.
///
/// # Panics
/// When a line is malformed or an id occurs twice.
pub(super) fn all() -> Vec<Row> {
    let rows: Vec<Row> = include_str!("../matrix.txt")
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| line.parse().unwrap_or_else(|why| panic!("integration/matrix.txt: {why}")))
        .collect();
    for (index, row) in rows.iter().enumerate() {
        assert!(
            rows[..index].iter().all(|other| other.id != row.id),
            "integration/matrix.txt: {} twice",
            row.id
        );
    }
    rows
}
