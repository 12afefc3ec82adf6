//! The TLS handshake under GSSAPI: rustls set up for either end as Globus has OpenSSL set up, one configuration a handshake.
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, ServerConfig, ServerConnection, SignatureScheme,
};

use super::credential::Credential;
use super::path::VerifiedPath;
use super::peer::{ExpectedPeer, PeerError};
use super::peer_verifier::PeerVerifier;
use super::session_clock::SessionClock;
use super::token_stream::{TokenStream, is_whole};
use super::trust::TrustStore;

/// TLS 1.2 and 1.3, as Globus offers and accepts.
const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// What the handshake looks like to those who only get a name for SNI when there is one.
const NO_NAME: &str = "gridftp.invalid";

/// Why a handshake has failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HandshakeError {
    /// The chain of the other end.
    #[error(transparent)]
    Peer(PeerError),
    /// It has sent no certificate: nobody in particular.
    #[error("no certificate was sent: anonymous clients are not accepted")]
    Anonymous,
    /// It has ended the handshake, and this is what it says.
    #[error("the other end has refused the handshake: {}", alert(*.0))]
    Alert(AlertDescription),
    /// A token ends in the middle of a record or of a message.
    #[error("the token is cut off")]
    Truncated,
    /// A token has more in it than it may at that point.
    #[error("the token has something in it that does not belong there")]
    Surplus,
    /// Everything else that TLS refuses.
    #[error("TLS: {0}")]
    Tls(rustls::Error),
}

/// The ciphers of all sessions: those of rustls, which are a part of Globus' list. To be had once, and shared.
pub fn ciphers() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// How clients are answered: once for each certificate, for all sessions.
#[derive(Clone, Debug)]
pub struct AcceptorConfig {
    provider: Arc<CryptoProvider>,
    certified: Arc<CertifiedKey>,
}

/// How a real server is logged in at.
#[derive(Clone, Debug)]
pub struct InitiatorConfig {
    /// [`ciphers`].
    pub provider: Arc<CryptoProvider>,
    /// Who logs in.
    pub credential: Credential,
    /// Which authorities are trusted.
    pub trust: Arc<TrustStore>,
    /// Who the server has to be.
    pub expected: ExpectedPeer,
    /// Whether the server gets a limited proxy of `credential`.
    pub delegates: bool,
}

impl AcceptorConfig {
    /// Answers with `credential`, in these [`ciphers`].
    pub fn new(provider: Arc<CryptoProvider>, credential: &Credential) -> Self {
        Self { provider, certified: credential.certified_key() }
    }
}

/// One handshake of either end.
#[derive(Debug)]
pub(super) struct Handshake {
    stream: TokenStream,
    clock: Arc<SessionClock>,
    verifier: Arc<PeerVerifier>,
    /// What of our own is to be forgotten behind the handshake.
    shown: Option<Arc<ShownOnce>>,
}

impl Handshake {
    pub(super) fn accept(
        config: &AcceptorConfig,
        trust: Arc<TrustStore>,
        now: UnixTime,
    ) -> Result<Self, HandshakeError> {
        let clock = Arc::new(SessionClock::new(now));
        let verifier = Arc::new(PeerVerifier::new(
            trust,
            ExpectedPeer::Anyone,
            config.provider.signature_verification_algorithms,
        ));
        let mut tls =
            ServerConfig::builder_with_details(Arc::clone(&config.provider), Arc::clone(&clock) as _)
                .with_protocol_versions(VERSIONS)
                .map_err(HandshakeError::Tls)?
                .with_client_cert_verifier(Arc::clone(&verifier) as _)
                .with_cert_resolver(Arc::new(Held(Arc::clone(&config.certified))));
        // Sessions are not resumed: who it is has to be shown each time.
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
        let connection = ServerConnection::new(Arc::new(tls)).map_err(HandshakeError::Tls)?;
        Ok(Self { stream: TokenStream::new(connection.into()), clock, verifier, shown: None })
    }

