//! The client's side: what each command means to the door.
use std::net::SocketAddr;
use std::time::Instant;

use super::super::bounce::Login;
use super::super::command::{Command, Verb};
use super::super::passive::{parse_eprt, parse_port, parse_spor};
use super::pending::{Gate, Kind};
use super::{Ending, OpenTransfer, Outbox, Session};

/// Longest user name or path that is kept for the log, in bytes.
const MAX_LOGGED: usize = 512;

/// Whether the command was taken; if not, what it waits for.
pub(super) type Taken = Result<(), Gate>;

impl Session {
    /// `whole` is false for the first part of a line that is too long to be kept; it can only pass.
    pub(super) fn on_command(&mut self, now: Instant, line: &[u8], whole: bool, out: &mut Outbox) -> Taken {
        if self.draining && self.is_quiet() {
            self.end(Ending::Draining, now, out);
            return Ok(());
        }
        // AUTH changes what the bytes after it are.
        if self.pending.back().is_some_and(|pending| matches!(pending.kind, Kind::Auth { .. })) {
            return Err(Gate::Settled);
        }
        let command = Command::parse(line);
        if !whole && !passes_unread(command.verb) {
            let unclear = command.verb == Verb::Unclear;
            self.end(if unclear { Ending::UnclearCommand } else { Ending::CommandTooLong }, now, out);
            return Ok(());
        }
        self.dispatch(now, &line[command.start()..], &command, out)?;
        self.commands = self.commands.saturating_add(1);
        Ok(())
    }

