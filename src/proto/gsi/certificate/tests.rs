//! What is read of a certificate, and what is refused.
use std::time::Duration;

use proptest::prelude::*;
use x509_cert::der::asn1::ObjectIdentifier;

use super::*;
use crate::proto::gsi::PolicyLanguage;
use crate::proto::gsi::issuing::{
    BASIC_CONSTRAINTS, DRAFT_PROXY_CERT_INFO, HOUR, KEY_USAGE, NOW, PROXY_CERT_INFO, Request, inherit_all,
    key, name,
};

fn proxy() -> Request {
    Request::proxy(
        &name("User"),
        5,
        key(2),
        ProxyForm::Rfc3820,
        &ProxyCertInfo::new(PolicyLanguage::Limited, Some(3)),
    )
}

#[test]
fn every_piece_is_where_it_came() {
    let der = proxy().sign(key(1));
    let certificate = Certificate::from_der(&der).unwrap();
    assert_eq!(certificate.der(), der);
    assert_eq!(certificate.tbs(), proxy().tbs(&key(1).algorithm()));
    assert_eq!(certificate.version(), 3);
    assert_eq!(certificate.serial(), [0x11]);
    assert_eq!(certificate.issuer(), name("User"));
    assert_eq!(certificate.issuer_name().as_str(), "/O=Grid/CN=User");
    assert_eq!(certificate.subject_name().as_str(), "/O=Grid/CN=User/CN=5");
    assert_eq!(certificate.spki(), key(2).spki());
    assert_eq!(certificate.signature_algorithm(), &key(1).algorithm()[2..]);
    assert!(der.ends_with(certificate.signature()) && certificate.signature().len() == 256);
    let time = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let validity = Validity { not_before: time(NOW - HOUR), not_after: time(NOW + 24 * HOUR) };
    assert_eq!(certificate.validity(), validity);
    for (seconds, holds) in
        [(NOW - HOUR - 1, false), (NOW - HOUR, true), (NOW + 24 * HOUR, true), (NOW + 24 * HOUR + 1, false)]
    {
        assert_eq!(validity.holds(time(seconds)), holds, "{seconds}");
    }
    let (form, info) = certificate.proxy_cert_info().unwrap();
    assert_eq!(
        (form, info.path_length, info.language),
        (ProxyForm::Rfc3820, Some(3), PolicyLanguage::Limited)
    );
    let usage = certificate.key_usage().unwrap();
    assert!(
        usage.digital_signature() && !usage.key_cert_sign() && !usage.non_repudiation() && !usage.crl_sign()
    );
    assert!(!certificate.is_ca() && !certificate.is_self_issued());
    let kinds: Vec<_> =
        certificate.extensions().map(|extension| (extension.oid.to_string(), extension.critical)).collect();
    assert_eq!(kinds, [(PROXY_CERT_INFO.to_owned(), true), (KEY_USAGE.to_owned(), true)]);
    assert_eq!(certificate.extension(&ObjectIdentifier::new_unwrap(BASIC_CONSTRAINTS)), None);
}

#[test]
fn what_is_broken_is_refused_row_by_row() {
    let many = |request: Request| {
        let mut request = request;
        request.extensions = (0..65).map(|_| ("1.2.3", false, vec![])).collect();
        request
    };
    let twice = |mut request: Request| {
        let first = request.extensions[0].clone();
        request.extensions.push(first);
        request
    };
    let with = |field: fn(&mut Request)| {
        let mut request = proxy();
        field(&mut request);
        request
    };
    #[rustfmt::skip]
    let table: Vec<(Request, &str)> = vec![
        (twice(proxy()),                                              "one is there twice"),
        (many(proxy()),                                               "more than 64|twice"),
        (proxy().with(DRAFT_PROXY_CERT_INFO, true, &inherit_all().to_der(ProxyForm::Draft)), "two forms"),
        (proxy().with(KEY_USAGE, true, &[3, 2, 9, 1]),                "keyUsage"),
        (proxy().with(KEY_USAGE, true, &[4, 0]),                      "keyUsage"),
        (proxy().with(BASIC_CONSTRAINTS, true, &[0x30, 3, 1, 1]),     "basicConstraints"),
        (proxy().with(PROXY_CERT_INFO, true, &[0x30, 0]),             "proxyCertInfo"),
        (with(|request| request.version = 4),                         "version"),
        (with(|request| request.version = 1),                         "only version 3"),
        (with(|request| request.subject = vec![0x31, 0]),             "subject"),
        (with(|request| request.issuer = vec![0x30, 1, 0]),           "issuer"),
        (with(|request| request.spki = vec![4, 0]),                   "public key"),
    ];
    for (request, expected) in table {
        let error = Certificate::from_der(&request.sign(key(0))).unwrap_err().to_string();
        assert!(expected.split('|').any(|word| error.contains(word)), "{expected}: {error}");
    }
    let other_inside = super::super::issuing::signed(&proxy().tbs(&key(1).algorithm()), key(0));
    let error = Certificate::from_der(&other_inside).unwrap_err().to_string();
    assert_eq!(error, "signature algorithm cannot be read: inside it is another than outside");
    let whole = proxy().sign(key(0));
    assert!(Certificate::from_der(&[&whole[..], &[0]].concat()).is_err());
    let large = proxy().with("1.2.3", false, &vec![0; MAX_CERTIFICATE]).sign(key(0));
    assert_eq!(
        Certificate::from_der(&large).unwrap_err().to_string(),
        "certificate cannot be read: it is larger than 64 KiB"
    );
}

#[test]
fn key_usage_is_written_as_it_is_read() {
    for bits in 0..1_u16 << 9 {
        let usage = KeyUsage(bits);
        assert_eq!(KeyUsage::read(&usage.to_der()), Ok(usage));
    }
    assert_eq!(KeyUsage::read(&[3, 2, 5, 0xa0]).unwrap().to_der(), [3, 2, 5, 0xa0]);
    let signer = KeyUsage::read(&[3, 2, 1, 0b1110_0110]).unwrap();
    assert_eq!(signer.of_proxies_below().to_der(), [3, 2, 1, 0b1010_0010]);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        mut flips in proptest::collection::vec((0..700_usize, any::<u8>()), 0..4),
        cut in 0..700_usize,
    ) {
        let mut der = proxy().sign(key(0));
        flips.retain(|(place, _)| *place < der.len());
        for (place, value) in flips {
            der[place] = value;
        }
        der.truncate(cut);
        if let Ok(certificate) = Certificate::from_der(&der) {
            let _ = (certificate.subject_name(), certificate.extensions().count());
        }
    }
}
