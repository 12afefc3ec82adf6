//! The server's side of `AUTH GSSAPI`: the handshake, then the delegation, a token at a time.
//!
//! ```text
//!   ClientHello ─▶ Handshake ─▶ … ─▶ Flag ─ D ─▶ KeyWanted ─▶ Certificate ─▶ Accepted
//!                                      └─── 0 ──────────────────────────────▶ Accepted
//! ```
//! It does no I/O and may be moved between threads from step to step. All steps but that of the flag cost between half a millisecond
//! and two of a core's time: a signature, or the verification of a chain.
use std::sync::Arc;

use rustls::pki_types::UnixTime;

use super::channel::Channel;
use super::credential::Credential;
use super::delegation::{DELEGATES, DELEGATES_NOT, ReceiveError, receive, write_request};
use super::handshake::{AcceptorConfig, Handshake, HandshakeError};
use super::path::{PathError, Reason, VerifiedPath};
use super::private_key::PrivateKey;
use super::trust::TrustStore;

/// What keeps the exchange going where TLS has nothing to send: Globus clients take a reply without a token for an error.
const KEEP_GOING: &[u8] = &[0];

/// What is to be done after a step.
#[derive(Debug)]
pub enum AcceptStep {
    /// Send this token (`335 ADAT=`) and wait for the next.
    Reply(Vec<u8>),
    /// The client delegates: give a key that was never used to [`Acceptor::provide_key`]. Until then there is no next token.
    KeyWanted,
    /// Send [`AUTHENTICATED`](super::adat::AUTHENTICATED); from now on everything is protected.
    Complete(Box<Accepted>),
}

/// A client that has authenticated.
#[derive(Debug)]
pub struct Accepted {
    /// What protects the commands and replies.
    pub channel: Channel,
    /// Who it is.
    pub peer: VerifiedPath,
    /// The credential for acting in the client's name, or why there is none.
    pub delegated: Result<Delegated, NoDelegation>,
}

/// A credential that acts in a client's name.
#[derive(Debug)]
pub struct Delegated {
    /// Proxy, chain and key.
    pub credential: Credential,
    /// How many further proxies may follow below it; `None` is any number. A real server that gets the user's rights from the door is
    /// one: with 0 there it cannot use them, and data connections that are to be authenticated will fail.
    pub remaining_proxies: Option<u32>,
}

/// Why a client that has authenticated has handed over no credential.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoDelegation {
    /// It was asked for none, or its credential cannot sign.
    #[error("the client does not delegate its credential")]
    Declined,
    /// Its proxy must not sign another one.
    #[error("the client's proxy must not be delegated: {0}")]
    PathLength(PathError),
}

/// Why an exchange has failed. It cannot be gone on with; the client is told [`refusal`](super::adat::refusal).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AcceptError {
    /// The handshake.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// Neither `D` nor `0` behind the handshake.
    #[error("the client says neither that it delegates nor that it does not")]
    Flag,
    /// What came back for our request.
    #[error(transparent)]
    Delegation(ReceiveError),
    /// The key that was given cannot sign.
    #[error("no certificate request could be made with the door's key")]
    Request,
    /// A token at a time when none is due: before the key is there, or after the end.
    #[error("a token that nothing has asked for")]
    OutOfOrder,
}

/// One exchange.
#[derive(Debug)]
pub struct Acceptor {
    trust: Arc<TrustStore>,
    state: State,
}

#[derive(Debug)]
enum State {
    Handshake(Handshake),
    Flag(Handshake, VerifiedPath),
    KeyWanted(Handshake, VerifiedPath),
    Certificate(Handshake, VerifiedPath, PrivateKey),
    Over,
}

impl Acceptor {
    /// Waits for the first token of a client whom `trust` has to vouch for. `now` and the times of all steps are those of the calendar.
    ///
    /// # Errors
    /// When the configured ciphers fit no version of TLS.
    pub fn new(config: &AcceptorConfig, trust: Arc<TrustStore>, now: UnixTime) -> Result<Self, AcceptError> {
        let handshake = Handshake::accept(config, Arc::clone(&trust), now)?;
        Ok(Self { trust, state: State::Handshake(handshake) })
    }

