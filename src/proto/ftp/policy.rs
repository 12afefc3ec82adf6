//! What the configuration says about data connections, in its own words.
use std::fmt;
use std::str::FromStr;

/// Who carries the bytes of a data connection (`data_path`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DataPath {
    /// Chosen by the door from what the client turns out to be.
    #[default]
    Auto,
    /// Straight between client and real server, at the server's own address.
    Direct,
    /// The balancer's kernel, from client to server, by Direct Routing.
    Kernel,
    /// The door itself, on a port of the virtual address.
    Relay,
}

/// Why a data connection takes the path that it takes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PathReason {
    /// `data_path` says so.
    #[default]
    Configured,
    /// The client speaks GridFTP: it follows an announced address.
    GlobusClient,
    /// The client does not: it would go to the door whatever address is announced.
    OtherClient,
    /// The server takes data connections only from where the control connection comes from.
    PeerChecked,
    /// PROT P, and the door is the TLS server.
    TlsToClient,
    /// The real server wants TLS, which the client does not speak with it.
    TlsToServer,
    /// The address that the client has named is a port of the door itself, which a real server may not reach.
    OwnRelayNamed,
    /// The kernel was to carry it and does not: `gridfront status` says why.
    NoKernelPath,
    /// TYPE A is in force, so a listing comes, whose lines some servers end well only for a TYPE that the door sees to.
    Text,
}

/// Which addresses a session may name in PORT, EPRT and SPOR besides its own (`foreign_data_addresses`).
///
/// Naming somebody else's is how third-party transfers work, and also how an FTP server is made to attack
/// others (RFC 2577 section 3, "bounce").
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ForeignDataAddresses {
    /// The client's own address and `trusted_networks`.
    Deny,
    /// Besides, the data addresses of every configured real server; and any address for a session that
    /// logged in as a user rather than anonymously.
    #[default]
    ThirdParty,
    /// Any address.
    Allow,
}

/// A word that is none of those a key takes.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{word}` is not one of {choices}")]
pub struct UnknownWord {
    /// What was written.
    pub word: String,
    /// What may be written.
    pub choices: &'static str,
}

impl FromStr for DataPath {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "auto" => Ok(Self::Auto),
            "direct" => Ok(Self::Direct),
            "kernel" => Ok(Self::Kernel),
            "relay" => Ok(Self::Relay),
            _ => Err(UnknownWord { word: word.into(), choices: "auto, direct, kernel, relay" }),
        }
    }
}

impl DataPath {
    /// The word of the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Direct => "direct",
            Self::Kernel => "kernel",
            Self::Relay => "relay",
        }
    }
}

impl fmt::Display for DataPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl PathReason {
    /// Words for the log.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::GlobusClient => "the client follows announced addresses",
            Self::OtherClient => "the client may not follow announced addresses",
            Self::PeerChecked => "the server checks its data peer",
            Self::TlsToClient => "TLS with the client",
            Self::TlsToServer => "TLS with the server",
            Self::OwnRelayNamed => "the named address is a relay port of the door",
            Self::NoKernelPath => "no kernel path",
            Self::Text => "TYPE A",
        }
    }
}

impl fmt::Display for PathReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

impl FromStr for ForeignDataAddresses {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "deny" => Ok(Self::Deny),
            "third-party" => Ok(Self::ThirdParty),
            "allow" => Ok(Self::Allow),
            _ => Err(UnknownWord { word: word.into(), choices: "deny, third-party, allow" }),
        }
    }
}

impl fmt::Display for ForeignDataAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deny => "deny",
            Self::ThirdParty => "third-party",
            Self::Allow => "allow",
        })
    }
}
