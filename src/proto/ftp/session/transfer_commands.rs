//! The commands that begin a transfer: what each has to wait for, and why it may be refused.
use std::time::Instant;

use super::super::command::{Command, Verb};
use super::super::passive::parse_port;
use super::super::policy::DataPath;
use super::super::relay::{Connections, Direction};
use super::super::reply::ReplyCode;
use super::commands::{Taken, logged, shown, starts_with_ignoring_case};
use super::data_commands::SetUpForm;
use super::data_connection::{Asked, Step};
use super::outbox::OpenTransfer;
use super::pending::{Gate, Kind};
use super::{Action, Outbox, Session, TransferRecord};

impl Session {
    /// `whole` is false where only the beginning of the line is here.
    pub(super) fn restart(
        &mut self,
        line: &[u8],
        whole: bool,
        command: &Command<'_>,
        out: &mut Outbox,
    ) -> Taken {
        if self.policy.data_path != DataPath::Direct || self.relay_reason(SetUpForm::Passive).is_some() {
            // Which of two the server has taken would not be known.
            if self.pending.contains(|kind| kind == Kind::Rest) {
                self.wait_until(Gate::Empty)?;
            }
            // What is too long to be kept can only have come to a server that keeps it itself: Globus'.
            self.rest = whole.then(|| command.arguments().into());
        }
        self.restarts = true;
        self.pass(Kind::Rest, line, out);
        Ok(())
    }

    /// GFD.47: `GET path=…;port=h1,h2,h3,h4,p1,p2;` or `…;pasv;`.
    pub(super) fn get_or_put(
        &mut self,
        now: Instant,
        line: &[u8],
        command: &Command<'_>,
        out: &mut Outbox,
    ) -> Taken {
        self.wait_until(Gate::Settled)?;
        let options = || command.arguments().split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let mut has_own_address = options().any(|option| starts_with_ignoring_case(option, b"pasv"));
        let mut own_port = false;
        for option in options().filter(|option| starts_with_ignoring_case(option, b"port")) {
            has_own_address = true;
            let value = option.splitn(2, |&byte| byte == b'=').nth(1).unwrap_or_default();
            let Some(address) = parse_port(value.trim_ascii()) else {
                return self.refuse("501 Cannot read the address; port=h1,h2,h3,h4,p1,p2 (GFD.47).", out);
            };
            match self.judge(vec![address]) {
                Ok(named) => own_port |= named.own_port,
                Err(refusal) => return self.refuse(&refusal, out),
            }
        }
        if has_own_address {
            self.is_globus = true;
            if own_port || self.data_path(SetUpForm::Passive).0 != DataPath::Direct {
                return self.refuse(
                    "504 GET and PUT with pasv or port are not available on this path; \
                     use PASV or PORT, then RETR or STOR.",
                    out,
                );
            }
            self.go_direct(self.data_path(SetUpForm::Passive).1, out)?;
            // It has its own address.
            self.data = None;
        }
        self.transfer(now, line, command, out)
    }

    pub(super) fn transfer(
        &mut self,
        now: Instant,
        line: &[u8],
        command: &Command<'_>,
        out: &mut Outbox,
    ) -> Taken {
        self.wait_until(Gate::Settled)?;
        if let Some(at_address) = self.type_at_address
            && command.verb.moves_file()
            && at_address != self.type_in_force
        {
            let text = format!(
                "425 TYPE was {} when the data address was given and is {} now, which would damage the file; \
                 send PASV, EPSV, PORT or EPRT again.",
                shown(at_address),
                shown(self.type_in_force)
            );
            return self.refuse(&text, out);
        }
        let mut open = OpenTransfer {
            broken: None,
            broken_since: None,
            verb: command.verb,
            path: logged(command.arguments()),
            since: now,
            relay: None,
            data_path: self.path,
            reason: self.reason,
            has_begun: false,
        };
        if self.data.is_some() {
            match self.cross(now, &mut open, out)? {
                Crossing::Ready => {}
                Crossing::Answered => {
                    self.address_open = false;
                    self.forget_restart(out);
                    return Ok(());
                }
            }
        } else if self.is_private {
            // The server would move the file in the clear, past the door or not at all.
            return self.refuse("425 Use PASV, EPSV, PORT or EPRT first, after PROT P.", out);
        }
        self.address_open = false;
        (self.rest, self.restarts) = (None, false);
        self.transfers.push_back(open);
        self.pass(Kind::Transfer, line, out);
        Ok(())
    }

