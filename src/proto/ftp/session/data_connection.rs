//! A data set-up that crosses the door: what one PASV, EPSV, SPAS, PORT, EPRT or SPOR of the client has brought about.
//!
//! ```text
//!                  PASV                                    RETR
//!   passive   ──▶ Binding ──▶ Bound ──227──▶ Open ──▶ Asking ──▶ Dialling ──▶ Started ──▶ InUse
//!   delayed   ────────────────────────200──▶ Open ──▶ Binding ──▶ Bound ──▶ Asking ──▶ … ──127──▶ InUse
//!   active    ────────────────────────200──▶ Open ──▶ Binding ──▶ Bound ──▶ Asking ──▶ Started ──▶ InUse
//!   striped   ──▶ Asking ──▶ Binding ──▶ Bound ──229──▶ Open ──▶ Started ──▶ InUse
//!   carried   ──▶ Asking ──▶ Expecting ──▶ Bound ──227──▶ the kernel's (see kernel_path)
//! ```
//!
//! In `Binding` and `Dialling` the driver is asked, in `Asking` the server; meanwhile the command that needs the answer
//! is put back and nothing more is taken from the client. It is dispatched again when the answer is there, and finds
//! the step that it has led to.
//!
//! The server is asked only when a transfer begins, for what a Globus server does with the bytes depends on the TYPE in
//! force at that moment. SPAS has to be asked at once: the count of the addresses must be known.
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Instant;

use super::super::bounce::Login;
use super::super::own_ports::{Enlisted, OwnPorts, Purpose};
use super::super::passive::{
    DataAddresses, MAX_STRIPES, find_extended, find_host_port, find_striped, in_form_of,
};
use super::super::policy::PathReason;
use super::super::relay::{Connections, Direction, Peers, RelayAnswer, RelayId, RelayRequest, Side};
use super::super::reply::ReplyCode;
use super::pending::{Gate, Kind};
use super::replies::is_farewell;
use super::{Action, Outbox, Session, SessionPolicy};

/// Most of a server's or the driver's words that a 425 repeats, in bytes: one line of a terminal.
const MAX_REASON: usize = 200;

/// Most of a server's answer to SPAS, in bytes: [`MAX_STRIPES`] lines with an IPv6 address each.
const MAX_HELD_REPLY: usize = 64 * 1024;

/// See the module's text.
#[derive(Debug)]
pub(super) struct SetUp {
    pub(super) id: RelayId,
    pub(super) asked: Asked,
    pub(super) reason: PathReason,
    pub(super) step: Step,
    /// What the driver listens on.
    pub(super) ports: Vec<SocketAddr>,
    /// Other sessions know these ports while this lives.
    pub(super) enlisted: Option<Enlisted>,
    /// Where the door connects to: what the server has announced, or the client has named.
    pub(super) targets: Vec<SocketAddr>,
    /// When the transfer command came.
    pub(super) since: Instant,
    pub(super) direction: Direction,
    /// It is for a directory, not for a file.
    pub(super) lists: bool,
    pub(super) connections: Connections,
    /// Started with TLS at the client's side.
    pub(super) private: bool,
}

/// Which line of a reply it is.
#[derive(Clone, Copy)]
pub(super) struct LinePlace {
    pub(super) begins: bool,
    /// The only one.
    pub(super) single: bool,
    /// All of the line has come.
    pub(super) whole: bool,
}