    pub(super) fn initiate(config: &InitiatorConfig, now: UnixTime) -> Result<Self, HandshakeError> {
        let clock = Arc::new(SessionClock::new(now));
        let verifier = Arc::new(PeerVerifier::new(
            Arc::clone(&config.trust),
            config.expected.clone(),
            config.provider.signature_verification_algorithms,
        ));
        let shown = Arc::new(ShownOnce(Mutex::new(Some(config.credential.certified_key()))));
        let mut tls =
            ClientConfig::builder_with_details(Arc::clone(&config.provider), Arc::clone(&clock) as _)
                .with_protocol_versions(VERSIONS)
                .map_err(HandshakeError::Tls)?
                .dangerous()
                .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
                .with_client_cert_resolver(Arc::clone(&shown) as _);
        tls.resumption = Resumption::disabled();
        let name = server_name(&config.expected);
        tls.enable_sni = name.is_some();
        let name = name.or_else(|| ServerName::try_from(NO_NAME).ok());
        let name = name.ok_or(HandshakeError::Tls(rustls::Error::General("no name".to_owned())))?;
        let connection = ClientConnection::new(Arc::new(tls), name).map_err(HandshakeError::Tls)?;
        Ok(Self { stream: TokenStream::new(connection.into()), clock, verifier, shown: Some(shown) })
    }

    /// Takes a token in; what it said in plaintext.
    pub(super) fn read(&mut self, token: &[u8], now: UnixTime) -> Result<Vec<u8>, HandshakeError> {
        self.clock.set(now);
        if !is_whole(token) {
            return Err(HandshakeError::Truncated);
        }
        let mut plain = Vec::new();
        self.stream.read(token, &mut plain).map_err(|error| self.failure(error))?;
        Ok(plain)
    }

    /// The token that says `plain`.
    pub(super) fn write(&mut self, plain: &[u8]) -> Result<Vec<u8>, HandshakeError> {
        let mut token = Vec::new();
        self.stream.write(plain, &mut token).map_err(HandshakeError::Tls)?;
        Ok(token)
    }

    /// The token that TLS itself has to send; empty where it has none.
    pub(super) fn pending(&mut self) -> Vec<u8> {
        let mut token = Vec::new();
        self.stream.send(&mut token);
        token
    }

    pub(super) fn is_complete(&self) -> bool {
        !self.stream.is_handshaking()
    }

    /// The other end's certificates, once the handshake is complete.
    pub(super) fn take_peer(&self) -> Result<VerifiedPath, HandshakeError> {
        match self.verifier.take_found() {
            Some(Ok(peer)) if self.is_complete() => Ok(peer),
            Some(Err(error)) => Err(HandshakeError::Peer(error)),
            _ => Err(HandshakeError::Anonymous),
        }
    }

    /// Who keeps what the other end has shown.
    pub(super) fn verifier(&self) -> Arc<PeerVerifier> {
        Arc::clone(&self.verifier)
    }

    pub(super) fn into_stream(self) -> TokenStream {
        if let Some(shown) = &self.shown {
            shown.forget();
        }
        self.stream
    }

    /// rustls knows that its verifier has refused, the verifier knows why.
    fn failure(&self, error: rustls::Error) -> HandshakeError {
        match (self.verifier.take_found(), error) {
            (Some(Err(found)), _) => HandshakeError::Peer(found),
            (_, rustls::Error::NoCertificatesPresented) => HandshakeError::Anonymous,
            (_, rustls::Error::AlertReceived(alert)) => HandshakeError::Alert(alert),
            (_, error) => HandshakeError::Tls(error),
        }
    }
}

/// Clients name the host in SNI as it was typed; servers choose a certificate by it where they have several.
fn server_name(expected: &ExpectedPeer) -> Option<ServerName<'static>> {
    let ExpectedPeer::Host(hosts) = expected else { return None };
    ServerName::try_from(hosts.names.first()?.clone()).ok()
}

/// What an alert means where certificates are the likely cause.
fn alert(description: AlertDescription) -> String {
    let meaning = match description {
        AlertDescription::UnknownCA => "it does not know the authority of the certificate it was shown",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => "it does not accept the certificate it was shown",
        AlertDescription::CertificateExpired => {
            "the certificate it was shown has expired, or its clock is wrong"
        }
        AlertDescription::CertificateRevoked => "the certificate it was shown is revoked",
        AlertDescription::CertificateRequired => "it wants a certificate",
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
            "it has no TLS version or cipher in common"
        }
        other => return format!("TLS alert {other:?}"),
    };
    format!("{meaning} (TLS alert {description:?})")
}

/// The one certificate that there is, whatever is asked for: rustls' own choosers read it with webpki, which refuses proxies.
#[derive(Debug)]
struct Held(Arc<CertifiedKey>);

impl ResolvesServerCert for Held {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// The user's, towards a real server: the connection keeps its configuration for days, and is not to keep the key.
#[derive(Debug)]
struct ShownOnce(Mutex<Option<Arc<CertifiedKey>>>);

impl ShownOnce {
    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl ResolvesClientCert for ShownOnce {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}
