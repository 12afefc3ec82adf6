//! The client's side of `AUTH GSSAPI`, towards a real server: the handshake, then a limited proxy for the server, a token at a time.
//!
//! Globus servers treat the tokens of either version of TLS alike: whoever has something to send sends it and waits. So a handshake that
//! ends with a token of ours (TLS 1.3) is followed by one of the server's that says nothing, and only then comes the flag.
use std::sync::Arc;

use rustls::pki_types::UnixTime;

use super::certificate::Certificate;
use super::channel::Channel;
use super::delegation::{DELEGATES, DELEGATES_NOT, IssueError, PublicKeyRequest, RequestError, issue};
use super::handshake::{Handshake, HandshakeError, InitiatorConfig};
use super::path::VerifiedPath;
use super::peer_verifier::PeerVerifier;

/// A session with a real server.
#[derive(Debug)]
pub struct Established {
    /// What protects the commands and replies.
    pub channel: Channel,
    /// The server.
    pub peer: VerifiedPath,
}

/// Why an exchange has failed; it cannot be gone on with.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InitiateError {
    /// The handshake.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The server's request for a proxy.
    #[error("the server's request for a delegated credential is refused: {0}")]
    Request(#[from] RequestError),
    /// The proxy for it.
    #[error("the credential cannot be delegated to the server: {0}")]
    Issue(#[from] IssueError),
    /// The server says more at a place where it has nothing to say.
    #[error("the server goes on where the exchange has ended")]
    OutOfOrder,
    /// It says that it is done where it is not.
    #[error("the server ends the exchange too early")]
    TooEarly,
}

/// One exchange.
#[derive(Debug)]
pub struct Initiator {
    config: InitiatorConfig,
    verifier: Arc<PeerVerifier>,
    state: State,
}

#[derive(Debug)]
enum State {
    Handshake(Handshake),
    /// Our last token of the handshake is out; the server's next says nothing.
    Confirmation(Handshake, VerifiedPath),
    /// `D` is out.
    Request(Handshake, VerifiedPath),
    /// Everything is out; the server says 235.
    End(Handshake, VerifiedPath),
    Over,
}

impl Initiator {
    /// Begins, and gives the first token.
    ///
    /// # Errors
    /// When the configured ciphers fit no version of TLS.
    pub fn new(config: InitiatorConfig, now: UnixTime) -> Result<(Self, Vec<u8>), InitiateError> {
        let mut handshake = Handshake::initiate(&config, now)?;
        let token = handshake.pending();
        let verifier = handshake.verifier();
        Ok((Self { config, verifier, state: State::Handshake(handshake) }, token))
    }

    /// Takes the server's own certificate, once it was shown: whether it is believed is said by how the exchange ends.
    pub fn take_certificate(&self) -> Option<Certificate> {
        self.verifier.take_shown()
    }

    /// Takes the token of a `335` and gives the next one to send. A step costs up to two milliseconds of a core: the server's chain is
    /// verified, or something signed.
    ///
    /// # Errors
    /// With why the server is not gone on with; every step after that is an error too.
    pub fn step(&mut self, token: &[u8], now: UnixTime) -> Result<Vec<u8>, InitiateError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Handshake(mut handshake) => {
                let plain = handshake.read(token, now)?;
                let reply = handshake.pending();
                if !plain.is_empty() {
                    return Err(HandshakeError::Surplus.into());
                }
                if !handshake.is_complete() {
                    if reply.is_empty() {
                        return Err(HandshakeError::Truncated.into());
                    }
                    self.state = State::Handshake(handshake);
                    return Ok(reply);
                }
                let peer = handshake.take_peer()?;
                if reply.is_empty() {
                    return self.say_flag(handshake, peer);
                }
                self.state = State::Confirmation(handshake, peer);
                Ok(reply)
            }
            State::Confirmation(mut handshake, peer) => {
                // A zero byte, or tickets of TLS 1.3, which say nothing at all.
                if handshake.read(token, now)?.len() > 1 {
                    return Err(HandshakeError::Surplus.into());
                }
                self.say_flag(handshake, peer)
            }
            State::Request(mut handshake, peer) => {
                let request = handshake.read(token, now)?;
                if request.is_empty() {
                    return Err(HandshakeError::Truncated.into());
                }
                let request = PublicKeyRequest::from_der(&request)?;
                let certificate = issue(&self.config.credential, &request, now)?;
                let reply = handshake.write(&certificate)?;
                self.state = State::End(handshake, peer);
                Ok(reply)
            }
            State::End(..) | State::Over => Err(InitiateError::OutOfOrder),
        }
    }

    /// Takes the `235`, which at Globus servers comes without a token.
    ///
    /// # Errors
    /// When the exchange was not at its end.
    pub fn finish(&mut self, token: Option<&[u8]>, now: UnixTime) -> Result<Established, InitiateError> {
        let State::End(mut handshake, peer) = std::mem::replace(&mut self.state, State::Over) else {
            return Err(InitiateError::TooEarly);
        };
        if let Some(token) = token
            && handshake.read(token, now)?.len() > 1
        {
            return Err(HandshakeError::Surplus.into());
        }
        Ok(Established { channel: Channel::new(handshake.into_stream()), peer })
    }

    fn say_flag(&mut self, mut handshake: Handshake, peer: VerifiedPath) -> Result<Vec<u8>, InitiateError> {
        if self.config.delegates {
            let reply = handshake.write(&[DELEGATES])?;
            self.state = State::Request(handshake, peer);
            return Ok(reply);
        }
        let reply = handshake.write(&[DELEGATES_NOT])?;
        self.state = State::End(handshake, peer);
        Ok(reply)
    }
}

/// Steps are worked off on threads of their own.
const _: () = {
    const fn may_be_moved<T: Send>() {}
    may_be_moved::<Initiator>();
    may_be_moved::<Established>();
};