/// How the client has asked for it.
#[derive(Debug)]
pub(super) enum Asked {
    Passive {
        form: PassiveForm,
        /// The client waits for its address in a 127 or 129.
        delayed: bool,
    },
    /// The same where the kernel is to carry it; over as soon as the client has its answer.
    Carried,
    /// SPAS, with the lines of the server's 229.
    Striped(Vec<u8>),
    Active {
        /// With SPOR.
        striped: bool,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PassiveForm {
    HostPort,
    Extended,
}

/// How far it is.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// The driver is asked for ports.
    Binding,
    /// It has them; the command that wanted them goes on.
    Bound,
    /// The client has what it needs to begin a transfer.
    Open,
    /// The server is asked for its address, or told the door's.
    Asking,
    /// The driver is asked to have the kernel carry it.
    Expecting,
    /// The driver connects to the server.
    Dialling,
    /// The transfer command may pass.
    Started,
    /// It has passed.
    InUse,
    /// Its one connection has been used.
    Spent,
    /// The command is to be answered with 425.
    Failed(Box<str>),
    /// The server itself has said to the client what it says to this command.
    Answered(ReplyCode),
}

impl SetUp {
    /// Whether somebody owes an answer.
    pub(super) fn waits(&self) -> bool {
        matches!(self.step, Step::Binding | Step::Asking | Step::Expecting | Step::Dialling)
    }

    /// Whether the server owes an answer.
    pub(super) fn asks_server(&self) -> bool {
        self.step == Step::Asking
    }

    /// Nothing comes of it any more; the client has to ask for another one.
    pub(super) fn retire(&mut self, out: &mut Outbox) {
        // With one connection the driver closes the port when the transfer is finished.
        if !self.ports.is_empty() && self.step != Step::Spent {
            out.actions.push(Action::Relay(RelayRequest::Close { id: self.id }));
        }
        self.step = Step::Spent;
        self.enlisted = None;
    }

    pub(super) fn fail(&mut self, text: &str) {
        self.step = Step::Failed(one_line(text));
    }

    /// A line of the answer to SPAS.
    fn hold(&mut self, line: &[u8], single: bool, server: &DataAddresses) {
        let found = if single { find_single(line) } else { find_striped(line) };
        let Asked::Striped(reply) = &mut self.asked else { return };
        if self.targets.len() + usize::from(found.is_some()) > MAX_STRIPES
            || reply.len() + line.len() > MAX_HELD_REPLY
        {
            return self.fail("the server has more data nodes than fit");
        }
        reply.extend_from_slice(line);
        if let Some((_, address)) = found {
            self.targets.push(SocketAddr::new(server.dial(Some(address.ip())), address.port()));
        }
    }

    /// The answer to SPAS with the door's addresses in place of the server's, line by line in the server's own form.
    pub(super) fn take_striped_reply(&mut self, public: impl Fn(SocketAddr) -> SocketAddr) -> Vec<u8> {
        let Asked::Striped(reply) = &mut self.asked else { return Vec::new() };
        let reply = std::mem::take(reply);
        let mut ports = self.ports.iter();
        let mut rewritten = Vec::with_capacity(reply.len());
        let single = memchr::memchr_iter(b'\n', &reply).count() == 1;
        for line in reply.split_inclusive(|&byte| byte == b'\n') {
            let found = if single { find_single(line) } else { find_striped(line) };
            match found.and_then(|(range, _)| Some((range, *ports.next()?))) {
                Some((range, port)) => {
                    rewritten.extend_from_slice(&line[..range.start]);
                    rewritten.extend_from_slice(in_form_of(&line[range.clone()], public(port)).as_bytes());
                    rewritten.extend_from_slice(&line[range.end..]);
                }
                None => rewritten.extend_from_slice(line),
            }
        }
        rewritten
    }

    fn side(&self) -> Side {
        match self.asked {
            Asked::Passive { .. } | Asked::Carried | Asked::Striped(_) => Side::Client,
            Asked::Active { .. } => Side::Server,
        }
    }
}

impl Session {
    /// A new set-up in place of whatever was there.
    pub(super) fn set_up(&mut self, asked: Asked, reason: PathReason, now: Instant, out: &mut Outbox) {
        self.close_set_up(out);
        self.withdraw(out);
        self.type_at_address = None;
        self.address_open = false;
        self.relays += 1;
        self.data = Some(Box::new(SetUp {
            id: RelayId(self.relays),
            asked,
            reason,
            step: Step::Open,
            ports: Vec::new(),
            enlisted: None,
            targets: Vec::new(),
            since: now,
            direction: Direction::Download,
            lists: false,
            connections: Connections::One,
            private: false,
        }));
    }