    /// Brings the data set-up to where the transfer command may pass.
    fn cross(&mut self, now: Instant, open: &mut OpenTransfer, out: &mut Outbox) -> Result<Crossing, Gate> {
        let is_private = self.is_private;
        let Some(data) = self.data.as_deref_mut() else { return Ok(Crossing::Ready) };
        (open.data_path, open.reason) = (DataPath::Relay, data.reason);
        open.relay = Some(data.id);
        match &data.step {
            Step::Open => {
                self.wait_until(Gate::Empty)?;
                if self.pending.contains(|kind| kind == Kind::Blank) {
                    // A 500 could be the server's answer to that or to what the door asks, and not all servers answer it.
                    self.answer(
                        "425 An empty line before it has no answer yet; send NOOP, then this again.",
                        out,
                    )?;
                    return Ok(Crossing::Answered);
                }
                self.begin(now, open.verb, out)?;
            }
            Step::Bound => {
                self.wait_until(Gate::Empty)?;
                return Err(self.ask_server(out));
            }
            Step::Binding | Step::Asking | Step::Expecting | Step::Dialling => return Err(Gate::Data),
            Step::Started => {}
            Step::InUse if data.connections == Connections::Many && data.private == is_private => {
                return Ok(Crossing::Ready);
            }
            Step::InUse | Step::Spent => {
                // A server that still had the old address would connect to whoever has the port by then.
                let text = if data.connections == Connections::Many && data.step == Step::InUse {
                    "425 PROT has changed since the data connections were made; send PASV, EPSV, PORT or EPRT again."
                } else {
                    "425 There is no data connection for it; send PASV, EPSV, PORT or EPRT first."
                };
                self.answer(text, out)?;
                return Ok(Crossing::Answered);
            }
            Step::Failed(text) => {
                let failure = text.clone();
                self.wait_until(Gate::Empty)?;
                self.record(open, now, ReplyCode::parse(b"425"), Some(failure), out);
                self.report_failure(out)?;
                return Ok(Crossing::Answered);
            }
            Step::Answered(code) => {
                let code = *code;
                self.wait_until(Gate::Empty)?;
                self.record(open, now, Some(code), None, out);
                if let Some(data) = self.data.as_deref_mut() {
                    data.retire(out);
                }
                return Ok(Crossing::Answered);
            }
        }
        let Some(data) = self.data.as_deref_mut() else { return Ok(Crossing::Ready) };
        data.step = Step::InUse;
        open.since = data.since;
        if let (&Asked::Passive { form, delayed: true }, Some(&port)) = (&data.asked, data.ports.first()) {
            self.announce(form, port, true, out);
        }
        Ok(Crossing::Ready)
    }

    /// What a set-up that no transfer has used yet has to ask first.
    fn begin(&mut self, now: Instant, verb: Verb, out: &mut Outbox) -> Taken {
        let Some(data) = self.data.as_deref_mut() else { return Ok(()) };
        data.since = now;
        data.direction = if verb.is_upload() { Direction::Upload } else { Direction::Download };
        data.lists = !verb.moves_file();
        match data.asked {
            Asked::Active { .. } | Asked::Passive { delayed: true, .. } => {
                let ports = data.targets.len().max(1);
                Err(self.listen(ports, out))
            }
            Asked::Passive { .. } | Asked::Carried => Err(self.ask_server(out)),
            Asked::Striped(_) => {
                self.start(out);
                if self.data_waits() { Err(Gate::Data) } else { Ok(()) }
            }
        }
    }

    /// Answers a transfer command of which the server hears nothing.
    pub(super) fn refuse(&mut self, text: &str, out: &mut Outbox) -> Taken {
        self.answer(text, out)?;
        self.forget_restart(out);
        Ok(())
    }

    /// The server has not seen the transfer command that REST was for, and would resume the next file there. Some keep an
    /// older REST when they refuse a newer one, so whatever they have answered, it is taken back.
    fn forget_restart(&mut self, out: &mut Outbox) {
        self.rest = None;
        if std::mem::take(&mut self.restarts) {
            self.ask(Kind::LateRest, b"REST 0\r\n", out);
        }
    }

    /// A transfer that the server has not heard of.
    fn record(
        &self,
        open: &OpenTransfer,
        now: Instant,
        reply: Option<ReplyCode>,
        failure: Option<Box<str>>,
        out: &mut Outbox,
    ) {
        let since = self.data.as_ref().map_or(now, |data| data.since);
        out.actions.push(Action::Transfer(TransferRecord {
            verb: open.verb,
            path: open.path.clone(),
            reply,
            duration: now.saturating_duration_since(since),
            data_path: DataPath::Relay,
            relay: open.relay,
            reason: open.reason,
            failure,
        }));
    }
}

enum Crossing {
    Ready,
    /// The client has its reply already.
    Answered,
}