    /// Takes the client's next token.
    ///
    /// # Errors
    /// With why the client is refused. TLS alerts are not sent, as Globus does not send them; every step after that is an error too.
    pub fn step(&mut self, token: &[u8], now: UnixTime) -> Result<AcceptStep, AcceptError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Handshake(handshake) => self.shake_hands(handshake, token, now),
            State::Flag(handshake, peer) => self.read_flag(handshake, peer, token, now),
            State::Certificate(handshake, peer, key) => {
                self.take_certificate(handshake, peer, key, token, now)
            }
            State::KeyWanted(..) | State::Over => Err(AcceptError::OutOfOrder),
        }
    }

    /// Goes on from [`AcceptStep::KeyWanted`]. The key must be RSA, of 2048 bits at least, and serve nobody else: with others Globus
    /// servers cannot go on.
    ///
    /// # Errors
    /// When no key was asked for, or it cannot sign.
    pub fn provide_key(&mut self, key: PrivateKey) -> Result<AcceptStep, AcceptError> {
        let State::KeyWanted(mut handshake, peer) = std::mem::replace(&mut self.state, State::Over) else {
            return Err(AcceptError::OutOfOrder);
        };
        let request = write_request(&key).ok_or(AcceptError::Request)?;
        let token = handshake.write(&request)?;
        self.state = State::Certificate(handshake, peer, key);
        Ok(AcceptStep::Reply(token))
    }

    fn shake_hands(
        &mut self,
        mut handshake: Handshake,
        token: &[u8],
        now: UnixTime,
    ) -> Result<AcceptStep, AcceptError> {
        let plain = handshake.read(token, now)?;
        // Nobody says anything before our last token.
        if !plain.is_empty() {
            return Err(HandshakeError::Surplus.into());
        }
        let mut reply = handshake.pending();
        if handshake.is_complete() {
            let peer = handshake.take_peer()?;
            // TLS 1.2 ends with a token of ours, 1.3 with one of the client's.
            if reply.is_empty() {
                reply = handshake.write(KEEP_GOING)?;
            }
            self.state = State::Flag(handshake, peer);
        } else if reply.is_empty() {
            return Err(HandshakeError::Truncated.into());
        } else {
            self.state = State::Handshake(handshake);
        }
        Ok(AcceptStep::Reply(reply))
    }

    fn read_flag(
        &mut self,
        mut handshake: Handshake,
        peer: VerifiedPath,
        token: &[u8],
        now: UnixTime,
    ) -> Result<AcceptStep, AcceptError> {
        match handshake.read(token, now)?[..] {
            [DELEGATES] => {
                self.state = State::KeyWanted(handshake, peer);
                Ok(AcceptStep::KeyWanted)
            }
            [DELEGATES_NOT] => Ok(complete(handshake, peer, Err(NoDelegation::Declined))),
            [] => Err(HandshakeError::Truncated.into()),
            _ => Err(AcceptError::Flag),
        }
    }

    fn take_certificate(
        &mut self,
        mut handshake: Handshake,
        peer: VerifiedPath,
        key: PrivateKey,
        token: &[u8],
        now: UnixTime,
    ) -> Result<AcceptStep, AcceptError> {
        let answer = handshake.read(token, now)?;
        if answer.is_empty() {
            return Err(HandshakeError::Truncated.into());
        }
        let delegated = match receive(&answer, key, &peer, &self.trust, now) {
            Ok((credential, path)) => {
                Ok(Delegated { credential, remaining_proxies: path.remaining_proxies() })
            }
            // A real server lets such a user in, who then has no authenticated data connections.
            Err(ReceiveError::Refused(error)) if error.reason == Reason::PathLengthExceeded => {
                Err(NoDelegation::PathLength(error))
            }
            Err(error) => return Err(AcceptError::Delegation(error)),
        };
        Ok(complete(handshake, peer, delegated))
    }
}

fn complete(
    handshake: Handshake,
    peer: VerifiedPath,
    delegated: Result<Delegated, NoDelegation>,
) -> AcceptStep {
    let channel = Channel::new(handshake.into_stream());
    AcceptStep::Complete(Box::new(Accepted { channel, peer, delegated }))
}

/// Steps are worked off on threads of their own.
const _: () = {
    const fn may_be_moved<T: Send>() {}
    may_be_moved::<Acceptor>();
    may_be_moved::<AcceptStep>();
};
