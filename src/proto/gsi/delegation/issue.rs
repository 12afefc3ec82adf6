//! Signing a proxy certificate, as Globus signs them (`globus_gsi_proxy_sign_req`).
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::UnixTime;
use x509_cert::der::asn1::{GeneralizedTime, UtcTime};
use x509_cert::der::{DateTime, Encode as _};

use super::super::certificate::{Certificate, oid};
use super::super::credential::Credential;
use super::super::der::element;
use super::super::name::{trailing_common_name, with_common_name};
use super::super::private_key::Digest;
use super::super::proxy_cert_info::{PolicyLanguage, ProxyCertInfo, ProxyForm};
use super::request::PublicKeyRequest;

/// Clocks of others may be that much behind.
const BACKDATED: Duration = Duration::from_secs(5 * 60);

/// What a legacy proxy (GSI-2) is called: no extension says what it is.
const LEGACY_NAMES: [&[u8]; 2] = [b"proxy", b"limited proxy"];

/// Why no proxy was signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IssueError {
    /// The signer is a proxy of the old kind.
    #[error("a legacy (GSI-2) proxy is not delegated: Globus servers refuse it")]
    Legacy,
    /// The signer's path length is 0.
    #[error("the credential is a proxy that must not sign another one (path length 0)")]
    PathLength,
    /// keyUsage without digitalSignature.
    #[error("the credential's keyUsage does not allow it to sign")]
    KeyUsage,
    /// The signer has expired.
    #[error("the credential has expired")]
    Expired,
    /// The key or the names.
    #[error("the credential cannot sign")]
    CannotSign,
}

/// The DER of a limited proxy of `signer` for the key of `request`.
pub(in super::super) fn issue(
    signer: &Credential,
    request: &PublicKeyRequest,
    now: UnixTime,
) -> Result<Vec<u8>, IssueError> {
    let leaf = signer.leaf();
    let form = form_of_proxies_below(leaf)?;
    if leaf.key_usage().is_some_and(|usage| !usage.digital_signature()) {
        return Err(IssueError::KeyUsage);
    }
    if now > leaf.validity().not_after {
        return Err(IssueError::Expired);
    }
    let limited = ProxyCertInfo::new(PolicyLanguage::Limited, None);
    sign_proxy(signer, &request.spki, form, &limited, now)
}

/// A proxy below `signer` for any key; whether it may sign that one is not asked.
pub(in super::super) fn sign_proxy(
    signer: &Credential,
    spki: &[u8],
    form: ProxyForm,
    info: &ProxyCertInfo,
    now: UnixTime,
) -> Result<Vec<u8>, IssueError> {
    let leaf = signer.leaf();
    let digest = Digest::of(leaf.signature_algorithm());
    let algorithm = signer.key().signature_algorithm(digest).ok_or(IssueError::CannotSign)?;
    let serial = serial_of(spki);
    let subject =
        with_common_name(leaf.subject(), &serial.to_string()).map_err(|_| IssueError::CannotSign)?;
    let not_before = Duration::from_secs(now.as_secs()).saturating_sub(BACKDATED);
    let not_after = Duration::from_secs(leaf.validity().not_after.as_secs());
    let validity = [time(not_before)?, time(not_after)?].concat();
    let tbs = element(
        0x30,
        &[
            element(0xa0, &element(0x02, &[2])),
            serial.to_der().map_err(|_| IssueError::CannotSign)?,
            algorithm,
            leaf.subject().to_vec(),
            element(0x30, &validity),
            subject,
            spki.to_vec(),
            element(0xa3, &element(0x30, &extensions(leaf, form, info))),
        ]
        .concat(),
    );
    let signature = signer.key().sign(&tbs, digest).ok_or(IssueError::CannotSign)?;
    let bits = element(0x03, &[&[0], &signature.bytes[..]].concat());
    Ok(element(0x30, &[tbs, signature.algorithm, bits].concat()))
}

/// A proxy signs its own kind; an end entity the standard one.
fn form_of_proxies_below(leaf: &Certificate) -> Result<ProxyForm, IssueError> {
    match leaf.proxy_cert_info() {
        Some((_, info)) if info.path_length == Some(0) => Err(IssueError::PathLength),
        Some((form, _)) => Ok(form),
        None if trailing_common_name(leaf.subject()).is_some_and(|name| LEGACY_NAMES.contains(&name)) => {
            Err(IssueError::Legacy)
        }
        None => Ok(ProxyForm::Rfc3820),
    }
}

/// 31 bits of the key's digest: another key is another serial number, and another name.
fn serial_of(spki: &[u8]) -> u32 {
    let digest = digest(&SHA256, spki);
    let mut first = [0; 4];
    first.copy_from_slice(&digest.as_ref()[..4]);
    u32::from_be_bytes(first) >> 1
}

fn extensions(leaf: &Certificate, form: ProxyForm, info: &ProxyCertInfo) -> Vec<u8> {
    let mut extensions = critical(form.oid().as_bytes(), &info.to_der(form));
    if let Some(usage) = leaf.key_usage() {
        extensions.extend(critical(oid::KEY_USAGE.as_bytes(), &usage.of_proxies_below().to_der()));
    }
    if let Some(usage) = leaf.extended_key_usage() {
        extensions.extend_from_slice(usage.der);
    }
    extensions
}

fn critical(oid: &[u8], value: &[u8]) -> Vec<u8> {
    element(0x30, &[element(0x06, oid), element(0x01, &[0xff]), element(0x04, value)].concat())
}

/// UTCTime up to 2049, GeneralizedTime from then on: RFC 5280 section 4.1.2.5.
fn time(since_1970: Duration) -> Result<Vec<u8>, IssueError> {
    let date = DateTime::from_unix_duration(since_1970).map_err(|_| IssueError::CannotSign)?;
    match UtcTime::from_date_time(date) {
        Ok(time) => time.to_der(),
        Err(_) => GeneralizedTime::from_date_time(date).to_der(),
    }
    .map_err(|_| IssueError::CannotSign)
}