    /// The client wants another one, or none any more.
    pub(super) fn close_set_up(&mut self, out: &mut Outbox) {
        if let Some(mut data) = self.data.take() {
            data.retire(out);
            self.type_at_address = None;
        }
    }

    /// Nothing comes of it any more, and no transfer goes past it.
    pub(super) fn retire_set_up(&mut self, out: &mut Outbox) {
        if let Some(data) = &mut self.data {
            data.retire(out);
            self.type_at_address = None;
            self.address_open = false;
        }
    }

    pub(super) fn data_waits(&self) -> bool {
        self.data.as_ref().is_some_and(|data| data.waits())
    }

    /// Whether a command is half way to its data connections.
    pub(super) fn data_is_in_the_making(&self) -> bool {
        self.data.as_ref().is_some_and(|data| !matches!(data.step, Step::Open | Step::InUse | Step::Spent))
    }

    /// Asks the driver for ports.
    pub(super) fn listen(&mut self, ports: usize, out: &mut Outbox) -> Gate {
        if let Some(data) = &mut self.data {
            data.step = Step::Binding;
            let request = RelayRequest::Listen { id: data.id, side: data.side(), ports };
            out.actions.push(Action::Relay(request));
        }
        Gate::Data
    }

    pub(super) fn on_relay_answer(&mut self, now: Instant, id: RelayId, answer: RelayAnswer) {
        if let RelayAnswer::Broken(how) = answer {
            if let Some(transfer) = self.transfers.iter_mut().find(|transfer| transfer.relay == Some(id)) {
                transfer.broken = Some(how.into());
                transfer.broken_since = Some(now);
            }
            return;
        }
        let (policy, client, login) = (&self.policy, self.client, self.login);
        let Some(data) = self.data.as_mut().filter(|data| data.id == id) else { return };
        match (&data.step, answer) {
            (Step::Binding, RelayAnswer::Listening(ports)) => {
                debug_assert!(!ports.is_empty(), "a relay listens somewhere");
                // A server is told no other address than the one that is bound.
                let (purpose, for_clients) = match data.side() {
                    Side::Client => (Purpose::Relay, true),
                    Side::Server => (Purpose::Server, false),
                };
                let name = |port| if for_clients { public(policy, port) } else { port };
                let names = ports.iter().map(|&port| (port, name(port)));
                data.enlisted = Some(OwnPorts::enlist(&policy.own_ports, client, login, purpose, names));
                data.ports = ports;
                data.step = Step::Bound;
            }
            (Step::Expecting, RelayAnswer::Expected(port)) => {
                let names = data.targets.iter().flat_map(|&at| [(at, port), (at, public(policy, port))]);
                let list = &policy.own_ports;
                data.enlisted = Some(OwnPorts::enlist(list, client, login, Purpose::Kernel, names));
                data.ports = vec![port];
                data.step = Step::Bound;
            }
            (Step::Expecting, RelayAnswer::NotExpected(why)) => {
                data.fail("the kernel does not carry it");
                self.kernel_path.refuse(why);
            }
            (Step::Dialling, RelayAnswer::Connected) => data.step = Step::Started,
            (Step::Binding | Step::Dialling, RelayAnswer::Failed(text)) => data.fail(&text),
            _ => debug_assert!(false, "an answer that nothing waits for"),
        }
    }

