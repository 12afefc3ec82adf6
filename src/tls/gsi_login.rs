//! A login at a real server by GSI, as far as 235: the driver of the initiator, for sessions and for checks.
mod lines;

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

pub use lines::{LONGEST_COMMAND, LONGEST_FIRST_TOKEN, LONGEST_TOKEN, Lines};

use super::date;
use crate::proto::ftp::{ReplyCode, ReplyFramer, ReplyLine};
use crate::proto::gsi::adat::{self, AdatError, AdatReply};
use crate::proto::gsi::{
    Certificate, Established, HandshakeError, InitiateError, Initiator, InitiatorConfig, PeerError,
};

/// Lines of a reply that are kept; what a server says beyond is not repeated.
const MAX_REPLY_LINES: usize = 16;

/// As much of a server's refusal as is repeated, in bytes: room for a name and what is wrong with it.
const MAX_REFUSAL: usize = 160;

/// How lines begin that are in every refusal of a Globus server.
const SAID_ALWAYS: [&str; 5] =
    ["End.", "Authentication Error", "GSS failure:", "GSS Major Status:", "GSS Minor Status Error Chain:"];

/// Why the door is not logged in.
#[derive(Debug, thiserror::Error)]
pub enum GsiLoginError {
    /// The server does not want the credential: its words.
    #[error("it refuses the credential: {0}")]
    Refused(String),
    /// The door does not want the server, or does not understand it.
    #[error("{}", initiation(.0))]
    Initiate(#[from] InitiateError),
    /// It has nothing of its own to log in with, as Globus servers say whose certificate has expired.
    #[error("it cannot begin with GSI: {0}")]
    OutOfOrder(String),
    /// It is full, or goes down: 421 or 422 in answer to AUTH or ADAT, and its words.
    #[error("{0}")]
    Busy(String),
    /// It has none.
    #[error("it answers AUTH GSSAPI with `{0}`; see whether it is a GridFTP server with GSI")]
    NoGsi(String),
    /// No token.
    #[error("its answer to ADAT cannot be read: {0}")]
    Adat(#[from] AdatError),
    /// In the middle of it.
    #[error("connection lost in its GSI handshake: {0}")]
    Lost(#[from] io::Error),
    /// The door's own trouble.
    #[error("the door's crypto threads do not answer")]
    NoCrypto,
}

impl GsiLoginError {
    /// Whether it is for sure the server's own: with others it is not known whose. A user's credential that it refuses may be one
    /// that nobody would take.
    #[must_use]
    pub fn is_servers_fault(&self) -> bool {
        match self {
            Self::Initiate(InitiateError::Issue(_)) | Self::Refused(_) | Self::Busy(_) | Self::NoCrypto => {
                false
            }
            Self::Initiate(InitiateError::Handshake(HandshakeError::Alert(_))) => false,
            Self::Initiate(_) | Self::OutOfOrder(_) | Self::NoGsi(_) | Self::Adat(_) | Self::Lost(_) => true,
        }
    }
}

/// Which side does not like what.
fn initiation(error: &InitiateError) -> String {
    match error {
        InitiateError::Handshake(HandshakeError::Peer(PeerError::Path(_) | PeerError::Name(_))) => {
            format!("the door does not accept its certificate: {error}")
        }
        InitiateError::Issue(_) | InitiateError::Request(_) => error.to_string(),
        _ => format!("the GSI handshake with it has failed: {error}"),
    }
}

/// Where the steps of an exchange are worked off: each takes up to two milliseconds of a processor.
pub trait Workers: Sync {
    /// The result, as soon as somebody has it; `None` if that will never be.
    fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> + Send;
}

/// What came of a login.
#[derive(Debug)]
pub struct GsiLogin {
    /// The session, and what has arrived of its lines.
    pub result: Result<(Established, Vec<u8>), GsiLoginError>,
    /// The certificate that the server has shown, believed or not.
    pub certificate: Option<Certificate>,
}

/// Authenticates on a connection that was greeted. What `stream` reads and writes after that is protected.
pub async fn log_in<S>(stream: &mut S, config: InitiatorConfig, workers: &impl Workers) -> GsiLogin
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut certificate = None;
    let result = exchange(stream, config, workers, &mut certificate).await;
    GsiLogin { result, certificate }
}

async fn exchange<S>(
    stream: &mut S,
    config: InitiatorConfig,
    workers: &impl Workers,
    certificate: &mut Option<Certificate>,
) -> Result<(Established, Vec<u8>), GsiLoginError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut lines = Lines::default();
    say(stream, b"AUTH GSSAPI\r\n").await?;
    let (code, text) = read_reply(&mut lines, stream).await?;
    match code.number() {
        334 => {}
        530 => return Err(GsiLoginError::OutOfOrder(refusal(&text))),
        421 | 422 => return Err(busy(code, &text)),
        number => return Err(GsiLoginError::NoGsi(format!("{number} {}", refusal(&text)))),
    }
    let begun = workers.run(move || Initiator::new(config, date())).await;
    let (mut initiator, mut token) = begun.ok_or(GsiLoginError::NoCrypto)??;
    loop {
        say(stream, &adat::command(&token)).await?;
        let (code, text) = read_reply(&mut lines, stream).await?;
        if matches!(code.number(), 421 | 422) {
            return Err(busy(code, &text));
        }
        let last = text.last().map(String::as_bytes).unwrap_or_default();
        match adat::parse_reply(last)? {
            AdatReply::Continue(received) => {
                let step = move || {
                    let step = initiator.step(&received, date());
                    (initiator, step)
                };
                let (same, step) = workers.run(step).await.ok_or(GsiLoginError::NoCrypto)?;
                initiator = same;
                if certificate.is_none() {
                    *certificate = initiator.take_certificate();
                }
                token = step?;
            }
            AdatReply::Complete(received) => {
                let established = initiator.finish(received.as_deref(), date())?;
                return Ok((established, lines.into_rest()));
            }
            AdatReply::Refused => return Err(GsiLoginError::Refused(refusal(&text))),
        }
    }
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), line: &[u8]) -> io::Result<()> {
    stream.write_all(line).await?;
    stream.flush().await
}

