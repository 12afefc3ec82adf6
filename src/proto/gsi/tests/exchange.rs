//! Whole exchanges.
use std::sync::{Arc, Mutex};

use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, SignatureScheme};

use super::super::issuing::{NOW, inherit_all};
use super::super::peer_verifier::PeerVerifier;
use super::super::session_clock::SessionClock;
use super::super::token_stream::TokenStream;
use super::super::*;
use super::grid::*;

fn limited() -> ProxyCertInfo {
    ProxyCertInfo::new(PolicyLanguage::Limited, None)
}

#[test]
fn every_kind_of_user_ends_with_a_limited_credential_and_two_channels() {
    use ProxyForm::{Draft, Rfc3820};
    let second = || proxy(&user_proxy(), Rfc3820, &limited());
    let independent = ProxyCertInfo::new(PolicyLanguage::Independent, None);
    let deep = ProxyCertInfo::new(PolicyLanguage::InheritAll, Some(3));
    let rsa = || end_entity("User", &rsa_key(), |request| request);
    #[rustfmt::skip]
    let table: Vec<(&str, Credential, ProxyForm, Option<u32>)> = vec![
        ("end entity",     user(),                                Rfc3820, None),
        ("end entity RSA", rsa(),                                 Rfc3820, None),
        ("RFC 3820",       user_proxy(),                          Rfc3820, None),
        ("of RSA",         proxy(&rsa(), Rfc3820, &inherit_all()), Rfc3820, None),
        ("limited",        proxy(&user(), Rfc3820, &limited()),   Rfc3820, None),
        ("second level",   second(),                              Rfc3820, None),
        ("path length 3",  proxy(&user(), Rfc3820, &deep),        Rfc3820, Some(2)),
        ("draft",          proxy(&user(), Draft, &inherit_all()), Draft,   None),
        ("draft limited",  proxy(&user(), Draft, &limited()),     Draft,   None),
        ("independent",    proxy(&user(), Rfc3820, &independent), Rfc3820, None),
    ];
    for version in BOTH {
        for (what, credential, form, remaining) in &table {
            let outcome = exchange(acceptor(version), initiator_config(version, credential.clone()))
                .unwrap_or_else(|failure| panic!("{what} {version:?}: {failure:?}"));
            let Accepted { peer, delegated, .. } = outcome.accepted;
            let expected = match *what {
                "independent" => credential.leaf().subject_name(),
                _ => user().leaf().subject_name(),
            };
            assert_eq!(peer.identity(), expected, "{what}");
            let shown: Vec<&[u8]> = peer.certificates().iter().map(Certificate::der).collect();
            let sent: Vec<&[u8]> = credential.chain().iter().map(|der| &der[..]).collect();
            assert_eq!(shown, sent, "{what}: the chain is the client's, byte for byte");

            let Delegated { credential: own, remaining_proxies } = delegated.unwrap();
            assert_eq!(remaining_proxies, *remaining, "{what}");
            assert_eq!(own.chain()[1..], *credential.chain(), "{what}");
            let (own_form, info) = own.leaf().proxy_cert_info().unwrap();
            assert_eq!((own_form, info.language), (*form, PolicyLanguage::Limited), "{what}");
            // And it is as good as it should be: who has it, gets in.
            let next = exchange(acceptor(version), initiator_config(version, own)).unwrap();
            assert_eq!(next.accepted.peer.identity(), expected, "{what}");
            assert_eq!(outcome.established.peer.identity().as_str(), "/O=Grid/CN=s1");
        }
    }
}

#[test]
fn tokens_come_in_the_order_that_globus_keeps() {
    // TLS 1.3 ends with a token of the client's, which a zero byte answers; 1.2 with one of the server's.
    let tls13 = exchange(acceptor(Version::Tls13), initiator_config(Version::Tls13, user_proxy())).unwrap();
    assert_eq!(tls13.tokens.len(), 7);
    assert_eq!(tls13.tokens[3..5], [23, 23], "one byte in a record of TLS 1.3");
    let (version, _) = tls13.accepted.channel.protection();
    assert_eq!(version, Some(rustls::ProtocolVersion::TLSv1_3));

    let tls12 = exchange(acceptor(Version::Tls12), initiator_config(Version::Tls12, user_proxy())).unwrap();
    assert_eq!(tls12.tokens.len(), 7);
    // The server's last is the change of ciphers and its Finished, and nothing else.
    assert_eq!(tls12.tokens[3], 6 + 5 + 40);
    let (version, _) = tls12.accepted.channel.protection();
    assert_eq!(version, Some(rustls::ProtocolVersion::TLSv1_2));
}