    /// Begins to ask the server what this transfer needs; all of it in one segment.
    pub(super) fn ask_server(&mut self, out: &mut Outbox) -> Gate {
        // A Globus server that is in TYPE A when it gives the address ends the lines of a listing with CR CR LF, and
        // clients take the first CR for a part of the name. In TYPE I then, and in TYPE A again, all servers end them well.
        let lists = self.data.as_ref().is_some_and(|data| data.lists);
        let is_text = lists && self.type_chosen && self.type_in_force == b'A';
        if is_text {
            self.ask(Kind::Type(b'I'), b"TYPE I\r\n", out);
        }
        self.choose_type(out);
        if std::mem::take(&mut self.server_delays) {
            self.ask(Kind::Other, b"OPTS PASV AllowDelayed=0;\r\n", out);
        }
        let passive: &[u8] = if self.server.addresses.dialled_is_ipv6() { b"EPSV\r\n" } else { b"PASV\r\n" };
        let request = self.data.as_mut().map(|data| {
            data.step = Step::Asking;
            match data.asked {
                Asked::Passive { .. } | Asked::Carried | Asked::Striped(_) => {
                    (Kind::LatePassive, passive.to_vec())
                }
                Asked::Active { striped } => (Kind::LatePort, address_command(&data.ports, striped)),
            }
        });
        if let Some((kind, line)) = request {
            self.ask(kind, &line, out);
        }
        if is_text {
            self.ask(Kind::Type(b'A'), b"TYPE A\r\n", out);
        }
        if let Some(offset) = self.rest.take() {
            let line = [b"REST ", &offset[..], b"\r\n"].concat();
            self.ask(Kind::LateRest, &line, out);
            self.rest = Some(offset);
        }
        Gate::Data
    }

    /// SPAS, whose answer decides how many ports the door needs.
    pub(super) fn ask_for_stripes(&mut self, line: &[u8], out: &mut Outbox) -> Gate {
        self.choose_type(out);
        if let Some(data) = &mut self.data {
            data.step = Step::Asking;
        }
        self.ask(Kind::LateSpas, line, out);
        Gate::Data
    }

    pub(super) fn ask(&mut self, kind: Kind, line: &[u8], out: &mut Outbox) {
        self.pending.push(kind, true);
        out.to_server.extend_from_slice(line);
    }

    /// Whether the reply that begins with this code stays hidden, where the door has asked.
    pub(super) fn stays_hidden(&self, kind: Kind, code: ReplyCode) -> bool {
        if is_farewell(code) {
            // A server that takes its leave speaks to the client, whatever was asked; but once is enough.
            return self.data.as_ref().is_some_and(|data| matches!(data.step, Step::Answered(_)));
        }
        // SPAS was the client's own.
        kind != Kind::LateSpas || code.is_success() || code.is_preliminary()
    }

    /// A line of a reply to the door's own PASV, EPSV, PORT and the like; of one that is too long only the beginning.
    pub(super) fn on_late_line(&mut self, kind: Kind, code: ReplyCode, line: &[u8], place: LinePlace) {
        let addresses = &self.server.addresses;
        let Some(data) = self.data.as_mut().filter(|data| data.step == Step::Asking) else { return };
        match kind {
            Kind::LateSpas if code.number() == 229 && place.whole => data.hold(line, place.single, addresses),
            Kind::LateSpas if code.number() == 229 => {
                data.fail("a line of the server's addresses has no end");
            }
            Kind::LatePassive if matches!(code.number(), 227 | 229) && place.whole => {
                let extended = find_extended(line).map(|(_, found)| (found.address, found.port));
                let found = extended.filter(|_| code.number() == 229).or_else(|| {
                    find_host_port(line).map(|(_, found)| (Some((*found.ip()).into()), found.port()))
                });
                if let Some((announced, port)) = found {
                    // A server that was told whom the client reached may announce that: the door itself.
                    let announced = announced.filter(|&address| !self.policy.own_ports.is_address(address));
                    data.targets = vec![SocketAddr::new(addresses.dial(announced), port)];
                }
            }
            // The last line of several often says no more than `End.`.
            Kind::LatePassive | Kind::LatePort | Kind::LateRest
                if place.begins && code.is_failure() && !is_farewell(code) =>
            {
                data.fail(&format!("the server said: {}", String::from_utf8_lossy(line)));
            }
            _ => {}
        }
    }

