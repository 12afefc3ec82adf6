//! AUTH TLS, PBSZ and PROT where the door is the TLS server (RFC 4217). The real server hears nothing of them.
use std::time::Instant;

use super::super::bounce::Login;
use super::super::command::{Command, Verb};
use super::super::relay::DataConstraint;
use super::commands::Taken;
use super::pending::{Gate, Kind};
use super::{Action, Outbox, Session, TlsPolicy};

/// How far TLS between client and door has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Protection {
    #[default]
    Clear,
    /// 234 was said: what the client sends belongs to TLS, and nothing can be said in clear.
    Handshake,
    Secured {
        /// PBSZ has come, or need not.
        is_sized: bool,
    },
}

/// The mechanisms of AUTH that mean TLS: RFC 4217 section 17 and the draft that clients were written to before it.
/// With some, data is private from the start.
const MECHANISMS: [(&[u8], bool); 4] = [(b"TLS", false), (b"TLS-C", false), (b"TLS-P", true), (b"SSL", true)];

/// Whether the name of a mechanism means TLS, and then, whether data is private from the start.
pub(super) fn tls_mechanism(name: &[u8]) -> Option<bool> {
    MECHANISMS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, is_private)| is_private)
}

impl Session {
    /// The same session on a connection that began with TLS; data is private unless the client says otherwise.
    #[must_use]
    pub fn with_implicit_tls(mut self) -> Self {
        self.protection = Protection::Secured { is_sized: true };
        self.is_private = true;
        self
    }

    /// The handshake that [`Action::StartTls`] asked for has come to its end.
    pub fn handle_secured(&mut self, _now: Instant) {
        // With TLS-P and SSL nothing more has to be agreed upon.
        self.protection = Protection::Secured { is_sized: self.is_private };
    }

    /// Whether TLS commands of the client's end here, because the door is its TLS server, or because the server's TLS
    /// is with the door.
    pub(super) fn owns_tls(&self) -> bool {
        self.policy.tls != TlsPolicy::Off || self.server.constraint == Some(DataConstraint::Tls)
    }

    /// Acts on a command that is about security; `None` for all others.
    pub(super) fn security(&mut self, command: &Command<'_>, out: &mut Outbox) -> Option<Taken> {
        if !self.owns_tls() {
            return None;
        }
        let is_secured = matches!(self.protection, Protection::Secured { .. });
        let text = match command.verb {
            Verb::User | Verb::Pass | Verb::Acct if self.policy.tls == TlsPolicy::Required && !is_secured => {
                "530 No login without protection here: send AUTH TLS or AUTH GSSAPI first."
            }
            Verb::Auth if is_secured => "503 The connection is protected already.",
            Verb::Auth => return self.auth_tls(command.arguments(), out),
            // RFC 4217 section 11 would have it end TLS in the middle of the connection.
            Verb::Rein if is_secured => "502 REIN is not available under TLS; connect again.",
            Verb::Pbsz => return Some(self.pbsz(command.arguments(), out)),
            Verb::Prot => return Some(self.prot(command.arguments(), out)),
            Verb::Ccc => "533 The control connection stays as it is.",
            Verb::Cpsv => "502 CPSV is not available here; use PASV or EPSV.",
            _ => return None,
        };
        Some(self.answer(text, out))
    }

    fn auth_tls(&mut self, mechanism: &[u8], out: &mut Outbox) -> Option<Taken> {
        let is_private = tls_mechanism(mechanism)?;
        if self.policy.tls == TlsPolicy::Off {
            return Some(self.answer("504 AUTH TLS is not available here.", out));
        }
        // What is still unanswered may change the login, or say that a GSSAPI handshake is under way.
        if let Err(gate) = self.wait_until(Gate::Empty) {
            return Some(Err(gate));
        }
        // A USER in clear could be anybody's, and the server still has it.
        if self.login != Login::No || self.handshake.is_some() || self.has_named {
            return Some(self.answer("503 AUTH TLS comes before any login; connect again.", out));
        }
        // An answer to an empty line in clear would come under TLS, as that to the first command there.
        if self.pending.contains(|kind| kind == Kind::Blank) {
            return Some(self.answer("503 AUTH TLS may not follow an empty line; connect again.", out));
        }
        out.to_client.extend_from_slice(b"234 Begin TLS now.\r\n");
        out.actions.push(Action::StartTls);
        self.protection = Protection::Handshake;
        self.is_private = is_private;
        Some(Ok(()))
    }

    /// RFC 4217 section 8: over TLS it is 0, whatever was asked for.
    fn pbsz(&mut self, size: &[u8], out: &mut Outbox) -> Taken {
        let Protection::Secured { .. } = self.protection else {
            return self.answer("503 PBSZ comes after AUTH TLS.", out);
        };
        if size.is_empty() || !size.iter().all(u8::is_ascii_digit) {
            return self.answer("501 PBSZ takes a number; over TLS it is 0.", out);
        }
        self.answer("200 PBSZ=0", out)?;
        self.protection = Protection::Secured { is_sized: true };
        Ok(())
    }

    fn prot(&mut self, level: &[u8], out: &mut Outbox) -> Taken {
        let Protection::Secured { is_sized } = self.protection else {
            return self.answer("503 PROT comes after AUTH TLS and PBSZ.", out);
        };
        if !is_sized {
            return self.answer("503 PROT comes after PBSZ.", out);
        }
        let (is_private, text) = match level {
            b"P" | b"p" => (true, "200 Data connections are private."),
            b"C" | b"c" => (false, "200 Data connections are in the clear."),
            b"S" | b"E" | b"s" | b"e" => return self.answer("536 TLS has PROT P and PROT C only.", out),
            _ => return self.answer("504 PROT takes P or C.", out),
        };
        self.answer(text, out)?;
        self.is_private = is_private;
        Ok(())
    }
}
