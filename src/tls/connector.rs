//! The door's side of TLS with a real server, which has a certificate and believes the door without one.
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{Connect, TlsConnector};

use super::credential::{certificates, problem};
use super::{CredentialProblem, provider};
use crate::config::{ServerTls, ServerTlsMode};

/// Sessions of one server that a control connection keeps for its data connections.
const MAX_RESUMABLE: usize = 8;

/// Begins TLS with one real server.
#[derive(Debug)]
pub struct Connector {
    config: ClientConfig,
    name: ServerName<'static>,
    settings: ServerTls,
    /// Tells apart what `trust_anchors` has held at different times.
    anchors: u64,
}

/// TLS of one control connection, and of the data connections that belong to it: ProFTPD wants these to resume that one's
/// session and no other's.
#[derive(Debug)]
pub struct SessionConnector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// Where `verify = false`: anybody may have signed the certificate, for any name.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl Connector {
    /// For a server at `address`.
    ///
    /// # Errors
    ///
    /// Trust anchors that cannot be used.
    pub fn open(tls: &ServerTls, address: IpAddr) -> Result<Self, CredentialProblem> {
        let file = tls.trust_anchors.as_deref().unwrap_or(Path::new("trust_anchors"));
        let failed = |error: rustls::Error| {
            problem(file, format!("TLS cannot be set up: {error}"), "please report this")
        };
        let (verifier, anchors) = verifier(tls)?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        let name = match &tls.name {
            None => ServerName::from(address),
            Some(name) => ServerName::try_from(name.clone()).map_err(|error| {
                problem(file, format!("`{name}` is no name for a server: {error}"), "correct `name` in `tls`")
            })?,
        };
        Ok(Self { config, name, settings: tls.clone(), anchors })
    }

    /// Whether the other one does the same.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.settings, self.anchors, &self.name) == (&other.settings, other.anchors, &other.name)
    }

    /// How TLS begins.
    #[must_use]
    pub fn mode(&self) -> ServerTlsMode {
        self.settings.mode
    }

    /// For a new control connection.
    #[must_use]
    pub fn session(&self) -> SessionConnector {
        let mut config = self.config.clone();
        config.resumption = Resumption::in_memory_sessions(MAX_RESUMABLE);
        SessionConnector { config: Arc::new(config), name: self.name.clone() }
    }
}

impl SessionConnector {
    /// The handshake over `stream`.
    pub fn connect<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Connect<S> {
        TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), stream)
    }
}

fn verifier(tls: &ServerTls) -> Result<(Arc<dyn ServerCertVerifier>, u64), CredentialProblem> {
    let Some(file) = tls.trust_anchors.as_deref().filter(|_| tls.verify) else {
        if tls.verify {
            return Err(problem(
                Path::new("trust_anchors"),
                "there is none for a real server whose certificate is to be verified".into(),
                "name a file with `trust_anchors`",
            ));
        }
        return Ok((Arc::new(Anybody(provider())), 0));
    };
    let mut roots = RootCertStore::empty();
    let mend = "put certificates of authorities there, as PEM";
    let mut hasher = DefaultHasher::new();
    for certificate in certificates(file)? {
        certificate.as_ref().hash(&mut hasher);
        roots.add(certificate).map_err(|error| {
            problem(file, format!("a certificate in it is no trust anchor: {error}"), mend)
        })?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    let verifier = verifier.map_err(|error| problem(file, format!("cannot be used: {error}"), mend))?;
    Ok((verifier, hasher.finish()))
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
