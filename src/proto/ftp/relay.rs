//! What the machine asks of its driver for data connections that cross the door, and what it is told.
//!
//! ```text
//!   PASV, EPSV   Listen{Client} ─▶ Listening ─▶ 227, 229          the server is not asked yet
//!   STOR, …      (PASV to the server, hidden) ─▶ Start ─▶ Connected ─▶ the command goes on
//!   PORT, EPRT   the door answers 200
//!   RETR, …      Listen{Server} ─▶ Listening ─▶ (PORT to the server, hidden) ─▶ Start ─▶ the command goes on
//!   SPAS         (SPAS to the server) ─▶ Listen{Client, ports} ─▶ Listening ─▶ 229 with one port a line
//!   226, 4yz …   Finish; a relay of MODE E stays until Close
//! ```
//!
//! Where the kernel carries them past the door:
//!
//! ```text
//!   PASV, EPSV   (PASV to the server, hidden) ─▶ Expect ─▶ Expected ─▶ 227, 229 with the server's own port
//!   226, …       Close
//! ```
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::bounce::Login;
use super::passive::DataAddresses;
use super::session::SessionPolicy;

/// One data set-up of a session: what one PASV, EPSV, SPAS, PORT, EPRT or SPOR has brought about.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RelayId(pub u32);

/// Who connects to the door.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The client, at the address where its control connection reaches the door (passive mode).
    Client,
    /// The real server, at the door's end of its control connection (active mode).
    Server,
}

/// How many connections a transfer has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Connections {
    /// MODE S and the like: one, and its end is the end of the data.
    One,
    /// MODE E: any number, at any time, kept across transfers.
    Many,
}

/// Where the file goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// From the client to the real server.
    Upload,
    /// From the real server to the client; listings, too.
    Download,
}

/// An order to the driver. Those that are answered are answered with `Session::handle_relay`, in any later call; until
/// then the machine takes nothing from the client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RelayRequest {
    /// Bind as many ports and listen. Who connects before [`RelayRequest::Start`] waits, for it is not known yet who may be
    /// let in. Answered with [`RelayAnswer::Listening`] or
    /// [`RelayAnswer::Failed`].
    Listen {
        /// A new one.
        id: RelayId,
        /// On whose side.
        side: Side,
        /// At least one.
        ports: usize,
    },
    /// A transfer is about to begin: accept, and join each connection to port `i` with one to `targets[i]`.
    ///
    /// With `Connections::One` at the client's side the target is dialled at once, and the answer is
    /// [`RelayAnswer::Connected`] or [`RelayAnswer::Failed`]. Otherwise each accepted connection is followed by a dial,
    /// and there is no answer.
    Start {
        /// One that listens.
        id: RelayId,
        /// As many as there are ports.
        targets: Vec<SocketAddr>,
        /// MODE.
        connections: Connections,
        /// What a missing TLS close means depends on it.
        direction: Direction,
        /// Who may connect.
        peers: Peers,
    },
    /// The transfer's last reply has come. Of [`Connections::One`] nothing is accepted any more, but for a client that comes late
    /// for a file that is complete; what flows may flow to its end if the server said that the transfer is complete or its end of data has come, and is reset otherwise.
    Finish {
        /// One that was started.
        id: RelayId,
        /// A 2yz.
        complete: bool,
    },
    /// The client has asked for another address, or the session has changed hands: as [`RelayRequest::Finish`] for
    /// what still flows, and the ports close. Connections that the kernel carries are not touched; no new one comes in.
    Close {
        /// One that listens, or that was expected.
        id: RelayId,
    },
    /// Have the kernel carry to the real server whoever connects to this port of the address where the client has reached the
    /// door. Answered with [`RelayAnswer::Expected`] or [`RelayAnswer::NotExpected`].
    Expect {
        /// A new one.
        id: RelayId,
        /// The server's.
        port: u16,
        /// Not from the client alone.
        from_anywhere: bool,
    },
}

/// What became of a [`RelayRequest`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RelayAnswer {
    /// The door's own addresses, one a port, in order.
    Listening(Vec<SocketAddr>),
    /// The server has taken the data connection.
    Connected,
    /// It did not work; the text is for the client's 425 and for the log.
    Failed(String),
    /// The kernel carries what comes to this address.
    Expected(SocketAddr),
    /// It does not; the client is served by the door.
    NotExpected(Unexpected),
    /// Unasked: the data connection of an upload broke before its end had been passed on, and this is how.
    Broken(String),
}

/// Why the kernel does not carry a data connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unexpected {
    /// Another server expects somebody at the same port.
    PortTaken,
    /// It would not for any port of this server.
    Closed,
}

/// Who may connect to a relay port.
#[derive(Clone, Debug)]
pub struct Peers {
    /// Whose session it is.
    pub client: IpAddr,
    /// As whom; what an account may name counts only where third parties are to be expected.
    pub login: Login,
    /// PROT P: the client's side is TLS, with the door as its server in either mode. Nobody but the client comes then, for no
    /// real server is a TLS client.
    pub private: bool,
    /// Of the virtual server.
    pub policy: Arc<SessionPolicy>,
    /// Set where the server connects to the door.
    pub server: Option<Arc<ServerData>>,
}

impl Peers {
    /// Whether a connection from this address is let in.
    #[must_use]
    pub fn accepts(&self, peer: IpAddr) -> bool {
        match &self.server {
            None if self.private => peer.to_canonical() == self.client.to_canonical(),
            None => self.policy.bounce.check_peer(self.client, self.login, peer),
            // A striped server connects from its data nodes, which a site names among the trusted where it does not map them.
            Some(server) => {
                let (bounce, peer) = (&self.policy.bounce, peer.to_canonical());
                server.addresses.contains(peer)
                    || bounce.servers.contains(&peer)
                    || bounce.trusted.iter().any(|network| network.contains(&peer))
            }
        }
    }
}

impl PartialEq for Peers {
    fn eq(&self, other: &Self) -> bool {
        (self.client, self.login, self.server.is_some())
            == (other.client, other.login, other.server.is_some())
    }
}

impl Eq for Peers {}

/// What the sessions on a real server have to know of its data connections.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerData {
    /// Where they are reached.
    pub addresses: DataAddresses,
    /// Why they must cross the door, if they must.
    pub constraint: Option<DataConstraint>,
}

/// Why no client can reach a server's data connections by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DataConstraint {
    /// It takes them only from where the control connection comes from (`checks_data_peer`).
    ChecksPeer,
    /// They are TLS between door and server (`tls` of the real server).
    Tls,
}
