//! The real server's side: each reply meets the command it answers.
use std::collections::VecDeque;
use std::time::Instant;

use super::super::bounce::Login;
use super::super::passive::{AddressList, rewrite_address_line};
use super::super::reply::{ReplyCode, ReplyLine};
use super::data_connection::LinePlace;
use super::pending::{Kind, Pending};
use super::{Action, Outbox, Session, Tunnel};

impl Session {
    /// `whole` is false for the first part of a line that is too long to be kept.
    pub(super) fn on_reply_line(&mut self, now: Instant, line: &[u8], whole: bool, out: &mut Outbox) {
        let (code, begins, ends) = match self.framer.classify(line) {
            ReplyLine::First(code) => (code, true, false),
            ReplyLine::Middle(code) => (code, false, false),
            ReplyLine::Last(code) => (code, false, true),
            ReplyLine::Single(code) => (code, true, true),
            ReplyLine::Stray => return self.show(line, out),
        };
        if begins {
            self.skip_blanks(code);
        }
        let head = self.pending.front();
        if begins {
            self.hiding = head.is_some_and(|pending| pending.hidden && self.stays_hidden(pending.kind, code));
        }
        if begins && self.denies(head, code) {
            self.denying = true;
            self.hiding = true;
        }
        if let Some(pending) = head.filter(|pending| pending.hidden) {
            self.on_late_line(pending.kind, code, line, LinePlace { begins, single: begins && ends, whole });
        }
        if whole
            && head.is_some_and(|pending| pending.kind == Kind::Feat)
            && let Some(edited) = self.edit_features(code, line, begins, ends)
        {
            self.show(&edited, out);
            if ends {
                self.on_reply(now, code, out);
            }
            return;
        }
        let list = head.and_then(|pending| self.address_list(pending.kind, code, begins && ends));
        match list.filter(|_| whole).and_then(|kind| rewrite_address_line(kind, line, &self.server.addresses))
        {
            Some(rewritten) => self.show(&rewritten, out),
            None => self.show(line, out),
        }
        if ends {
            let code = if std::mem::take(&mut self.denying) { self.deny(out) } else { code };
            self.on_reply(now, code, out);
        }
    }

    /// Whether the server calls an upload complete whose data connection broke. Some do at a reset (pyftpdlib), and a client
    /// that is told 226 may remove its own copy.
    fn denies(&self, head: Option<Pending>, code: ReplyCode) -> bool {
        code.is_success()
            && head.is_some_and(|pending| pending.kind == Kind::Transfer)
            && self.transfers.front().is_some_and(|transfer| transfer.broken.is_some())
    }

    fn deny(&mut self, out: &mut Outbox) -> ReplyCode {
        let how = self.transfers.front().and_then(|transfer| transfer.broken.as_deref()).unwrap_or_default();
        let text = format!("426 Transfer aborted, the file is not whole: {how}.\r\n");
        out.to_client.extend_from_slice(text.as_bytes());
        self.hiding = false;
        ReplyCode::CONNECTION_CLOSED
    }

