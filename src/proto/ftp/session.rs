//! One control connection between its client and its real server, as a machine without I/O.
//!
//! ```text
//!   client ──▶ handle_client ──▶ Outbox::to_server        commands: acted on, answered here, or passed
//!   server ──▶ handle_server ──▶ Outbox::to_client        replies:  matched with their command, rewritten, or passed
//!                                Outbox::actions          facts for counters and the log, requests to the driver
//! ```
//!
//! Replies come strictly in the order of the commands, so a queue of pending commands tells which reply belongs to
//! which. Where a command can only be judged once earlier replies are known (may this login name that address? which
//! TYPE was in force at PASV?), or is answered by the door itself, it waits: [`Session::accepts_client`] turns false
//! and the driver stops reading the client until the server has answered.
//!
//! Where data crosses the door, commands also wait for the driver: an [`Action::Relay`] asks, [`Session::handle_relay`]
//! tells, and the next [`Session::handle_client`] goes on. Some commands to the server are then the door's own; their
//! replies are never shown.
//!
//! What is not understood passes byte for byte.
mod commands;
mod data_commands;
mod data_connection;
mod ending;
mod features;
mod kernel_path;
mod login;
mod outbox;
mod pending;
mod replies;
mod security;
#[cfg(test)]
mod tests;
mod transfer_commands;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::bounce::{BouncePolicy, Login};
use super::command::has_unclear_bytes;
use super::command_filter::CommandFilter;
use super::line::{HELD_LINE, LineSplitter, Piece};
use super::own_ports::OwnPorts;
use super::policy::{DataPath, PathReason};
use super::relay::{RelayAnswer, RelayId, ServerData};
use super::reply::ReplyFramer;
use data_connection::SetUp;
pub use ending::{Ending, Fault};
use kernel_path::{Carried, KernelPath};
use login::Names;
use outbox::OpenTransfer;
pub use outbox::{Action, Outbox, TransferRecord, Tunnel};
pub use pending::MAX_PENDING;
use pending::{Gate, Kind, PendingQueue};
use security::Protection;

/// First byte of a TLS record that carries a handshake, RFC 8446 section 5.1.
const TLS_HANDSHAKE: u8 = 0x16;

/// What the sessions of a virtual server share.
#[derive(Clone, Debug, Default)]
pub struct SessionPolicy {
    /// Which addresses clients may name.
    pub bounce: BouncePolicy,
    /// Who carries the bytes of data connections.
    pub data_path: DataPath,
    /// What clients are told of the door's own address, where it is not the one that they reach (1:1 NAT): one of a family.
    pub announce: Vec<IpAddr>,
    /// What is done with AUTH TLS.
    pub tls: TlsPolicy,
    /// Which commands no server is to hear.
    pub denied_commands: CommandFilter,
    /// The ports of the door's own that sessions have told their clients. One list for all virtual servers, also after
    /// a reload: clients copy from one to another.
    pub own_ports: Arc<OwnPorts>,
}

/// What the door does with AUTH TLS (RFC 4217).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TlsPolicy {
    /// There is no certificate: the real server may take it, and bytes pass unread from there on.
    #[default]
    Off,
    /// The door ends it.
    Offered,
    /// The door ends it, and no login goes without; AUTH GSSAPI is as good.
    Required,
}

