//! From the door's own greeting to the client's USER: whoever has got that far is known, and has handed over a credential.
use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::super::control_stream::ControlStream;
use super::super::now;
use super::{GsiOutcome, Termination, date};
use crate::balance::{IdentityRefusal, IdentitySession, VirtualServer};
use crate::proto::ftp::{Command, Ending, SessionPolicy, Verb, features_before_login, help_before_login};
use crate::proto::gsi::adat::{self, AdatError};
use crate::proto::gsi::{
    AcceptError, AcceptStep, Accepted, Acceptor, ChannelEnd, ChannelError, Delegated, DistinguishedName,
    HandshakeError, NoDelegation, PathError, PeerError, Reason,
};
use crate::tls::{LONGEST_COMMAND, LONGEST_FIRST_TOKEN, LONGEST_TOKEN, Lines, Protected};

/// Commands before a login; whoever says more is no client.
const MAX_COMMANDS: u32 = 100;
/// Exchanges that a connection may begin: each costs the door signatures, and one of its keys.
const MAX_EXCHANGES: u32 = 2;

const GREETING: &[u8] = b"220 GridFTP front door (Gridfront) ready.\r\n";
const AUTHENTICATE_FIRST: &[u8] = b"530 Must perform GSSAPI authentication.\r\n";
const LOG_IN_FIRST: &[u8] = b"530 Please login with USER and PASS.\r\n";
const NO_SUCH_MECHANISM: &[u8] = b"504 Only AUTH GSSAPI is available here.\r\n";
const NO_ADAT_YET: &[u8] = b"503 ADAT comes after AUTH GSSAPI.\r\n";
const GOODBYE: &[u8] = b"221 Goodbye.\r\n";
const TOO_MANY: &[u8] = b"421 Too many commands before a login.\r\n";
const LINE_TOO_LONG: &[u8] = b"500 Command line too long.\r\n";
const OUT_OF_ORDER: &[u8] =
    b"421 Service not available: the front door is out of order; please try again later.\r\n";

/// A client at the door, logged in nowhere yet.
pub(super) struct Reception {
    /// The right to act in its name.
    pub(super) delegated: Delegated,
    /// From AUTH to 235.
    pub(super) handshake: Duration,
    pub(super) counted: IdentitySession,
    /// Its USER, and what came behind it.
    pub(super) unread: Vec<u8>,
}

/// Why nobody came in.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum ReceptionError {
    /// It has gone, as clients do that only look whether somebody is there.
    #[error("the client has left before it was known")]
    Left,
    #[error("the client has left in the midst of its GSI handshake")]
    Abandoned,
    #[error("GSI with the client: {cause}")]
    Refused {
        cause: String,
        /// Whether its certificates are why.
        is_distrusted: bool,
        /// Whether somebody may be trying what gets in.
        may_be_guess: bool,
    },
    /// By the rules for users.
    #[error(transparent)]
    Identity(#[from] IdentityRefusal),
    /// Known, and of no use.
    #[error(
        "{identity} has handed over no credential: {reason}; clients that cannot are served if their network is in `passthrough_networks`"
    )]
    NoCredential { identity: String, reason: NoDelegation },
    #[error("too many commands before a login")]
    TooMany,
    #[error("no login within login_timeout = {0:?}")]
    TooSlow(Duration),
    #[error("the connection has failed: {0}")]
    Lost(#[from] io::Error),
    #[error("the client says what cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("the door's crypto threads do not answer")]
    NoCrypto,
}

impl ReceptionError {
    /// What the client is told, in whatever protection there is.
    pub(in crate::proxy) fn reply(&self) -> Vec<u8> {
        match self {
            // Whatever could be said has been.
            Self::Left | Self::Abandoned | Self::Lost(_) => Vec::new(),
            Self::Unreadable(error)
                if error.get_ref().and_then(|inner| inner.downcast_ref::<ChannelError>()).is_some() =>
            {
                // As Globus servers do: who is not in the protection any more could not read it.
                Vec::new()
            }
            Self::Unreadable(_) => LINE_TOO_LONG.to_vec(),
            Self::Refused { cause, .. } => adat::refusal(cause),
            Self::Identity(IdentityRefusal::Denied { name, .. } | IdentityRefusal::NotAllowed { name }) => {
                format!("530-Login incorrect. : {name} is not allowed to use this service.\r\n530 End.\r\n").into_bytes()
            }
            Self::Identity(IdentityRefusal::TooManySessions { name, .. }) => {
                format!("421 Too many sessions of {name}; close one, or try again later.\r\n").into_bytes()
            }
            Self::NoCredential { reason, .. } => format!(
                "530-Login incorrect. : {reason}.\r\n\
                 530-The door logs in at the server with a delegated credential. For clients that cannot delegate one\r\n\
                 530 its operator may write your network into passthrough_networks.\r\n"
            )
            .into_bytes(),
            Self::TooMany => TOO_MANY.to_vec(),
            Self::TooSlow(_) => Ending::LoginTimeout.reply().as_bytes().to_vec(),
            Self::NoCrypto => OUT_OF_ORDER.to_vec(),
        }
    }
}

