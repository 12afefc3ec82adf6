//! One control connection: login, parameters, the file system. Transfers are in `transfer`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::AtFlags;
use tokio::net::TcpStream;

use super::Shared;
use super::control_connection::{ControlConnection, End};
use super::data_channel::{DataChannel, Form};
use super::directory::VirtualPath;
use super::listing::{Facts, is_directory, time_value};
use super::wording;
use crate::cli::demo::address::{BarForm, parse_bar_form, parse_comma_form};
use crate::cli::demo::extended_block_mode::MAX_CONNECTIONS;

/// As globus-gridftp-server's `-control-preauth-timeout`.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(120);
/// As globus-gridftp-server's `-control-idle-timeout`.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);

#[derive(PartialEq)]
enum Login {
    None,
    Named { anonymous: bool },
    Done,
}

/// What a command leads to, beside its reply.
type Next = io::Result<bool>;
const STAY: bool = true;
const LEAVE: bool = false;

pub(super) struct Session {
    pub(super) control: ControlConnection,
    pub(super) server: Arc<Shared>,
    pub(super) data: DataChannel,
    pub(super) ascii: bool,
    pub(super) extended_block: bool,
    /// connections that a MODE E get may use (`OPTS RETR Parallelism`)
    pub(super) parallelism: usize,
    /// where the next transfer begins (REST), in bytes
    pub(super) restart: u64,
    pub(super) facts: Facts,
    login: Login,
    here: VirtualPath,
    allow_delayed: bool,
}

impl Session {
    pub(super) fn new(stream: TcpStream, server: Arc<Shared>) -> Self {
        Self {
            control: ControlConnection::new(stream),
            data: DataChannel::new(*server.address.ip()),
            server,
            // RFC 959 §5.1: the type is ASCII until the client says otherwise
            ascii: true,
            extended_block: false,
            parallelism: 1,
            restart: 0,
            facts: Facts::default(),
            login: Login::None,
            here: VirtualPath::default(),
            allow_delayed: false,
        }
    }