/// The machine. See the module's text.
#[derive(Debug)]
pub struct Session {
    policy: Arc<SessionPolicy>,
    server: Arc<ServerData>,
    client: IpAddr,
    client_lines: LineSplitter,
    server_lines: LineSplitter,
    framer: ReplyFramer,
    pending: PendingQueue,
    transfers: VecDeque<OpenTransfer>,
    /// What USER has said, until somebody is logged in.
    names: Option<Box<Names>>,
    /// The server has answered a USER since the last login.
    has_named: bool,
    /// When the AUTH GSSAPI that is under way began.
    handshake: Option<Instant>,
    wait: Option<Gate>,
    login: Login,
    /// Some USER of this session was anonymous. Whoever has tried that once is trusted no further, whatever is answered
    /// later: a bounce rule must not hang on which reply belongs to which PASS.
    may_be_anonymous: bool,
    /// Follows an announced address (Globus, gfal2): it has shown that it speaks GridFTP.
    is_globus: bool,
    /// The server has taken a TYPE of the client's, or the door has sent one in its place.
    type_chosen: bool,
    /// First letter of the TYPE in force at the server; RFC 959 begins with A.
    type_in_force: u8,
    /// The TYPE that was in force when the server gave or took the data address that is in use.
    type_at_address: Option<u8>,
    /// The family in which the server was asked to listen by the last EPSV that it has answered.
    listens_on_ipv6: bool,
    /// An address was given and no transfer has used it.
    address_open: bool,
    /// How far TLS between client and door has come.
    protection: Protection,
    /// The last data set-up, where it crosses the door.
    data: Option<Box<SetUp>>,
    /// Set-ups that have crossed the door so far.
    relays: u32,
    /// Who carries the last set-up that does not cross the door, and why.
    path: DataPath,
    reason: PathReason,
    /// Whether the kernel carries data connections.
    kernel_path: KernelPath,
    /// What it carries now.
    carried: Option<Box<Carried>>,
    /// What is to be said again to a server that is asked for its address only after REST.
    rest: Option<Box<[u8]>>,
    /// The server has heard a REST, and no transfer command since.
    restarts: bool,
    /// MODE E is in force at the server.
    mode_is_e: bool,
    /// PROT P is in force between client and door.
    is_private: bool,
    /// EPSV ALL (RFC 2428 section 4): no other set-up will come.
    epsv_only: bool,
    /// The client waits for addresses in 127 and 129 (AllowDelayed).
    is_delayed: bool,
    /// The server has been told the same.
    server_delays: bool,
    /// The reply that is being read answers a command of the door's own.
    hiding: bool,
    /// In its place the client is told that the upload broke.
    denying: bool,
    /// A reply line is passing in pieces; nothing may be put between them.
    reply_in_pieces: bool,
    /// The last piece of the command line that is passing ended with CR.
    command_after_cr: bool,
    /// The server's last reply said that it will close: 221, 421, 422.
    goodbye: bool,
    /// A file that the client has looked for is there.
    found_file: bool,
    /// A file or a directory is not.
    missed_path: bool,
    /// The client has sent QUIT.
    has_quit: bool,
    draining: bool,
    tunnel: Option<Tunnel>,
    ended: Option<Ending>,
    commands: u32,
}

impl Session {
    /// A session whose greeting has passed.
    #[must_use]
    pub fn new(policy: Arc<SessionPolicy>, server: Arc<ServerData>, client: IpAddr) -> Self {
        Self {
            policy,
            server,
            client: client.to_canonical(),
            client_lines: LineSplitter::default(),
            server_lines: LineSplitter::default(),
            framer: ReplyFramer::default(),
            pending: PendingQueue::default(),
            transfers: VecDeque::new(),
            names: None,
            has_named: false,
            handshake: None,
            wait: None,
            login: Login::No,
            may_be_anonymous: false,
            is_globus: false,
            type_chosen: false,
            type_in_force: b'A',
            type_at_address: None,
            listens_on_ipv6: false,
            address_open: false,
            protection: Protection::default(),
            data: None,
            relays: 0,
            path: DataPath::Direct,
            reason: PathReason::Configured,
            kernel_path: KernelPath::None,
            carried: None,
            rest: None,
            restarts: false,
            mode_is_e: false,
            is_private: false,
            epsv_only: false,
            is_delayed: false,
            server_delays: false,
            hiding: false,
            denying: false,
            reply_in_pieces: false,
            command_after_cr: false,
            goodbye: false,
            found_file: false,
            missed_path: false,
            has_quit: false,
            draining: false,
            tunnel: None,
            ended: None,
            commands: 0,
        }
    }