    /// The end of a reply to something that the door has asked.
    pub(super) fn on_late_reply(&mut self, kind: Kind, code: ReplyCode, out: &mut Outbox) {
        let resumes = self.pending.contains(|kind| kind == Kind::LateRest);
        let Some(data) = self.data.as_mut().filter(|data| data.step == Step::Asking) else { return };
        if is_farewell(code) {
            data.step = Step::Answered(code);
            return;
        }
        let fits = match kind {
            Kind::LateSpas if !code.is_success() => {
                data.step = Step::Answered(code);
                return;
            }
            Kind::LateSpas | Kind::LatePassive => !data.targets.is_empty(),
            Kind::LatePort => code.is_success(),
            Kind::LateRest => code.is_intermediate() || code.is_success(),
            _ => return,
        };
        if !fits {
            data.fail(&format!("the server gave no address that can be read ({code})"));
            return;
        }
        if kind != Kind::LateRest {
            self.type_at_address = Some(self.type_in_force);
        }
        if matches!(data.asked, Asked::Carried) {
            return self.expect(out);
        }
        if kind == Kind::LateSpas {
            let ports = data.targets.len();
            self.listen(ports, out);
        } else if !resumes {
            self.start(out);
        }
    }

    /// Everybody knows where to connect to.
    pub(super) fn start(&mut self, out: &mut Outbox) {
        let Some(data) = self.data.as_mut() else { return };
        let side = data.side();
        let many = self.mode_is_e || data.targets.len() > 1;
        data.connections = if many { Connections::Many } else { Connections::One };
        data.private = self.is_private;
        // With one connection the server's is made before the transfer begins: what fails then can still be answered.
        let dials_first = side == Side::Client && !many;
        data.step = if dials_first { Step::Dialling } else { Step::Started };
        out.actions.push(Action::Relay(RelayRequest::Start {
            id: data.id,
            targets: data.targets.clone(),
            connections: data.connections,
            direction: data.direction,
            peers: Peers {
                client: self.client,
                // Third-party transfers are for the Globus family. Whose client has an account and fetches its own files is not
                // to lose them to the first who tries the ports of the range.
                login: if self.is_globus { self.login } else { Login::Anonymous },
                private: data.private,
                policy: self.policy.clone(),
                server: (side == Side::Server).then(|| self.server.clone()),
            },
        }));
    }

    /// A transfer that crossed the door has got its last reply.
    pub(super) fn on_relayed(&mut self, id: RelayId, code: ReplyCode, has_begun: bool, out: &mut Outbox) {
        let Some(data) = self.data.as_mut().filter(|data| data.id == id) else { return };
        let once = data.connections == Connections::One;
        if once {
            data.step = Step::Spent;
            data.enlisted = None;
            (data.ports, data.targets) = (Vec::new(), Vec::new());
        }
        // Connections that are kept are not touched by a file that is missing.
        if once || has_begun || code.is_success() {
            out.actions.push(Action::Relay(RelayRequest::Finish { id, complete: code.is_success() }));
        }
    }
}

/// Under which address clients reach a port of the door.
pub(super) fn public(policy: &SessionPolicy, port: SocketAddr) -> SocketAddr {
    let bound = port.ip().to_canonical();
    let mut announced = policy.announce.iter().map(IpAddr::to_canonical);
    SocketAddr::new(announced.find(|ip| ip.is_ipv4() == bound.is_ipv4()).unwrap_or(bound), port.port())
}

/// What tells the server where to connect to.
pub(super) fn address_command(ports: &[SocketAddr], striped: bool) -> Vec<u8> {
    let items: Vec<String> = ports.iter().map(|&port| in_form_of(b"", port)).collect();
    let verb = match items.first() {
        _ if striped => "SPOR",
        Some(item) if item.starts_with('|') => "EPRT",
        _ => "PORT",
    };
    format!("{verb} {}\r\n", items.join(" ")).into_bytes()
}

/// The one address of a 229 to SPAS that has but one line.
fn find_single(line: &[u8]) -> Option<(Range<usize>, SocketAddr)> {
    find_extended(line)
        .and_then(|(range, found)| Some((range, SocketAddr::new(found.address?, found.port))))
        .or_else(|| find_host_port(line).map(|(range, found)| (range, SocketAddr::V4(found))))
}

fn one_line(text: &str) -> Box<str> {
    let text = text.trim_end();
    let end = text.floor_char_boundary(MAX_REASON);
    text[..end].chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
