//! The client's side: what each command means to the door.
use std::time::Instant;

use super::super::command::{Command, Verb};
use super::super::command_filter::FilterVerdict;
use super::super::passive::{parse_eprt, parse_port, parse_spor};
use super::pending::{Gate, Kind};
use super::{Action, Ending, Outbox, Session};

/// Longest user name or path that is kept for the log, in bytes.
const MAX_LOGGED: usize = 512;

/// Whether the command was taken; if not, what it waits for.
pub(super) type Taken = Result<(), Gate>;

impl Session {
    /// `whole` is false for the first part of a line that is too long to be kept; it can only pass.
    pub(super) fn on_command(&mut self, now: Instant, line: &[u8], whole: bool, out: &mut Outbox) -> Taken {
        let command = Command::parse(line);
        // Whoever says QUIT leaves by himself.
        if self.draining && self.is_quiet() && command.verb != Verb::Quit {
            self.end(Ending::Draining, now, out);
            return Ok(());
        }
        // AUTH changes what the bytes after it are.
        if self.pending.back().is_some_and(|pending| matches!(pending.kind, Kind::Auth { .. })) {
            return Err(Gate::Settled);
        }
        let filtered = self.policy.denied_commands.judge(&line[command.start()..], &command);
        if !whole && (filtered != FilterVerdict::Passes || !passes_unread(command.verb)) {
            let unclear = command.verb == Verb::Unclear;
            self.end(if unclear { Ending::UnclearCommand } else { Ending::CommandTooLong }, now, out);
            return Ok(());
        }
        match filtered {
            FilterVerdict::Passes => self.dispatch(now, &line[command.start()..], whole, &command, out)?,
            FilterVerdict::Denied { on_files } => self.deny_command(&command, on_files, out)?,
            FilterVerdict::Unclear => self.answer(
                "501 Servers read that command word in different ways; use letters and digits alone.",
                out,
            )?,
        }
        self.commands = self.commands.saturating_add(1);
        out.commands.count(command.verb);
        Ok(())
    }

    fn dispatch(
        &mut self,
        now: Instant,
        line: &[u8],
        whole: bool,
        command: &Command<'_>,
        out: &mut Outbox,
    ) -> Taken {
        if let Some(taken) = self.security(command, out) {
            return taken;
        }
        match command.verb {
            Verb::User => {
                self.name_user(now, command.arguments());
                self.pass(Kind::User, line, out);
            }
            Verb::Pass | Verb::Acct => self.pass(Kind::Pass, line, out),
            Verb::Auth => {
                // Nothing may be under way when the meaning of the bytes changes.
                self.wait_until(Gate::Empty)?;
                let gssapi = command.arguments().eq_ignore_ascii_case(b"GSSAPI");
                self.handshake = gssapi.then_some(now);
                self.pass(Kind::Auth { gssapi }, line, out);
            }
            Verb::Adat => self.pass(Kind::Adat, line, out),
            Verb::Rein => self.pass(Kind::Rein, line, out),
            Verb::Type => {
                self.pass(Kind::Type(type_letter(command.arguments())), line, out);
            }
            Verb::Mode => {
                // A Globus server looks at the first letter only.
                let is_e =
                    command.arguments().first().is_some_and(|letter| letter.eq_ignore_ascii_case(&b'E'));
                self.is_globus |= is_e;
                self.pass(Kind::Mode(is_e), line, out);
            }
            Verb::Feat => self.pass(Kind::Feat, line, out),
            Verb::Opts => self.opts(line, command, out)?,
            Verb::Site => self.site(line, command, out)?,
            Verb::Pasv => self.pasv(now, line, out)?,
            Verb::Spas => self.spas(now, line, command, out)?,
            Verb::Epsv => self.epsv(now, line, command, out)?,
            Verb::Port => {
                self.named(
                    now,
                    parse_port(command.arguments()).map(|address| vec![address]),
                    line,
                    command,
                    out,
                )?;
            }
            Verb::Eprt => {
                self.named(
                    now,
                    parse_eprt(command.arguments()).map(|address| vec![address]),
                    line,
                    command,
                    out,
                )?;
            }
            Verb::Spor => self.named(now, parse_spor(command.arguments()), line, command, out)?,
            Verb::Rest => self.restart(line, whole, command, out)?,
            Verb::Lprt | Verb::Lpsv => {
                self.answer("502 LPRT and LPSV are not available here; use EPRT and EPSV.", out)?;
            }
            Verb::Get | Verb::Put => self.get_or_put(now, line, command, out)?,
            verb if verb.is_transfer() => self.transfer(now, line, command, out)?,
            Verb::Quit => {
                self.has_quit = true;
                self.pass(Kind::Quit, line, out);
            }
            Verb::Abor => self.pass(Kind::Abor, line, out),
            Verb::Empty => self.pass(Kind::Blank, line, out),
            Verb::Unclear => {
                self.answer(
                    "501 Servers read that line in different ways: put a blank after the command word, \
                     and no CR, LF or byte above 250 inside.",
                    out,
                )?;
            }
            _ => self.pass(path_kind(line).unwrap_or(Kind::Other), line, out),
        }
        Ok(())
    }

