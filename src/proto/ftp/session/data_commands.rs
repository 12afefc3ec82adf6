//! The commands about data connections: which path the data takes, and what that makes of them.
use std::net::SocketAddr;
use std::time::Instant;

use super::super::bounce::{BounceRefusal, Login};
use super::super::command::{Command, Verb};
use super::super::own_ports::Purpose;
use super::super::passive::host_port;
use super::super::policy::{DataPath, PathReason};
use super::super::relay::DataConstraint;
use super::commands::{Taken, is_printable, starts_with_ignoring_case};
use super::data_connection::{Asked, PassiveForm, Step, address_command, public};
use super::kernel_path::KernelPath;
use super::pending::{Gate, Kind};
use super::{Outbox, Session};

pub(super) const NOT_LOGGED_IN: &str = "530 Please log in with USER and PASS first.";
const AFTER_EPSV_ALL: &str = "501 Only EPSV is allowed after EPSV ALL.";
const UNREADABLE: &str =
    "501 Cannot read the address; PORT h1,h2,h3,h4,p1,p2 (RFC 959) or EPRT |1|address|port| (RFC 2428).";

const TOO_MANY_STRIPES: &str = "504 Too many addresses for data that crosses this balancer; name 64 at most.";

/// Most addresses in a SPOR whose data crosses the door: each takes a port of the door's, which all sessions share. Clients
/// with many hosts have some dozens.
const MAX_RELAYED_STRIPES: usize = 64;

impl Session {
    /// Who carries the bytes of a set-up that is asked for now.
    pub(super) fn data_path(&self, form: SetUpForm) -> (DataPath, PathReason) {
        if self.is_private {
            return (DataPath::Relay, PathReason::TlsToClient);
        }
        match self.server.constraint {
            Some(DataConstraint::ChecksPeer) => return (DataPath::Relay, PathReason::PeerChecked),
            Some(DataConstraint::Tls) => return (DataPath::Relay, PathReason::TlsToServer),
            None => {}
        }
        let other = match self.policy.data_path {
            DataPath::Relay => return (DataPath::Relay, PathReason::Configured),
            DataPath::Direct => return (DataPath::Direct, PathReason::Configured),
            // curl and Python ignore an announced address, lftp does at times, and a 229 has none.
            DataPath::Auto if self.is_globus => return (DataPath::Direct, PathReason::GlobusClient),
            DataPath::Auto => PathReason::OtherClient,
            DataPath::Kernel => PathReason::Configured,
        };
        // In the other forms the server connects, to which the kernel has nothing to add, or it has several hosts.
        if form == SetUpForm::Passive && !self.is_delayed {
            match self.kernel_path {
                KernelPath::Open if self.type_chosen && self.type_in_force == b'A' => {
                    return (DataPath::Relay, PathReason::Text);
                }
                KernelPath::Open => return (DataPath::Kernel, other),
                KernelPath::RefusedOnce | KernelPath::Refused => {}
                KernelPath::None if self.policy.data_path == DataPath::Kernel => {}
                KernelPath::None => return (DataPath::Relay, other),
            }
        } else if !self.is_globus {
            return (DataPath::Relay, PathReason::OtherClient);
        }
        if self.is_globus {
            (DataPath::Direct, PathReason::GlobusClient)
        } else {
            (DataPath::Relay, PathReason::NoKernelPath)
        }
    }

    /// Why a set-up that is asked for now crosses the door, if it does.
    pub(super) fn relay_reason(&self, form: SetUpForm) -> Option<PathReason> {
        let (path, reason) = self.data_path(form);
        (path == DataPath::Relay).then_some(reason)
    }

    pub(super) fn opts(&mut self, line: &[u8], command: &Command<'_>, out: &mut Outbox) -> Taken {
        let (subject, options) = command.sub_command();
        let passive = [&b"PASV"[..], b"EPSV", b"SPAS"].iter().any(|w| w.eq_ignore_ascii_case(subject));
        if passive && starts_with_ignoring_case(options, b"AllowDelayed") {
            self.is_globus = true;
            let delays = options
                .split(|&byte| byte == b';')
                .next()
                .is_none_or(|option| !option.trim_ascii().ends_with(b"=0"));
            if self.relay_reason(SetUpForm::Striped).is_some() {
                // The server must name its address when the door asks.
                self.answer("200 OPTS Command Successful.", out)?;
                self.is_delayed = delays;
                return Ok(());
            }
            self.pass(Kind::Delay(delays), line, out);
            return Ok(());
        }
        self.pass(Kind::Other, line, out);
        Ok(())
    }

