//! Certificates for tests: any field may be wrong, and the signature still be right.
use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use x509_cert::der::asn1::{GeneralizedTime, ObjectIdentifier};
use x509_cert::der::{DateTime, Encode as _};

use super::der::element;
use super::{PolicyLanguage, ProxyCertInfo, ProxyForm, with_common_name};

/// What every test calls now: 2026-01-01T00:00:00Z.
pub(crate) const NOW: u64 = 1_767_225_600;
pub(crate) const HOUR: u64 = 3600;

pub(crate) enum Key {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// A key for each place in a chain: making them is what takes time.
pub(crate) fn key(number: usize) -> &'static Key {
    static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
        (0..10)
            .map(|number| match number {
                // Both kinds sign both kinds somewhere in a chain.
                1 | 4 => Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
                _ => Key::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()),
            })
            .collect()
    });
    &KEYS[number]
}

impl Key {
    pub(crate) fn spki(&self) -> Vec<u8> {
        match self {
            Self::Ecdsa(pair) => {
                let algorithm = [oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7")].concat();
                spki(&algorithm, pair.public_key().as_ref())
            }
            Self::Rsa(pair) => {
                spki(&[oid("1.2.840.113549.1.1.1"), vec![5, 0]].concat(), pair.public_key().as_ref())
            }
        }
    }

    pub(crate) fn algorithm(&self) -> Vec<u8> {
        match self {
            Self::Ecdsa(_) => element(0x30, &oid("1.2.840.10045.4.3.2")),
            Self::Rsa(_) => element(0x30, &[oid("1.2.840.113549.1.1.11"), vec![5, 0]].concat()),
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ecdsa(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }
}

/// An RSA key of this many bits that nobody has: nothing can be signed with it.
pub(crate) fn rsa_spki_of(bits: usize) -> Vec<u8> {
    let modulus = [&[0][..], &vec![0xff; bits / 8]].concat();
    let key = element(0x30, &[element(2, &modulus), element(2, &[1, 0, 1])].concat());
    spki(&[oid("1.2.840.113549.1.1.1"), vec![5, 0]].concat(), &key)
}

fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    element(0x30, &[element(0x30, algorithm), element(3, &[&[0], key].concat())].concat())
}

/// What is going to be signed.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) version: u8,
    pub(crate) serial: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    pub(crate) spki: Vec<u8>,
    pub(crate) extensions: Vec<(&'static str, bool, Vec<u8>)>,
}

pub(crate) const KEY_USAGE: &str = "2.5.29.15";
pub(crate) const BASIC_CONSTRAINTS: &str = "2.5.29.19";
pub(crate) const SUBJECT_ALTERNATIVE_NAME: &str = "2.5.29.17";
pub(crate) const ISSUER_ALTERNATIVE_NAME: &str = "2.5.29.18";
pub(crate) const PROXY_CERT_INFO: &str = "1.3.6.1.5.5.7.1.14";
pub(crate) const DRAFT_PROXY_CERT_INFO: &str = "1.3.6.1.4.1.3536.1.222";

impl Request {
    fn new(issuer: Vec<u8>, subject: Vec<u8>, key: &Key) -> Self {
        Self {
            version: 3,
            serial: vec![77],
            issuer,
            subject,
            not_before: NOW - HOUR,
            not_after: NOW + 24 * HOUR,
            spki: key.spki(),
            extensions: Vec::new(),
        }
    }

    pub(crate) fn authority(issuer: &[u8], subject: &[u8], key: &Key) -> Self {
        let mut request = Self::new(issuer.to_vec(), subject.to_vec(), key);
        request.extensions.push((BASIC_CONSTRAINTS, true, vec![0x30, 3, 1, 1, 0xff]));
        request.extensions.push((KEY_USAGE, true, vec![3, 2, 1, 0b0000_0110]));
        request
    }

    pub(crate) fn end_entity(issuer: &[u8], subject: &[u8], key: &Key) -> Self {
        let mut request = Self::new(issuer.to_vec(), subject.to_vec(), key);
        request.extensions.push((BASIC_CONSTRAINTS, true, vec![0x30, 0]));
        request.extensions.push((KEY_USAGE, true, vec![3, 2, 5, 0b1010_0000]));
        request.extensions.push(("2.5.29.37", false, element(0x30, &oid("1.3.6.1.5.5.7.3.2"))));
        request
    }

    /// A proxy of `form` below that subject.
    pub(crate) fn proxy(
        issuer: &[u8],
        number: u32,
        key: &Key,
        form: ProxyForm,
        info: &ProxyCertInfo,
    ) -> Self {
        let subject = with_common_name(issuer, &number.to_string()).unwrap();
        let mut request = Self::new(issuer.to_vec(), subject, key);
        let kind = match form {
            ProxyForm::Rfc3820 => PROXY_CERT_INFO,
            ProxyForm::Draft => DRAFT_PROXY_CERT_INFO,
        };
        request.extensions.push((kind, true, info.to_der(form)));
        request.extensions.push((KEY_USAGE, true, vec![3, 2, 5, 0b1010_0000]));
        request.serial = vec![0x11];
        request
    }

    pub(crate) fn without(mut self, extension: &str) -> Self {
        self.extensions.retain(|(kind, ..)| *kind != extension);
        self
    }

    pub(crate) fn with(self, extension: &'static str, critical: bool, value: &[u8]) -> Self {
        let mut request = self.without(extension);
        request.extensions.push((extension, critical, value.to_vec()));
        request
    }

    pub(crate) fn tbs(&self, algorithm: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        if self.version > 1 {
            content.extend(element(0xa0, &[2, 1, self.version - 1]));
        }
        content.extend(element(2, &self.serial));
        content.extend(algorithm);
        content.extend(&self.issuer);
        content.extend(element(0x30, &[time(self.not_before), time(self.not_after)].concat()));
        content.extend(&self.subject);
        content.extend(&self.spki);
        if !self.extensions.is_empty() {
            let list: Vec<u8> = self
                .extensions
                .iter()
                .flat_map(|(kind, critical, value)| element_of_extension(kind, *critical, value))
                .collect();
            content.extend(element(0xa3, &element(0x30, &list)));
        }
        element(0x30, &content)
    }

    pub(crate) fn sign(&self, key: &Key) -> Vec<u8> {
        let tbs = self.tbs(&key.algorithm());
        signed(&tbs, key)
    }
}

/// A SIGNED of anything: a certificate or a CRL.
pub(crate) fn signed(tbs: &[u8], key: &Key) -> Vec<u8> {
    let signature = element(3, &[&[0], &key.sign(tbs)[..]].concat());
    element(0x30, &[tbs, &key.algorithm(), &signature].concat())
}

pub(crate) fn oid(text: &str) -> Vec<u8> {
    element(6, ObjectIdentifier::new_unwrap(text).as_bytes())
}

pub(crate) fn time(seconds: u64) -> Vec<u8> {
    let time = DateTime::from_unix_duration(std::time::Duration::from_secs(seconds)).unwrap();
    GeneralizedTime::from_date_time(time).to_der().unwrap()
}

/// The DER of `/O=Grid/CN=…`.
pub(crate) fn name(common_name: &str) -> Vec<u8> {
    let organisation = element(0x30, &[oid("2.5.4.10"), element(0x13, b"Grid")].concat());
    with_common_name(&element(0x30, &element(0x31, &organisation)), common_name).unwrap()
}

pub(crate) fn inherit_all() -> ProxyCertInfo {
    ProxyCertInfo::new(PolicyLanguage::InheritAll, None)
}

/// The PEM of some DER.
pub(crate) fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
                << (8 * (3 - group.len()));
            for place in 0..4 {
                let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
                text.push(if place > group.len() { '=' } else { char::from(digit) });
            }
        }
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text.into_bytes()
}