    fn dispatch(&mut self, now: Instant, line: &[u8], command: &Command<'_>, out: &mut Outbox) -> Taken {
        if let Some(taken) = self.security(command, out) {
            return taken;
        }
        match command.verb {
            Verb::User => {
                let name = command.arguments();
                self.user = Some(logged(name));
                self.may_be_anonymous |= is_anonymous(name);
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
                self.is_globus |= command.arguments().eq_ignore_ascii_case(b"E");
                self.pass(Kind::Other, line, out);
            }
            Verb::Opts => {
                let (subject, options) = command.sub_command();
                let passive =
                    [&b"PASV"[..], b"EPSV", b"SPAS"].iter().any(|w| w.eq_ignore_ascii_case(subject));
                self.is_globus |= passive && starts_with_ignoring_case(options, b"AllowDelayed");
                self.pass(Kind::Other, line, out);
            }
            Verb::Feat => self.pass(Kind::Feat, line, out),
            Verb::Site => self.site(line, command, out)?,
            Verb::Pasv => self.passive(Kind::Pasv, line, out)?,
            Verb::Spas => {
                self.is_globus = true;
                self.passive(Kind::Spas, line, out)?;
            }
            Verb::Epsv => self.extended_passive(line, command, out)?,
            Verb::Port => {
                self.named(parse_port(command.arguments()).map(|address| vec![address]), line, command, out)?;
            }
            Verb::Eprt => {
                self.named(parse_eprt(command.arguments()).map(|address| vec![address]), line, command, out)?;
            }
            Verb::Spor => self.named(parse_spor(command.arguments()), line, command, out)?,
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
            _ => self.pass(Kind::Other, line, out),
        }
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

    /// A Globus server fixes the type of the next transfer when it gives the address, not when the transfer starts:
    /// a client that sets TYPE I in between gets a damaged file and a 226. Binary is what such clients mean, and it
    /// leaves listings whole, so the door chooses it for a client that has not chosen.
    fn choose_type(&mut self, out: &mut Outbox) {
        if !self.type_chosen && self.login != Login::No {
            self.type_chosen = true;
            self.pending.push(Kind::Type(b'I'), true);
            out.to_server.extend_from_slice(b"TYPE I\r\n");
        }
    }

    fn passive(&mut self, kind: Kind, line: &[u8], out: &mut Outbox) -> Taken {
        self.wait_until(Gate::Settled)?;
        self.choose_type(out);
        self.pass(kind, line, out);
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
    fn named(
        &mut self,
        addresses: Option<Vec<SocketAddr>>,
        line: &[u8],
        command: &Command<'_>,
        out: &mut Outbox,
    ) -> Taken {
        self.wait_until(Gate::Settled)?;
        let Some(addresses) = addresses else {
            return self.answer(
                "501 Cannot read the address; PORT h1,h2,h3,h4,p1,p2 (RFC 959) or EPRT |1|address|port| (RFC 2428).",
                out,
            );
        };
        if let Some(refusal) = self.refusal(&addresses) {
            return self.answer(&refusal, out);
        }
        self.choose_type(out);
        if is_printable(line) {
            self.pass(Kind::Port, line, out);
        } else {
            // Servers could read the other bytes in two ways; let it be the way that was checked.
            let checked = [command.verb.name().as_bytes(), b" ", command.arguments(), b"\r\n"].concat();
            self.pass(Kind::Port, &checked, out);
        }
        Ok(())
    }

    fn refusal(&self, addresses: &[SocketAddr]) -> Option<String> {
        let check = |&address| self.policy.bounce.check(self.client, self.login, address).err();
        addresses.iter().find_map(check).map(|refusal| format!("504 Data address refused: {refusal}."))
    }

    /// GFD.47: `GET path=…;port=h1,h2,h3,h4,p1,p2;` or `…;pasv;`.
    fn get_or_put(&mut self, now: Instant, line: &[u8], command: &Command<'_>, out: &mut Outbox) -> Taken {
        self.wait_until(Gate::Settled)?;
        let named = command
            .arguments()
            .split(|&byte| byte == b';')
            .map(<[u8]>::trim_ascii)
            .filter(|option| starts_with_ignoring_case(option, b"port"));
        for option in named {
            let value = option.splitn(2, |&byte| byte == b'=').nth(1).unwrap_or_default();
            let Some(address) = parse_port(value.trim_ascii()) else {
                return self.answer("501 Cannot read the address; port=h1,h2,h3,h4,p1,p2 (GFD.47).", out);
            };
            if let Some(refusal) = self.refusal(&[address]) {
                return self.answer(&refusal, out);
            }
        }
        self.transfer(now, line, command, out)
    }

    fn transfer(&mut self, now: Instant, line: &[u8], command: &Command<'_>, out: &mut Outbox) -> Taken {
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
            return self.answer(&text, out);
        }
        self.address_open = false;
        self.transfers.push_back(OpenTransfer {
            verb: command.verb,
            path: logged(command.arguments()),
            since: now,
        });
        self.pass(Kind::Transfer, line, out);
        Ok(())
    }

    fn pass(&mut self, kind: Kind, line: &[u8], out: &mut Outbox) {
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
        Verb::Other | Verb::Adat | Verb::Empty | Verb::Abor | Verb::Quit => true,
        // dCache's own form names an address, too.
        Verb::Get | Verb::Put => false,
        verb => verb.is_transfer(),
    }
}

/// Names that let anybody in, by the custom of RFC 1635. What some server might take for the end of the name counts.
fn is_anonymous(name: &[u8]) -> bool {
    let end = name.iter().position(|byte| !byte.is_ascii_graphic()).unwrap_or(name.len());
    [&b"anonymous"[..], b"ftp"].iter().any(|word| word.eq_ignore_ascii_case(&name[..end]))
}

/// The letter of a TYPE. `L 8` moves the same bytes as `I`.
fn type_letter(arguments: &[u8]) -> u8 {
    match arguments.first().map_or(b'?', u8::to_ascii_uppercase) {
        b'L' => b'I',
        letter => letter,
    }
}

fn is_printable(line: &[u8]) -> bool {
    line.strip_suffix(b"\r\n").unwrap_or(line).iter().all(|byte| matches!(byte, 32..=126))
}

fn starts_with_ignoring_case(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn logged(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_LOGGED)]).into()
}

fn shown(letter: u8) -> char {
    if letter.is_ascii_graphic() { char::from(letter) } else { '?' }
}
