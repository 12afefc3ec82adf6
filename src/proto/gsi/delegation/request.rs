//! Certificate requests, PKCS #10 (RFC 2986).
use x509_cert::der::Tag;

use super::super::der::{Signed, Wrong, element};
use super::super::name::with_common_name;
use super::super::path::Reason;
use super::super::private_key::{Digest, PrivateKey};
use super::super::signature::{check_key, verify};

/// What Globus writes where there is no name: whoever signs chooses the subject.
const NO_NAME: &str = "NULL SUBJECT NAME ENTRY";

/// Why a request is not to be signed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// Not a PKCS #10 request.
    #[error("the certificate request cannot be read: {0}")]
    Malformed(&'static str),
    /// Not signed by the key that it is for, or with a key or an algorithm that is not accepted.
    #[error("the certificate request: {0}")]
    Refused(Reason),
}

/// A request that proved that whoever sent it has the key.
#[derive(Debug)]
pub(in super::super) struct PublicKeyRequest {
    pub(super) spki: Vec<u8>,
}

/// A request for the public half of `key`; `None` where it cannot sign.
pub(in super::super) fn write(key: &PrivateKey) -> Option<Vec<u8>> {
    let name = with_common_name(&element(0x30, &[]), NO_NAME).ok()?;
    let version = element(0x02, &[0]);
    let no_attributes = element(0xa0, &[]);
    let info = element(0x30, &[&version, &name, key.spki(), &no_attributes[..]].concat());
    let signature = key.sign(&info, Digest::default())?;
    let bits = element(0x03, &[&[0], &signature.bytes[..]].concat());
    Some(element(0x30, &[info, signature.algorithm, bits].concat()))
}

impl PublicKeyRequest {
    /// Reads a request and has it prove that its sender has the key. Its name and attributes do not matter: the signer chooses.
    pub(in super::super) fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        let parts = read(der).map_err(RequestError::Malformed)?;
        check_key(parts.spki).map_err(RequestError::Refused)?;
        verify(parts.spki, parts.algorithm, parts.info, parts.signature).map_err(RequestError::Refused)?;
        Ok(Self { spki: parts.spki.to_vec() })
    }
}

struct Parts<'a> {
    info: &'a [u8],
    spki: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

fn read(der: &[u8]) -> Result<Parts<'_>, Wrong> {
    let Signed { tbs: info, algorithm, signature } = Signed::from_der(der)?;
    let mut fields = info.inside();
    fields.required(Tag::Integer, "the version is missing")?;
    fields.required(Tag::Sequence, "the name is missing")?;
    let spki = fields.required(Tag::Sequence, "the public key is missing")?;
    Ok(Parts { info: info.whole, spki: spki.whole, algorithm: algorithm.content, signature })
}