/// What a revocation list is made of.
#[derive(Clone)]
pub(crate) struct Revocations {
    pub(crate) version: u8,
    pub(crate) issuer: Vec<u8>,
    pub(crate) this_update: u64,
    pub(crate) next_update: Option<u64>,
    pub(crate) serials: Vec<Vec<u8>>,
    pub(crate) extensions: Vec<u8>,
}

impl Revocations {
    pub(crate) fn new(issuer: &[u8], serials: &[&[u8]]) -> Self {
        Self {
            version: 2,
            issuer: issuer.to_vec(),
            this_update: NOW - HOUR,
            next_update: Some(NOW + HOUR),
            serials: serials.iter().map(|serial| serial.to_vec()).collect(),
            extensions: Vec::new(),
        }
    }

    pub(crate) fn sign(&self, key: &Key) -> Vec<u8> {
        let mut content = if self.version == 2 { vec![2, 1, 1] } else { Vec::new() };
        content.extend(key.algorithm());
        content.extend(&self.issuer);
        content.extend(time(self.this_update));
        content.extend(self.next_update.map(time).unwrap_or_default());
        if !self.serials.is_empty() {
            let entries: Vec<u8> = self
                .serials
                .iter()
                .flat_map(|serial| element(0x30, &[element(2, serial), time(NOW - HOUR)].concat()))
                .collect();
            content.extend(element(0x30, &entries));
        }
        if !self.extensions.is_empty() {
            content.extend(element(0xa0, &element(0x30, &self.extensions)));
        }
        signed(&element(0x30, &content), key)
    }
}

/// An Extension.
pub(crate) fn element_of_extension(kind: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    element(0x30, &[&oid(kind), critical, &element(4, value)].concat())
}