    /// Serves until either side ends the control connection.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let greeting = format!("220 {} Gridfront demo server ready.", self.server.name);
        self.control.reply(&greeting).await?;
        loop {
            let patience = if self.login == Login::Done { IDLE_TIMEOUT } else { LOGIN_TIMEOUT };
            let line = match self.control.next_line(patience).await {
                Ok(line) => line,
                Err(End::Closed) => return Ok(()),
                Err(End::TooLong) => return self.control.reply("500 Command line too long.").await,
                Err(End::Idle) => {
                    return self.control.reply("421 Idle Timeout: closing control connection.").await;
                }
            };
            let (verb, argument) = split(&line);
            if self.dispatch(&verb, argument).await? == LEAVE {
                return Ok(());
            }
        }
    }

    async fn dispatch(&mut self, verb: &str, argument: &[u8]) -> Next {
        let text = String::from_utf8_lossy(argument);
        let text = text.trim();
        let reply: String = match verb {
            "USER" => self.user(text),
            "PASS" => self.pass(),
            "QUIT" => {
                self.control.reply("221 Goodbye.").await?;
                return Ok(LEAVE);
            }
            "FEAT" => wording::features(),
            "HELP" if text.eq_ignore_ascii_case("SITE") => wording::HELP_SITE.into(),
            "HELP" => wording::HELP.into(),
            "NOOP" => "200 NOOP command successful.".into(),
            "SYST" => "215 UNIX Type: L8".into(),
            "ABOR" => "226 Abort successful".into(),
            "AUTH" => "504 Unknown authentication type.".into(),
            _ if self.login != Login::Done => "530 Please login with USER and PASS.".into(),
            "SITE" => site(text),
            "TYPE" | "MODE" | "STRU" | "OPTS" | "REST" | "ALLO" => self.parameter(verb, text),
            "PASV" | "EPSV" | "SPAS" => self.passive(verb, text),
            "PORT" | "EPRT" => self.active(verb, text),
            "PWD" => format!("257 \"{}\" is current directory.", self.here),
            "CWD" | "CDUP" | "SIZE" | "MDTM" | "MLST" | "MKD" | "RMD" | "DELE" => {
                let target = if verb == "CDUP" { self.here.join(b"..") } else { self.here.join(argument) };
                let reply = self.file_system(verb, argument, target);
                self.control.reply_bytes(&reply).await?;
                return Ok(STAY);
            }
            "RETR" | "STOR" => {
                let path = self.here.join(argument);
                return self.transfer(verb == "STOR", path).await.map(|()| STAY);
            }
            "LIST" | "NLST" | "MLSD" => {
                let path = self.here.join(without_options(argument));
                return self.list(verb, &path).await.map(|()| STAY);
            }
            _ => "500 Command not supported.".into(),
        };
        self.control.reply(&reply).await?;
        Ok(STAY)
    }

    fn user(&mut self, name: &str) -> String {
        if self.login == Login::Done {
            return "503 User already logged in.".into();
        }
        let anonymous = ["anonymous", "ftp"].iter().any(|known| name.eq_ignore_ascii_case(known));
        self.login = Login::Named { anonymous };
        format!("331 Password required for {name}.")
    }

    fn pass(&mut self) -> String {
        match self.login {
            Login::Named { anonymous: true } => {
                self.login = Login::Done;
                "230 User anonymous logged in.".into()
            }
            Login::Named { anonymous: false } => {
                self.login = Login::None;
                "530 Login incorrect. : this server takes the user `anonymous` only.".into()
            }
            Login::None | Login::Done => "503 Login with USER first.".into(),
        }
    }

    fn parameter(&mut self, verb: &str, text: &str) -> String {
        let upper = text.to_ascii_uppercase();
        match (verb, upper.as_str()) {
            ("TYPE", "A" | "A N") => self.set_type(true),
            ("TYPE", "I" | "L 8") => self.set_type(false),
            ("TYPE", _) => format!("501 '{verb} {text}' unrecognized type."),
            ("MODE", "S" | "E") => {
                self.extended_block = upper == "E";
                if !self.extended_block {
                    drop(self.data.take_kept());
                }
                format!("200 Mode set to {upper}.")
            }
            ("MODE", _) => format!("501 'MODE {text}' unrecognized transfer mode."),
            ("STRU", "F") => "200 STRU F ok.".into(),
            ("STRU", _) => "501 Syntax error in parameter.".into(),
            ("ALLO", _) => "200 ALLO command successful.".into(),
            ("REST", _) => self.rest(text),
            _ => self.opts(text),
        }
    }

    fn set_type(&mut self, ascii: bool) -> String {
        self.ascii = ascii;
        format!("200 Type set to {}.", if ascii { 'A' } else { 'I' })
    }

    fn rest(&mut self, text: &str) -> String {
        let Ok(offset) = text.parse() else { return "501 Malformed argument.".into() };
        self.restart = offset;
        "350 Restart Marker OK. Send STORE or RETR to initiate transfer.".into()
    }

    fn opts(&mut self, text: &str) -> String {
        const SET: &str = "200 OPTS Command Successful.";
        let (subject, options) = text.split_once(' ').unwrap_or((text, ""));
        match subject.to_ascii_uppercase().as_str() {
            "PASV" | "SPAS" | "EPSV" => match option(options, "AllowDelayed") {
                Some(value) => {
                    self.allow_delayed = value == "1";
                    SET.into()
                }
                None => "500 OPTS failed.".into(),
            },
            // `Parallelism=starting,minimum,maximum;` (GFD.20): we use the first
            "RETR" => {
                let starting = option(options, "Parallelism").and_then(|value| value.split(',').next());
                if let Some(count) = starting.and_then(|count| count.parse::<usize>().ok()) {
                    self.parallelism = count.clamp(1, MAX_CONNECTIONS);
                }
                SET.into()
            }
            "MLST" => {
                self.facts = Facts::parse(options);
                SET.into()
            }
            _ => "500 OPTS failed.".into(),
        }
    }

    fn passive(&mut self, verb: &str, text: &str) -> String {
        let form = match (verb, text.to_ascii_uppercase().as_str()) {
            ("PASV", _) => Form::Passive,
            ("EPSV", "ALL") => return "229 EPSV ALL Successful.".into(),
            ("EPSV", "" | "1") => Form::Extended,
            ("EPSV", "2") => return "522 Network protocol not supported, use (1).".into(),
            ("SPAS", "") => Form::Striped,
            ("SPAS", "1") => Form::StripedExtended,
            _ => return "501 Invalid protocol.".into(),
        };
        if self.allow_delayed {
            self.data.listen_later(form);
            return "200 Passive delayed.".into();
        }
        match self.data.listen() {
            Ok(address) => form.reply(address, false),
            Err(error) => wording::transfer_failure("listen", &error),
        }
    }

    fn active(&mut self, verb: &str, text: &str) -> String {
        let address = match verb {
            "PORT" => parse_comma_form(text),
            _ => match parse_bar_form(text) {
                Some(BarForm::Full(address)) => Some(address),
                Some(BarForm::OtherProtocol) => {
                    return "522 Network protocol not supported, use (1).".into();
                }
                Some(BarForm::PortOnly(_)) | None => None,
            },
        };
        let Some(address) = address else { return "501 Malformed argument.".into() };
        match self.data.dial(address) {
            Ok(()) => {
                // Globus: a PORT ends delayed passive mode
                self.allow_delayed = false;
                "200 PORT Command successful.".into()
            }
            Err(error) => wording::transfer_failure("connect", &error),
        }
    }

    fn file_system(&mut self, verb: &str, argument: &[u8], path: VirtualPath) -> Vec<u8> {
        let root = &self.server.root;
        let outcome: io::Result<Vec<u8>> = match verb {
            "CWD" | "CDUP" => root.stat(&path).and_then(|stat| {
                if !is_directory(&stat) {
                    return Err(io::ErrorKind::NotADirectory.into());
                }
                self.here = path;
                Ok(b"250 CWD command successful.".to_vec())
            }),
            "SIZE" => root.stat(&path).map(|stat| format!("213 {}", stat.st_size).into_bytes()),
            "MDTM" => root.stat(&path).map(|stat| format!("213 {}", time_value(stat.st_mtime)).into_bytes()),
            "MKD" => root
                .make_directory(&path)
                .map(|()| format!("257 Directory \"{path}\" created successfully.").into_bytes()),
            "RMD" => root.remove(&path, AtFlags::REMOVEDIR).map(|()| b"250 RMD command successful.".to_vec()),
            "DELE" => root.remove(&path, AtFlags::empty()).map(|()| b"250 DELE command successful.".to_vec()),
            _ => root.stat(&path).map(|stat| {
                let facts = self.facts.line(&stat, argument);
                [b"250-status of ", argument, b"\r\n ", &facts, b"\r\n250 End."].concat()
            }),
        };
        outcome.unwrap_or_else(|error| wording::path_failure("stat", &error).into_bytes())
    }
}

fn site(text: &str) -> String {
    match text.split(' ').next().unwrap_or_default().to_ascii_uppercase().as_str() {
        "HELP" => wording::HELP.into(),
        "CLIENTINFO" => "250 OK.".into(),
        _ => "500 Command not supported.".into(),
    }
}

/// `Name=value;` of an OPTS argument.
fn option<'t>(options: &'t str, name: &str) -> Option<&'t str> {
    options.split(';').find_map(|option| {
        let (key, value) = option.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then_some(value)
    })
}

/// The verb in capitals, and what follows the blanks after it.
fn split(line: &[u8]) -> (String, &[u8]) {
    let end = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
    let (verb, rest) = line.split_at(end);
    (String::from_utf8_lossy(verb).to_ascii_uppercase(), rest.trim_ascii_start())
}

/// Clients send `LIST -la path` as if to ls(1).
fn without_options(argument: &[u8]) -> &[u8] {
    let mut rest = argument;
    while rest.starts_with(b"-") {
        let end = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
        rest = rest[end..].trim_ascii_start();
    }
    rest
}