#[test]
fn a_client_that_does_not_delegate_is_authenticated_without_a_credential() {
    for version in BOTH {
        let config = InitiatorConfig { delegates: false, ..initiator_config(version, user_proxy()) };
        let outcome = exchange(acceptor(version), config).unwrap();
        assert_eq!(outcome.accepted.delegated.unwrap_err(), NoDelegation::Declined);
        assert_eq!(outcome.tokens.len(), 5);
    }
}

#[test]
fn tickets_of_an_old_server_are_as_good_as_its_zero_byte() {
    let clock = Arc::new(SessionClock::new(now()));
    let provider = provider(Version::Tls13);
    let verifier =
        PeerVerifier::new(trust(), ExpectedPeer::Anyone, provider.signature_verification_algorithms);
    let mut config = ServerConfig::builder_with_details(provider, clock)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(host().certified_key())));
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(4);
    config.send_tls13_tickets = 2;
    let mut server = TokenStream::new(ServerConnection::new(Arc::new(config)).unwrap().into());
    let (mut initiator, hello) =
        Initiator::new(initiator_config(Version::Tls13, user_proxy()), now()).unwrap();
    let (mut plain, mut reply) = (Vec::new(), Vec::new());
    server.read(&hello, &mut plain).unwrap();
    server.send(&mut reply);
    let token = initiator.step(&reply, now()).unwrap();
    server.read(&token, &mut plain).unwrap();
    reply.clear();
    server.send(&mut reply);
    assert!(reply.len() > 100 && !server.is_handshaking(), "two tickets: {}", reply.len());
    let flag = initiator.step(&reply, now()).unwrap();
    server.read(&flag, &mut plain).unwrap();
    assert_eq!(plain, b"D");
}

#[test]
fn a_client_without_a_certificate_is_refused_though_none_is_asked_for_by_name() {
    #[derive(Debug, Default)]
    struct Nobody(Mutex<Option<usize>>);
    impl ResolvesClientCert for Nobody {
        fn resolve(&self, authorities: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            *self.0.lock().unwrap() = Some(authorities.len());
            None
        }
        fn has_certs(&self) -> bool {
            true
        }
    }
    for version in BOTH {
        let nobody = Arc::new(Nobody::default());
        let provider = provider(version);
        let verifier =
            PeerVerifier::new(trust(), ExpectedPeer::Anyone, provider.signature_verification_algorithms);
        let config = ClientConfig::builder_with_details(provider, Arc::new(SessionClock::new(now())))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::clone(&nobody) as _);
        let name = ServerName::try_from("s1.grid.test").unwrap();
        let mut client = TokenStream::new(ClientConnection::new(Arc::new(config), name).unwrap().into());
        let mut acceptor = acceptor(version);
        let (mut token, mut plain) = (Vec::new(), Vec::new());
        client.send(&mut token);
        let AcceptStep::Reply(reply) = acceptor.step(&token, now()).unwrap() else { panic!("a reply") };
        client.read(&reply, &mut plain).unwrap();
        token.clear();
        client.send(&mut token);
        let error = acceptor.step(&token, now()).unwrap_err();
        assert_eq!(error, AcceptError::Handshake(HandshakeError::Anonymous), "{version:?}");
        assert_eq!(*nobody.0.lock().unwrap(), Some(0), "no authority is named");
    }
}

