//! One row of the list, read.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use crate::support::certificates::HostCertificates;
use crate::support::grid::Security;

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
Curl = "curl", Wget = "wget", Lftp = "lftp" } }
words! { Family { V4 = "v4", V6 = "v6" } }
words! { Operation { Get = "get", Put = "put", GetTree = "get-tree", PutTree = "put-tree", List = "list", Sum = "sum",
ThirdParty = "third-party", ThirdPartyFrom = "third-party-from", ThirdPartyTo = "third-party-to" } }
words! { Mode { Anonymous = "anon", GsiShared = "gsi-shared", GsiOwn = "gsi-own" } }
words! { ServerSet { Three = "three", Extended = "extended", Striped = "striped" } }

impl Mode {
    pub(super) const ALL: [Self; 3] = [Self::Anonymous, Self::GsiShared, Self::GsiOwn];

    pub(super) fn security(self) -> Security {
        match self {
            Self::Anonymous => Security::Anonymous,
            Self::GsiShared => Security::Gsi(HostCertificates::Shared),
            Self::GsiOwn => Security::Gsi(HostCertificates::Own),
        }
    }
}

impl Client {
    /// gfal 2.21 corrupts its own heap now and then, also without a door: `free(): invalid pointer`, `munmap_chunk(): invalid pointer`.
    pub(super) fn crashes_by_itself(self) -> bool {
        matches!(self, Self::GfalCopy | Self::GfalLs | Self::GfalSum)
    }
}

impl ServerSet {
    /// Its virtual server in the door's configuration.
    pub(super) fn virtual_server(self) -> &'static str {
        match self {
            Self::Three => "gridftp",
            Self::Extended => "extended",
            Self::Striped => "striped",
        }
    }
}

impl Operation {
    /// Whether file data flows, so that the door's share of it can be judged.
    pub(super) fn moves_data(self) -> bool {
        !matches!(self, Self::List | Self::Sum)
    }
}

impl FromStr for Row {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [id, client, options, family, operation, mode, servers] = fields[..] else {
            return Err(format!("{line:?} has {} fields, not 7", fields.len()));
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