    /// A Globus server fixes the type of the next transfer when it gives the address, not when the transfer starts:
    /// a client that sets TYPE I in between gets a damaged file and a 226. Binary is what such clients mean, and it
    /// leaves listings whole, so the door chooses it for a client that has not chosen.
    pub(super) fn choose_type(&mut self, out: &mut Outbox) {
        if !self.type_chosen && self.login != Login::No {
            self.type_chosen = true;
            self.pending.push(Kind::Type(b'I'), true);
            out.to_server.extend_from_slice(b"TYPE I\r\n");
        }
    }

    pub(super) fn pasv(&mut self, now: Instant, line: &[u8], out: &mut Outbox) -> Taken {
        let (path, reason) = self.data_path(SetUpForm::Passive);
        if path == DataPath::Direct && !self.asks_kernel() {
            return self.passive(Kind::Pasv, line, out);
        }
        if self.epsv_only {
            return self.answer(AFTER_EPSV_ALL, out);
        }
        if self.client.is_ipv6() {
            return self.answer(
                "522 PASV gives an IPv4 address and this control connection is IPv6; use EPSV.",
                out,
            );
        }
        self.passive_at_door(now, PassiveForm::HostPort, (path, reason), out)
    }

    pub(super) fn epsv(
        &mut self,
        now: Instant,
        line: &[u8],
        command: &Command<'_>,
        out: &mut Outbox,
    ) -> Taken {
        let (path, reason) = self.data_path(SetUpForm::Passive);
        if path == DataPath::Direct && !self.asks_kernel() {
            return self.extended_passive(line, command, out);
        }
        let argument = command.arguments();
        let ours = self.family();
        if argument.eq_ignore_ascii_case(b"ALL") {
            self.answer("200 EPSV ALL: no other set-up will be taken.", out)?;
            self.epsv_only = true;
            return Ok(());
        }
        if argument.is_empty() || argument == ours.as_bytes() {
            return self.passive_at_door(now, PassiveForm::Extended, (path, reason), out);
        }
        if argument.iter().all(u8::is_ascii_digit) {
            return self.answer(&format!("522 Network protocol not supported, use ({ours})."), out);
        }
        self.answer("501 Cannot read the protocol; EPSV, EPSV 1, EPSV 2 or EPSV ALL (RFC 2428).", out)
    }

    /// PASV or EPSV where the client is told an address of the door.
    fn passive_at_door(
        &mut self,
        now: Instant,
        form: PassiveForm,
        (path, reason): (DataPath, PathReason),
        out: &mut Outbox,
    ) -> Taken {
        if self.asks_kernel() || path == DataPath::Kernel {
            self.carried_passive(now, form, reason, out)
        } else {
            self.relayed_passive(now, form, reason, out)
        }
    }