    /// 550 lets clients go on with the next file, where lftp would end the connection at 502 and begin again. 502 is what
    /// they take for a server that does not have the command, and fall back where they can: from EPSV to PASV, from MLSD to
    /// LIST, from SITE CHMOD to nothing.
    fn deny_command(&mut self, command: &Command<'_>, on_files: bool, out: &mut Outbox) -> Taken {
        let text = if on_files {
            "550 Permission denied: command disabled by the administrator."
        } else {
            "502 Command disabled by the administrator."
        };
        if command.verb.is_transfer() {
            self.refuse(text, out)?;
        } else {
            self.answer(text, out)?;
        }
        out.actions.push(Action::CommandDenied);
        Ok(())
    }

    fn site(&mut self, line: &[u8], command: &Command<'_>, out: &mut Outbox) -> Taken {
        let (word, _) = command.sub_command();
        if [&b"UPAS"[..], b"UPRT"].iter().any(|refused| refused.eq_ignore_ascii_case(word)) {
            return self.answer("500 SITE UPAS and SITE UPRT are not available here; use PASV or PORT.", out);
        }
        self.is_globus |= word.eq_ignore_ascii_case(b"CLIENTINFO");
        self.pass(Kind::Other, line, out);
        Ok(())
    }

    pub(super) fn pass(&mut self, kind: Kind, line: &[u8], out: &mut Outbox) {
        self.pending.push(kind, false);
        out.to_server.extend_from_slice(line);
    }

    /// Answers in the server's place; waits for its turn.
    pub(super) fn answer(&mut self, text: &str, out: &mut Outbox) -> Taken {
        self.wait_until(Gate::Empty)?;
        out.to_client.extend_from_slice(text.as_bytes());
        out.to_client.extend_from_slice(b"\r\n");
        Ok(())
    }

    pub(super) fn wait_until(&self, gate: Gate) -> Taken {
        if self.is_open(gate) { Ok(()) } else { Err(gate) }
    }
}

/// Whether a line of any length may pass without its end having been seen.
fn passes_unread(verb: Verb) -> bool {
    match verb {
        Verb::Other | Verb::Adat | Verb::Abor | Verb::Quit | Verb::Rest => true,
        // What follows so many blanks, a server may still read.
        Verb::Empty => false,
        // dCache's own form names an address, too.
        Verb::Get | Verb::Put => false,
        verb => verb.is_transfer(),
    }
}

/// Commands by which clients see whether what they want is there, before they ask for it or in its place.
fn path_kind(line: &[u8]) -> Option<Kind> {
    const VERBS: [(&[u8], bool); 4] =
        [(b"SIZE ", true), (b"MDTM ", true), (b"MLST ", true), (b"CWD ", false)];
    let known = VERBS.iter().find(|(verb, _)| starts_with_ignoring_case(line, verb));
    known.map(|&(_, file)| Kind::Path { file })
}

/// The letter of a TYPE. `L 8` moves the same bytes as `I`.
fn type_letter(arguments: &[u8]) -> u8 {
    match arguments.first().map_or(b'?', u8::to_ascii_uppercase) {
        b'L' => b'I',
        letter => letter,
    }
}

pub(super) fn is_printable(line: &[u8]) -> bool {
    line.strip_suffix(b"\r\n").unwrap_or(line).iter().all(|byte| matches!(byte, 32..=126))
}

pub(super) fn starts_with_ignoring_case(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

pub(super) fn logged(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_LOGGED)]).into()
}

pub(super) fn shown(letter: u8) -> char {
    if letter.is_ascii_graphic() { char::from(letter) } else { '?' }
}
