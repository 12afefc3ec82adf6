//! What rustls asks of the other end's certificates: their path as the grid has it, and the handshake's signature.
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::certificate::Certificate;
use super::path::VerifiedPath;
use super::peer::{ExpectedPeer, PeerError};
use super::tls_signature;
use super::trust::TrustStore;

/// The verifier of one handshake. It lives as long as the connection, and what it holds does not: a session of days pins no trust
/// anchors that were read again since.
pub(super) struct PeerVerifier {
    expected: ExpectedPeer,
    algorithms: WebPkiSupportedAlgorithms,
    state: Mutex<State>,
    /// What a server has shown, until somebody takes it.
    shown: Mutex<Option<Certificate>>,
}

enum State {
    /// Nothing was shown yet.
    Waiting(Arc<TrustStore>),
    Found(Result<VerifiedPath, PeerError>),
    Taken,
}

impl PeerVerifier {
    pub(super) fn new(
        trust: Arc<TrustStore>,
        expected: ExpectedPeer,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self { expected, algorithms, state: Mutex::new(State::Waiting(trust)), shown: Mutex::new(None) }
    }

    /// Takes the certificate under the proxies of a server's chain, believed or not, once one was shown.
    pub(super) fn take_shown(&self) -> Option<Certificate> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes what came of it, once a chain was shown.
    pub(super) fn take_found(&self) -> Option<Result<VerifiedPath, PeerError>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Taken) {
            State::Found(found) => Some(found),
            waiting => {
                *state = waiting;
                None
            }
        }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let chain: Vec<CertificateDer<'_>> = std::iter::once(leaf).chain(others).cloned().collect();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // rustls asks once; were it to ask again, for another chain, that one would not be the one that was judged.
        let State::Waiting(trust) = &*state else {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        };
        let found = self.expected.verify(&chain, trust, now);
        let is_trusted = found.is_ok();
        *state = State::Found(found);
        if is_trusted { Ok(()) } else { Err(CertificateError::ApplicationVerificationFailure.into()) }
    }

    fn public_key(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, Error> {
        let certificate = Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
        Ok(certificate.spki().to_vec())
    }

    fn tls12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls_signature::verify_tls12(&Self::public_key(certificate)?, message, signed, &self.algorithms)?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn tls13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls_signature::verify_tls13(&Self::public_key(certificate)?, message, signed, &self.algorithms)?;
        Ok(HandshakeSignatureValid::assertion())
    }
}

impl fmt::Debug for PeerVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PeerVerifier").field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for PeerVerifier {
    /// None are named, as at Globus servers: clients send the one credential that they have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(leaf, others, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for PeerVerifier {
    /// The name is judged by what is expected, not by the one that rustls was given for SNI.
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificates = std::iter::once(leaf).chain(others);
        let mut certificates = certificates.filter_map(|der| Certificate::from_der(der).ok());
        let shown = certificates.find(|certificate| certificate.proxy_cert_info().is_none());
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        self.verify(leaf, others, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