    /// Takes bytes from the client and returns how many were used; the rest is to be offered again when
    /// [`Session::accepts_client`] says so. To be called with no bytes, too, when it turns true again.
    pub fn handle_client(&mut self, now: Instant, input: &[u8], out: &mut Outbox) -> usize {
        let mut lines = std::mem::take(&mut self.client_lines);
        let mut rest = input;
        while self.accepts_client() {
            self.wait = None;
            if self.commands == 0 && lines.at_line_start() && rest.first() == Some(&TLS_HANDSHAKE) {
                self.end(Ending::TlsHello, now, out);
                break;
            }
            if self.commands == 0 && lines.at_line_start() && super::super::proxy_protocol::is_begun(rest) {
                self.end(Ending::ProxyHeader, now, out);
                break;
            }
            match lines.next(&mut rest) {
                // Its signature has two empty lines.
                Ok(Some(Piece::Line(line)))
                    if self.commands <= 2 && super::super::proxy_protocol::is_line_of(line) =>
                {
                    self.end(Ending::ProxyHeader, now, out);
                }
                Ok(Some(Piece::Line(line))) => {
                    // However it arrived, a line this long is one that may be unfinished.
                    let whole = line.len() < HELD_LINE;
                    if let Err(gate) = self.on_command(now, line, whole, out) {
                        self.wait = Some(gate);
                        let line = line.to_vec();
                        lines.put_back(line);
                    }
                }
                Ok(Some(Piece::Head(line))) => {
                    self.command_after_cr = line.last() == Some(&b'\r');
                    if let Err(gate) = self.on_command(now, line, false, out) {
                        self.wait = Some(gate);
                        lines.put_back_head();
                    }
                }
                Ok(Some(Piece::Middle(bytes) | Piece::Tail(bytes))) => self.pass_piece(now, bytes, out),
                Ok(None) => break,
                Err(_) => self.end(Ending::CommandTooLong, now, out),
            }
        }
        lines.release();
        self.client_lines = lines;
        input.len() - rest.len()
    }

    /// Takes bytes from the real server and returns how many were used: all, but for those that follow the start of
    /// a [`Tunnel`] or the end of the session.
    pub fn handle_server(&mut self, now: Instant, input: &[u8], out: &mut Outbox) -> usize {
        let mut lines = std::mem::take(&mut self.server_lines);
        let mut rest = input;
        while self.ended.is_none() && self.tunnel.is_none() {
            match lines.next(&mut rest) {
                Ok(Some(Piece::Line(line))) => self.on_reply_line(now, line, true, out),
                Ok(Some(Piece::Head(line))) => {
                    self.on_reply_line(now, line, false, out);
                    self.reply_in_pieces = true;
                }
                Ok(Some(Piece::Middle(bytes))) => self.show(bytes, out),
                Ok(Some(Piece::Tail(bytes))) => {
                    self.show(bytes, out);
                    self.reply_in_pieces = false;
                }
                Ok(None) => break,
                Err(_) => self.end(Ending::ReplyTooLong, now, out),
            }
        }
        lines.release();
        self.server_lines = lines;
        if self.tunnel.is_some() {
            let unfinished = std::mem::take(&mut self.client_lines).into_remainder();
            out.to_server.extend_from_slice(&unfinished);
        }
        input.len() - rest.len()
    }

    /// What became of a [`RelayRequest`](super::RelayRequest). What waited for it goes on with the next call of
    /// [`Session::handle_client`].
    pub fn handle_relay(&mut self, now: Instant, id: RelayId, answer: RelayAnswer) {
        if self.ended.is_none() {
            self.on_relay_answer(now, id, answer);
        }
    }

    /// The real server closed its side, or its connection broke.
    pub fn handle_server_closed(&mut self, now: Instant, out: &mut Outbox) {
        let asked_for = self.pending.front().is_some_and(|pending| pending.kind == Kind::Quit);
        // What was said inside a tunnel is not known; a close is as good as a goodbye there.
        let ending = if self.goodbye || asked_for || self.tunnel.is_some() {
            Ending::Goodbye
        } else if self.pending.contains(|kind| matches!(kind, Kind::Abor | Kind::Blank)) {
            Ending::ClosedByCommand
        } else {
            Ending::ServerLost
        };
        self.end(ending, now, out);
    }

    /// Ends the session for a reason of the driver's, with the reply that belongs to it.
    pub fn handle_ending(&mut self, ending: Ending, now: Instant, out: &mut Outbox) {
        self.end(ending, now, out);
    }

    /// The real server or the door is to get rid of its sessions: this one ends at the client's next command, if it is
    /// quiet then and the command is not QUIT.
    pub fn handle_drain(&mut self) {
        self.draining = true;
    }

    /// Takes [`Session::handle_drain`] back: commands pass.
    pub fn handle_undrain(&mut self) {
        self.draining = false;
    }

    /// Whether bytes from the client can be used now.
    #[must_use]
    pub fn accepts_client(&self) -> bool {
        self.ended.is_none()
            && self.tunnel.is_none()
            && self.protection != Protection::Handshake
            && !self.pending.is_full()
            && self.wait.is_none_or(|gate| self.is_open(gate))
    }