fn busy(code: ReplyCode, text: &[String]) -> GsiLoginError {
    GsiLoginError::Busy(format!("{code} {}", refusal(text)))
}

/// A whole reply: its code and its first lines, the last always among them, without their ends.
async fn read_reply<S>(lines: &mut Lines, stream: &mut S) -> io::Result<(ReplyCode, Vec<String>)>
where
    S: AsyncRead + Unpin,
{
    let mut framer = ReplyFramer::default();
    let mut text = Vec::new();
    loop {
        let line = lines.next(stream, LONGEST_TOKEN).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let kind = framer.classify(&line);
        if text.len() == MAX_REPLY_LINES {
            text.pop();
        }
        text.push(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
        match kind {
            ReplyLine::Last(code) | ReplyLine::Single(code) => return Ok((code, text)),
            ReplyLine::Stray => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is no reply"));
            }
            ReplyLine::First(_) | ReplyLine::Middle(_) => {}
        }
    }
}

/// The words of a refusal of several lines: without codes and what Globus says around them, and of a long one the end, where it says
/// what is wrong.
fn refusal(lines: &[String]) -> String {
    let mut words = String::new();
    for line in lines {
        let line = without_code(line).trim();
        let line = match line.split_once(": ") {
            Some((module, rest)) if module.starts_with("globus_") && !module.contains(' ') => rest,
            _ => line,
        };
        if line.is_empty() || SAID_ALWAYS.iter().any(|said| line.starts_with(said)) {
            continue;
        }
        if !words.is_empty() {
            words.push(' ');
        }
        words.extend(line.chars().filter(|c| !c.is_control()));
    }
    if words.len() > MAX_REFUSAL {
        let from = words.ceil_char_boundary(words.len() - MAX_REFUSAL);
        words.replace_range(..from, "…");
    }
    if words.is_empty() { "it does not say why; its log does".to_owned() } else { words }
}

fn without_code(line: &str) -> &str {
    match line.split_at_checked(4) {
        Some((code, rest)) if ReplyCode::parse(code.as_bytes()).is_some() => rest,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_refusal_the_words_are_left_that_say_why() {
        #[rustfmt::skip]
        let table: &[(&[&str], &str)] = &[
            (&["530-globus_xio: Authentication Error",
               "530-globus_gsi_callback_module: Could not verify credential",
               "530-globus_gsi_callback_module: The certificate has expired: Credential with subject: /CN=U has expired.",
               "530-",
               "530 End."],
             "Could not verify credential The certificate has expired: Credential with subject: /CN=U has expired."),
            (&["530-globus_xio: Server side credential failure",
               "530-GSS failure: ",
               "530-GSS Major Status: General failure",
               "530-    with subject: /CN=s1",
               "530-    has expired 1440 minutes ago.",
               "530-",
               "530 End."],
             "Server side credential failure with subject: /CN=s1 has expired 1440 minutes ago."),
            (&["530 Login incorrect."], "Login incorrect."),
            (&["535-No.", "535 Never."], "No. Never."),
            (&["12 no code"],           "12 no code"),
            (&["530 \x1b[2J"],          "[2J"),
            (&["530 End."],             "it does not say why; its log does"),
        ];
        for (lines, expected) in table {
            let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
            assert_eq!(&refusal(&lines), expected);
        }
        let long = refusal(&["530 ".to_owned() + &"é".repeat(MAX_REFUSAL) + " has expired"]);
        assert!(long.starts_with("…é") && long.ends_with("é has expired"), "{long}");
        assert!(long.len() <= MAX_REFUSAL + "…".len(), "{long}");
    }
}
