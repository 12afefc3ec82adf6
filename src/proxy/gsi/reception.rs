//! From the door's own greeting to the client's USER: whoever has got that far is known, and has handed over a credential.
use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::super::now;
use super::super::protected::Protected;
use super::lines::Lines;
use super::{Termination, User, date};
use crate::proto::ftp::{Command, Verb};
use crate::proto::gsi::adat::{self, AdatError};
use crate::proto::gsi::{AcceptError, AcceptStep, Accepted, Acceptor, ChannelEnd, NoDelegation};

/// Commands before a login; whoever says more is no client.
const MAX_COMMANDS: u32 = 100;

const GREETING: &[u8] = b"220 GridFTP front door (Gridfront) ready.\r\n";
const AUTHENTICATE_FIRST: &[u8] = b"530 Must perform GSSAPI authentication.\r\n";
const LOG_IN_FIRST: &[u8] = b"530 Please login with USER and PASS.\r\n";
const NO_SUCH_MECHANISM: &[u8] = b"504 Only AUTH GSSAPI is available here.\r\n";
const NO_ADAT_YET: &[u8] = b"503 ADAT comes after AUTH GSSAPI.\r\n";
const GOODBYE: &[u8] = b"221 Goodbye.\r\n";
const TOO_MANY: &[u8] = b"421 Too many commands before a login.\r\n";

/// A client at the door, logged in nowhere yet.
pub(in crate::proxy) struct Reception {
    pub(in crate::proxy) client: Protected,
    pub(in crate::proxy) user: User,
    /// Its USER, and what came behind it.
    pub(in crate::proxy) unread: Vec<u8>,
}

/// Why nobody came in. The client has been told.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum ReceptionError {
    /// It has gone, as clients do that only look whether somebody is there.
    #[error("the client has left before it was known")]
    Left,
    #[error("GSI with the client: {0}")]
    Refused(String),
    /// Known, and of no use.
    #[error("{identity} has handed over no credential: {reason}")]
    NoCredential { identity: String, reason: NoDelegation },
    #[error("too many commands before a login")]
    TooMany,
    #[error("no login within login_timeout = {0:?}")]
    TooSlow(Duration),
    #[error("the connection has failed: {0}")]
    Lost(#[from] io::Error),
    #[error("the door's crypto threads do not answer")]
    NoCrypto,
}

/// Greets, and goes as far as the client's USER.
pub(in crate::proxy) async fn receive(
    mut stream: TcpStream,
    termination: &Termination,
) -> Result<Reception, ReceptionError> {
    stream.write_all(GREETING).await?;
    let mut lines = Lines::default();
    let mut exchange = None;
    for _ in 0..MAX_COMMANDS {
        let Some(line) = lines.next(&mut stream).await? else { return Err(ReceptionError::Left) };
        let command = Command::parse(&line);
        match command.verb {
            Verb::Quit => {
                stream.write_all(GOODBYE).await?;
                return Err(ReceptionError::Left);
            }
            Verb::Auth if !command.arguments().eq_ignore_ascii_case(b"GSSAPI") => {
                stream.write_all(NO_SUCH_MECHANISM).await?;
            }
            Verb::Auth => {
                let acceptor = termination.acceptor.accept(date());
                let acceptor = acceptor.map_err(|error| ReceptionError::Refused(error.to_string()))?;
                exchange = Some((acceptor, now()));
                stream.write_all(adat::AUTH_ACCEPTED).await?;
            }
            Verb::Adat => {
                let Some((acceptor, since)) = exchange.take() else {
                    stream.write_all(NO_ADAT_YET).await?;
                    continue;
                };
                match step(acceptor, adat::parse_command(&line), termination).await? {
                    Ok((acceptor, AcceptStep::Reply(token))) => {
                        exchange = Some((acceptor, since));
                        stream.write_all(&adat::reply(&token)).await?;
                    }
                    Ok((_, AcceptStep::Complete(accepted))) => {
                        stream.write_all(adat::AUTHENTICATED).await?;
                        let handshake = now().saturating_duration_since(since);
                        return admit(stream, lines.into_rest(), *accepted, handshake).await;
                    }
                    // A key was asked for, and given.
                    Ok((_, AcceptStep::KeyWanted)) => return Err(ReceptionError::NoCrypto),
                    Err(cause) => {
                        stream.write_all(&adat::refusal(&cause)).await?;
                        return Err(ReceptionError::Refused(cause));
                    }
                }
            }
            _ => stream.write_all(AUTHENTICATE_FIRST).await?,
        }
    }
    stream.write_all(TOO_MANY).await?;
    Err(ReceptionError::TooMany)
}

/// What the client's token leads to, or why the exchange has failed.
async fn step(
    mut acceptor: Acceptor,
    token: Result<Vec<u8>, AdatError>,
    termination: &Termination,
) -> Result<Result<(Acceptor, AcceptStep), String>, ReceptionError> {
    let token = match token {
        Ok(token) => token,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let crypto = termination.workshop.crypto();
    let run = move || {
        let step = acceptor.step(&token, date());
        (acceptor, step)
    };
    let (mut acceptor, mut step) = crypto.run(run).await.ok_or(ReceptionError::NoCrypto)?;
    if matches!(step, Ok(AcceptStep::KeyWanted)) {
        let key = termination.workshop.keys().take().await.ok_or(ReceptionError::NoCrypto)?;
        let run = move || {
            let step = acceptor.provide_key(key);
            (acceptor, step)
        };
        (acceptor, step) = crypto.run(run).await.ok_or(ReceptionError::NoCrypto)?;
    }
    Ok(step.map(|step| (acceptor, step)).map_err(|error: AcceptError| error.to_string()))
}

/// The client is known; what it says is protected from here on.
async fn admit(
    stream: TcpStream,
    rest: Vec<u8>,
    accepted: Accepted,
    handshake: Duration,
) -> Result<Reception, ReceptionError> {
    let Accepted { channel, peer, delegated } = accepted;
    let mut client = Protected::new(stream, channel, ChannelEnd::Server, &rest)?;
    let mut lines = Lines::default();
    for _ in 0..MAX_COMMANDS {
        let Some(line) = lines.next(&mut client).await? else { return Err(ReceptionError::Left) };
        match Command::parse(&line).verb {
            Verb::User => {
                let delegated = match delegated {
                    Ok(delegated) => delegated,
                    Err(reason) => {
                        let text = format!(
                            "530-Login incorrect. : {reason}.\r\n530 The door logs in at the server with a delegated credential.\r\n"
                        );
                        client.write_all(text.as_bytes()).await?;
                        let identity = peer.identity().to_string();
                        return Err(ReceptionError::NoCredential { identity, reason });
                    }
                };
                let user = User { identity: peer.identity(), delegated, handshake };
                let unread = [line, lines.into_rest()].concat();
                return Ok(Reception { client, user, unread });
            }
            Verb::Quit => {
                client.write_all(GOODBYE).await?;
                return Err(ReceptionError::Left);
            }
            _ => client.write_all(LOG_IN_FIRST).await?,
        }
    }
    client.write_all(TOO_MANY).await?;
    Err(ReceptionError::TooMany)
}
