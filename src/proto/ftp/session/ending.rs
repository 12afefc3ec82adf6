//! How a session ends, what the client is told, and whose fault it is.

/// Why a session is over. A new one goes into [`Ending::ALL`] and docs/metrics.md, too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// The client closed its side.
    ClientClosed,
    /// The client's connection broke.
    ClientLost,
    /// The real server said goodbye (after QUIT, or with a 421 of its own) and closed.
    Goodbye,
    /// The real server closed or its connection broke without a word.
    ServerLost,
    /// The real server closed at a command that makes some servers close: ABOR in a transfer, an empty line.
    ClosedByCommand,
    /// Not logged in within `login_timeout`.
    LoginTimeout,
    /// Nothing happened for `idle_timeout`.
    IdleTimeout,
    /// The client took none of the bytes that wait for it for `idle_timeout`.
    ClientStalled,
    /// The same of the real server.
    ServerStalled,
    /// The real server does not answer what the door has asked it for the client's transfer.
    ServerSilent,
    /// The door or the real server is being drained.
    Draining,
    /// The deadline of its real server's drain has come.
    DrainDeadline,
    /// The door ends at once.
    Shutdown,
    /// A command line that is longer than it may be.
    CommandTooLong,
    /// A long command line with bytes inside that servers read in different ways.
    UnclearCommand,
    /// A reply line that is longer than it may be.
    ReplyTooLong,
    /// The client began with TLS.
    TlsHello,
    /// The TLS handshake with the client did not come to its end.
    HandshakeFailed,
    /// The client began with a PROXY protocol header, and is none of those that may.
    ProxyHeader,
    /// Too many logins of this client have failed.
    Banned,
}

/// Who has to mend it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Nobody: the session ended as it should.
    Nobody,
    /// The client.
    Client,
    /// The real server.
    RealServer,
    /// Whoever has put a proxy in front of the door and not told the door, unless somebody claims to be another.
    Administrator,
}

impl Ending {
    /// Every one, in the order of their numbers; whoever counts them goes by it.
    pub const ALL: [Self; 20] = [
        Self::ClientClosed,
        Self::ClientLost,
        Self::Goodbye,
        Self::ServerLost,
        Self::ClosedByCommand,
        Self::LoginTimeout,
        Self::IdleTimeout,
        Self::ClientStalled,
        Self::ServerStalled,
        Self::ServerSilent,
        Self::Draining,
        Self::DrainDeadline,
        Self::Shutdown,
        Self::CommandTooLong,
        Self::UnclearCommand,
        Self::ReplyTooLong,
        Self::TlsHello,
        Self::HandshakeFailed,
        Self::ProxyHeader,
        Self::Banned,
    ];

    /// The reply that tells the client, with its CR LF; empty where there is nobody to tell or all is said.
    #[must_use]
    pub fn reply(self) -> &'static str {
        match self {
            Self::ClientClosed
            | Self::ClientLost
            | Self::Goodbye
            | Self::ClientStalled
            | Self::HandshakeFailed => "",
            Self::ServerSilent => "421 Service not available: the server does not answer.\r\n",
            Self::ServerStalled => "421 Service not available: the server takes no more commands.\r\n",
            Self::ServerLost | Self::ClosedByCommand => {
                "421 Service not available: the server closed the control connection.\r\n"
            }
            Self::LoginTimeout => "421 Login time-out: closing control connection.\r\n",
            Self::IdleTimeout => "421 Idle time-out: closing control connection.\r\n",
            Self::Draining | Self::DrainDeadline => {
                "421 Service closing for maintenance: please connect again.\r\n"
            }
            Self::Shutdown => "421 Service shutting down: please connect again later.\r\n",
            Self::UnclearCommand => {
                "501 CR, LF or a telnet command inside a command: closing control connection.\r\n"
            }
            Self::CommandTooLong => "500 Command line too long: closing control connection.\r\n",
            Self::ReplyTooLong => "421 Service not available: the server's reply has no end.\r\n",
            Self::TlsHello => {
                "500 This port speaks FTP, not TLS: connect in the clear and send AUTH; closing control connection.\r\n"
            }
            // As whoever comes again is told: nothing about how many tries there are, or for how long there are none.
            Self::Banned => "421 Service not available: please try again later.\r\n",
            Self::ProxyHeader => {
                "500 This address may not send a PROXY protocol header: closing control connection.\r\n"
            }
        }
    }

    /// A word for the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ClientClosed => "client closed",
            Self::ClientLost => "client connection lost",
            Self::Goodbye => "goodbye",
            Self::ServerLost => "real server closed",
            Self::ClosedByCommand => "real server closed at ABOR or an empty line",
            Self::LoginTimeout => "login time-out",
            Self::IdleTimeout => "idle time-out",
            Self::ClientStalled => "client stopped reading",
            Self::ServerStalled => "real server stopped reading",
            Self::ServerSilent => "real server stopped answering",
            Self::Draining => "drained",
            Self::DrainDeadline => "deadline of the drain",
            Self::Shutdown => "shutdown",
            Self::CommandTooLong => "command too long",
            Self::UnclearCommand => "unclear command",
            Self::ReplyTooLong => "reply too long",
            Self::TlsHello => "TLS instead of FTP",
            Self::HandshakeFailed => "TLS handshake failed",
            Self::Banned => "too many failed logins",
            Self::ProxyHeader => "a PROXY protocol header from an address outside of proxy_protocol_from",
        }
    }

    /// Who has to mend it; decides the log level.
    #[must_use]
    pub fn fault(self) -> Fault {
        match self {
            Self::ServerLost | Self::ServerStalled | Self::ServerSilent | Self::ReplyTooLong => {
                Fault::RealServer
            }
            Self::ClosedByCommand
            | Self::CommandTooLong
            | Self::UnclearCommand
            | Self::TlsHello
            | Self::HandshakeFailed
            | Self::LoginTimeout
            | Self::Banned
            | Self::ClientStalled => Fault::Client,
            Self::ProxyHeader => Fault::Administrator,
            _ => Fault::Nobody,
        }
    }
}