impl ReceptionError {
    /// Whether it counts for a ban, as a handshake does that a real server refuses. Who shows a certificate that has run out, or
    /// does not want the door's, guesses at nothing.
    pub(in crate::proxy) fn may_be_guess(&self) -> bool {
        match self {
            Self::Refused { may_be_guess, .. } => *may_be_guess,
            Self::TooMany | Self::Unreadable(_) => true,
            _ => false,
        }
    }

    /// Whether the path length of the client's proxy is why.
    pub(in crate::proxy) fn is_of_path_length(&self) -> bool {
        matches!(self, Self::NoCredential { reason: NoDelegation::PathLength(_), .. })
    }

    /// What it counts as; nothing where nobody has tried.
    pub(in crate::proxy) fn outcome(&self) -> Option<GsiOutcome> {
        Some(match self {
            Self::Left => return None,
            Self::Abandoned | Self::Lost(_) => GsiOutcome::Abandoned,
            Self::Refused { is_distrusted: true, .. } => GsiOutcome::Certificate,
            Self::Refused { .. } | Self::Unreadable(_) => GsiOutcome::Handshake,
            Self::Identity(IdentityRefusal::TooManySessions { .. }) => GsiOutcome::TooManySessions,
            Self::Identity(_) => GsiOutcome::Denied,
            Self::NoCredential { .. } => GsiOutcome::NoDelegation,
            Self::TooMany | Self::TooSlow(_) => GsiOutcome::TooSlow,
            Self::NoCrypto => GsiOutcome::DoorError,
        })
    }
}

impl From<AcceptError> for ReceptionError {
    fn from(error: AcceptError) -> Self {
        let may_be_guess = match &error {
            AcceptError::Handshake(HandshakeError::Peer(PeerError::Path(PathError { reason, .. }))) => {
                !matches!(reason, Reason::Expired { .. } | Reason::NotYetValid { .. })
            }
            AcceptError::Handshake(HandshakeError::Alert(_)) | AcceptError::Request => false,
            _ => true,
        };
        let is_distrusted =
            matches!(error, AcceptError::Handshake(HandshakeError::Peer(_) | HandshakeError::Anonymous));
        Self::Refused { cause: error.to_string(), is_distrusted, may_be_guess }
    }
}

impl From<AdatError> for ReceptionError {
    fn from(error: AdatError) -> Self {
        Self::Refused { cause: error.to_string(), is_distrusted: false, may_be_guess: true }
    }
}

/// The next line, if the client is still there.
async fn next(
    lines: &mut Lines,
    client: &mut ControlStream,
    longest: usize,
) -> Result<Vec<u8>, ReceptionError> {
    match lines.next(client, longest).await {
        Ok(Some(line)) => Ok(line),
        Ok(None) => Err(ReceptionError::Left),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(ReceptionError::Unreadable(error)),
        Err(error) => Err(error.into()),
    }
}

/// What the door says of itself where no server is chosen yet.
pub(in crate::proxy) struct Offer<'s> {
    pub(in crate::proxy) servers: &'s VirtualServer,
    pub(in crate::proxy) policy: &'s SessionPolicy,
}

impl Offer<'_> {
    fn features(&self) -> Vec<u8> {
        features_before_login(self.policy, &self.servers.capabilities().unwrap_or_default().features)
    }

    /// `None` where no server has said what it takes.
    fn help(&self) -> Option<Vec<u8>> {
        let commands = self.servers.capabilities()?.commands;
        (!commands.is_empty()).then(|| help_before_login(self.policy, &commands))
    }

    /// The answer to a command that has one before a login; `otherwise` to the others.
    fn answer(&self, line: &[u8], otherwise: &[u8]) -> Vec<u8> {
        let verb = line.trim_ascii().split(|&byte| byte == b' ').next().unwrap_or_default();
        let verb =
            |name: &[u8]| verb.eq_ignore_ascii_case(name) && !self.policy.denied_commands.denies_verb(name);
        let answer = match () {
            () if verb(b"FEAT") => Some(self.features()),
            () if verb(b"HELP") => self.help(),
            () => None,
        };
        answer.unwrap_or_else(|| otherwise.to_vec())
    }
}

