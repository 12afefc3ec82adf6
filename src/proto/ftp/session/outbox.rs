//! What comes out of the machine: bytes for both sides, and facts.
use std::time::{Duration, Instant};

use super::super::command::Verb;
use super::super::command_class::CommandTally;
use super::super::policy::{DataPath, PathReason};
use super::super::relay::{RelayId, RelayRequest};
use super::super::reply::ReplyCode;

/// Where the machine writes; owned by the driver, used for many sessions in turn.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Bytes for the client.
    pub to_client: Vec<u8>,
    /// Bytes for the real server.
    pub to_server: Vec<u8>,
    /// What happened, in order.
    pub actions: Vec<Action>,
    /// Commands that were taken from the client.
    pub commands: CommandTally,
}

impl Outbox {
    /// Forgets what is in it and keeps its memory.
    pub fn clear(&mut self) {
        self.to_client.clear();
        self.to_server.clear();
        self.actions.clear();
        self.commands.take(|_, _| ());
    }
}

/// What the driver is told besides bytes.
#[derive(Debug, Eq, PartialEq)]
pub enum Action {
    /// The server took the login.
    LoggedIn {
        /// The name given to USER, shortened to what a log line bears.
        user: Box<str>,
        /// From USER to the reply.
        took: Duration,
    },
    /// The server refused a login.
    LoginFailed {
        /// With 530 to a password: somebody may be guessing. Not because of its own troubles, or the name alone.
        wrong_password: bool,
    },
    /// The server accepted a GSSAPI security context (RFC 2228: 235), this long after AUTH.
    Secured(Duration),
    /// A GSSAPI handshake began and did not end with a security context.
    SecurityFailed {
        /// By the server's word (5yz to ADAT), not because somebody hung up.
        refused: bool,
    },
    /// A command was answered in the server's place because it is disabled.
    CommandDenied,
    /// A transfer or listing ended.
    Transfer(TransferRecord),
    /// Data connections that cross the door.
    Relay(RelayRequest),
    /// What is in [`Outbox::to_client`] goes out in the clear, and then begins TLS with the door as its server; bytes of the
    /// client that were not used belong to it. `Session::handle_secured` says that it stands.
    StartTls,
    /// From here on bytes pass unread in both directions; the machine takes no more input.
    Tunnel(Tunnel),
}

/// What runs inside a control connection that the door cannot read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tunnel {
    /// A GSSAPI security context.
    Gssapi,
    /// Another mechanism that the server agreed to with 234 (TLS at the server itself).
    Other,
}

/// A transfer that ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TransferRecord {
    /// Which command.
    pub verb: Verb,
    /// Its argument, shortened to what a log line bears.
    pub path: Box<str>,
    /// The server's final reply; `None` when the session ended before it.
    pub reply: Option<ReplyCode>,
    /// From the command, or the end of the transfer before it, to the reply.
    pub duration: Duration,
    /// Who carried the bytes.
    pub data_path: DataPath,
    /// Which set-up, where its data crossed the door.
    pub relay: Option<RelayId>,
    /// Why so.
    pub reason: PathReason,
    /// Why the door answered 425 itself: its data connection to the server, or the port for it, did not come about.
    pub failure: Option<Box<str>>,
}

/// A transfer command that the server has not answered.
#[derive(Debug)]
pub(super) struct OpenTransfer {
    pub(super) verb: Verb,
    pub(super) path: Box<str>,
    pub(super) since: Instant,
    /// Where its data crosses the door.
    pub(super) relay: Option<RelayId>,
    pub(super) data_path: DataPath,
    pub(super) reason: PathReason,
    /// The server has said that it moves bytes: 1yz.
    pub(super) has_begun: bool,
    /// How its data connection broke: what the server has got is no whole file.
    pub(super) broken: Option<Box<str>>,
    /// Since when.
    pub(super) broken_since: Option<Instant>,
}

impl OpenTransfer {
    pub(super) fn finish(self, reply: Option<ReplyCode>, now: Instant) -> TransferRecord {
        TransferRecord {
            verb: self.verb,
            path: self.path,
            reply,
            duration: now.saturating_duration_since(self.since),
            data_path: self.data_path,
            relay: self.relay,
            reason: self.reason,
            failure: self.broken,
        }
    }
}