    /// The client's protocol in the numbers of RFC 2428.
    fn family(&self) -> &'static str {
        if self.client.is_ipv6() { "2" } else { "1" }
    }

    pub(super) fn spas(
        &mut self,
        now: Instant,
        line: &[u8],
        command: &Command<'_>,
        out: &mut Outbox,
    ) -> Taken {
        self.is_globus = true;
        let Some(reason) = self.relay_reason(SetUpForm::Striped) else {
            return self.passive(Kind::Spas, line, out);
        };
        if self.epsv_only {
            return self.answer(AFTER_EPSV_ALL, out);
        }
        if self.is_delayed {
            // Clients cannot read several addresses in a 129; one in a 127 they can.
            return self.relayed_passive(now, PassiveForm::HostPort, reason, out);
        }
        let argument = command.arguments();
        let ours = self.family();
        if argument != ours.as_bytes() && !(argument.is_empty() && ours == "1") {
            return self
                .answer(&format!("522 Network protocol not supported, use ({ours}): SPAS {ours}."), out);
        }
        self.striped(now, line, reason, out)
    }

    fn striped(&mut self, now: Instant, line: &[u8], reason: PathReason, out: &mut Outbox) -> Taken {
        if self.login == Login::No {
            return self.answer(NOT_LOGGED_IN, out);
        }
        self.wait_until(Gate::Empty)?;
        match self.data.as_ref().map(|data| &data.step) {
            Some(Step::Bound) => {
                self.address_open = true;
                if let Some(data) = &mut self.data {
                    data.step = Step::Open;
                    let reply = data.take_striped_reply(|port| public(&self.policy, port));
                    out.to_client.extend_from_slice(&reply);
                }
                Ok(())
            }
            Some(Step::Failed(_)) => self.report_failure(out),
            Some(Step::Answered(_)) => {
                // The server keeps the address that it had, which may be one of the door's that has become another session's.
                self.retire_set_up(out);
                Ok(())
            }
            _ => {
                self.set_up(Asked::Striped(Vec::new()), reason, now, out);
                Err(self.ask_for_stripes(line, out))
            }
        }
    }

    fn passive(&mut self, kind: Kind, line: &[u8], out: &mut Outbox) -> Taken {
        let form = if kind == Kind::Spas { SetUpForm::Striped } else { SetUpForm::Passive };
        self.go_direct(self.data_path(form).1, out)?;
        self.wait_until(Gate::Settled)?;
        self.choose_type(out);
        self.pass(kind, line, out);
        Ok(())
    }

    /// The set-up that is asked for now does not cross the door. Until the server has taken it no transfer may go by it: the
    /// server may remember an older address, a port of the door's that has become another session's.
    pub(super) fn go_direct(&mut self, reason: PathReason, out: &mut Outbox) -> Taken {
        if self.data.is_some() {
            // Its transfer may still run.
            self.wait_until(Gate::Empty)?;
            self.retire_set_up(out);
        }
        self.withdraw(out);
        (self.path, self.reason) = (DataPath::Direct, reason);
        Ok(())
    }

    /// PASV or EPSV where the data crosses the door: the server hears nothing of it before a transfer begins.
    pub(super) fn relayed_passive(
        &mut self,
        now: Instant,
        form: PassiveForm,
        reason: PathReason,
        out: &mut Outbox,
    ) -> Taken {
        if self.login == Login::No {
            return self.answer(NOT_LOGGED_IN, out);
        }
        self.wait_until(Gate::Empty)?;
        match self.data.as_ref().map(|data| (&data.step, data.ports.first())) {
            Some((Step::Bound, Some(&port)))
                if form == PassiveForm::HostPort && public(&self.policy, port).is_ipv6() =>
            {
                self.retire_set_up(out);
                self.answer("425 This balancer has no IPv4 address for PASV; use EPSV.", out)
            }
            Some((Step::Bound, Some(&port))) => {
                if let Some(data) = &mut self.data {
                    data.step = Step::Open;
                }
                self.kernel_path.forgive();
                self.address_open = true;
                self.announce(form, port, false, out);
                Ok(())
            }
            Some((Step::Failed(_), _)) => {
                self.kernel_path.forgive();
                self.report_failure(out)
            }
            _ => {
                let delayed = self.is_delayed;
                self.set_up(Asked::Passive { form, delayed }, reason, now, out);
                if delayed {
                    return self.answer("200 Passive delayed.", out);
                }
                Err(self.listen(1, out))
            }
        }
    }

    /// 227 or 229, or 127 or 129 where a transfer has begun.
    pub(super) fn announce(
        &self,
        form: PassiveForm,
        port: SocketAddr,
        with_transfer: bool,
        out: &mut Outbox,
    ) {
        let class = if with_transfer { 1 } else { 2 };
        let public = public(&self.policy, port);
        let text = match (form, public) {
            (PassiveForm::HostPort, SocketAddr::V4(v4)) => {
                format!("{class}27 Entering Passive Mode ({})\r\n", host_port(*v4.ip(), v4.port()))
            }
            // Every client goes to the address of its control connection then, which is where the port is.
            _ => format!("{class}29 Entering Extended Passive Mode (|||{}|)\r\n", public.port()),
        };
        out.to_client.extend_from_slice(text.as_bytes());
    }

    /// 425 for a set-up that has not come about.
    pub(super) fn report_failure(&mut self, out: &mut Outbox) -> Taken {
        let text = match self.data.as_ref().map(|data| &data.step) {
            Some(Step::Failed(text)) => format!("425 Cannot open the data connection: {text}."),
            _ => return Ok(()),
        };
        self.answer(&text, out)?;
        if let Some(data) = &mut self.data {
            data.retire(out);
        }
        Ok(())
    }

    fn extended_passive(&mut self, line: &[u8], command: &Command<'_>, out: &mut Outbox) -> Taken {
        let argument = command.arguments();
        if !self.is_globus {
            // A 229 has no address, and the form with one breaks every client but Globus'; told no, they send PASV.
            return self.answer("502 EPSV is not available on this path; use PASV, or EPRT over IPv6.", out);
        }
        if argument.eq_ignore_ascii_case(b"ALL") {
            self.pass(Kind::Other, line, out);
            return Ok(());
        }
        let leg = self.server.addresses.dialled_is_ipv6();
        let (ipv6, line): (bool, &[u8]) = match argument {
            b"1" => (false, line),
            b"2" => (true, line),
            // The server would listen in the family of the door's connection to it, not of the client's.
            b"" if self.client.is_ipv6() != leg && self.server.addresses.has_family(!leg) => {
                (!leg, if leg { b"EPSV 1\r\n" } else { b"EPSV 2\r\n" })
            }
            _ => (leg, line),
        };
        self.passive(Kind::Epsv { ipv6 }, line, out)
    }

    /// PORT, EPRT, SPOR: the client names where the server shall connect to.
    pub(super) fn named(
        &mut self,
        now: Instant,
        addresses: Option<Vec<SocketAddr>>,
        line: &[u8],
        command: &Command<'_>,
        out: &mut Outbox,
    ) -> Taken {
        self.wait_until(Gate::Settled)?;
        let Some(addresses) = addresses else { return self.answer(UNREADABLE, out) };
        let Named { addresses, own_port, replaced } = match self.judge(addresses) {
            Ok(named) => named,
            Err(refusal) => return self.answer(&refusal, out),
        };
        let own_port = own_port.then_some(PathReason::OwnRelayNamed);
        if let Some(reason) = own_port.or_else(|| self.relay_reason(SetUpForm::Active)) {
            if addresses.len() > MAX_RELAYED_STRIPES {
                return self.answer(TOO_MANY_STRIPES, out);
            }
            return self.relayed_active(now, addresses, command.verb, reason, out);
        }
        self.go_direct(self.data_path(SetUpForm::Active).1, out)?;
        self.choose_type(out);
        if replaced {
            let checked = address_command(&addresses, command.verb == Verb::Spor);
            self.pass(Kind::Port, &checked, out);
        } else if is_printable(line) {
            self.pass(Kind::Port, line, out);
        } else {
            // Servers could read the other bytes in two ways; let it be the way that was checked.
            let checked = [command.verb.name().as_bytes(), b" ", command.arguments(), b"\r\n"].concat();
            self.pass(Kind::Port, &checked, out);
        }
        Ok(())
    }

    /// The door connects to the client in the server's place; the server is told where when a transfer begins.
    fn relayed_active(
        &mut self,
        now: Instant,
        targets: Vec<SocketAddr>,
        verb: Verb,
        reason: PathReason,
        out: &mut Outbox,
    ) -> Taken {
        if self.login == Login::No {
            return self.answer(NOT_LOGGED_IN, out);
        }
        if self.epsv_only {
            return self.answer(AFTER_EPSV_ALL, out);
        }
        self.answer(&format!("200 {} command successful.", verb.name()), out)?;
        self.set_up(Asked::Active { striped: verb == Verb::Spor }, reason, now, out);
        if let Some(data) = &mut self.data {
            data.targets = targets;
        }
        self.is_delayed = false;
        self.address_open = true;
        Ok(())
    }

    /// Whether this session may name these addresses; a port of the door itself is replaced by where it listens, and one
    /// that the kernel carries to a real server by that server's own: it could not reach the virtual address, if it has it, too.
    pub(super) fn judge(&self, mut addresses: Vec<SocketAddr>) -> Result<Named, String> {
        let (mut own_port, mut replaced) = (false, false);
        for address in &mut addresses {
            let refusal = if let Some(port) = self.policy.own_ports.find(*address) {
                // The door is let in there, so it must not go for anybody who would not be.
                let foreign = BounceRefusal::Foreign(*address);
                let carried = port.purpose == Purpose::Kernel;
                own_port |= !carried;
                replaced |= carried;
                *address = port.bound;
                let allowed = port.purpose != Purpose::Server
                    && self.policy.bounce.check_peer(port.client, port.login, self.client);
                (!allowed).then_some(foreign)
            } else if self.is_of_the_door(*address) {
                Some(BounceRefusal::Door(*address))
            } else {
                self.policy.bounce.check(self.client, self.login, *address).err()
            };
            if let Some(refusal) = refusal {
                return Err(format!("504 Data address refused: {refusal}."));
            }
        }
        Ok(Named { addresses, own_port, replaced })
    }

    /// Whether the door is at this address, or may be by the time that a server connects: no session has been told the port.
    fn is_of_the_door(&self, named: SocketAddr) -> bool {
        let address = named.ip().to_canonical();
        // A client on the door's own host has its own ports there, and a real server on that host those that are not the door's.
        address != self.client
            && self.policy.own_ports.is_address(address)
            && (self.policy.own_ports.is_in_range(named.port())
                || !self.policy.bounce.servers.contains(&address))
    }
}

/// Addresses that the client may name.
pub(super) struct Named {
    pub(super) addresses: Vec<SocketAddr>,
    /// One of them is a port of the door.
    pub(super) own_port: bool,
    /// One of them is not what the client has named.
    pub(super) replaced: bool,
}

/// How data connections are set up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SetUpForm {
    /// The client connects to one host: PASV, EPSV.
    Passive,
    /// To several: SPAS.
    Striped,
    /// The server connects: PORT, EPRT, SPOR.
    Active,
}