/// Greets, and goes as far as the client's USER. From 235 on the connection is protected.
///
/// `judge` is asked who may come in, before anybody's USER is answered.
pub(super) async fn receive(
    client: &mut ControlStream,
    termination: &Termination,
    offer: &Offer<'_>,
    judge: impl FnOnce(&DistinguishedName) -> Result<IdentitySession, IdentityRefusal>,
) -> Result<Reception, ReceptionError> {
    client.write_all(GREETING).await?;
    let mut lines = Lines::default();
    let (accepted, handshake) = authenticate(client, &mut lines, termination, offer).await?;
    let Accepted { channel, peer, delegated } = accepted;
    let stream = client.take_plain().ok_or(ReceptionError::Left)?;
    *client = Protected::new(stream, channel, ChannelEnd::Server, &lines.into_rest()).into();
    let mut lines = Lines::default();
    let line = name_user(client, &mut lines, offer).await?;
    let identity = peer.identity();
    let counted = judge(&identity)?;
    let delegated = delegated
        .map_err(|reason| ReceptionError::NoCredential { identity: identity.as_str().to_owned(), reason })?;
    let unread = [line, lines.into_rest()].concat();
    Ok(Reception { delegated, handshake, counted, unread })
}

/// Up to the end of the exchange, and how long that took from AUTH on.
async fn authenticate(
    client: &mut ControlStream,
    lines: &mut Lines,
    termination: &Termination,
    offer: &Offer<'_>,
) -> Result<(Accepted, Duration), ReceptionError> {
    let mut exchange = None;
    let (mut exchanges, mut tokens) = (0, 0);
    for _ in 0..MAX_COMMANDS {
        let longest = match (&exchange, tokens) {
            (None, _) => LONGEST_COMMAND,
            (Some(_), 0) => LONGEST_FIRST_TOKEN,
            (Some(_), _) => LONGEST_TOKEN,
        };
        let line = next(lines, client, longest).await.map_err(|error| match error {
            ReceptionError::Left if exchange.is_some() => ReceptionError::Abandoned,
            other => other,
        })?;
        let command = Command::parse(&line);
        match command.verb {
            Verb::Quit => {
                client.write_all(GOODBYE).await?;
                return Err(ReceptionError::Left);
            }
            Verb::Auth if !command.arguments().eq_ignore_ascii_case(b"GSSAPI") => {
                client.write_all(NO_SUCH_MECHANISM).await?;
            }
            Verb::Auth if exchanges == MAX_EXCHANGES => return Err(ReceptionError::TooMany),
            Verb::Auth => {
                (exchanges, tokens) = (exchanges + 1, 0);
                let acceptor = termination.acceptor.accept(date())?;
                exchange = Some((acceptor, now()));
                client.write_all(adat::AUTH_ACCEPTED).await?;
            }
            Verb::Adat => {
                let Some((acceptor, since)) = exchange.take() else {
                    client.write_all(NO_ADAT_YET).await?;
                    continue;
                };
                let token = adat::parse_command(&line)?;
                let (acceptor, step) = step(acceptor, token, termination).await?;
                match step? {
                    AcceptStep::Reply(token) => {
                        exchange = Some((acceptor, since));
                        tokens += 1;
                        client.write_all(&adat::reply(&token)).await?;
                    }
                    AcceptStep::Complete(accepted) => {
                        client.write_all(adat::AUTHENTICATED).await?;
                        return Ok((*accepted, now().saturating_duration_since(since)));
                    }
                    // It was asked for, and given.
                    AcceptStep::KeyWanted => return Err(ReceptionError::NoCrypto),
                }
            }
            _ => client.write_all(&offer.answer(&line, AUTHENTICATE_FIRST)).await?,
        }
    }
    Err(ReceptionError::TooMany)
}

/// What the client's token leads to.
async fn step(
    mut acceptor: Acceptor,
    token: Vec<u8>,
    termination: &Termination,
) -> Result<(Acceptor, Result<AcceptStep, AcceptError>), ReceptionError> {
    let crypto = termination.workshop.crypto().ok_or(ReceptionError::NoCrypto)?;
    let run = move || {
        let step = acceptor.step(&token, date());
        (acceptor, step)
    };
    let (mut acceptor, step) = crypto.run(run).await.ok_or(ReceptionError::NoCrypto)?;
    if !matches!(step, Ok(AcceptStep::KeyWanted)) {
        return Ok((acceptor, step));
    }
    let keys = termination.workshop.keys().ok_or(ReceptionError::NoCrypto)?;
    let key = keys.take().await.ok_or(ReceptionError::NoCrypto)?;
    let run = move || {
        let step = acceptor.provide_key(key);
        (acceptor, step)
    };
    crypto.run(run).await.ok_or(ReceptionError::NoCrypto)
}

/// The client's USER, which is where a real server is chosen.
async fn name_user(
    client: &mut ControlStream,
    lines: &mut Lines,
    offer: &Offer<'_>,
) -> Result<Vec<u8>, ReceptionError> {
    for _ in 0..MAX_COMMANDS {
        let line = next(lines, client, LONGEST_TOKEN).await?;
        match Command::parse(&line).verb {
            Verb::User => return Ok(line),
            Verb::Quit => {
                client.write_all(GOODBYE).await?;
                client.flush().await?;
                return Err(ReceptionError::Left);
            }
            _ => client.write_all(&offer.answer(&line, LOG_IN_FIRST)).await?,
        }
        client.flush().await?;
    }
    Err(ReceptionError::TooMany)
}