#[test]
fn who_is_not_trusted_or_not_meant_is_refused_with_the_reason() {
    let reason = |failure| match failure {
        Failure::Acceptor(error) => format!("acceptor: {error}"),
        Failure::Initiator(error) => format!("initiator: {error}"),
    };
    let expecting = |expected| InitiatorConfig { expected, ..initiator_config(Version::Tls13, user_proxy()) };
    let named = |name: &str| ExpectedPeer::Host(HostNames { names: vec![name.to_owned()], address: None });
    let legacy = end_entity("proxy", &elliptic_key(), |request| request);
    let old = end_entity("User", &elliptic_key(), |mut request| {
        request.not_after = NOW - 1;
        request
    });
    #[rustfmt::skip]
    let table: Vec<(InitiatorConfig, &str)> = vec![
        (initiator_config(Version::Tls13, forged("User")), "acceptor: certificate of /O=Grid/CN=User: "),
        (initiator_config(Version::Tls12, forged("User")), "acceptor: certificate of /O=Grid/CN=User: "),
        (initiator_config(Version::Tls13, legacy),         "acceptor: certificate of /O=Grid/CN=proxy: it is a legacy"),
        (initiator_config(Version::Tls13, old),            "acceptor: certificate of /O=Grid/CN=User: it has expired"),
        (expecting(named("s2.grid.test")),                 "initiator: the certificate is not for s2.grid.test, but for s1.grid.test"),
        (expecting(ExpectedPeer::Identity("/CN=x".to_owned())), "initiator: the certificate is not for /CN=x, but for /O=Grid/CN=s1"),
        (InitiatorConfig { trust: Arc::new(TrustStore::default()), ..expecting(named("s1.grid.test")) },
                                                           "initiator: certificate of /O=Grid/CN=s1: its authority is not trusted here"),
    ];
    for (config, expected) in table {
        let said = reason(exchange(acceptor(version_of(&config)), config).unwrap_err());
        assert!(said.starts_with(expected), "{said}\nand not\n{expected}");
    }
    let identity = expecting(ExpectedPeer::Identity("/O=Grid/CN=s1".to_owned()));
    exchange(acceptor(Version::Tls13), identity).unwrap();
}

/// It has the name in the end entity's certificate, and none of its rights.
#[test]
fn an_independent_proxy_of_a_host_is_no_host() {
    let independent = ProxyCertInfo::new(PolicyLanguage::Independent, None);
    let posing = proxy(&host(), ProxyForm::Rfc3820, &independent);
    let config = AcceptorConfig::new(provider(Version::Tls13), &posing);
    let acceptor = Acceptor::new(&config, trust(), now()).unwrap();
    let failure = exchange(acceptor, initiator_config(Version::Tls13, user_proxy())).unwrap_err();
    let Failure::Initiator(error) = failure else { panic!("{failure:?}") };
    assert!(error.to_string().contains("is an independent proxy, and no host"), "{error}");
    let limited = ProxyCertInfo::new(PolicyLanguage::Limited, None);
    let config = AcceptorConfig::new(provider(Version::Tls13), &proxy(&host(), ProxyForm::Rfc3820, &limited));
    let acceptor = Acceptor::new(&config, trust(), now()).unwrap();
    exchange(acceptor, initiator_config(Version::Tls13, user_proxy())).unwrap();
}

fn version_of(config: &InitiatorConfig) -> Version {
    match config.provider.cipher_suites[0] {
        rustls::SupportedCipherSuite::Tls12(_) => Version::Tls12,
        rustls::SupportedCipherSuite::Tls13(_) => Version::Tls13,
    }
}

#[test]
fn chains_of_all_sizes_pass_until_tls_has_enough() {
    for version in BOTH {
        for attributes in [0, 100, 5_000, 16_000, 17_000, 40_000, 58_000] {
            let credential = end_entity("User", &elliptic_key(), |request| {
                request.with("1.3.6.1.4.1.8005.100.100.5", false, &vec![0x5a; attributes])
            });
            let outcome = exchange(acceptor(version), initiator_config(version, credential.clone())).unwrap();
            let own = outcome.accepted.delegated.unwrap().credential;
            assert_eq!(own.chain()[1], credential.chain()[0], "attributes are as they were: {attributes}");
            assert!(outcome.tokens.iter().all(|&length| length <= adat::MAX_TOKEN), "{:?}", outcome.tokens);
        }
    }
}
