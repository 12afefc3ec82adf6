//! How health is found out: `[virtual_server.check]` and `[virtual_server.real_server.check]`.
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How health is found out, in keepalived's words.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What is asked of the server.
    pub kind: CheckKind,
    /// From one check to the next.
    pub delay_loop: Duration,
    /// For the connection; the greeting has `greeting_timeout`.
    pub connect_timeout: Duration,
    /// For all of it, from the connection or the script's start to the verdict.
    pub max_time: Duration,
    /// Further tries after a failed check before the server counts as down.
    pub retry: u32,
    /// From a failed check to the next try.
    pub delay_before_retry: Duration,
    /// Passed checks in a row until a server that was down counts as up, at least 1.
    pub rise: u32,
}

/// What a check asks of a server (`check.type`).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum CheckKind {
    /// That it accepts a connection.
    Tcp,
    /// That it greets with 220.
    #[default]
    Ftp,
    /// That it lets this user in.
    Login(Account),
    /// That this user gets this file, whole, through a data connection.
    Transfer(Account, SampleFile),
    /// What a program of the site's says.
    Script(Script),
    /// That it takes a GSI handshake, and with which certificate.
    Gsi(GsiCheck),
}

/// A GSI handshake that is tried.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GsiCheck {
    /// A robot's certificate, key and chain in one PEM file; the door's own credential when not set.
    pub credential: Option<PathBuf>,
    /// The name that clients use, which the server's certificate is to carry; one of the door's own when not set.
    pub virtual_name: Option<String>,
}

/// Who logs in.
#[derive(Clone, Eq, PartialEq)]
pub struct Account {
    /// As in USER.
    pub user: String,
    /// As in PASS.
    pub password: String,
}

/// A file that is fetched to see whether files arrive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SampleFile {
    /// As in RETR.
    pub path: String,
    /// How many bytes it has; what the server says (SIZE) when not set.
    pub size: Option<u64>,
    /// Its Adler-32, as `gfal-sum` prints it.
    pub adler32: Option<u32>,
}

/// A program that judges a server, as keepalived's MISC_CHECK.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Script {
    /// Absolute.
    pub program: PathBuf,
    /// Without the program; no shell reads them.
    pub arguments: Vec<String>,
    /// Whether an exit code from 2 on is a weight, and no failure.
    pub misc_dynamic: bool,
}

impl CheckKind {
    /// Its word in the configuration.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Ftp => "ftp",
            Self::Login(_) => "login",
            Self::Transfer(..) => "transfer",
            Self::Script(_) => "script",
            Self::Gsi(_) => "gsi",
        }
    }
}

impl Default for Account {
    /// The customary guest; the password is by custom who asks.
    fn default() -> Self {
        Self { user: "anonymous".into(), password: "check@gridfront".into() }
    }
}

/// A password is in no log.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Default for Check {
    fn default() -> Self {
        Self {
            kind: CheckKind::default(),
            delay_loop: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            max_time: Duration::from_secs(20),
            retry: 3,
            delay_before_retry: Duration::from_secs(1),
            rise: 1,
        }
    }
}

impl Check {
    /// Failed checks in a row until a server counts as down: the first and its retries.
    #[must_use]
    pub fn fall(&self) -> u32 {
        self.retry.saturating_add(1)
    }
}