    /// Whether a command waits for the server's answer to an earlier one, or for the driver's.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.wait.is_some()
    }

    /// Why the session is over; the driver delivers what is in the outbox and closes.
    #[must_use]
    pub fn ended(&self) -> Option<Ending> {
        self.ended
    }

    /// Whether the server's last reply said that it will close: to QUIT, or because it is full or goes down.
    #[must_use]
    pub fn has_server_parted(&self) -> bool {
        self.goodbye
    }

    /// Whether the client has looked for files or directories, and the server has found none.
    #[must_use]
    pub fn has_found_nothing(&self) -> bool {
        self.missed_path && !self.found_file
    }

    /// Set once bytes pass unread.
    #[must_use]
    pub fn tunnel(&self) -> Option<Tunnel> {
        self.tunnel
    }

    /// As whom the client is logged in, as far as the door can see.
    #[must_use]
    pub fn login(&self) -> Login {
        self.login
    }

    /// Whether the server owes replies, or the driver an answer; a session is not idle while they do (a silent STOR may
    /// take hours).
    #[must_use]
    pub fn is_busy(&self) -> bool {
        // For a command whose end has not come it owes nothing yet.
        self.pending.owed() > usize::from(self.client_lines.is_passing()) || self.data_waits()
    }

    /// Since when the real server owes an answer to what the door itself has asked it. Nothing can be said to the client in
    /// its place: a late answer would be taken for that to a later command.
    #[must_use]
    pub fn asked_since(&self) -> Option<Instant> {
        self.data.as_ref().filter(|data| data.asks_server()).map(|data| data.since)
    }

    /// Since when the real server has known that the upload it is to answer next has lost its data connection. As above, no
    /// reply can be given in its place.
    #[must_use]
    pub fn broken_since(&self) -> Option<Instant> {
        let transfer = self.transfers.front()?;
        transfer.broken_since.map(|since| since.max(transfer.since))
    }

    /// Whether nothing would be lost by ending the session now.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.tunnel.is_none()
            && self.pending.owed() == 0
            && !self.address_open
            && !self.data_is_in_the_making()
    }

    /// Whether the client has sent QUIT, after which it has nothing more to say.
    #[must_use]
    pub fn has_quit(&self) -> bool {
        self.has_quit
    }

    /// Commands taken from the client so far.
    #[must_use]
    pub fn commands(&self) -> u32 {
        self.commands
    }

    fn is_open(&self, gate: Gate) -> bool {
        match gate {
            Gate::Settled => self.pending.is_settled(),
            Gate::Data => !self.data_waits(),
            Gate::Empty => self.pending.owed() == 0 && !self.reply_in_pieces && !self.framer.is_open(),
        }
    }

    /// More of a command line whose beginning was passed on.
    fn pass_piece(&mut self, now: Instant, bytes: &[u8], out: &mut Outbox) {
        let ends_after_cr = self.command_after_cr && bytes == b"\n";
        let inside = bytes.strip_suffix(b"\r\n").or_else(|| bytes.strip_suffix(b"\r")).unwrap_or(bytes);
        if !ends_after_cr && (self.command_after_cr || has_unclear_bytes(inside)) {
            return self.end(Ending::UnclearCommand, now, out);
        }
        self.command_after_cr = bytes.last() == Some(&b'\r');
        out.to_server.extend_from_slice(bytes);
    }

    fn show(&self, bytes: &[u8], out: &mut Outbox) {
        if !self.hiding {
            out.to_client.extend_from_slice(bytes);
        }
    }

    fn end(&mut self, ending: Ending, now: Instant, out: &mut Outbox) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(ending);
        // The driver drops what it has of it with the session.
        self.data = None;
        if self.handshake.take().is_some() {
            out.actions.push(Action::SecurityFailed { refused: false });
        }
        while let Some(transfer) = self.transfers.pop_front() {
            out.actions.push(Action::Transfer(transfer.finish(None, now)));
        }
        // In the middle of a handshake nobody would understand it.
        if self.tunnel.is_none() && self.protection != Protection::Handshake {
            if self.reply_in_pieces && !self.hiding && !ending.reply().is_empty() {
                out.to_client.extend_from_slice(b"\r\n");
            }
            out.to_client.extend_from_slice(ending.reply().as_bytes());
        }
    }
}
