//! Who the client is: the server decides, and not what was said to USER.
use std::collections::VecDeque;
use std::time::Instant;

use super::super::bounce::Login;
use super::super::reply::ReplyCode;
use super::commands::logged;
use super::pending::Kind;
use super::{Action, Outbox, Session};

/// What USER has said. Only there while a login is under way.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// One for each [`Kind::User`] that is pending, in the same order.
    unanswered: VecDeque<NamedUser>,
    /// The last that the server has taken; a PASS or ACCT may log it in.
    taken: Option<NamedUser>,
}

#[derive(Debug)]
struct NamedUser {
    name: Box<str>,
    since: Instant,
}

impl Session {
    /// USER goes to the server.
    pub(super) fn name_user(&mut self, now: Instant, name: &[u8]) {
        let named = NamedUser { name: logged(name), since: now };
        self.names.get_or_insert_default().unanswered.push_back(named);
        self.may_be_anonymous |= is_anonymous(name);
    }

    pub(super) fn on_user_reply(&mut self, now: Instant, code: ReplyCode, out: &mut Outbox) {
        self.has_named = true;
        if let Some(names) = &mut self.names {
            let named = names.unanswered.pop_front();
            // Where it was refused, a server that lets somebody in all the same means the one before.
            if !code.is_failure() {
                names.taken = named;
            }
        }
        self.on_login(now, Kind::User, code, out);
        self.let_names_go();
    }

    pub(super) fn on_login(&mut self, now: Instant, kind: Kind, code: ReplyCode, out: &mut Outbox) {
        if matches!(code.number(), 230 | 232) {
            let was_in = self.login != Login::No;
            self.login = if self.may_be_anonymous { Login::Anonymous } else { Login::User };
            self.has_named = false;
            let named = self.names.as_mut().and_then(|names| names.taken.take());
            self.let_names_go();
            // Who is in already, and is told so once more (vsftpd), is who he was.
            if named.is_some() || !was_in {
                let (user, took) = named.map_or_else(Default::default, |named| {
                    (named.name, now.saturating_duration_since(named.since))
                });
                out.actions.push(Action::LoggedIn { user, took });
            }
            return;
        }
        let wrong_password = kind == Kind::Pass && code.number() == 530;
        // Whoever is in as somebody may still be guessing another's.
        let failed = self.login == Login::No && !code.is_success() && !code.is_intermediate();
        if failed || wrong_password {
            out.actions.push(Action::LoginFailed { wrong_password });
        }
    }

    /// The server has forgotten who was about to log in.
    pub(super) fn forget_name(&mut self) {
        if let Some(names) = &mut self.names {
            names.taken = None;
        }
        self.let_names_go();
    }

    /// An idle session has no use for their room.
    fn let_names_go(&mut self) {
        match &mut self.names {
            Some(names) if !names.unanswered.is_empty() => {}
            Some(names) if names.taken.is_some() => names.unanswered = VecDeque::new(),
            _ => self.names = None,
        }
    }
}

/// Names that let anybody in, by the custom of RFC 1635. What some server might take for the end of the name counts.
fn is_anonymous(name: &[u8]) -> bool {
    let end = name.iter().position(|byte| !byte.is_ascii_graphic()).unwrap_or(name.len());
    [&b"anonymous"[..], b"ftp"].iter().any(|word| word.eq_ignore_ascii_case(&name[..end]))
}