    fn on_reply(&mut self, now: Instant, code: ReplyCode, out: &mut Outbox) {
        if code.is_preliminary() {
            let answers_transfer = self.pending.front().is_some_and(|pending| pending.kind == Kind::Transfer);
            if let Some(transfer) = self.transfers.front_mut().filter(|_| answers_transfer) {
                transfer.has_begun = true;
            }
            return;
        }
        self.goodbye = is_farewell(code) || code.number() == 221;
        let Some(Pending { kind, hidden }) = self.pending.pop() else { return };
        if hidden {
            self.on_late_reply(kind, code, out);
        }
        match kind {
            Kind::Other
            | Kind::Feat
            | Kind::Abor
            | Kind::Blank
            | Kind::LatePassive
            | Kind::LatePort
            | Kind::LateRest
            | Kind::LateSpas => {}
            Kind::Path { file } => {
                self.found_file |= file && code.is_success();
                self.missed_path |= code.is_failure() && !is_farewell(code);
            }
            // Not all say 221: Globus in a handshake says 211.
            Kind::Quit => self.goodbye |= code.is_success(),
            Kind::User => self.on_user_reply(now, code, out),
            Kind::Pass => self.on_login(now, Kind::Pass, code, out),
            Kind::Auth { gssapi } => {
                if code.number() == 234 {
                    self.open_tunnel(if gssapi { Tunnel::Gssapi } else { Tunnel::Other }, now, out);
                } else if !code.is_intermediate() {
                    self.handshake = None;
                }
            }
            Kind::Adat => {
                if code.is_success() {
                    self.open_tunnel(Tunnel::Gssapi, now, out);
                } else if !code.is_intermediate() && self.handshake.take().is_some() {
                    out.actions.push(Action::SecurityFailed { refused: is_permanent(code) });
                }
            }
            Kind::Type(letter) => {
                if code.is_success() {
                    self.type_in_force = letter;
                    self.type_chosen = true;
                }
            }
            Kind::Pasv | Kind::Epsv { .. } | Kind::Spas | Kind::Port if code.is_success() => {
                // 200 to a passive command says that the address will come with the transfer, and then counts the type
                // of that moment.
                let now_given = kind == Kind::Port || matches!(code.number(), 227 | 229);
                self.type_at_address = now_given.then_some(self.type_in_force);
                self.address_open = now_given;
                // One that crossed the door is over.
                self.data = None;
                match kind {
                    Kind::Epsv { ipv6 } => self.listens_on_ipv6 = ipv6,
                    // Globus, client and server: PORT takes AllowDelayed back.
                    Kind::Port => (self.is_delayed, self.server_delays) = (false, false),
                    _ => {}
                }
            }
            // The server keeps the address that it had.
            Kind::Pasv | Kind::Epsv { .. } | Kind::Spas | Kind::Port => {}
            Kind::Delay(delays) => {
                if code.is_success() {
                    self.is_delayed = delays;
                    self.server_delays = delays;
                }
            }
            Kind::Mode(is_e) => {
                if code.is_success() {
                    self.mode_is_e = is_e;
                }
            }
            Kind::Rest => {
                if !code.is_intermediate() {
                    self.rest = None;
                }
            }
            Kind::Rein => {
                if code.is_success() {
                    self.close_set_up(out);
                    self.withdraw(out);
                    self.mode_is_e = false;
                    (self.is_delayed, self.server_delays) = (false, false);
                    self.epsv_only = false;
                    (self.rest, self.restarts) = (None, false);
                    self.login = Login::No;
                    self.forget_name();
                    self.type_in_force = b'A';
                    self.type_chosen = false;
                    self.type_at_address = None;
                    self.address_open = false;
                }
            }
            Kind::Transfer => {
                if let Some(transfer) = self.transfers.pop_front() {
                    if transfer.has_begun || code.is_success() {
                        self.withdraw_used(out);
                    }
                    if let Some(id) = transfer.relay {
                        self.on_relayed(id, code, transfer.has_begun, out);
                    }
                    out.actions.push(Action::Transfer(transfer.finish(Some(code), now)));
                }
                match self.transfers.front_mut() {
                    Some(next) => next.since = now,
                    // Most sessions are idle from here on; the room that many at once have taken goes back.
                    None => self.transfers = VecDeque::new(),
                }
            }
        }
    }

    /// A server that lets empty lines pass unanswered has gone on to what came after them.
    fn skip_blanks(&mut self, code: ReplyCode) {
        let answers_blank = is_permanent(code) || is_farewell(code);
        while !answers_blank && self.pending.front().is_some_and(|pending| pending.kind == Kind::Blank) {
            self.pending.pop();
        }
    }

    /// Which addresses a line holds that answers a command of this kind with this code.
    fn address_list(&self, kind: Kind, code: ReplyCode, single: bool) -> Option<AddressList> {
        match (kind, code.number()) {
            (Kind::Pasv, 227) | (Kind::Transfer, 127) => Some(AddressList::HostPort),
            (Kind::Spas, 229) | (Kind::Transfer, 129) if !single => Some(AddressList::Striped),
            (Kind::Epsv { ipv6 }, 229) => Some(AddressList::Extended { ipv6 }),
            (Kind::Spas, 229) | (Kind::Transfer, 129) => {
                Some(AddressList::Extended { ipv6: self.listens_on_ipv6 })
            }
            _ => None,
        }
    }

    fn open_tunnel(&mut self, tunnel: Tunnel, now: Instant, out: &mut Outbox) {
        self.tunnel = Some(tunnel);
        self.close_set_up(out);
        self.withdraw(out);
        if let Some(since) = self.handshake.take() {
            out.actions.push(Action::Secured(now.saturating_duration_since(since)));
        }
        out.actions.push(Action::Tunnel(tunnel));
    }
}

/// 5yz.
fn is_permanent(code: ReplyCode) -> bool {
    (500..600).contains(&code.number())
}

/// 421, and the 422 that a Globus server says when it is closed for connections.
pub(super) fn is_farewell(code: ReplyCode) -> bool {
    matches!(code.number(), 421 | 422)
}
